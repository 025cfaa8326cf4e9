//! The cache: which records it keeps, and for how long.

use super::super::Goal;
use super::bench::{A, Bench, FLUSH, HOST, HTTP, PEER, PEER_V6, answer, query, wire};
use crate::engine::mdns::Destination;
use crate::wire::dns::{CLASS_IN, kind};

/// Returns a browser that has just received a service. All its records have this TTL (seconds).
fn settled(ttl: u32) -> Bench {
    let mut bench = Bench::browsing(HTTP);
    bench.receive(answer().service(A, HOST, ttl));
    bench
}

/// RFC 6762 section 5.2: "The querier should plan to issue a query at 80% of the record lifetime, and then if no answer is
/// received, at 85%, 90%, and 95%"
#[test]
fn wanted_record_is_refreshed_before_expiry() {
    let mut bench = settled(1000);
    let start = bench.ms;
    bench.wait(1_001_000);
    for (name, kind) in [(A, kind::SRV), (A, kind::TXT), (HOST, kind::A)] {
        let at = bench.query_times(start, name, kind);
        for (at, percent) in at.iter().zip([80, 85, 90, 95]) {
            let from = percent * 10_000;
            assert!((from..=from + 20_000).contains(at), "{name}: {at}");
        }
        assert!(at.len() >= 4, "{at:?}");
    }
    // Records that one host sent at the same time are refreshed in one message.
    let of = |kind| bench.query_times(start, if kind == kind::A { HOST } else { A }, kind)[0];
    assert_eq!((of(kind::SRV), of(kind::TXT)), (of(kind::A), of(kind::A)));
    assert!(!bench.has_service(A));
}

/// RFC 6762 section 5.2: "A Multicast DNS querier MUST NOT perform this cache maintenance for records for which it has no local
/// clients with an active interest."
#[test]
fn unwanted_record_is_never_queried() {
    let mut bench = Bench::new();
    bench.receive(answer().service(A, HOST, 120));
    bench.wait(200_000);
    assert_eq!((bench.sent.len(), bench.events.len()), (0, 0));
    // The browser wakes up for at most one pass over the new records.
    assert!(bench.idle_count <= 1);
}

#[test]
fn refresh_response_keeps_service() {
    let mut bench = settled(100);
    for _ in 0..10 {
        bench.wait(81_900);
        let asked = bench.sent.last().unwrap();
        assert!(asked.asks_for(A, kind::SRV) && asked.asks_for(HOST, kind::A));
        bench.receive(answer().service(A, HOST, 100));
    }
    assert!(bench.has_service(A));
    assert_eq!(
        bench
            .events
            .iter()
            .filter(|line| !line.1.starts_with("AllForNow"))
            .count(),
        2
    );
}

/// RFC 6762 section 10.1: "Queriers receiving a Multicast DNS response with a TTL of zero SHOULD NOT immediately delete the
/// record from the cache, but instead record a TTL of 1 and then delete the record one second later."
#[test]
fn goodbye_removes_service_after_one_second() {
    let mut bench = settled(4500);
    bench.wait(5000);
    bench.lines();
    let start = bench.ms;
    bench.receive(answer().ptr(HTTP, 0, A));
    bench.wait(999);
    assert_eq!(bench.lines(), [""; 0]);
    bench.wait(2);
    assert_eq!(bench.events, [(start + 1000, format!("Removed 0 {A}"))]);
    // Another host has the record, too, and sends it within a second: the service stays.
    let mut bench = settled(4500);
    bench.wait(5000);
    bench.lines();
    bench.hear(answer().ptr(HTTP, 0, A), 500);
    bench.hear(answer().ptr(HTTP, 4500, A), 10_000);
    assert_eq!(bench.lines(), [""; 0]);
}

#[test]
fn goodbye_of_unknown_record_is_ignored() {
    let mut bench = Bench::new();
    bench.receive(answer().ptr(HTTP, 0, A).srv(A, 0, 80, HOST));
    assert_eq!(bench.browser.weight(), (0, 0));
}

