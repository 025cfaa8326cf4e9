//! Tests of the in-memory backend beyond the conformance tests: full tables, restarts, failures, power loss.

use super::super::{
    Access, Backend, Caller, Client, CreateWhat, Detail, FileTime, FsError, FsResult, Kind, Name,
    Node, Patience, Rules, SetAttr, Target, Tree, Vfs as _,
};
use super::store::{Counts, Store};
use super::{LINK_COUNT_MAX, Ram, TAG};
use core::ops::ControlFlow;

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// A tree with one file, and that file.
fn writable() -> (Ram, Node) {
    let mut ram = Ram::model(b"/export");
    ram.writable = true;
    ram.file("file", b"hello");
    let root = ram.root(Some(TAG)).unwrap();
    let file = ram.named(root, name("file")).unwrap();
    (ram, file)
}

fn content(ram: &mut Ram, file: Node) -> Vec<u8> {
    let mut out = [0; 64];
    let pin = ram.pin(file, Some(Access::Read)).unwrap();
    let len = ram.read(&pin, 0, &mut out, Patience::Forever).unwrap();
    ram.unpin(pin);
    out[..len as usize].to_vec()
}

/// A tree with `capacity_bytes` of memory as the server creates it, and its root.
fn served(capacity_bytes: usize, instance: u64) -> (Ram, Node) {
    let clock = || FileTime { secs: 7, nanos: 8 };
    let mut ram = Ram::new(Counts::within(capacity_bytes), instance, clock);
    let root = ram.export(&Rules::DEFAULT.with(Rules::WRITABLE));
    let root = ram.root(Some(root.tag)).unwrap();
    (ram, root)
}

fn create(ram: &mut Ram, dir: Node, text: &str, what: CreateWhat<'_>) -> FsResult<Node> {
    let created = ram.create(dir, name(text), what, &SetAttr::default());
    assert!(matches!(created, Ok(_) | Err(FsError::NoSpace)));
    created
}

fn write(ram: &mut Ram, file: Node, offset: u64, bytes: &[u8]) -> FsResult<()> {
    let pin = ram.pin(file, Some(Access::Write)).unwrap();
    let written = ram.write(&pin, offset, bytes);
    ram.unpin(pin);
    written
}

fn list(ram: &mut Ram, dir: Node) -> Vec<String> {
    let mut names = Vec::new();
    let end = ram.readdir(dir, 2, Detail::Objects, &mut |entry| {
        names.push(String::from_utf8(entry.name.to_vec()).unwrap());
        ControlFlow::Continue(())
    });
    assert_eq!(end, Ok(true));
    names
}

#[test]
fn tables_fit_the_given_memory() {
    for bytes in [0, 1, 5_000, 1 << 20, 1 << 28] {
        let store = Store::new(Counts::within(bytes), [7; 16], 0);
        let objects = store.inodes.left() * super::inode::Inodes::SLOT_BYTES;
        let names = store.names.left() * super::names::Names::SLOT_BYTES;
        let blocks = store.blocks.left() * super::bytes::Blocks::SLOT_BYTES;
        let taken = objects + names + blocks;
        assert!(taken <= bytes && bytes - taken < 5_000);
        // Most of the memory is left for contents.
        assert!(bytes < 5_000 || store.left_bytes() as usize > bytes * 8 / 10);
    }
}

#[test]
fn root_without_memory_is_stale() {
    let rules = Rules::default();
    let mut ram = Ram::new(Counts::within(100), 1, FileTime::default);
    let root = ram.export(&rules);
    assert_eq!(ram.root(Some(root.tag)), Err(FsError::Stale));
}

