//! Tests of the duplicate request cache: hits, ports, evictions, restarts.

use super::*;
use crate::config::{DRC_BYTES, DRC_SET_COUNT};
use crate::engine::testing::connections;
use core::net::Ipv4Addr;

fn client(peer: u16) -> Peer {
    let [high, low] = peer.to_be_bytes();
    Peer {
        address: Ipv4Addr::new(198, 18, high, low).to_ipv6_mapped(),
        port: 700,
    }
}

fn key(peer: u16, xid: u32, args: &[u8]) -> Key {
    let call = Call {
        xid,
        program: 100_003,
        version: 3,
        procedure: 12,
        credential: None,
    };
    let from = (&client(peer), Connection::NONE);
    Key::new(from, Instant::from_ms(0), &call, args)
}

fn drc() -> DuplicateRequestCache {
    kept(vec![0; DRC_BYTES])
}

/// A cache under `serve`, in memory that an earlier server left.
fn kept(memory: Vec<u8>) -> DuplicateRequestCache {
    DuplicateRequestCache::new(memory.leak().as_chunks_mut().0, true, connections())
}

fn insert(drc: &mut DuplicateRequestCache, key: Key, reply: &[u8]) {
    let call = begin(drc, key);
    drc.insert(&call, reply);
}

fn lookup(drc: &mut DuplicateRequestCache, key: Key) -> Option<&[u8]> {
    match drc.lookup(key) {
        Lookup::Reply { results, .. } => Some(results),
        Lookup::New(_) => None,
    }
}

/// Looks up a call that has no reply in the cache.
#[track_caller]
fn begin(drc: &mut DuplicateRequestCache, key: Key) -> NewCall {
    match drc.lookup(key) {
        Lookup::New(call) => call,
        reply => panic!("{reply:?}"),
    }
}

#[test]
fn only_the_same_request_gets_the_reply() {
    let mut drc = drc();
    assert_eq!(lookup(&mut drc, key(0, 0, b"")), None);
    insert(&mut drc, key(1, 7, b"args"), b"reply");
    let kept = lookup(&mut drc, key(1, 7, b"args"));
    assert_eq!(kept, Some(&b"reply"[..]));
    for other in [key(1, 8, b"args"), key(1, 7, b"argt"), key(2, 7, b"args")] {
        assert_eq!(lookup(&mut drc, other), None);
    }
    insert(&mut drc, key(1, 9, b""), &[1; DRC_REPLY_BYTES + 1]);
    assert_eq!(lookup(&mut drc, key(1, 9, b"")), None);
    insert(&mut drc, key(1, 9, b""), &[1; DRC_REPLY_BYTES]);
    let kept = lookup(&mut drc, key(1, 9, b""));
    assert_eq!(kept, Some(&[1; DRC_REPLY_BYTES][..]));
}

/// Xids, at least `first`, whose calls from `peer` all fall into set 0.
fn xids(peer: u16, first: u32) -> impl Iterator<Item = u32> {
    let sets = DRC_SET_COUNT as u32;
    let start = first + (sets - key(peer, first, b"").set % sets) % sets;
    (start..).step_by(DRC_SET_COUNT)
}

fn is_held(drc: &mut DuplicateRequestCache, peer: u16, xid: u32) -> bool {
    lookup(drc, key(peer, xid, b"args")).is_some()
}

/// A lookup that finds nothing must not evict a reply that a later lookup needs.
#[test]
fn replays_in_any_order_find_every_reply() {
    for stride in [1, 2, 3, 4, 8, 64] {
        let mut drc = drc();
        let xids = (0..500).map(|call| (u32::MAX - 700).wrapping_add(call * stride));
        let mut xids: Vec<_> = xids.collect();
        for xid in &xids {
            insert(&mut drc, key(1, *xid, b"args"), &xid.to_be_bytes());
        }
        xids.sort_unstable_by_key(|xid| xid.wrapping_mul(0x9e37_79b9));
        let left = drc.sets.as_flattened().to_vec();
        let mut next = kept(left);
        // Look up calls that were never carried out.
        for missed in 0..500 {
            let xid = u32::MAX - 701 - missed;
            assert_eq!(lookup(&mut next, key(1, xid, b"args")), None);
        }
        for xid in xids {
            let kept = lookup(&mut next, key(1, xid, b"args"));
            assert_eq!(kept, Some(&xid.to_be_bytes()[..]), "{xid} by {stride}");
        }
    }
}