/// RFC 6762 section 10.2: "all cached resource records with the same name, rrtype, and rrclass that were received more than one
/// second ago are declared invalid, and marked to expire from the cache in one second."
#[test]
fn cache_flush_spares_records_under_one_second_old() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Host, HOST);
    let say = |last: u8| answer().a(HOST, 120, [192, 0, 2, last]);
    bench.hear(say(1), 500);
    // The second record arrives less than one second after the first: both stay valid.
    bench.hear(say(2), 5000);
    assert_eq!(bench.browser.weight().0, 2);
    bench.hear(say(3), 900);
    assert_eq!(bench.browser.weight().0, 3);
    bench.wait(200);
    assert_eq!(bench.browser.weight().0, 1);
    // Records of one message never flush each other.
    bench.hear(say(4).a(HOST, 120, [192, 0, 2, 5]), 5000);
    assert_eq!(bench.browser.weight().0, 2);
    bench.hear(say(4).a(HOST, 120, [192, 0, 2, 5]), 5000);
    assert_eq!(bench.browser.weight().0, 2);
}

#[test]
fn cache_flush_spares_other_links() {
    let mut bench = Bench::new();
    bench.up(1);
    bench.look_up(Goal::Host, HOST);
    let say = |last: u8| answer().a(HOST, 120, [192, 0, 2, last]);
    bench.receive(say(1));
    bench.receive_via(1, PEER, &say(2)).wait(3000);
    assert_eq!(bench.browser.weight().0, 2);
    bench.receive_via(1, PEER, &say(3)).wait(3000);
    assert_eq!(bench.browser.weight().0, 2);
    assert_eq!(
        bench.lines(),
        [
            "Found 0 h.local h.local 192.0.2.1",
            "Found 1 h.local h.local 192.0.2.2",
            "Found 1 h.local h.local 192.0.2.3"
        ]
    );
}

/// RFC 6762 section 10.2: "The cache-flush bit MUST NOT ever be set in any shared resource record."
/// If a host sets the bit in its PTR record, the PTR records of other hosts stay.
#[test]
fn cache_flush_bit_spares_shared_records() {
    let mut bench = settled(4500);
    bench.wait(5000);
    let b = wire("b._http._tcp.local");
    bench.hear(
        answer().record(1, &wire(HTTP), kind::PTR, FLUSH, 4500, &b),
        5000,
    );
    assert!(bench.has_service(A) && bench.has_service("b._http"));
}

/// RFC 6762 section 10.5: "If a host sees queries, for which a record in its cache would be expected to be given as an answer in a
/// multicast response, but no such answer is seen, then the host may take this as an indication that the record may no longer be
/// valid. After seeing two or more of these queries, and seeing no multicast response containing the expected answer within ten
/// seconds, then ... that record SHOULD be flushed from the cache." RFC 6762 section 10.4: "When the cache receives this hint that it
/// should reconfirm some record, it MUST issue two or more queries for the resource record in dispute."
#[test]
fn record_that_stays_away_is_queried_and_expires() {
    let unicast = CLASS_IN | 1 << 15;
    let ask = |class| {
        let query = query().asks(HTTP, kind::PTR, class);
        query.asks(A, kind::SRV, class)
    };
    let known = || ask(CLASS_IN).ptr(HTTP, 4500, A).srv(A, 4500, 80, HOST);
    // The questions, the time between them, the time of the answer, and whether the records expire.
    let rounds = [
        ([ask(CLASS_IN), ask(CLASS_IN)], 1000, None, true),
        ([ask(CLASS_IN), ask(CLASS_IN)], 1000, Some(400), false),
        ([ask(CLASS_IN), ask(CLASS_IN)], 1000, Some(1400), false),
        ([ask(CLASS_IN), ask(CLASS_IN)], 1000, Some(5000), false),
        // One question that reaches us twice, and two that have nothing to do with each other.
        ([ask(CLASS_IN), ask(CLASS_IN)], 200, None, false),
        ([ask(CLASS_IN), ask(CLASS_IN)], 11_000, None, false),
        // No multicast response is expected.
        ([ask(unicast), ask(unicast)], 1000, None, false),
        ([known(), known()], 1000, None, false),
    ];
    for (number, (questions, apart, reply, expires)) in rounds.into_iter().enumerate() {
        let mut bench = settled(4500);
        bench.wait(20_000);
        let start = bench.ms;
        let mut at = 0;
        for (question, time) in questions.into_iter().zip([0, apart]) {
            if let Some(reply) = reply.filter(|reply| (at..time).contains(reply)) {
                bench
                    .wait(reply - at)
                    .receive(answer().service(A, HOST, 4500));
                at = reply;
            }
            bench.wait(time - at).receive(question);
            at = time;
        }
        if let Some(reply) = reply.filter(|reply| *reply > at) {
            bench
                .wait(reply - at)
                .receive(answer().service(A, HOST, 4500));
            at = reply;
        }
        let end = apart + 10_100;
        bench.wait(apart + 9900 - at);
        assert!(bench.has_service(A));
        let asked = bench.query_times(start, A, kind::SRV);
        let is_queried = expires || reply.is_some_and(|reply| reply > apart + 1000);
        assert_eq!(!asked.is_empty(), is_queried, "{number}: {asked:?}");
        if is_queried {
            assert_eq!(asked.len(), 2, "{number}: {asked:?}");
            assert!(bench.query_times(start, HTTP, kind::PTR).len() >= 2);
            // Records being reconfirmed are not sent as known answers.
            let asked = bench.sent.iter().filter(|sent| sent.ms >= start);
            assert!(asked.clone().all(|sent| sent.knows.is_empty()));
        }
        bench.wait(end - apart - 9900);
        assert_eq!(bench.has_service(A), !expires, "{number}");
    }
}

