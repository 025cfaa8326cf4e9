//! The duplicate request cache: a retransmitted call that is not idempotent is not carried out again and gets the same reply, byte
//! for byte.

use super::Bench;
use super::calls::{Call, NO_CHANGE, all_calls};
use crate::config::{DRC_AGE_SECS, DRC_SET_COUNT, DRC_WAY_COUNT, SHARED_BYTES};
use crate::engine::programs::Programs;
use crate::engine::rpc::lock::ServerLock;
use crate::engine::testing::{EVERYTHING, connections};
use crate::time::Instant;
use crate::vfs::{Client, Room, Rules};
use crate::wire::exports;
use crate::wire::nfs3::Procedure;
use core::net::Ipv4Addr;
use core::sync::atomic::{AtomicU32, Ordering};

const OK: u32 = 0;
const NOT_PERMITTED: u32 = 1;
const NO_ENTRY: u32 = 2;
const EXISTS: u32 = 17;
const STALE: u32 = 70;
const NOT_SYNCHRONOUS: u32 = 10_002;

/// Programs under `serve`, with the `memory` that an earlier server left.
fn programs(memory: &'static mut [u8], lock: Option<&'static dyn ServerLock>) -> Programs {
    Programs::new([0; 8], memory, true, lock, connections())
}

fn mkdir(top: &[u8], name: &[u8]) -> Call {
    Call::of(Procedure::MkDir, top)
        .opaque(name)
        .words(NO_CHANGE)
}

#[test]
fn retransmitted_change_is_carried_out_once() {
    let names = [
        "SetAttr", "Create", "MkDir", "SymLink", "MkNod", "Remove", "RmDir", "Rename", "Link",
    ];
    let calls = all_calls(&mut Bench::default());
    for (name, call) in calls {
        if !names.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let mut bench = Bench::with_reply_cache();
        let first = bench.send(&call.record()).output;
        let was = bench.tree.ram().clone();
        // Retransmit on other connections, in one fragment or several.
        for cuts in [&[][..], &[30], &[4, 50, 80]] {
            let again = bench.send(&call.fragments(cuts)).output;
            assert_eq!(again, first, "{name}");
            assert!(bench.tree.ram().is_like(&was), "{name}");
        }
        let other = bench.ask(&call.clone().xid(8)).unwrap();
        let fails = !["SetAttr", "Create", "Create exclusive"].contains(&&name[..]);
        assert_eq!(other.status != OK, fails, "{name}");
    }
}

#[test]
fn similar_request_is_not_a_duplicate() {
    let mut bench = Bench::with_reply_cache();
    let top = bench.handle("");
    let make = |bench: &mut Bench, call: &Call| bench.ask(call).unwrap().status;
    assert_eq!(make(&mut bench, &mkdir(&top, b"a")), OK);
    // Each of these calls differs from an earlier one in its arguments, xid, procedure or peer, so it must be carried out. Only the
    // last repeats the first call.
    assert_eq!(make(&mut bench, &mkdir(&top, b"b")), OK);
    assert_eq!(make(&mut bench, &mkdir(&top, b"a").xid(8)), EXISTS);
    let remove = |procedure| Call::of(procedure, &top).opaque(b"none");
    assert_eq!(make(&mut bench, &remove(Procedure::Remove)), NO_ENTRY);
    bench.tree.ram().dir("none");
    assert_eq!(make(&mut bench, &remove(Procedure::RmDir)), OK);
    bench.peer = Ipv4Addr::new(192, 0, 2, 8).to_ipv6_mapped();
    assert_eq!(make(&mut bench, &mkdir(&top, b"a")), EXISTS);
    bench.peer = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
    assert_eq!(make(&mut bench, &mkdir(&top, b"a")), OK);
    bench.now = Instant::from_ms(1000 * u64::from(DRC_AGE_SECS + 1));
    assert_eq!(make(&mut bench, &mkdir(&top, b"a")), EXISTS);
}

