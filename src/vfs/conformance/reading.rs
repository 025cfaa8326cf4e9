//! Conformance tests of unchanged trees: attributes, names, reading, listing, handles.

use super::super::{
    Access, Attr, Caller, Detail, FsError, Handle, Kind, Name, ObjectType, SetAttr,
};
use super::benches::{SPARSE_BYTES, TAIL_OFFSET};
use super::{Bench, list, name, open, read, walk, writable, write_file};
use crate::config::{REMOVED_COUNT, SEARCH_ENTRY_COUNT};
use core::ops::ControlFlow;

pub(super) fn attributes_match_the_object(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    for (path, kind, size) in [
        ("", ObjectType::Directory, None),
        ("file", ObjectType::Regular, Some(11)),
        ("dir", ObjectType::Directory, None),
        ("dir/inner", ObjectType::Regular, Some(5)),
        ("link", ObjectType::SymbolicLink, Some(11)),
        ("fifo", ObjectType::Fifo, Some(0)),
        ("sparse", ObjectType::Regular, Some(SPARSE_BYTES)),
    ] {
        let node = walk(vfs, path).unwrap();
        let attr = vfs.attr(node).unwrap();
        assert_eq!(attr.kind, kind, "{path}");
        assert!(size.is_none_or(|size| size == attr.size), "{path}");
        assert!(attr.mode & !0o7777 == 0 && attr.mtime.nanos < 1_000_000_000);
    }
}

pub(super) fn lookup_finds_names_one_by_one(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    assert!(walk(vfs, "dir/sub/deep").is_ok());
    assert_eq!(walk(vfs, "dir/none"), Err(FsError::NoEntry));
    let first = walk(vfs, "dir/inner").unwrap();
    let attr = vfs.attr(first).unwrap();
    let again = walk(vfs, "dir/inner").unwrap();
    assert_eq!(vfs.attr(again).unwrap(), attr);
}

pub(super) fn lookup_in_other_objects_fails(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    for path in ["file/x", "link/x", "fifo/x"] {
        assert_eq!(walk(vfs, path), Err(FsError::NotDirectory), "{path}");
    }
    let file = walk(vfs, "file").unwrap();
    let listed = vfs.readdir(file, 0, Detail::Names, &mut |_| ControlFlow::Continue(()));
    assert_eq!(listed, Err(FsError::NotDirectory));
}

pub(super) fn reads_stop_at_end_of_file(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let file = walk(vfs, "file").unwrap();
    let mut out = [0; 32];
    assert_eq!(read(vfs, file, 0, &mut out), Ok(11));
    assert_eq!(&out[..11], b"hello world");
    assert_eq!(read(vfs, file, 6, &mut out[..3]), Ok(3));
    assert_eq!(&out[..3], b"wor");
    assert_eq!(read(vfs, file, 11, &mut out), Ok(0));
    assert_eq!(read(vfs, file, 1 << 40, &mut out), Ok(0));
}

pub(super) fn reads_work_beyond_4_gib(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let file = walk(vfs, "sparse").unwrap();
    let mut out = [1; 8];
    assert_eq!(read(vfs, file, TAIL_OFFSET - 2, &mut out), Ok(8));
    assert_eq!(&out, b"\0\0tail\0\0");
    assert_eq!(read(vfs, file, SPARSE_BYTES - 3, &mut out), Ok(3));
}

pub(super) fn only_regular_files_are_read(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    for (path, error) in [
        ("", FsError::IsDirectory),
        ("dir", FsError::IsDirectory),
        ("link", FsError::Invalid),
        ("fifo", FsError::Invalid),
    ] {
        let node = walk(vfs, path).unwrap();
        for access in [Access::Read, Access::Write] {
            let pinned = vfs.pin(node, Some(access)).map(drop);
            assert_eq!(pinned, Err(error), "{path}");
        }
        // Backends by path pin no directory.
        if let Ok(pin) = vfs.pin(node, None) {
            assert_eq!(error, FsError::IsDirectory, "{path}");
            vfs.unpin(pin);
        }
    }
}

