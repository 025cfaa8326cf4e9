//! Exports below others, found by name and listed.

use super::super::host::Host;
use super::super::{Detail, FsError, Peer, Rules};
use super::benches::Exported;
use super::name;
use core::net::Ipv6Addr;
use core::ops::ControlFlow;

const fn peer(port: u16) -> Peer {
    let address = Ipv6Addr::LOCALHOST;
    Peer { address, port }
}

#[test]
fn name_of_a_nested_export_leads_into_it() {
    let dir = std::env::temp_dir().join(format!("stowaway-{}-nested", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    for path in ["out/in", "out/a/in", "out/b/in"] {
        std::fs::create_dir_all(dir.join(path)).unwrap();
    }
    // The outer one is opened after those below it. One is only for clients with a port below 1024.
    let paths = ["out/in", "out/a/in", "out"].map(|path| dir.join(path));
    let exports = [
        (&*paths[0], Rules::DEFAULT.with(Rules::SECURE)),
        (&*paths[1], Rules::DEFAULT.with(Rules::WRITABLE)),
        (&*paths[2], Rules::DEFAULT),
    ];
    let mut served = Exported::several(Host::new(64, 8), &exports).unwrap();
    let tree = &mut served.tree;
    for (path, port, own) in [
        ("in", 700, Some(0)),
        ("in", 7000, None),
        ("a", 700, None),
        ("a/in", 7000, Some(1)),
        ("b/in", 700, None),
    ] {
        let (mut at, mut found) = (tree.root(2).unwrap(), None);
        for part in path.split('/') {
            found = tree.lookup_nested(at, name(part), &peer(port)).unwrap();
            let mut listed = None;
            let _ = tree.readdir_in_all(at, 0, Detail::Objects, &mut |entry| {
                if entry.name == part.as_bytes() {
                    listed = Some((entry.inode, entry.object.is_some()));
                }
                ControlFlow::Continue(())
            });
            let (inode, has_object) = listed.unwrap();
            match found {
                Some(top) => {
                    let handle = tree.handle(top).unwrap();
                    assert_eq!(tree.covered(top, &handle), Some(inode), "{path}");
                    assert!(!has_object, "{path}");
                }
                // The entry has none if another peer may enter the export.
                None => assert_eq!(has_object, path != "in", "{path}"),
            }
            at = found.unwrap_or_else(|| tree.lookup(at, name(part)).unwrap());
        }
        let top = own.map(|number| tree.root(number).unwrap());
        let tag = top.map(|top| tree.handle(top).unwrap().export_tag());
        let found = found.map(|top| tree.handle(top).unwrap().export_tag());
        assert_eq!(found, tag, "{path}, port {port}");
        assert_eq!(at.may_change(), own == Some(1), "{path}, port {port}");
    }
    // An export that has become missing is none for the next attempt, and the name in the outer export counts.
    let root = tree.root(2).unwrap();
    std::fs::remove_dir(dir.join("out/in")).unwrap();
    std::fs::write(dir.join("out/in"), "").unwrap();
    let mut look = || tree.lookup_nested(root, name("in"), &peer(700));
    assert_eq!([look(), look()], [Err(FsError::TryLater), Ok(None)]);
    std::fs::remove_dir_all(dir).unwrap();
}
