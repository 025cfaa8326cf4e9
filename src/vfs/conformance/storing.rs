//! WRITEs that a worker of the host backend carries out, because many bytes of the file are not on disk.

use super::super::{
    Access, Bytes, CreateWhat, FileId, FsError, FsResult, Job, JobId, Node, Pin, Submitted, Tree,
};
use super::{Bench, make, read, sync_all, take_ended, writable};
use crate::config::{UNSYNCED_BYTES_MAX, WORKER_WRITE_COUNT};
use crate::sys::linux::fs;
use rustix::fd::AsRawFd as _;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;

const MIB: usize = 1 << 20;
const MUCH: u64 = UNSYNCED_BYTES_MAX as u64;

/// A file that is pinned for writing and has [`UNSYNCED_BYTES_MAX`] unsynced bytes, so that workers store later WRITEs. `None`: the
/// tests' directory is on a tmpfs, for which workers store nothing.
fn behind_much(vfs: &mut Tree) -> Option<(Node, Pin)> {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    let system = rustix::fs::statfs(std::env::temp_dir().as_os_str().as_bytes()).unwrap();
    vfs.start_jobs(&mut |_| true);
    let node = make(vfs, "much", CreateWhat::File).unwrap();
    let pin = vfs.pin(node, Some(Access::Write)).unwrap();
    for offset in (0..MUCH).step_by(MIB) {
        let early = store(vfs, &pin, offset, &data(0, MIB));
        assert_eq!(early, Submitted::Done(Ok(())));
    }
    if system.f_type as u32 == TMPFS_MAGIC {
        let stored = store(vfs, &pin, MUCH, b"in memory");
        assert_eq!(stored, Submitted::Done(Ok(())));
        vfs.unpin(pin);
        return None;
    }
    Some((node, pin))
}

fn data(seed: usize, len: usize) -> Vec<u8> {
    (seed..seed + len).map(|at| (at / 3) as u8).collect()
}

fn store(vfs: &mut Tree, pin: &Pin, offset: u64, bytes: &[u8]) -> Submitted {
    vfs.submit(Job::Write(pin, offset, Bytes::Here(bytes)))
}

/// Returns the number of the job if it is pending.
fn pending(submitted: Submitted) -> Option<JobId> {
    match submitted {
        Submitted::Pending(id) => Some(id),
        Submitted::Done(_) => None,
    }
}

/// Waits for one job. Results of other jobs are dropped.
fn result(vfs: &mut Tree, id: JobId) -> FsResult<()> {
    loop {
        if let Some(ended) = take_ended(vfs).iter().find(|ended| ended.id == id) {
            return ended.result;
        }
    }
}

