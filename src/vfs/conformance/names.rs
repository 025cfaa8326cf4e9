//! Conformance tests of names: REMOVE, RENAME and LINK.

use super::super::{
    Caller, CreateWhat, Detail, FileTime, FsError, FsResult, Kind, NewTime, Node, ObjectType,
    SetAttr, Target,
};
use super::{
    Bench, Tree, content, instant, list, make, name, open, split, sync_all, walk, writable,
    write_file,
};
use core::ops::ControlFlow;
use std::collections::BTreeMap;

pub(super) fn remove_checks_the_object_type(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    make(vfs, "empty", CreateWhat::Directory).unwrap();
    let root = walk(vfs, "").unwrap();
    for (text, kind, expect) in [
        ("none", Kind::Other, Err(FsError::NoEntry)),
        ("none", Kind::Directory, Err(FsError::NoEntry)),
        ("file", Kind::Directory, Err(FsError::NotDirectory)),
        ("link", Kind::Directory, Err(FsError::NotDirectory)),
        ("fifo", Kind::Directory, Err(FsError::NotDirectory)),
        ("empty", Kind::Other, Err(FsError::IsDirectory)),
        ("dir", Kind::Other, Err(FsError::IsDirectory)),
        ("dir", Kind::Directory, Err(FsError::NotEmpty)),
        ("file", Kind::Other, Ok(())),
        ("file", Kind::Other, Err(FsError::NoEntry)),
        ("link", Kind::Other, Ok(())),
        ("fifo", Kind::Other, Ok(())),
        ("empty", Kind::Directory, Ok(())),
        ("empty", Kind::Directory, Err(FsError::NoEntry)),
    ] {
        let removed = vfs.remove(root, name(text), kind);
        assert_eq!(removed, expect, "{text}, {kind:?}");
        let found = vfs.lookup(root, name(text)).is_ok();
        let expect = expect.is_err() && expect != Err(FsError::NoEntry);
        assert_eq!(found, expect, "{text}");
        assert_eq!(vfs.has_name(root, name(text)), expect, "{text}");
    }
    let names = list(vfs, root, 0, usize::MAX).0;
    assert!(!names.iter().any(|(name, _)| name == b"file"));
}

pub(super) fn sync_ignores_objects_removed_before_it(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    make(vfs, "made", CreateWhat::Directory).unwrap();
    write_file(vfs, "made/file", b"gone");
    sync_all(vfs).unwrap();
    while vfs.release_idle() {}
    // Without a sync in between, each object is changed and then removed.
    let dir = walk(vfs, "made").unwrap();
    let file = walk(vfs, "made/file").unwrap();
    vfs.set_attr(file, &mode).unwrap();
    vfs.remove(dir, name("file"), Kind::Other).unwrap();
    let fifo = make(
        vfs,
        "made/fifo",
        CreateWhat::Special(ObjectType::Fifo, (0, 0)),
    )
    .unwrap();
    vfs.set_attr(fifo, &mode).unwrap();
    vfs.remove(dir, name("fifo"), Kind::Other).unwrap();
    let root = walk(vfs, "").unwrap();
    vfs.remove(root, name("made"), Kind::Directory).unwrap();
    assert_eq!(sync_all(vfs), Ok(()));
}

pub(super) fn unlinked_object_is_stale(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    make(vfs, "dir/empty", CreateWhat::Directory).unwrap();
    let dir = walk(vfs, "dir").unwrap();
    let paths = ["dir/inner", "dir/empty"];
    let handles = paths.map(|path| {
        let node = walk(vfs, path).unwrap();
        vfs.handle(node).unwrap()
    });
    vfs.remove(dir, name("inner"), Kind::Other).unwrap();
    vfs.remove(dir, name("empty"), Kind::Directory).unwrap();
    let opened = |vfs: &mut Tree, handle: &[u8]| {
        let node = open(vfs, handle)?;
        vfs.attr(node)
    };
    for handle in &handles {
        assert_eq!(opened(vfs, handle.bytes()), Err(FsError::Stale));
    }
    // New objects with the same names may get the same inode numbers. Path handles distinguish them by their birth time, which has
    // the resolution of a kernel tick (at most 10 ms).
    bench.pass_time();
    let vfs = bench.vfs();
    write_file(vfs, "dir/inner", b"another");
    make(vfs, "dir/empty", CreateWhat::Directory).unwrap();
    for handle in &handles {
        assert_eq!(opened(vfs, handle.bytes()), Err(FsError::Stale));
    }
    bench.restart();
    for handle in &handles {
        assert_eq!(opened(bench.vfs(), handle.bytes()), Err(FsError::Stale));
    }
}

