//! Conformance tests of ISO images: their contents, handles that last, and that clients cannot change them.

use super::super::bridge::tests as bridge;
use super::super::iso::testing::{DATA, FIRST, MOVED, NAMES, ROOT, record, sample};
use super::super::udf::testing as udf;
use super::super::{
    Access, Attr, Caller, CreateWhat, Detail, FsError, FsResult, Kind, Name, Node, ObjectType,
    OpenFlags, SetAttr, Target,
};
use super::paths::resolve_all_ways;
use super::{Bench, Tree, content, list, make, name, open, read, walk};
use core::ops::ControlFlow;

/// Stores the sample image under a name and returns its root directory.
fn enter(bench: &mut dyn Bench, file: &str) -> FsResult<Node> {
    bench.write_file(file, &sample().0);
    bench.pass_time();
    go_in(bench.vfs(), file)
}

pub(super) fn go_in(vfs: &mut Tree, file: &str) -> FsResult<Node> {
    let root = vfs.root(0)?;
    vfs.enter_image(root, name(file))
}

/// An image with the tree of the sample, and the size of its directories.
type Sample = (Vec<u8>, u64);

/// The sample in each file system and kind of volume.
fn samples() -> impl Iterator<Item = Sample> {
    let udf = udf::KINDS.map(|kind| (udf::sample(kind).bytes, 84));
    [(sample().0, 2048)].into_iter().chain(udf)
}

/// Stores an image and returns its root directory.
fn enter_sample(bench: &mut dyn Bench, (bytes, _): &Sample) -> Node {
    bench.write_file("one.iso", bytes);
    bench.pass_time();
    go_in(bench.vfs(), "one.iso").unwrap()
}

/// Looks up a path inside an image.
pub(super) fn find(vfs: &mut Tree, image_root: Node, path: &str) -> FsResult<Node> {
    path.split('/').try_fold(image_root, |dir, part| {
        vfs.lookup(dir, Name::new(part.as_bytes())?)
    })
}

fn attr_of(vfs: &mut Tree, image_root: Node, path: &str) -> FsResult<Attr> {
    let node = find(vfs, image_root, path)?;
    vfs.attr(node)
}

pub(super) fn image_is_a_file_unless_entered(bench: &mut dyn Bench) {
    let image_root = enter(bench, "one.IsO").unwrap();
    bench.write_file("plain.img", &sample().0);
    let vfs = bench.vfs();
    let file = walk(vfs, "one.IsO").unwrap();
    let (inside, outside) = (vfs.attr(image_root).unwrap(), vfs.attr(file).unwrap());
    assert_eq!(
        (inside.kind, outside.kind),
        (ObjectType::Directory, ObjectType::Regular)
    );
    assert_ne!(inside.fsid, outside.fsid);
    assert_eq!(outside.size, sample().0.len() as u64);
    assert_eq!(walk(vfs, "one.IsO/sub"), Err(FsError::NotDirectory));
    let listed = vfs.readdir(file, 0, Detail::Names, &mut |_| ControlFlow::Continue(()));
    assert_eq!(listed, Err(FsError::NotDirectory));
    // Only a regular file with a name ending in ".iso" is an image, and only outside of images.
    for other in ["plain.img", "dir", "file", "fifo"] {
        assert_eq!(go_in(vfs, other), Err(FsError::NotDirectory), "{other}");
    }
    assert_eq!(go_in(vfs, "none.iso"), Err(FsError::NoEntry));
    assert_eq!(
        vfs.enter_image(image_root, name("x.iso")),
        Err(FsError::NotDirectory)
    );
}

pub(super) fn symbolic_link_to_image_is_not_entered(bench: &mut dyn Bench) {
    enter(bench, "one.iso").unwrap();
    bench.create_symlink("also.iso", "one.iso");
    bench.create_symlink("dir.iso", "dir");
    for link in ["also.iso", "dir.iso"] {
        let entered = go_in(bench.vfs(), link);
        assert!(
            matches!(
                entered,
                Err(FsError::NotDirectory | FsError::TooManyFollowed)
            ),
            "{link}: {entered:?}"
        );
    }
}

