//! Tests of the reasons why the role cannot start.

use super::*;

#[test]
fn nfs_reasons_match_their_errno() {
    for (errno, part) in [
        (Errno::BUSY, "a running server"),
        (net_errno(NetError::InUse), "port is in use"),
        (net_errno(NetError::Denied), "for root only"),
        (net_errno(NetError::NoSuchAddress), "no such address"),
        (net_errno(NetError::Unsupported), "the host refuses"),
    ] {
        reasons::check(errno, &REASONS, part);
    }
}