#[test]
fn full_cache_evicts_a_peers_oldest_replies() {
    let mut drc = drc();
    let all = (DRC_SET_COUNT * DRC_WAY_COUNT) as u32;
    for xid in 0..2 * all {
        insert(&mut drc, key(1, xid, b"args"), b"reply");
    }
    for xid in (0..2 * all).rev() {
        assert_eq!(is_held(&mut drc, 1, xid), xid >= all, "{xid}");
    }
}

#[test]
fn peer_within_its_share_keeps_its_replies() {
    for others in [1, 3, 7] {
        let share = DRC_WAY_COUNT / (1 + usize::from(others));
        let mut drc = drc();
        // The calls of all peers fall into one set. The first peer uses no more slots than its share.
        let own: Vec<_> = xids(1, 7).take(share).collect();
        for xid in &own {
            insert(&mut drc, key(1, *xid, b"args"), b"reply");
        }
        let mut sent: Vec<_> = (0..others).map(|peer| xids(2 + peer, 1000)).collect();
        for round in 0..10_000_u32 {
            let other = (round.wrapping_mul(0x9e37_79b9) >> 16) as u16 % others;
            let xid = sent[usize::from(other)].next().unwrap();
            insert(&mut drc, key(2 + other, xid, b"args"), b"flood");
            assert!(is_held(&mut drc, 2 + other, xid));
        }
        for xid in &own {
            assert!(is_held(&mut drc, 1, *xid), "{others} others");
        }
    }
}

/// A reply older than `DRC_AGE_SECS` stays until another peer needs its slot. That peer may then hold more than its share.
#[test]
fn idle_peers_lose_their_shares() {
    let mut drc = drc();
    let busy = DRC_WAY_COUNT as u16;
    let call = |peer, xid, time| Key {
        time,
        ..key(peer, xid, b"args")
    };
    // Peer `busy` makes seven calls, each other peer one. Peer 0 makes another (`late`) just before these replies exceed the
    // age limit.
    let calls = |peer| xids(peer, 7).take(if peer == busy { 7 } else { 1 });
    for peer in 0..busy {
        calls(peer).for_each(|xid| insert(&mut drc, call(peer, xid, 9), b"old"));
    }
    let end = 9 + DRC_AGE_SECS;
    let late = xids(0, 1000).next().unwrap();
    insert(&mut drc, call(0, late, end), b"late");
    for xid in calls(busy) {
        insert(&mut drc, call(busy, xid, end + 1), b"reply");
    }
    for xid in calls(busy) {
        assert!(is_held(&mut drc, busy, xid), "{xid}");
    }
    assert!(is_held(&mut drc, 0, late));
}

/// An IPv6 host may use any number of addresses of its network; together they count as one peer.
#[test]
fn addresses_of_one_ipv6_network_have_one_share() {
    let mut drc = drc();
    let call = |network: u16, host: u32, xid| {
        let mut peer = Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, 0).to_bits();
        peer |= u128::from(host);
        let call = Call {
            xid,
            ..Call::default()
        };
        let peer = Peer {
            address: Ipv6Addr::from_bits(peer),
            port: 700,
        };
        let from = (&peer, Connection::NONE);
        Key::new(from, Instant::from_ms(0), &call, b"args")
    };
    for xid in 0..200 {
        insert(&mut drc, call(1, 1, xid), b"reply");
    }
    for host in 0..20_000 {
        insert(&mut drc, call(2, host, host / 7), b"flood");
    }
    for xid in 0..200 {
        assert!(lookup(&mut drc, call(1, 1, xid)).is_some(), "{xid}");
    }
}

