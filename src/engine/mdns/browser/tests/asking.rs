//! Queries: when they are sent, and their contents.

use super::super::{Goal, Limits};
use super::bench::{A, Bench, HTTP, PEER, Say, answer, is_query, query};
use crate::engine::mdns::{Destination, MESSAGE_BYTES};
use crate::wire::dns::{CLASS_IN, TOP_BIT, flag, kind};

/// RFC 6762 section 5.2: "the interval between the first two queries MUST be at least one second, the intervals between
/// successive queries MUST increase by at least a factor of two"
#[test]
fn query_interval_doubles_up_to_one_hour() {
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up(Goal::Services, HTTP).wait(24 * 3_600_000);
    let at = bench.query_times(start, HTTP, kind::PTR);
    assert!((20..=120).contains(&at[0]), "{at:?}");
    let gaps: Vec<_> = at
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / 1000)
        .collect();
    assert_eq!(
        gaps[..14],
        [
            1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600
        ]
    );
    assert!(at.len() < 36);
    // The browser woke up only for these queries and for `AllForNow`.
    assert_eq!((bench.idle_count, bench.events.len()), (0, 1));
}

/// RFC 6762 sections 3 and 4: queries for any name are multicast; an `Outgoing` has no destination address.
#[test]
fn queries_for_any_name_are_multicast() {
    let mut bench = Bench::new();
    let names = [
        "h.local",
        "9.0.254.169.in-addr.arpa",
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.e.f.ip6.arpa",
    ];
    bench.look_up(Goal::Host, names[0]);
    bench
        .look_up(Goal::Address, names[1])
        .look_up(Goal::Address, names[2]);
    bench.wait(10_000);
    let asked = |name: &&str| {
        bench
            .sent
            .iter()
            .any(|sent| sent.asks.iter().any(|ask| ask.0 == **name))
    };
    assert!(names.iter().all(asked));
}

/// RFC 6762 section 5.2: "SHOULD also delay the first query of the series by a randomly chosen amount in the range 20-120 ms"
#[test]
fn first_query_is_delayed_randomly() {
    let mut bench = Bench::new();
    let mut delays = std::collections::HashSet::new();
    for count in 0..40 {
        let name = format!("_x{count}._tcp.local");
        let start = bench.ms;
        bench.look_up(Goal::Services, &name).wait(500);
        let at = bench.query_times(start, &name, kind::PTR);
        assert!(at.len() == 1 && (20..=120).contains(&at[0]), "{at:?}");
        delays.insert(at[0]);
        bench.forget(&name);
    }
    assert!(delays.len() > 15, "{delays:?}");
}

/// RFC 6762 section 5.4: "the first query in the series ... SHOULD be sent as a QU question"
#[test]
fn first_query_requests_unicast_response() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, HTTP).wait(10_000);
    let unicast: Vec<_> = bench.sent.iter().map(|sent| sent.asks[0].2).collect();
    assert_eq!(unicast, [true, false, false, false]);
    // If another process shares port 5353, it might receive the unicast response.
    let mut bench = Bench::new();
    bench.links[0].shares_port = true;
    bench.notify_link_change(0);
    bench.look_up(Goal::Services, HTTP).wait(10_000);
    assert!(bench.sent.iter().all(|sent| !sent.asks[0].2));
    assert_eq!(bench.sent.len(), 4);
}

/// RFC 6762 section 18.2: "In query messages the QR bit MUST be zero."
/// RFC 6762 section 18.3: "the OPCODE MUST be zero on transmission"
/// RFC 6762 section 18.4: "In query messages, the Authoritative Answer bit MUST be zero on transmission"
/// RFC 6762 section 18.6: "the Recursion Desired bit SHOULD be zero on transmission"
/// RFC 6762 section 18.7: "the Recursion Available bit MUST be zero on transmission"
/// RFC 6762 section 18.8: "the Zero bit MUST be zero on transmission"
/// RFC 6762 section 18.9: "the Authentic Data bit MUST be zero on transmission"
/// RFC 6762 section 18.10: "the Checking Disabled bit MUST be zero on transmission"
/// RFC 6762 section 18.11: "the Response Code MUST be zero on transmission"
#[test]
fn query_header_flags_are_zero() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, HTTP).wait(200);
    for count in 0..200 {
        let name = format!("a service whose name is long {count}.{HTTP}");
        bench.receive(answer().ptr(HTTP, 4500, &name));
    }
    bench.wait(60_000);
    assert!(
        bench
            .sent
            .iter()
            .any(|sent| sent.flags & flag::TRUNCATED != 0)
    );
    assert!(bench.sent.iter().all(|sent| is_query(sent.flags)));
}

