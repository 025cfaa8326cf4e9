//! The log of a server. `console` writes each message through it, also one of `mem` or of a panic.
//!
//! Standard error is the log; the former standard error is kept for messages about the log. The process that started a daemon stays
//! until the server is ready: each message also goes to a pipe that it reads. `os::daemon` opens the log and makes the daemon.

use super::Errno;
use super::fs::{self, AT_FDCWD, File, Stat, fstatat};
use super::fsuid;
use super::logger;
use super::stdio::Stdio;
use crate::mem::{Ends as _, copy_into};
use crate::time::Duration;
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _};
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

/// The standard error that the log has replaced, or -1.
static FORMER: AtomicI32 = AtomicI32::new(-1);

/// Keeps the present standard error open, for messages about the log that replaces it.
pub fn keep_standard_error() {
    // SAFETY: standard error is open for the whole life of the process.
    let now = unsafe { BorrowedFd::borrow_raw(Stdio::Error as i32) };
    if let Ok(kept) = rustix::io::fcntl_dupfd_cloexec(now, Stdio::Error as i32 + 1) {
        FORMER.store(kept.into_raw_fd(), Ordering::Relaxed);
    }
}

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

/// Path of the log file, else of the socket of the system logger; empty: the log is standard error or another host's.
pub(super) fn path() -> &'static CStr {
    let path = PATH.load(Ordering::Relaxed);
    match path.is_null() {
        true if logger::is_local() => logger::PATH,
        true => c"",
        // SAFETY: the pointer is that of a static string.
        false => unsafe { CStr::from_ptr(path) },
    }
}

/// Writes a line to the logger or to standard error, and `message` to the process that the user started as long as that waits. A line
/// to a logger ends with NUL.
///
/// # Errors
/// The first error of a logger or a log file since its last success.
pub(super) fn write(line: &[u8], message: &[u8]) -> Result<(), Errno> {
    write_to_starter(message);
    if logger::is_open() {
        return logger::send(line);
    }
    if PATH.load(Ordering::Relaxed).is_null() {
        Stdio::Error.offer(line);
        return Ok(());
    }
    let written = fs::append(Stdio::Error as i32, line);
    let limited = limit_log();
    logger::first(written.and(limited))
}

/// Writes a message about the log to the former standard error, and to the process that the user started.
pub(super) fn report(message: &[u8]) {
    write_to_starter(message);
    let former = FORMER.load(Ordering::Relaxed);
    if former >= 0 {
        // SAFETY: the descriptor is open: `keep_standard_error` has leaked it.
        let former = unsafe { BorrowedFd::borrow_raw(former) };
        let mut watched = [PollFd::from_borrowed_fd(former, PollFlags::OUT)];
        let _ = super::sleep(&mut watched, Some(Duration::from_ms(0)));
        if !watched[0].revents().is_empty() {
            let _ = rustix::io::write(former, message);
        }
    }
}

/// Opens the log file again, or makes a new one, in case another program has renamed it. After an error, lines still go to the old
/// file.
///
/// # Errors
/// Those of open(2).
pub(super) fn reopen() -> Result<(), Errno> {
    if PATH.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    let path = path();
    log_to(&open_lines(path)?, Some(path))
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
///
/// # Errors
/// Those of rename(2) and open(2): the full file grows.
fn limit_log() -> Result<(), Errno> {
    let path = path();
    let (now, named) = (&mut MaybeUninit::uninit(), &mut MaybeUninit::uninit());
    let Ok(now) = stat(Stdio::Error as i32, c"", now) else {
        return Ok(());
    };
    if now.st_size < LOG_BYTES_MAX {
        return Ok(());
    }
    // The NFS server may have set the file-system UID of a caller.
    fsuid::restore();
    if stat(AT_FDCWD, path, named).is_ok_and(|named| named.st_ino == now.st_ino) {
        let (name, former) = (path.to_bytes(), &mut [0; PATH_BYTES_MAX + SUFFIX.len()]);
        copy_into(former, name);
        copy_into(former.tail_mut(name.len()), SUFFIX);
        let former = former.head(name.len() + SUFFIX.len());
        fs::renameat::<Errno>((AT_FDCWD, name), (AT_FDCWD, former), true)?;
    }
    reopen()
}

/// Opens the directory of the log file, in which a new file is made. `None`: the log is no file.
pub(super) fn open_directory() -> Option<File> {
    if PATH.load(Ordering::Relaxed).is_null() {
        return None;
    }
    let path = path().to_bytes();
    let dir = &mut [0; PATH_BYTES_MAX];
    match path.iter().rposition(|byte| *byte == b'/') {
        None => copy_into(dir, b"."),
        Some(slash) => copy_into(dir, path.head(slash.max(1))),
    }
    let dir = CStr::from_bytes_until_nul(dir).ok()?;
    File::open::<Errno>(dir, OFlags::PATH | OFlags::DIRECTORY, 0).ok()
}

/// Device and inode of standard error.
#[allow(
    clippy::useless_conversion,
    reason = "field widths differ by architecture"
)]
pub(super) fn standard_error_id() -> Option<[u64; 2]> {
    let buffer = &mut MaybeUninit::uninit();
    let stat = stat(Stdio::Error as i32, c"", buffer);
    stat.ok()
        .map(|stat| [stat.st_dev.into(), stat.st_ino.into()])
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
