//! CREATE, MKDIR, SYMLINK, MKNOD: effects, attributes in the reply, and errors.

use super::calls::{Call, NO_CHANGE};
use super::changing::check;
use super::{World, content};
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;

const OK: u32 = 0;
const EXISTS: u32 = 17;
const NOT_DIRECTORY: u32 = 20;
const ACCESS: u32 = 13;
const INVALID: u32 = 22;
const NAME_TOO_LONG: u32 = 63;
const BAD_TYPE: u32 = 10007;
/// CREATE modes (createmode3).
const UNCHECKED: u32 = 0;
const GUARDED: u32 = 1;
const EXCLUSIVE: u32 = 2;
/// All attributes but the size: mode 0640, user 3, group 4, last read at 5.000000006, last written at 7.000000008.
const ALL: &[u32] = &[1, 0o640, 1, 3, 1, 4, 0, 2, 5, 6, 2, 7, 8];

fn create(dir: &[u8], name: &[u8], how: u32, rest: &[u32]) -> Call {
    Call::of(Procedure::Create, dir)
        .opaque(name)
        .word(how)
        .words(rest)
}

/// Calls that create `name` with the attributes `change`, one for each type of object. Each is paired with that type.
fn makers(dir: &[u8], name: &[u8], change: &[u32]) -> [(u32, Call); 7] {
    let of = |procedure| Call::of(procedure, dir).opaque(name);
    let node = |kind| of(Procedure::MkNod).word(kind).words(change);
    [
        (1, create(dir, name, GUARDED, change)),
        (2, of(Procedure::MkDir).words(change)),
        (
            5,
            of(Procedure::SymLink)
                .words(change)
                .opaque(b"/any\xff where"),
        ),
        (3, node(3).words(&[8, 17])),
        (4, node(4).words(&[1, 3])),
        (6, node(6)),
        (7, node(7)),
    ]
}

#[test]
fn created_object_has_the_requested_attributes() {
    let mut world = World::writable();
    let dir = world.handle("dir");
    for (given, change) in [(false, NO_CHANGE), (true, ALL)] {
        for (number, (kind, _)) in makers(&dir, b"", change).into_iter().enumerate() {
            let name = format!("new {number} {given}");
            let (_, call) = makers(&dir, name.as_bytes(), change)[number].clone();
            let body = check(&mut world, &call, &[&dir], OK);
            let found = world.ask(&Call::lookup(&dir, name.as_bytes())).unwrap();
            assert_eq!(body.handle, found.handle, "{name}");
            assert_eq!(body.attributes[0], found.attributes[0], "{name}");
            let attr = body.attributes[0].unwrap();
            assert_eq!(attr[0], kind, "{name}");
            // The mode of a symbolic link has no effect.
            assert!(!given || kind == 5 || attr[1] == 0o640, "{name}");
            let owner = if given { [3, 4] } else { [1000, 100] };
            assert_eq!(attr[3..5], owner, "{name}");
            assert_eq!(attr[15..19] == [5, 6, 7, 8], given, "{name}");
            let rdev = match kind {
                3 => [8, 17],
                4 => [1, 3],
                _ => [0, 0],
            };
            assert_eq!(attr[9..11], rdev, "{name}");
        }
    }
    let link = world.handle("dir/new 2 true");
    let target = world.ask(&Call::of(Procedure::ReadLink, &link)).unwrap();
    assert_eq!(target.bytes, b"/any\xff where");
    // A size attribute creates a file of zeros.
    let sized = [0, 0, 0, 1, 0, 5, 0, 0];
    check(
        &mut world,
        &create(&dir, b"sized", GUARDED, &sized),
        &[&dir],
        OK,
    );
    assert_eq!(content(&mut world, "dir/sized"), [0; 5]);
}

#[test]
fn invalid_names_are_refused_by_every_creating_call() {
    let mut world = World::writable();
    let [top, file] = ["", "hello"].map(|path| world.handle(path));
    for (name, status) in [
        (&b"hello"[..], EXISTS),
        (b"dir", EXISTS),
        (b"link", EXISTS),
        (b".", EXISTS),
        (b"..", EXISTS),
        (b"", ACCESS),
        (b"a/b", INVALID),
        (b"a\0b", INVALID),
        (&[b'n'; 256], NAME_TOO_LONG),
        (&[b'n'; 1024], NAME_TOO_LONG),
    ] {
        for (_, call) in makers(&top, name, NO_CHANGE) {
            check(&mut world, &call, &[&top], status);
        }
        let link = Call::of(Procedure::Link, &file).opaque(&top).opaque(name);
        let body = check(&mut world, &link, &[&top], status);
        assert_eq!(body.attributes.len(), 2);
    }
    for (_, call) in makers(&file, b"new", NO_CHANGE) {
        check(&mut world, &call, &[&file], NOT_DIRECTORY);
    }
    for (_, call) in makers(&top, &[b'n'; 1025], NO_CHANGE) {
        assert_eq!(world.ask(&call), Err(Reject::Arguments));
    }
    for (_, call) in makers(&top, &[b'n'; 255], NO_CHANGE).into_iter().take(1) {
        check(&mut world, &call, &[&top], OK);
    }
}

