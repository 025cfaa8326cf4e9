//! Why something failed at the start, and what to do about it.

use super::{FAILED, Fatal, complain};
use crate::sys::Errno;
use crate::text::{Text, text};
#[cfg(any(feature = "ls", feature = "ipxe"))]
use crate::vfs::FsError;

/// Says what failed, with what, and why, in the words of this table.
pub(super) fn failed(what: Text, about: &[u8], errno: Errno, table: &[Reason]) -> Fatal {
    failed_with(what, about, errno.raw_os_error() as u8, table)
}

/// The same for an error's number.
pub(super) fn failed_with(what: Text, about: &[u8], number: u8, table: &[Reason]) -> Fatal {
    complain(FAILED, what, about, why(number, table))
}

/// An error's number and the text for it.
#[derive(Clone, Copy)]
pub(super) struct Reason(u8, Text);

/// The reason for this error.
pub(super) const fn reason(errno: Errno, text: Text) -> Reason {
    Reason(errno.raw_os_error() as u8, text)
}

/// Of a file that should be an image and is none.
#[cfg_attr(not(feature = "nfs"), allow(dead_code))]
pub(super) const NO_IMAGE: Reason = reason(
    Errno::INVAL,
    text!("it is no directory, and no ISO 9660 image"),
);
/// Of an image whose files are not in that format.
#[cfg_attr(not(feature = "nfs"), allow(dead_code))]
pub(super) const OTHER_IMAGE: Reason = reason(
    Errno::NOSYS,
    text!("its files are in UDF; unpack it with another program"),
);

const PERM: Text = text!("this user may not; start as another user or change its mode");
const FULL: Text = text!("the disk is full; free some space there");
const FEW: Text = text!("no descriptor is left; raise the limit (ulimit -n)");

/// Says what failed inside an image, with what, and why.
#[cfg(any(feature = "ls", feature = "ipxe"))]
pub(super) fn cannot_read(about: &[u8], error: FsError) -> Fatal {
    const DAMAGED: Text = text!("the image is damaged or incomplete; compare its checksum");
    static REASONS: [Reason; 4] = [
        NO_IMAGE,
        OTHER_IMAGE,
        reason(Errno::IO, DAMAGED),
        reason(Errno::STALE, DAMAGED),
    ];
    failed_with(text!("cannot read"), about, error.number(), &REASONS)
}

/// Those that all roles have.
static COMMON: [Reason; 13] = [
    reason(Errno::NOENT, text!("it does not exist; check the path")),
    reason(
        Errno::NOTDIR,
        text!("a part of its path is not a directory"),
    ),
    reason(Errno::ISDIR, text!("it is a directory")),
    reason(Errno::PERM, PERM),
    reason(Errno::ACCESS, PERM),
    reason(Errno::NOSPC, FULL),
    reason(Errno::DQUOT, FULL),
    reason(
        Errno::ROFS,
        text!("the file system there is read-only; choose another place"),
    ),
    reason(
        Errno::LOOP,
        text!("it is a symbolic link, or there are too many in its path"),
    ),
    reason(Errno::NAMETOOLONG, text!("a name in it is too long")),
    reason(Errno::NFILE, FEW),
    reason(Errno::MFILE, FEW),
    reason(Errno::IO, text!("the disk failed; see the kernel's log")),
];

/// Why, in the words of this table, or else in those of all roles.
pub(super) fn why(wanted: u8, table: &[Reason]) -> Text {
    for table in [table, &COMMON] {
        for Reason(number, text) in table {
            if *number == wanted {
                return *text;
            }
        }
    }
    text!("the host refuses; see that it is an ordinary local file or directory")
}

#[cfg(test)]
pub(super) fn check(errno: Errno, table: &[Reason], part: &str) {
    let why = why(errno.raw_os_error() as u8, table).known();
    assert!(why.contains(part), "{errno:?}: {why}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_number() {
        for (errno, part) in [
            (Errno::NOENT, "not exist"),
            (Errno::NOTDIR, "not a directory"),
            (Errno::ISDIR, "is a directory"),
            (Errno::PERM, "this user"),
            (Errno::ACCESS, "this user"),
            (Errno::NOSPC, "is full"),
            (Errno::DQUOT, "is full"),
            (Errno::ROFS, "read-only"),
            (Errno::LOOP, "symbolic link"),
            (Errno::NAMETOOLONG, "too long"),
            (Errno::NFILE, "no descriptor"),
            (Errno::MFILE, "no descriptor"),
            (Errno::IO, "disk failed"),
            (Errno::INVAL, "the host refuses"),
        ] {
            check(errno, &[], part);
        }
    }
}
