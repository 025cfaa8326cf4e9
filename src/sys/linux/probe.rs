//! Tests of the optional system calls, each in a process of its own.

use super::optional::{NO_NEW_PRIVILEGES, ROWS, SETFSUID};
use super::process::{reap_any, split};
use super::rows::{FORBID_PRIVILEGES, HANDLE, Row, SOCKET, ZEROS};
use super::{Errno, exit, outcome, sockets};
use crate::sys::loss::{Loss, Presence};
use rustix::fd::AsRawFd as _;
use syscalls::{Sysno, raw_syscall};

/// Returns the loss of a host that lacks row `index`.
pub fn loss(index: usize) -> Loss {
    ROWS.get(index).map_or(Loss::Nothing, |row| row.loss)
}

/// Calls `use_it` with the release of the kernel. uname(2).
pub fn with_kernel_release(use_it: impl FnOnce(&[u8])) {
    use_it(rustix::system::uname().release().to_bytes());
}

/// Returns true if a process of root can become `user` for good. Tried in a child process.
pub fn can_become(user: u32) -> bool {
    match split() {
        Ok(None) => exit(super::fsuid::become_user(user, user).is_err().into()),
        Ok(_) => matches!(reap_any(true), Some((_, 0))),
        Err(_) => false,
    }
}

/// Exit status of a child whose call succeeded without effect.
const WITHOUT_EFFECT: i32 = 255;

/// Tests row `index` in a child process, which a filter of the host may kill.
///
/// # Errors
/// No process can be made.
pub fn test(index: usize) -> Result<Presence, Errno> {
    if split()?.is_none() {
        exit(ROWS.get(index).map_or(0, Row::try_call));
    }
    Ok(match reap_any(true) {
        Some((_, 0)) => Presence::Present,
        Some((_, WITHOUT_EFFECT)) => Presence::WithoutEffect,
        Some((_, errno @ 1..)) => Presence::Fails(errno as u8),
        _ => Presence::Kills,
    })
}

impl Row {
    /// Makes the call; returns the exit status for its result.
    fn try_call(&self) -> i32 {
        let call = self.call;
        let zeros = [0u64; 16];
        // Length and type, then the handle.
        let handle = [8u32, 1, 0, 0];
        let udp = sockets::open(sockets::INET, sockets::DATAGRAM);
        let udp = udp.as_ref().map_or(-1, |socket| socket.as_raw_fd());
        let [a, b, c, d, e, f] = self.arguments.map(|argument| match argument {
            ZEROS => zeros.as_ptr() as usize,
            HANDLE => handle.as_ptr() as usize,
            SOCKET => udp as usize,
            number => number as usize,
        });
        let result = match call {
            // Old kernels on 32-bit x86 have only socketcall.
            Sysno::socket if cfg!(target_arch = "x86") => {
                sockets::open(a as u16, b as u32).map(|_| 0)
            }
            Sysno::setsockopt if cfg!(target_arch = "x86") => {
                sockets::set(udp, b as u8, c as u8, 0).map(|()| 0)
            }
            // SAFETY: the process exists to make this call, and then ends.
            call => outcome(unsafe { raw_syscall!(call, a, b, c, d, e, f) }),
        };
        let errno = result.map_or_else(|errno| errno.raw_os_error(), |_| 0);
        match errno {
            errno if errno == self.expected.into() => {
                if self.has_effect(call) {
                    0
                } else {
                    WITHOUT_EFFECT
                }
            }
            0 => WITHOUT_EFFECT,
            errno => errno,
        }
    }

    /// Returns false if the call succeeded without effect, as on illumos.
    fn has_effect(&self, call: Sysno) -> bool {
        match (call, self.arguments) {
            (SETFSUID, _) => super::user_id() != 0 || super::fsuid::can_switch(),
            (NO_NEW_PRIVILEGES, [FORBID_PRIVILEGES, ..]) => super::sandbox::has_no_privileges(),
            _ => true,
        }
    }
}