#[test]
fn unchecked_create_keeps_existing_file() {
    let mut world = World::writable();
    let [top, hello] = ["", "hello"].map(|path| world.handle(path));
    let there = world.attributes(&hello);
    let was = world.tree.ram().clone();
    let call = create(&top, b"hello", UNCHECKED, ALL);
    let body = world.ask_around(&call, &[&top]);
    assert_eq!((body.status, body.handle), (OK, hello.clone()));
    // All attributes but the size are ignored for an existing file.
    assert_eq!(body.attributes[0], Some(there));
    assert!(world.tree.ram().is_like(&was));
    let cut = [1, 0o600, 0, 0, 1, 0, 4, 0, 0];
    check(
        &mut world,
        &create(&top, b"hello", UNCHECKED, &cut),
        &[&top],
        OK,
    );
    assert_eq!(content(&mut world, "hello"), b"hell");
    assert_eq!(world.attributes(&hello)[1], 0o644);
    for how in [UNCHECKED, GUARDED] {
        for name in [&b"dir"[..], b"link", b"fifo"] {
            let call = create(&top, name, how, NO_CHANGE);
            check(&mut world, &call, &[&top], EXISTS);
        }
    }
    let call = create(&top, b"hello", 3, NO_CHANGE);
    assert_eq!(world.ask(&call), Err(Reject::Arguments));
}

#[test]
fn repeated_exclusive_create_returns_the_same_file() {
    // A verifier may have any bits. It is stored in atime and mtime; some hosts reject times with all bits set.
    for verifier in [[0, 0], [7, 8], [u32::MAX; 2], [1 << 31, 1]] {
        let mut world = World::writable();
        let [top, hello] = ["", "hello"].map(|path| world.handle(path));
        let call = create(&top, b"new", EXCLUSIVE, &verifier);
        let made = check(&mut world, &call, &[&top], OK);
        // Every host can store times below 2^31.
        let times = made.attributes[0].unwrap();
        assert!(times[15] < 1 << 31 && times[17] < 1 << 31);
        let was = world.tree.ram().clone();
        let again = world.ask_around(&call, &[&top]);
        assert_eq!((again.status, &again.handle), (OK, &made.handle));
        assert!(world.tree.ram().is_like(&was));
        let other = [verifier[0], verifier[1] ^ 1];
        let other = create(&top, b"new", EXCLUSIVE, &other);
        check(&mut world, &other, &[&top], EXISTS);
        let there = create(&top, b"hello", EXCLUSIVE, &verifier);
        check(&mut world, &there, &[&top], EXISTS);
        // A restarted server has no list of verifiers. It recognises an empty file by atime and mtime, where CREATE stored the
        // verifier.
        let mut restarted = World {
            tree: world.tree,
            ..World::default()
        };
        assert_eq!(restarted.ask(&call).unwrap().handle, made.handle);
        // Once the file has data, the server ignores the verifier in atime and mtime, even if SETATTR sets both to it again:
        // another client may have written the file.
        restarted
            .ask(&Call::write(&made.handle, 0, 2, b"x"))
            .unwrap();
        check(&mut restarted, &call, &[&top], EXISTS);
        let [atime, mtime] = verifier.map(|word| word & 0x7fff_ffff);
        let times = Call::of(Procedure::SetAttr, &made.handle)
            .words(&[0, 0, 0, 0, 2, atime, 0, 2, mtime, 0, 0]);
        assert_eq!(restarted.ask(&times).unwrap().status, OK);
        check(&mut restarted, &call, &[&top], EXISTS);
        assert_ne!(made.handle, hello);
    }
}

#[test]
fn exclusive_create_is_recognised_after_a_write() {
    let mut world = World::writable();
    let top = world.handle("");
    let call = |number: u32| {
        let name = number.to_be_bytes().map(|byte| byte | 0x80);
        create(&top, &name, EXCLUSIVE, &[number, 9])
    };
    let made: Vec<Vec<u8>> = (0..32)
        .map(|number| world.ask(&call(number)).unwrap().handle)
        .collect();
    for handle in &made {
        world.ask(&Call::write(handle, 0, 0, b"data")).unwrap();
    }
    for (number, handle) in (0..).zip(&made) {
        let again = world.ask(&call(number)).unwrap();
        assert_eq!((again.status, &again.handle), (OK, handle));
    }
}

#[test]
fn mknod_refuses_other_types() {
    let mut world = World::writable();
    let top = world.handle("");
    let call = |kind| {
        Call::of(Procedure::MkNod, &top)
            .opaque(b"new")
            .word(kind)
            .words(NO_CHANGE)
    };
    for kind in [1, 2, 5] {
        check(&mut world, &call(kind), &[&top], BAD_TYPE);
    }
    for kind in [0, 8, u32::MAX] {
        assert_eq!(world.ask(&call(kind)), Err(Reject::Arguments));
    }
}

#[test]
fn symlink_target_length_is_limited() {
    let mut world = World::writable();
    let top = world.handle("");
    for (len, status) in [(1, Some(OK)), (4095, Some(OK)), (4098, None)] {
        let call = Call::of(Procedure::SymLink, &top)
            .opaque(format!("{len}").as_bytes())
            .words(NO_CHANGE)
            .opaque(&vec![b't'; len]);
        let reply_status = world.ask(&call).ok().map(|body| body.status);
        assert_eq!(reply_status, status, "{len} bytes");
    }
}