pub(super) fn image_contents_match_the_image(bench: &mut dyn Bench) {
    samples().for_each(|sample| contents_match_the_image(bench, &sample));
}

fn contents_match_the_image(bench: &mut dyn Bench, image: &Sample) {
    let image_root = enter_sample(bench, image);
    let vfs = bench.vfs();
    let names = list(vfs, image_root, 0, usize::MAX).0;
    let names: Vec<_> = names.iter().map(|(name, _)| name.as_slice()).collect();
    assert_eq!(names, NAMES.map(str::as_bytes));
    for (path, kind, mode, size) in [
        ("Hello World", ObjectType::Regular, 0o644, 5),
        ("link", ObjectType::SymbolicLink, 0o777, 8),
        ("sub", ObjectType::Directory, 0o711, image.1),
        ("sub/file", ObjectType::Regular, 0o640, 4),
        ("large", ObjectType::Regular, 0o444, 2055),
        ("deep", ObjectType::Directory, 0o700, image.1),
        ("deep/end", ObjectType::Regular, 0o644, 5),
    ] {
        let attr = attr_of(vfs, image_root, path).unwrap();
        assert_eq!(
            (attr.kind, attr.mode, attr.size),
            (kind, mode, size),
            "{path}"
        );
        assert_eq!((attr.uid, attr.gid), (1000, 100), "{path}");
        assert_eq!(attr.fsid, vfs.attr(image_root).unwrap().fsid);
    }
    let hello = find(vfs, image_root, "Hello World").unwrap();
    assert_eq!(content(vfs, hello), b"hello");
    // Read from every offset around the end of an extent, so that some reads cross it.
    let large = find(vfs, image_root, "large").unwrap();
    let whole = content(vfs, large);
    assert_eq!(
        (whole.len(), &whole[..5], &whole[2048..]),
        (2055, &b"hello"[..], &b"the end"[..])
    );
    for offset in 2040..=2060 {
        let (mut out, rest) = ([0; 32], whole.get(offset..).unwrap_or_default());
        let len = read(vfs, large, offset as u64, &mut out).unwrap() as usize;
        assert_eq!(&out[..len], rest, "{offset}");
    }
    assert_eq!(read(vfs, large, u64::MAX, &mut [0; 8]), Ok(0));
    let link = find(vfs, image_root, "link").unwrap();
    let mut target = [0; 4];
    assert_eq!(vfs.readlink(link, &mut target), Ok(4));
    assert_eq!(&target, b"sub/");
    assert_eq!(vfs.readlink(hello, &mut target), Err(FsError::Invalid));
    assert_eq!(find(vfs, image_root, "sub/none"), Err(FsError::NoEntry));
    assert_eq!(find(vfs, hello, "x"), Err(FsError::NotDirectory));
    let stat = vfs.statfs(hello).unwrap();
    assert_eq!(
        (stat.read_only, stat.free_bytes, stat.free_files),
        (true, 0, 0)
    );
    assert_eq!(stat.total_bytes, image.0.len() as u64);
}

pub(super) fn image_listing_continues_after_any_entry(bench: &mut dyn Bench) {
    samples().for_each(|sample| listing_continues_after_any_entry(bench, &sample));
}

