//! The standard streams as byte streams.

use crate::time::Duration;
use embedded_io::{ErrorKind, ErrorType, Write};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;

/// Standard output or standard error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Stdio {
    /// Standard output: a write waits until it is taken.
    Output = 1,
    /// Standard error: what is not taken at once is dropped, because a server must not wait for who reads its words.
    Error = 2,
}

impl ErrorType for Stdio {
    type Error = ErrorKind;
}

impl Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        // SAFETY: 1 and 2 are never closed by this process; if they came closed, the write fails.
        let descriptor = unsafe { BorrowedFd::borrow_raw(*self as i32) };
        if *self == Self::Error {
            let mut poll = [PollFd::from_borrowed_fd(descriptor, PollFlags::OUT)];
            if super::sleep(&mut poll, Some(Duration::default())) == Ok(0) {
                return Err(ErrorKind::TimedOut);
            }
        }
        rustix::io::write(descriptor, bytes).map_err(|_| ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
