//! Conformance tests of created objects: existence, owner, and that no existing object is replaced.

use super::super::{
    Caller, CreateWhat, Detail, FileTime, FsError, Kind, Name, NewTime, Node, ObjectType, SetAttr,
    Target,
};
use super::{Bench, content, make, name, split, walk, writable};
use core::ops::ControlFlow;

const KINDS: [(CreateWhat<'_>, ObjectType); 5] = [
    (CreateWhat::File, ObjectType::Regular),
    (CreateWhat::Directory, ObjectType::Directory),
    (CreateWhat::Link(b"to nowhere"), ObjectType::SymbolicLink),
    (
        CreateWhat::Special(ObjectType::Fifo, (0, 0)),
        ObjectType::Fifo,
    ),
    (
        CreateWhat::Special(ObjectType::Socket, (0, 0)),
        ObjectType::Socket,
    ),
];

const fn mode(mode: u32) -> SetAttr {
    SetAttr {
        mode: Some(mode),
        uid: None,
        gid: None,
        size: None,
        atime: NewTime::Keep,
        mtime: NewTime::Keep,
    }
}

pub(super) fn created_object_has_its_attributes(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let dir = walk(vfs, "dir").unwrap();
    for (number, (make, kind)) in KINDS.into_iter().enumerate() {
        for bits in [0, 0o600, 0o666, 0o777, 0o1751, 0o4711] {
            let text = format!("new {number} {bits:o}");
            let made = vfs.create(dir, name(&text), make, &mode(bits)).unwrap();
            let attr = vfs.attr(made).unwrap();
            assert_eq!((attr.kind, attr.rdev), (kind, (0, 0)), "{text}");
            match make {
                // The mode of a symbolic link has no effect.
                CreateWhat::Link(target) => assert_eq!(attr.size, target.len() as u64),
                // A new directory ignores the set-ID bits of the request, and may inherit them.
                CreateWhat::Directory => assert_eq!(attr.mode, bits & 0o1777, "{text}"),
                _ => assert_eq!((attr.mode, attr.size, attr.nlink), (bits, 0, 1), "{text}"),
            }
            let found = vfs.lookup(dir, name(&text)).unwrap();
            assert_eq!(vfs.attr(found).unwrap(), attr, "{text}");
            assert!(vfs.handle(found) == vfs.handle(made));
            if make == CreateWhat::Directory && bits == 0o777 {
                assert_eq!(vfs.lookup(made, name("x")), Err(FsError::NoEntry));
                assert_eq!(super::list(vfs, made, 0, 9).0.len(), 2);
            }
            if make == CreateWhat::Directory {
                // A directory without permissions could be removed after the test by root only.
                vfs.remove(dir, name(&text), Kind::Directory).unwrap();
            }
        }
    }
    bench.restart();
    let vfs = bench.vfs();
    let file = walk(vfs, "dir/new 0 600").unwrap();
    assert_eq!(content(vfs, file), b"");
}

pub(super) fn create_applies_initial_attributes(bench: &mut dyn Bench) {
    bench.make_writable();
    let privileged = bench.is_privileged();
    let vfs = bench.vfs();
    let dir = walk(vfs, "dir").unwrap();
    let own = vfs.attr(dir).unwrap();
    let change = SetAttr {
        mode: Some(0o640),
        uid: Some(if privileged { 1234 } else { own.uid }),
        gid: Some(if privileged { 5678 } else { own.gid }),
        size: None,
        // An exclusive CREATE stores its verifier in the times.
        atime: NewTime::At(FileTime {
            secs: 0x7654_3210,
            nanos: 0,
        }),
        mtime: NewTime::At(FileTime {
            secs: 0x0123_4567,
            nanos: 1,
        }),
    };
    for (number, (make, kind)) in KINDS.into_iter().enumerate() {
        let text = format!("new {number}");
        let size = (make == CreateWhat::File).then_some(5);
        let made = vfs.create(dir, name(&text), make, &SetAttr { size, ..change });
        let attr = vfs.attr(made.unwrap()).unwrap();
        assert!(attr.mode == 0o640 || kind == ObjectType::SymbolicLink);
        let [atime, mtime] = [attr.atime, attr.mtime].map(NewTime::At);
        assert_eq!((atime, mtime), (change.atime, change.mtime), "{text}");
        let owner = (Some(attr.uid), Some(attr.gid));
        assert_eq!(owner, (change.uid, change.gid), "{text}");
    }
    let file = walk(vfs, "dir/new 0").unwrap();
    assert_eq!(content(vfs, file), [0; 5]);
}

pub(super) fn created_object_belongs_to_the_caller(bench: &mut dyn Bench) {
    bench.make_writable();
    let privileged = bench.is_privileged();
    let vfs = bench.vfs();
    let dir = walk(vfs, "dir").unwrap();
    vfs.set_attr(dir, &mode(0o777)).unwrap();
    let handle = vfs.handle(dir).unwrap();
    let own = vfs.attr(dir).unwrap();
    // -1 is anonymous, and as a supplementary group is left out.
    const NOBODY: u32 = Caller::NOBODY;
    const ANONYMOUS: u32 = 65_534;
    for (turn, (uid, gid, groups, expect)) in [
        (1234, 5678, &[][..], (1234, 5678)),
        (1234, 5678, &[NOBODY, 9], (1234, 5678)),
        (NOBODY, 5678, &[9], (ANONYMOUS, 5678)),
        (1234, NOBODY, &[9], (1234, ANONYMOUS)),
        (NOBODY, NOBODY, &[], (ANONYMOUS, ANONYMOUS)),
    ]
    .into_iter()
    .enumerate()
    {
        let groups = groups.iter().copied().collect();
        let caller = Caller { uid, gid, groups };
        let expect = if privileged {
            expect
        } else {
            (own.uid, own.gid)
        };
        for (number, (make, _)) in KINDS.into_iter().enumerate() {
            let text = format!("new {turn} {number}");
            let dir = vfs.open_as(handle.bytes(), &caller).unwrap();
            let made = vfs.create(dir, name(&text), make, &mode(0o600)).unwrap();
            let attr = vfs.attr(made).unwrap();
            assert_eq!((attr.uid, attr.gid), expect, "{text}");
        }
    }
    // The next request is not made by this caller, so the server's own user owns the object.
    let made = make(vfs, "dir/next", CreateWhat::File).unwrap();
    assert_eq!(vfs.attr(made).unwrap().uid, own_uid(privileged, own.uid));
}

/// The UID with which the server itself acts.
const fn own_uid(privileged: bool, uid: u32) -> u32 {
    if privileged { 0 } else { uid }
}

pub(super) fn set_gid_directory_passes_its_group_on(bench: &mut dyn Bench) {
    bench.make_writable();
    let privileged = bench.is_privileged();
    let vfs = bench.vfs();
    let dir = walk(vfs, "dir").unwrap();
    let gid = if privileged {
        5678
    } else {
        vfs.attr(dir).unwrap().gid
    };
    let change = SetAttr {
        gid: Some(gid),
        ..mode(0o2775)
    };
    vfs.set_attr(dir, &change).unwrap();
    for (number, (make, kind)) in KINDS.into_iter().enumerate() {
        let text = format!("new {number}");
        let made = vfs.create(dir, name(&text), make, &mode(0o755)).unwrap();
        let attr = vfs.attr(made).unwrap();
        assert_eq!(attr.gid, gid, "{text}");
        let bit = if kind == ObjectType::Directory {
            0o2000
        } else {
            0
        };
        assert_eq!(attr.mode & 0o2000, bit, "{text}");
    }
}

pub(super) fn mknod_of_devices_needs_privilege(bench: &mut dyn Bench) {
    bench.make_writable();
    let privileged = bench.is_privileged();
    let vfs = bench.vfs();
    let dir = walk(vfs, "dir").unwrap();
    for (text, kind, rdev) in [
        ("null", ObjectType::CharacterDevice, (1, 3)),
        ("disk", ObjectType::BlockDevice, (8, 17)),
        ("high", ObjectType::CharacterDevice, (511, 0xfffff)),
    ] {
        let make = CreateWhat::Special(kind, rdev);
        match vfs.create(dir, name(text), make, &mode(0o600)) {
            Ok(made) => {
                let attr = vfs.attr(made).unwrap();
                assert_eq!((attr.kind, attr.rdev, attr.mode), (kind, rdev, 0o600));
            }
            Err(error) => assert_eq!((error, privileged), (FsError::Permission, false)),
        }
    }
}

pub(super) fn symlink_target_is_kept_exactly(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let dir = walk(vfs, "dir").unwrap();
    let long = [b'l'; 1000];
    for (text, target) in [
        ("dots", &b"../../.."[..]),
        ("odd", b"\xff\x01 /\n//"),
        ("long", &long),
    ] {
        let made = vfs.create(dir, name(text), CreateWhat::Link(target), &mode(0o777));
        let mut out = [0; 1024];
        let len = vfs.readlink(made.unwrap(), &mut out).unwrap();
        assert_eq!(&out[..len as usize], target);
    }
}

pub(super) fn create_refuses_existing_names(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    for path in ["file", "dir", "link", "fifo", "dir/sub"] {
        let before = walk(vfs, path).and_then(|node| vfs.attr(node)).unwrap();
        for (kind, _) in KINDS {
            let made = make(vfs, path, kind).map(drop);
            assert_eq!(made, Err(FsError::Exists), "{kind:?} at {path}");
        }
        let (dir, last) = split(vfs, path);
        let other = walk(vfs, "many/000").unwrap();
        assert_eq!(vfs.link(other, dir, last), Err(FsError::Exists), "{path}");
        let after = walk(vfs, path).and_then(|node| vfs.attr(node)).unwrap();
        assert_eq!(after, before, "{path}");
    }
}

pub(super) fn name_changes_need_a_directory(bench: &mut dyn Bench) {
    const REFUSED: Result<(), FsError> = Err(FsError::NotDirectory);
    let vfs = writable(bench);
    let (root, file) = (walk(vfs, "").unwrap(), walk(vfs, "file").unwrap());
    for path in ["file", "link", "fifo"] {
        let node = walk(vfs, path).unwrap();
        for (kind, _) in KINDS {
            let made = vfs.create(node, name("new"), kind, &mode(0o600));
            assert_eq!(made.map(drop), REFUSED, "{path}");
        }
        assert_eq!(vfs.remove(node, name("x"), Kind::Other), REFUSED, "{path}");
        assert_eq!(
            vfs.remove(node, name("x"), Kind::Directory),
            REFUSED,
            "{path}"
        );
        assert_eq!(vfs.link(file, node, name("x")), REFUSED, "{path}");
        let (inside, outside) = ((node, name("x")), (root, name("file")));
        for (from, to) in [(inside, outside), (outside, inside), (inside, inside)] {
            assert_eq!(
                vfs.rename(from.0, from.1, to.0, to.1, Target::Replace),
                REFUSED,
                "{path}"
            );
        }
    }
}

pub(super) fn created_object_is_listed_with_its_handle(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let dir = make(vfs, "dir/new", CreateWhat::Directory).unwrap();
    let made: Vec<(String, Node)> = KINDS
        .into_iter()
        .enumerate()
        .map(|(number, (make, _))| {
            let text = format!("new {number}");
            let made = vfs.create(dir, name(&text), make, &mode(0o600));
            (text, made.unwrap())
        })
        .collect();
    let mut listed = Vec::new();
    vfs.readdir(dir, 0, Detail::Objects, &mut |entry| {
        if Name::new(entry.name).is_ok() {
            let (attr, handle) = entry.object.unwrap();
            listed.push((entry.name.to_vec(), *attr, *handle.unwrap()));
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(listed.len(), made.len());
    for (text, node) in made {
        let (attr, handle) = (vfs.attr(node).unwrap(), vfs.handle(node).unwrap());
        assert!(listed.contains(&(text.into_bytes(), attr, handle)));
    }
}