fn listing_continues_after_any_entry(bench: &mut dyn Bench, image: &Sample) {
    let image_root = enter_sample(bench, image);
    let vfs = bench.vfs();
    let all = list(vfs, image_root, 0, usize::MAX).0;
    for (at, (_, cookie)) in all.iter().enumerate() {
        let (rest, end) = list(vfs, image_root, *cookie, usize::MAX);
        assert_eq!((&rest[..], end), (&all[at + 1..], true));
    }
    // A listing returns the same objects as LOOKUP.
    let mut listed = Vec::new();
    vfs.readdir(image_root, 0, Detail::Objects, &mut |entry| {
        let (attr, handle) = entry.object.unwrap();
        assert_eq!(attr.inode, entry.inode);
        listed.push((
            (entry.name.to_vec(), entry.id),
            *attr,
            handle.map(|handle| handle.bytes().to_vec()),
        ));
        ControlFlow::Continue(())
    })
    .unwrap();
    // More nodes than there are for a request: only a pinned directory stays.
    let pin = vfs.pin(image_root, None).unwrap();
    for ((name, id), attr, handle) in listed[2..].iter().cycle().take(200) {
        let name = Name::new(name).unwrap();
        let node = vfs.lookup(image_root, name).unwrap();
        assert_eq!(vfs.attr(node).unwrap(), *attr);
        assert_eq!(vfs.entry_attr(image_root, name, *id).unwrap(), *attr);
        if let Ok(found) = vfs.handle(node) {
            assert_eq!(handle.as_deref(), Some(found.bytes()));
        }
    }
    vfs.unpin(pin);
    assert_eq!(list(vfs, image_root, 1 << 40, 1), (Vec::new(), true));
    // After an unknown cookie, the listing continues with the next entry.
    let between = list(vfs, image_root, all[0].1 + 1, usize::MAX);
    assert_eq!(between, (all[1..].to_vec(), true));
}

pub(super) fn image_contents_cannot_be_changed(bench: &mut dyn Bench) {
    let image_root = enter(bench, "one.iso").unwrap();
    bench.make_writable();
    let image_root = go_in(bench.vfs(), "one.iso").unwrap_or(image_root);
    let vfs = bench.vfs();
    let (file, new) = (find(vfs, image_root, "Hello World").unwrap(), name("new"));
    let root = vfs.root(0).unwrap();
    let change = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let cut = SetAttr {
        size: Some(0),
        ..SetAttr::default()
    };
    let refused = Err(FsError::ReadOnly);
    for node in [image_root, file] {
        assert_eq!(vfs.set_attr(node, &change), refused);
        assert_eq!(vfs.set_attr(node, &cut), refused);
    }
    // Objects and names inside an image cannot be created, removed, renamed or linked.
    for what in [
        CreateWhat::File,
        CreateWhat::Directory,
        CreateWhat::Link(b"x"),
    ] {
        assert_eq!(
            vfs.create(image_root, new, what, &change).map(drop),
            refused
        );
    }
    assert_eq!(
        vfs.remove(image_root, name("Hello World"), Kind::Other),
        refused
    );
    assert_eq!(
        vfs.remove(image_root, name("sub"), Kind::Directory),
        refused
    );
    for target in [Target::Keep, Target::Replace] {
        assert_eq!(
            vfs.rename(image_root, name("sub"), image_root, new, target),
            refused
        );
        assert_eq!(
            vfs.rename(root, name("file"), image_root, new, target),
            refused
        );
        assert_eq!(
            vfs.rename(image_root, name("sub"), root, new, target),
            refused
        );
    }
    assert_eq!(vfs.link(file, image_root, new), refused);
    assert_eq!(vfs.link(file, root, new), refused);
    assert_eq!(vfs.access(image_root, Access::Write), Err(FsError::Access));
    assert_eq!(bench.vfs().attr(file).unwrap().size, 5);
}

