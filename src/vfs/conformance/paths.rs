//! Conformance tests of paths: how dots and symbolic links resolve, and opening and creating files by path.

use super::super::walk::{BUFFER_BYTES, End, Path};
use super::super::{
    Attr, CreateWhat, FsError, FsResult, Name, NewTime, ObjectType, OpenFlags, SetAttr,
};
use super::{Bench, Tree, writable};

const READ: OpenFlags = OpenFlags {
    bits: OpenFlags::READ,
    create: None,
};
const WRITE: OpenFlags = OpenFlags {
    bits: OpenFlags::READ | OpenFlags::WRITE,
    ..READ
};
const MAKE: OpenFlags = OpenFlags {
    create: Some(0o640),
    ..WRITE
};
const LIST: OpenFlags = OpenFlags {
    bits: OpenFlags::READ | OpenFlags::DIRECTORY,
    ..READ
};

/// Spellings of the same path: absolute, and relative if relative paths start at the tree's root.
fn spellings(bench: &dyn Bench, relative: &str) -> Vec<String> {
    let absolute = format!("{}/{relative}", bench.root_path());
    let mut all = vec![absolute.clone(), absolute.replace('/', "//")];
    if all[1].starts_with("//") && !bench.root_path().is_empty() {
        // A jail that is shown under another path compares that prefix byte by byte, so "//" in the prefix is not tested.
        all.pop();
    }
    if bench.is_bounded() && !relative.is_empty() && !relative.starts_with('/') {
        all.push(relative.into());
        all.push(format!("./{relative}"));
    }
    all
}

/// Fails unless each of three calls resolves the path to this object, or fails with this error.
#[track_caller]
fn expect_resolved(vfs: &mut Tree, path: &str, follow: bool, expect: FsResult<Attr>) {
    assert_eq!(resolve_all_ways(vfs, path, follow), expect, "{path}");
}

/// Resolves a path by three different calls, which must agree.
pub(super) fn resolve_all_ways(vfs: &mut Tree, path: &str, follow: bool) -> FsResult<Attr> {
    let path = path.as_bytes();
    let end = if follow { End::Follow } else { End::Keep };
    let attr = vfs.attr_at(path, follow);
    let resolved = vfs.resolve(path, follow).and_then(|node| vfs.attr(node));
    let mut done = Path::new(vfs);
    let walked = done.walk(path, &mut [0; BUFFER_BYTES], end);
    let node = done.node();
    let walked = walked.and_then(|()| vfs.attr(node.unwrap()));
    let about = String::from_utf8_lossy(path);
    assert_eq!(attr, resolved, "{about}, follow: {follow}");
    assert_eq!(walked, attr, "{about}, follow: {follow}");
    attr
}

/// Creates a symbolic link.
fn create_symlink(vfs: &mut Tree, root: &str, relative: &str, target: &str) {
    let (dir, name) = relative.rsplit_once('/').unwrap_or(("", relative));
    let dir = vfs
        .resolve(format!("{root}/{dir}").as_bytes(), true)
        .unwrap();
    let name = Name::new(name.as_bytes()).unwrap();
    let make = CreateWhat::Link(target.as_bytes());
    vfs.create(dir, name, make, &SetAttr::default()).unwrap();
}

pub(super) fn paths_resolve_through_directories_and_dots(bench: &mut dyn Bench) {
    for (relative, same) in [
        ("", ""),
        (".", ""),
        ("./", ""),
        ("dir", "dir"),
        ("dir/", "dir"),
        ("dir///", "dir"),
        ("dir/.", "dir"),
        ("dir/./", "dir"),
        ("dir/..", ""),
        ("dir/sub/..", "dir"),
        ("dir/sub/../inner", "dir/inner"),
        ("dir/../dir/sub/../../file", "file"),
        ("./dir/./sub//deep", "dir/sub/deep"),
        ("fifo", "fifo"),
    ] {
        for path in spellings(bench, relative) {
            let expect = format!("{}/{same}", bench.root_path());
            let vfs = bench.vfs();
            let expect = vfs.attr_at(expect.as_bytes(), true).unwrap();
            expect_resolved(vfs, &path, true, Ok(expect));
            expect_resolved(vfs, &path, false, Ok(expect));
        }
    }
    let (root, vfs) = (bench.root_path(), bench.vfs());
    let file = vfs
        .attr_at(format!("{root}/file").as_bytes(), true)
        .unwrap();
    assert_eq!((file.kind, file.size), (ObjectType::Regular, 11));
}

