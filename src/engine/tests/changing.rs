//! SETATTR, REMOVE, RMDIR, RENAME, LINK: effects, attributes in the reply, and errors. Then tests of all calls that change
//! something.

use super::World;
use super::calls::{Call, HEADER_BYTES, NO_CHANGE, all_calls, large_calls};
use super::replies::Body;
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;

const OK: u32 = 0;
const NO_ENTRY: u32 = 2;
const NOT_DIRECTORY: u32 = 20;
const IS_DIRECTORY: u32 = 21;
const ACCESS: u32 = 13;
const INVALID: u32 = 22;
const TOO_LARGE: u32 = 27;
const TOO_MANY_LINKS: u32 = 31;
const NAME_TOO_LONG: u32 = 63;
const NOT_EMPTY: u32 = 66;
const STALE: u32 = 70;
const NOT_SYNCHRONOUS: u32 = 10002;
/// All attributes but the size: mode 0640, user 3, group 4, last read at 5.000000006, last written at 7.000000008.
const ALL: &[u32] = &[1, 0o640, 1, 3, 1, 4, 0, 2, 5, 6, 2, 7, 8];

/// Makes a call. Compares its status, and the attributes in its reply with those of the objects `around`. A call that fails must
/// not change anything.
#[track_caller]
pub(super) fn check(world: &mut World, call: &Call, around: &[&[u8]], status: u32) -> Body {
    let was = world.tree.ram().clone();
    let body = world.ask_around(call, around);
    assert_eq!(body.status, status, "{call:?}");
    assert_eq!(world.tree.ram().is_like(&was), status != OK, "{call:?}");
    world.tree.ram().check();
    body
}

#[test]
fn remove_and_rmdir_check_the_object_type() {
    let mut world = World::writable();
    let [top, hello] = ["", "hello"].map(|path| world.handle(path));
    for (procedure, name, status) in [
        (Procedure::Remove, &b"none"[..], NO_ENTRY),
        (Procedure::Remove, b"dir", IS_DIRECTORY),
        (Procedure::Remove, b"empty", IS_DIRECTORY),
        (Procedure::Remove, b".", INVALID),
        (Procedure::Remove, b"..", INVALID),
        (Procedure::Remove, b"", ACCESS),
        (Procedure::Remove, b"dir/inner", INVALID),
        (Procedure::Remove, &[b'n'; 256], NAME_TOO_LONG),
        (Procedure::RmDir, b"none", NO_ENTRY),
        (Procedure::RmDir, b"hello", NOT_DIRECTORY),
        (Procedure::RmDir, b"link", NOT_DIRECTORY),
        (Procedure::RmDir, b"dir", NOT_EMPTY),
        (Procedure::RmDir, b".", INVALID),
        (Procedure::RmDir, b"..", INVALID),
        (Procedure::Remove, b"hello", OK),
        (Procedure::Remove, b"hello", NO_ENTRY),
        (Procedure::Remove, b"link", OK),
        (Procedure::Remove, b"fifo", OK),
        (Procedure::RmDir, b"empty", OK),
        (Procedure::RmDir, b"empty", NO_ENTRY),
    ] {
        let call = Call::of(procedure, &top).opaque(name);
        check(&mut world, &call, &[&top], status);
    }
    let gone = world.ask(&Call::of(Procedure::GetAttr, &hello)).unwrap();
    assert_eq!(gone.status, STALE);
    let link = world.handle("long link");
    for procedure in [Procedure::Remove, Procedure::RmDir] {
        let call = Call::of(procedure, &link).opaque(b"x");
        check(&mut world, &call, &[&link], NOT_DIRECTORY);
    }
}

fn rename(from: &[u8], name: &[u8], to: &[u8], new_name: &[u8]) -> Call {
    Call::of(Procedure::Rename, from)
        .opaque(name)
        .opaque(to)
        .opaque(new_name)
}

#[test]
fn rename_reply_has_attributes_of_both_directories() {
    for (from, name, to, new_name, status) in [
        ("", &b"hello"[..], "", &b"new"[..], OK),
        ("", b"hello", "dir", b"inner", OK),
        ("dir", b"inner", "", b"inner", OK),
        ("", b"dir", "empty", b"dir", OK),
        ("", b"dir", "", b"empty", OK),
        ("", b"dir", "dir", b"x", INVALID),
        ("", b"empty", "", b"dir", NOT_EMPTY),
        ("", b"hello", "", b"dir", IS_DIRECTORY),
        ("", b"dir", "", b"hello", NOT_DIRECTORY),
        ("", b"none", "", b"hello", NO_ENTRY),
        ("", b".", "", b"x", INVALID),
        ("", b"hello", "", b"..", INVALID),
        ("", b"", "", b"x", ACCESS),
        ("", b"hello", "", b"a/b", INVALID),
        ("", b"hello", "", &[b'n'; 256], NAME_TOO_LONG),
        ("", b"hello", "link", b"x", NOT_DIRECTORY),
        ("hello", b"x", "", b"x", NOT_DIRECTORY),
    ] {
        let mut world = World::writable();
        let [from, to] = [from, to].map(|path| world.handle(path));
        let call = rename(&from, name, &to, new_name);
        check(&mut world, &call, &[&from, &to], status);
    }
    let mut world = World::writable();
    let top = world.handle("");
    let was = world.tree.ram().clone();
    let same = rename(&top, b"hello", &top, b"hello");
    assert_eq!(world.ask_around(&same, &[&top, &top]).status, OK);
    assert!(world.tree.ram().is_like(&was));
}

