//! Addresses of hosts, and names of addresses.

use super::super::Goal;
use super::bench::{Bench, HOST, PEER, answer};
use crate::wire::dns::kind;

const REVERSE: &str = "9.2.0.192.in-addr.arpa";

#[test]
fn host_lookup_finds_addresses() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Host, HOST).wait(200);
    assert_eq!(
        bench.sent[0].asks,
        [
            (HOST.into(), kind::A, true),
            (HOST.into(), kind::AAAA, true)
        ]
    );
    bench.hear(
        answer().a(HOST, 120, [192, 0, 2, 9]).aaaa(HOST, 120, 9),
        10_000,
    );
    assert_eq!(
        bench.lines(),
        [
            "Found 0 h.local h.local 192.0.2.9",
            "Found 0 h.local h.local fe80::9"
        ]
    );
    assert_eq!(bench.sent.len(), 1);
}

/// RFC 6762 section 6.1: "Multicast DNS implementations MUST at least correctly generate and parse the restricted DNS NSEC
/// record format"
#[test]
fn nsec_denial_is_reported_at_once() {
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up_families(Goal::Host, HOST, 2).wait(200);
    bench.hear(answer().nsec(HOST, 120, &[kind::A]), 10_000);
    assert_eq!(bench.events, [(start + 210, "Absent 0 h.local".into())]);
    assert_eq!(bench.sent.len(), 1);
    // The host lacks an IPv6 address but has an IPv4 address: the address is reported, not the denial.
    let mut bench = Bench::new();
    bench.look_up(Goal::Host, HOST).wait(200);
    bench.hear(
        answer()
            .nsec(HOST, 120, &[kind::A])
            .a(HOST, 120, [1, 2, 3, 4]),
        10_000,
    );
    bench.expect_event("Found 0 h.local h.local 1.2.3.4");
}

/// RFC 6762 section 14: records of one link say nothing about another.
#[test]
fn denial_on_one_link_leaves_others() {
    let denial = answer().nsec(HOST, 120, &[kind::AAAA]);
    let address = answer().a(HOST, 120, [192, 0, 2, 9]);
    for (second, ms, expected) in [
        (Some(&address), 320, "Found 1 h.local h.local 192.0.2.9"),
        (Some(&denial), 320, "Absent 0 h.local"),
        (None, 5000, "Absent 0 h.local"),
    ] {
        let mut bench = Bench::new();
        bench.up(1);
        let start = bench.ms;
        bench.look_up_families(Goal::Host, HOST, 1).wait(200);
        bench.receive_via(0, PEER, &denial).wait(120);
        if let Some(second) = second {
            bench.receive_via(1, PEER, second);
        }
        bench.wait(10_000);
        assert_eq!(bench.events.len(), 1, "{:?}", bench.events);
        let (at, event) = &bench.events[0];
        assert_eq!(event, expected);
        assert!((start + ms..start + ms + 30).contains(at), "{at}");
    }
}

/// python-zeroconf #1731: NSEC records whose type bit map is longer than the record.
/// RFC 6762 section 6.1: "MUST NOT reject or ignore an NSEC record it receives just because it finds an unexpected value in the
/// 'Next Domain Name' field."
/// RFC 6762 section 6.1: "MUST NOT ignore an entire message just because that message contains one or more NSEC record(s)
/// that the Multicast DNS implementation cannot parse."
#[test]
fn malformed_nsec_is_ignored() {
    let name = super::bench::wire(HOST);
    let nsec = |data: &[u8]| answer().record(1, &name, kind::NSEC, 0x8001, 120, data);
    let mut bench = Bench::new();
    bench.look_up_families(Goal::Host, HOST, 2).wait(200);
    bench.hear(nsec(b"\x05other\x04next\0\0\x01\x40"), 20);
    bench.expect_event("Absent 0 h.local");
    for broken in [
        &b""[..],
        b"\xc0",
        b"\xc0\xff",
        b"\0",
        b"\0\0",
        b"\0\0\x21",
        b"\0\0\x09\x40",
        b"\0\0\0",
    ] {
        let mut bench = Bench::new();
        bench.look_up_families(Goal::Host, HOST, 2).wait(200);
        bench.hear(nsec(broken).aaaa(HOST, 120, 3), 20);
        assert_eq!(
            bench.lines(),
            ["Found 0 h.local h.local fe80::3"],
            "{broken:?}"
        );
    }
}

#[test]
fn silent_host_times_out() {
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up(Goal::Host, HOST).wait(100_000);
    assert_eq!(bench.events, [(start + 5000, "TimedOut 0 h.local".into())]);
    // A response after the timeout is still reported.
    bench.hear(answer().a(HOST, 120, [1, 2, 3, 4]), 100);
    assert_eq!(bench.events.len(), 2);
}

#[test]
fn reverse_lookup_finds_name() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Address, REVERSE).wait(200);
    assert_eq!(bench.sent[0].asks, [(REVERSE.into(), kind::PTR, true)]);
    bench.hear(answer().ptr(REVERSE, 120, HOST), 10_000);
    bench.expect_event(&format!("Found 0 {REVERSE} {HOST}"));
    let mut bench = Bench::new();
    bench.look_up(Goal::Address, REVERSE).wait(200);
    bench.hear(answer().nsec(REVERSE, 120, &[]), 10_000);
    bench.expect_event(&format!("Absent 0 {REVERSE}"));
}

#[test]
fn cname_is_followed() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Host, "alias.local").wait(200);
    let start = bench.ms;
    bench.hear(answer().cname("alias.local", 120, HOST), 200);
    assert_eq!(bench.query_times(start, HOST, kind::A).len(), 1);
    bench.hear(answer().a(HOST, 120, [1, 2, 3, 4]), 10_000);
    bench.expect_event("Found 0 h.local h.local 1.2.3.4");
}

#[test]
fn cached_address_is_reported_without_query() {
    let mut bench = Bench::new();
    bench.hear(
        answer()
            .a(HOST, 120, [1, 2, 3, 4])
            .nsec(HOST, 120, &[kind::A]),
        1000,
    );
    bench.look_up(Goal::Host, HOST).wait(10_000);
    bench.expect_event("Found 0 h.local h.local 1.2.3.4");
    assert_eq!(bench.sent.len(), 0);
}
