//! Cases that are not played, and failures that are expected.

use std::fmt;

use super::table::Use;
use super::{Disturbance, Fault, Outcome, Role};

/// Calls that are never disturbed, each with the reason.
pub(super) const UNTOUCHED: [(&str, &str); 5] = [
    (
        "execve",
        "the first use starts the program; strace makes it",
    ),
    ("exit", "has no result"),
    ("exit_group", "has no result"),
    ("rt_sigreturn", "has no result"),
    ("syscall_0x1c3", "cachestat, which strace 6.1 cannot name"),
];

/// Calls for which [`Fault::NoEffect`] is no case, each with the reason.
pub(super) const EFFECTIVE: [(&str, &str); 4] = [
    ("mmap", "0 is an address that the kernel never returns"),
    ("clone", "0 says that the caller is the new process"),
    ("fork", "0 says that the caller is the new process"),
    ("vfork", "0 says that the caller is the new process"),
];

/// A failure that is expected.
pub(super) struct Expected {
    /// Roles in which the failure occurs. Empty: all.
    roles: &'static [Role],
    call: &'static str,
    /// Faults that cause the failure. Empty: all.
    faults: &'static [Fault],
    /// Uses whose disturbance causes the failure. Empty: all.
    uses: &'static [Use],
    outcome: Outcome,
    /// The reason why no program can do better, or the defect.
    pub(super) reason: &'static str,
}

const NO_EFFECT: &[Fault] = &[Fault::NoEffect];

/// Failures that no program can avoid.
const UNAVOIDABLE: [Expected; 5] = [
    Expected {
        roles: &[Role::Browse, Role::Resolve],
        call: "fcntl",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Hang,
        reason: "the kernel says that F_SETFL has made the socket non-blocking, and recvfrom blocks",
    },
    Expected {
        roles: &[Role::Sftp, Role::SftpJail],
        call: "pread64",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Lost,
        reason: "0 bytes are the end of the file, so copy-data has copied all of it",
    },
    Expected {
        roles: &[],
        call: "epoll_ctl",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Hang,
        reason: "no call tells whether the kernel watches a descriptor",
    },
    Expected {
        roles: &[Role::Resolve],
        call: "signalfd4",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Mute,
        reason: "descriptor 0 is at its end, so the program stops as after SIGINT, which prints nothing",
    },
    Expected {
        roles: &[],
        call: "listen",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Hang,
        reason: "the port is bound, and no connection ever arrives",
    },
];

const NFS: &[Role] = &[Role::Nfs, Role::NfsPaths, Role::Serve];

/// Defects of the program. A commit that corrects one deletes its entry.
const DEFECTS: [Expected; 10] = [
    Expected {
        roles: NFS,
        call: "futex",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Hang,
        reason: "the kernel says that no worker sleeps, so a request waits for ever, and SIGTERM does nothing",
    },
    Expected {
        roles: NFS,
        call: "bind",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Hang,
        reason: "listen chooses a port, which is not compared with the one of -n",
    },
    Expected {
        roles: &[Role::Serve],
        call: "getppid",
        faults: &[],
        uses: &[],
        outcome: Outcome::Mute,
        reason: "a process that finds another parent ends without a message, and so does the supervisor",
    },
    Expected {
        roles: &[Role::Serve],
        call: "getpid",
        faults: &[],
        uses: &[Use::Second, Use::Last],
        outcome: Outcome::Mute,
        reason: "as for getppid",
    },
    Expected {
        roles: &[Role::Serve],
        call: "open_by_handle_at",
        faults: &[Fault::Errno("ENOSYS")],
        uses: &[],
        outcome: Outcome::Broken,
        reason: "in one of four runs, every later handle is stale: each loop chooses the form of its handles by itself",
    },
    Expected {
        roles: NFS,
        call: "listen",
        faults: NO_EFFECT,
        uses: &[],
        outcome: Outcome::Spin,
        reason: "the socket is ready with EPOLLHUP for ever, and accept fails each time",
    },
    Expected {
        roles: &[Role::Mdns],
        call: "ioctl",
        faults: &[],
        uses: &[Use::First],
        outcome: Outcome::Hang,
        reason: "SIOCGIFCONF is not tried again: no IPv4 until an address changes, and no message",
    },
    Expected {
        roles: &[Role::Mdns],
        call: "socket",
        faults: &[],
        uses: &[Use::Second],
        outcome: Outcome::Hang,
        reason: "the socket for SIOCGIFCONF is not tried again: no IPv4, and no message",
    },
    Expected {
        roles: &[Role::Browse],
        call: "clock_gettime",
        faults: &[],
        uses: &[],
        outcome: Outcome::Wrong,
        reason: "a failed clock reads 0, so -t ends at once and lists nothing",
    },
    Expected {
        roles: &[Role::Browse],
        call: "clock_gettime",
        faults: &[],
        uses: &[],
        outcome: Outcome::Hang,
        reason: "a failed clock reads 0, so the program waits for hours",
    },
];

/// The known defects of a role.
pub(super) fn defects(role: Role) -> impl Iterator<Item = &'static Expected> {
    let is_of = move |it: &&Expected| it.roles.is_empty() || it.roles.contains(&role);
    DEFECTS.iter().filter(is_of)
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} ({})", self.outcome, self.call, self.reason)
    }
}

/// Returns the entry for an expected failure.
pub(super) fn find(
    role: Role,
    which: Use,
    disturbance: &Disturbance,
    outcome: Outcome,
) -> Option<&'static Expected> {
    UNAVOIDABLE.iter().chain(&DEFECTS).find(|it| {
        it.outcome == outcome
            && it.call == disturbance.call
            && (it.roles.is_empty() || it.roles.contains(&role))
            && (it.uses.is_empty() || it.uses.contains(&which))
            && (it.faults.is_empty() || it.faults.contains(&disturbance.fault))
    })
}
