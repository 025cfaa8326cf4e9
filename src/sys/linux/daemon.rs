//! The log of a daemon. `console` writes each message through it, also one of `mem` or of a panic.
//!
//! The daemon's standard error is the log. The process that the user started stays until the server is ready: each message also goes
//! to a pipe that it reads. `os::daemon` opens the log and makes the daemon.

use super::Errno;
use super::fs::{self, AT_FDCWD, File, Stat, fstatat};
use super::fsuid;
use super::stdio::Stdio;
use crate::mem::{Ends as _, copy_into};
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::{AtFlags, OFlags};

/// Size (bytes) at which a log file gets the name FILE.1 and a new one is begun.
const LOG_BYTES_MAX: i64 = 1 << 20;

/// A path of a log file is shorter than this (bytes), so that the path of a full one fits into 255.
pub const PATH_BYTES_MAX: usize = 250;
/// Added to the path of a full log file.
const SUFFIX: &[u8] = b".1";

/// Path of the log if it is a file and is standard error, or null.
static PATH: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
/// The pipe to the process that the user started, or -1: this is no daemon, or that process has ended.
static STARTER: AtomicI32 = AtomicI32::new(-1);

/// Makes `file` standard error. `path` is that of a log file, which is then limited to `LOG_BYTES_MAX`.
///
/// # Errors
/// Those of dup(2).
pub fn log_to(file: &File, path: Option<&'static CStr>) -> Result<(), Errno> {
    let path = path.map_or(core::ptr::null_mut(), |path| path.as_ptr().cast_mut());
    PATH.store(path, Ordering::Relaxed);
    Stdio::Error.replace(file.as_raw_fd())
}

/// Makes `pipe` the one that the process reads which the user started.
pub fn set_starter(pipe: File) {
    STARTER.store(pipe.leak(), Ordering::Relaxed);
}

/// Writes a message to standard error, and to the process that the user started as long as that waits.
pub(super) fn write(message: &[u8]) {
    Stdio::Error.offer(message);
    write_to_starter(message);
    limit_log();
}

/// Writes to the process that the user started. The pipe never blocks; it is closed once that process has ended.
fn write_to_starter(message: &[u8]) {
    let pipe = STARTER.load(Ordering::Relaxed);
    if pipe < 0 {
        return;
    }
    // SAFETY: the descriptor is open: it was leaked, and only `leave_starter` closes it, which stores -1 first. Both are called by
    // the loop's thread only.
    let to = unsafe { BorrowedFd::borrow_raw(pipe) };
    if rustix::io::write(to, message) == Err(Errno::PIPE) {
        leave_starter();
    }
}

/// Closes the pipe to the process that the user started.
fn leave_starter() {
    let pipe = STARTER.swap(-1, Ordering::Relaxed);
    if pipe >= 0 {
        fs::close(pipe);
    }
}

/// Begins a new log file if the present one is full. Another process of the daemon may have done so already.
fn limit_log() {
    let path = PATH.load(Ordering::Relaxed);
    if path.is_null() {
        return;
    }
    // SAFETY: the pointer is that of a static string.
    let path = unsafe { CStr::from_ptr(path) };
    let (now, named) = (&mut MaybeUninit::uninit(), &mut MaybeUninit::uninit());
    let Ok(now) = stat(Stdio::Error as i32, c"", now) else {
        return;
    };
    if now.st_size < LOG_BYTES_MAX {
        return;
    }
    // The NFS server may have set the file-system UID of a caller.
    fsuid::restore();
    if stat(AT_FDCWD, path, named).is_ok_and(|named| named.st_ino == now.st_ino) {
        let (name, former) = (path.to_bytes(), &mut [0; PATH_BYTES_MAX + SUFFIX.len()]);
        copy_into(former, name);
        copy_into(former.tail_mut(name.len()), SUFFIX);
        let former = former.head(name.len() + SUFFIX.len());
        let _ = fs::renameat::<Errno>((AT_FDCWD, name), (AT_FDCWD, former), true);
    }
    let _ = open_lines(path).and_then(|file| log_to(&file, Some(path)));
}

fn stat<'a>(dir: i32, path: &CStr, out: &'a mut MaybeUninit<Stat>) -> Result<&'a Stat, Errno> {
    fstatat(dir, path, AtFlags::SYMLINK_NOFOLLOW, out)
}

/// Opens or creates a file, to write at its end.
///
/// # Errors
/// Those of open(2); ELOOP: it is a link.
pub fn open_lines(path: &CStr) -> Result<File, Errno> {
    // The server may have set the file-system UID of a caller.
    fsuid::restore();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOCTTY;
    File::open(path, flags | OFlags::NONBLOCK | OFlags::NOFOLLOW, 0o644)
}

/// Makes the process that was started end with status 0.
pub fn tell_ready() {
    write_to_starter(&[0]);
    leave_starter();
}