pub(super) fn removing_listed_names_skips_no_entry(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let many = walk(vfs, "many").unwrap();
    let (mut removed, mut from, mut end) = (0, 0, false);
    while !end {
        let (names, last) = list(vfs, many, from, 7);
        from = names.last().map_or(from, |(_, cookie)| *cookie);
        for (text, _) in names.iter().filter(|(text, _)| text.len() == 3) {
            let text = core::str::from_utf8(text).unwrap();
            vfs.remove(many, name(text), Kind::Other).unwrap();
            removed += 1;
        }
        end = last;
    }
    assert_eq!(removed, 200);
    let root = walk(vfs, "").unwrap();
    assert_eq!(vfs.remove(root, name("many"), Kind::Directory), Ok(()));
}

/// All paths below `dir`, with the contents of files.
fn tree(vfs: &mut Tree, dir: Node, path: &str) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (text, _) in list(vfs, dir, 0, usize::MAX).0 {
        let text = String::from_utf8(text).unwrap();
        if matches!(&text[..], "." | "..") {
            continue;
        }
        let node = vfs.lookup(dir, name(&text)).unwrap();
        let path = format!("{path}/{text}");
        let what = match vfs.attr(node).unwrap().kind {
            ObjectType::Directory => {
                all.extend(tree(vfs, node, &path));
                b"a directory".to_vec()
            }
            ObjectType::Regular => content(vfs, node),
            _ => b"something else".to_vec(),
        };
        all.insert(path, what);
    }
    all
}

fn rename(vfs: &mut Tree, from: &str, to: &str) -> FsResult<()> {
    let (dir, text) = split(vfs, from);
    let (new_dir, new_text) = split(vfs, to);
    vfs.rename(dir, text, new_dir, new_text, Target::Replace)
}

pub(super) fn rename_follows_the_table(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    for (number, (from, to, expect)) in [
        ("f", "new", Ok(())),
        ("f", "d/new", Ok(())),
        ("f", "g", Ok(())),
        ("f", "f", Ok(())),
        // `f` and `h` are names of one object.
        ("f", "h", Ok(())),
        ("l", "f", Ok(())),
        ("f", "l", Ok(())),
        ("p", "new", Ok(())),
        ("p", "f", Ok(())),
        ("d/x", "f", Ok(())),
        ("d/x", "d/y", Ok(())),
        ("d", "new", Ok(())),
        ("d", "e", Ok(())),
        ("d", "d", Ok(())),
        ("d", "e/new", Ok(())),
        ("d/s", "new", Ok(())),
        ("d/s", "e", Ok(())),
        ("e", "d/s/new", Ok(())),
        ("none", "new", Err(FsError::NoEntry)),
        ("none", "f", Err(FsError::NoEntry)),
        ("none", "none", Err(FsError::NoEntry)),
        ("e", "d", Err(FsError::NotEmpty)),
        ("d/s", "d", Err(FsError::NotEmpty)),
        ("d/x", "d", Err(FsError::NotEmpty)),
        ("f", "d", Err(FsError::IsDirectory)),
        ("f", "e", Err(FsError::IsDirectory)),
        ("l", "e", Err(FsError::IsDirectory)),
        ("d", "f", Err(FsError::NotDirectory)),
        ("e", "l", Err(FsError::NotDirectory)),
        ("d", "d/new", Err(FsError::Invalid)),
        ("d", "d/x", Err(FsError::Invalid)),
        ("d", "d/s", Err(FsError::Invalid)),
        ("d", "d/s/new", Err(FsError::Invalid)),
    ]
    .into_iter()
    .enumerate()
    {
        let dir_path = format!("place {number}");
        let inside = |path: &str| format!("{dir_path}/{path}");
        let dir = make(vfs, &dir_path, CreateWhat::Directory).unwrap();
        write_file(vfs, &inside("f"), b"f");
        write_file(vfs, &inside("g"), b"g");
        make(vfs, &inside("e"), CreateWhat::Directory).unwrap();
        make(vfs, &inside("d"), CreateWhat::Directory).unwrap();
        write_file(vfs, &inside("d/x"), b"x");
        write_file(vfs, &inside("d/y"), b"y");
        make(vfs, &inside("d/s"), CreateWhat::Directory).unwrap();
        write_file(vfs, &inside("d/s/z"), b"z");
        make(vfs, &inside("l"), CreateWhat::Link(b"f")).unwrap();
        make(
            vfs,
            &inside("p"),
            CreateWhat::Special(ObjectType::Fifo, (0, 0)),
        )
        .unwrap();
        let file = walk(vfs, &inside("f")).unwrap();
        vfs.link(file, dir, name("h")).unwrap();
        let (dir, moved) = (walk(vfs, &dir_path).unwrap(), walk(vfs, &inside(from)));
        let inode = moved.and_then(|node| vfs.attr(node)).map(|attr| attr.inode);
        let before = tree(vfs, dir, "");
        let renamed = rename(vfs, &inside(from), &inside(to));
        assert_eq!(renamed, expect, "{from} to {to}");
        let dir = walk(vfs, &dir_path).unwrap();
        let after = tree(vfs, dir, "");
        let mut expected = before;
        if expect.is_ok() && from != to && (from, to) != ("f", "h") {
            expected.remove(&format!("/{to}"));
            expected = expected
                .into_iter()
                .map(
                    |(path, what)| match path.strip_prefix(&format!("/{from}")) {
                        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                            (format!("/{to}{rest}"), what)
                        }
                        _ => (path, what),
                    },
                )
                .collect();
        }
        assert_eq!(after, expected, "{from} to {to}");
        if expect.is_ok() {
            let moved = walk(vfs, &inside(to)).and_then(|node| vfs.attr(node));
            assert_eq!(moved.map(|attr| attr.inode), inode, "{from} to {to}");
        }
    }
}