pub(super) fn changed_image_is_stale(bench: &mut dyn Bench) {
    let mut longer = sample();
    longer.put(40, 0, b"more");
    let changes: [fn(&mut dyn Bench, &[u8]); 4] = [
        |bench, bytes| bench.write_file("one.iso", bytes),
        |bench, bytes| bench.write_file("one.iso", &bytes[..(DATA as usize + 1) * 2048]),
        |bench, _| bench.remove("one.iso"),
        |bench, bytes| {
            bench.write_file("next", bytes);
            bench.rename("next", "one.iso");
        },
    ];
    for change in changes {
        let image_root = enter(bench, "one.iso").unwrap();
        enter(bench, "other.iso").unwrap();
        let file = find(bench.vfs(), image_root, "sub/file").unwrap();
        let pin = bench.vfs().pin(file, Some(Access::Read)).unwrap();
        change(bench, &longer.0);
        let vfs = bench.vfs();
        assert_eq!(vfs.attr(image_root).map(drop), Err(FsError::Stale));
        assert_eq!(vfs.attr(file).map(drop), Err(FsError::Stale));
        assert_eq!(vfs.read(&pin, 0, &mut [0; 100]), Err(FsError::Stale));
        assert!(vfs.extent(&pin, 0, 100).is_none());
        vfs.unpin(pin);
        // Other images stay usable.
        let other = go_in(vfs, "other.iso").unwrap();
        assert!(attr_of(vfs, other, "sub/file").is_ok());
        if let Ok(again) = go_in(vfs, "one.iso") {
            assert!(attr_of(vfs, again, "sub/file").is_ok());
        }
    }
}

pub(super) fn pin_inside_image_survives_release_idle(bench: &mut dyn Bench) {
    let image_root = enter(bench, "one.iso").unwrap();
    let vfs = bench.vfs();
    let file = find(vfs, image_root, "sub/file").unwrap();
    let pin = vfs.pin(file, Some(Access::Read)).unwrap();
    for _ in 0..4 {
        vfs.release_idle();
    }
    // While the file is pinned, many other nodes are opened and released.
    for _ in 0..200 {
        let image_root = go_in(vfs, "one.iso").unwrap();
        find(vfs, image_root, "deep/end").unwrap();
    }
    let mut out = [0; 8];
    assert_eq!(vfs.read(&pin, 0, &mut out), Ok(4));
    assert_eq!(&out[..4], b"hell");
    assert_eq!(vfs.attr(pin.node()).unwrap().size, 4);
    let extent = vfs.extent(&pin, 1, 100).unwrap();
    let start = u64::from(DATA) * 2048 + 1;
    assert_eq!((extent.offset, extent.len), (start, 3));
    vfs.unpin(pin);
    while vfs.release_idle() {}
    vfs.release_idle();
    // The image was closed; entering it again reopens it.
    assert_eq!(vfs.attr(image_root).map(drop), Err(FsError::Stale));
    let image_root = go_in(vfs, "one.iso").unwrap();
    assert!(attr_of(vfs, image_root, "sub/file").is_ok());
}

pub(super) fn images_beyond_open_limit_take_turns(bench: &mut dyn Bench) {
    let names: Vec<String> = (0..40).map(|number| format!("{number}.iso")).collect();
    for (number, file) in names.iter().enumerate() {
        let mut draft = sample();
        draft.put(DATA, 0, format!("{number:05}").as_bytes());
        bench.write_file(file, &draft.0);
    }
    let vfs = bench.vfs();
    for _ in 0..2 {
        for (number, file) in names.iter().enumerate() {
            let image_root = go_in(vfs, file).unwrap();
            let node = find(vfs, image_root, "Hello World").unwrap();
            assert_eq!(content(vfs, node), format!("{number:05}").as_bytes());
        }
    }
    // While pinned files keep all open images open, no other image can be opened.
    let mut pins = Vec::new();
    let full = loop {
        let entered = go_in(vfs, &names[pins.len()]);
        let Ok(image_root) = entered else {
            break entered;
        };
        let node = find(vfs, image_root, "Hello World").unwrap();
        pins.push(vfs.pin(node, Some(Access::Read)).unwrap());
    };
    assert_eq!((full, pins.len()), (Err(FsError::TryLater), 16));
    for (number, pin) in pins.into_iter().enumerate() {
        let mut out = [0; 5];
        assert_eq!(vfs.read(&pin, 0, &mut out), Ok(5));
        assert_eq!(out, format!("{number:05}").as_bytes());
        vfs.unpin(pin);
    }
    assert!(go_in(vfs, &names[39]).is_ok());
}