pub(super) fn symbolic_links_are_read_and_not_followed(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let link = walk(vfs, "link").unwrap();
    let mut out = [0; 32];
    assert_eq!(vfs.readlink(link, &mut out), Ok(11));
    assert_eq!(&out[..11], b"/etc/passwd");
    assert_eq!(vfs.readlink(link, &mut out[..4]), Ok(4));
    let file = walk(vfs, "file").unwrap();
    assert_eq!(vfs.readlink(file, &mut out), Err(FsError::Invalid));
}

pub(super) fn listing_continues_after_any_cookie(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let many = walk(vfs, "many").unwrap();
    let (whole, end) = list(vfs, many, 0, usize::MAX);
    assert!(end);
    let mut names: Vec<_> = whole.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    let mut expect: Vec<_> = (0..200)
        .map(|number| format!("{number:03}").into_bytes())
        .collect();
    expect.extend([b".".to_vec(), b"..".to_vec()]);
    expect.sort();
    assert_eq!(names, expect);
    for page in [1, 7, 100] {
        let (mut paged, mut from, mut end) = (Vec::new(), 0, false);
        while !end {
            let (names, last) = list(vfs, many, from, page);
            assert!(last || names.len() == page);
            from = names.last().map_or(from, |(_, cookie)| *cookie);
            paged.extend(names);
            end = last;
        }
        assert_eq!(paged, whole, "{page} at a time");
    }
}

pub(super) fn listed_attributes_match_lookup(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    for path in ["", "dir", "many"] {
        let dir = walk(vfs, path).unwrap();
        let mut listed = Vec::new();
        vfs.readdir(dir, 0, Detail::Objects, &mut |entry| {
            let attr = entry.object.map(|(attr, _)| *attr);
            let is_kind = |attr: &Attr| entry.kind.is_none_or(|kind| kind == attr.kind);
            assert!(attr.as_ref().is_none_or(is_kind));
            listed.push((entry.name.to_vec(), attr, entry.id));
            ControlFlow::Continue(())
        })
        .unwrap();
        let known = listed.iter().filter(|(name, ..)| Name::new(name).is_ok());
        assert_eq!(known.count(), listed.len() - 2, "{path}");
        let own = vfs.attr(dir).unwrap();
        for (name, attr, id) in listed {
            match Name::new(&name) {
                Ok(name) => {
                    let dir = walk(vfs, path).unwrap();
                    let node = vfs.lookup(dir, name).unwrap();
                    assert_eq!(attr, Some(vfs.attr(node).unwrap()), "{path}/{name:?}");
                    assert_eq!(attr, vfs.entry_attr(dir, name, id).ok(), "{path}/{name:?}");
                }
                // Listing the directory has changed its atime.
                Err(_) if name == b"." => {
                    let attr = attr.unwrap_or(own);
                    let atime = own.atime;
                    assert_eq!(Attr { atime, ..attr }, own, "{path}");
                }
                Err(_) => assert!(attr.is_none_or(|attr| attr.kind == ObjectType::Directory)),
            }
        }
    }
}

pub(super) fn listed_handles_match_lookup(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    for path in ["", "dir", "dir/sub"] {
        let dir = walk(vfs, path).unwrap();
        let mut listed: Vec<(Vec<u8>, Option<Handle>, u64)> = Vec::new();
        vfs.readdir(dir, 0, Detail::Objects, &mut |entry| {
            listed.push((
                entry.name.to_vec(),
                entry.object.map(|(_, handle)| *handle.unwrap()),
                entry.inode,
            ));
            ControlFlow::Continue(())
        })
        .unwrap();
        for (name, handle, inode) in listed {
            let Ok(name) = Name::new(&name) else {
                assert!(handle.is_none());
                continue;
            };
            let node = vfs.lookup(dir, name).unwrap();
            assert!(vfs.handle(node).unwrap() == handle.unwrap());
            assert_eq!(vfs.attr(node).unwrap().inode, inode);
        }
    }
}

