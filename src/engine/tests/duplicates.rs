//! Requests that come twice: what must not be done twice is not, and gets the same answer, to the byte.

use super::calls::{Call, NO_CHANGE, every};
use super::{World, content};
use crate::config::{DRC_SET_COUNT, DRC_WAY_COUNT, KEPT_BYTES};
use crate::engine::programs::Programs;
use crate::engine::turns::Turns;
use crate::wire::nfs3::Procedure;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU32, Ordering};

const OK: u32 = 0;
const NO_ENTRY: u32 = 2;
const EXISTS: u32 = 17;
const NOT_SYNCHRONOUS: u32 = 10_002;

fn mkdir(top: &[u8], name: &[u8]) -> Call {
    Call::of(Procedure::MkDir, top)
        .opaque(name)
        .words(NO_CHANGE)
}

#[test]
fn what_changes_names_or_attributes_is_done_once() {
    let names = [
        "SetAttr", "Create", "MkDir", "SymLink", "MkNod", "Remove", "RmDir", "Rename", "Link",
    ];
    let calls = every(&mut World::default());
    for (name, call) in calls {
        if !names.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let mut world = World::remembering();
        let first = world.send(&call.record()).output;
        let was = world.tree.ram().clone();
        // On another connection, in fragments, and later.
        for cuts in [&[][..], &[30], &[4, 50, 80]] {
            let again = world.send(&call.fragments(cuts)).output;
            assert_eq!(again, first, "{name}");
            assert!(world.tree.ram().is_like(&was), "{name}");
        }
        let other = world.ask(&call.clone().xid(8)).unwrap();
        let fails = !["SetAttr", "Create", "Create exclusive"].contains(&&name[..]);
        assert_eq!(other.status != OK, fails, "{name}");
    }
}

#[test]
fn what_only_looks_the_same_is_another_request() {
    let mut world = World::remembering();
    let top = world.handle("");
    let make = |world: &mut World, call: &Call| world.ask(call).unwrap().status;
    assert_eq!(make(&mut world, &mkdir(&top, b"a")), OK);
    // Other arguments, another xid, another procedure, another peer.
    assert_eq!(make(&mut world, &mkdir(&top, b"b")), OK);
    assert_eq!(make(&mut world, &mkdir(&top, b"a").xid(8)), EXISTS);
    let remove = |procedure| Call::of(procedure, &top).opaque(b"none");
    assert_eq!(make(&mut world, &remove(Procedure::Remove)), NO_ENTRY);
    world.tree.ram().dir("none");
    assert_eq!(make(&mut world, &remove(Procedure::RmDir)), OK);
    world.peer = Ipv4Addr::new(192, 0, 2, 8).to_ipv6_mapped();
    assert_eq!(make(&mut world, &mkdir(&top, b"a")), EXISTS);
    world.peer = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
    assert_eq!(make(&mut world, &mkdir(&top, b"a")), OK);
}

#[test]
fn failures_are_told_again_too() {
    let mut world = World::remembering();
    let top = world.handle("");
    let remove = Call::of(Procedure::Remove, &top).opaque(b"late");
    assert_eq!(world.ask(&remove).unwrap().status, NO_ENTRY);
    world.tree.ram().file("late", b"");
    assert_eq!(world.ask(&remove).unwrap().status, NO_ENTRY);
    assert_eq!(world.ask(&remove.xid(8)).unwrap().status, OK);
}

#[test]
fn what_changes_nothing_is_told_as_it_is_now() {
    let mut world = World::remembering();
    let hello = world.handle("hello");
    let ask = Call::of(Procedure::GetAttr, &hello);
    let read = Call::read(&hello, 0, 100);
    world.ask(&ask).unwrap();
    world.ask(&read).unwrap();
    world.ask(&Call::write(&hello, 0, 2, b"J")).unwrap();
    let told = world.ask(&ask).unwrap().attributes[0].unwrap();
    assert_ne!(told[17], 1_000_000_000);
    assert_eq!(world.ask(&read).unwrap().bytes, b"Jello world");
}

/// To write the same bytes again does no harm, and keeping them to compare would take all the memory there is.
#[test]
fn a_write_is_made_again() {
    let mut world = World::remembering();
    let hello = world.handle("hello");
    let write = Call::write(&hello, 0, 0, b"J");
    world.ask(&write).unwrap();
    world.ask(&Call::write(&hello, 0, 0, b"C").xid(8)).unwrap();
    world.ask(&write).unwrap();
    assert_eq!(content(&mut world, "hello"), b"Jello world");
}