/// If a server is killed while it stores a reply, the next server finds the whole reply or none, in whichever order the
/// compiler emitted the stores.
#[test]
fn torn_reply_is_ignored() {
    let of = |set: &[u8]| kept(set.to_vec());
    let mut drc = of(&[0; size_of::<Set>()]);
    for xid in 1..=DRC_WAY_COUNT as u32 {
        insert(&mut drc, key(1, xid, b"args"), &[xid as u8; 240]);
    }
    let (old, new) = (|| key(1, 1, b"args"), || key(1, 1000, b"args"));
    let call = begin(&mut drc, new());
    let before = drc.sets[0];
    drc.insert(&call, &[200; 260]);
    let after = drc.sets[0];
    let from = WORD_BYTES + call.place * SLOT_BYTES;
    let to = from + SLOT_BYTES;
    let rest = WORD_BYTES..from;
    assert!(before[rest.clone()] == after[rest] && before[to..] == after[to..]);
    let mut found = [0; 2];
    for stored in from..=to {
        for [first, last] in [[&after, &before], [&before, &after]] {
            let mut torn = of(&[&first[..stored], &last[stored..]].concat());
            for xid in (2..=DRC_WAY_COUNT as u32).rev() {
                let kept = lookup(&mut torn, key(1, xid, b"args"));
                assert_eq!(kept, Some(&[xid as u8; 240][..]));
            }
            let kept = lookup(&mut torn, new());
            assert!(kept.is_none_or(|kept| kept == [200; 260]), "{stored}");
            found[0] += usize::from(kept.is_some());
            // The next server can store a reply in the torn slot.
            if kept.is_none() {
                insert(&mut torn, new(), &[201; 260]);
                assert_eq!(lookup(&mut torn, new()), Some(&[201; 260][..]));
            }
            let mut torn = of(&[&first[..stored], &last[stored..]].concat());
            let kept = lookup(&mut torn, old());
            assert!(kept.is_none_or(|kept| kept == [1; 240]), "{stored}");
            found[1] += usize::from(kept.is_some());
        }
    }
    assert!(found.iter().all(|found| (1..SLOT_BYTES).contains(found)));
}

/// If a server is killed while it stores a reply, the next server finds the call still recorded as begun. The reply counts only
/// once its checksum is stored, which a single instruction does last.
#[test]
fn call_stays_begun_until_its_reply_is_complete() {
    let mut drc = kept(vec![0; size_of::<Set>()]);
    insert(&mut drc, key(1, 6, b"args"), &[200; 260]);
    let call = begin(&mut drc, key(1, 7, b"args"));
    assert!(!drc.is_done(&call, || true));
    let begun = drc.sets[0];
    drc.insert(&call, &[201; 260]);
    let answered = drc.sets[0];
    let seal = WORD_BYTES + call.place * SLOT_BYTES;
    for stored in seal + WORD_BYTES..=seal + SLOT_BYTES {
        let mut torn = begun;
        torn[seal + WORD_BYTES..stored].copy_from_slice(&answered[seal + WORD_BYTES..stored]);
        let mut drc = kept(torn.to_vec());
        let call = begin(&mut drc, key(1, 7, b"args"));
        assert!(drc.is_done(&call, || false), "{stored}");
        drc.insert(&call, b"reply");
        assert_eq!(lookup(&mut drc, key(1, 7, b"args")), Some(&b"reply"[..]));
    }
}

#[test]
fn replace_needs_the_same_peer_procedure_and_reply() {
    let mut drc = drc();
    let other_port = Key {
        port: 701,
        ..key(1, 7, b"arg1")
    };
    let stored = [
        (key(1, 7, b"arg2"), &b"done"[..]),
        (key(1, 7, b"arg3"), b"earlier"),
        (other_port, b"done"),
        (key(1, 8, b"arg2"), b"done"),
        (key(2, 7, b"arg2"), b"done"),
    ];
    for (key, reply) in &stored {
        insert(&mut drc, key.clone(), reply);
    }
    for (peer, procedure, xid, old) in [
        (1, 12, 7, "done"),
        (1, 13, 8, "done"),
        (1, 12, 9, "done"),
        (1, 12, 8, "undone"),
        (3, 12, 7, "done"),
    ] {
        drc.replace(&client(peer), [xid, procedure], old.as_bytes(), b"failed");
    }
    let mut drc = kept(drc.sets.as_flattened().to_vec());
    for (number, (key, reply)) in stored.into_iter().enumerate() {
        let expected = if number == 0 { b"failed" } else { reply };
        assert_eq!(lookup(&mut drc, key), Some(expected), "{number}");
    }
    let mut none = DuplicateRequestCache::new(&mut [], true, connections());
    none.replace(&client(1), [7, 12], b"done", b"failed");
}

