//! System calls and options that not every supported host has. `probe` tests each row of this table, and the fallbacks take the
//! numbers of their calls from it.
//!
//! A row has a call with harmless arguments, and the result that a host which has the call returns. Any other result means that it
//! is missing: ENOSYS of a kernel, EPERM of a container's filter, EINVAL for an option, or success without effect.

use super::Errno;
use super::rows::{
    EBADF, EFAULT, EINVAL, ENOENT, ESTALE, FORBID_PRIVILEGES, HANDLE, HERE, NONE, Row, SOCKET,
    ZEROS, arguments,
};
use crate::sys::loss::Loss;
#[cfg(target_pointer_width = "64")]
use Sysno::{
    geteuid as GETEUID_CALL, sendfile as SENDFILE_CALL, setfsgid as SETFSGID_CALL,
    setfsuid as SETFSUID_CALL,
};
#[cfg(target_pointer_width = "32")]
use Sysno::{
    geteuid32 as GETEUID_CALL, sendfile64 as SENDFILE_CALL, setfsgid32 as SETFSGID_CALL,
    setfsuid32 as SETFSUID_CALL,
};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use syscalls::Sysno;

/// Tells a missing call from a call that failed. A container's filter that is older than a call refuses the call with EPERM, which
/// is also an error of the call itself.
pub(super) struct Worked(AtomicBool);

impl Worked {
    /// A call that this process has not made yet.
    pub(super) const fn not_yet() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Returns the result of the call, with ENOSYS instead of EPERM if every earlier call failed with one of these two.
    #[inline(never)] // −38 bytes: two callers.
    pub(super) fn judge(&self, result: Result<(), Errno>) -> Result<(), Errno> {
        match result {
            Err(Errno::NOSYS) => {}
            Err(Errno::PERM) if !self.0.load(Relaxed) => return Err(Errno::NOSYS),
            _ => self.0.store(true, Relaxed),
        }
        result
    }
}

macro_rules! optional {
    ($($name:ident $label:literal: $call:expr, [$($argument:expr),*] => $expected:expr, $loss:ident;)+) => {
        $(
            #[doc = concat!("Number of the call for ", $label, ".")]
            #[allow(dead_code, reason = "options have no call")]
            pub(super) const $name: Sysno = $call;
        )+

        pub(super) static ROWS: &[Row] = &[$(Row {
            call: $call,
            arguments: arguments(&[$($argument),*]),
            expected: $expected,
            loss: Loss::$loss,
        }),+];

        /// Names of the rows, which the build collects as texts.
        pub const NAMES: &[&str] = &[$($label),+];
    };
}

