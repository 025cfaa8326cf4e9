//! The standard streams as byte streams.

use super::Errno;
use super::files::{self, File};
use super::outcome;
use crate::time::Duration;
use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use syscalls::{Sysno, raw_syscall};

/// A standard stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Stdio {
    /// Standard input.
    Input = 0,
    /// Standard output: a write waits until it is taken.
    Output = 1,
    /// Standard error: what is not taken at once is dropped, because a server must not wait for who reads its words.
    Error = 2,
}

impl Stdio {
    const fn descriptor(self) -> BorrowedFd<'static> {
        // SAFETY: these are never closed by this process; if they came closed, calls fail.
        unsafe { BorrowedFd::borrow_raw(self as i32) }
    }

    /// Whether it can go on within `timeout`; without one, waits until it can.
    fn is_ready(self, timeout: Option<Duration>) -> bool {
        let wanted = match self {
            Self::Input => PollFlags::IN,
            _ => PollFlags::OUT,
        };
        let mut poll = [PollFd::from_borrowed_fd(self.descriptor(), wanted)];
        super::sleep(&mut poll, timeout) != Ok(0)
    }

    /// Writes all of `bytes` to standard output; false: it cannot be written.
    pub fn print(mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let count = Self::Output.write(bytes).unwrap_or(0);
            match bytes.get(count..) {
                Some(rest) if count > 0 => bytes = rest,
                _ => return false,
            }
        }
        true
    }

    /// Sends bytes of a file without copying them here; `None`: that is not possible.
    pub fn send_file(self, file: i32, offset: u64, len: u32) -> Option<usize> {
        loop {
            if let Some(sent) = told(self, files::send_file(self.descriptor(), file, offset, len)) {
                return sent.ok();
            }
        }
    }

    /// Puts a connection in the place of standard input and output.
    pub fn replace(connection: &File) -> Result<(), Errno> {
        for place in [Self::Input, Self::Output] {
            // SAFETY: two numbers; what the second stood for is closed, and nobody counts on it.
            outcome(unsafe { raw_syscall!(Sysno::dup2, connection.as_raw_fd(), place as i32) })?;
        }
        Ok(())
    }
}

/// A terminal's settings, as the kernel has them.
#[doc(alias = "termios")]
#[derive(Clone, Copy)]
#[repr(C)]
struct Settings {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    characters: [u8; 19],
}

/// A terminal that passes every byte as it is, until this is dropped.
pub struct Transparent {
    before: Settings,
}

const GET_SETTINGS: usize = 0x5401;
const SET_SETTINGS: usize = 0x5402;

impl Stdio {
    /// Makes the terminal behind standard input pass every byte as it is; `None`: there is none.
    pub fn pass_all_bytes() -> Option<Transparent> {
        const WAIT: usize = 5;
        const COUNT: usize = 6;
        let mut settings = Settings {
            input: 0,
            output: 0,
            control: 0,
            local: 0,
            line: 0,
            characters: [0; 19],
        };
        let input = Self::Input as i32;
        // SAFETY: the kernel writes the structure.
        let got = unsafe { raw_syscall!(Sysno::ioctl, input, GET_SETTINGS, &raw mut settings) };
        outcome(got).ok()?;
        let before = settings;
        (settings.input, settings.output, settings.local) = (0, 0, 0);
        // A byte is enough to go on with.
        (settings.characters[WAIT], settings.characters[COUNT]) = (0, 1);
        // SAFETY: the kernel reads the structure.
        unsafe { raw_syscall!(Sysno::ioctl, input, SET_SETTINGS, &raw const settings) };
        Some(Transparent { before })
    }
}

impl Drop for Transparent {
    fn drop(&mut self) {
        // SAFETY: the kernel reads the structure.
        unsafe {
            raw_syscall!(
                Sysno::ioctl,
                Stdio::Input as i32,
                SET_SETTINGS,
                &raw const self.before
            )
        };
    }
}

impl ErrorType for Stdio {
    type Error = ErrorKind;
}

/// What a call on a stream came to; `None`: it is to be made again.
fn told(self_: Stdio, outcome: Result<usize, Errno>) -> Option<Result<usize, ErrorKind>> {
    match outcome {
        Err(Errno::INTR) => None,
        // Whoever started us left it so: it is waited for all the same.
        Err(Errno::AGAIN) => {
            self_.is_ready(None);
            None
        }
        outcome => Some(outcome.map_err(|_| ErrorKind::BrokenPipe)),
    }
}

impl Read for Stdio {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        loop {
            if let Some(read) = told(*self, rustix::io::read(self.descriptor(), &mut *bytes)) {
                return read;
            }
        }
    }
}

impl ReadReady for Stdio {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.is_ready(Some(Duration::default())))
    }
}

impl Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        if *self == Self::Error && !self.is_ready(Some(Duration::default())) {
            return Err(ErrorKind::TimedOut);
        }
        loop {
            if let Some(written) = told(*self, rustix::io::write(self.descriptor(), bytes)) {
                return written;
            }
        }
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