/// RFC 6762 section 5.2: "the querier MUST implement Known-Answer Suppression"
#[test]
fn query_lists_known_answers() {
    let mut bench = Bench::browsing(HTTP);
    bench.receive(answer().service(A, "h.local", 120));
    bench.wait(1000);
    let sent = bench.sent.last().unwrap().clone();
    assert_eq!(sent.asks, [(HTTP.into(), kind::PTR, false)]);
    let [(name, kind, class, ttl)] = &sent.knows[..] else {
        panic!("{sent:?}");
    };
    assert_eq!((name.as_str(), *kind), (HTTP, kind::PTR));
    // RFC 6762 section 10.2: "MUST NOT be set in any resource records in the Known-Answer list"
    assert_eq!(*class, CLASS_IN);
    assert!((118..=120).contains(ttl), "{ttl}");
}

/// RFC 6762 section 10.2: "The cache-flush bit MUST NOT be set in any resource records in the Known-Answer list of any query
/// message."
#[test]
fn known_answers_have_no_cache_flush_bit() {
    let mut bench = Bench::new();
    let reverse = "9.2.0.192.in-addr.arpa";
    bench.look_up(Goal::Address, reverse);
    bench.receive(answer().record(
        1,
        &super::bench::wire(reverse),
        kind::PTR,
        super::bench::FLUSH,
        120,
        &super::bench::wire("h.local"),
    ));
    bench.wait(300);
    assert_eq!(bench.sent[0].knows[0].2, CLASS_IN);
}

/// RFC 6762 section 7.1: "A Multicast DNS querier SHOULD NOT include resource records in the Known-Answer list whose remaining
/// TTL is less than half of their original TTL."
#[test]
fn known_answer_needs_half_its_ttl() {
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up(Goal::Services, HTTP).wait(300);
    bench.receive(answer().ptr(HTTP, 20, A));
    bench.wait(15_700);
    for sent in bench
        .sent
        .iter()
        .filter(|sent| sent.asks_for(HTTP, kind::PTR))
    {
        let knows = sent.knows.iter().any(|known| known.1 == kind::PTR);
        assert_eq!(
            knows,
            sent.ms > start + 300 && sent.ms < start + 10_300,
            "{sent:?}"
        );
    }
}

/// RFC 6762 section 7.2: "It MUST then set the TC (Truncated) bit in the header before sending the query."
/// RFC 6762 section 7.2: "It MUST immediately follow the packet with another query packet containing no questions and as many more Known-Answer records as will fit."
#[test]
fn further_known_answers_follow_immediately() {
    let mut bench = Bench::browsing(HTTP);
    let names: Vec<_> = (0..90)
        .map(|count| format!("some service with a name of its own {count}.{HTTP}"))
        .collect();
    for some in names.chunks(10) {
        let say = some
            .iter()
            .fold(answer(), |say, name| say.ptr(HTTP, 4500, name));
        bench.receive(say);
    }
    bench.sent.clear();
    bench.wait(1200);
    let at = bench
        .sent
        .iter()
        .position(|sent| sent.asks_for(HTTP, kind::PTR))
        .unwrap();
    let ms = bench.sent[at].ms;
    let burst: Vec<_> = bench.sent[at..]
        .iter()
        .filter(|sent| sent.ms == ms)
        .collect();
    assert!(burst.len() > 3, "{}", burst.len());
    let mut known = 0;
    for (number, sent) in burst.iter().enumerate() {
        assert!(sent.len <= MESSAGE_BYTES);
        assert_eq!(sent.flags & flag::TRUNCATED != 0, number + 1 < burst.len());
        assert_eq!(sent.asks.is_empty(), number > 0);
        known += sent.knows.len();
    }
    assert_eq!(known, names.len());
}

/// RFC 6762 section 7.1: "A Multicast DNS querier MUST NOT cache resource records observed in the Known-Answer Section of other
/// Multicast DNS queries."
#[test]
fn known_answers_of_others_are_not_cached() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, HTTP);
    bench.receive(query().asks(HTTP, kind::PTR, CLASS_IN).ptr(HTTP, 4500, A));
    bench.wait(5000);
    assert_eq!(bench.browser.weight().0, 0);
    assert!(!bench.has_service("a._http"));
}

