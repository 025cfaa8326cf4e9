//! The clients of one server: the one that waits, and those that work meanwhile.

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

use super::disk::{self, Disk, Kind};
use super::workload::{Question, SYNC, Work};
use crate::clients::nfs::{Call, Client, data, stable_how, wrote};
use crate::machines::wait_for;
use crate::measure::bench::ground::{
    BIG, CHUNK, Export, Ground, Pattern, Place, Scale, check_stamps,
};
use crate::measure::bench::load::{Load, Refill};
use crate::measure::bench::measure::{Cost, Waits};
use crate::measure::bench::nfs::connection::{Connection, SLIDE};
use crate::measure::bench::nfs::writing;

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(1);
/// Who write at once, at most.
const WRITER_COUNT: usize = 4;
/// Bytes of a READ and of a stable WRITE.
const BLOCK: usize = 4096;
/// Blocks of a file that is written over.
const BLOCK_COUNT: u64 = 1024;
/// How long the pages of a removed file may take to be free.
const FREED_MAX: Duration = Duration::from_secs(60);
/// Size of the removed file in bytes.
const REMOVED_BYTES: i64 = 4 << 30;
/// READs in flight from a slow disk.
const COLD_DEPTH: usize = 4;
/// The file that is removed.
const REMOVED: &str = "removed";

/// The name of a file that is written over.
fn written(index: usize) -> String {
    format!("written-{index}")
}

/// Makes the files that are written over.
pub fn plant(ground: &Ground) -> Result<()> {
    let bytes = vec![0; BLOCK * BLOCK_COUNT as usize];
    for place in [Place::Tmpfs, Place::Ext4] {
        for index in 0..WRITER_COUNT {
            fs::write(ground.directory_of(place).join(written(index)), &bytes)?;
        }
        ground.settle(place)?;
    }
    Ok(())
}

/// All of them, and handles of what they ask for.
pub struct Clients {
    pid: u32,
    waiting: Client,
    writers: Vec<Client>,
    load: Load<Connection>,
    /// What is read.
    big: Vec<u8>,
    /// The directories of the tmpfs and the ext4.
    plain: [Vec<u8>; 2],
    /// Files that are written over, on the tmpfs and on the ext4.
    written: [Vec<Vec<u8>>; 2],
    /// Files on slow disks.
    cold: Vec<(Kind, Vec<u8>)>,
    pattern: Pattern,
}

impl Clients {
    /// Connects to a server, and looks everything up.
    pub fn new(
        name: &str,
        pid: u32,
        nfs: SocketAddr,
        mount: SocketAddr,
        ground: &Ground,
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
            let mut root = |export: Export| mount.mount(&ground.path(export).display().to_string());
            let big = waiting.walk(&root(Export::Tree)?, BIG)?;
            let mut place = |place: Place| {
                let directory = waiting.walk(&root(place.export())?, place.name())?;
                let file = |index| waiting.lookup(&directory, &written(index));
                let files = (0..WRITER_COUNT).map(file).collect::<Result<Vec<_>>>()?;
                anyhow::Ok((directory, files))
            };
            let [tmpfs, ext4] = [place(Place::Tmpfs)?, place(Place::Ext4)?];
            let connect = |_| Client::connect(nfs);
            anyhow::Ok(Self {
                pid,
                writers: (0..WRITER_COUNT).map(connect).collect::<Result<_>>()?,
                load: Load::connect(nfs)?,
                big,
                cold,
                plain: [tmpfs.0, ext4.0],
                written: [tmpfs.1, ext4.1],
                // What one server wrote must not be taken for what another was to write.
                pattern: Pattern::new(scale.big_bytes, pid.into()),
                waiting,
            })
        };
        find().with_context(|| format!("from {name}"))
    }

    /// Asks while others work.
    pub fn wait(
        &mut self,
        question: Question,
        work: Work,
        ground: &Ground,
        scale: &Scale,
    ) -> Result<Cost> {
        let directory = ground.directory_of(Place::Tmpfs);
        let [tmpfs, ext4] = &self.plain;
        let before = free(&directory)?;
        if work == Work::Removed {
            // The server has it open when it goes.
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
            ground.settle(Place::Ext4)?;
        }
        Ok(cost)
    }

    /// Asks while another connection reads a file that is not cached from a slow disk.
    pub fn cold(&mut self, disk: &Disk, scale: &Scale) -> Result<Cost> {
        let file = self.cold.iter().find(|(kind, _)| *kind == disk.kind);
        let (_, file) = file.context("a disk that was not looked up")?;
        let (quick, usual) = disk.kind.read_counts();
        let count = if scale.is_quick() { quick } else { usual };
        let offset = |index| disk::FIRST_OFFSET + index * CHUNK as u64;
        disk.forget()?;
        let ask = || ask(&mut self.waiting, Question::GetAttr, &self.big, 0, scale);
        waits(ask, || {
            let begun = Instant::now();
            self.load.run(
                count,
                Refill::Slide(COLD_DEPTH),
                |index| Call::read(file, offset(index), CHUNK as u32),
                |index, results| {
                    let (data, _) = data(results)?;
                    let is_right = data.len() == CHUNK && disk::is_content(data, offset(index));
                    ensure!(is_right, "READ {index} brought other bytes");
                    Ok(())
                },
            )?;
            disk::check_slow(count * CHUNK as u64, begun.elapsed().as_secs_f64())
        })
    }

    /// Sixteen stable WRITEs in flight, over a file that is there.
    pub fn stable(&mut self, work: Work, scale: &Scale) -> Result<Cost> {
        let [tmpfs, ext4] = &self.written;
        let (file, count) = match work {
            Work::StableExt4 => (&ext4[0], scale.made_count * 2),
            _ => (&tmpfs[0], scale.made_count / 4),
        };
        self.pattern.turn();
        let data = &self.pattern.chunk(0)[..BLOCK];
        let cost = Cost::of(&[self.pid], || {
            let ask = |index| {
                let offset = index % BLOCK_COUNT * BLOCK as u64;
                Call::write(file, offset, stable_how::FILE_SYNC, data)
            };
            self.load.run(count, SLIDE, ask, |index, results| {
                let wrote = wrote(results)?;
                let is_stable = wrote.committed == stable_how::FILE_SYNC;
                ensure!(
                    wrote.count as usize == BLOCK && is_stable,
                    "WRITE {index} was answered {wrote:?}"
                );
                Ok(())
            })?;
            Ok(count)
        })?;
        let (last, _) = self.waiting.read(file, 0, BLOCK as u32)?;
        ensure!(last == data, "the file does not hold what was written");
        Ok(cost)
    }
}