#[test]
fn full_tree_refuses_more_until_objects_are_removed() {
    let (mut ram, root) = served(100_000, 1);
    let stat = ram.statfs(root).unwrap();
    let (count, block_count) = (stat.free_files as usize, stat.total_bytes / 4096);
    let link_count = (0..count).filter(|number| number % 4 == 2).count();
    assert!(count > 10 && stat.free_bytes == stat.total_bytes);
    for _ in 0..3 {
        // Create objects of all types until the table is full.
        for number in 0..count {
            let what = match number % 4 {
                0 => CreateWhat::File,
                1 => CreateWhat::Directory,
                2 => CreateWhat::Link(&[b'l'; 5000]),
                _ => CreateWhat::Special(super::ObjectType::Fifo, (0, 0)),
            };
            create(&mut ram, root, &format!("{number}"), what).unwrap();
        }
        let more = create(&mut ram, root, "more", CreateWhat::File);
        assert_eq!(more, Err(FsError::NoSpace));
        let file = ram.named(root, name("0")).unwrap();
        // One more name fits, because the root directory needs none.
        assert_eq!(ram.link(file, root, name("linked")), Ok(()));
        let linked = ram.link(file, root, name("more"));
        assert_eq!(linked, Err(FsError::NoSpace));
        // Renaming needs no additional space.
        assert_eq!(
            ram.rename(root, name("0"), root, name("x"), Target::Replace),
            Ok(())
        );
        let blocks = ram.statfs(root).unwrap().free_bytes / 4096;
        assert_eq!(blocks, block_count - 2 * link_count as u64);
        let mut written = Vec::new();
        for at in 0..blocks {
            // Write one byte each to blocks that are far from each other.
            written.push(write(&mut ram, file, at << 40, b"x"));
        }
        assert!(written.iter().all(Result::is_ok));
        let more = write(&mut ram, file, 1 << 50, b"x");
        assert_eq!(more, Err(FsError::NoSpace));
        assert_eq!(write(&mut ram, file, (1 << 40) + 1, b"x"), Ok(()));
        ram.check();
        let size = SetAttr {
            size: Some(1 << 41),
            ..SetAttr::default()
        };
        assert_eq!(ram.set_attr(file, &size), Ok(()));
        assert_eq!(write(&mut ram, file, 1 << 50, b"x"), Ok(()));
        for text in list(&mut ram, root) {
            let node = ram.named(root, name(&text)).unwrap();
            let kind = ram.attr(node).unwrap().kind;
            let kind = match kind {
                super::ObjectType::Directory => Kind::Directory,
                _ => Kind::Other,
            };
            ram.remove(root, name(&text), kind).unwrap();
        }
        ram.check();
        assert_eq!(ram.statfs(root).unwrap(), stat);
    }
}

#[test]
fn write_beyond_free_space_writes_nothing() {
    let (mut ram, root) = served(100_000, 1);
    let file = create(&mut ram, root, "file", CreateWhat::File).unwrap();
    let free_bytes = ram.statfs(root).unwrap().free_bytes as usize;
    let bytes = vec![b'x'; free_bytes + 4096];
    let written = write(&mut ram, file, 0, &bytes);
    assert_eq!(written, Err(FsError::NoSpace));
    assert_eq!(ram.attr(file).unwrap().size, 0);
    assert_eq!(write(&mut ram, file, 0, &bytes[4096..]), Ok(()));
    let link = create(&mut ram, root, "link", CreateWhat::Link(b"x"));
    assert_eq!(link, Err(FsError::NoSpace));
    ram.check();
}

#[test]
fn removed_open_directory_refuses_new_names() {
    use super::super::OpenFlags;
    let (mut ram, root) = served(100_000, 1);
    let dir = create(&mut ram, root, "dir", CreateWhat::Directory).unwrap();
    let file = create(&mut ram, root, "file", CreateWhat::File).unwrap();
    let how = OpenFlags {
        bits: OpenFlags::READ | OpenFlags::DIRECTORY,
        create: None,
    };
    let pin = ram.open_at(Some(root), b"dir", &how).unwrap();
    ram.remove(root, name("dir"), Kind::Directory).unwrap();
    let made = ram.create(dir, name("new"), CreateWhat::File, &SetAttr::default());
    assert_eq!(made, Err(FsError::NoEntry));
    assert_eq!(ram.link(file, dir, name("new")), Err(FsError::NoEntry));
    let moved = ram.rename(root, name("file"), dir, name("new"), Target::Replace);
    assert_eq!(moved, Err(FsError::NoEntry));
    assert_eq!(list(&mut ram, dir), [""; 0]);
    ram.unpin(pin);
    assert_eq!(ram.attr(dir), Err(FsError::Stale));
    ram.check();
}