optional! {
    OPENAT "openat": Sysno::openat, [HERE, ZEROS, 0] => ENOENT, Everything;
    PPOLL "ppoll": Sysno::ppoll, [0, 0, ZEROS] => 0, Nothing;
    EPOLL_CREATE1 "epoll_create1": Sysno::epoll_create1, [0] => 0, Nothing;
    EPOLL_PWAIT "epoll_pwait": Sysno::epoll_pwait, [NONE, ZEROS, 1] => EBADF, Nothing;
    SIGNALFD4 "signalfd4": Sysno::signalfd4, [NONE, ZEROS, 8, 0] => 0, Nothing;
    GETRANDOM "getrandom": Sysno::getrandom, [ZEROS, 0, 0] => 0, Nothing;
    STATX "statx": Sysno::statx, [HERE, ZEROS, 0, 0, ZEROS] => ENOENT, Nothing;
    NO_AUTOMOUNT "AT_NO_AUTOMOUNT": Sysno::statx, [HERE, ZEROS, 0x800, 0, ZEROS] => ENOENT, Nothing;
    OPENAT2 "openat2": Sysno::openat2, [HERE, ZEROS, ZEROS, 24] => ENOENT, Nothing;
    FACCESSAT2 "faccessat2": Sysno::faccessat2, [HERE, ZEROS, 0, 0] => ENOENT, Nothing;
    RENAMEAT2 "renameat2": Sysno::renameat2, [HERE, ZEROS, HERE, ZEROS, 0] => ENOENT, Nothing;
    UTIMENSAT "utimensat": Sysno::utimensat, [HERE, ZEROS, 0, 0] => ENOENT, Nothing;
    CLOSE_RANGE "close_range": Sysno::close_range, [30_000, 30_000, 0] => 0, Nothing;
    PIDFD_OPEN "pidfd_open": Sysno::pidfd_open, [0, 0] => EINVAL, Nothing;
    SYNCFS "syncfs": Sysno::syncfs, [NONE] => EBADF, Nothing;
    GETEUID "geteuid": GETEUID_CALL, [] => 0, Nothing;
    DUPLICATE "F_DUPFD_CLOEXEC": Sysno::fcntl, [SOCKET, 1030, 0] => 0, Nothing;
    PIPE_SIZE "F_SETPIPE_SZ": Sysno::fcntl, [NONE, 1031, 4096] => EBADF, Nothing;
    HUGE_PAGES "PR_SET_THP_DISABLE": Sysno::prctl, [41, 0, 0, 0, 0] => 0, Nothing;
    MULTICAST_ALL "IP_MULTICAST_ALL": Sysno::setsockopt, [SOCKET, 0, 49, ZEROS, 4] => 0, Nothing;
    EXECVE "execve": Sysno::execve, [ZEROS, 0, 0] => ENOENT, Programs;
    NAME_TO_HANDLE_AT "name_to_handle_at": Sysno::name_to_handle_at, [HERE, ZEROS, ZEROS, ZEROS, 0] => ENOENT, Handles;
    OPEN_BY_HANDLE_AT "open_by_handle_at": Sysno::open_by_handle_at, [HERE, HANDLE, 0] => ESTALE, Handles;
    NO_NEW_PRIVILEGES "PR_SET_NO_NEW_PRIVS": Sysno::prctl, [FORBID_PRIVILEGES, 1, 0, 0, 0] => 0, Sandbox;
    SETFSUID "setfsuid": SETFSUID_CALL, [NONE] => 0, Users;
    SETFSGID "setfsgid": SETFSGID_CALL, [NONE] => 0, Users;
    PREADV2 "preadv2": Sysno::preadv2, [NONE, ZEROS, 0, 0, 0, 0] => EBADF, Speed;
    NOWAIT "RWF_NOWAIT": Sysno::preadv2, [NONE, ZEROS, 0, 0, 0, 8] => EBADF, Speed;
    CACHESTAT "cachestat": Sysno::cachestat, [NONE, ZEROS, ZEROS, 0] => EBADF, Speed;
    SENDFILE "sendfile": SENDFILE_CALL, [NONE, NONE, 0, 1] => EBADF, Speed;
    SPLICE "splice": Sysno::splice, [NONE, 0, NONE, 0, 1, 0] => EBADF, Speed;
    ROBUST_LIST "set_robust_list": Sysno::set_robust_list, [0, 1] => EINVAL, Loops;
    REUSE_PORT "SO_REUSEPORT": Sysno::setsockopt, [SOCKET, 1, 15, ZEROS, 4] => 0, Loops;
    LANDLOCK "landlock_create_ruleset": Sysno::landlock_create_ruleset, [0, 0, 1] => 0, Sandbox;
    SECCOMP "PR_SET_SECCOMP": Sysno::prctl, [22, 2, 0, 0, 0] => EFAULT, Sandbox;
    INOTIFY_INIT1 "inotify_init1": Sysno::inotify_init1, [0] => 0, FileNotice;
    NETLINK "AF_NETLINK": Sysno::socket, [16, 3, 0] => 0, InterfaceNotice;
    INET6 "AF_INET6": Sysno::socket, [10, 2, 0] => 0, Ipv6;
    PACKET "AF_PACKET": Sysno::socket, [17, 3, 0] => 0, Stack;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eperm_means_missing_until_the_call_worked() {
        let (denied, missing) = (Err(Errno::PERM), Err(Errno::NOSYS));
        for worked in [Ok(()), Err(Errno::ACCESS)] {
            let call = Worked::not_yet();
            assert_eq!(call.judge(denied), missing);
            assert_eq!(call.judge(missing), missing);
            assert_eq!(call.judge(denied), missing);
            assert_eq!(call.judge(worked), worked);
            assert_eq!(call.judge(denied), denied);
            assert_eq!(call.judge(missing), missing);
        }
    }
}
