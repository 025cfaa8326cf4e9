//! Images and export rules: an image that is an export of its own, images as files in an export, and forged handles.

use super::super::host::Host;
use super::super::iso::testing::{DATA, ROOT, field, record, sample};
use super::super::{Caller, FsError, ObjectType, Peer, Rules};
use super::benches::Exported;
use super::images::{find, go_in};
use super::{content, name, open};
use std::path::PathBuf;

/// Exports the image `one.img` in `dir`.
fn exported(dir: &std::path::Path) -> Exported {
    Exported::new(Host::new(64, 8), &dir.join("one.img"), Rules::default()).unwrap()
}

#[test]
fn exported_image_serves_its_contents_only() {
    let dir = tree("exported");
    let caller = Caller::default();
    std::fs::write(dir.join("one.img"), sample().0).unwrap();
    let mut served = exported(&dir);
    let host = &mut served.tree;
    let root = host.root(0).unwrap();
    assert_eq!(host.attr(root).unwrap().kind, ObjectType::Directory);
    // Above it is the directory in which the export is.
    let above = host.parent_in_all(root, &Default::default()).unwrap();
    assert!(above.unwrap().is_above());
    let file = find(host, root, "sub/file").unwrap();
    assert_eq!(content(host, file), b"hell");
    let handle = host.handle(file).unwrap();
    // The handle survives a restart. Cut to 32 bytes and with another version, it is refused.
    let mut served = exported(&dir);
    let host = &mut served.tree;
    let file = host.open_as(handle.bytes(), &caller).unwrap();
    assert_eq!(content(host, file), b"hell");
    let mut whole = handle.bytes()[..32].to_vec();
    whole[0] = 1;
    assert_eq!(open(host, &whole), Err(FsError::Stale));
    // If the image is replaced, old handles are stale, and MNT finds the new image.
    let mut other = sample();
    other.put(DATA, 0, b"other");
    std::fs::write(dir.join("next"), other.0).unwrap();
    std::fs::rename(dir.join("next"), dir.join("one.img")).unwrap();
    assert_eq!(host.attr(file).map(drop), Err(FsError::Stale));
    for _ in 0..3 {
        host.release_idle();
    }
    assert_eq!(open(host, handle.bytes()), Err(FsError::Stale));
    host.open_export(0).unwrap();
    let root = host.root(0).unwrap();
    let file = find(host, root, "Hello World").unwrap();
    assert_eq!(content(host, file), b"other");
    std::fs::remove_file(dir.join("one.img")).unwrap();
    assert_eq!(host.attr(file).map(drop), Err(FsError::Stale));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn compressed_file_is_noticed_once() {
    let dir = tree("compressed");
    let mut draft = sample();
    let packed = record(b"Z.;1", DATA, 5, 0, &[field(b"ZF", b"pz")]);
    let mut records = vec![
        record(b"\0", ROOT, 2048, 2, &[]),
        record(b"\x01", ROOT, 2048, 2, &[]),
        record(b"A.;1", DATA, 5, 0, &[]),
    ];
    records.extend([packed.clone(), packed]);
    draft.put(ROOT, 0, &[0; 2048]);
    draft.directory(ROOT, &records);
    std::fs::write(dir.join("one.img"), draft.0).unwrap();
    let mut served = exported(&dir);
    let host = &mut served.tree;
    let root = host.root(0).unwrap();
    let found = ["a", "z", "z", "z~2"].map(|name| {
        let file = find(host, root, name).unwrap();
        host.finds_compressed(file)
    });
    assert_eq!(found, [false, true, false, false]);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn invalid_image_is_not_exported() {
    let dir = tree("refused");
    for (bytes, error) in [
        (&[0; 100_000][..], FsError::Invalid),
        (&sample().0[..40_000], FsError::Io),
    ] {
        std::fs::write(dir.join("bad.iso"), bytes).unwrap();
        let exported = Exported::new(Host::new(64, 8), &dir.join("bad.iso"), Rules::default());
        assert_eq!(exported.err(), Some(error));
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn image_is_a_file_without_the_isos_option() {
    let dir = tree("plain");
    std::fs::write(dir.join("one.iso"), sample().0).unwrap();
    let serve = |rules| Exported::new(Host::new(64, 8), &dir, rules).unwrap();
    let mut with = serve(Rules::DEFAULT.with(Rules::ISOS));
    let root = go_in(&mut with.tree, "one.iso").unwrap();
    let inside = with.tree.handle(root).unwrap();
    let mut without = serve(Rules::DEFAULT);
    let entered = go_in(&mut without.tree, "one.iso");
    assert_eq!(entered, Err(FsError::NotDirectory));
    // A kept or forged handle does not enter the image either.
    let opened = open(&mut without.tree, inside.bytes());
    assert_eq!(opened, Err(FsError::Stale));
    let mut with = serve(Rules::DEFAULT.with(Rules::ISOS));
    assert!(open(&mut with.tree, inside.bytes()).is_ok());
    std::fs::remove_dir_all(dir).unwrap();
}

/// Version 4 and MNT enter an image by its name and ".d".
#[test]
fn image_is_a_directory_by_name_and_d() {
    let dir = tree("entered");
    for file in ["one.iso", "sub/Two.ISO", "real.iso", "bad.iso"] {
        std::fs::create_dir_all(dir.join("sub/real.iso.d")).unwrap();
        std::fs::write(dir.join(file), sample().0).unwrap();
    }
    std::fs::write(dir.join("bad.iso"), b"no image").unwrap();
    std::fs::rename(dir.join("sub/real.iso.d"), dir.join("real.iso.d")).unwrap();
    let serve = |rules| Exported::new(Host::new(64, 8), &dir, rules).unwrap();
    let mut with = serve(Rules::DEFAULT.with(Rules::ISOS));
    let peer = Peer {
        address: core::net::Ipv6Addr::LOCALHOST,
        port: 700,
    };
    let tree = &mut with.tree;
    for (parts, inside) in [
        (&["one.iso.d"][..], Ok(true)),
        (&["one.iso"], Ok(false)),
        (&["sub", "Two.ISO.d"], Ok(true)),
        (&["real.iso.d"], Ok(false)),
        (&["bad.iso.d"], Err(FsError::NoEntry)),
        (&["one.iso.D"], Err(FsError::NoEntry)),
        (&["one.iso.d.d"], Err(FsError::NoEntry)),
        (&["none.iso.d"], Err(FsError::NoEntry)),
        (&["one.iso.d", "one.iso.d"], Err(FsError::NoEntry)),
    ] {
        let (top, mut dir) = (tree.root(0).unwrap(), tree.root(0).unwrap());
        let mut found = Ok(top);
        for part in parts {
            dir = found.unwrap();
            found = tree.lookup_or_enter(dir, name(part));
        }
        assert_eq!(found.map(|node| node.is_inside()), inside, "{parts:?}");
        if inside == Ok(true) {
            let image = found.unwrap();
            let parent = tree.parent_in_all(image, &peer);
            assert_eq!(parent, Ok(Some(dir)), "{parts:?}");
            let below = find(tree, image, "sub").unwrap();
            let parent = tree.parent_in_all(below, &peer).unwrap().unwrap();
            let (handle, own) = (tree.handle(image).unwrap(), tree.attr(image).unwrap());
            assert_eq!(tree.handle(parent), Ok(handle));
            let covered = tree.covered(image, &handle).unwrap();
            assert!(![0, own.inode, tree.attr(dir).unwrap().inode].contains(&covered));
            assert_eq!(tree.covered(below, &handle), None);
        }
    }
    // The handle is that of version 3. Its image has no known directory before a look-up.
    let entered = go_in(tree, "one.iso").and_then(|image| tree.handle(image));
    let mut with = serve(Rules::DEFAULT.with(Rules::ISOS));
    let image = open(&mut with.tree, entered.unwrap().bytes()).unwrap();
    let parent = with.tree.parent_in_all(image, &peer);
    assert_eq!(parent, Err(FsError::NoEntry));
    let mut without = serve(Rules::DEFAULT);
    let root = without.tree.root(0).unwrap();
    let refused = without.tree.lookup_or_enter(root, name("one.iso.d"));
    assert_eq!(refused, Err(FsError::NoEntry));
    std::fs::remove_dir_all(dir).unwrap();
}

/// A handle cannot be moved to an export with other rules.
#[test]
fn handle_inside_image_is_bound_to_its_export() {
    let (dir, other) = (tree("strict"), tree("lenient"));
    std::fs::write(dir.join("one.iso"), sample().0).unwrap();
    let strict = Rules::DEFAULT.with(Rules::ISOS);
    let lenient = Rules {
        set: Rules::ISOS,
        ..strict
    };
    let exports = [(&*dir, strict), (&*other, lenient)];
    let mut served = Exported::several(Host::new(64, 8), &exports).unwrap();
    let tree = &mut served.tree;
    let root = go_in(tree, "one.iso").unwrap();
    let inside = tree.handle(root).unwrap();
    let elsewhere = tree.root(1).and_then(|root| tree.handle(root)).unwrap();
    let mut moved = inside.bytes().to_vec();
    moved[2..6].copy_from_slice(&elsewhere.bytes()[2..6]);
    assert!(open(tree, inside.bytes()).is_ok());
    assert_eq!(open(tree, &moved), Err(FsError::Stale));
    for dir in [dir, other] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}

fn tree(name: &str) -> PathBuf {
    let name = format!("stowaway-{}-image-{name}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