/// Two programs of one host use equal xids, each on its connection. A new connection gets the replies of a closed one.
#[test]
fn connections_of_one_host_share_no_replies() {
    let mut bench = Bench::with_reply_cache();
    let top = bench.handle("");
    let call = mkdir(&top, b"lock");
    let status = |bench: &mut Bench, slot, port| {
        bench.port = port;
        let mut session = bench.programs.open(slot, EVERYTHING);
        let output = bench
            .talk(&mut session, None, &call.record(), || usize::MAX)
            .output;
        (
            session,
            u32::from_be_bytes(*output[28..].first_chunk().unwrap()),
        )
    };
    let (mut first, got) = status(&mut bench, 1, 700);
    assert_eq!(got, OK);
    for (slot, port, expect) in [(2, 701, EXISTS), (3, 700, OK)] {
        assert_eq!(status(&mut bench, slot, port).1, expect, "{port}");
    }
    // The reply was sent again by the connection 3, which is still open.
    let Bench { programs, tree, .. } = &mut bench;
    programs.abandon(&mut first, tree);
    assert_eq!(status(&mut bench, 4, 702).1, EXISTS);
    // Another connection takes the place of the connection 3.
    bench.programs.open(3, EVERYTHING);
    assert_eq!(status(&mut bench, 5, 703).1, OK);
}

/// An export admits a client, and answers its call. Then its rules change, or the client sends the call again from a port of
/// another user.
#[test]
fn refused_client_gets_no_kept_reply() {
    for (rules, hosts, port, expect) in [
        (Rules::DEFAULT, "192.0.2.7", 40_000, OK),
        (Rules::OF_FILE, "192.0.2.7", 700, OK),
        (Rules::OF_FILE, "192.0.2.7", 40_000, NOT_PERMITTED),
        (Rules::DEFAULT, "192.0.2.8", 700, STALE),
    ] {
        let mut bench = Bench::with_reply_cache();
        let call = mkdir(&bench.handle(""), b"new");
        assert_eq!(bench.ask(&call).unwrap().status, OK);
        let client = Client {
            hosts: exports::hosts(hosts.as_bytes()).unwrap(),
            rules,
        };
        let (paths, entries, names, bytes) = (1, 1, 0, 100);
        bench.tree.reserve(&Room {
            paths,
            entries,
            names,
            bytes,
        });
        bench.tree.add_client(b"/export", &client).unwrap();
        bench.tree.replace_clients(&mut |_, _, _| ());
        bench.port = port;
        let got = bench.ask(&call).unwrap();
        assert_eq!(got.status, expect, "{hosts} {port}");
    }
}

#[test]
fn truncated_call_is_not_cached() {
    let mut bench = Bench::with_reply_cache();
    let top = bench.handle("");
    let whole = mkdir(&top, b"new");
    let cut = Call(whole.0[..whole.0.len() - 4].to_vec());
    assert!(bench.ask(&cut).is_err());
    assert_eq!(bench.ask(&whole).unwrap().status, OK);
}

#[test]
fn full_cache_evicts_the_oldest_reply() {
    const COUNT: usize = DRC_SET_COUNT * DRC_WAY_COUNT;
    let mut bench = Bench::with_reply_cache();
    let top = bench.handle("");
    let call = |xid: usize| mkdir(&top, format!("{xid}").as_bytes()).xid(xid as u32);
    for xid in 0..=COUNT {
        assert_eq!(bench.ask(&call(xid)).unwrap().status, OK);
    }
    for xid in (1..=COUNT).rev() {
        assert_eq!(bench.ask(&call(xid)).unwrap().status, OK, "{xid}");
    }
    assert_eq!(bench.ask(&call(0)).unwrap().status, EXISTS);
}

