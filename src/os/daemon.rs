//! Daemons: a process without a terminal, in the background, and its messages.

#![forbid(unsafe_code)]

use super::log_place::{Place, place};
use crate::mem::Ends as _;
use crate::sys::Errno;
use crate::sys::linux::daemon as log;
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::logger;
use crate::sys::linux::process;
use crate::sys::linux::stdio::Stdio;
use core::ffi::CStr;
use core::net::SocketAddrV6;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// A path of a log file is shorter than this (bytes), so that the path of a full one fits into 255.
pub const LOG_PATH_BYTES_MAX: usize = log::PATH_BYTES_MAX;

/// Where messages go.
#[derive(Clone, Copy, Debug)]
pub enum Log {
    /// The socket of the system logger (/dev/log), which [`open_logger`] opens.
    System,
    /// A system logger that receives UDP datagrams: RFC 3164.
    Host(SocketAddrV6),
    /// A file or a standard stream, whose path is shorter than [`LOG_PATH_BYTES_MAX`].
    File(&'static CStr),
}

/// An open log.
#[derive(Debug)]
pub struct OpenLog {
    /// The new standard error. `None`: the log is a logger.
    file: Option<File>,
    /// The path if the log is a file.
    path: Option<&'static CStr>,
}

/// Opens the system logger of this host.
///
/// # Errors
/// ENOTCONN: no logger reads lines; each line tries it again. Those of socket(2).
pub fn open_logger() -> Result<(), Errno> {
    logger::first(logger::open())
}

impl OpenLog {
    /// Opens a log.
    ///
    /// # Errors
    /// Those of open(2) and socket(2).
    pub fn open(log: Log) -> Result<Self, Errno> {
        let (mut file, mut to) = (None, None);
        match log {
            Log::System => {}
            Log::Host(at) => logger::open_host(*at.ip(), at.port())?,
            Log::File(path) => match place(path)? {
                Place::Stream(stream) => file = Some(stream.duplicate()?),
                Place::File(path) => {
                    to = Some(path);
                    file = Some(log::open_lines(path)?);
                }
            },
        }
        Ok(Self { file, path: to })
    }

    /// Makes the log standard error, unless it is a logger.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn start(self) -> Result<(), Errno> {
        match self.file {
            Some(file) => log::log_to(&file, self.path),
            None => Ok(()),
        }
    }
}

/// Keeps the present standard error open, for messages about the log that replaces it.
pub fn keep_standard_error() {
    log::keep_standard_error();
}

/// Opens /dev/null.
///
/// # Errors
/// Those of open(2).
pub fn open_null() -> Result<File, Errno> {
    File::open(c"/dev/null", OFlags::RDWR, 0)
}

/// Number of this process.
pub fn process_id() -> u32 {
    rustix::process::getpid().as_raw_pid().unsigned_abs()
}

/// Goes on in a child process, the daemon: in a session of its own and in /, with `null` as standard input and output and `log` as
/// standard error. The process that was started ends with status 0 when the daemon calls [`tell_ready`], or with the daemon's exit status.
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
    // Paths are absolute by now. The file system of the start directory can be unmounted.
    let _ = rustix::process::chdir(c"/");
    Stdio::Input.replace(null.as_raw_fd())?;
    Stdio::Output.replace(null.as_raw_fd())?;
    Stdio::Error.replace(null.as_raw_fd())?;
    log.start()?;
    log::set_starter(to);
    Ok(())
}

/// Makes the process that was started end with status 0.
pub fn tell_ready() {
    log::tell_ready();
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