pub(super) fn invalid_images_have_their_errors(bench: &mut dyn Bench) {
    let mut udf = sample();
    udf.put(18, 0, b"\0BEA01");
    udf.put(19, 0, b"\0NSR02");
    udf.put(ROOT, 0, &[0; 2048]);
    udf.directory(
        ROOT,
        &[
            record(b"\0", ROOT, 2048, 2, &[]),
            record(b"\x01", ROOT, 2048, 2, &[]),
            record(b"README.TXT;1", DATA, 5, 0, &[]),
        ],
    );
    for (bytes, error) in [
        (&b""[..], FsError::Invalid),
        (&[0; 100_000], FsError::Invalid),
        (&sample().0[..40_000], FsError::Io),
        (&udf.0, FsError::NotSupported),
    ] {
        bench.write_file("bad.iso", bytes);
        assert_eq!(
            go_in(bench.vfs(), "bad.iso"),
            Err(error),
            "{} bytes",
            bytes.len()
        );
    }
    // After these errors, a valid image can still be opened.
    assert!(enter(bench, "good.iso").is_ok());
}

pub(super) fn udf_is_used_unless_rock_ridge_has_its_files(bench: &mut dyn Bench) {
    for (size, uses_udf) in [(2055, false), (7, true)] {
        bench.write_file("two.iso", &bridge::image(&[4, size, 5, 5, 3, 0]));
        bench.pass_time();
        for _ in 0..2 {
            let vfs = bench.vfs();
            let top = go_in(vfs, "two.iso").unwrap();
            let is_udf = find(vfs, top, "sub/file").is_ok();
            assert_eq!((is_udf, find(vfs, top, "f").is_err()), (uses_udf, uses_udf));
            while vfs.release_idle() {}
        }
    }
}

pub(super) fn directory_named_like_image_is_not_entered(bench: &mut dyn Bench) {
    bench.make_writable();
    let vfs = bench.vfs();
    make(vfs, "folder.iso", CreateWhat::Directory).unwrap();
    assert_eq!(go_in(vfs, "folder.iso"), Err(FsError::NotDirectory));
}

pub(super) fn file_beyond_end_of_image_is_not_pinned(bench: &mut dyn Bench) {
    // The second extent of "large" is two blocks behind the first, which is the first of the data.
    for (blocks, file) in [(DATA, "Hello World"), (DATA + 2, "large")] {
        bench.write_file("cut.iso", &sample().0[..blocks as usize * 2048]);
        bench.pass_time();
        let vfs = bench.vfs();
        let image_root = go_in(vfs, "cut.iso").unwrap();
        let node = find(vfs, image_root, file).unwrap();
        let pinned = vfs.pin(node, Some(Access::Read));
        assert_eq!(pinned.unwrap_err(), FsError::Io, "{file}");
    }
}

pub(super) fn missing_part_of_image_is_cut(bench: &mut dyn Bench) {
    let mut iso = sample().0;
    let whole = iso.len() as u64;
    iso[FIRST + 80..][..4].copy_from_slice(&(whole as u32 / 2048).to_le_bytes());
    // The image of UDF ends in its partition.
    let mut udf = udf::sample(udf::Kind::Physical);
    udf.resize_partition(400);
    let descriptors = udf::data_ad(0, 5, 250);
    let beyond = udf::Node {
        form: 1,
        size: 5,
        descriptors,
        ..udf::Node::embedded(5, 0o644, b"")
    };
    udf.put_node(2, &beyond);
    let blocks = udf.bytes.len() / udf::BLOCK;
    let udf_whole = (udf::START as usize + 400) * udf::BLOCK;
    for (bytes, blocks, whole, missing) in [
        (
            &iso,
            MOVED[1] as usize * 4,
            whole,
            &["deep", "Hello World"][..],
        ),
        (&udf.bytes, blocks, udf_whole as u64, &["Hello World"]),
    ] {
        bench.write_file("cut.iso", &bytes[..blocks * udf::BLOCK]);
        bench.pass_time();
        let vfs = bench.vfs();
        let entered = go_in(vfs, "cut.iso");
        for path in missing {
            let top = entered.and_then(|top| find(vfs, top, path));
            let pinned = top.and_then(|node| vfs.pin(node, Some(Access::Read)));
            assert_eq!(pinned.map(drop), Err(FsError::Cut), "{path}");
            let sizes = [(blocks * udf::BLOCK) as u64, whole];
            assert_eq!(vfs.image_sizes(), entered.ok().map(|_| sizes));
        }
    }
}

