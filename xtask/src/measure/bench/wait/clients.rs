//! The clients of one server: one whose waits are measured, and others that keep the server busy.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::fcntl::posix_fallocate;
use nix::sys::statvfs::statvfs;

use super::disk::{self, Disk, FileSystem};
use super::workload::Work;
use crate::clients::nfs::{Call, Client, data, parse_write, stable_how};
use crate::machines::wait_for;
use crate::measure::bench::load::{Load, Refill};
use crate::measure::bench::measure::{Cost, waits};
use crate::measure::bench::nfs::connection::{Connection, SLIDE};
use crate::measure::bench::nfs::writing;
use crate::measure::bench::workspace::{
    BIG, CHUNK, Export, Pattern, Scale, Storage, Workspace, check_stamps,
};

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

/// Name of the file that is written over.
const WRITTEN: &str = "written";

/// Makes the file that is written over.
pub fn make_file(workspace: &Workspace) -> Result<()> {
    let path = workspace.directory_of(Storage::Ext4).join(WRITTEN);
    fs::write(path, vec![0; BLOCK * BLOCK_COUNT as usize])?;
    workspace.sync(Storage::Ext4)
}

/// All clients of a server, and the file handles that they use.
pub struct Clients {
    /// Process id of the server.
    pid: u32,
    /// The client whose waits are measured.
    waiting: Client,
    /// The client that removes a file, and checks files, which is not measured.
    other: Client,
    load: Load<Connection>,
    /// Handle of the large file, which `waiting` reads.
    big: Vec<u8>,
    /// Handles of the writable directories on the tmpfs and on the ext4.
    plain: [Vec<u8>; 2],
    /// Handle of the file that is written over, on the ext4.
    written: Vec<u8>,
    /// Handles of the files on slow disks.
    cold: Vec<Vec<u8>>,
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
                waiting.lookup(&root, disk::FILE)
            });
            let cold = cold.collect::<Result<_>>()?;
            let mut root =
                |export: Export| mount.mount(&workspace.path(export).display().to_string());
            let big = waiting.walk(&root(Export::Tree)?, BIG)?;
            let mut directory =
                |storage: Storage| waiting.walk(&root(storage.export())?, storage.name());
            let plain = [directory(Storage::Tmpfs)?, directory(Storage::Ext4)?];
            anyhow::Ok(Self {
                pid,
                other: Client::connect(nfs)?,
                load: Load::connect(nfs)?,
                written: waiting.lookup(&plain[1], WRITTEN)?,
                big,
                cold,
                plain,
                // A different seed for each server: bytes written by one server fail the check of another.
                pattern: Pattern::new(scale.big_bytes, pid.into()),
                waiting,
            })
        };
        find().with_context(|| format!("cannot look up files on {name}"))
    }

    /// Measures the waits of one client while the others do `work`.
    pub fn wait(&mut self, work: Work, workspace: &Workspace, scale: &Scale) -> Result<Cost> {
        let directory = workspace.directory_of(Storage::Tmpfs);
        let [tmpfs, ext4] = &self.plain;
        let before = free(&directory)?;
        if work == Work::Removed {
            // The READ makes the server open the file, so that the file is open when REMOVE arrives.
            let file = File::create(directory.join(REMOVED))?;
            posix_fallocate(&file, 0, REMOVED_BYTES)?;
            let removed = self.other.lookup(tmpfs, REMOVED)?;
            self.other.read(&removed, 0, BLOCK as u32)?;
        }
        self.pattern.turn();
        let mut random = fastrand::Rng::with_seed(1);
        let ask = || {
            let offset = random.u64(0..scale.big_bytes / BLOCK as u64) * BLOCK as u64;
            ask(&mut self.waiting, &self.big, offset, scale)
        };
        let cost = waits(ask, || match work {
            Work::Commit => {
                let bytes = scale.big_bytes;
                writing::make_and_fill(&mut self.load, ext4, &self.pattern, bytes).map(drop)
            }
            Work::Removed => {
                let removed = self.other.remove(tmpfs, REMOVED);
                removed.and_then(|()| wait_until_free(&directory, before))
            }
            Work::Nobody | Work::Cold | Work::Stable => {
                sleep(scale.span());
                Ok(())
            }
        })?;
        if work == Work::Commit {
            let client = &mut self.other;
            writing::check_made(client, ext4, &self.pattern, scale.big_bytes)?;
            workspace.sync(Storage::Ext4)?;
        }
        Ok(cost)
    }

    /// Measures the waits while another connection reads an uncached file from a slow disk.
    pub fn cold(&mut self, kind: FileSystem, disks: &[Disk], scale: &Scale) -> Result<Cost> {
        let mut pairs = disks.iter().zip(&self.cold);
        let pair = pairs.find(|(disk, _)| disk.kind == kind);
        let (disk, file) = pair.with_context(|| format!("no slow disk with {}", kind.fs))?;
        let (quick, usual) = kind.read_counts();
        let count = if scale.is_quick() { quick } else { usual };
        let offset = |index| disk::FIRST_OFFSET + index * CHUNK as u64;
        disk.forget()?;
        let ask = || ask(&mut self.waiting, &self.big, 0, scale);
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
    pub fn stable(&mut self, scale: &Scale) -> Result<Cost> {
        let (file, count) = (&self.written, scale.made_count * 2);
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

/// Sends GETATTR and then a READ of `big`, and returns the time until the reply to the second. Both need no disk.
fn ask(client: &mut Client, big: &[u8], offset: u64, scale: &Scale) -> Result<Duration> {
    let asked = Instant::now();
    let size = client.attr(big)?.size;
    let (data, _) = client.read(big, offset, BLOCK as u32)?;
    let took = asked.elapsed();
    let is_right = size == scale.big_bytes && data.len() == BLOCK;
    ensure!(
        is_right,
        "a size of {size} bytes, and READ of {}",
        data.len()
    );
    check_stamps(data, offset)?;
    Ok(took)
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
        sleep(scale.span());
        Ok(())
    })
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