/// The server is killed after it has carried out 200 calls of one client; the reply to the last is lost. The client sends all of
/// them again, from the last or from the first, and each must succeed. Failing calls of another client come in between.
#[test]
fn calls_in_flight_survive_a_killed_server() {
    for backwards in [false, true] {
        let mut bench = Bench::writable();
        let top = bench.handle("");
        let kept = vec![0; SHARED_BYTES].leak();
        bench.programs = programs(kept, None);
        let remove = |xid: u32| Call::of(Procedure::Remove, &top).opaque(b"none").xid(xid);
        let mut calls: Vec<_> = (0..200)
            .map(|xid| mkdir(&top, format!("{xid}").as_bytes()).xid(xid))
            .collect();
        for call in &calls[..199] {
            assert_eq!(bench.ask(call).unwrap().status, OK);
        }
        bench.peer = Ipv4Addr::new(192, 0, 2, 8).to_ipv6_mapped();
        for xid in 0..4000 {
            assert_eq!(bench.ask(&remove(xid)).unwrap().status, NO_ENTRY);
        }
        bench.peer = Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped();
        assert_eq!(bench.ask(&calls[199]).unwrap().status, OK);
        let left = bench.left_begun(&calls[199], false);
        bench.programs = programs(left, None);
        if backwards {
            calls.reverse();
        }
        for (number, call) in calls.iter().enumerate() {
            assert_eq!(bench.ask(call).unwrap().status, OK, "{number}");
        }
    }
}

/// The server is killed before its reply to a call arrives, for each call that is not idempotent. The next server must answer the
/// retransmitted call with success, carried out already or not.
#[test]
fn next_server_recognises_changes_of_killed_one() {
    let makes = ["Create", "MkDir", "SymLink", "MkNod", "Link"];
    let takes = ["Remove", "RmDir", "Rename"];
    let starts = |name: &str, all: &[&str]| all.iter().any(|start| name.starts_with(start));
    let calls = all_calls(&mut Bench::default());
    let mut seen = 0;
    for (name, call) in calls {
        let was_there = starts(&name, &takes);
        if !was_there && !starts(&name, &makes) {
            continue;
        }
        seen += 1;
        let serve = |bench: &mut Bench, left| {
            bench.programs = programs(left, None);
        };
        let mut first = Bench::writable();
        serve(&mut first, vec![0; SHARED_BYTES].leak());
        assert_eq!(first.ask(&call).unwrap().status, OK, "{name}");
        let was = first.tree.ram().clone();
        let left = first.left_begun(&call, was_there).to_vec();
        for mut bench in [first, Bench::writable()] {
            let is_done = bench.tree.ram().is_like(&was);
            serve(&mut bench, left.clone().leak());
            // Other calls precede the retransmission.
            let top = bench.handle("");
            let none = Call::of(Procedure::Remove, &top).opaque(b"none").xid(8);
            assert_eq!(bench.ask(&none).unwrap().status, NO_ENTRY);
            for _ in 0..2 {
                assert_eq!(bench.ask(&call).unwrap().status, OK, "{name} {is_done}");
                assert!(bench.tree.ram().is_like(&was), "{name} {is_done}");
            }
        }
    }
    assert!(seen > makes.len() + takes.len());
}

/// The server is killed after a SETATTR with a guard. If it had carried out the SETATTR, the guard no longer matches, but the
/// retransmission must succeed. If the guard never matched, the retransmission must fail.
#[test]
fn next_server_recognises_which_guard_matched() {
    let mut bench = Bench::writable();
    let hello = bench.handle("hello");
    let call = |guard: [u32; 2]| {
        let set_mode = Call::of(Procedure::SetAttr, &hello).words(&[1, 0o600, 0, 0, 0, 0, 0, 1]);
        set_mode.words(&guard)
    };
    bench.programs = programs(vec![0; SHARED_BYTES].leak(), None);
    let (right, wrong) = (call([1_000_000_000, 123_456_789]), call([1, 2]).xid(8));
    for (call, held, status) in [(wrong, false, NOT_SYNCHRONOUS), (right, true, OK)] {
        assert_eq!(bench.ask(&call).unwrap().status, status);
        let was = bench.tree.ram().clone();
        let left = bench.left_begun(&call, held);
        bench.programs = programs(left, None);
        for _ in 0..2 {
            assert_eq!(bench.ask(&call).unwrap().status, status);
            assert!(bench.tree.ram().is_like(&was));
        }
        // Another call with the same guard fails: ctime has changed.
        assert_eq!(bench.ask(&call.xid(9)).unwrap().status, NOT_SYNCHRONOUS);
    }
}