pub(super) fn parent_chain_inside_image_reaches_its_root(bench: &mut dyn Bench) {
    let image_root = enter(bench, "one.iso").unwrap();
    let vfs = bench.vfs();
    let handle = vfs.handle(image_root).unwrap();
    let root = vfs.open_as(handle.padded(), &Caller::default()).unwrap();
    // "deep" is a relocated directory: the ISO 9660 tree without Rock Ridge has it in another directory.
    for node in [
        root,
        find(vfs, root, "sub").unwrap(),
        find(vfs, root, "deep").unwrap(),
    ] {
        let parent = vfs.parent(node).unwrap();
        assert_eq!(vfs.handle(parent), Ok(handle));
    }
    let file = find(vfs, root, "sub/file").unwrap();
    assert_eq!(vfs.parent(file), Err(FsError::NotDirectory));
}

pub(super) fn file_without_rights_is_not_a_directory(bench: &mut dyn Bench) {
    const STRANGER: Caller = Caller {
        uid: 1234,
        gid: 1234,
        groups: heapless::Vec::new(),
    };
    bench.make_writable();
    let image_root = enter(bench, "one.iso").unwrap();
    let is_privileged = bench.is_privileged();
    let vfs = bench.vfs();
    let outside = walk(vfs, "file").unwrap();
    let mode = SetAttr {
        mode: Some(0),
        ..SetAttr::default()
    };
    vfs.set_attr(outside, &mode).unwrap();
    let inside = |vfs: &mut Tree, path| find(vfs, image_root, path).unwrap();
    let no_directory = FsError::NotDirectory;
    for (node, expect) in [
        (outside, no_directory),
        (inside(vfs, "Hello World"), no_directory),
        (inside(vfs, "sub/file"), no_directory),
        (inside(vfs, "link"), no_directory),
        (inside(vfs, "deep"), FsError::Access),
    ] {
        if expect == FsError::Access && !is_privileged {
            continue;
        }
        let handle = vfs.handle(node).unwrap();
        let node = vfs.open_as(handle.bytes(), &STRANGER).unwrap();
        assert_eq!(vfs.lookup(node, name("x")), Err(expect));
        assert_eq!(vfs.lookup_to_read(node, name("x")), Err(expect));
        let listed = vfs.readdir(node, 0, Detail::Names, &mut |_| ControlFlow::Continue(()));
        assert_eq!(listed, Err(expect));
    }
}