/// A file of the server's own is written by a worker, if the backend has workers.
pub(super) fn state_is_saved_by_worker(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let own = tempfile();
    vfs.start_jobs(&mut |_| true);
    for len in [65_536, 3] {
        let (bytes, mut read) = (data(len, len), vec![0; len]);
        let saved = vfs.submit(Job::Save(FileId(own.as_raw_fd()), 16, &bytes));
        assert_eq!(result(vfs, pending(saved).unwrap()), Ok(()));
        own.read_exact_at(&mut read, 16).unwrap();
        assert_eq!(read, bytes);
    }
    // A pipe does not hold it.
    let (bytes, mut read) = (data(1, MIB + 1), vec![0; MIB + 1]);
    let saved = vfs.submit(Job::Save(FileId(own.as_raw_fd()), 0, &bytes));
    assert_eq!(saved, Submitted::Done(Ok(())));
    own.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(read, bytes);
    // splice(2) to this file is EINVAL.
    let name = "/proc/self/oom_score_adj";
    let own = std::fs::OpenOptions::new().write(true).open(name).unwrap();
    let content = std::fs::read(name).unwrap();
    let saved = vfs.submit(Job::Save(FileId(own.as_raw_fd()), 0, &content));
    assert_eq!(result(vfs, pending(saved).unwrap()), Ok(()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let saved = vfs.submit(Job::Save(FileId(full.unwrap().as_raw_fd()), 0, &[1]));
    assert!(result(vfs, pending(saved).unwrap()).is_err());
}

/// A file without a name.
fn tempfile() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("stowaway-state-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

pub(super) fn bytes_stored_by_worker_are_read_back(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let Some((node, pin)) = behind_much(vfs) else {
        return;
    };
    let pipe = fs::pipe().unwrap();
    // The last length exceeds the capacity of a pipe.
    for (seed, len) in [(1, 1), (2, 4097), (3, 70_000), (4, 3 * MIB)] {
        for is_piped in [true, false] {
            let (data, mut out) = (data(seed, len), vec![0; len]);
            let (bytes, len) = if is_piped {
                let len = rustix::io::write(&pipe.1, &data).unwrap();
                (Bytes::Piped(FileId(pipe.0.as_raw_fd()), len), len)
            } else {
                (Bytes::Here(&data), len)
            };
            let offset = MUCH + (seed * 5000) as u64;
            let stored = match vfs.submit(Job::Write(&pin, offset, bytes)) {
                Submitted::Pending(id) => result(vfs, id),
                // Data that exceeds the capacity of a pipe is stored at once.
                Submitted::Done(stored) => stored,
            };
            assert_eq!(stored, Ok(()));
            assert_eq!(read(vfs, node, offset, &mut out[..len]), Ok(len as u32));
            assert_eq!(out[..len], data[..len]);
        }
    }
    vfs.stage(&pin).unwrap();
    sync_all(vfs).unwrap();
    let stored = store(vfs, &pin, 0, b"behind nothing");
    assert_eq!(stored, Submitted::Done(Ok(())));
    vfs.unpin(pin);
}

pub(super) fn writes_beyond_worker_limit_are_stored_in_place(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let Some((node, pin)) = behind_much(vfs) else {
        return;
    };
    let data = data(1, 70_000);
    for _ in 0..10 {
        let jobs: Vec<JobId> = (0..)
            .map_while(|at| pending(store(vfs, &pin, MUCH + at * 70_000, &data)))
            .collect();
        assert!((1..=WORKER_WRITE_COUNT).contains(&jobs.len()));
        let mut ended = Vec::new();
        while ended.len() < jobs.len() {
            for job in take_ended(vfs) {
                assert_eq!(job.result, Ok(()));
                ended.push(job.id);
            }
        }
        assert!(jobs.iter().all(|job| ended.contains(job)));
    }
    let mut out = vec![0; 70_000];
    for at in 0..=WORKER_WRITE_COUNT as u64 {
        let got = read(vfs, node, MUCH + at * 70_000, &mut out);
        assert_eq!((got, &out), (Ok(70_000), &data));
    }
    vfs.unpin(pin);
}

pub(super) fn invalid_worker_writes_fail(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let Some((node, pin)) = behind_much(vfs) else {
        return;
    };
    for offset in [i64::MAX as u64 - 10, i64::MAX as u64, u64::MAX - 10] {
        let stored = store(vfs, &pin, offset, &[1; 70_000]);
        assert!(matches!(stored, Submitted::Done(Err(_))), "{offset:#x}");
    }
    // The pipe is empty, although the job says that it contains ten bytes.
    let pipe = fs::pipe().unwrap();
    let nothing = Bytes::Piped(FileId(pipe.0.as_raw_fd()), 10);
    let stored = vfs.submit(Job::Write(&pin, 0, nothing));
    assert_eq!(stored, Submitted::Done(Err(FsError::TryLater)));
    assert_eq!(vfs.attr(node).unwrap().size, MUCH);
    let id = pending(store(vfs, &pin, 0, b"well")).unwrap();
    assert_eq!(result(vfs, id), Ok(()));
    vfs.unpin(pin);
}
