//! What the model does beyond the conformance tests: it is full, it fails, it loses power.

use super::super::{Access, CreateWhat, FsError, Handles as _, Name, Node, SetAttr, Vfs as _};
use super::{LINK_COUNT_MAX, Ram, TAG};

fn name(text: &str) -> Name<'_> {
    Name::new(text.as_bytes()).unwrap()
}

/// A tree with one file, and the file.
fn writable() -> (Ram, Node) {
    let mut ram = Ram::new(b"/export");
    ram.writable = true;
    ram.file("file", b"hello");
    let top = ram.root(TAG).unwrap();
    let file = ram.lookup(top, name("file")).unwrap();
    (ram, file)
}

fn content(ram: &mut Ram, file: Node) -> Vec<u8> {
    let mut out = [0; 64];
    let pin = ram.pin(file, Some(Access::Read)).unwrap();
    let len = ram.read(&pin, 0, &mut out).unwrap();
    ram.unpin(pin);
    out[..len as usize].to_vec()
}

#[test]
fn a_full_tree_takes_nothing_more_and_space_comes_back() {
    let (mut ram, file) = writable();
    let top = ram.root(TAG).unwrap();
    ram.capacity_bytes = 3 * 4096;
    let none = SetAttr::default();
    let pin = ram.pin(file, Some(Access::Write)).unwrap();
    assert_eq!(ram.write(&pin, 1 << 40, b"x"), Ok(()));
    assert_eq!(ram.write(&pin, 1 << 50, b"x"), Err(FsError::NoSpace));
    assert_eq!(ram.write(&pin, (1 << 40) + 1, b"x"), Ok(()));
    ram.unpin(pin);
    let made = (0..100).take_while(|number| {
        let made = ram.create(
            top,
            name(&format!("{number}")),
            CreateWhat::Directory,
            &none,
        );
        assert!(matches!(made, Ok(_) | Err(FsError::NoSpace)));
        made.is_ok()
    });
    assert_eq!(made.count(), 15);
    assert_eq!(ram.link(file, top, name("x")), Err(FsError::NoSpace));
    assert_eq!(ram.rename(top, name("0"), top, name("x"), true), Ok(()));
    let size = SetAttr {
        size: Some(1 << 50),
        ..none
    };
    assert_eq!(ram.set_attr(file, &size), Ok(()));
    let size = SetAttr {
        size: Some(0),
        ..none
    };
    assert_eq!(ram.set_attr(file, &size), Ok(()));
    assert_eq!(ram.link(file, top, name("y")), Ok(()));
    ram.check();
}

#[test]
fn an_object_has_only_so_many_names() {
    let (mut ram, file) = writable();
    let top = ram.root(TAG).unwrap();
    for number in 1..LINK_COUNT_MAX {
        assert_eq!(ram.link(file, top, name(&format!("{number}"))), Ok(()));
    }
    let linked = ram.link(file, top, name("x"));
    assert_eq!(linked, Err(FsError::TooManyLinks));
}

#[test]
fn what_is_not_durable_is_lost_with_the_power_and_with_a_sync_that_fails() {
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
fn names_and_attributes_that_are_not_committed_are_lost_with_the_power() {
    let (mut ram, file) = writable();
    let top = ram.root(TAG).unwrap();
    let mode = SetAttr {
        mode: Some(0o600),
        ..SetAttr::default()
    };
    let changes: [fn(&mut Ram, Node, Node, &SetAttr); 5] = [
        |ram, top, _, change| {
            let made = ram.create(top, name("new"), CreateWhat::Directory, change);
            assert!(made.is_ok());
        },
        |ram, top, _, _| ram.rename(top, name("file"), top, name("x"), true).unwrap(),
        |ram, top, file, _| ram.link(file, top, name("linked")).unwrap(),
        |ram, _, file, change| ram.set_attr(file, change).unwrap(),
        |ram, top, _, _| ram.remove(top, name("file"), false).unwrap(),
    ];
    for change in changes {
        let before = ram.clone();
        change(&mut ram, top, file, &mode);
        assert!(!ram.is_durable() && !ram.is_like(&before));
        let mut committed = ram.clone();
        ram.lose_power();
        assert!(ram.is_like(&before));
        assert_eq!(committed.commit_metadata(), Ok(()));
        let after = committed.clone();
        committed.lose_power();
        assert!(committed.is_like(&after));
    }
}

#[test]
fn a_write_that_fails_has_written_some() {
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
fn a_pin_for_reading_is_not_written_through() {
    let (mut ram, file) = writable();
    let pin = ram.pin(file, Some(Access::Read)).unwrap();
    let _ = ram.write(&pin, 0, b"x");
}