#[test]
fn stale_target_directory_has_no_attributes() {
    let mut world = World::writable();
    let [top, hello, stale] = ["", "hello", "fifo"].map(|path| world.handle(path));
    world.tree.ram().unlink("fifo");
    let was = world.tree.ram().clone();
    for (handle, status) in [(&stale[..], STALE), (b"rubbish", 10001)] {
        let body = world.ask(&rename(&top, b"hello", handle, b"x")).unwrap();
        assert_eq!(body.status, status);
        assert!(body.before[0].is_some() && body.attributes[0].is_some());
        assert_eq!((body.before[1], body.attributes[1]), (None, None));
        let link = Call::of(Procedure::Link, &hello)
            .opaque(handle)
            .opaque(b"x");
        let body = world.ask(&link).unwrap();
        assert_eq!(body.status, status);
        assert!(body.attributes[0].is_some());
        assert_eq!((body.before[0], body.attributes[1]), (None, None));
    }
    assert!(world.tree.ram().is_like(&was));
}

#[test]
fn link_reply_has_attributes_of_object_and_directory() {
    let mut world = World::writable();
    let [top, dir] = ["", "dir"].map(|path| world.handle(path));
    for (path, into, name, status) in [
        ("hello", "dir", &b"linked"[..], OK),
        ("fifo", "", b"linked fifo", OK),
        ("link", "", b"linked link", OK),
        ("dir", "", b"linked dir", 1),
        ("big", "hello", b"x", NOT_DIRECTORY),
    ] {
        let [object, into] = [path, into].map(|path| world.handle(path));
        let call = Call::of(Procedure::Link, &object)
            .opaque(&into)
            .opaque(name);
        let body = check(&mut world, &call, &[&into], status);
        let attr = body.attributes[0].unwrap();
        assert_eq!(attr, world.attributes(&object), "{path}");
        assert_eq!(attr[2], if status == OK { 2 } else { 1 }, "{path}");
    }
    assert_eq!(world.handle("dir/linked"), world.handle("hello"));
    let hello = world.handle("hello");
    let link = |number: u32| {
        let name = format!("{number}");
        Call::of(Procedure::Link, &hello)
            .opaque(&dir)
            .opaque(name.as_bytes())
    };
    for number in 2..crate::vfs::ram::LINK_COUNT_MAX {
        assert_eq!(world.ask(&link(number)).unwrap().status, OK);
    }
    check(&mut world, &link(0), &[&dir], TOO_MANY_LINKS);
    assert_ne!(top, dir);
}

#[test]
fn setattr_sets_each_attribute_alone_and_together() {
    const SIZE: &[u32] = &[0, 0, 0, 1, 0, 4, 0, 0];
    for (change, at, expect) in [
        (&[1, 0o7123, 0, 0, 0, 0, 0][..], 1, &[0o7123][..]),
        // Bits above 07777 are ignored.
        (&[1, u32::MAX, 0, 0, 0, 0, 0], 1, &[0o7777]),
        (&[0, 1, 3, 0, 0, 0, 0], 3, &[3, 100]),
        (&[0, 0, 1, 4, 0, 0, 0], 3, &[1000, 4]),
        (SIZE, 5, &[0, 4]),
        (&[0, 0, 0, 0, 2, 5, 6, 0], 15, &[5, 6]),
        (
            &[0, 0, 0, 0, 0, 2, u32::MAX, 999_999_999],
            17,
            &[u32::MAX, 999_999_999],
        ),
        (ALL, 15, &[5, 6, 7, 8]),
        (ALL, 1, &[0o640, 1, 3, 4]),
    ] {
        let mut world = World::writable();
        let hello = world.handle("hello");
        let call = Call::of(Procedure::SetAttr, &hello).words(change).word(0);
        let body = check(&mut world, &call, &[&hello], OK);
        let attr = body.attributes[0].unwrap();
        assert_eq!(attr[at..][..expect.len()], *expect, "{change:?}");
    }
    let mut world = World::writable();
    let hello = world.handle("hello");
    let was = world.attributes(&hello);
    let now = [0, 0, 0, 0, 1, 1];
    let call = Call::of(Procedure::SetAttr, &hello).words(&now).word(0);
    let attr = check(&mut world, &call, &[&hello], OK).attributes[0].unwrap();
    assert_eq!((attr[15], attr[17]), (attr[19], attr[19]));
    assert!(attr[19] > was[19]);
}

#[test]
fn empty_setattr_succeeds_without_change() {
    let mut world = World::writable();
    let hello = world.handle("hello");
    let was = world.tree.ram().clone();
    // Linux takes a UID or GID of all ones as "no change".
    for change in [NO_CHANGE, &[0, 1, u32::MAX, 1, u32::MAX, 0, 0, 0]] {
        let call = Call::of(Procedure::SetAttr, &hello).words(change).word(0);
        assert_eq!(world.ask_around(&call, &[&hello]).status, OK);
        assert!(world.tree.ram().is_like(&was));
    }
}

