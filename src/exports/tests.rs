//! Tests of the reasons why an export cannot be opened.

use super::*;

#[test]
fn export_reasons_match_their_errno() {
    for (errno, part) in [
        (Errno::MSGSIZE, "16 bytes"),
        (Errno::BADMSG, "other users"),
        (Errno::EXIST, "already"),
        // Errnos of calls, not of the exported object.
        (Errno::INVAL, "the host refuses"),
        (Errno::NOSYS, "the host refuses"),
        (Errno::NXIO, "the host refuses"),
        (Errno::XDEV, "the host refuses"),
        (Errno::LOOP, "symbolic link"),
        (Errno::OPNOTSUPP, "no kernel handles"),
        (Errno::NOENT, "not exist"),
    ] {
        reasons::check(errno, &REASONS, part);
    }
    for (number, part) in [
        (OpenFault::NO_IMAGE, "nor an ISO 9660 or UDF image"),
        (OpenFault::OTHER_IMAGE, "in UDF"),
        (OpenFault::CUT_IMAGE, "cut"),
        (OpenFault::NOT_MOUNTED, "nothing is mounted"),
        (OpenFault::PSEUDO, "kernel state"),
    ] {
        reasons::check_number(number, &REASONS, part);
    }
}
