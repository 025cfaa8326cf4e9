//! The host's log, as syslog(3) writes to it.

#![forbid(unsafe_code)]

use crate::event::{Line, Sink};
use crate::mem::Ends as _;
use crate::sys::linux::fs::File;
use crate::sys::linux::sockets;

/// Where every host has it that has one.
const PATH: &core::ffi::CStr = c"/dev/log";
/// Information, in syslog's numbers.
const SEVERITY: u32 = 6;
/// Bytes of what every line begins with that is meant for people at a terminal: "stowaway: ".
const HEAD_BYTES: usize = 10;

/// A sink whose lines begin as syslog's do: with priority, name and number of the process.
pub struct Syslog {
    socket: Option<File>,
    priority: u32,
    pid: u32,
}

impl Syslog {
    /// A sink for lines of this facility, one of syslog's numbers. Where the host has no log, they are lost.
    pub fn open(facility: u32) -> Self {
        Self {
            socket: sockets::datagrams_to(PATH).ok(),
            priority: facility * 8 + SEVERITY,
            pid: rustix::process::getpid().as_raw_pid().unsigned_abs(),
        }
    }
}

impl Sink for Syslog {
    fn take(&mut self, line: &[u8]) {
        let mut whole = Line::default();
        whole
            .text("<")
            .number(self.priority)
            .text(">sftp-server[")
            .number(self.pid)
            .text("]: ");
        // Escaped already, and with a newline at its end.
        let end = line.len().saturating_sub(1);
        whole.raw(line.head(end).tail(HEAD_BYTES));
        if let Some(socket) = &self.socket {
            let _ = rustix::io::write(socket, whole.bytes());
        }
    }
}
