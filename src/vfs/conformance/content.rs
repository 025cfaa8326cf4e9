//! Conformance tests of contents and attributes: bytes, sizes, modes, owners, times.

use super::super::{
    Access, Attr, CreateWhat, FileTime, FsError, Kind, NewTime, Node, ObjectType, SetAttr, Target,
};
use super::{Bench, Tree, content, instant, make, name, read, walk, writable, write, write_file};

/// Largest file size.
const SIZE_MAX: u64 = i64::MAX as u64;
const LONG_AGO: FileTime = FileTime {
    secs: 987_654_321,
    nanos: 123_456_789,
};

pub(super) fn written_bytes_are_read_back_at_any_offset(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let file = make(vfs, "dir/new", CreateWhat::File).unwrap();
    for (offset, bytes, size) in [
        (0, &b"beginning"[..], 9),
        (5, b"INN", 9),
        (8, b"G, and more", 19),
        (4095, b"across", 4101),
        ((1 << 32) - 2, b"four gibibytes", (1 << 32) + 12),
        (5 << 32, b"far", (5 << 32) + 3),
        (100, b"in the gap", (5 << 32) + 3),
    ] {
        write(vfs, file, offset, bytes).unwrap();
        let mut out = vec![0; bytes.len()];
        assert_eq!(read(vfs, file, offset, &mut out), Ok(bytes.len() as u32));
        assert_eq!(out, bytes);
        assert_eq!(vfs.attr(file).unwrap().size, size);
    }
    let mut out = [1; 24];
    assert_eq!(read(vfs, file, 0, &mut out), Ok(24));
    assert_eq!(&out, b"beginINNG, and more\0\0\0\0\0");
    assert_eq!(read(vfs, file, 94, &mut out), Ok(24));
    assert_eq!(&out, b"\0\0\0\0\0\0in the gap\0\0\0\0\0\0\0\0");
}

pub(super) fn empty_write_changes_nothing(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let file = walk(vfs, "file").unwrap();
    let before = vfs.attr(file).unwrap();
    for offset in [0, 11, 1 << 33] {
        assert_eq!(write(vfs, file, offset, b""), Ok(()));
    }
    let after = vfs.attr(file).unwrap();
    assert_eq!(
        (after.size, after.mtime, after.ctime),
        (before.size, before.mtime, before.ctime)
    );
    assert_eq!(content(vfs, file), b"hello world");
}

pub(super) fn write_beyond_largest_size_fails(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let file = walk(vfs, "file").unwrap();
    for (offset, bytes) in [
        (SIZE_MAX, &b"x"[..]),
        (SIZE_MAX - 2, b"xyz"),
        (SIZE_MAX + 1, b"x"),
        (u64::MAX - 1, b"xyz"),
        (u64::MAX, b"x"),
    ] {
        // The error differs between hosts; some return EINVAL.
        assert!(write(vfs, file, offset, bytes).is_err(), "{offset:#x}");
    }
    for size in [SIZE_MAX + 1, u64::MAX] {
        let change = SetAttr {
            size: Some(size),
            ..SetAttr::default()
        };
        let cut = vfs.set_attr(file, &change);
        assert_eq!(cut, Err(FsError::TooLarge), "{size:#x}");
    }
}

fn resize(vfs: &mut Tree, node: Node, size: u64) {
    let change = SetAttr {
        size: Some(size),
        ..SetAttr::default()
    };
    vfs.set_attr(node, &change).unwrap();
    assert_eq!(vfs.attr(node).unwrap().size, size);
}

pub(super) fn new_size_truncates_or_appends_zeros(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let file = walk(vfs, "file").unwrap();
    resize(vfs, file, 5);
    assert_eq!(content(vfs, file), b"hello");
    resize(vfs, file, 8);
    assert_eq!(content(vfs, file), b"hello\0\0\0");
    resize(vfs, file, 5 << 32);
    resize(vfs, file, 0);
    assert_eq!(content(vfs, file), b"");
    write(vfs, file, 2, b"x").unwrap();
    assert_eq!(content(vfs, file), b"\0\0x");
}

/// Checks that only the attributes in `change`, and ctime, have changed.
fn check_change(before: &Attr, after: &Attr, change: &SetAttr, about: &str) {
    let expect = Attr {
        mode: change.mode.unwrap_or(before.mode),
        uid: change.uid.unwrap_or(before.uid),
        gid: change.gid.unwrap_or(before.gid),
        size: change.size.unwrap_or(before.size),
        // Other tests check these four attributes.
        used: after.used,
        atime: after.atime,
        mtime: after.mtime,
        ctime: after.ctime,
        ..*before
    };
    assert_eq!(*after, expect, "{about}");
    assert!(
        instant(after.ctime) > instant(before.ctime),
        "{about}: {change:?}"
    );
}

