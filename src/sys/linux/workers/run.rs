//! The code that a worker thread runs.
//!
//! A worker makes system calls on the descriptors of its job, and accesses its stack, its [`Worker`] and atomic words. It neither
//! allocates nor logs: allocator, heap and traces are for the loop's thread alone. `cargo xtask tidy` refuses imports of `mem` and
//! `log` here, in `sys::linux::fs` (but for helpers of slices) and in `sys::linux::fsuid`.

use super::super::fs;
use super::super::{Errno, fsuid, outcome};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use rustix::fd::RawFd;
use syscalls::{Sysno, raw_syscall};

/// Work on a file. The worker closes the file after it.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// fsync, or syncfs if fsync fails with EINVAL.
    Sync,
    /// syncfs.
    SyncSystem,
    /// Reads a range into the page cache.
    Read {
        /// Offset in the file, in bytes.
        offset: u64,
        /// Bytes to read.
        len: u32,
    },
    /// Moves bytes from a pipe to the file.
    Write {
        /// The pipe, which stays open.
        pipe: RawFd,
        /// Offset in the file, in bytes.
        offset: u64,
        /// Bytes to move.
        len: u32,
        /// UID that writes the bytes; `None`: the process cannot switch users.
        user: Option<u32>,
    },
    /// Only closes the file. The last close of an unlinked file frees its blocks.
    Close,
}

/// The states of a worker.
pub(super) const IDLE: u32 = 0;
pub(super) const ASSIGNED: u32 = 1;
pub(super) const ENDED: u32 = 2;

/// Memory shared by a worker and the loop. While `state` is [`ASSIGNED`], only the worker accesses it, else only the loop.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) state: AtomicU32,
    pub(super) job: UnsafeCell<(Work, RawFd)>,
    /// The errno of the job; 0: none.
    pub(super) errno: AtomicI32,
    /// Number of bytes that a [`Work::Write`] stored.
    pub(super) stored: AtomicU32,
    /// The pipe to write to when a job has ended.
    pub(super) pipe: RawFd,
}

// SAFETY: either the worker or the loop accesses `job`, as `state` says; the state is stored with release and loaded with acquire.
unsafe impl Sync for Worker {}

/// The main function of a worker thread: runs jobs until the process ends.
pub(super) extern "C" fn work(worker: &Worker) -> ! {
    loop {
        while worker.state.load(Ordering::Acquire) != ASSIGNED {
            sleep_unless_changed(&worker.state);
        }
        // SAFETY: the loop wrote `job` before it set ASSIGNED, and does not access it until ENDED.
        let (work, file) = unsafe { *worker.job.get() };
        let mut stored = 0;
        let result = match work {
            Work::Sync => fs::sync(file),
            Work::SyncSystem => fs::syncfs(file),
            Work::Read { offset, len } => fs::read_into_cache(file, offset, len),
            Work::Write {
                pipe,
                offset,
                len,
                user,
            } => store(pipe, file, offset, len, user, &mut stored),
            Work::Close => Ok(()),
        };
        fs::close(file);
        let errno = result.map_or_else(Errno::raw_os_error, |()| 0);
        worker.errno.store(errno, Ordering::Relaxed);
        worker.stored.store(stored, Ordering::Relaxed);
        worker.state.store(ENDED, Ordering::Release);
        notify(worker.pipe);
    }
}

/// Moves bytes from a pipe to a file. `stored` counts them, even if an error follows.
fn store(
    pipe: RawFd,
    file: RawFd,
    offset: u64,
    len: u32,
    user: Option<u32>,
    stored: &mut u32,
) -> Result<(), Errno> {
    if !user.is_none_or(fsuid::set_thread_user) {
        return Err(Errno::ACCESS);
    }
    while *stored < len {
        let mut at = offset + u64::from(*stored);
        match fs::splice(pipe, None, file, Some(&mut at), (len - *stored) as usize) {
            Ok(0) => return Err(Errno::IO),
            Ok(count) => *stored += count as u32,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Writes a byte, and tries again once if none is written: the loop may sleep without a timeout. EAGAIN: the pipe is full, so it
/// is readable already.
pub(super) fn notify(pipe: RawFd) {
    // SAFETY: the kernel reads one byte.
    let write = || outcome(unsafe { raw_syscall!(Sysno::write, pipe, c"".as_ptr(), 1) });
    if write() != Ok(1) {
        let _ = write();
    }
}

const FUTEX_WAIT_PRIVATE: usize = 128;

/// Sleeps until [`wake`](super::wake) is called, unless `state` is [`ASSIGNED`]. May return early.
fn sleep_unless_changed(state: &AtomicU32) {
    let seen = state.load(Ordering::Acquire);
    if seen != ASSIGNED {
        // SAFETY: the kernel reads the word, which outlives the call; no timeout.
        unsafe { raw_syscall!(Sysno::futex, state.as_ptr(), FUTEX_WAIT_PRIVATE, seen, 0) };
    }
}
