//! Answers to queries: their records, delay and destination.

use super::bench::{Bench, LEGACY, PEER};
use super::script::{self, query};
use crate::engine::mdns::Destination;

const V4: &str = "= box.local 120 flush A 192.0.2.1";
const V6: &str = "= box.local 120 flush AAAA fe80::1";
const POINTER: &str = "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local";

/// RFC 6762 section 6: unique records are sent without delay.
/// RFC 6762 section 6.2: "it MUST include all addresses that are valid on the interface".
#[test]
fn unique_records_are_answered_without_delay() {
    let mut bench = Bench::serving(1);
    let multicasts = bench.ask(&["? box.local A"]);
    assert_eq!(multicasts.len(), 1);
    let (after, lines) = &multicasts[0];
    assert_eq!(*after, 0);
    assert_eq!(lines[..], [V4, "+ box.local 120 flush AAAA fe80::1"]);
    let multicasts = bench.ask(&["? a~box._nfs._tcp.local SRV"]);
    assert_eq!(multicasts[0].0, 0);
    assert_eq!(
        multicasts[0].1,
        [
            "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
            "+ box.local 120 flush AAAA fe80::1",
            "+ box.local 120 flush A 192.0.2.1",
        ]
    );
    assert_eq!(
        bench.answers(&["? a~box._nfs._tcp.local TXT"]),
        ["= a~box._nfs._tcp.local 4500 flush TXT path=/srv"]
    );
    bench.expect_answer(
        "? 1.2.0.192.in-addr.arpa PTR",
        "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local",
    );
}

/// RFC 6762 section 6: shared records are sent after 20 to 120 ms, uniformly distributed.
/// RFC 6763 section 12.1: the records of a PTR's target are additional records.
#[test]
fn shared_records_are_answered_after_a_random_delay() {
    let mut bench = Bench::serving(1);
    let mut quarters = [0; 4];
    for _ in 0..400 {
        let multicasts = bench.ask(&["? _nfs._tcp.local PTR"]);
        assert_eq!(multicasts.len(), 1);
        let (after, lines) = &multicasts[0];
        assert!((20..120).contains(after), "{after}");
        quarters[(*after as usize - 20) / 25] += 1;
        assert_eq!(
            lines[..],
            [
                POINTER,
                "+ a~box._nfs._tcp.local 4500 flush TXT path=/srv",
                "+ a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
                "+ box.local 120 flush AAAA fe80::1",
                "+ box.local 120 flush A 192.0.2.1",
            ]
        );
    }
    for count in quarters {
        assert!((70..130).contains(&count), "{quarters:?}");
    }
}

/// RFC 6763 section 9: each service type is listed once in the answer to a query for service types.
#[test]
fn service_types_are_enumerated() {
    let mut bench = Bench::serving(1);
    bench.serve("other", 1, &[]);
    bench.settle();
    let lines = bench.answers(&["? _services._dns-sd._udp.local PTR"]);
    assert_eq!(
        lines,
        ["= _services._dns-sd._udp.local 4500 PTR _nfs._tcp.local"]
    );
}

/// RFC 6762 section 6.3: "MUST correctly handle DNS query messages containing more than one question, by answering any or all".
#[test]
fn several_questions_are_answered_together() {
    let mut bench = Bench::serving(1);
    let multicasts = bench.ask(&[
        "? box.local A",
        "? cat.local A",
        "? _nfs._tcp.local PTR",
        "? box.local AAAA",
    ]);
    assert_eq!(multicasts.len(), 1);
    assert!((20..120).contains(&multicasts[0].0));
    for line in [V4, V6, POINTER] {
        assert!(
            multicasts[0].1.iter().any(|other| other == line),
            "{multicasts:?}"
        );
    }
}