pub(super) fn handles_survive_a_restart(bench: &mut dyn Bench) {
    let paths = ["", "file", "dir", "dir/sub/deep", "many/150", "link"];
    let vfs = bench.vfs();
    let before = paths.map(|path| {
        let node = walk(vfs, path).unwrap();
        (vfs.handle(node).unwrap(), vfs.attr(node).unwrap().inode)
    });
    bench.restart();
    let vfs = bench.vfs();
    for ((handle, inode), path) in before.iter().zip(paths) {
        // Clients send a handle as it was returned, or padded.
        for bytes in [handle.bytes(), handle.padded()] {
            let node = vfs.open_as(bytes, &Caller::default()).unwrap();
            assert_eq!(vfs.attr(node).unwrap().inode, *inode, "{path}");
        }
        let looked_up = walk(vfs, path).unwrap();
        assert!(vfs.handle(looked_up).unwrap() == *handle, "{path}");
    }
    let mut out = [0; 8];
    let deep = vfs
        .open_as(before[3].0.bytes(), &Caller::default())
        .unwrap();
    assert_eq!(read(vfs, deep, 0, &mut out), Ok(4));
    assert_eq!(&out[..4], b"deep");
}

/// A search that a request leaves unfinished belongs to its handle: a request for another handle does not get its result.
pub(super) fn search_continues_for_its_own_handle(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let [lost, inner] = ["many/150", "dir/inner"].map(|path| {
        let node = walk(vfs, path).unwrap();
        (vfs.handle(node).unwrap(), vfs.attr(node).unwrap().inode)
    });
    bench.remove("many/150");
    for number in 0..SEARCH_ENTRY_COUNT {
        bench.write_file(&format!("many/more-{number}"), b"");
    }
    bench.restart();
    let vfs = bench.vfs();
    let first = vfs.open_as(lost.0.bytes(), &Caller::default());
    assert_eq!(first, Err(FsError::AwaitsTurn));
    let node = open(vfs, inner.0.bytes()).unwrap();
    assert_eq!(vfs.attr(node).unwrap().inode, inner.1);
    assert_eq!(open(vfs, lost.0.bytes()), Err(FsError::Stale));
}

/// Objects used since the last release stay open, so the first call reports that more can be released.
pub(super) fn release_idle_reports_remaining_objects(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    walk(vfs, "dir/inner").unwrap();
    assert!(vfs.release_idle());
    assert!(!vfs.release_idle());
}

/// A regular file that another program replaced is usable as long as it is used, then closed within three releases.
pub(super) fn file_replaced_by_other_program_stays_usable(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let old = walk(vfs, "file").unwrap();
    let old = vfs.handle(old).unwrap();
    bench.rename("dir/inner", "file");
    let vfs = bench.vfs();
    let new = walk(vfs, "file").unwrap();
    assert!(vfs.handle(new).unwrap() != old);
    let cut = SetAttr {
        size: Some(7),
        ..SetAttr::default()
    };
    for _ in 0..3 {
        let file = open(vfs, old.bytes()).unwrap();
        let pin = vfs.pin(file, Some(Access::Write)).unwrap();
        vfs.write(&pin, 0, b"HELLO").unwrap();
        vfs.unpin(pin);
        vfs.set_attr(file, &cut).unwrap();
        let mut out = [0; 32];
        assert_eq!(read(vfs, file, 0, &mut out), Ok(7));
        assert_eq!(out[..7], *b"HELLO w");
        let attr = vfs.attr(file).unwrap();
        assert_eq!((attr.size, attr.nlink), (7, 0));
        // A client that pauses for two releases finds the file open.
        assert!(vfs.release_idle() && vfs.release_idle());
    }
    assert!(!vfs.release_idle());
    assert_eq!(open(vfs, old.bytes()), Err(FsError::Stale));
}

/// After more removals by clients than are recorded, a removed file counts as removed by a client.
pub(super) fn file_is_stale_after_many_removals(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let file = walk(vfs, "file").unwrap();
    let file = vfs.handle(file).unwrap();
    for _ in 0..=REMOVED_COUNT / 2 {
        write_file(vfs, "other", b"");
        let root = walk(vfs, "").unwrap();
        vfs.remove(root, name("other"), Kind::Other).unwrap();
    }
    bench.remove("file");
    let vfs = bench.vfs();
    let gone = open(vfs, file.bytes());
    assert_eq!(gone.and_then(|node| vfs.attr(node)), Err(FsError::Stale));
}