/// A call fails, and the server is killed before it stores the reply. The retransmitted call must fail again in the next server:
/// that the name exists does not mean that the call was carried out.
#[test]
fn failed_call_fails_again_in_next_server() {
    let mut bench = Bench::writable();
    let top = bench.handle("");
    bench.programs = programs(vec![0; SHARED_BYTES].leak(), None);
    let remove = Call::of(Procedure::Remove, &top).opaque(b"none");
    for (call, was_there, status) in [
        (mkdir(&top, b"hello"), true, EXISTS),
        (remove, false, NO_ENTRY),
    ] {
        assert_eq!(bench.ask(&call).unwrap().status, status);
        let left = bench.left_begun(&call, was_there);
        bench.programs = programs(left, None);
        assert_eq!(bench.ask(&call).unwrap().status, status);
    }
}

/// A lock that counts how often it is acquired and released, and fails if it is acquired twice.
#[derive(Default)]
struct Beside {
    begun: AtomicU32,
    ended: AtomicU32,
    tables: AtomicU32,
    loss_count: AtomicU32,
}

impl ServerLock for Beside {
    fn acquire(&self) {
        assert_eq!(
            self.begun.fetch_add(1, Ordering::Relaxed),
            self.ended.load(Ordering::Relaxed)
        );
    }

    fn release(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    fn acquire_tables(&self) {
        let had = self.tables.fetch_add(1, Ordering::Relaxed);
        assert_eq!(had, 0, "the lock of the tables is acquired twice");
    }

    fn release_tables(&self) {
        self.tables.store(0, Ordering::Relaxed);
    }

    fn loss_count(&self) -> &AtomicU32 {
        &self.loss_count
    }
}

/// Servers that run at the same time hold the lock for each call that changes names or attributes, and for no other. Before a
/// server repeats a reply of another server, it syncs the change. Its own cached reply needs no second sync.
#[test]
fn parallel_servers_take_turns_for_changes() {
    let lock: &'static Beside = Box::leak(Box::default());
    let count = || lock.ended.load(Ordering::Relaxed);
    let mut bench = Bench::writable();
    let top = bench.handle("");
    bench.programs = programs(vec![0; SHARED_BYTES].leak(), Some(lock));
    for (name, call) in all_calls(&mut Bench::default()) {
        let (before, was) = (count(), bench.tree.ram().clone());
        bench.ask(&call).unwrap();
        assert_eq!(lock.begun.load(Ordering::Relaxed), count(), "{name}");
        let taken = count() - before;
        let writes = name.starts_with("Write");
        assert!(
            taken == 1 || writes || bench.tree.ram().is_like(&was),
            "{name}"
        );
        assert!(taken == 0 || !name.starts_with("Read"), "{name}");
    }
    let call = mkdir(&top, b"another").xid(77);
    assert_eq!(bench.ask(&call).unwrap().status, OK);
    assert_eq!(bench.ask(&call).unwrap().status, OK);
    assert_eq!(bench.tree.host.staged_exports.get(), 0);
    // A server that is started later finds the reply of the earlier one.
    let restarted = bench.programs.connections();
    *restarted = restarted.restarted();
    assert_eq!(bench.ask(&call).unwrap().status, OK);
    assert_eq!(bench.tree.host.staged_exports.get(), 1);
    bench.programs.break_promises();
    assert_eq!(lock.loss_count.load(Ordering::Relaxed), 1);
}