pub(super) fn unresolvable_paths_have_their_errors(bench: &mut dyn Bench) {
    let long = "l".repeat(256);
    for (relative, error) in [
        ("none", FsError::NoEntry),
        ("none/", FsError::NoEntry),
        ("none/x", FsError::NoEntry),
        ("none/..", FsError::NoEntry),
        // A name, although only of dots.
        ("...", FsError::NoEntry),
        ("dir/none/../inner", FsError::NoEntry),
        ("file/", FsError::NotDirectory),
        ("file/.", FsError::NotDirectory),
        ("file/..", FsError::NotDirectory),
        ("file/x", FsError::NotDirectory),
        ("file/../file", FsError::NotDirectory),
        ("fifo/x", FsError::NotDirectory),
        ("file\0", FsError::Invalid),
        ("dir/\0", FsError::Invalid),
        (&long, FsError::NameTooLong),
    ] {
        for path in spellings(bench, relative) {
            let vfs = bench.vfs();
            expect_resolved(vfs, &path, true, Err(error));
            expect_resolved(vfs, &path, false, Err(error));
            let opened = vfs.open_at(path.as_bytes(), &READ);
            assert_eq!(opened.unwrap_err(), error, "{path}");
        }
    }
    // The longest valid path resolves, a longer one does not.
    let (root, vfs) = (bench.root_path(), bench.vfs());
    let dots = "/.".repeat(5000);
    let path = format!("{root}{dots}");
    let longest = &path.as_bytes()[..4094];
    let whole = longest.strip_suffix(b"/").unwrap_or(longest);
    assert!(vfs.attr_at(whole, true).is_ok());
    assert_eq!(
        vfs.attr_at(path.as_bytes(), true),
        Err(FsError::NameTooLong)
    );
    let opened = vfs.open_at(path.as_bytes(), &MAKE);
    assert_eq!(opened.unwrap_err(), FsError::NameTooLong);
}

pub(super) fn symbolic_links_resolve_to_their_targets(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    let absolute = |relative: &str| format!("{root}/{relative}");
    for (relative, target) in [
        ("to file", "file"),
        ("to dir", "dir"),
        ("to slash", "dir/"),
        ("dir/up", "../file"),
        ("dir/sub/far", "../../dir/./inner"),
        ("to up", "dir/up"),
        ("absolute", &absolute("dir/inner")),
        ("absolute dir", &absolute("dir/")),
        ("twice", "absolute dir/up"),
        ("nowhere", "none"),
        ("nowhere deep", "none/none"),
        ("through", "file/x"),
        ("loop", "pool"),
        ("pool", "loop"),
        ("self", "self/x"),
    ] {
        create_symlink(vfs, &root, relative, target);
    }
    const LOOP: Result<&str, FsError> = Err(FsError::TooManyFollowed);
    for (relative, expect) in [
        ("to file", Ok("file")),
        ("to file/", Err(FsError::NotDirectory)),
        ("to dir", Ok("dir")),
        ("to dir/", Ok("dir")),
        ("to dir/inner", Ok("dir/inner")),
        ("to dir/..", Ok("")),
        ("to slash", Ok("dir")),
        ("to slash/inner", Ok("dir/inner")),
        ("dir/up", Ok("file")),
        ("to dir/up", Ok("file")),
        ("dir/sub/far", Ok("dir/inner")),
        ("to up", Ok("file")),
        ("absolute", Ok("dir/inner")),
        ("absolute dir", Ok("dir")),
        ("absolute dir/..", Ok("")),
        ("absolute dir/sub/../inner", Ok("dir/inner")),
        ("twice", Ok("file")),
        ("nowhere", Err(FsError::NoEntry)),
        ("nowhere/", Err(FsError::NoEntry)),
        ("nowhere/..", Err(FsError::NoEntry)),
        ("nowhere deep", Err(FsError::NoEntry)),
        ("through", Err(FsError::NotDirectory)),
        ("loop", LOOP),
        ("loop/x", LOOP),
        ("self", LOOP),
    ] {
        for path in spellings(bench, relative) {
            let vfs = bench.vfs();
            let expect = expect.map(|same| {
                let same = format!("{root}/{same}");
                vfs.attr_at(same.as_bytes(), false).unwrap()
            });
            expect_resolved(vfs, &path, true, expect);
            let opened = match expect {
                Ok(attr) if attr.kind == ObjectType::Directory => {
                    vfs.open_at(path.as_bytes(), &LIST)
                }
                _ => vfs.open_at(path.as_bytes(), &READ),
            };
            let attr = opened.and_then(|pin| {
                let attr = vfs.attr(pin.node());
                vfs.unpin(pin);
                attr
            });
            assert_eq!(attr.map(|attr| attr.inode), expect.map(|attr| attr.inode));
            let own = resolve_all_ways(vfs, &path, false).map(|attr| attr.kind);
            if relative.contains('/') || relative == "self" {
                continue;
            }
            assert_eq!(own, Ok(ObjectType::SymbolicLink), "{path}");
        }
    }
}