/// How long to look where nothing ends by itself: for a figure that may be quoted, or for a look.
fn span(scale: &Scale) -> Duration {
    Duration::from_secs(if scale.is_quick() { 1 } else { 3 })
}

/// Asks again and again until others have worked; `ask` tells how long its answer took.
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
    let waits = Waits::of(&waits, PAUSE.as_secs_f64() * 1e3).context("nothing was asked")?;
    Ok(Cost {
        waits,
        ..Cost::default()
    })
}

/// Asks once; how long the answer took.
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
            ensure!(size == scale.big_bytes, "a size of {size} bytes");
            Ok(took)
        }
        Question::Read => {
            let (data, _) = client.read(big, offset, BLOCK as u32)?;
            let took = asked.elapsed();
            ensure!(data.len() == BLOCK, "READ brought {} bytes", data.len());
            check_stamps(data, offset)?;
            Ok(took)
        }
    }
}

/// How long bytes take to a thread of our own and back: nobody serves.
pub fn echo(scale: &Scale) -> Result<Cost> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let mut bytes = [0; 4];
    // It ends with the connection.
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

/// Each of them writes to a file of its own, one stable WRITE after the other.
fn write(writers: &mut [Client], files: &[Vec<u8>], scale: &Scale) -> Result<()> {
    let (begun, span) = (Instant::now(), span(scale));
    thread::scope(|scope| {
        let all: Vec<_> = writers
            .iter_mut()
            .zip(files)
            .map(|(writer, file)| {
                scope.spawn(move || {
                    while begun.elapsed() < span {
                        let asked = Instant::now();
                        writer.write(file, 0, stable_how::FILE_SYNC, &[1; BLOCK])?;
                        let took = asked.elapsed();
                        ensure!(took >= SYNC, "a stable WRITE took {took:?}: no slow sync");
                    }
                    Ok(())
                })
            })
            .collect();
        all.into_iter().try_for_each(|writer| {
            let wrote = writer.join();
            wrote.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}

/// How many bytes are free where a directory lies.
fn free(directory: &Path) -> Result<u64> {
    let it = statvfs(directory)?;
    Ok(it.blocks_available() * it.fragment_size())
}

/// Waits until so many bytes are free, but for a few that others took.
fn wait_until_free(directory: &Path, bytes: u64) -> Result<()> {
    const OTHERS: u64 = 1 << 20;
    let is_free = || Ok((free(directory)? + OTHERS >= bytes).then_some(()));
    let freed = wait_for(FREED_MAX, is_free)?;
    freed.with_context(|| format!("a removed file is not freed within {FREED_MAX:?}"))
}
