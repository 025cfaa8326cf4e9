//! The clients of one server: one whose waits are measured, and others that keep the server busy.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

use super::disk::{self, Disk, FileSystem};
use super::workload::{Question, SYNC, Work};
use crate::clients::nfs::{Call, Client, data, parse_write, stable_how};
use crate::machines::{at_once, wait_for};
use crate::measure::bench::load::{Load, Refill};
use crate::measure::bench::measure::{Cost, Waits};
use crate::measure::bench::nfs::connection::{Connection, SLIDE};
use crate::measure::bench::nfs::writing;
use crate::measure::bench::workspace::{
    BIG, CHUNK, Export, Pattern, Scale, Storage, Workspace, check_stamps,
};

/// Time between a reply and the client's next request.
const PAUSE: Duration = Duration::from_millis(1);
/// Largest number of clients that write at the same time.
const WRITER_COUNT: usize = 4;
/// Length of a READ and of a stable WRITE in bytes.
const BLOCK: usize = 4096;
/// Size of a file that is written over, in blocks.
const BLOCK_COUNT: u64 = 1024;
/// Longest time until the space of a removed file is free.
const FREED_MAX: Duration = Duration::from_secs(60);
/// Size of the removed file in bytes.
const REMOVED_BYTES: i64 = 4 << 30;
/// Number of READs in flight from a slow disk.
const COLD_DEPTH: usize = 4;
/// Name of the file that is removed.
const REMOVED: &str = "removed";

/// Name of the file that writer `index` writes over.
fn written(index: usize) -> String {
    format!("written-{index}")
}

/// Makes the files that are written over.
pub fn make_files(workspace: &Workspace) -> Result<()> {
    let bytes = vec![0; BLOCK * BLOCK_COUNT as usize];
    for storage in [Storage::Tmpfs, Storage::Ext4] {
        for index in 0..WRITER_COUNT {
            fs::write(workspace.directory_of(storage).join(written(index)), &bytes)?;
        }
        workspace.sync(storage)?;
    }
    Ok(())
}

/// All clients of a server, and the file handles that they use.
pub struct Clients {
    /// Process id of the server.
    pid: u32,
    /// The client whose waits are measured.
    waiting: Client,
    writers: Vec<Client>,
    load: Load<Connection>,
    /// Handle of the large file, which `waiting` reads.
    big: Vec<u8>,
    /// Handles of the writable directories on the tmpfs and on the ext4.
    plain: [Vec<u8>; 2],
    /// Handles of the files that are written over, on the tmpfs and on the ext4.
    written: [Vec<Vec<u8>>; 2],
    /// Handles of the files on slow disks.
    cold: Vec<(FileSystem, Vec<u8>)>,
    pattern: Pattern,
}

impl Clients {
    /// Connects to a server and looks up all files.
    pub fn new(
        name: &str,
        pid: u32,
        nfs: SocketAddr,
        mount: SocketAddr,
        workspace: &Workspace,
        disks: &[Disk],
        scale: &Scale,
    ) -> Result<Self> {
        let find = || {
            let mut mount = Client::connect(mount)?;
            let mut waiting = Client::connect(nfs)?;
            let cold = disks.iter().map(|disk| {
                let root = mount.mount(&disk.path.display().to_string())?;
                Ok((disk.kind, waiting.lookup(&root, disk::FILE)?))
            });
            let cold = cold.collect::<Result<_>>()?;
            let mut root =
                |export: Export| mount.mount(&workspace.path(export).display().to_string());
            let big = waiting.walk(&root(Export::Tree)?, BIG)?;
            let mut storage = |storage: Storage| {
                let directory = waiting.walk(&root(storage.export())?, storage.name())?;
                let file = |index| waiting.lookup(&directory, &written(index));
                let files = (0..WRITER_COUNT).map(file).collect::<Result<Vec<_>>>()?;
                anyhow::Ok((directory, files))
            };
            let [tmpfs, ext4] = [storage(Storage::Tmpfs)?, storage(Storage::Ext4)?];
            let connect = |_| Client::connect(nfs);
            anyhow::Ok(Self {
                pid,
                writers: (0..WRITER_COUNT).map(connect).collect::<Result<_>>()?,
                load: Load::connect(nfs)?,
                big,
                cold,
                plain: [tmpfs.0, ext4.0],
                written: [tmpfs.1, ext4.1],
                // A different seed for each server: bytes written by one server fail the check of another.
                pattern: Pattern::new(scale.big_bytes, pid.into()),
                waiting,
            })
        };
        find().with_context(|| format!("cannot look up files on {name}"))
    }