pub(super) fn forty_links_are_followed(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    create_symlink(vfs, &root, "link 1", "file");
    for number in 2..=41 {
        let target = format!("link {}", number - 1);
        create_symlink(vfs, &root, &format!("link {number}"), &target);
    }
    let mut size = |name: &str, follow| {
        let attr = resolve_all_ways(vfs, &format!("{root}/{name}"), follow);
        attr.map(|attr| attr.size)
    };
    assert_eq!(size("link 40", true), Ok(11));
    assert_eq!(size("link 41", true), Err(FsError::TooManyFollowed));
    assert_eq!(size("link 41", false), Ok(7));
}

pub(super) fn paths_stay_below_the_root(bench: &mut dyn Bench) {
    let (root, is_bounded) = (bench.root_path(), bench.is_bounded());
    let vfs = writable(bench);
    for (relative, target) in [
        ("dir/out", "../../../../../../../../etc/passwd"),
        ("dir/above", "../.."),
        ("dir/round", "../../../file"),
    ] {
        create_symlink(vfs, &root, relative, target);
    }
    if !is_bounded {
        // Without a bound, links to the rest of the host resolve.
        assert!(resolve_all_ways(vfs, &format!("{root}/dir/out"), true).is_ok());
        assert!(resolve_all_ways(vfs, &format!("{root}/link"), true).is_ok());
        return;
    }
    let own = vfs.attr_at(format!("{root}/").as_bytes(), true).unwrap();
    for relative in [
        "..",
        "../..",
        "dir/../../..",
        "dir/above",
        "dir/above/..",
        "../.",
    ] {
        expect_resolved(vfs, relative, true, Ok(own));
        expect_resolved(vfs, &format!("{root}/{relative}"), true, Ok(own));
    }
    let file = resolve_all_ways(vfs, &format!("{root}/file"), true);
    for relative in [
        "../file",
        "../dir/../../file",
        "dir/round",
        "dir/above/file",
    ] {
        expect_resolved(vfs, relative, true, file);
    }
    for relative in [
        "dir/out",
        "link",
        "../etc/passwd",
        "../../../../../../etc/passwd",
    ] {
        expect_resolved(vfs, relative, true, Err(FsError::NoEntry));
        let opened = vfs.open_at(relative.as_bytes(), &READ);
        assert_eq!(opened.unwrap_err(), FsError::NoEntry, "{relative}");
    }
    for outside in ["/etc/passwd", "/tmp", "/proc/self"] {
        expect_resolved(vfs, outside, true, Err(FsError::NoEntry));
    }
    if !root.is_empty() {
        let beside = format!("{root}x");
        let above = root.rsplit_once('/').unwrap().0;
        for outside in ["/", &beside, above] {
            if !outside.is_empty() {
                expect_resolved(vfs, outside, true, Err(FsError::NoEntry));
            }
        }
    }
}

