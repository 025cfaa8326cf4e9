//! Waiting for many descriptors at once, where the host has epoll. rustix has the calls too, but with checks and conversions
//! that are larger than all of this.

use super::fs::File;
use super::{Errno, outcome};
use core::mem::MaybeUninit;
use rustix::fd::{AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

/// What is waited for, and what is found ready.
#[derive(Debug)]
pub struct Epoll(File);

/// Something that is ready.
#[doc(alias = "epoll_event")]
#[derive(Clone, Copy, Debug)]
#[repr(C)] // The number has 64 bits for the kernel, and follows at once on PCs.
pub struct Event {
    what: u32,
    #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
    gap: u32,
    /// The number that was given along.
    pub token: u32,
    high: u32,
}

/// EventBuffer for what is ready.
pub type EventBuffer = [MaybeUninit<Event>; 64];

/// How a descriptor is watched from now on.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Change {
    /// It was not watched before.
    Add = 1,
    /// It was watched for something else.
    Modify = 3,
}

impl Epoll {
    /// Watches nothing yet.
    pub fn new() -> Result<Self, Errno> {
        const CLOEXEC: usize = 0o2_000_000;
        // SAFETY: a number.
        File::opened(unsafe { raw_syscall!(Sysno::epoll_create1, CLOEXEC) }).map(Self)
    }

    /// Has it watch `file` for what is in the mask `what`, whose numbers are those of poll.
    #[inline(never)]
    pub fn set(&self, change: Change, file: RawFd, token: u32, what: u16) -> Result<(), Errno> {
        let event = Event {
            what: what.into(),
            #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
            gap: 0,
            token,
            high: 0,
        };
        let epoll = self.0.as_raw_fd();
        // SAFETY: the kernel reads the structure; a number that is no file's is an error, nothing worse.
        outcome(unsafe {
            raw_syscall!(
                Sysno::epoll_ctl,
                epoll,
                change as usize,
                file,
                &raw const event
            )
        })
        .map(drop)
    }

    /// Waits until something is ready, or so many milliseconds are over; −1: for ever. What is ready.
    pub fn wait<'a>(
        &self,
        events: &'a mut EventBuffer,
        timeout_ms: i32,
    ) -> Result<&'a [Event], Errno> {
        let (epoll, timeout) = (self.0.as_raw_fd(), timeout_ms as isize);
        let at = events.as_mut_ptr().cast::<Event>();
        // SAFETY: the kernel writes at most so many events.
        let count = outcome(unsafe {
            raw_syscall!(Sysno::epoll_pwait, epoll, at, events.len(), timeout, 0)
        })?;
        // SAFETY: it has written so many.
        Ok(unsafe { core::slice::from_raw_parts(at, count) })
    }
}
