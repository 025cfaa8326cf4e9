//! What threads store of a file of the host, behind much that is not on the disk.

use super::super::{Access, Bytes, CreateWhat, FsError, Node, Pin, Ticket, Tree};
use super::{World, make, read, writable, write};
use crate::config::{THREAD_STORE_COUNT, UNSYNCED_BYTES_MAX};
use crate::sys::linux::fs;
use rustix::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;

const MIB: usize = 1 << 20;
const MUCH: u64 = UNSYNCED_BYTES_MAX as u64;

/// A file, pinned to be written, of which so much is not durable that threads store what comes next. `None`: the tests' directory
/// lies in memory, where they never do.
fn behind_much(vfs: &mut Tree) -> Option<(Node, Pin)> {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    let system = rustix::fs::statfs(std::env::temp_dir().as_os_str().as_bytes()).unwrap();
    assert!(vfs.use_threads(&mut |_| true));
    let node = make(vfs, "much", CreateWhat::File).unwrap();
    let pin = vfs.pin(node, Some(Access::Write)).unwrap();
    for offset in (0..MUCH).step_by(MIB) {
        assert_eq!(store(vfs, &pin, offset, b"too early"), None);
        vfs.write(&pin, offset, &data(0, MIB)).unwrap();
    }
    if system.f_type as u32 == TMPFS_MAGIC {
        assert_eq!(store(vfs, &pin, MUCH, b"in memory"), None);
        vfs.unpin(pin);
        return None;
    }
    Some((node, pin))
}

fn data(seed: usize, len: usize) -> Vec<u8> {
    (seed..seed + len).map(|at| (at / 3) as u8).collect()
}

fn store(vfs: &mut Tree, pin: &Pin, offset: u64, bytes: &[u8]) -> Option<u32> {
    vfs.store_by_thread(pin, offset, Bytes::Here(bytes))
}

/// Waits for a job and forgets it.
fn outcome(vfs: &mut Tree, job: u32) -> Result<bool, FsError> {
    let outcome = vfs.committed(Ticket::Stored { job }, true);
    vfs.forget_stored(job);
    outcome
}

pub(super) fn what_threads_store_is_there(world: &mut dyn World) {
    let vfs = writable(world);
    let Some((node, pin)) = behind_much(vfs) else {
        return;
    };
    let pipe = fs::pipe().unwrap();
    // The last is more than a pipe takes.
    for (seed, len) in [(1, 1), (2, 4097), (3, 70_000), (4, 3 * MIB)] {
        for is_piped in [true, false] {
            let (data, mut out) = (data(seed, len), vec![0; len]);
            let (bytes, len) = if is_piped {
                let len = rustix::io::write(&pipe.1, &data).unwrap();
                (Bytes::Piped(pipe.0.as_raw_fd(), len), len)
            } else {
                (Bytes::Here(&data), len)
            };
            let offset = MUCH + (seed * 5000) as u64;
            let job = vfs.store_by_thread(&pin, offset, bytes).unwrap();
            assert_eq!(outcome(vfs, job), Ok(true));
            assert_eq!(read(vfs, node, offset, &mut out[..len]), Ok(len as u32));
            assert_eq!(out[..len], data[..len]);
        }
    }
    // It is behind nothing any more.
    write(vfs, node, 0, b"durable").unwrap();
    assert_eq!(store(vfs, &pin, 0, b"late"), None);
    vfs.unpin(pin);
}

pub(super) fn jobs_that_nobody_asks_for_take_no_place(world: &mut dyn World) {
    let vfs = writable(world);
    let Some((node, pin)) = behind_much(vfs) else {
        return;
    };
    let data = data(1, 70_000);
    let jobs: Vec<u32> = (0..)
        .map_while(|at| store(vfs, &pin, MUCH + at * 70_000, &data))
        .collect();
    assert_eq!(jobs.len(), THREAD_STORE_COUNT);
    for (place, job) in jobs.into_iter().enumerate() {
        if place % 2 == 0 {
            vfs.forget_stored(job);
        } else {
            assert_eq!(outcome(vfs, job), Ok(true));
        }
    }
    for round in 0..100 {
        let job = store(vfs, &pin, MUCH, &data).unwrap();
        if round % 2 == 0 {
            vfs.forget_stored(job);
        }
        assert_eq!(outcome(vfs, job), Ok(true), "a job that is not known");
    }
    let (job, mut out) = (store(vfs, &pin, MUCH, &data).unwrap(), vec![0; 70_000]);
    assert_eq!(outcome(vfs, job), Ok(true));
    for at in 0..THREAD_STORE_COUNT as u64 {
        let got = read(vfs, node, MUCH + at * 70_000, &mut out);
        assert_eq!((got, &out), (Ok(70_000), &data));
    }
    vfs.unpin(pin);
}

pub(super) fn what_threads_cannot_store_is_told(world: &mut dyn World) {
    let vfs = writable(world);
    let Some((node, pin)) = behind_much(vfs) else {
        return;
    };
    for offset in [i64::MAX as u64 - 10, i64::MAX as u64, u64::MAX - 10] {
        assert_eq!(store(vfs, &pin, offset, &[1; 70_000]), None, "{offset:#x}");
    }
    // There is nothing in this pipe.
    let pipe = fs::pipe().unwrap();
    let nothing = Bytes::Piped(pipe.0.as_raw_fd(), 10);
    let job = vfs.store_by_thread(&pin, 0, nothing).unwrap();
    assert_eq!(outcome(vfs, job), Err(FsError::TryLater));
    assert_eq!(vfs.attr(node).unwrap().size, MUCH);
    let job = store(vfs, &pin, 0, b"well").unwrap();
    assert_eq!(outcome(vfs, job), Ok(true));
    vfs.unpin(pin);
}