pub(super) fn realpath_has_no_links_or_dots(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    create_symlink(vfs, &root, "to dir", "dir");
    create_symlink(vfs, &root, "dir/up", &format!("{root}/to dir/sub"));
    create_symlink(vfs, &root, "nowhere", "dir/none");
    for (relative, end, expect) in [
        ("", End::Follow, Ok("")),
        ("dir/..", End::Follow, Ok("")),
        ("dir/./sub//deep", End::Follow, Ok("/dir/sub/deep")),
        ("to dir", End::Follow, Ok("/dir")),
        ("to dir", End::Keep, Ok("/to dir")),
        ("to dir/", End::Keep, Ok("/dir")),
        ("to dir/up/deep", End::Follow, Ok("/dir/sub/deep")),
        ("to dir/up/..", End::Follow, Ok("/dir")),
        ("none", End::Follow, Err(FsError::NoEntry)),
        ("none", End::Absent, Ok("/none")),
        ("to dir/up/none", End::Absent, Ok("/dir/sub/none")),
        ("nowhere", End::Absent, Ok("/dir/none")),
        ("nowhere", End::New, Ok("/nowhere")),
        ("none", End::New, Ok("/none")),
        ("none/none", End::Absent, Err(FsError::NoEntry)),
        ("none/..", End::Absent, Err(FsError::NoEntry)),
        ("none/", End::Absent, Err(FsError::NoEntry)),
        ("file/", End::Absent, Ok("/file")),
        ("file/.", End::Absent, Ok("/file")),
        ("file/../dir", End::Absent, Ok("/dir")),
        ("file/", End::Follow, Err(FsError::NotDirectory)),
        ("file/none", End::Absent, Err(FsError::NotDirectory)),
    ] {
        for path in spellings(bench, relative) {
            let (mut done, mut out) = (Path::new(bench.vfs()), [0; BUFFER_BYTES]);
            done.passes_files = end == End::Absent;
            let found = done.walk(path.as_bytes(), &mut out, end);
            let written = found.map(|()| {
                let len = done.write(&mut out);
                String::from_utf8_lossy(&out[..len]).into_owned()
            });
            let expect = expect.map(|relative| {
                let path = format!("{root}{relative}");
                if path.is_empty() { "/".into() } else { path }
            });
            assert_eq!(written, expect, "{path}");
        }
    }
}

/// Opens a path and returns the attributes of the open file.
fn open(vfs: &mut Tree, path: &str, how: &OpenFlags) -> FsResult<Attr> {
    let pin = vfs.open_at(path.as_bytes(), how)?;
    let attr = vfs.attr(pin.node());
    vfs.unpin(pin);
    attr
}

pub(super) fn open_at_follows_its_flags(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    let absolute = |relative: &str| format!("{root}/{relative}");
    let pin = vfs.open_at(absolute("file").as_bytes(), &READ).unwrap();
    let mut out = [0; 32];
    assert_eq!(vfs.read(&pin, 6, &mut out), Ok(5));
    assert_eq!(out[..5], *b"world");
    while vfs.release_idle() {}
    assert_eq!(vfs.read(&pin, 0, &mut out[..5]), Ok(5));
    vfs.unpin(pin);
    let pin = vfs.open_at(absolute("file").as_bytes(), &WRITE).unwrap();
    assert_eq!(vfs.write(&pin, 0, b"H"), Ok(()));
    assert_eq!(vfs.sync(&pin), Ok(()));
    vfs.unpin(pin);
    assert_eq!(open(vfs, &absolute("file"), &READ).unwrap().size, 11);
    // The file exists, so its mode is not changed.
    let before = open(vfs, &absolute("file"), &READ).unwrap().mode;
    assert_eq!(open(vfs, &absolute("file"), &MAKE).unwrap().mode, before);
    let cut = OpenFlags {
        bits: WRITE.bits | OpenFlags::TRUNCATE,
        ..WRITE
    };
    assert_eq!(open(vfs, &absolute("file"), &cut).unwrap().size, 0);
    let pin = vfs.open_at(absolute("dir").as_bytes(), &LIST).unwrap();
    let mut names = super::list(vfs, pin.node(), 0, usize::MAX).0;
    names.sort();
    let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [&b"."[..], b"..", b"inner", b"sub"]);
    vfs.unpin(pin);
}