/// A call with the key of an answered one comes from a port, by a connection, at a time, while the connection of the answered
/// one is open or closed.
#[test]
fn only_a_retransmission_gets_the_reply() {
    const OWN: usize = 0;
    const OLDER: usize = 1;
    const NEWER: usize = 2;
    for (port, slot, secs, is_closed, expect) in [
        (700, OWN, 50, false, true),
        (700, OLDER, 50 + DRC_AGE_SECS, false, true),
        (700, OWN, 51 + DRC_AGE_SECS, false, false),
        (701, OLDER, 51, false, false),
        (701, NEWER, 51, false, false),
        (701, OLDER, 51, true, false),
        (701, NEWER, 51, true, true),
        (701, NEWER, 51 + DRC_AGE_SECS, true, false),
    ] {
        let all = connections();
        let mut opened = vec![all.open(OWN), all.open(OLDER)];
        let mut drc = DuplicateRequestCache::new(vec![[0; _]; DRC_SET_COUNT].leak(), true, all);
        let call = |port, connection, time| Key {
            port,
            connection,
            time,
            ..key(1, 7, b"args")
        };
        insert(&mut drc, call(700, opened[OWN], 50), b"reply");
        opened.push(all.open(NEWER));
        if is_closed {
            all.close(opened[OWN]);
        }
        let context = format!("{port} {slot} {secs} {is_closed}");
        let found = lookup(&mut drc, call(port, opened[slot], secs)).is_some();
        assert_eq!(found, expect, "{context}");
        // From now on, the connection that got the reply last must be closed.
        let next = call(702, all.open(3), secs);
        let found = lookup(&mut drc, next).is_some();
        assert_eq!(found, is_closed && slot == OLDER, "{context}");
    }
}

#[test]
fn received_replies_are_forgotten() {
    let all = connections();
    let mut drc = DuplicateRequestCache::new(vec![[0; _]; DRC_SET_COUNT].leak(), true, all);
    let (first, second) = (all.open(0), all.open(1));
    let call = |xid, connection| Key {
        connection,
        ..key(1, xid, b"args")
    };
    for xid in 0..20 {
        insert(&mut drc, call(xid, first), b"first");
        insert(&mut drc, call(20 + xid, second), b"second");
    }
    // The second client gets a reply of the first one again.
    assert!(lookup(&mut drc, call(0, second)).is_some());
    drc.forget(first);
    for xid in 0..40 {
        let is_kept = lookup(&mut drc, call(xid, second)).is_some();
        assert_eq!(is_kept, xid == 0 || xid >= 20, "{xid}");
    }
}

#[test]
fn user_and_groups_belong_to_the_key() {
    let credential = |uid: u32, gid: u32, groups: &[u32]| {
        let words = [&[0, 0, uid, gid, groups.len() as u32], groups].concat();
        let body: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let head = [7, 0, 2, 100_003, 3, 12, 1, body.len() as u32];
        let head = head.iter().flat_map(|word: &u32| word.to_be_bytes());
        head.chain(body).chain([0; 8]).collect::<Vec<u8>>()
    };
    let mut seen = drc();
    for (uid, gid, groups) in [
        (0, 0, &[][..]),
        (1, 0, &[]),
        (0, 1, &[]),
        (0, 0, &[0]),
        (0, 0, &[1, 2]),
        (0, 0, &[2, 1]),
    ] {
        let packet = credential(uid, gid, groups);
        let mut call = Call::default();
        call.parse(&mut Reader::new(&packet)).unwrap();
        let from = (&client(1), Connection::NONE);
        let key = Key::new(from, Instant::from_ms(0), &call, b"args");
        insert(&mut seen, key, b"reply");
    }
}

/// The record of a begun call stays until the call is answered, and does not affect calls with another key.
#[test]
fn begun_call_is_done_if_the_name_changed() {
    let is_done = |drc: &mut DuplicateRequestCache, xid, is_there| {
        let call = begin(drc, key(1, xid, b"args"));
        drc.is_done(&call, || is_there)
    };
    for was_there in [false, true] {
        let mut drc = drc();
        assert!(!is_done(&mut drc, 7, was_there));
        for other in [8, 10] {
            drc = kept(drc.sets.as_flattened().to_vec());
            insert(&mut drc, key(1, other, b"args"), b"another");
            assert!(!is_done(&mut drc, 9, !was_there));
            assert!(!is_done(&mut drc, 7, was_there));
            assert!(is_done(&mut drc, 7, !was_there));
        }
        insert(&mut drc, key(1, 7, b"args"), b"reply");
        assert!(is_held(&mut drc, 1, 7));
    }
    let mut alone =
        DuplicateRequestCache::new(vec![[0; _]; DRC_SET_COUNT].leak(), false, connections());
    let call = begin(&mut alone, key(1, 7, b"args"));
    assert!(!alone.is_done(&call, || unreachable!("nobody follows")));
}
