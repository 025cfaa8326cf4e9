//! The system logger: /dev/log, as syslog(3) of glibc uses it, or the UDP port of another host.
//!
//! At /dev/log lines are datagrams; if the logger listens with a stream socket (EPROTOTYPE), a stream in which NUL ends each line. A
//! line that the logger does not accept is sent again over a new connection, because loggers start again. A process has one logger,
//! which its children inherit.

use super::Errno;
use super::fs;
use super::sockets::{self, DATAGRAM, NONBLOCK, UNIX};
use super::stdio::PATIENCE;
use crate::mem::Ends as _;
use core::ffi::CStr;
use core::net::Ipv6Addr;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd as _, RawFd};

/// The socket of the system logger.
pub const PATH: &CStr = c"/dev/log";
/// The address of [`PATH`] in the kernel's layout.
const ADDRESS: &[u8] = b"\x01\0/dev/log\0";
const _: () = assert!(UNIX.to_ne_bytes()[0] == ADDRESS[0]);

/// The socket for datagrams; 0: there is no logger.
static DATAGRAMS: AtomicI32 = AtomicI32::new(0);
/// The connection to a logger that takes a stream; 0: there is none.
static STREAM: AtomicI32 = AtomicI32::new(0);
/// True if the logger is that of another host.
static IS_HOST: AtomicBool = AtomicBool::new(false);
/// True while lines of the log are lost.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

/// Makes the logger at [`PATH`] that of this process.
///
/// # Errors
/// ENOTCONN: no logger reads lines; each line tries it again. Those of socket(2).
pub fn open() -> Result<(), Errno> {
    let socket = sockets::open(UNIX, DATAGRAM | NONBLOCK)?;
    DATAGRAMS.store(socket.leak(), Relaxed);
    connect().map_err(|_| Errno::NOTCONN)
}

/// Makes the logger of another host that of this process.
///
/// # Errors
/// Those of socket(2) and connect(2).
pub fn open_host(host: Ipv6Addr, port: u16) -> Result<(), Errno> {
    let socket = sockets::datagrams_to_host(host, port)?;
    DATAGRAMS.store(socket.leak(), Relaxed);
    IS_HOST.store(true, Relaxed);
    Ok(())
}

/// Returns true if this process has a logger.
pub(super) fn is_open() -> bool {
    DATAGRAMS.load(Relaxed) > 0
}

/// Returns true if [`send`] may call connect(2).
pub(super) fn is_local() -> bool {
    is_open() && !IS_HOST.load(Relaxed)
}

/// Returns true if [`send`] may call socket(2): the logger takes a stream, or is not running.
pub(super) fn needs_sockets() -> bool {
    is_local() && (STREAM.load(Relaxed) > 0 || HAS_FAILED.load(Relaxed))
}

/// Connects to the logger at [`PATH`].
fn connect() -> Result<(), Errno> {
    let former = STREAM.swap(0, Relaxed);
    if former > 0 {
        fs::close(former);
    }
    // A socket for datagrams can be connected again.
    match sockets::connect_at(DATAGRAMS.load(Relaxed), ADDRESS) {
        Err(Errno::PROTOTYPE) => {
            let stream = sockets::open(UNIX, sockets::STREAM | NONBLOCK)?;
            sockets::connect_at(stream.as_raw_fd(), ADDRESS)?;
            STREAM.store(stream.leak(), Relaxed);
            Ok(())
        }
        connected => connected,
    }
}

/// Sends a line that ends with NUL.
///
/// # Errors
/// The first since the last line that was sent. ENOTCONN: no logger reads the line.
pub fn send(line: &[u8]) -> Result<(), Errno> {
    let sent = offer(line);
    if IS_HOST.load(Relaxed) {
        // ICMP refuses the line before. A line that is sent proves nothing, so that the first error is the only one.
        if sent.is_err() {
            let _ = offer(line);
            return first(sent);
        }
        return sent;
    }
    first(sent.or_else(|errno| send_again(line, errno)))
}

/// Returns an error only if it is the first since the last success.
pub fn first(written: Result<(), Errno>) -> Result<(), Errno> {
    match HAS_FAILED.swap(written.is_err(), Relaxed) {
        true => Ok(()),
        false => written,
    }
}

/// The connection for lines.
fn socket() -> RawFd {
    match STREAM.load(Relaxed) {
        0 => DATAGRAMS.load(Relaxed),
        stream => stream,
    }
}

/// Sends a line if the logger has space for it. A datagram has no NUL. The kernel does not divide so short a line.
fn offer(line: &[u8]) -> Result<(), Errno> {
    let len = line.len() - usize::from(STREAM.load(Relaxed) == 0);
    fs::write(socket(), line.head(len)).map(drop)
}

/// Sends a line after an error: when the logger has space, or if it has started again. After a timeout, later lines do not wait.
fn send_again(line: &[u8], errno: Errno) -> Result<(), Errno> {
    if errno != Errno::AGAIN {
        let _ = connect();
    } else if !HAS_FAILED.load(Relaxed) {
        let mut watched = [PollFd::from_borrowed_fd(
            fs::borrow(socket()),
            PollFlags::OUT,
        )];
        let _ = super::sleep(&mut watched, Some(PATIENCE));
    }
    offer(line).map_err(|_| Errno::NOTCONN)
}