pub(super) fn each_attribute_changes_alone(bench: &mut dyn Bench) {
    bench.make_writable();
    let root = walk(bench.vfs(), "").unwrap();
    let own = bench.vfs().attr(root).unwrap();
    let (uid, gid) = if bench.is_privileged() {
        (1234, 5678)
    } else {
        (own.uid, own.gid)
    };
    let none = SetAttr::default();
    let owner = SetAttr {
        uid: Some(uid),
        gid: Some(gid),
        ..none
    };
    let mode = |mode| SetAttr {
        mode: Some(mode),
        ..none
    };
    for (path, change) in [
        ("file", mode(0o600)),
        ("file", mode(0)),
        ("file", mode(0o4755)),
        ("file", SetAttr { uid: None, ..owner }),
        ("file", SetAttr { gid: None, ..owner }),
        (
            "file",
            SetAttr {
                size: Some(3),
                ..none
            },
        ),
        (
            "file",
            SetAttr {
                mode: Some(0o400),
                size: Some(7),
                ..owner
            },
        ),
        ("dir", mode(0o1777)),
        ("dir", owner),
        ("fifo", mode(0o622)),
        ("fifo", owner),
        ("link", owner),
    ] {
        bench.pass_time();
        let vfs = bench.vfs();
        let node = walk(vfs, path).unwrap();
        let before = vfs.attr(node).unwrap();
        vfs.set_attr(node, &change).unwrap();
        let after = vfs.attr(node).unwrap();
        // The kernel clears set-ID bits when the owner or the contents change, for some callers.
        let others = change.uid.is_some() || change.gid.is_some() || change.size.is_some();
        let bits = if others && change.mode.is_none() {
            0o6000
        } else {
            0
        };
        let before = Attr {
            mode: before.mode & !bits | after.mode & bits,
            ..before
        };
        check_change(&before, &after, &change, path);
    }
    let vfs = bench.vfs();
    let file = walk(vfs, "file").unwrap();
    let before = vfs.attr(file).unwrap();
    vfs.set_attr(file, &none).unwrap();
    assert_eq!(vfs.attr(file).unwrap(), before);
}

/// A change of owner clears the set-ID bits, unless the same call sets them.
pub(super) fn set_id_bits_of_the_same_change_survive(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let file = walk(vfs, "file").unwrap();
    let own = vfs.attr(file).unwrap();
    let change = SetAttr {
        mode: Some(0o6755),
        uid: Some(own.uid),
        gid: Some(own.gid),
        size: Some(3),
        ..SetAttr::default()
    };
    vfs.set_attr(file, &change).unwrap();
    let attr = vfs.attr(file).unwrap();
    assert_eq!((attr.mode, attr.size), (0o6755, 3));
}

pub(super) fn refused_mode_of_a_link_changes_nothing(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let link = walk(vfs, "link").unwrap();
    let before = vfs.attr(link).unwrap();
    let change = SetAttr {
        mode: Some(0o600),
        uid: Some(before.uid),
        gid: Some(before.gid),
        mtime: NewTime::At(LONG_AGO),
        ..SetAttr::default()
    };
    assert_eq!(vfs.set_attr(link, &change), Err(FsError::NotSupported));
    assert_eq!(vfs.attr(link).unwrap(), before);
}

pub(super) fn times_are_set_exactly_or_to_now(bench: &mut dyn Bench) {
    bench.make_writable();
    let later = FileTime {
        secs: LONG_AGO.secs + 7,
        nanos: 999_999_999,
    };
    for path in ["file", "dir", "link", "fifo"] {
        bench.pass_time();
        let vfs = bench.vfs();
        let node = walk(vfs, path).unwrap();
        let at = |atime, mtime| SetAttr {
            atime,
            mtime,
            ..SetAttr::default()
        };
        let mut set = |atime, mtime| {
            vfs.set_attr(node, &at(atime, mtime)).unwrap();
            vfs.attr(node).unwrap()
        };
        let attr = set(NewTime::At(LONG_AGO), NewTime::At(later));
        assert_eq!((attr.atime, attr.mtime), (LONG_AGO, later), "{path}");
        let attr = set(NewTime::Keep, NewTime::At(LONG_AGO));
        assert_eq!((attr.atime, attr.mtime), (LONG_AGO, LONG_AGO), "{path}");
        let attr = set(NewTime::At(later), NewTime::Keep);
        assert_eq!((attr.atime, attr.mtime), (later, LONG_AGO), "{path}");
        let attr = set(NewTime::Keep, NewTime::Now);
        assert_eq!(attr.atime, later, "{path}");
        assert_eq!(attr.mtime, attr.ctime, "{path}");
        let attr = set(NewTime::Now, NewTime::At(LONG_AGO));
        assert_eq!((attr.atime, attr.mtime), (attr.ctime, LONG_AGO), "{path}");
    }
    let vfs = bench.vfs();
    let file = walk(vfs, "file").unwrap();
    write(vfs, file, 0, b"H").unwrap();
    assert!(instant(vfs.attr(file).unwrap().mtime) > instant(LONG_AGO));
    let change = SetAttr {
        size: Some(4),
        mtime: NewTime::At(LONG_AGO),
        ..SetAttr::default()
    };
    vfs.set_attr(file, &change).unwrap();
    assert_eq!(vfs.attr(file).unwrap().mtime, LONG_AGO);
    resize(vfs, file, 2);
    assert!(instant(vfs.attr(file).unwrap().mtime) > instant(LONG_AGO));
}

