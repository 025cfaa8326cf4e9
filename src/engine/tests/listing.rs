//! READDIR and READDIRPLUS with every page size.

use super::Bench;
use super::laws::InProcess;
use cases::calls::Call;
use cases::laws::Peer;
use cases::nfs3_types::nfs3::nfsstat3;
use std::collections::BTreeSet;

/// Lists the directory with every page size. From `suffices` bytes on, no page may be too small.
fn check(suffices: u32, counts: fn(u32) -> (u32, Option<u32>)) {
    let mut server = InProcess::new(Bench::default());
    let many = server.bench.handle("many");
    let mut peer = Peer::new(&mut server, Vec::new(), 0);
    let mut list = |size| peer.list(&many, counts(size)).unwrap();
    let whole = list(65_536).unwrap();
    let names: BTreeSet<&[u8]> = whole.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!((names.len(), whole.len()), (103, 103));
    for size in 0..=600 {
        let listed = list(size);
        assert_eq!(listed.is_some(), size >= suffices, "{size} bytes");
        assert!(listed.is_none_or(|listed| listed == whole), "{size} bytes");
    }
}

/// Page bytes for an entry with a name of 255 bytes: attributes, verifier, entry, end. The status (4 bytes) is not included.
const LONGEST_NAME: u32 = 88 + 8 + (24 + 256) + 8;
/// Page bytes for a READDIRPLUS entry: also its attributes and handle. The server counts the status (4 bytes) as well.
const LONGEST_OBJECT: u32 = LONGEST_NAME + (4 + 84) + (4 + 4 + 16);

#[test]
fn readdir_pages_list_every_entry_once() {
    check(LONGEST_NAME + 4, |size| (size, None));
}

#[test]
fn readdirplus_pages_list_every_entry_once() {
    check(LONGEST_OBJECT + 4, |size| (u32::MAX, Some(size)));
}

#[test]
fn small_dircount_never_makes_a_page_empty() {
    check(0, |size| (size, Some(600)));
}

#[test]
fn unknown_cookie_is_refused() {
    use nfsstat3::{NFS3_OK, NFS3ERR_BAD_COOKIE};
    let mut server = InProcess::new(Bench::default());
    let many = server.bench.handle("many");
    let mut peer = Peer::new(&mut server, Vec::new(), 0);
    for (cookie, status) in [
        (103, NFS3_OK),
        (104, NFS3ERR_BAD_COOKIE),
        (u64::MAX, NFS3ERR_BAD_COOKIE),
    ] {
        for call in [
            Call::read_dir(&many, cookie, [0; 8], 1024),
            Call::read_dir_plus(&many, cookie, [0; 8], 1024, 1024),
        ] {
            let body = peer.expect(&call, status).unwrap();
            assert!(body.entries.is_empty() && body.attributes[0].is_some());
        }
    }
}
