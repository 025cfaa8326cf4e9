//! Reasons and advice for failures at the start, by errno.

use super::{FAILED, complain};
use crate::event::Fatal;
use crate::event::{Line, NO_PROCESS};
use crate::sys::Errno;
use crate::text::{Text, text};

/// Reports that `what` failed on `about`, with the reason of `errno` from `table` or the common ones. Returns exit status 1.
pub fn failed(what: Text, about: &[u8], errno: Errno, table: &[Reason]) -> Fatal {
    failed_with(what, about, errno.raw_os_error() as u8, table)
}

/// Like [`failed`], for the number of an errno or [`FsError`](crate::vfs::FsError).
pub fn failed_with(what: Text, about: &[u8], number: u8, table: &[Reason]) -> Fatal {
    let why = why(number, table);
    let mut line = Line::default();
    line.raw(about);
    if why == UNKNOWN && number <= ERRNO_MAX {
        line.say(text!(" (errno ")).number(number.into()).byte(b')');
    }
    complain(FAILED, what, line.bytes(), why)
}

/// Greatest errno of Linux. Greater numbers are reasons of ours, as [`crate::vfs::OpenFault`] has them.
const ERRNO_MAX: u8 = 133;

/// An errno and its reason.
#[derive(Clone, Copy)]
pub struct Reason(u8, Text);

/// Makes a row of a table of reasons.
pub const fn reason(errno: Errno, text: Text) -> Reason {
    Reason(errno.raw_os_error() as u8, text)
}

/// Makes a row for a reason that Linux has no errno for.
pub const fn own_reason(number: u8, text: Text) -> Reason {
    Reason(number, text)
}

/// Reason for an errno that no table has.
const UNKNOWN: Text = text!("the host refuses; use an ordinary local file or directory");
const ACCESS: Text = text!("permission denied; start as another user or change the mode");
const PERM: Text = text!("not permitted by the host or a container's filter");
const FULL: Text = text!("the disk is full; free some space");
const FEW: Text = text!("too few file descriptors; raise the limit (ulimit -n)");

/// Reasons that are the same for all roles.
static COMMON: [Reason; 15] = [
    reason(Errno::NOENT, text!("does not exist; check the path")),
    reason(
        Errno::NOTDIR,
        text!("a part of the path is not a directory"),
    ),
    reason(Errno::ISDIR, text!("is a directory")),
    reason(Errno::PERM, PERM),
    reason(Errno::ACCESS, ACCESS),
    reason(Errno::NOSPC, FULL),
    reason(Errno::DQUOT, FULL),
    reason(
        Errno::ROFS,
        text!("the file system is read-only; choose another path"),
    ),
    reason(
        Errno::LOOP,
        text!("a symbolic link, or too many in the path"),
    ),
    reason(Errno::NAMETOOLONG, text!("a name in the path is too long")),
    reason(Errno::NFILE, FEW),
    reason(Errno::MFILE, FEW),
    reason(Errno::AGAIN, NO_PROCESS),
    reason(Errno::IO, text!("the disk failed; see the host's log")),
    reason(Errno::NOTCONN, text!("no logger reads it")),
];

/// Returns the reason for an errno, as [`why`].
pub fn of(errno: Errno, table: &[Reason]) -> Text {
    why(errno.raw_os_error() as u8, table)
}

/// Returns the reason for the error `number`: from `table`, else from the common ones, else a general one.
pub fn why(number: u8, table: &[Reason]) -> Text {
    for table in [table, &COMMON] {
        for Reason(row, text) in table {
            if *row == number {
                return *text;
            }
        }
    }
    UNKNOWN
}

/// Fails unless the reason of an errno contains `part`.
#[cfg(test)]
pub fn check(errno: Errno, table: &[Reason], part: &str) {
    check_number(errno.raw_os_error() as u8, table, part);
}

/// Fails unless the reason of a number contains `part`.
#[cfg(test)]
pub fn check_number(number: u8, table: &[Reason], part: &str) {
    let why = why(number, table).known();
    assert!(why.contains(part), "{number}: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_reasons_match_their_errno() {
        for (errno, part) in [
            (Errno::NOENT, "not exist"),
            (Errno::NOTDIR, "not a directory"),
            (Errno::ISDIR, "is a directory"),
            (Errno::PERM, "not permitted"),
            (Errno::ACCESS, "permission denied"),
            (Errno::NOSPC, "is full"),
            (Errno::DQUOT, "is full"),
            (Errno::ROFS, "read-only"),
            (Errno::LOOP, "symbolic link"),
            (Errno::NAMETOOLONG, "too long"),
            (Errno::NFILE, "file descriptors"),
            (Errno::MFILE, "file descriptors"),
            (Errno::AGAIN, "ulimit -u"),
            (Errno::IO, "disk failed"),
            (Errno::NOTCONN, "no logger"),
            (Errno::INVAL, "the host refuses"),
        ] {
            check(errno, &[], part);
        }
    }
}