/// RFC 6762 section 6.5: "a Multicast DNS responder MUST respond with *ALL* of its records that match the query".
/// RFC 6762 section 6: "should client software use classes other than 1, the matching rules described above MUST be used".
#[test]
fn any_is_answered_with_all_records() {
    let mut bench = Bench::serving(1);
    let mut lines = bench.answers(&["? box.local ANY"]);
    lines.sort();
    assert_eq!(lines, [V4, V6]);
    let mut lines = bench.answers(&["? a~box._nfs._tcp.local ANY CLASS-ANY"]);
    lines.retain(|line| line.starts_with('='));
    lines.sort();
    assert_eq!(
        lines,
        [
            "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
            "= a~box._nfs._tcp.local 4500 flush TXT path=/srv",
        ]
    );
    bench.expect_answer("? box.local A CLASS-ANY", V4);
    assert!(bench.answers(&["? box.local A CHAOS"]).is_empty());
}

/// RFC 6762 section 6.1: "the responder MUST (except as allowed in (a) below) respond asserting the nonexistence of that record
/// using a DNS NSEC record".
/// RFC 6762 section 6: "it MUST return negative answers to queries for records that it knows not to exist".
/// RFC 6762 section 6: "MUST respond to AAAA queries for "host.local." by sending a negative answer".
/// RFC 6762 section 6.1: "the synthesized Multicast DNS NSEC records MUST NOT have the NSEC bit set in the Type Bit Map".
/// RFC 6762 section 6.1: "MUST at least correctly generate and parse the restricted DNS NSEC record format".
#[test]
fn missing_record_types_are_denied_by_nsec() {
    let mut bench = Bench::new(1);
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.serve("a box", 2049, &[]);
    bench.settle();
    let denial = "= box.local 120 flush NSEC box.local A";
    let multicasts = bench.ask(&["? box.local AAAA"]);
    assert_eq!(multicasts, [(0, vec![denial.to_owned()])]);
    assert_eq!(bench.answers(&["? box.local TXT"]), [denial]);
    assert_eq!(bench.answers(&["? box.local NSEC"]), [denial]);
    assert_eq!(
        bench.answers(&["? a~box._nfs._tcp.local A"]),
        ["= a~box._nfs._tcp.local 120 flush NSEC a~box._nfs._tcp.local TXT SRV"]
    );
    assert_eq!(
        bench.answers(&["? 1.2.0.192.in-addr.arpa A"]),
        ["= 1.2.0.192.in-addr.arpa 120 flush NSEC 1.2.0.192.in-addr.arpa PTR"]
    );
    // The answer with the IPv4 address has an NSEC record as an additional record, which denies IPv6 addresses.
    let lines = bench.answers(&["? box.local A"]);
    assert_eq!(lines, [V4, "+ box.local 120 flush NSEC box.local A"]);
    // A unicast reply has the NSEC record, too.
    let reply = bench.reply(LEGACY, &["? box.local AAAA"]).unwrap();
    assert_eq!(
        reply,
        ["? box.local AAAA", "= box.local 10 NSEC box.local A"]
    );
}

/// RFC 6762 section 6: "MUST only respond when it has a positive, non-null response to send, or it authoritatively knows that a
/// particular record does not exist".
/// RFC 6762 section 6: "For shared records, NXDOMAIN and other error responses MUST NOT be sent".
/// RFC 6762 section 6.1: "MUST only generate negative responses to queries for which it has legitimate ownership".
#[test]
fn queries_for_foreign_names_are_not_answered() {
    let mut bench = Bench::serving(1);
    for question in [
        "? cat.local A",
        "? _nfs._tcp.local A",
        "? _http._tcp.local PTR",
        "? local ANY",
        "? sub.box.local A",
        "? box A",
        "? box.local.local A",
        "? _services._dns-sd._udp.local TXT",
    ] {
        assert!(bench.answers(&[question]).is_empty(), "{question}");
        assert_eq!(bench.reply(LEGACY, &[question]), None, "{question}");
    }
}

/// RFC 6762 section 8.1: queries for names that are not ours yet are not answered.
/// RFC 6762 section 5: "a Multicast DNS responder MUST also implement a Multicast DNS querier so that it can first verify the
/// uniqueness of those records before it begins answering queries for them".
#[test]
fn names_are_not_answered_while_probing() {
    let mut bench = Bench::up(1);
    bench.run(600);
    bench.sent.clear();
    bench.hear_query(&["? box.local A"]);
    assert_eq!(bench.reply(LEGACY, &["? box.local A"]), None);
    assert!(!bench.all().iter().any(|line| line.starts_with('=')));
    bench.settle();
    assert!(bench.reply(LEGACY, &["? box.local A"]).is_some());
}