pub(super) fn file_created_by_path_exists(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    create_symlink(vfs, &root, "dir/nowhere", "../made");
    create_symlink(vfs, &root, "to made", &format!("{root}/dir/also made"));
    for (relative, resolved) in [
        ("new", "new"),
        ("dir/./../dir/new", "dir/new"),
        ("dir/nowhere", "made"),
        ("to made", "dir/also made"),
    ] {
        let resolved = format!("{root}/{resolved}");
        expect_resolved(vfs, &resolved, false, Err(FsError::NoEntry));
        let made = open(vfs, &format!("{root}/{relative}"), &MAKE).unwrap();
        assert_eq!(
            (made.kind, made.mode, made.size),
            (ObjectType::Regular, 0o640, 0)
        );
        expect_resolved(vfs, &resolved, false, Ok(made));
    }
    for (relative, error) in [
        ("none/new", FsError::NoEntry),
        ("file/new", FsError::NotDirectory),
        ("dir", FsError::IsDirectory),
        ("", FsError::IsDirectory),
    ] {
        let made = open(vfs, &format!("{root}/{relative}"), &MAKE);
        assert_eq!(made, Err(error), "{relative}");
    }
}

pub(super) fn exclusive_open_refuses_existing_names(bench: &mut dyn Bench) {
    let how = OpenFlags {
        bits: MAKE.bits | OpenFlags::EXCLUSIVE,
        ..MAKE
    };
    let root = bench.root_path();
    let vfs = writable(bench);
    create_symlink(vfs, &root, "nowhere", "dir/none");
    create_symlink(vfs, &root, "absolute", &format!("{root}/dir/none"));
    create_symlink(vfs, &root, "dir/out", "../../../../../../none");
    for relative in [
        "file", "dir", "link", "fifo", "nowhere", "absolute", "dir/out",
    ] {
        let made = open(vfs, &format!("{root}/{relative}"), &how);
        assert_eq!(made, Err(FsError::Exists), "{relative}");
    }
    let none = format!("{root}/dir/none");
    assert_eq!(resolve_all_ways(vfs, &none, false), Err(FsError::NoEntry));
    assert!(open(vfs, &none, &how).is_ok());
    assert_eq!(open(vfs, &none, &how), Err(FsError::Exists));
    // EXCLUSIVE without CREATE has no effect.
    let how = OpenFlags {
        bits: READ.bits | OpenFlags::EXCLUSIVE,
        ..READ
    };
    for relative in ["file", "nowhere", "absolute"] {
        assert!(
            open(vfs, &format!("{root}/{relative}"), &how).is_ok(),
            "{relative}"
        );
    }
}

pub(super) fn only_files_and_directories_are_opened(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    let absolute = |relative: &str| format!("{root}/{relative}");
    let before = resolve_all_ways(vfs, &absolute("file"), true).unwrap();
    for how in [READ, WRITE, MAKE] {
        assert_eq!(open(vfs, &absolute("fifo"), &how), Err(FsError::Access));
        assert_eq!(open(vfs, &absolute("dir"), &how), Err(FsError::IsDirectory));
    }
    assert_eq!(
        open(vfs, &absolute("fifo"), &LIST),
        Err(FsError::NotDirectory)
    );
    assert_eq!(
        open(vfs, &absolute("file"), &LIST),
        Err(FsError::NotDirectory)
    );
    assert_eq!(resolve_all_ways(vfs, &absolute("file"), true), Ok(before));
}