#[test]
fn what_breaks_off_is_not_kept() {
    let mut world = World::remembering();
    let top = world.handle("");
    let whole = mkdir(&top, b"new");
    let cut = Call(whole.0[..whole.0.len() - 4].to_vec());
    assert!(world.ask(&cut).is_err());
    assert_eq!(world.ask(&whole).unwrap().status, OK);
}

#[test]
fn full_cache_evicts_the_oldest_reply() {
    const COUNT: usize = DRC_SET_COUNT * DRC_WAY_COUNT;
    let mut world = World::remembering();
    let top = world.handle("");
    let call = |xid: usize| mkdir(&top, format!("{xid}").as_bytes()).xid(xid as u32);
    for xid in 0..=COUNT {
        assert_eq!(world.ask(&call(xid)).unwrap().status, OK);
    }
    for xid in (1..=COUNT).rev() {
        assert_eq!(world.ask(&call(xid)).unwrap().status, OK, "{xid}");
    }
    assert_eq!(world.ask(&call(0)).unwrap().status, EXISTS);
}

/// The server is killed with 200 calls of one client in flight, of which it has carried out all but the last. The client sends them
/// again, last first or first first; another client has sent calls that fail meanwhile.
#[test]
fn calls_in_flight_are_replayed_right() {
    for backwards in [false, true] {
        let mut world = World::writable();
        let top = world.handle("");
        let kept = vec![0; KEPT_BYTES].leak();
        world.programs = Programs::new([0; 8], kept, true, None);
        let remove = |xid: u32| Call::of(Procedure::Remove, &top).opaque(b"none").xid(xid);
        let mut calls: Vec<_> = (0..200)
            .map(|xid| mkdir(&top, format!("{xid}").as_bytes()).xid(xid))
            .collect();
        for call in &calls[..199] {
            assert_eq!(world.ask(call).unwrap().status, OK);
        }
        world.peer = Ipv4Addr::new(192, 0, 2, 8).to_ipv6_mapped();
        for xid in 0..4000 {
            assert_eq!(world.ask(&remove(xid)).unwrap().status, NO_ENTRY);
        }
        world.peer = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
        assert_eq!(world.ask(&calls[199]).unwrap().status, OK);
        let left = world.programs.left_begun(false);
        world.programs = Programs::new([0; 8], left, true, None);
        if backwards {
            calls.reverse();
        }
        for (number, call) in calls.iter().enumerate() {
            assert_eq!(world.ask(call).unwrap().status, OK, "{number}");
        }
    }
}

/// Every call that is not idempotent, when its reply was lost with the server: carried out before or not, it succeeds once.
#[test]
fn the_next_server_knows_what_was_begun() {
    let makes = ["Create", "MkDir", "SymLink", "MkNod", "Link"];
    let takes = ["Remove", "RmDir", "Rename"];
    let starts = |name: &str, all: &[&str]| all.iter().any(|start| name.starts_with(start));
    let calls = every(&mut World::default());
    let mut seen = 0;
    for (name, call) in calls {
        let was_there = starts(&name, &takes);
        if !was_there && !starts(&name, &makes) {
            continue;
        }
        seen += 1;
        let serve = |world: &mut World, left| {
            world.programs = Programs::new([0; 8], left, true, None);
        };
        let mut first = World::writable();
        serve(&mut first, vec![0; KEPT_BYTES].leak());
        assert_eq!(first.ask(&call).unwrap().status, OK, "{name}");
        let was = first.tree.ram().clone();
        let left = first.programs.left_begun(was_there).to_vec();
        for mut world in [first, World::writable()] {
            let is_done = world.tree.ram().is_like(&was);
            serve(&mut world, left.clone().leak());
            // Other calls come first.
            let top = world.handle("");
            let none = Call::of(Procedure::Remove, &top).opaque(b"none").xid(8);
            assert_eq!(world.ask(&none).unwrap().status, NO_ENTRY);
            for _ in 0..2 {
                assert_eq!(world.ask(&call).unwrap().status, OK, "{name} {is_done}");
                assert!(world.tree.ram().is_like(&was), "{name} {is_done}");
            }
        }
    }
    assert!(seen > makes.len() + takes.len());
}

