//! All calls that change something: alone, in sequence, truncated and in fragments. Then errors that only the model can cause.

use super::Bench;
use super::calls::{Call, HEADER_BYTES, all_calls, large_calls};
use super::replies::Body;
use crate::wire::nfs3::Procedure;
use crate::wire::rpc::Reject;

const OK: u32 = 0;
const TOO_MANY_LINKS: u32 = 31;
const STALE: u32 = 70;

/// Makes a call. Compares its status, and the attributes in its reply with those of the objects `around`. A call that fails must
/// not change anything.
#[track_caller]
pub(super) fn check(bench: &mut Bench, call: &Call, around: &[&[u8]], status: u32) -> Body {
    let was = bench.tree.ram().clone();
    let body = bench.ask_around(call, around);
    assert_eq!(body.status, status, "{call:?}");
    assert_eq!(bench.tree.ram().is_like(&was), status != OK, "{call:?}");
    bench.tree.ram().check();
    body
}

fn rename(from: &[u8], name: &[u8], to: &[u8], new_name: &[u8]) -> Call {
    Call::of(Procedure::Rename, from)
        .opaque(name)
        .opaque(to)
        .opaque(new_name)
}

#[test]
fn stale_target_directory_has_no_attributes() {
    let mut bench = Bench::writable();
    let [top, hello, stale] = ["", "hello", "fifo"].map(|path| bench.handle(path));
    bench.tree.ram().unlink("fifo");
    let was = bench.tree.ram().clone();
    for (handle, status) in [(&stale[..], STALE), (b"rubbish", 10001)] {
        let body = bench.ask(&rename(&top, b"hello", handle, b"x")).unwrap();
        assert_eq!(body.status, status);
        assert!(body.before[0].is_some() && body.attributes[0].is_some());
        assert_eq!((body.before[1], body.attributes[1]), (None, None));
        let link = Call::of(Procedure::Link, &hello)
            .opaque(handle)
            .opaque(b"x");
        let body = bench.ask(&link).unwrap();
        assert_eq!(body.status, status);
        assert!(body.attributes[0].is_some());
        assert_eq!((body.before[0], body.attributes[1]), (None, None));
    }
    assert!(bench.tree.ram().is_like(&was));
}

#[test]
fn link_count_is_limited() {
    let mut bench = Bench::writable();
    let [hello, dir] = ["hello", "dir"].map(|path| bench.handle(path));
    let link = |number: u32| {
        let name = format!("{number}");
        Call::of(Procedure::Link, &hello)
            .opaque(&dir)
            .opaque(name.as_bytes())
    };
    for number in 1..crate::vfs::ram::LINK_COUNT_MAX {
        assert_eq!(bench.ask(&link(number)).unwrap().status, OK);
    }
    check(&mut bench, &link(0), &[&dir], TOO_MANY_LINKS);
}

/// BSD and macOS programs set the modes of links.
#[test]
fn mode_of_a_link_is_ignored() {
    let mut bench = Bench::writable();
    let link = bench.handle("link");
    let before = bench.ask(&Call::of(Procedure::GetAttr, &link)).unwrap();
    let set = |words: &[u32]| Call::of(Procedure::SetAttr, &link).words(words);
    let mode = set(&[1, 0o600, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.ask(&mode).unwrap().status, OK);
    let all = set(&[1, 0o600, 1, 7, 1, 8, 0, 2, 9, 10, 2, 11, 12, 0]);
    let body = check(&mut bench, &all, &[&link], OK);
    let [before, after] = [before, body].map(|body| body.attributes[0].unwrap());
    // fattr3: mode, UID, GID; seconds of atime and mtime.
    assert_eq!([after[1], after[3], after[4]], [before[1], 7, 8]);
    assert_eq!([after[15], after[17]], [9, 11]);
}

#[test]
fn invalid_unions_of_attributes_are_garbage() {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
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
        assert_eq!(bench.ask(&call), Err(Reject::Arguments), "{wrong:?}");
    }
}

/// All calls that change something on a writable export.
fn changes(bench: &mut Bench) -> Vec<(String, Call)> {
    const STARTS: [&str; 10] = [
        "SetAttr", "Write", "Create", "MkDir", "SymLink", "MkNod", "Remove", "RmDir", "Rename",
        "Link",
    ];
    let mut calls = all_calls(bench);
    calls.extend(large_calls(bench));
    calls.retain(|(name, _)| STARTS.iter().any(|start| name.starts_with(start)));
    assert_eq!(calls.len(), 10 + 5 + 3);
    calls
}

#[test]
fn each_change_succeeds_alone_and_in_sequence() {
    let mut bench = Bench::writable();
    let pristine = bench.tree.ram().clone();
    for alone in [true, false] {
        for (name, call) in changes(&mut Bench::default()) {
            let was = bench.tree.ram().clone();
            assert_eq!(
                bench.ask(&call).unwrap().status,
                OK,
                "{name}, alone: {alone}"
            );
            assert!(!bench.tree.ram().is_like(&was), "{name}");
            bench.tree.ram().check();
            if alone {
                *bench.tree.ram() = pristine.clone();
            }
        }
    }
}

#[test]
fn truncated_arguments_are_garbage_without_effect() {
    let mut bench = Bench::writable();
    let was = bench.tree.ram().clone();
    let mut calls = all_calls(&mut bench);
    calls.extend(large_calls(&mut bench));
    calls.retain(|(name, _)| !name.ends_with("Null") && !name.ends_with("null"));
    for (name, call) in calls {
        let ends = (HEADER_BYTES..call.0.len()).step_by(4);
        for end in ends.clone().take(100).chain(ends.rev().take(2)) {
            let cut = Call(call.0[..end].to_vec());
            assert_eq!(
                bench.ask(&cut),
                Err(Reject::Arguments),
                "{name} cut to {end}"
            );
            assert!(bench.tree.ram().is_like(&was), "{name} cut to {end}");
        }
    }
}

#[test]
fn fragmented_change_is_carried_out_once() {
    for (name, call) in changes(&mut Bench::default()).into_iter().take(15) {
        let mut bench = Bench::writable();
        let pristine = bench.tree.ram().clone();
        let whole = bench.send(&call.record()).output;
        let changed = core::mem::replace(&mut *bench.tree.ram(), pristine.clone());
        for cut in (0..call.0.len()).step_by(3) {
            // The data of each fragment of a WRITE is stored by itself, which changes ctime.
            let fragments = (!name.starts_with("Write")).then(|| call.fragments(&[cut]));
            for record in [call.record()].into_iter().chain(fragments) {
                let mut pieces = [cut].into_iter();
                let talk = bench.send_pieces(&record, || pieces.next().unwrap_or(usize::MAX));
                assert_eq!(talk.output, whole, "{name} cut at {cut}");
                assert!(bench.tree.ram().is_like(&changed), "{name} cut at {cut}");
                *bench.tree.ram() = pristine.clone();
            }
        }
    }
}