    /// Measures the waits of one client for `question` while the others do `work`.
    pub fn wait(
        &mut self,
        question: Question,
        work: Work,
        workspace: &Workspace,
        scale: &Scale,
    ) -> Result<Cost> {
        let directory = workspace.directory_of(Storage::Tmpfs);
        let [tmpfs, ext4] = &self.plain;
        let before = free(&directory)?;
        if work == Work::Removed {
            // The READ makes the server open the file, so that the file is open when REMOVE arrives.
            let file = File::create(directory.join(REMOVED))?;
            posix_fallocate(&file, 0, REMOVED_BYTES)?;
            let removed = self.writers[0].lookup(tmpfs, REMOVED)?;
            self.writers[0].read(&removed, 0, BLOCK as u32)?;
        }
        self.pattern.turn();
        let mut random = fastrand::Rng::with_seed(1);
        let ask = || {
            let offset = random.u64(0..scale.big_bytes / BLOCK as u64) * BLOCK as u64;
            ask(&mut self.waiting, question, &self.big, offset, scale)
        };
        let cost = waits(ask, || match work {
            Work::Writer => write(&mut self.writers[..1], &self.written[0], scale),
            Work::Writers => write(&mut self.writers, &self.written[0], scale),
            Work::Commit => {
                let bytes = scale.big_bytes;
                writing::make_and_fill(&mut self.load, ext4, &self.pattern, bytes).map(drop)
            }
            Work::Removed => {
                let removed = self.writers[0].remove(tmpfs, REMOVED);
                removed.and_then(|()| wait_until_free(&directory, before))
            }
            Work::Nobody | Work::Cold | Work::Stable | Work::StableExt4 => {
                sleep(span(scale));
                Ok(())
            }
        })?;
        if work == Work::Commit {
            let client = &mut self.writers[0];
            writing::check_made(client, ext4, &self.pattern, scale.big_bytes)?;
            workspace.sync(Storage::Ext4)?;
        }
        Ok(cost)
    }

    /// Measures the waits of GETATTR while another connection reads an uncached file from a slow disk.
    pub fn cold(&mut self, disk: &Disk, scale: &Scale) -> Result<Cost> {
        let file = self.cold.iter().find(|(kind, _)| *kind == disk.kind);
        let (_, file) = file.context("the file of this disk was not looked up")?;
        let (quick, usual) = disk.kind.read_counts();
        let count = if scale.is_quick() { quick } else { usual };
        let offset = |index| disk::FIRST_OFFSET + index * CHUNK as u64;
        disk.forget()?;
        let ask = || ask(&mut self.waiting, Question::GetAttr, &self.big, 0, scale);
        waits(ask, || {
            let start = Instant::now();
            self.load.run(
                count,
                Refill::Slide(COLD_DEPTH),
                |index| Call::read(file, offset(index), CHUNK as u32),
                |index, results| {
                    let (data, _) = data(results)?;
                    let is_right = data.len() == CHUNK && disk::is_content(data, offset(index));
                    ensure!(is_right, "READ {index} returned wrong data");
                    Ok(())
                },
            )?;
            disk::check_slow(count * CHUNK as u64, start.elapsed().as_secs_f64())
        })
    }

    /// Measures stable WRITEs over an existing file, 16 in flight.
    pub fn stable(&mut self, work: Work, scale: &Scale) -> Result<Cost> {
        let [tmpfs, ext4] = &self.written;
        let (file, count) = match work {
            Work::StableExt4 => (&ext4[0], scale.made_count * 2),
            _ => (&tmpfs[0], scale.made_count / 4),
        };
        self.pattern.turn();
        let data = &self.pattern.chunk(0)[..BLOCK];
        let cost = Cost::measure(&[self.pid], || {
            let ask = |index| {
                let offset = index % BLOCK_COUNT * BLOCK as u64;
                Call::write(file, offset, stable_how::FILE_SYNC, data)
            };
            self.load.run(count, SLIDE, ask, |index, results| {
                let wrote = parse_write(results)?;
                let is_stable = wrote.committed == stable_how::FILE_SYNC;
                ensure!(
                    wrote.count as usize == BLOCK && is_stable,
                    "WRITE {index} did not store {BLOCK} bytes stably: {wrote:?}"
                );
                Ok(())
            })?;
            Ok(count)
        })?;
        let (last, _) = self.waiting.read(file, 0, BLOCK as u32)?;
        ensure!(last == data, "READ does not return the bytes written");
        Ok(cost)
    }
}