/// A guard that holds no longer because an earlier server has carried out the call is right; one that never held is not.
#[test]
fn the_next_server_knows_which_guard_held() {
    let mut world = World::writable();
    let hello = world.handle("hello");
    let call = |guard: [u32; 2]| {
        let set_mode = Call::of(Procedure::SetAttr, &hello).words(&[1, 0o600, 0, 0, 0, 0, 0, 1]);
        set_mode.words(&guard)
    };
    world.programs = Programs::new([0; 8], vec![0; KEPT_BYTES].leak(), true, None);
    let (right, wrong) = (call([1_000_000_000, 123_456_789]), call([1, 2]).xid(8));
    for (call, held, status) in [(wrong, false, NOT_SYNCHRONOUS), (right, true, OK)] {
        assert_eq!(world.ask(&call).unwrap().status, status);
        let was = world.tree.ram().clone();
        let left = world.programs.left_begun(held);
        world.programs = Programs::new([0; 8], left, true, None);
        for _ in 0..2 {
            assert_eq!(world.ask(&call).unwrap().status, status);
            assert!(world.tree.ram().is_like(&was));
        }
        // Another call with the same guard comes too late.
        assert_eq!(world.ask(&call.xid(9)).unwrap().status, NOT_SYNCHRONOUS);
    }
}

/// What fails because of what was there before fails: it is not taken for what was begun.
#[test]
fn what_was_begun_in_vain_fails() {
    let mut world = World::writable();
    let top = world.handle("");
    world.programs = Programs::new([0; 8], vec![0; KEPT_BYTES].leak(), true, None);
    let remove = Call::of(Procedure::Remove, &top).opaque(b"none");
    for (call, was_there, status) in [
        (mkdir(&top, b"hello"), true, EXISTS),
        (remove, false, NO_ENTRY),
    ] {
        assert_eq!(world.ask(&call).unwrap().status, status);
        let left = world.programs.left_begun(was_there);
        world.programs = Programs::new([0; 8], left, true, None);
        assert_eq!(world.ask(&call).unwrap().status, status);
    }
}

/// Counts what is asked of it.
#[derive(Default)]
struct Beside {
    begun: AtomicU32,
    ended: AtomicU32,
    breaks: AtomicU32,
}

impl Turns for Beside {
    fn begin(&self) {
        assert_eq!(
            self.begun.fetch_add(1, Ordering::Relaxed),
            self.ended.load(Ordering::Relaxed)
        );
    }

    fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn number(&self) -> u32 {
        7
    }

    fn breaks(&self) -> &AtomicU32 {
        &self.breaks
    }
}

/// Beside others a server takes its turn at each call that changes names or attributes, and at no other. What another has done is
/// made durable before it is told again; its own is not asked for twice.
#[test]
fn servers_beside_each_other_take_turns() {
    let turns: &'static Beside = Box::leak(Box::default());
    let count = || turns.ended.load(Ordering::Relaxed);
    let mut world = World::writable();
    let top = world.handle("");
    world.programs = Programs::new([0; 8], vec![0; KEPT_BYTES].leak(), true, Some(turns));
    for (name, call) in every(&mut World::default()) {
        let (before, was) = (count(), world.tree.ram().clone());
        world.ask(&call).unwrap();
        assert_eq!(turns.begun.load(Ordering::Relaxed), count(), "{name}");
        let taken = count() - before;
        let writes = name.starts_with("Write");
        assert!(
            taken == 1 || writes || world.tree.ram().is_like(&was),
            "{name}"
        );
        assert!(taken == 0 || !name.starts_with("Read"), "{name}");
    }
    let call = mkdir(&top, b"another").xid(77);
    assert_eq!(world.ask(&call).unwrap().status, OK);
    assert_eq!(world.ask(&call).unwrap().status, OK);
    assert_eq!(world.tree.host.staged_exports.get(), 0);
    // As if the server that answered had been another.
    world.programs.set_server(8);
    assert_eq!(world.ask(&call).unwrap().status, OK);
    assert_eq!(world.tree.host.staged_exports.get(), 1);
    world.programs.break_promises();
    assert_eq!(turns.breaks.load(Ordering::Relaxed), 1);
}