/// RFC 6762 section 6: "Multicast DNS implementations MUST silently ignore any Multicast DNS responses they receive where the
/// source UDP port is not 5353."
#[test]
fn response_from_wrong_port_is_ignored() {
    let mut bench = Bench::browsing(HTTP);
    for port in [0, 53, 5352, 5354, 65535] {
        let from = format!("192.0.2.9:{port}");
        bench.receive_via(0, &from, &answer().service(A, HOST, 120));
    }
    assert_eq!(bench.browser.weight().0, 0);
    assert!(bench.wait(100).lines().is_empty());
}

/// RFC 6762 section 6: "A Multicast DNS querier MUST only accept unicast responses if they answer a recently sent query (e.g.,
/// sent within the last two seconds) that explicitly requested unicast responses."
/// RFC 6762 section 6: "A Multicast DNS querier MUST silently ignore all other unicast responses."
#[test]
fn unicast_response_needs_recent_qu_question() {
    let say = answer().service(A, HOST, 120).0;
    let other = answer().service("a._ipp._tcp.local", HOST, 120).0;
    // A unicast response is ignored before the query for its records, and accepted after it.
    let mut bench = Bench::new();
    bench.receive_from(PEER, Destination::Unicast, &say);
    assert_eq!(bench.browser.weight().0, 0);
    bench.look_up(Goal::Services, HTTP).wait(300);
    bench.receive_from(PEER, Destination::Unicast, &other);
    assert_eq!(bench.browser.weight().0, 0);
    bench.receive_from(PEER, Destination::Unicast, &say);
    assert_eq!(bench.browser.weight().0, 5);
    // A unicast response more than 2 s after the query is ignored.
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, HTTP).wait(2200);
    bench.receive_from(PEER, Destination::Unicast, &say);
    assert_eq!(bench.browser.weight().0, 0);
    // A unicast response to a query without the unicast-response bit is ignored.
    let mut bench = Bench::new();
    bench.links[0].shares_port = true;
    bench.notify_link_change(0);
    bench.look_up(Goal::Services, HTTP).wait(300);
    bench.receive_from(PEER, Destination::Unicast, &say);
    assert_eq!(bench.browser.weight().0, 0);
}

/// RFC 6762 section 11: "MUST only accept responses to that query that originate from the local link, and silently discard any
/// other response packets."
#[test]
fn response_from_other_network_is_ignored() {
    let say = answer().service(A, HOST, 120).0;
    let mut bench = Bench::browsing(HTTP);
    for from in [
        "198.51.100.1:5353",
        "[2001:db8::1]:5353",
        "[::ffff:198.51.100.1]:5353",
    ] {
        bench.receive_from(from, Destination::Unicast, &say);
        bench.receive_from(from, Destination::Unknown, &say);
    }
    assert_eq!(bench.browser.weight().0, 0);
    // A datagram to the multicast group cannot come from another network. If the destination is unknown, the source address must be
    // on the link.
    for (from, cast) in [
        (PEER, Destination::Unknown),
        (PEER_V6, Destination::Unicast),
        ("[::ffff:192.0.2.7]:5353", Destination::Unknown),
        ("198.51.100.1:5353", Destination::Multicast),
    ] {
        let mut bench = Bench::browsing(HTTP);
        bench.receive_from(from, cast, &say);
        assert_eq!(bench.browser.weight().0, 5, "{from}");
    }
}