#[test]
fn setattr_requires_a_matching_guard() {
    let mut world = World::writable();
    let hello = world.handle("hello");
    let call = |guard: [u32; 2]| {
        Call::of(Procedure::SetAttr, &hello)
            .words(&[1, 0o600, 0, 0, 0, 0, 0, 1])
            .words(&guard)
    };
    let right = [1_000_000_000, 123_456_789];
    for wrong in [[right[0], right[1] + 1], [right[0] - 1, right[1]], [0, 0]] {
        check(&mut world, &call(wrong), &[&hello], NOT_SYNCHRONOUS);
    }
    check(&mut world, &call(right), &[&hello], OK);
    check(&mut world, &call(right), &[&hello], NOT_SYNCHRONOUS);
}

#[test]
fn invalid_attributes_are_refused() {
    let mut world = World::writable();
    let size = |size: u64| [0, 0, 0, 1, (size >> 32) as u32, size as u32, 0, 0];
    for (path, change, status) in [
        ("dir", &size(0)[..], IS_DIRECTORY),
        ("fifo", &size(0), INVALID),
        ("hello", &size(1 << 63), TOO_LARGE),
        ("hello", &size(u64::MAX), TOO_LARGE),
        ("hello", &[0, 0, 0, 0, 2, 5, 1_000_000_000, 0], INVALID),
        ("hello", &[0, 0, 0, 0, 0, 2, 5, u32::MAX], INVALID),
    ] {
        let handle = world.handle(path);
        let call = Call::of(Procedure::SetAttr, &handle).words(change).word(0);
        check(&mut world, &call, &[&handle], status);
    }
    let hello = world.handle("hello");
    for wrong in [
        &[2, 0, 0, 0, 0, 0, 0][..],
        &[0, 2, 0, 0, 0, 0, 0],
        &[0, 0, 2, 0, 0, 0, 0],
        &[0, 0, 0, 2, 0, 0, 0],
        &[0, 0, 0, 0, 3, 0, 0],
        &[0, 0, 0, 0, 0, 3, 0],
        &[1, 0, 0, 0, 0, 0, 0, 2],
    ] {
        let call = Call::of(Procedure::SetAttr, &hello).words(wrong);
        assert_eq!(world.ask(&call), Err(Reject::Arguments), "{wrong:?}");
    }
}

/// All calls that change something on a writable export.
fn changes(world: &mut World) -> Vec<(String, Call)> {
    const STARTS: [&str; 10] = [
        "SetAttr", "Write", "Create", "MkDir", "SymLink", "MkNod", "Remove", "RmDir", "Rename",
        "Link",
    ];
    let mut calls = all_calls(world);
    calls.extend(large_calls(world));
    calls.retain(|(name, _)| STARTS.iter().any(|start| name.starts_with(start)));
    assert_eq!(calls.len(), 10 + 5 + 3);
    calls
}

#[test]
fn each_change_succeeds_alone_and_in_sequence() {
    let mut world = World::writable();
    let pristine = world.tree.ram().clone();
    for alone in [true, false] {
        for (name, call) in changes(&mut World::default()) {
            let was = world.tree.ram().clone();
            assert_eq!(
                world.ask(&call).unwrap().status,
                OK,
                "{name}, alone: {alone}"
            );
            assert!(!world.tree.ram().is_like(&was), "{name}");
            world.tree.ram().check();
            if alone {
                *world.tree.ram() = pristine.clone();
            }
        }
    }
}

#[test]
fn change_with_truncated_arguments_has_no_effect() {
    let mut world = World::writable();
    let was = world.tree.ram().clone();
    for (name, call) in changes(&mut World::default()) {
        let ends = (HEADER_BYTES..call.0.len()).step_by(4);
        for end in ends.clone().take(100).chain(ends.rev().take(2)) {
            let cut = Call(call.0[..end].to_vec());
            assert_eq!(
                world.ask(&cut),
                Err(Reject::Arguments),
                "{name} cut to {end}"
            );
            assert!(world.tree.ram().is_like(&was), "{name} cut to {end}");
        }
    }
}

#[test]
fn fragmented_change_is_carried_out_once() {
    for (name, call) in changes(&mut World::default()).into_iter().take(15) {
        let mut world = World::writable();
        let pristine = world.tree.ram().clone();
        let whole = world.send(&call.record()).output;
        let changed = core::mem::replace(&mut *world.tree.ram(), pristine.clone());
        for cut in 0..call.0.len() {
            for record in [call.record(), call.fragments(&[cut])] {
                let mut pieces = [cut].into_iter();
                let talk = world.send_pieces(&record, || pieces.next().unwrap_or(usize::MAX));
                assert_eq!(talk.output, whole, "{name} cut at {cut}");
                assert!(world.tree.ram().is_like(&changed), "{name} cut at {cut}");
                *world.tree.ram() = pristine.clone();
            }
        }
    }
}
