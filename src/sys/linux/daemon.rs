//! Daemons: a process without a terminal, in the background, and its messages.
//!
//! The daemon's standard error is the log, from the first message on. The process that the user started stays until the server is
//! ready: the daemon, its child, also writes each message to a pipe, and that process copies them to its standard error.

use super::Errno;
use super::fs::{self, AT_FDCWD, File, Stat, fstatat};
use super::fsuid;
use super::process;
use super::sockets::{datagrams_to, datagrams_to_host};
use super::stdio::Stdio;
use crate::mem::{Ends as _, copy_into};
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;
use core::net::SocketAddrV6;
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use rustix::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use rustix::fs::{AtFlags, FlockOperation, OFlags};

/// Size (bytes) at which a log file gets the name FILE.1 and a new one is begun.
const LOG_BYTES_MAX: i64 = 1 << 20;

/// A path of a log file is shorter than this (bytes), so that the path of a full one fits into 255.
pub const LOG_PATH_BYTES_MAX: usize = 250;
/// Added to the path of a full log file.
const SUFFIX: &[u8] = b".1";

/// Where messages go.
#[derive(Clone, Copy, Debug)]
pub enum Log {
    /// The socket of the system logger (/dev/log); nowhere if the host has none.
    System,
    /// A system logger that receives UDP datagrams: RFC 3164, without a priority, which means user.notice.
    Host(SocketAddrV6),
    /// A file, whose path is shorter than [`LOG_PATH_BYTES_MAX`].
    File(&'static CStr),
}

/// Path of the log if it is a file and is standard error, or null.
static PATH: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
/// The pipe to the process that the user started, or -1: this is no daemon, or that process has ended.
static STARTER: AtomicI32 = AtomicI32::new(-1);

/// An open log.
#[derive(Debug)]
pub struct OpenLog {
    file: File,
    /// The path if the log is a file.
    path: Option<&'static CStr>,
}

impl OpenLog {
    /// Opens a log.
    ///
    /// # Errors
    /// Those of open(2) and socket(2).
    pub fn open(log: Log) -> Result<Self, Errno> {
        let mut to = None;
        let file = match log {
            Log::System => datagrams_to(c"/dev/log").or_else(|_| open_null())?,
            Log::Host(at) => datagrams_to_host(*at.ip(), at.port())?,
            Log::File(path) => {
                to = Some(path);
                open_lines(path)?
            }
        };
        Ok(Self { file, path: to })
    }

    /// Makes the log standard error.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn start(self) -> Result<(), Errno> {
        let path = self
            .path
            .map_or(core::ptr::null_mut(), |path| path.as_ptr().cast_mut());
        PATH.store(path, Ordering::Relaxed);
        Stdio::Error.replace(self.file.as_raw_fd())
    }
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
        let (name, former) = (path.to_bytes(), &mut [0; LOG_PATH_BYTES_MAX + SUFFIX.len()]);
        copy_into(former, name);
        copy_into(former.tail_mut(name.len()), SUFFIX);
        let former = former.head(name.len() + SUFFIX.len());
        let _ = fs::renameat::<Errno>((AT_FDCWD, name), (AT_FDCWD, former), true);
    }
    let _ = OpenLog::open(Log::File(path)).and_then(OpenLog::start);
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

/// Opens /dev/null.
///
/// # Errors
/// Those of open(2).
pub fn open_null() -> Result<File, Errno> {
    File::open(c"/dev/null", OFlags::RDWR, 0)
}

/// A locked pid file. The lock ends with the last process that has the descriptor.
#[derive(Debug)]
pub struct PidFile(File);

impl PidFile {
    /// Opens or creates the file at `path` and locks it.
    ///
    /// # Errors
    /// EBUSY: another process has locked it. ELOOP: it is a link. Those of open(2).
    pub fn lock(path: &CStr) -> Result<Self, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW;
        let file: File =
            File::open::<Errno>(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY, 0o644)?;
        let locked = rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive);
        locked.map_err(|_| Errno::BUSY)?;
        Ok(Self(file))
    }

    /// Replaces the content of the file.
    pub fn write(&self, text: &[u8]) {
        self.clear();
        let _ = fs::pwrite::<Errno>(self.0.as_raw_fd(), 0, text);
    }

    /// Empties the file.
    pub fn clear(&self) {
        let _ = fs::truncate::<Errno>(self.0.as_raw_fd(), None, 0);
    }
}

/// Number of this process.
pub fn process_id() -> u32 {
    rustix::process::getpid().as_raw_pid().unsigned_abs()
}

/// Goes on in a child process, the daemon: in a session of its own, with `null` as standard input and output and `log` as standard
/// error. The process that was started ends with status 0 when the daemon calls [`tell_ready`], or with the daemon's exit status.
///
/// # Errors
/// The errors of pipe(2) and clone(2).
pub fn detach(null: &File, log: OpenLog) -> Result<(), Errno> {
    let (from, to) = fs::pipe()?;
    if process::split()?.is_some() {
        drop(to);
        Stdio::Input.replace(from.as_raw_fd())?;
        relay();
    }
    let _ = rustix::process::setsid();
    Stdio::Input.replace(null.as_raw_fd())?;
    Stdio::Output.replace(null.as_raw_fd())?;
    log.start()?;
    STARTER.store(to.leak(), Ordering::Relaxed);
    Ok(())
}

/// Makes the process that was started end with status 0.
pub fn tell_ready() {
    write_to_starter(&[0]);
    leave_starter();
}

/// Copies messages of the daemon from standard input to standard error until one has a NUL. Ends the process.
fn relay() -> ! {
    let buffer = &mut [0; 1024];
    loop {
        let len = Stdio::Input.receive(buffer);
        let text = buffer.head(len);
        let end = text.iter().position(|byte| *byte == 0);
        Stdio::Error.offer(text.head(end.unwrap_or(len)));
        if end.is_some() {
            process::exit(0);
        }
        if len == 0 {
            process::exit(process::reap_any(true).map_or(1, |(_, status)| status));
        }
    }
}