/// RFC 6762 section 6: "Any questions in the Question Section of a received Multicast DNS response MUST be silently ignored."
/// RFC 6762 section 18.1: "the Query Identifier MUST be set to zero on transmission, and MUST be ignored on reception"
/// RFC 6762 section 18.4: "the Authoritative Answer bit MUST be set to one and MUST be ignored on reception"
/// RFC 6762 section 18.5: "the TC bit MUST be zero on transmission, and MUST be ignored on reception"
/// RFC 6762 section 18.6: "the Recursion Desired bit MUST be ignored on reception"
/// RFC 6762 section 18.7: "the Recursion Available bit MUST be ignored on reception"
/// RFC 6762 section 18.8: "the Zero bit MUST be ignored on reception"
/// RFC 6762 section 18.9: "the Authentic Data bit MUST be ignored on reception"
/// RFC 6762 section 18.10: "the Checking Disabled bit MUST be ignored on reception"
#[test]
fn header_fields_of_responses_are_ignored() {
    for flags in [
        0x8000, 0x8400, 0x8600, 0x8500, 0x8480, 0x8440, 0x8420, 0x8410, 0x87f0,
    ] {
        let mut bench = Bench::new();
        let mut say = answer().flags(flags).asks(HTTP, kind::PTR, CLASS_IN);
        say = say.ptr(HTTP, 120, A);
        say.0[0..2].copy_from_slice(&[0x12, 0x34]);
        bench.receive(say);
        assert_eq!(bench.browser.weight().0, 1, "{flags:x}");
    }
}

/// RFC 6762 section 18.3: "Multicast DNS messages received with an OPCODE other than zero MUST be silently ignored."
/// RFC 6762 section 18.11: "Multicast DNS messages received with non-zero Response Codes MUST be silently ignored."
#[test]
fn nonzero_opcode_or_rcode_is_ignored() {
    for flags in (1..16).chain((1..16).map(|code| code << 11)) {
        let mut bench = Bench::new();
        bench.receive(answer().flags(0x8400 | flags).ptr(HTTP, 120, A));
        assert_eq!(bench.browser.weight().0, 0, "{flags:x}");
    }
}

/// RFC 6762 section 6: "should client software use classes other than 1, the matching rules described above MUST be used"
#[test]
fn records_of_other_classes_are_ignored() {
    let mut bench = Bench::new();
    for class in [0, 3, 4, 254, 255, 0x8003] {
        bench.receive(answer().record(1, &wire(HTTP), kind::PTR, class, 120, &wire(A)));
    }
    assert_eq!(bench.browser.weight().0, 0);
}

/// python-zeroconf #1747: `.LOCAL.` is the same domain as `.local`.
/// RFC 6762 section 16: ASCII letters are compared without case, all other characters exactly.
/// RFC 6762 section 16: "Any occurrence of the Unicode character U+FEFF ... MUST be interpreted as being an actual intended part
/// of the name"
#[test]
fn names_differing_in_ascii_case_are_equal() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, "_HTTP._TCP.LOCAL.").wait(300);
    bench.receive(answer().service("Näme._http._tcp.local", HOST, 120));
    bench.hear(
        answer().service("nämE._Http._tcp.Local", "H.LOCAL", 120),
        20,
    );
    assert_eq!(bench.browser.weight().0, 5);
    bench.hear(answer().service("NÄME._http._tcp.local", HOST, 120), 20);
    assert_eq!(bench.browser.weight().0, 8);
    bench.hear(
        answer().service("\u{feff}Näme._http._tcp.local", HOST, 120),
        20,
    );
    assert_eq!(bench.browser.weight().0, 11);
}

#[test]
fn ttl_is_exact_up_to_one_day() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().ptr(HTTP, 2, A), 1999);
    assert!(bench.has_service(A));
    bench.wait(2);
    assert!(!bench.has_service(A));
    bench.hear(answer().ptr(HTTP, u32::MAX, A), 86_399_000);
    assert!(bench.has_service(A));
    bench.wait(2000);
    assert!(!bench.has_service(A));
}

#[test]
fn link_down_removes_its_services() {
    let mut bench = settled(4500);
    bench.up(1);
    bench.wait(300);
    bench
        .receive_via(1, PEER, &answer().service(A, HOST, 120))
        .wait(2000);
    bench.lines();
    bench.down(0);
    bench.wait(20);
    bench.expect_event(&format!("Removed 0 {A}"));
    assert_eq!(bench.browser.weight().0, 5);
    // Responses received on a link that is down are ignored.
    bench.hear(answer().service(A, HOST, 120), 20);
    assert_eq!(bench.browser.weight().0, 5);
}
