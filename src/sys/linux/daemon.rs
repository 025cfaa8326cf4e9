//! Daemons: a process without a terminal, in the background, and its messages.
//!
//! The process that the user started stays until the server is ready: its child, the daemon, writes messages to a pipe, and it
//! copies them to its standard error. Then it ends, and writes to the pipe fail with EPIPE. At that, each process of the daemon
//! replaces its own standard error with the log.

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
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};
use embedded_io::Read as _;
use rustix::fd::{AsFd as _, AsRawFd as _};
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

/// Descriptor that replaces standard error after a write to it failed, or -1.
static LOG: AtomicI32 = AtomicI32::new(-1);
/// True once the log is standard error.
static IS_USED: AtomicBool = AtomicBool::new(false);
/// Path of the log if it is a file, or null.
static PATH: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());

/// Opens a log. Messages go there after a write to standard error has failed, or after [`use_log`].
///
/// # Errors
/// Those of open(2) and socket(2).
pub fn open_log(log: Log) -> Result<(), Errno> {
    let opened = match log {
        Log::System => datagrams_to(c"/dev/log").or_else(|_| open_null())?,
        Log::Host(at) => datagrams_to_host(*at.ip(), at.port())?,
        Log::File(path) => {
            PATH.store(path.as_ptr().cast_mut(), Ordering::Relaxed);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::NOCTTY;
            File::open(path, flags | OFlags::NONBLOCK | OFlags::NOFOLLOW, 0o644)?
        }
    };
    let before = LOG.swap(opened.leak(), Ordering::Relaxed);
    if before >= 0 {
        fs::close(before);
    }
    Ok(())
}

/// Makes the log standard error. Returns false if there is no log.
pub fn use_log() -> bool {
    let log = LOG.load(Ordering::Relaxed);
    let is_used = log >= 0 && Stdio::Error.replace(log).is_ok();
    IS_USED.store(is_used, Ordering::Relaxed);
    is_used
}

/// Writes a message to standard error, or to the log if that fails.
pub(super) fn write(message: &[u8]) {
    if !Stdio::Error.offer(message) && use_log() {
        Stdio::Error.offer(message);
    }
    if IS_USED.load(Ordering::Relaxed) {
        limit_log();
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
    let Ok(now) = stat(LOG.load(Ordering::Relaxed), c"", now) else {
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
    if open_log(Log::File(path)).is_ok() {
        use_log();
    }
}

fn stat<'a>(dir: i32, path: &CStr, out: &'a mut MaybeUninit<Stat>) -> Result<&'a Stat, Errno> {
    fstatat(dir, path, AtFlags::SYMLINK_NOFOLLOW, out)
}

fn open_null() -> Result<File, Errno> {
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

/// Goes on in a child process, the daemon: in a session of its own, without standard input and output. The process that was started ends with status 0 when the daemon calls [`tell_ready`], or with the daemon's exit status.
///
/// # Errors
/// Those of pipe(2), clone(2) and open(2).
pub fn detach() -> Result<(), Errno> {
    let (from, to) = fs::pipe()?;
    let null = open_null()?;
    if process::split()?.is_some() {
        drop(to);
        Stdio::Input.replace(from.as_raw_fd())?;
        relay();
    }
    let _ = rustix::process::setsid();
    Stdio::Input.replace(null.as_raw_fd())?;
    Stdio::Output.replace(null.as_raw_fd())?;
    Stdio::Error.replace(to.as_raw_fd())
}

/// Makes the process that was started end with status 0.
pub fn tell_ready() {
    Stdio::Error.offer(&[0]);
}

/// Copies messages of the daemon from standard input to standard error until one has a NUL. Ends the process.
fn relay() -> ! {
    let buffer = &mut [0; 1024];
    loop {
        let len = Stdio::Input.read(buffer).unwrap_or(0);
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