/// RFC 6762 section 6: "MUST NOT (except in the one special case of answering probe queries) multicast a record on a given
/// interface until at least one second has elapsed since the last time that record was multicast".
#[test]
fn records_are_multicast_at_most_once_a_second() {
    let mut bench = Bench::serving(1);
    let mut records = Vec::new();
    for _ in 0..1000 {
        bench.hear_query(&["? box.local A", "? _nfs._tcp.local PTR"]);
        bench.run(10);
        for sent in bench.sent.drain(..) {
            for line in sent.lines() {
                records.push((line[2..].to_owned(), sent.at));
            }
        }
    }
    records.sort();
    let mut count = 0;
    for pair in records.windows(2) {
        if pair[0].0 == pair[1].0 {
            assert!(pair[1].1 - pair[0].1 >= 1000, "{pair:?}");
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

/// RFC 6762 section 6: "In the special case of answering probe queries, … a Multicast DNS responder MUST respond quickly".
/// RFC 6762 section 9: "It is very important that any host receiving a resource record that conflicts with one of its own MUST
/// take action".
#[test]
fn probes_for_our_name_are_answered_at_once() {
    let mut bench = Bench::serving(1);
    let probe = &["? box.local ANY", "! box.local 120 A 192.0.2.200"];
    let multicasts = bench.ask(probe);
    assert_eq!(multicasts[0].0, 0);
    assert!(multicasts[0].1.iter().any(|line| line == V4));
    // Further probes at intervals of 250 ms are answered as well.
    let mut times = Vec::new();
    for _ in 0..3 {
        bench.sent.clear();
        bench.hear_query(probe);
        bench.run(250);
        times.extend(bench.sent.first().map(|sent| sent.at));
    }
    assert_eq!(times.len(), 3);
}

/// RFC 6762 section 5.4: a QU question is answered by unicast if the record was multicast recently.
/// RFC 6762 section 6: "The destination … MUST be the mDNS IPv4 link-local multicast address … except when generating a reply to
/// a query that explicitly requested a unicast response".
#[test]
fn qu_question_for_recent_record_gets_unicast_reply() {
    let mut bench = Bench::serving(1);
    let lines = bench.answers(&["? box.local A"]);
    assert_eq!(lines[0], V4);
    bench.sent.clear();
    let reply = bench.reply(PEER, &["? box.local A QU"]).unwrap();
    assert_eq!(reply[0], V4);
    bench.run(2000);
    assert!(bench.sent.is_empty());
    // A quarter of the TTL after the last multicast, the answer is multicast again.
    bench.run(30_000);
    assert_eq!(bench.reply(PEER, &["? box.local A QU"]), None);
    assert_eq!(bench.sent[0].lines()[0], V4);
    // If both a QU and a QM question ask for the record, the answer is multicast.
    assert_eq!(
        bench.reply(PEER, &["? box.local A QU", "? box.local A"]),
        None
    );
}

/// RFC 6762 section 6: "Except for these three specific cases, responses MUST NOT be sent via unicast".
/// RFC 6762 section 5.5: a query sent to us by unicast is answered by unicast if the querier is on the link.
#[test]
fn unicast_query_from_the_link_gets_unicast_reply() {
    let mut bench = Bench::serving(1);
    let asked = query(&["? box.local A"]);
    let reply = bench
        .hear_on(0, PEER, Destination::Unicast, &asked)
        .unwrap();
    assert_eq!(super::script::lines(&reply)[0], V4);
    assert!(bench.sent.is_empty());
    let foreign = "198.51.100.1:5353";
    assert_eq!(
        bench.hear_on(0, foreign, Destination::Unicast, &asked),
        None
    );
    assert_eq!(
        bench.hear_on(0, foreign, Destination::Unknown, &asked),
        None
    );
    assert!(bench.sent.is_empty());
    // A multicast can only come from the link, whatever its source address. A message that may be a multicast gets no unicast reply.
    for (from, cast) in [
        (foreign, Destination::Multicast),
        (PEER, Destination::Unknown),
    ] {
        bench.run(2000);
        bench.sent.clear();
        assert_eq!(bench.hear_on(0, from, cast, &asked), None);
        assert_eq!(bench.sent.len(), 1);
    }
}

/// RFC 6762 section 6.7: "MUST send a UDP response directly back to the querier".
/// RFC 6762 section 6.7: "it MUST repeat the query ID and the question given in the query message".
/// RFC 6762 section 6.7: "the cache-flush bit … MUST NOT be set in legacy unicast responses".
/// RFC 6762 section 10.2: "The cache-flush bit MUST NOT be set in any resource records in a response message sent in legacy
/// unicast responses to UDP ports other than 5353".
/// RFC 6762 section 18.1: "the Query Identifier MUST match the ID from the query message".
#[test]
fn legacy_queries_get_conventional_dns_replies() {
    let mut bench = Bench::serving(1);
    let asked = super::script::message(0x0100, 0xbeef, &["? a~box._nfs._tcp.local SRV"]);
    let reply = bench.hear(LEGACY, &asked).unwrap();
    assert_eq!(reply[..4], [0xbe, 0xef, 0x84, 0]);
    assert_eq!(
        super::script::lines(&reply),
        [
            "? a~box._nfs._tcp.local SRV",
            "= a~box._nfs._tcp.local 10 SRV 2049 box.local",
            "+ box.local 10 AAAA fe80::1",
            "+ box.local 10 A 192.0.2.1",
        ]
    );
    for question in ["? box.local ANY", "? 1.2.0.192.in-addr.arpa PTR"] {
        let lines = bench.reply(LEGACY, &[question]).unwrap().join(" ");
        assert!(!lines.contains("flush"), "{lines}");
    }
    bench.run(2000);
    assert!(bench.sent.is_empty());
}

/// RFC 6762 section 18.14: "name compression MUST NOT be performed on SRV records" in replies to legacy queries.
#[test]
fn srv_targets_in_legacy_replies_are_uncompressed() {
    let mut bench = Bench::serving(1);
    let reply = bench
        .hear(LEGACY, &query(&["? a~box._nfs._tcp.local SRV"]))
        .unwrap();
    let plain = b"\0\0\0\0\x08\x01\x03box\x05local\0";
    assert!(reply.windows(plain.len()).any(|part| part == plain));
    bench.sent.clear();
    bench.hear_query(&["? a~box._nfs._tcp.local SRV"]);
    let bytes = &bench.sent[0].bytes;
    assert!(!bytes.windows(plain.len()).any(|part| part == plain));
}

/// RFC 6762 section 17: "A Multicast DNS packet larger than the interface MTU, which is sent using fragments, MUST NOT contain
/// more than one resource record": no message exceeds the MTU; the next message has the remaining records.
/// RFC 6762 section 17: "a Multicast DNS packet, including IP and UDP headers, MUST NOT exceed 9000 bytes".
#[test]
fn many_answers_are_split_into_several_messages() {
    let mut bench = Bench::new(1);
    bench.set_link(0, &["192.0.2.1/24"]);
    for number in 0..15 {
        let text = format!("path=/{}", "x".repeat(90));
        bench.serve(&format!("service number {number}"), 1000 + number, &[&text]);
    }
    bench.settle();
    bench.ask(&["? _nfs._tcp.local PTR"]);
    let pointer_count = |bench: &Bench| {
        let lines = bench.all();
        let is_pointer = |line: &&String| line.starts_with("= _nfs._tcp.local");
        lines.iter().filter(is_pointer).count()
    };
    assert_eq!(pointer_count(&bench), 15);
    // Repeat the query on a link with a smaller MTU.
    let mut link = super::bench::link(&["192.0.2.1/24"]);
    link.mtu = 576;
    let now = bench.instant();
    bench.responder.set_link(now, 0, &link).unwrap();
    bench.settle();
    bench.ask(&["? _nfs._tcp.local PTR"]);
    assert!(bench.sent.iter().all(|sent| sent.bytes.len() <= 576 - 48));
    assert_eq!(pointer_count(&bench), 15);
}

/// RFC 6762 section 17: "a Multicast DNS responder SHOULD send the resource record alone, in a single IP datagram, using multiple
/// IP fragments".
#[test]
fn record_larger_than_mtu_is_sent_alone() {
    let mut bench = Bench::new(1);
    let mut link = super::bench::link(&["192.0.2.1/24"]);
    link.mtu = 1280;
    let now = bench.instant();
    bench.responder.set_link(now, 0, &link).unwrap();
    let text = format!("k={}", "x".repeat(250));
    bench.serve("long", 1, &[text.as_str(); 5]);
    bench.serve("short", 2, &["k=v"]);
    bench.run(5000);
    for _ in 0..2 {
        let (long, others): (Vec<_>, Vec<_>) = bench
            .sent
            .iter()
            .partition(|sent| sent.bytes.len() > 1280 - 48);
        assert!(!long.is_empty() && !others.is_empty());
        for sent in long {
            let [line] = &sent.lines()[..] else {
                panic!("{:?}", sent.lines());
            };
            assert!(line.starts_with("= long._nfs._tcp.local 4500 flush TXT k=xx"));
            assert!(sent.bytes.len() <= super::super::MESSAGE_BYTES);
        }
        bench.sent.clear();
        bench.run(5000);
        bench.hear("192.0.2.7:5353", &query(&["? long._nfs._tcp.local ANY"]));
        bench.run(2000);
    }
}

/// RFC 6762 section 6: queriers that ask at about the same time get one common answer.
#[test]
fn simultaneous_queries_get_one_answer() {
    let mut bench = Bench::serving(1);
    bench.sent.clear();
    for from in ["192.0.2.7:5353", "192.0.2.8:5353", "192.0.2.9:5353"] {
        bench.hear(from, &query(&["? _nfs._tcp.local PTR"]));
        bench.run(5);
    }
    bench.run(2000);
    assert_eq!(bench.sent.len(), 1);
}

/// avahi.service(5): a service may be announced in one address family only.
#[test]
fn one_family_service_is_hidden_from_the_other() {
    let mut bench = Bench::up(1);
    bench.serve_in(2, "six", 6, &[]);
    bench.serve_in(1, "four", 4, &[]);
    bench.serve("both", 46, &[]);
    bench.run(10_000);
    let queries = [
        ("192.0.2.9:5353", ["four", "both"], "six"),
        ("[fe80::9]:5353", ["six", "both"], "four"),
    ];
    for (from, known, unknown) in queries {
        bench.hear(from, &query(&["? _nfs._tcp.local PTR"]));
        bench.run(1500);
        let asked = query(&[&format!("? {unknown}._nfs._tcp.local SRV")]);
        assert_eq!(bench.hear_on(0, from, Destination::Unicast, &asked), None);
        let asked = query(&["? _nfs._tcp.local PTR"]);
        let reply = bench
            .hear_on(0, from, Destination::Unicast, &asked)
            .unwrap();
        let lines = script::lines(&reply).join("\n");
        assert!(known.iter().all(|name| lines.contains(name)), "{lines}");
        assert!(!lines.contains(unknown), "{lines}");
    }
    bench.goodbye();
    bench.run(1000);
    let mut counts = [0; 3];
    for sent in &bench.sent {
        let lines = sent.lines().join("\n");
        let has = |name: &str| lines.contains(&format!("{name}._nfs._tcp.local"));
        counts[usize::from(sent.families) - 1] += 1;
        assert!(!has("six") || sent.families == 2, "{lines}");
        assert!(!has("four") || sent.families == 1, "{lines}");
        assert!(
            !has("both") || sent.families == 3 || !lines.contains("= both"),
            "{lines}"
        );
    }
    // The services for IPv4, for IPv6 and for both have messages of their own: at least three probes, two announcements, an answer
    // and a goodbye each.
    assert!(counts.iter().all(|count| *count >= 7), "{counts:?}");
}
