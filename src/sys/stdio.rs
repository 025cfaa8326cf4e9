//! The standard streams as byte streams.

use super::Errno;
use crate::time::Duration;
use embedded_io::{ErrorKind, ErrorType, Write};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;

/// Standard output or standard error.
#[derive(Clone, Copy, Debug)]
pub struct Stdio {
    descriptor: i32,
    patient: bool,
}

impl Stdio {
    /// Standard output: a write waits until it is taken.
    pub const fn output() -> Self {
        Self {
            descriptor: 1,
            patient: true,
        }
    }

    /// Standard error: what is not taken at once is dropped, because a server must not wait for who reads its words.
    pub const fn error() -> Self {
        Self {
            descriptor: 2,
            patient: false,
        }
    }
}

impl ErrorType for Stdio {
    type Error = ErrorKind;
}

impl Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        // SAFETY: 1 and 2 are never closed by this process; if they came closed, the write fails.
        let descriptor = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        if !self.patient {
            let mut poll = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
            if super::sleep(&mut poll, Some(Duration::default())) == Ok(0) {
                return Err(ErrorKind::TimedOut);
            }
        }
        match rustix::io::write(descriptor, bytes) {
            Ok(0) => Err(ErrorKind::WriteZero),
            Ok(written) => Ok(written),
            Err(Errno::INTR) => Err(ErrorKind::Interrupted),
            Err(_) => Err(ErrorKind::BrokenPipe),
        }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