pub(super) fn handles_inside_image_survive_a_restart(bench: &mut dyn Bench) {
    let image_root = enter(bench, "one.iso").unwrap();
    let caller = Caller::default();
    let mut handles = Vec::new();
    for path in ["Hello World", "sub", "sub/file", "link", "deep/end"] {
        let vfs = bench.vfs();
        let node = find(vfs, image_root, path).unwrap();
        handles.push((vfs.handle(node).unwrap(), vfs.attr(node).unwrap()));
    }
    bench.restart();
    for (handle, attr) in &handles {
        let vfs = bench.vfs();
        for bytes in [handle.bytes(), handle.padded()] {
            let node = vfs.open_as(bytes, &caller).unwrap();
            assert_eq!(vfs.attr(node).unwrap(), *attr);
            assert_eq!(vfs.handle(node).unwrap(), *handle);
        }
    }
    // A replaced image is a different image; a renamed one stays the same.
    bench.rename("one.iso", "two.iso");
    bench.restart();
    if bench.follows_renames() {
        let node = bench.vfs().open_as(handles[0].0.bytes(), &caller).unwrap();
        assert!(bench.vfs().attr(node).is_ok());
    }
    bench.rename("two.iso", "one.iso");
    bench.pass_time();
    bench.write_file("one.iso", &sample().0);
    bench.restart();
    for (handle, _) in &handles {
        assert_eq!(open(bench.vfs(), handle.bytes()), Err(FsError::Stale));
    }
}

pub(super) fn altered_handles_inside_image_stay_inside(bench: &mut dyn Bench) {
    let image_root = enter(bench, "one.iso").unwrap();
    let vfs = bench.vfs();
    let caller = Caller::default();
    let node = find(vfs, image_root, "sub/file").unwrap();
    let handle = vfs.handle(node).unwrap();
    let fsid = vfs.attr(node).unwrap().fsid;
    for len in 0..handle.bytes().len() {
        assert!(
            vfs.open_as(&handle.bytes()[..len], &caller).is_err(),
            "{len}"
        );
    }
    for bit in 0..handle.bytes().len() * 8 {
        let mut other = handle.bytes().to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        let attr = vfs.open_as(&other, &caller).and_then(|node| vfs.attr(node));
        // A bit of the object's ID (last six bytes) may select another object of the same image; any other bit makes the handle
        // invalid.
        let is_id = bit / 8 >= handle.bytes().len() - 6;
        assert!(
            attr.is_err() || is_id && attr.unwrap().fsid == fsid,
            "{bit}"
        );
    }
}

pub(super) fn paths_resolve_through_images(bench: &mut dyn Bench) {
    bench.write_file("one.iso", &sample().0);
    bench.write_file("dir/two.iso", &sample().0);
    bench.create_symlink("also.iso", "one.iso");
    bench.create_symlink("linked", "dir");
    let root = bench.root_path();
    let vfs = bench.vfs();
    let mut resolve =
        |relative: &str, follow| resolve_all_ways(vfs, &format!("{root}/{relative}"), follow);
    for (relative, size) in [
        ("one.iso/Hello World", 5),
        ("one.iso/sub/file", 4),
        ("dir/two.iso/sub/file", 4),
        ("linked/two.iso/sub/file", 4),
        ("one.iso//.//sub/../sub/./file", 4),
        ("one.iso/sub/../../one.iso/sub/file", 4),
        ("dir/two.iso/../../one.iso/deep/end", 5),
        ("one.iso/link", 4),
        ("one.iso/../file", 11),
    ] {
        let attr = resolve(relative, true).unwrap();
        assert_eq!(
            (attr.kind, attr.size),
            (ObjectType::Regular, size),
            "{relative}"
        );
    }
    for relative in [
        "one.iso/",
        "one.iso/.",
        "one.iso/sub/..",
        "one.iso/sub/",
        "one.iso/sub/../",
    ] {
        assert_eq!(
            resolve(relative, false).unwrap().kind,
            ObjectType::Directory,
            "{relative}"
        );
    }
    assert_eq!(resolve("one.iso", true).unwrap().kind, ObjectType::Regular);
    assert_eq!(
        resolve("one.iso/link", false).unwrap().kind,
        ObjectType::SymbolicLink
    );
    for (relative, error) in [
        ("one.iso/none", FsError::NoEntry),
        ("one.iso/none/file", FsError::NoEntry),
        ("one.iso/sub/file/", FsError::NotDirectory),
        ("one.iso/sub/file/x", FsError::NotDirectory),
        ("also.iso/sub/file", FsError::NotDirectory),
        ("also.iso/", FsError::NotDirectory),
        ("file/x", FsError::NotDirectory),
    ] {
        assert_eq!(resolve(relative, true), Err(error), "{relative}");
    }
}

