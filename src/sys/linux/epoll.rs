//! epoll. rustix has these calls too, but its checks and conversions take more code than this file.

use super::fs::File;
use super::optional;
use super::{Errno, outcome};
use core::mem::MaybeUninit;
use rustix::fd::{AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(File);

/// A ready descriptor.
#[doc(alias = "epoll_event")]
#[derive(Clone, Copy, Debug)]
#[repr(C)] // The kernel's `data` has 64 bits; on x86 it follows without padding.
pub struct Event {
    what: u32,
    #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
    gap: u32,
    /// The token passed to [`Epoll::set`].
    pub token: u32,
    high: u32,
}

/// Room for the events of one wait.
pub type EventBuffer = [MaybeUninit<Event>; 64];

/// Operation of epoll_ctl.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub enum Change {
    /// EPOLL_CTL_ADD.
    Add = 1,
    /// EPOLL_CTL_DEL.
    Remove = 2,
    /// EPOLL_CTL_MOD.
    Modify = 3,
}

impl Epoll {
    /// Creates an instance that watches nothing.
    pub fn new() -> Result<Self, Errno> {
        const CLOEXEC: usize = 0o2_000_000;
        // SAFETY: no argument is an address.
        File::opened(unsafe { raw_syscall!(optional::EPOLL_CREATE1, CLOEXEC) }).map(Self)
    }

    /// Watches `file` for the events in the mask `what`, whose bits are those of poll.
    pub fn set(&self, change: Change, file: RawFd, token: u32, what: u16) -> Result<(), Errno> {
        let event = Event {
            what: what.into(),
            #[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
            gap: 0,
            token,
            high: 0,
        };
        let epoll = self.0.as_raw_fd();
        // SAFETY: the kernel only reads the structure.
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

    /// Waits for events, `timeout_ms` at most (-1: indefinitely); returns them.
    pub fn wait<'a>(
        &self,
        events: &'a mut EventBuffer,
        timeout_ms: i32,
    ) -> Result<&'a [Event], Errno> {
        let (epoll, timeout) = (self.0.as_raw_fd(), timeout_ms as isize);
        let at = events.as_mut_ptr().cast::<Event>();
        // SAFETY: the kernel writes at most `events.len()` events.
        let count = outcome(unsafe {
            raw_syscall!(optional::EPOLL_PWAIT, epoll, at, events.len(), timeout, 0)
        })?;
        // SAFETY: the kernel has written `count` events.
        Ok(unsafe { core::slice::from_raw_parts(at, count) })
    }
}
