//! The directories above the exports by raw calls.

use super::Bench;
use super::laws::InProcess;
use crate::vfs::ram::TAG;
use crate::vfs::{Backend, Client, ExportRoot, Peer, Rules};
use crate::wire::exports::Hosts;
use cases::calls::Call;
use cases::laws;
use cases::nfs3_types::nfs3::nfsstat3;
use cases::values::{How, Set};
use core::net::Ipv6Addr;

/// A server of `/export`, and of these paths, whose exports are missing; one that ends with "!" is for another host.
fn server(paths: &[&str]) -> (InProcess, Vec<u8>) {
    let mut bench = Bench::default();
    for (tag, path) in (TAG + 1..).zip(paths) {
        let mut client = Client::everyone(Rules::DEFAULT);
        if path.ends_with('!') {
            client.hosts = Hosts::Network {
                address: Ipv6Addr::LOCALHOST,
                bits: 128,
            };
        }
        let path = path.trim_end_matches('!').as_bytes();
        let root = ExportRoot::fixed(Backend::Ram, tag, false);
        bench.tree.export(path, &[client], root).unwrap();
    }
    let peer = Peer {
        address: bench.peer,
        port: bench.port,
    };
    let root = bench.tree.root_for(&peer).unwrap();
    let handle = bench.tree.handle(root).unwrap().padded().to_vec();
    (InProcess::new(bench), handle)
}

#[test]
fn raw_calls_walk_from_the_root_into_an_export() {
    use nfsstat3::{
        NFS3_OK, NFS3ERR_INVAL, NFS3ERR_ISDIR, NFS3ERR_NOENT, NFS3ERR_ROFS, NFS3ERR_STALE,
    };
    let (mut first, root) = server(&["/srv/a/x", "/srv/b", "/other/c!"]);
    let mut peer = laws::Peer::new(&mut first, Vec::new(), 0);
    let mut look = |dir: &[u8], name: &[u8]| {
        let found = peer.expect(&Call::lookup(dir, name), NFS3_OK).unwrap();
        (found.handle, found.attributes[0].unwrap())
    };
    let (srv, attributes) = look(&root, b"srv");
    let (inside, _) = look(&srv, b"a");
    let (export, top) = look(&root, b"export");
    assert!(top != attributes && look(&export, b"hello").1 != top);
    assert_eq!([look(&inside, b"..").0, look(&srv, b".").0], [&srv[..]; 2]);
    assert_eq!([look(&srv, b"..").0, look(&root, b"..").0], [&root[..]; 2]);
    // After a restart with other exports, among them one for other hosts.
    let (mut next, same) = server(&["/0", "/srv/b!", "/srv/a/y", "/srv/c"]);
    assert_eq!(root, same);
    let mut peer = laws::Peer::new(&mut next, Vec::new(), 0);
    let set = Set::default;
    for (call, status) in [
        (Call::get_attr(&inside), NFS3_OK),
        (Call::access(&srv, 0x3f), NFS3_OK),
        (Call::fs_stat(&root), NFS3_OK),
        (Call::fs_info(&srv), NFS3_OK),
        (Call::path_conf(&srv), NFS3_OK),
        (Call::lookup(&srv, b"b"), NFS3ERR_NOENT),
        (Call::lookup(&srv, b"c"), NFS3ERR_NOENT),
        (Call::read(&root, 0, 1), NFS3ERR_ISDIR),
        (Call::read_link(&srv), NFS3ERR_INVAL),
        (Call::set_attr(&srv, set(), None), NFS3ERR_ROFS),
        (
            Call::create(&srv, b"c", How::Unchecked(set())),
            NFS3ERR_ROFS,
        ),
        (Call::mkdir(&root, b"new", set()), NFS3ERR_ROFS),
        (Call::remove(&root, b"srv"), NFS3ERR_ROFS),
        (Call::rmdir(&srv, b"c"), NFS3ERR_ROFS),
        (Call::rename(&root, b"srv", &srv, b"x"), NFS3ERR_ROFS),
        (Call::link(&root, &srv, b"x"), NFS3ERR_ROFS),
        (Call::commit(&srv, 0, 0), NFS3ERR_ISDIR),
        (
            Call::get_attr(&[&[3; 6], &root[6..]].concat()),
            NFS3ERR_STALE,
        ),
    ] {
        peer.expect(&call, status).unwrap();
    }
    let granted = peer.expect(&Call::access(&srv, 0x3f), NFS3_OK).unwrap();
    assert_eq!(granted.words, [0x03]);
    for dir in [&root, &srv] {
        let whole = peer.list(dir, (4096, Some(4096))).unwrap().unwrap();
        assert!(
            peer.list(dir, (300, None))
                .unwrap()
                .unwrap()
                .iter()
                .map(|entry| &entry.name)
                .eq(whole.iter().map(|entry| &entry.name))
        );
        let names: Vec<_> = whole
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.name))
            .collect();
        assert_eq!(
            names,
            if *dir == srv {
                vec!["a", "c"]
            } else {
                vec!["0", "export", "srv"]
            }
        );
        for entry in whole {
            assert!(entry.inode > 0 && entry.cookie > 2);
            // A missing export has neither.
            let is_there = ![&b"0"[..], b"c"].contains(&&entry.name[..]);
            assert_eq!(
                [entry.attributes.is_some(), entry.handle.is_some()],
                [is_there; 2]
            );
        }
    }
}