pub(super) fn moved_directory_has_its_new_parent(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    rename(vfs, "dir/sub", "many/moved").unwrap();
    let (many, moved) = (walk(vfs, "many").unwrap(), walk(vfs, "many/moved").unwrap());
    let expect = vfs.attr(many).unwrap().inode;
    let mut parent = None;
    vfs.readdir(moved, 0, Detail::Names, &mut |entry| {
        if entry.name == b".." {
            parent = Some(entry.inode);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(parent, Some(expect));
    let deep = walk(vfs, "many/moved/deep").unwrap();
    assert_eq!(content(vfs, deep), b"deep");
    assert_eq!(walk(vfs, "dir/sub"), Err(FsError::NoEntry));
    // The old parent `dir` can be removed once its last name is removed.
    let (root, dir) = (walk(vfs, "").unwrap(), walk(vfs, "dir").unwrap());
    vfs.remove(dir, name("inner"), Kind::Other).unwrap();
    assert_eq!(vfs.remove(root, name("dir"), Kind::Directory), Ok(()));
    assert_eq!(rename(vfs, "many", "many/moved/x"), Err(FsError::Invalid));
}

pub(super) fn parent_chain_reaches_the_root(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    make(vfs, "dir/sub/low", CreateWhat::Directory).unwrap();
    make(vfs, "dir/sub/low/lowest", CreateWhat::Directory).unwrap();
    let check = |vfs: &mut Tree, path: &str, above: &str| {
        let [node, above] = [path, above].map(|path| walk(vfs, path).unwrap());
        let parent = vfs.parent(node).unwrap();
        // An object has one handle, however it was found.
        assert!(vfs.handle(parent).unwrap() == vfs.handle(above).unwrap());
    };
    for _ in 0..2 {
        check(vfs, "", "");
        check(vfs, "dir", "");
        check(vfs, "dir/sub", "dir");
        check(vfs, "dir/sub/low", "dir/sub");
        // Close all idle objects, so that they are opened again.
        vfs.release_idle();
        vfs.release_idle();
    }
    check(vfs, "dir/sub/low/lowest", "dir/sub/low");
    rename(vfs, "dir/sub/low", "many/moved").unwrap();
    check(vfs, "many/moved/lowest", "many/moved");
    check(vfs, "many/moved", "many");
    let file = walk(vfs, "file").unwrap();
    assert_eq!(vfs.parent(file), Err(FsError::NotDirectory));
}

pub(super) fn object_moved_out_has_no_parent(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    make(vfs, "dir/sub/low", CreateWhat::Directory).unwrap();
    let nodes = ["dir/sub", "dir/sub/low"].map(|path| walk(vfs, path).unwrap());
    let outside = format!("../stowaway-{}-outside", std::process::id());
    bench.rename("dir/sub", &outside);
    for node in nodes {
        assert_eq!(bench.vfs().parent(node), Err(FsError::Stale));
    }
    bench.rename(&outside, "dir/sub");
    for node in nodes {
        assert!(bench.vfs().parent(node).is_ok());
    }
}

pub(super) fn handles_survive_rename_within_directory(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let pairs = [
        ("dir/inner", "dir/renamed"),
        ("dir/sub", "dir/other"),
        ("file", "renamed"),
        ("link", "linked"),
    ];
    let known = pairs.map(|(from, _)| {
        let node = walk(vfs, from).unwrap();
        (vfs.handle(node).unwrap(), vfs.attr(node).unwrap().inode)
    });
    for (from, to) in pairs {
        rename(vfs, from, to).unwrap();
    }
    for _ in 0..2 {
        let vfs = bench.vfs();
        for ((handle, inode), (_, to)) in known.iter().zip(pairs) {
            let node = vfs.open_as(handle.bytes(), &Caller::default()).unwrap();
            assert_eq!(vfs.attr(node).unwrap().inode, *inode, "{to}");
            let found = walk(vfs, to).unwrap();
            assert!(vfs.handle(found).unwrap() == *handle, "{to}");
        }
        bench.restart();
    }
}

pub(super) fn link_count_follows_names(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let (root, dir) = (walk(vfs, "").unwrap(), walk(vfs, "dir").unwrap());
    for path in ["file", "fifo", "link"] {
        let node = walk(vfs, path).unwrap();
        let attr = vfs.attr(node).unwrap();
        let other = format!("other {path}");
        assert_eq!(vfs.link(node, dir, name(&other)), Ok(()), "{path}");
        assert_eq!(vfs.link(node, root, name(&other)), Ok(()), "{path}");
        let mut count = |text: &str| {
            let node = walk(vfs, text)?;
            let now = vfs.attr(node)?;
            assert_eq!((now.inode, now.kind), (attr.inode, attr.kind), "{path}");
            FsResult::Ok(now.nlink)
        };
        assert_eq!(count(path), Ok(3), "{path}");
        assert_eq!(count(&other), Ok(3), "{path}");
        vfs.remove(root, name(path), Kind::Other).unwrap();
        let mut count = |text: &str| {
            let node = walk(vfs, text)?;
            vfs.attr(node).map(|attr| attr.nlink)
        };
        assert_eq!(count(&format!("dir/{other}")), Ok(2), "{path}");
        assert_eq!(count(path), Err(FsError::NoEntry), "{path}");
    }
    assert_eq!(vfs.link(dir, root, name("x")), Err(FsError::Permission));
    // Replacing a name by RENAME removes one link.
    let (file, other) = ("dir/other file", "dir/inner");
    let handle = walk(vfs, other).and_then(|node| vfs.handle(node));
    rename(vfs, file, other).unwrap();
    let node = walk(vfs, other).unwrap();
    assert_eq!(vfs.attr(node).unwrap().nlink, 2);
    // Backends of paths have no handles; others must report the replaced file as stale.
    if handle != Err(FsError::NotSupported) {
        let gone = open(vfs, handle.unwrap().bytes());
        assert_eq!(gone.and_then(|node| vfs.attr(node)), Err(FsError::Stale));
    }
}

/// RENAME of SFTP, which does not replace an existing name.
pub(super) fn rename_without_replace_keeps_the_target(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    make(vfs, "empty", CreateWhat::Directory).unwrap();
    for (from, to, expect) in [
        ("file", "link", Err(FsError::Exists)),
        ("file", "dir", Err(FsError::Exists)),
        ("file", "dir/inner", Err(FsError::Exists)),
        ("link", "file", Err(FsError::Exists)),
        ("dir", "file", Err(FsError::Exists)),
        ("dir", "empty", Err(FsError::Exists)),
        ("dir", "dir/sub/x", Err(FsError::Invalid)),
        ("none", "new", Err(FsError::NoEntry)),
        ("file", "dir/new", Ok(())),
        ("link", "dir/new link", Ok(())),
        ("dir", "empty/new", Ok(())),
        ("fifo", "empty/new/sub/fifo", Ok(())),
    ] {
        let (dir, text) = split(vfs, from);
        let before = vfs.lookup(dir, text).and_then(|node| vfs.attr(node));
        let (new_dir, new_text) = split(vfs, to);
        let renamed = vfs.rename(dir, text, new_dir, new_text, Target::Keep);
        assert_eq!(renamed, expect, "{from} to {to}");
        let path = if expect.is_ok() { to } else { from };
        let after = walk(vfs, path).and_then(|node| vfs.attr(node));
        let what = |attr: FsResult<super::super::Attr>| attr.map(|attr| (attr.inode, attr.nlink));
        assert_eq!(what(after), what(before), "{from} to {to}");
        assert_eq!(
            walk(vfs, from).is_err(),
            expect != Err(FsError::Exists) && expect != Err(FsError::Invalid)
        );
    }
}

pub(super) fn name_changes_update_times(bench: &mut dyn Bench) {
    type Step = (&'static str, &'static [&'static str], fn(&mut Tree));
    const LONG_AGO: FileTime = FileTime { secs: 9, nanos: 9 };
    let steps: [Step; 8] = [
        ("create", &["dir"], |vfs| write_file(vfs, "dir/a", b"")),
        ("mkdir", &["dir"], |vfs| {
            make(vfs, "dir/b", CreateWhat::Directory).unwrap();
        }),
        ("symlink", &["dir"], |vfs| {
            make(vfs, "dir/c", CreateWhat::Link(b"x")).unwrap();
        }),
        ("link", &["dir"], |vfs| {
            let (file, dir) = (walk(vfs, "file").unwrap(), walk(vfs, "dir").unwrap());
            vfs.link(file, dir, name("d")).unwrap();
        }),
        ("rename", &["dir"], |vfs| {
            rename(vfs, "dir/a", "dir/e").unwrap()
        }),
        ("move", &["dir", "many"], |vfs| {
            rename(vfs, "dir/e", "many/e").unwrap()
        }),
        ("remove", &["dir"], |vfs| {
            let dir = walk(vfs, "dir").unwrap();
            vfs.remove(dir, name("d"), Kind::Other).unwrap();
        }),
        ("rmdir", &["dir"], |vfs| {
            let dir = walk(vfs, "dir").unwrap();
            vfs.remove(dir, name("b"), Kind::Directory).unwrap();
        }),
    ];
    bench.make_writable();
    for (what, dirs, step) in steps {
        let vfs = bench.vfs();
        let change = SetAttr {
            mtime: NewTime::At(LONG_AGO),
            ..SetAttr::default()
        };
        for path in ["dir", "many"] {
            let node = walk(vfs, path).unwrap();
            vfs.set_attr(node, &change).unwrap();
        }
        let file = walk(vfs, "file").unwrap();
        let before = vfs.attr(file).unwrap();
        bench.pass_time();
        let vfs = bench.vfs();
        step(vfs);
        for path in ["dir", "many"] {
            let node = walk(vfs, path).unwrap();
            let attr = vfs.attr(node).unwrap();
            let moved = instant(attr.mtime) > instant(LONG_AGO);
            assert_eq!(moved, dirs.contains(&path), "{what}: {path}");
            assert!(!moved || attr.ctime == attr.mtime, "{what}: {path}");
        }
        // ctime of the file changes with its names, mtime does not.
        let file = walk(vfs, "file").unwrap();
        let after = vfs.attr(file).unwrap();
        assert_eq!(after.mtime, before.mtime, "{what}");
        let renamed = matches!(what, "link" | "remove");
        assert_eq!(
            instant(after.ctime) > instant(before.ctime),
            renamed,
            "{what}"
        );
    }
}

pub(super) fn names_may_have_255_bytes(bench: &mut dyn Bench) {
    let vfs = writable(bench);
    let [one, two] = ["1", "2"].map(|text| text.repeat(255));
    let dir = walk(vfs, "dir").unwrap();
    write_file(vfs, &format!("dir/{one}"), b"one");
    rename(vfs, &format!("dir/{one}"), &format!("dir/{two}")).unwrap();
    let file = vfs.lookup(dir, name(&two)).unwrap();
    vfs.link(file, dir, name(&one)).unwrap();
    let names = list(vfs, dir, 0, usize::MAX).0;
    for text in [&one, &two] {
        assert!(names.iter().any(|(name, _)| name == text.as_bytes()));
        vfs.remove(dir, name(text), Kind::Other).unwrap();
    }
    let deep = format!("dir/{one}");
    make(vfs, &deep, CreateWhat::Directory).unwrap();
    make(vfs, &format!("{deep}/{two}"), CreateWhat::Link(b"x")).unwrap();
    assert!(walk(vfs, &format!("{deep}/{two}")).is_ok());
}