pub(super) fn released_node_is_stale_for_changes(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let dir = walk(vfs, "dir").unwrap();
    while vfs.release_idle() {}
    let inner = Name::new(b"inner").unwrap();
    assert_eq!(vfs.remove(dir, inner, Kind::Other), Err(FsError::Stale));
}

pub(super) fn handle_of_removed_object_is_stale(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let node = walk(vfs, "dir/inner").unwrap();
    let handle = vfs.handle(node).unwrap();
    bench.remove("dir/inner");
    bench.restart();
    let vfs = bench.vfs();
    assert_eq!(open(vfs, handle.bytes()), Err(FsError::Stale));
    assert_eq!(walk(vfs, "dir/inner"), Err(FsError::NoEntry));
}

pub(super) fn altered_handles_are_refused(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let node = walk(vfs, "dir/inner").unwrap();
    let handle = vfs.handle(node).unwrap();
    for len in [0, 1, 63, 64, 65] {
        assert!(vfs.open_as(&vec![1; len], &Caller::default()).is_err());
    }
    for end in 0..handle.bytes().len() {
        assert!(
            vfs.open_as(&handle.bytes()[..end], &Caller::default())
                .is_err()
        );
    }
    for bit in 0..handle.bytes().len() * 8 {
        let mut flipped = handle.bytes().to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // Handles of the model have no MAC: a flipped bit may yield the handle of another object, but not a second handle of the
        // same object.
        let same = vfs
            .open_as(&flipped, &Caller::default())
            .is_ok_and(|other| vfs.attr(other).unwrap() == vfs.attr(node).unwrap());
        assert!(!same, "bit {bit}");
    }
}

pub(super) fn access_follows_the_servers_rights(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let (file, dir) = (walk(vfs, "file").unwrap(), walk(vfs, "dir").unwrap());
    assert_eq!(vfs.access(file, Access::Read), Ok(()));
    assert_eq!(vfs.access(file, Access::Execute), Err(FsError::Access));
    assert_eq!(vfs.access(dir, Access::Execute), Ok(()));
    assert_eq!(vfs.access(file, Access::Write), Err(FsError::Access));
    let vfs = writable(bench);
    for path in ["file", "dir"] {
        let node = walk(vfs, path).unwrap();
        assert_eq!(vfs.access(node, Access::Write), Ok(()), "{path}");
    }
}

pub(super) fn pin_survives_release_idle(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let node = walk(vfs, "file").unwrap();
    let pin = vfs.pin(node, Some(Access::Read)).unwrap();
    while vfs.release_idle() {}
    let mut out = [0; 16];
    assert_eq!(vfs.read(&pin, 0, &mut out), Ok(11));
    vfs.unpin(pin);
    while vfs.release_idle() {}
    assert!(walk(vfs, "file").is_ok());
}

pub(super) fn external_change_is_visible_to_next_request(bench: &mut dyn Bench) {
    let vfs = bench.vfs();
    let handles = ["file", "dir", "link"].map(|path| {
        let node = walk(vfs, path).unwrap();
        vfs.handle(node).unwrap()
    });
    bench.restart();
    let vfs = bench.vfs();
    let caller = Caller::default();
    let [file, dir, link] = handles;
    // The first request only opens the handle. The next request must not use attributes that the first one cached.
    vfs.open_as(file.bytes(), &caller).unwrap();
    bench.write_file("file", b"another");
    let vfs = bench.vfs();
    let node = vfs.open_as(file.bytes(), &caller).unwrap();
    assert_eq!(vfs.attr(node).unwrap().size, 7);
    let mut out = [0; 32];
    assert_eq!(read(vfs, node, 0, &mut out), Ok(7));
    vfs.open_as(dir.bytes(), &caller).unwrap();
    bench.write_file("dir/new", b"");
    let vfs = bench.vfs();
    let dir = vfs.open_as(dir.bytes(), &caller).unwrap();
    assert!(
        list(vfs, dir, 0, 9)
            .0
            .iter()
            .any(|(name, _)| name == b"new")
    );
    vfs.open_as(link.bytes(), &caller).unwrap();
    bench.remove("link");
    let vfs = bench.vfs();
    let gone = open(vfs, link.bytes());
    assert_eq!(gone.and_then(|node| vfs.attr(node)), Err(FsError::Stale));
}
