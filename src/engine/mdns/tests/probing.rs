//! Probing, tie-breaking and announcing.

use super::bench::{Bench, HERE, PEER};
use super::script::query;

/// RFC 6762 section 2: "a responder MUST probe to verify that no other responder already claims ownership".
/// RFC 6762 section 8.1: "it MUST send a Multicast DNS query asking for those resource records".
#[test]
fn new_names_are_probed_three_times_then_announced() {
    for seed in 1..50 {
        let mut bench = Bench::new(seed);
        // The network stack may loop messages back; they suppress none.
        if seed % 2 == 0 {
            bench.echoes = vec![(0, 0, HERE)];
        }
        // The virtual time is one millisecond when the link comes up, not zero.
        bench.run(1);
        bench.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
        bench.run(5000);
        let probes = [
            "? box.local ANY QU",
            "? 1.2.0.192.in-addr.arpa ANY QU",
            "? 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa ANY QU",
            "! box.local 120 AAAA fe80::1",
            "! box.local 120 A 192.0.2.1",
            "! 1.2.0.192.in-addr.arpa 120 PTR box.local",
            "! 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa 120 PTR box.local",
        ];
        let first = bench.sent[0].at;
        assert!((1..=250).contains(&first), "{first}");
        for (number, sent) in bench.sent[..3].iter().enumerate() {
            assert_eq!(sent.at, first + 250 * number as u64);
            assert_eq!(sent.lines(), probes);
        }
        let announced = [
            "= box.local 120 flush A 192.0.2.1",
            "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local",
            "= box.local 120 flush AAAA fe80::1",
            "= 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa 120 flush PTR box.local",
        ];
        assert_eq!(bench.sent[3].at, first + 750);
        assert_eq!(bench.sent[3].lines(), announced);
        assert_eq!(bench.sent[4].at, first + 1750);
        assert_eq!(bench.sent[4].lines(), announced);
        assert_eq!(bench.sent.len(), 5);
        assert!(!bench.ask(&["? box.local A"]).is_empty());
    }
}

/// RFC 6762 section 8.3: "MUST send at least two unsolicited responses, one second apart".
/// RFC 6762 section 8.3: "containing, in the Answer Section, all of its newly registered resource records (both shared records,
/// and unique records that have completed the probing step)".
#[test]
fn new_service_is_announced_twice() {
    let mut bench = Bench::settled(1);
    bench.serve("a box", 2049, &["path=/srv"]);
    bench.run(5000);
    let announced = bench.announcements();
    assert_eq!(announced.len(), 2);
    assert_eq!(announced[1].at, announced[0].at + 1000);
    for sent in announced {
        assert_eq!(
            sent.lines()[..4],
            [
                "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
                "= a~box._nfs._tcp.local 4500 flush TXT path=/srv",
                "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local",
                "= _services._dns-sd._udp.local 4500 PTR _nfs._tcp.local",
            ]
        );
    }
}

/// RFC 6762 section 8.3: "a Multicast DNS responder MUST NOT send regular periodic announcements".
#[test]
fn unchanged_records_are_not_announced_again() {
    let mut bench = Bench::serving(1);
    assert_eq!(bench.responder.poll_at(), crate::time::Instant::NEVER);
    bench.run(24 * 3600 * 1000);
    assert!(bench.sent.is_empty());
}

/// RFC 6762 section 8.1: "Apparently conflicting Multicast DNS responses received *before* the first probe packet is sent MUST be
/// silently ignored".
#[test]
fn responses_before_the_first_probe_are_no_conflict() {
    let mut bench = Bench::up(1);
    bench.hear_response(&["= box.local 120 flush A 192.0.2.77"]);
    bench.run(5000);
    assert_eq!(bench.host(), "box");
    assert_eq!(bench.sent[0].lines()[0], "? box.local ANY QU");
}