#[test]
fn handles_of_an_earlier_run_are_stale() {
    let today = |instance| {
        let (mut ram, root) = served(1 << 20, instance);
        let file = create(&mut ram, root, "file", CreateWhat::File).unwrap();
        let handles = [root, file].map(|node| ram.handle(node).unwrap());
        (ram, handles)
    };
    let (mut one, handles) = today(1);
    let (mut other, others) = today(2);
    for (handle, theirs) in handles.iter().zip(&others) {
        assert!(one.open(handle.bytes()).is_ok());
        assert_eq!(one.open(theirs.bytes()), Err(FsError::Stale));
        assert_eq!(other.open(handle.bytes()), Err(FsError::Stale));
        // A forged handle with this run's tag is stale too.
        let mut mixed = handle.bytes().to_vec();
        mixed[..6].copy_from_slice(&theirs.bytes()[..6]);
        assert_eq!(other.open(&mixed), Err(FsError::Stale));
    }
}

#[test]
fn reused_inode_gets_a_new_handle() {
    let (mut ram, root) = served(1 << 20, 1);
    let file = create(&mut ram, root, "file", CreateWhat::File).unwrap();
    let (inode, handle) = (ram.attr(file).unwrap().inode, ram.handle(file).unwrap());
    ram.remove(root, name("file"), Kind::Other).unwrap();
    let next = create(&mut ram, root, "next", CreateWhat::File).unwrap();
    assert_eq!(ram.attr(next).unwrap().inode, inode);
    assert_eq!(ram.open(handle.bytes()), Err(FsError::Stale));
    assert_eq!(ram.attr(file), Err(FsError::Stale));
}

#[test]
fn export_follows_its_rules_and_clock() {
    for writable in [true, false] {
        let clock = || FileTime { secs: 7, nanos: 8 };
        let mut ram = Ram::new(Counts::within(1 << 20), 1, clock);
        let rules = match writable {
            true => Rules::DEFAULT.with(Rules::WRITABLE),
            false => Rules::DEFAULT,
        };
        let mut tree = Tree::default();
        let root = ram.export(&rules);
        tree.add(Backend::Ram, crate::mem::leak(ram));
        tree.export(b"/ram", &[Client::everyone(rules)], root)
            .unwrap();
        let root = tree.root(0).unwrap();
        let handle = tree.handle(root).unwrap();
        let caller = Caller {
            uid: 1000,
            gid: 100,
            ..Caller::default()
        };
        let root = tree.open_as(handle.bytes(), &caller).unwrap();
        let made = tree.create(root, name("file"), CreateWhat::File, &SetAttr::default());
        let Ok(made) = made else {
            assert!(!writable && made == Err(FsError::ReadOnly));
            continue;
        };
        let attr = tree.attr(made).unwrap();
        assert!(writable);
        assert_eq!((attr.uid, attr.gid), (1000, 100));
        assert_eq!([attr.atime, attr.mtime, attr.ctime], [clock(); 3]);
    }
}

#[test]
fn large_directory_is_listed_in_linear_time() {
    let (mut ram, root) = served(256 << 20, 1);
    let count = 40_000;
    for number in 0..count {
        create(&mut ram, root, &format!("{number}"), CreateWhat::File).unwrap();
    }
    // Lists pages of 100 names and removes the names of each page.
    let (mut from, mut seen) = (0, 0);
    loop {
        let mut page = Vec::new();
        let end = ram.readdir(root, from, Detail::Names, &mut |entry| {
            if page.len() == 100 {
                return ControlFlow::Break(());
            }
            page.push((entry.cookie, entry.name.to_vec()));
            ControlFlow::Continue(())
        });
        from = page.last().map_or(from, |(cookie, _)| *cookie);
        for (_, name) in page.iter().filter(|(cookie, _)| *cookie > 2) {
            ram.remove(root, Name::new(name).unwrap(), Kind::Other)
                .unwrap();
            seen += 1;
        }
        if end == Ok(true) {
            break;
        }
    }
    assert_eq!(seen, count);
    ram.check();
}

