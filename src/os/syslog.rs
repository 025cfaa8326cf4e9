//! The host's log, in the format of syslog(3).

#![forbid(unsafe_code)]

use crate::event::{Line, Marks, PREFIX_BYTES, Sink};
use crate::mem::Ends as _;
use crate::sys::linux::fs::File;
use crate::sys::linux::sockets;

/// The socket of the system logger.
const PATH: &core::ffi::CStr = c"/dev/log";
/// LOG_INFO.
const SEVERITY: u32 = 6;

/// A sink whose lines begin as those of syslog(3): priority, program name, PID.
pub struct Syslog {
    socket: Option<File>,
    priority: u32,
    pid: u32,
}

impl Syslog {
    /// Creates a sink for a syslog facility (its number). Lines are lost if the host has no system logger.
    pub fn open(facility: u32) -> Self {
        Self {
            socket: sockets::datagrams_to(PATH).ok(),
            priority: facility * 8 + SEVERITY,
            pid: rustix::process::getpid().as_raw_pid().unsigned_abs(),
        }
    }
}

impl Sink for Syslog {
    fn write_line(&mut self, line: &[u8], _: Marks) {
        let mut whole = Line::default();
        whole
            .text("<")
            .number(self.priority)
            .text(">sftp-server[")
            .number(self.pid)
            .text("]: ");
        // The line is already escaped and ends with a newline.
        let end = line.len().saturating_sub(1);
        whole.raw(line.head(end).tail(PREFIX_BYTES));
        if let Some(socket) = &self.socket {
            let _ = rustix::io::write(socket, whole.bytes());
        }
    }
}