/// RFC 6762 section 8.1: "if any conflicting Multicast DNS response is received, then the probing host MUST defer to the existing
/// host".
#[test]
fn conflicting_response_while_probing_renames_the_host() {
    for probe in 0..3 {
        let mut bench = Bench::up(1);
        while bench.sent.len() <= probe {
            bench.run(10);
        }
        bench.run(200);
        bench.hear_response(&["= box.local 120 flush A 192.0.2.77"]);
        bench.sent.clear();
        bench.run(5000);
        assert_eq!(bench.host(), "box-2");
        let lines = bench.all();
        let asked = lines.iter().filter(|line| *line == "? box-2.local ANY QU");
        assert_eq!(asked.count(), 3);
        assert!(
            !bench.all().iter().any(|line| line.contains(" box.local")),
            "{:?}",
            bench.all()
        );
        let id = bench.responder.pop_renamed().unwrap().name;
        assert_eq!(
            (id, bench.responder.pop_renamed()),
            (bench.responder.host(), None)
        );
    }
}

/// RFC 6762 section 8.1: "any answer containing a record with that name, of any type, MUST be considered a conflicting response".
#[test]
fn records_of_any_type_conflict_while_probing() {
    for line in [
        "= box.local 120 flush TXT hello",
        "= box.local 10 CNAME cat.local",
        "! box.local 120 A 192.0.2.77",
        "+ box.local 120 flush NSEC box.local A",
    ] {
        let mut bench = Bench::up(1);
        bench.run(300);
        bench.hear_response(&[line]);
        assert_eq!(bench.host(), "box-2", "{line}");
    }
}

/// A restarted host may receive its own earlier records, perhaps from a proxy. Equal records, goodbyes and records of other names
/// or classes are no conflict.
#[test]
fn records_equal_to_ours_are_no_conflict() {
    for line in [
        "= box.local 120 flush A 192.0.2.1",
        "= BOX.Local 120 flush AAAA fe80::1",
        "= box.local 0 flush A 192.0.2.77",
        "= cat.local 120 flush A 192.0.2.1",
        "= box.local 120 CHAOS A 192.0.2.77",
    ] {
        let mut bench = Bench::up(1);
        bench.run(300);
        bench.hear_response(&[line]);
        assert_eq!(bench.host(), "box", "{line}");
    }
}

/// RFC 6762 section 8.2: "the names MUST be uncompressed before comparison".
#[test]
fn tie_break_compares_uncompressed_names() {
    // Our SRV record has the target `box.local`. The peer's target is a compression pointer to a name in the question section.
    // Compared as bytes, that pointer would always be later than our target.
    for (target, loses) in [
        ("aa.local", false),
        ("cat.local", true),
        ("BOX.local", false),
    ] {
        let mut bench = Bench::up(1);
        bench.serve("a box", 2049, &[]);
        bench.run(300);
        let other = format!("? {target} ANY");
        let mut probe = query(&["? a~box._nfs._tcp.local ANY QU", &other]);
        let at = 0xc000 | (probe.len() - 4 - target.len() - 2) as u16;
        probe[9] = 2;
        // The peer's TXT record equals ours. Its SRV record may differ from ours in the target only.
        probe.extend_from_slice(b"\xc0\x0c\0\x10\0\x01\0\0\0\x78\0\x01\0");
        probe.extend_from_slice(b"\xc0\x0c\0\x21\0\x01\0\0\0\x78\0\x08\0\0\0\0\x08\x01");
        probe.extend_from_slice(&at.to_be_bytes());
        bench.sent.clear();
        let start = bench.now;
        bench.hear(PEER, &probe);
        bench.run(5000);
        let asks = |sent: &&super::bench::Sent| sent.lines()[0] == "? a~box._nfs._tcp.local ANY QU";
        let first = bench.sent.iter().find(asks).unwrap();
        assert_eq!(
            first.at == start + 1000,
            loses,
            "{target}: {}",
            first.at - start
        );
    }
}