#[test]
fn link_count_is_limited() {
    let (mut ram, file) = writable();
    let root = ram.root(Some(TAG)).unwrap();
    for number in 1..LINK_COUNT_MAX {
        assert_eq!(ram.link(file, root, name(&format!("{number}"))), Ok(()));
    }
    let linked = ram.link(file, root, name("x"));
    assert_eq!(linked, Err(FsError::TooManyLinks));
}

#[test]
fn unsynced_data_is_lost_on_power_loss() {
    let (mut ram, file) = writable();
    let pin = ram.pin(file, Some(Access::Write)).unwrap();
    ram.write(&pin, 0, b"J").unwrap();
    assert!(!ram.is_durable());
    assert_eq!(ram.sync(&pin), Ok(()));
    assert!(ram.is_durable());
    ram.write(&pin, 0, b"C").unwrap();
    ram.write(&pin, 4, b"ow").unwrap();
    ram.unpin(pin);
    ram.lose_power();
    assert_eq!(content(&mut ram, file), b"Jello");
    let pin = ram.pin(file, Some(Access::Write)).unwrap();
    ram.write(&pin, 0, b"C").unwrap();
    ram.sync_fails = Some(FsError::Io);
    assert_eq!(ram.sync(&pin), Err(FsError::Io));
    assert_eq!(content(&mut ram, file), b"Jello");
    assert_eq!(ram.sync(&pin), Ok(()));
    ram.unpin(pin);
}

#[test]
fn uncommitted_metadata_is_lost_on_power_loss() {
    let (mut ram, file) = writable();
    let root = ram.root(Some(TAG)).unwrap();
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let changes: [fn(&mut Ram, Node, Node, &SetAttr); 5] = [
        |ram, root, _, change| {
            let made = ram.create(root, name("new"), CreateWhat::Directory, change);
            assert!(made.is_ok());
        },
        |ram, root, _, _| {
            ram.rename(root, name("file"), root, name("x"), Target::Replace)
                .unwrap()
        },
        |ram, root, file, _| ram.link(file, root, name("linked")).unwrap(),
        |ram, _, file, change| ram.set_attr(file, change).unwrap(),
        |ram, root, _, _| ram.remove(root, name("file"), Kind::Other).unwrap(),
    ];
    for change in changes {
        let before = ram.clone();
        change(&mut ram, root, file, &mode);
        assert!(!ram.is_durable() && !ram.is_like(&before));
        let mut committed = ram.clone();
        ram.lose_power();
        assert!(ram.is_like(&before));
        committed.end_changes();
        let after = committed.clone();
        committed.lose_power();
        assert!(committed.is_like(&after));
    }
}

#[test]
fn failing_write_stores_some_bytes() {
    let (mut ram, file) = writable();
    let pin = ram.pin(file, Some(Access::Write)).unwrap();
    ram.write_fails = Some(FsError::Quota);
    assert_eq!(ram.write(&pin, 1, b"ULLY"), Err(FsError::Quota));
    assert_eq!(content(&mut ram, file), b"hULlo");
    assert_eq!(ram.write(&pin, 1, b"ULLY"), Ok(()));
    assert_eq!(content(&mut ram, file), b"hULLY");
    ram.unpin(pin);
}

#[test]
#[should_panic(expected = "pinned for another use")]
fn write_through_read_pin_panics() {
    let (mut ram, file) = writable();
    let pin = ram.pin(file, Some(Access::Read)).unwrap();
    let _ = ram.write(&pin, 0, b"x");
}
