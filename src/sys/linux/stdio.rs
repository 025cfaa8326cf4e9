//! The standard streams as byte streams.

use super::fs::{self, File, set_pipe_size};
use super::process::{FailedWrite, on_failed_write};
use super::{Errno, outcome};
use crate::mem::Ends as _;
use crate::time::Duration;
use core::sync::atomic::{AtomicBool, Ordering};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{BorrowedFd, RawFd};
use rustix::fs::OFlags;
use syscalls::{Sysno, raw_syscall};

/// Longest wait for the reader of a log.
pub(super) const PATIENCE: Duration = Duration::from_ms(500);

/// A standard stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Stdio {
    /// Standard input.
    Input = 0,
    /// Standard output: a write blocks.
    Output = 1,
    /// Standard error: output that is not accepted soon is dropped, because a server must not wait for the reader of its log.
    Error = 2,
}

impl Stdio {
    /// The stream's entry for poll(2).
    fn watch(self) -> PollFd<'static> {
        let wanted = if self == Self::Input {
            PollFlags::IN
        } else {
            PollFlags::OUT
        };
        // SAFETY: the stream is only polled, and a `BorrowedFd` never closes it.
        let stream = unsafe { BorrowedFd::borrow_raw(self as i32) };
        PollFd::from_borrowed_fd(stream, wanted)
    }

    /// Waits until the stream is ready; returns false after `timeout`.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn is_ready(self, timeout: Option<Duration>) -> Result<bool, Errno> {
        let mut watched = [self.watch()];
        super::sleep(&mut watched, timeout)?;
        Ok(!watched[0].revents().is_empty())
    }

    /// Waits until standard input has bytes or standard output has space. Returns true if a read will not block, or if poll(2)
    /// failed.
    pub fn wait_for_input_or_space() -> bool {
        let mut watched = [Self::Input.watch(), Self::Output.watch()];
        super::sleep(&mut watched, None).is_err() || !watched[0].revents().is_empty()
    }

    /// Writes as many bytes as the stream accepts without blocking; returns their number, 0 if there is no space within `timeout`.
    /// `None`: the write failed, or the reader is gone.
    pub fn write_some(self, bytes: &[u8], timeout: Option<Duration>) -> Option<usize> {
        const NOWAIT: usize = 8;
        const CURRENT: isize = -1;
        let part = (bytes.as_ptr(), bytes.len());
        let (this, at) = (self as i32, &raw const part);
        // SAFETY: the kernel reads the bytes.
        let written =
            unsafe { raw_syscall!(Sysno::pwritev2, this, at, 1, CURRENT, CURRENT, NOWAIT) };
        if let Ok(count) = outcome(written) {
            return Some(count);
        }
        // EAGAIN: no space. EOPNOTSUPP: pipes before Linux 6.5, terminals. ENOSYS: Linux before 4.6. Others show their error again.
        if !self.is_ready(timeout).unwrap_or(true) {
            return Some(0);
        }
        match self.write_at_once(bytes) {
            Err(Errno::AGAIN) => Some(0),
            written => written.ok(),
        }
    }

    /// Writes with O_NONBLOCK, which is set for this call only: programs that share the stream do not expect it.
    fn write_at_once(self, bytes: &[u8]) -> Result<usize, Errno> {
        const GET_MODES: usize = 3;
        const SET_MODES: usize = 4;
        let control = |request: usize, modes: usize| {
            // SAFETY: no argument is an address.
            unsafe { raw_syscall!(Sysno::fcntl, self as i32, request, modes) }
        };
        let modes = control(GET_MODES, 0);
        control(SET_MODES, modes | OFlags::NONBLOCK.bits() as usize);
        let (at, len) = (bytes.as_ptr(), bytes.len());
        // SAFETY: the kernel reads at most `len` bytes.
        let written = unsafe { raw_syscall!(Sysno::write, self as i32, at, len) };
        control(SET_MODES, modes);
        outcome(written)
    }

    /// Reads or writes (`what`); returns the number of bytes, 0 at the end of input or after an error.
    ///
    /// # Safety
    ///
    /// `at` is valid for `len` bytes.
    unsafe fn carry(self, what: Sysno, at: usize, len: usize) -> usize {
        loop {
            // SAFETY: required of the caller.
            let moved = unsafe { raw_syscall!(what, self as i32, at, len) };
            match outcome(moved) {
                Ok(count) => return count,
                Err(Errno::INTR) => {}
                // The parent process has made the stream non-blocking, so this waits until the stream is ready.
                Err(Errno::AGAIN) => _ = self.is_ready(None),
                Err(_) => return 0,
            }
        }
    }

    /// Reads bytes; returns their number, 0 at the end or after an error.
    pub fn receive(self, buffer: &mut [u8]) -> usize {
        let (at, len) = (buffer.as_mut_ptr() as usize, buffer.len());
        // SAFETY: the kernel writes at most `len` bytes.
        unsafe { self.carry(Sysno::read, at, len) }
    }

    /// Writes bytes; returns their number, 0 if the reader is gone or the write fails.
    fn send(self, bytes: &[u8]) -> usize {
        let (at, len) = (bytes.as_ptr() as usize, bytes.len());
        // SAFETY: the kernel reads at most `len` bytes.
        unsafe { self.carry(Sysno::write, at, len) }
    }

    /// Writes `bytes` if the stream is ready within `PATIENCE`, else drops them. After a timeout, later calls do not wait until
    /// the stream is ready again.
    pub fn offer(self, bytes: &[u8]) {
        static HAS_STOPPED: AtomicBool = AtomicBool::new(false);
        let patience = if HAS_STOPPED.load(Ordering::Relaxed) {
            Duration::from_ms(0)
        } else {
            PATIENCE
        };
        // Not known: true, because a message must not be lost.
        let is_ready = self.is_ready(Some(patience)).unwrap_or(true);
        HAS_STOPPED.store(!is_ready, Ordering::Relaxed);
        if is_ready {
            self.send(bytes);
        }
    }

    /// Writes all of `bytes`. Returns false if the write fails.
    pub fn write_all(self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.send(bytes) {
                0 => return false,
                count => bytes = bytes.tail(count),
            }
        }
        true
    }

    /// Writes all of `bytes` to standard output. Returns false if the write fails. If the reader is gone, SIGPIPE ends the process,
    /// as in any program that prints (into `head`, for example).
    pub fn print(bytes: &[u8]) -> bool {
        let is_written = Self::Output.write_all(bytes);
        if !is_written {
            on_failed_write(FailedWrite::Ends);
            Self::Output.send(bytes);
        }
        is_written
    }

    /// Sets the capacity of the stream if it is a pipe.
    pub fn set_pipe_size(self, bytes: usize) {
        set_pipe_size(self as i32, bytes);
    }

    /// Duplicates the descriptor of the stream.
    ///
    /// # Errors
    /// Those of fcntl(2).
    pub fn duplicate(self) -> Result<File, Errno> {
        fs::dup(self as i32).map(File::of)
    }

    /// Makes the stream a duplicate of the descriptor `from`.
    pub fn replace(self, from: RawFd) -> Result<(), Errno> {
        #[cfg(not(target_arch = "aarch64"))]
        // SAFETY: the call takes no pointers, and nothing depends on the descriptor that is replaced.
        let replaced = unsafe { raw_syscall!(Sysno::dup2, from, self as i32) };
        // aarch64 has only dup3.
        #[cfg(target_arch = "aarch64")]
        // SAFETY: the call takes no pointers, and nothing depends on the descriptor that is replaced.
        let replaced = unsafe { raw_syscall!(Sysno::dup3, from, self as i32, 0) };
        outcome(replaced).map(drop)
    }
}

/// Terminal settings, in the kernel's layout.
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

/// A terminal in raw mode; restored on drop.
pub struct Transparent {
    before: Settings,
}

const GET_SETTINGS: usize = 0x5401;
const SET_SETTINGS: usize = 0x5402;

impl Stdio {
    /// Puts the terminal of standard input into raw mode. `None` if standard input is not a terminal.
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
        // VTIME 0, VMIN 1: a read returns after one byte.
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
