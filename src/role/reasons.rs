//! Why something failed at the start, and what to do about it.

use super::words::parts;
use super::{FAILED, Status, complain};
use crate::sys::Errno;

/// Says what failed, with what, and why, in the words of `own` reasons or of these.
pub(super) fn failed(what: &str, about: &[u8], errno: Errno, own: &'static str) -> Status {
    failed_with(what, about, errno.raw_os_error() as u8, own)
}

/// The same for an error's number.
pub(super) fn failed_with(what: &str, about: &[u8], number: u8, own: &'static str) -> Status {
    complain(FAILED, what.as_bytes(), about, why(number, own))
}

/// Error numbers, NUL, text, NUL. A table of references would be twice as long. The last text is for all other numbers.
const REASONS: &str = concat!(
    "\x02\0it does not exist; check the path\0",     // NOENT
    "\x14\0a part of its path is not a directory\0", // NOTDIR
    "\x15\0it is a directory\0",                     // ISDIR
    "\x01\x0d\0this user may not; start as another user or change its mode\0", // PERM, ACCESS
    "\x1c\x7a\0the disk is full; make room there\0", // NOSPC, DQUOT
    "\x1e\0the file system there is read-only; choose another place\0", // ROFS
    "\x28\0it is a symbolic link, or there are too many in its path\0", // LOOP
    "\x24\0a name in it is too long\0",              // NAMETOOLONG
    "\x17\x18\0no descriptor is left; raise the limit (ulimit -n)\0", // NFILE, MFILE
    "\x05\0the disk failed; see the kernel's log\0", // IO
    "\0the host refuses; see that it is an ordinary local file or directory",
);

fn why(number: u8, own: &'static str) -> &'static [u8] {
    for table in [own, REASONS] {
        let mut numbers: Option<&[u8]> = None;
        for part in parts(table.as_bytes(), 0) {
            match numbers.take() {
                None => numbers = Some(part),
                Some([]) => return part,
                Some(numbers) => {
                    for other in numbers {
                        if *other == number {
                            return part;
                        }
                    }
                }
            }
        }
    }
    b""
}

#[cfg(test)]
pub(super) fn check(errno: Errno, own: &'static str, part: &str) {
    let why = core::str::from_utf8(why(errno.raw_os_error() as u8, own)).unwrap();
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
            check(errno, "", part);
        }
    }
}
