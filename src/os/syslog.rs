//! The host's log, in the format of syslog(3).

#![forbid(unsafe_code)]

use crate::event::{Fatal, Line, Logged, Marks, PREFIX_BYTES, Sink};
use crate::mem::Ends as _;
use crate::sys::Errno;
use crate::sys::linux::logger;

/// LOG_INFO.
const SEVERITY: u32 = 6;

/// A sink whose lines begin as those of syslog(3): priority, program name, PID.
pub struct Syslog {
    priority: u32,
    pid: u32,
    /// Reports the error of the first line that is lost.
    report: fn(&[u8], Errno) -> Fatal,
}

impl Syslog {
    /// Creates a sink for a syslog facility (its number). `report` is called with the path of the logger and an error when the first line
    /// is lost, also if the host has no logger.
    pub fn open(facility: u32, report: fn(&[u8], Errno) -> Fatal) -> Self {
        // The first line reports an error.
        let _ = logger::open();
        Self {
            priority: facility * 8 + SEVERITY,
            pid: rustix::process::getpid().as_raw_pid().unsigned_abs(),
            report,
        }
    }
}

impl Logged for Syslog {}

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
        if let Err(errno) = logger::send(whole.end_with(0)) {
            (self.report)(logger::PATH.to_bytes(), errno);
        }
    }
}