pub(super) fn size_is_set_on_files_only(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    for (path, error) in [
        ("dir", FsError::IsDirectory),
        ("link", FsError::Invalid),
        ("fifo", FsError::Invalid),
    ] {
        let node = walk(vfs, path).unwrap();
        let change = SetAttr {
            size: Some(0),
            ..SetAttr::default()
        };
        assert_eq!(vfs.set_attr(node, &change), Err(error), "{path}");
    }
}

pub(super) fn pinned_file_is_writable_after_removal(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let (dir, file) = (walk(vfs, "dir").unwrap(), walk(vfs, "dir/inner").unwrap());
    let pin = vfs.pin(file, Some(Access::Write)).unwrap();
    vfs.remove(dir, name("inner"), Kind::Other).unwrap();
    write_file(vfs, "dir/inner", b"another");
    assert_eq!(vfs.write(&pin, 2, b"XY"), Ok(()));
    assert_eq!(vfs.sync(&pin), Ok(()));
    while vfs.release_idle() {}
    assert_eq!(vfs.write(&pin, 4, b"Z"), Ok(()));
    let mut out = [0; 8];
    assert_eq!(vfs.read(&pin, 0, &mut out), Ok(5));
    assert_eq!(&out[..5], b"inXYZ");
    vfs.unpin(pin);
    let file = walk(vfs, "dir/inner").unwrap();
    assert_eq!(content(vfs, file), b"another");
}

pub(super) fn hard_links_share_their_contents(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let (file, dir) = (walk(vfs, "file").unwrap(), walk(vfs, "dir").unwrap());
    vfs.link(file, dir, name("other")).unwrap();
    let other = walk(vfs, "dir/other").unwrap();
    write(vfs, other, 0, b"HELLO").unwrap();
    let file = walk(vfs, "file").unwrap();
    assert_eq!(content(vfs, file), b"HELLO world");
    resize(vfs, file, 3);
    let other = walk(vfs, "dir/other").unwrap();
    assert_eq!(content(vfs, other), b"HEL");
    let pin = vfs.pin(other, None).unwrap();
    assert_eq!(vfs.sync(&pin), Ok(()));
    vfs.unpin(pin);
}

pub(super) fn read_only_export_refuses_every_change(bench: &mut dyn Bench) {
    const REFUSED: Result<(), FsError> = Err(FsError::ReadOnly);
    let vfs = bench.vfs();
    let (dir, file) = (walk(vfs, "dir").unwrap(), walk(vfs, "file").unwrap());
    let before = [dir, file].map(|node| vfs.attr(node).unwrap());
    for kind in [
        CreateWhat::File,
        CreateWhat::Directory,
        CreateWhat::Link(b"target"),
        CreateWhat::Special(ObjectType::Fifo, (0, 0)),
    ] {
        let made = vfs.create(dir, name("new"), kind, &SetAttr::default());
        assert_eq!(made.map(drop), REFUSED);
    }
    for change in [
        SetAttr::default(),
        SetAttr {
            mode: Some(0o600),
            ..SetAttr::default()
        },
        SetAttr {
            size: Some(0),
            ..SetAttr::default()
        },
        SetAttr {
            mtime: NewTime::Now,
            ..SetAttr::default()
        },
    ] {
        assert_eq!(vfs.set_attr(file, &change), REFUSED);
    }
    assert_eq!(vfs.pin(file, Some(Access::Write)).map(drop), REFUSED);
    assert_eq!(vfs.remove(dir, name("inner"), Kind::Other), REFUSED);
    assert_eq!(vfs.remove(dir, name("sub"), Kind::Directory), REFUSED);
    assert_eq!(
        vfs.rename(dir, name("inner"), dir, name("new"), Target::Replace),
        REFUSED
    );
    assert_eq!(vfs.link(file, dir, name("new")), REFUSED);
    let pin = vfs.pin(file, None).unwrap();
    assert_eq!(vfs.sync(&pin), Ok(()));
    vfs.unpin(pin);
    assert_eq!([dir, file].map(|node| vfs.attr(node).unwrap()), before);
}
