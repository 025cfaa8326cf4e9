//! The form of the table of optional system calls.

use syscalls::Sysno;

/// Loss of a program on a host that lacks a row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Loss {
    /// Nothing is lost: another call does the same.
    Nothing,
    /// No role works.
    Everything,
    /// Kernel handles: a file that is renamed while the server restarts is stale for its clients.
    Handles,
    /// The users of clients.
    Users,
    /// Several loops that serve the same files.
    Loops,
    /// Reads that are answered at once from the page cache, and copies inside the kernel.
    Speed,
    /// Parts of the sandbox: no_new_privs, seccomp or Landlock.
    Sandbox,
    /// Notice of changed files: they are read again every few seconds.
    FileNotice,
    /// Notice of changed interfaces: they are listed again every few seconds.
    InterfaceNotice,
    /// IPv6.
    Ipv6,
    /// The own network stack on an interface.
    Stack,
    /// Programs that are run for events.
    Programs,
    /// Port 111. No row loses it: another process may have the port.
    Portmap,
    /// Port 2049.
    NfsPort,
    /// The users of clients, and root's process cannot become another user. No row loses it.
    Squash,
}

/// A call with arguments, and its result where it exists.
#[derive(Debug)]
pub(super) struct Row {
    pub call: Sysno,
    pub arguments: [i16; 6],
    /// 0: success. Otherwise the number of the errno.
    pub expected: u8,
    pub loss: Loss,
}

/// Argument: the address of zeros, which are also an empty path.
pub(super) const ZEROS: i16 = i16::MIN;
/// Argument: the address of a kernel handle of 8 bytes, which no file has.
pub(super) const HANDLE: i16 = i16::MIN + 2;
/// Argument: a UDP socket.
pub(super) const SOCKET: i16 = i16::MIN + 1;
/// Argument: an invalid descriptor.
pub(super) const NONE: i16 = -1;
/// Argument: the current directory (AT_FDCWD).
pub(super) const HERE: i16 = -100;

/// Argument: PR_SET_NO_NEW_PRIVS.
pub(super) const FORBID_PRIVILEGES: i16 = 38;

pub(super) const EBADF: u8 = 9;
pub(super) const ENOENT: u8 = 2;
pub(super) const EFAULT: u8 = 14;
pub(super) const ESTALE: u8 = 116;
pub(super) const EINVAL: u8 = 22;

/// Fills up a list of arguments with zeros.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
pub(super) const fn arguments(given: &[i16]) -> [i16; 6] {
    let (mut all, mut at) = ([0; 6], 0);
    while at < given.len() {
        all[at] = given[at];
        at += 1;
    }
    all
}