pub(super) fn files_inside_image_open_for_reading(bench: &mut dyn Bench) {
    bench.write_file("one.iso", &sample().0);
    let root = bench.root_path();
    let vfs = bench.vfs();
    let mut open = |relative: &str, how, create| {
        let path = format!("{root}/{relative}");
        let opened = vfs.open_at(path.as_bytes(), &OpenFlags { bits: how, create });
        opened.map(|pin| {
            let mut out = [0; 16];
            let mut names = 0;
            let read = vfs.read(&pin, 0, &mut out);
            let listed = vfs.readdir(pin.node(), 0, Detail::Objects, &mut |entry| {
                names += usize::from(entry.object.is_some());
                ControlFlow::Continue(())
            });
            vfs.unpin(pin);
            (
                read.ok().map(|len| out[..len as usize].to_vec()),
                listed.ok().map(|_| names),
            )
        })
    };
    let (read, list) = (OpenFlags::READ, OpenFlags::READ | OpenFlags::DIRECTORY);
    assert_eq!(
        open("one.iso/link", read, None),
        Ok((Some(b"hell".to_vec()), None))
    );
    assert_eq!(open("one.iso/sub", list, None), Ok((None, Some(3))));
    assert_eq!(open("one.iso/", list, None), Ok((None, Some(NAMES.len()))));
    assert_eq!(open("one.iso", list, None), Err(FsError::NotDirectory));
    assert_eq!(open("one.iso/sub", read, None), Err(FsError::IsDirectory));
    assert_eq!(
        open("one.iso/sub/file", list, None),
        Err(FsError::NotDirectory)
    );
    let written = read | OpenFlags::WRITE;
    assert_eq!(
        open("one.iso/sub/file", written, None),
        Err(FsError::ReadOnly)
    );
    assert_eq!(
        open("one.iso/sub/file", read, Some(0o600)),
        Err(FsError::ReadOnly)
    );
    let cut = written | OpenFlags::TRUNCATE;
    assert_eq!(
        open("one.iso/sub/file", cut, Some(0o600)),
        Err(FsError::ReadOnly)
    );
}

pub(super) fn realpath_inside_image_resolves_again(bench: &mut dyn Bench) {
    use super::super::walk::{BUFFER_BYTES, End, Path};
    bench.write_file("one.iso", &sample().0);
    let root = bench.root_path();
    let vfs = bench.vfs();
    for (relative, end, expect) in [
        ("one.iso", End::Absent, "one.iso"),
        ("one.iso/", End::Absent, "one.iso/"),
        ("one.iso/.", End::Absent, "one.iso/"),
        ("one.iso/sub/..", End::Absent, "one.iso/"),
        ("one.iso/sub/../sub", End::Absent, "one.iso/sub"),
        ("one.iso//link", End::Absent, "one.iso/sub/file"),
        ("one.iso/link", End::Keep, "one.iso/link"),
        ("one.iso/none", End::Absent, "one.iso/none"),
        ("one.iso/sub/../..", End::Absent, ""),
        ("dir/../one.iso/sub/../../dir", End::Absent, "dir"),
    ] {
        let (mut buffer, mut path) = ([0; BUFFER_BYTES], Path::new(vfs));
        path.walk(format!("{root}/{relative}").as_bytes(), &mut buffer, end)
            .unwrap();
        let len = path.write(&mut buffer);
        let expect = format!("{root}/{expect}");
        let expect = match expect.strip_suffix('/') {
            Some(before) if !before.is_empty() && expect.len() == root.len() + 1 => before,
            _ => &expect,
        };
        assert_eq!(
            String::from_utf8_lossy(&buffer[..len]),
            expect,
            "{relative}"
        );
    }
}
