//! Known answers in one message or several, and answers of other hosts that replace ours.

use super::bench::{Bench, PEER};
use super::script::{query, truncated};

const POINTER: &str = "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local";
const ASKED: &str = "? _nfs._tcp.local PTR";

/// Returns true if the responder has sent [`POINTER`].
fn has_answer(bench: &Bench) -> bool {
    bench.all().iter().any(|line| line == POINTER)
}

/// RFC 6762 section 7.1: "MUST NOT answer a Multicast DNS query if the answer it would give is already included in the Answer
/// Section with an RR TTL at least half the correct value".
/// RFC 6762 section 7.1: "If the RR TTL of the answer as given in the Answer Section is less than half of the true RR TTL … the
/// responder MUST send an answer".
#[test]
fn known_answers_with_sufficient_ttl_are_suppressed() {
    let mut bench = Bench::serving(1);
    for (ttl, is_sent) in [(4500, false), (2250, false), (2249, true), (0, true)] {
        let known = format!("= _nfs._tcp.local {ttl} PTR A~BOX._nfs._tcp.LOCAL");
        let lines = bench.answers(&[ASKED, &known]);
        assert_eq!(lines.iter().any(|line| line == POINTER), is_sent, "{ttl}");
    }
    let other = "= _nfs._tcp.local 4500 PTR cat._nfs._tcp.local";
    assert!(bench.answers(&[ASKED, other]).contains(&POINTER.to_owned()));
    let mut lines = bench.answers(&["? box.local A", "= box.local 120 A 192.0.2.1"]);
    assert!(lines.is_empty());
    lines = bench.answers(&["? box.local A", "= box.local 120 A 192.0.2.7"]);
    assert_eq!(lines[0], "= box.local 120 flush A 192.0.2.1");
    let texts = [
        "? a~box._nfs._tcp.local TXT",
        "= a~box._nfs._tcp.local 4500 TXT path=/srv",
    ];
    assert!(bench.answers(&texts).is_empty());
    let service = [
        "? a~box._nfs._tcp.local SRV",
        "= a~box._nfs._tcp.local 120 SRV 2049 box.local",
    ];
    assert!(bench.answers(&service).is_empty());
}

/// RFC 6762 section 6.2: "it MUST include all addresses that are valid on the interface".
/// RFC 6762 section 10.2: a unique record set is sent completely or not at all.
#[test]
fn one_known_address_of_two_suppresses_neither() {
    let mut bench = Bench::new(1);
    bench.set_link(0, &["192.0.2.1/24", "192.0.2.2/24"]);
    bench.settle();
    let lines = bench.answers(&["? box.local A", "= box.local 120 A 192.0.2.1"]);
    let answers: Vec<_> = lines.iter().filter(|line| line.starts_with('=')).collect();
    assert_eq!(answers.len(), 2, "{lines:?}");
    let both = [
        "? box.local A",
        "= box.local 120 A 192.0.2.1",
        "= box.local 120 A 192.0.2.2",
    ];
    assert!(bench.answers(&both).is_empty());
}

/// RFC 6762 section 7.2: the answer to a truncated query is delayed by 400 to 500 ms.
#[test]
fn truncated_query_waits_for_more_known_answers() {
    for seed in 1..30 {
        let mut bench = Bench::serving(seed);
        let multicasts = bench.ask_bytes(&truncated(&[ASKED]));
        assert_eq!(multicasts.len(), 1);
        assert!((400..500).contains(&multicasts[0].0), "{}", multicasts[0].0);
    }
}

/// RFC 6762 section 7.2: "If the responder sees any of its answers listed in the Known-Answer lists of subsequent packets from
/// the querying host, it MUST delete that answer".
#[test]
fn known_answers_in_later_messages_suppress_the_answer() {
    let mut bench = Bench::serving(1);
    bench.hear(PEER, &truncated(&[ASKED]));
    bench.run(300);
    bench.hear_query(&[POINTER]);
    bench.run(3000);
    assert!(!has_answer(&bench));
    // Known answers of another querier do not suppress the answer.
    bench.hear(PEER, &truncated(&[ASKED]));
    bench.run(300);
    bench.hear("192.0.2.10:5353", &query(&[POINTER]));
    bench.run(3000);
    assert!(has_answer(&bench));
}

/// RFC 6762 section 7.2: "(provided that no other host on the network has also issued a query for that record and is waiting to
/// receive an answer)".
#[test]
fn record_wanted_by_two_queriers_is_still_sent() {
    let mut bench = Bench::serving(1);
    bench.hear(PEER, &truncated(&[ASKED]));
    bench.hear("192.0.2.10:5353", &truncated(&[ASKED]));
    bench.run(300);
    bench.hear_query(&[POINTER]);
    bench.run(3000);
    assert!(has_answer(&bench));
}

/// CVE-2026-48045: further messages with known answers do not delay the answer without limit.
/// RFC 6762 section 7.2: each further message with the TC bit extends the delay, up to 2 s in all.
#[test]
fn endless_known_answers_delay_the_answer_two_seconds() {
    let mut bench = Bench::serving(1);
    let start = bench.now;
    bench.hear(PEER, &truncated(&[ASKED]));
    let other = "= _nfs._tcp.local 4500 PTR cat._nfs._tcp.local";
    while bench.now < start + 10_000 && !has_answer(&bench) {
        bench.run(100);
        bench.hear(PEER, &truncated(&[other]));
    }
    let delay = bench.sent[0].at - start;
    assert!((1500..=2500).contains(&delay), "{delay}");
    // One further message with the TC bit extends the delay once.
    bench.run(2000);
    let start = bench.now;
    bench.sent.clear();
    bench.hear(PEER, &truncated(&[ASKED]));
    bench.run(350);
    bench.hear(PEER, &truncated(&[other]));
    bench.run(350);
    assert!(!has_answer(&bench));
    bench.run(1000);
    let delay = bench.sent[0].at - start;
    assert!((750..850).contains(&delay), "{delay}");
}

/// RFC 6762 section 7.4: an answer of a peer that equals ours suppresses our answer (duplicate answer suppression).
#[test]
fn identical_answer_of_a_peer_suppresses_ours() {
    let mut bench = Bench::serving(1);
    bench.hear_query(&[ASKED]);
    bench.hear_response(&[POINTER]);
    bench.run(3000);
    assert!(!has_answer(&bench));
    // An answer whose TTL is below half of ours does not suppress our answer.
    bench.hear_query(&[ASKED]);
    bench.hear_response(&["= _nfs._tcp.local 100 PTR a~box._nfs._tcp.local"]);
    bench.run(3000);
    assert!(has_answer(&bench));
}

/// RFC 6762 section 6.6: "If the TTL of B's resource record given in the message is less than half the true TTL from A's point of
/// view, then A MUST mark its record to be announced via multicast".
#[test]
fn own_record_with_low_ttl_is_multicast_again() {
    let mut bench = Bench::serving(1);
    for line in [
        "= box.local 59 A 192.0.2.1",
        "= box.local 0 flush A 192.0.2.1",
    ] {
        bench.run(5000);
        bench.sent.clear();
        bench.hear_response(&[line]);
        bench.run(1000);
        let first = &bench.sent[0];
        assert_eq!(first.lines()[0], "= box.local 120 flush A 192.0.2.1");
    }
    bench.run(5000);
    bench.sent.clear();
    bench.hear_response(&["= box.local 60 A 192.0.2.1"]);
    bench.run(5000);
    assert!(bench.sent.is_empty());
}