/// Duration of a measurement whose load does not end by itself.
fn span(scale: &Scale) -> Duration {
    Duration::from_secs(if scale.is_quick() { 1 } else { 3 })
}

/// Calls `ask` repeatedly until `work` has returned, and returns the waits. `ask` sends a request and returns the time until the
/// reply.
fn waits(
    mut ask: impl FnMut() -> Result<Duration> + Send,
    work: impl FnOnce() -> Result<()>,
) -> Result<Cost> {
    let done = AtomicBool::new(false);
    let waits = thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) {
                waits.push(ask()?.as_secs_f64() * 1e3);
                sleep(PAUSE);
            }
            anyhow::Ok(waits)
        });
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let waits = asking.join();
        worked.and(waits.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let waits = Waits::of(&waits, PAUSE.as_secs_f64() * 1e3).context("no request was sent")?;
    Ok(Cost {
        waits,
        ..Cost::default()
    })
}

/// Sends one request and returns the time until the reply. Checking the reply is not part of that time.
fn ask(
    client: &mut Client,
    question: Question,
    big: &[u8],
    offset: u64,
    scale: &Scale,
) -> Result<Duration> {
    let asked = Instant::now();
    match question {
        Question::GetAttr => {
            let size = client.attr(big)?.size;
            let took = asked.elapsed();
            ensure!(
                size == scale.big_bytes,
                "GETATTR returned a size of {size} bytes instead of {}",
                scale.big_bytes
            );
            Ok(took)
        }
        Question::Read => {
            let (data, _) = client.read(big, offset, BLOCK as u32)?;
            let took = asked.elapsed();
            ensure!(
                data.len() == BLOCK,
                "READ of {BLOCK} bytes returned {}",
                data.len()
            );
            check_stamps(data, offset)?;
            Ok(took)
        }
    }
}

/// Measures the floor: the waits for four bytes that a thread of this process sends back over loopback.
pub fn echo(scale: &Scale) -> Result<Cost> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let mut bytes = [0; 4];
    // The thread ends with the connection.
    thread::spawn(move || {
        let mut bytes = [0; 4];
        while far.read_exact(&mut bytes).is_ok() && far.write_all(&bytes).is_ok() {}
    });
    let ask = || {
        let asked = Instant::now();
        near.write_all(&bytes)?;
        near.read_exact(&mut bytes)?;
        Ok(asked.elapsed())
    };
    waits(ask, || {
        sleep(span(scale));
        Ok(())
    })
}

/// Each writer sends stable WRITEs to its own file, one after the other, for [`span`]. Fails if a WRITE took less time than a slow
/// sync, [`SYNC`].
fn write(writers: &mut [Client], files: &[Vec<u8>], scale: &Scale) -> Result<()> {
    let (start, span) = (Instant::now(), span(scale));
    let write = |(writer, file): (&mut Client, &Vec<u8>)| {
        while start.elapsed() < span {
            let asked = Instant::now();
            writer.write(file, 0, stable_how::FILE_SYNC, &[1; BLOCK])?;
            let took = asked.elapsed();
            ensure!(
                took >= SYNC,
                "a stable WRITE took {took:?}, less than the slow sync of {SYNC:?}"
            );
        }
        Ok(())
    };
    let works = writers.iter_mut().zip(files);
    at_once(works.map(|work| || write(work))).map(drop)
}

/// Free bytes of the file system that contains `directory`.
fn free(directory: &Path) -> Result<u64> {
    let stat = statvfs(directory)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Waits until `bytes` are free. Tolerates 1 MiB less, because other files on the file system may have grown.
fn wait_until_free(directory: &Path, bytes: u64) -> Result<()> {
    const TOLERANCE: u64 = 1 << 20;
    let is_free = || Ok((free(directory)? + TOLERANCE >= bytes).then_some(()));
    let freed = wait_for(FREED_MAX, is_free)?;
    freed.with_context(|| format!("the space of the removed file is not free after {FREED_MAX:?}"))
}
