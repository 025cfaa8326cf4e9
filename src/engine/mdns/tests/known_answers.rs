//! Known answers in one message or several, and answers of other hosts that replace ours.

use super::script::{query, truncated};
use super::world::{PEER, World};

const POINTER: &str = "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local";
const ASKED: &str = "? _nfs._tcp.local PTR";

/// Returns true if the responder has sent [`POINTER`].
fn has_answer(world: &World) -> bool {
    world.all().iter().any(|line| line == POINTER)
}

/// RFC 6762 section 7.1: "MUST NOT answer a Multicast DNS query if the answer it would give is already included in the Answer
/// Section with an RR TTL at least half the correct value".
/// RFC 6762 section 7.1: "If the RR TTL of the answer as given in the Answer Section is less than half of the true RR TTL … the
/// responder MUST send an answer".
#[test]
fn known_answers_with_sufficient_ttl_are_suppressed() {
    let mut world = World::serving(1);
    for (ttl, is_sent) in [(4500, false), (2250, false), (2249, true), (0, true)] {
        let known = format!("= _nfs._tcp.local {ttl} PTR A~BOX._nfs._tcp.LOCAL");
        let lines = world.answers(&[ASKED, &known]);
        assert_eq!(lines.iter().any(|line| line == POINTER), is_sent, "{ttl}");
    }
    let other = "= _nfs._tcp.local 4500 PTR cat._nfs._tcp.local";
    assert!(
        world
            .answers(&[ASKED, other])
            .iter()
            .any(|line| line == POINTER)
    );
    let mut lines = world.answers(&["? box.local A", "= box.local 120 A 192.0.2.1"]);
    assert!(lines.is_empty());
    lines = world.answers(&["? box.local A", "= box.local 120 A 192.0.2.7"]);
    assert_eq!(lines[0], "= box.local 120 flush A 192.0.2.1");
    let texts = [
        "? a~box._nfs._tcp.local TXT",
        "= a~box._nfs._tcp.local 4500 TXT path=/srv",
    ];
    assert!(world.answers(&texts).is_empty());
    let service = [
        "? a~box._nfs._tcp.local SRV",
        "= a~box._nfs._tcp.local 120 SRV 2049 box.local",
    ];
    assert!(world.answers(&service).is_empty());
}

/// RFC 6762 section 6.2: "it MUST include all addresses that are valid on the interface".
/// RFC 6762 section 10.2: a unique record set is sent completely or not at all.
#[test]
fn one_known_address_of_two_suppresses_neither() {
    let mut world = World::new(1);
    world.set_link(0, &["192.0.2.1/24", "192.0.2.2/24"]);
    world.settle();
    let lines = world.answers(&["? box.local A", "= box.local 120 A 192.0.2.1"]);
    let answers: Vec<_> = lines.iter().filter(|line| line.starts_with('=')).collect();
    assert_eq!(answers.len(), 2, "{lines:?}");
    let both = [
        "? box.local A",
        "= box.local 120 A 192.0.2.1",
        "= box.local 120 A 192.0.2.2",
    ];
    assert!(world.answers(&both).is_empty());
}

/// RFC 6762 section 7.2: the answer to a truncated query is delayed by 400 to 500 ms.
#[test]
fn truncated_query_waits_for_more_known_answers() {
    for seed in 1..30 {
        let mut world = World::serving(seed);
        let multicasts = world.ask_bytes(&truncated(&[ASKED]));
        assert_eq!(multicasts.len(), 1);
        assert!((400..500).contains(&multicasts[0].0), "{}", multicasts[0].0);
    }
}

/// RFC 6762 section 7.2: "If the responder sees any of its answers listed in the Known-Answer lists of subsequent packets from
/// the querying host, it MUST delete that answer".
#[test]
fn known_answers_in_later_messages_suppress_the_answer() {
    let mut world = World::serving(1);
    world.hear(PEER, &truncated(&[ASKED]));
    world.run(300);
    world.hear_query(&[POINTER]);
    world.run(3000);
    assert!(!has_answer(&world));
    // Known answers of another querier do not suppress the answer.
    world.hear(PEER, &truncated(&[ASKED]));
    world.run(300);
    world.hear("192.0.2.10:5353", &query(&[POINTER]));
    world.run(3000);
    assert!(has_answer(&world));
}

/// RFC 6762 section 7.2: "(provided that no other host on the network has also issued a query for that record and is waiting to
/// receive an answer)".
#[test]
fn record_wanted_by_two_queriers_is_still_sent() {
    let mut world = World::serving(1);
    world.hear(PEER, &truncated(&[ASKED]));
    world.hear("192.0.2.10:5353", &truncated(&[ASKED]));
    world.run(300);
    world.hear_query(&[POINTER]);
    world.run(3000);
    assert!(has_answer(&world));
}

/// CVE-2026-48045: further messages with known answers do not delay the answer without limit.
/// RFC 6762 section 7.2: each further message with the TC bit extends the delay, up to 2 s in all.
#[test]
fn endless_known_answers_delay_the_answer_two_seconds() {
    let mut world = World::serving(1);
    let start = world.now;
    world.hear(PEER, &truncated(&[ASKED]));
    let other = "= _nfs._tcp.local 4500 PTR cat._nfs._tcp.local";
    while world.now < start + 10_000 && !has_answer(&world) {
        world.run(100);
        world.hear(PEER, &truncated(&[other]));
    }
    let delay = world.sent[0].at - start;
    assert!((1500..=2500).contains(&delay), "{delay}");
    // One further message with the TC bit extends the delay once.
    world.run(2000);
    let start = world.now;
    world.sent.clear();
    world.hear(PEER, &truncated(&[ASKED]));
    world.run(350);
    world.hear(PEER, &truncated(&[other]));
    world.run(350);
    assert!(!has_answer(&world));
    world.run(1000);
    let delay = world.sent[0].at - start;
    assert!((750..850).contains(&delay), "{delay}");
}

/// RFC 6762 section 7.4: an answer of a peer that equals ours suppresses our answer (duplicate answer suppression).
#[test]
fn identical_answer_of_a_peer_suppresses_ours() {
    let mut world = World::serving(1);
    world.hear_query(&[ASKED]);
    world.hear_response(&[POINTER]);
    world.run(3000);
    assert!(!has_answer(&world));
    // An answer whose TTL is below half of ours does not suppress our answer.
    world.hear_query(&[ASKED]);
    world.hear_response(&["= _nfs._tcp.local 100 PTR a~box._nfs._tcp.local"]);
    world.run(3000);
    assert!(has_answer(&world));
}

/// RFC 6762 section 6.6: "If the TTL of B's resource record given in the message is less than half the true TTL from A's point of
/// view, then A MUST mark its record to be announced via multicast".
#[test]
fn own_record_with_low_ttl_is_multicast_again() {
    let mut world = World::serving(1);
    for line in [
        "= box.local 59 A 192.0.2.1",
        "= box.local 0 flush A 192.0.2.1",
    ] {
        world.run(5000);
        world.sent.clear();
        world.hear_response(&[line]);
        world.run(1000);
        let first = &world.sent[0];
        assert_eq!(first.lines()[0], "= box.local 120 flush A 192.0.2.1");
    }
    world.run(5000);
    world.sent.clear();
    world.hear_response(&["= box.local 60 A 192.0.2.1"]);
    world.run(5000);
    assert!(world.sent.is_empty());
}