pub(super) fn append_ignores_the_offset(bench: &mut dyn Bench) {
    let how = OpenFlags {
        bits: MAKE.bits | OpenFlags::APPEND,
        ..MAKE
    };
    let root = bench.root_path();
    let vfs = writable(bench);
    let path = format!("{root}/file");
    let first = vfs.open_at(path.as_bytes(), &how).unwrap();
    let second = vfs.open_at(path.as_bytes(), &how).unwrap();
    assert_eq!(vfs.write(&first, 0, b", "), Ok(()));
    assert_eq!(vfs.write(&second, 0, b"twice"), Ok(()));
    assert_eq!(vfs.write(&first, 1 << 40, b"!"), Ok(()));
    let mut out = [0; 32];
    assert_eq!(vfs.read(&first, 0, &mut out), Ok(19));
    assert_eq!(out[..19], *b"hello world, twice!");
    vfs.unpin(first);
    vfs.unpin(second);
}

pub(super) fn attributes_are_set_by_path(bench: &mut dyn Bench) {
    let root = bench.root_path();
    let vfs = writable(bench);
    let absolute = |relative: &str| format!("{root}/{relative}");
    let none = SetAttr::default();
    let mode = SetAttr {
        mode: Some(0o751),
        ..none
    };
    let times = SetAttr {
        mtime: NewTime::At(super::super::FileTime { secs: 99, nanos: 7 }),
        ..none
    };
    let secs = |attr: FsResult<Attr>| attr.map(|attr| (attr.mtime.secs, attr.mtime.nanos));
    for relative in ["file", "dir", "fifo"] {
        let node = vfs.resolve(absolute(relative).as_bytes(), true).unwrap();
        let changed = vfs.set_attr(node, &mode);
        let node = vfs.resolve(absolute(relative).as_bytes(), true).unwrap();
        assert_eq!(vfs.set_attr(node, &times), Ok(()));
        let attr = resolve_all_ways(vfs, &absolute(relative), true);
        assert_eq!(secs(attr), Ok((99, 7)), "{relative}");
        if relative == "fifo" && changed == Err(FsError::Invalid) {
            // On an old host without /proc, only the modes of objects that can be opened can be changed.
            continue;
        }
        assert_eq!(changed, Ok(()), "{relative}");
        assert_eq!(attr.map(|attr| attr.mode), Ok(0o751), "{relative}");
    }
    let node = vfs.resolve(absolute("link").as_bytes(), false).unwrap();
    assert_eq!(vfs.set_attr(node, &times), Ok(()));
    assert_eq!(
        secs(resolve_all_ways(vfs, &absolute("link"), false)),
        Ok((99, 7))
    );
    let node = vfs.resolve(absolute("link").as_bytes(), false).unwrap();
    assert!(vfs.set_attr(node, &mode).is_err());
    let pin = vfs.open_at(absolute("file").as_bytes(), &WRITE).unwrap();
    let both = SetAttr {
        size: Some(5),
        ..times
    };
    assert_eq!(vfs.set_attr(pin.node(), &both), Ok(()));
    vfs.unpin(pin);
    let attr = resolve_all_ways(vfs, &absolute("file"), true);
    assert_eq!(attr.map(|attr| attr.size), Ok(5));
    assert_eq!(secs(attr), Ok((99, 7)));
    // Hard links to the object at a path: with a new name, and with an existing one.
    let dir = vfs.resolve(absolute("dir").as_bytes(), true).unwrap();
    for (relative, name) in [
        ("file", "file too"),
        ("link", "link too"),
        ("dir/./inner", "twin"),
    ] {
        let node = vfs.resolve(absolute(relative).as_bytes(), false).unwrap();
        let name = Name::new(name.as_bytes()).unwrap();
        assert_eq!(vfs.link(node, dir, name), Ok(()), "{relative}");
        assert_eq!(
            vfs.link(node, dir, name),
            Err(FsError::Exists),
            "{relative}"
        );
    }
    let inode = |attr: FsResult<Attr>| attr.map(|attr| attr.inode);
    let twin = inode(resolve_all_ways(vfs, &absolute("dir/twin"), false));
    assert_eq!(
        twin,
        inode(resolve_all_ways(vfs, &absolute("dir/inner"), false))
    );
}