/// RFC 6762 section 7.3: "it sees another host on the network send a QM query containing the same question ... it should treat
/// its own query as having been sent."
#[test]
fn question_of_other_host_suppresses_ours() {
    use Destination::{Multicast, Unicast};
    let ask = || query().asks(HTTP, kind::PTR, CLASS_IN);
    let rounds: [(Say, &str, Destination, bool); 8] = [
        (ask(), PEER, Multicast, true),
        // The query lists a known answer that our cache does not have.
        (
            ask().ptr(HTTP, 4500, "b._http._tcp.local"),
            PEER,
            Multicast,
            false,
        ),
        // The query lists a known answer that our cache has.
        (ask().ptr(HTTP, 4500, A), PEER, Multicast, true),
        // A truncated query: more known answers follow.
        (ask().flags(flag::TRUNCATED), PEER, Multicast, false),
        // The query asks for a unicast response, which we would not receive.
        (
            query().asks(HTTP, kind::PTR, CLASS_IN | TOP_BIT),
            PEER,
            Multicast,
            false,
        ),
        (ask(), "192.0.2.9:50000", Multicast, false),
        (ask(), PEER, Unicast, false),
        // Our own query, looped back.
        (ask(), "192.0.2.1:5353", Multicast, false),
    ];
    for (number, (say, from, cast, counts)) in rounds.into_iter().enumerate() {
        let mut bench = Bench::browsing(HTTP);
        bench.receive(answer().service(A, "h.local", 4500));
        let start = bench.ms;
        bench.wait(500).receive_from(from, cast, &say.0).wait(3000);
        let at = bench.query_times(start, HTTP, kind::PTR);
        // If the other host's query counts as ours, our next query follows it by two seconds. Otherwise our next query follows our
        // first one by one second.
        let first = at.first().copied().unwrap_or(u64::MAX);
        assert_eq!((2400..=2600).contains(&first), counts, "{number}: {at:?}");
        assert_eq!(first < 1000, !counts, "{number}: {at:?}");
    }
}

#[test]
fn due_questions_share_one_message() {
    let mut bench = Bench::new();
    for count in 0..12 {
        bench.look_up(Goal::Services, &format!("_x{count}._tcp.local"));
    }
    bench.wait(300);
    assert_eq!(bench.sent.len(), 1);
    assert_eq!(bench.sent[0].asks.len(), 12);
}

/// RFC 6762 section 17: "A Multicast DNS packet larger than the interface MTU, which is sent using fragments, MUST NOT contain
/// more than one resource record."
/// RFC 6762 section 17: "a Multicast DNS packet, including IP and UDP headers, MUST NOT exceed 9000 bytes"
#[test]
fn queries_stay_below_mtu() {
    let mut bench = Bench::new();
    bench.links[0].mtu = 600;
    bench.notify_link_change(0);
    bench.look_up(Goal::Services, HTTP).wait(300);
    for count in 0..40 {
        bench.receive(answer().ptr(HTTP, 4500, &format!("instance number {count}.{HTTP}")));
    }
    bench.sent.clear();
    bench.wait(400);
    let asked: usize = bench.sent.iter().map(|sent| sent.asks.len()).sum();
    assert_eq!(asked, 80);
    assert!(bench.sent.len() > 2 && bench.sent.iter().all(|sent| sent.len <= 552));
}

#[test]
fn only_links_that_are_up_are_queried() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, HTTP).wait(10_000);
    let start = bench.ms;
    bench.up(3);
    bench.wait(10_000);
    let on = |bench: &Bench, link| -> Vec<u64> {
        let sent = bench
            .sent
            .iter()
            .filter(|sent| sent.link == link && sent.ms >= start);
        sent.map(|sent| sent.ms - start).collect()
    };
    assert_eq!(on(&bench, 3).len(), 4);
    bench.down(3);
    bench.wait(100_000);
    assert_eq!(on(&bench, 3).len(), 4);
    // A changed link restarts its questions.
    bench.sent.clear();
    bench.notify_link_change(0);
    bench.wait(2000);
    assert_eq!(bench.sent.len(), 2);
}

#[test]
fn stopped_lookup_stops_queries() {
    let mut bench = Bench::browsing(HTTP);
    bench.receive(answer().service(A, "h.local", 120));
    bench.wait(1000);
    bench.forget(HTTP);
    bench.sent.clear();
    bench.wait(1_000_000);
    assert_eq!(bench.sent, []);
    assert_eq!(bench.idle_count, 0);
}

#[test]
fn full_question_table_drops_questions() {
    let mut bench = Bench::with_limits(&Limits {
        questions: 8,
        ..Limits::DEFAULT
    });
    bench.look_up(Goal::Services, HTTP).wait(300);
    for count in 0..100 {
        bench.receive(answer().ptr(HTTP, 4500, &format!("i{count}.{HTTP}")));
    }
    bench.wait(60_000);
    let all: std::collections::HashSet<_> = bench
        .sent
        .iter()
        .flat_map(|sent| sent.asks.iter().map(|ask| (&ask.0, ask.1)))
        .collect();
    assert_eq!(all.len(), 8);
}