/// RFC 6762 section 8.2: the host with the lexicographically later records wins; the loser waits one second and probes again for
/// the same name.
#[test]
fn earlier_records_lose_the_tie_for_one_second() {
    // Our records are A 192.0.2.1 and AAAA fe80::1. `loses` is true if the peer's records are later.
    for (theirs, loses) in [
        (&["! box.local 120 A 192.0.2.2"][..], true),
        (&["! box.local 120 A 192.0.2.0"], false),
        // The first of our two records alone is earlier than both.
        (&["! box.local 120 A 192.0.2.1"], false),
        // Our records and a further one are later than our records.
        (
            &[
                "! box.local 120 A 192.0.2.1",
                "! box.local 120 AAAA fe80::1",
                "! box.local 120 SRV 1 a.local",
            ],
            true,
        ),
        // The order of the records in the message does not matter.
        (
            &[
                "! box.local 120 AAAA fe80::2",
                "! box.local 120 A 192.0.2.1",
            ],
            true,
        ),
        (
            &[
                "! box.local 120 AAAA fe80::0",
                "! box.local 120 A 192.0.2.1",
            ],
            false,
        ),
        // TXT (type 16) is later than our first record, A (type 1).
        (&["! box.local 120 TXT a"], true),
        (&[], false),
    ] {
        let mut bench = Bench::up(1);
        bench.run(300);
        let mut lines = vec!["? box.local ANY QU"];
        lines.extend_from_slice(theirs);
        bench.sent.clear();
        let start = bench.now;
        assert_eq!(bench.hear_query(&lines), None);
        bench.run(5000);
        assert_eq!(bench.host(), "box", "{theirs:?}");
        let asks = |sent: &&super::bench::Sent| sent.lines()[0] == "? box.local ANY QU";
        let first = bench.sent.iter().find(asks).unwrap();
        if loses {
            assert_eq!(first.at, start + 1000, "{theirs:?}");
            assert_eq!(bench.sent.iter().filter(asks).count(), 3);
        } else {
            assert!(first.at < start + 250, "{theirs:?}");
        }
    }
}

/// RFC 6762 section 8.1: "If fifteen conflicts occur within any ten-second period, then the host MUST wait at least five seconds
/// before each successive additional probe attempt".
#[test]
fn fifteen_conflicts_delay_probes_by_five_seconds() {
    let mut bench = Bench::up(1);
    let mut conflicts = Vec::new();
    while bench.now < 60_000 && conflicts.len() < 20 {
        bench.run(1);
        let question = format!("? {}.local ANY QU", bench.host());
        if bench.all().contains(&question) {
            conflicts.push(bench.now);
            let taken = format!("= {}.local 120 flush TXT mine", bench.host());
            bench.hear_response(&[&taken]);
            bench.sent.clear();
        }
    }
    assert!(conflicts.len() >= 18, "{conflicts:?}");
    for pair in conflicts[15..].windows(2) {
        assert!(pair[1] - pair[0] >= 5000, "{conflicts:?}");
    }
    assert!(conflicts[13] - conflicts[0] < 10_000, "{conflicts:?}");
}

/// RFC 6762 section 8: "Whenever a Multicast DNS responder starts up, … it MUST perform the two startup steps".
/// RFC 6762 section 10.2: "it MUST first probe to re-verify uniqueness of its unique records", "MUST then send a series of
/// unsolicited announcements".
#[test]
fn names_are_probed_again_when_link_returns() {
    let mut bench = Bench::serving(1);
    bench.set_link(0, &[]);
    bench.run(5000);
    assert!(bench.sent.is_empty());
    bench.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    bench.run(5000);
    let lines = bench.all();
    let count = |line: &str| lines.iter().filter(|other| *other == line).count();
    assert_eq!(count("? box.local ANY QU"), 3);
    assert_eq!(count("? a~box._nfs._tcp.local ANY QU"), 3);
    assert_eq!(count("= box.local 120 flush A 192.0.2.1"), 2);
    assert_eq!(count("= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local"), 2);
}
