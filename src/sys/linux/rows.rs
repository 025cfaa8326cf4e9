//! The form of the table of optional system calls.

use crate::sys::loss::Loss;
use syscalls::Sysno;

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
