//! Malformed and hostile messages: the responder sends no answers that it must not send, and its memory and work stay bounded.

use super::bench::{Bench, LEGACY, PEER};
use super::script::{message, query, response, truncated};
use crate::engine::mdns::Destination;

/// CVE-2010-2244, CVE-2011-1002: an empty datagram, and datagrams whose bytes are all equal.
/// CVE-2008-5081: a query from port 0 crashed avahi; an answer to port 0 cannot be delivered.
#[test]
fn empty_and_constant_datagrams_are_ignored() {
    let mut bench = Bench::serving(1);
    for bytes in [
        &[][..],
        &[0],
        &[0; 11],
        &[0; 12],
        &[0xff; 12],
        &[0xff; 9000],
    ] {
        assert_eq!(bench.hear(PEER, bytes), None);
        assert_eq!(bench.hear(LEGACY, bytes), None);
    }
    assert_eq!(bench.hear("192.0.2.9:0", &query(&["? box.local A"])), None);
    bench.run(2000);
    assert!(bench.sent.is_empty());
}

/// CVE-2017-6519: a query from outside the link is not answered, because its source address may be forged.
#[test]
fn legacy_queries_from_outside_the_link_are_ignored() {
    let mut bench = Bench::serving(1);
    for from in [
        "198.51.100.1:40000",
        "[2001:db8::1]:40000",
        "127.0.0.1:40000",
    ] {
        for cast in [
            Destination::Multicast,
            Destination::Unicast,
            Destination::Unknown,
        ] {
            assert_eq!(
                bench.hear_on(0, from, cast, &query(&["? box.local A"])),
                None
            );
        }
    }
    bench.run(2000);
    assert!(bench.sent.is_empty());
    assert!(bench.reply("[fe80::9]:40000", &["? box.local A"]).is_some());
}

/// CVE-2021-3468, CVE-2021-3502, avahi #965: names that resemble ours, and names with empty labels, get no answer.
#[test]
fn odd_names_match_no_record() {
    let mut bench = Bench::serving(1);
    for question in [
        "? a A",
        "? a. A",
        "? .a A",
        "? a..b A",
        "? .b.c A",
        "? a.b.. A",
        "? a~box.. ANY",
        r"? box\.local A",
        r"? box\ A",
        "? box A",
        "? box..local A",
        "? . A",
        "? . ANY",
        "? .box.local A",
        "? box.local.a A",
    ] {
        assert_eq!(bench.hear_query(&[question]), None, "{question}");
    }
    let long = format!("? {}.local A", ["x".repeat(60).as_str(); 4].join("."));
    assert_eq!(bench.hear_query(&[&long]), None);
    let deep = format!("? {}box.local A", "a.".repeat(100));
    assert_eq!(bench.hear_query(&[&deep]), None);
    assert!(bench.sent.is_empty());
}

/// CVE-2023-38472, python-zeroconf #1756, avahi a2ba25e9: records of our name with empty, truncated or malformed rdata and a TTL of
/// 0 are no conflict.
#[test]
fn malformed_rdata_with_ttl_0_is_ignored() {
    let mut bench = Bench::up(1);
    bench.run(300);
    for kind in [1u16, 12, 16, 28, 33, 47] {
        for data in [
            &b""[..],
            b"\xc0",
            b"\xc0\xff",
            b"\x05ab",
            b"\0\0\0\0\0\0\xc0\x0c",
        ] {
            let mut bytes = response(&["= box.local 0 flush TXT a"]);
            bytes.truncate(bytes.len() - 4);
            let at = bytes.len();
            bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
            bytes.extend_from_slice(data);
            // The type field is eight bytes before the length field.
            bytes[at - 8..at - 6].copy_from_slice(&kind.to_be_bytes());
            bench.hear(PEER, &bytes);
        }
    }
    bench.run(5000);
    assert_eq!(bench.host(), "box");
}

/// python-zeroconf #1731: an NSEC record that cannot be parsed does not hide the conflicting record after it.
/// RFC 6762 section 6.1: "MUST NOT ignore an entire message just because that message contains one or more NSEC record(s) that
/// the Multicast DNS implementation cannot parse".
/// RFC 6762 section 6.1: "MUST NOT reject or ignore an NSEC record it receives just because it finds an unexpected value in the
/// 'Next Domain Name' field".
#[test]
fn malformed_nsec_does_not_hide_later_records() {
    let mut bench = Bench::up(1);
    bench.run(300);
    let mut bytes = response(&["= cat.local 120 flush NSEC cat.local A"]);
    // Overwrite the next name of the NSEC record by an invalid pointer, and its bit map by one that is longer than the rdata.
    let at = bytes.len() - 14;
    bytes[at..].fill(0xff);
    bytes[7] = 2;
    let rival = response(&["= box.local 120 flush A 192.0.2.77"]);
    bytes.extend_from_slice(&rival[12..]);
    bench.hear(PEER, &bytes);
    assert_eq!(bench.host(), "box-2");
}

/// CVE-2026-48045, python-zeroconf #1732 and #1751: truncated queries from many forged addresses do not delay the answer.
#[test]
fn flood_of_truncated_queries_does_not_delay_answers() {
    let mut bench = Bench::serving(1);
    let pointer = "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local";
    for number in 0..5000u32 {
        let from = format!("192.0.2.{}:5353", 2 + number % 250);
        bench.hear(&from, &truncated(&["? _nfs._tcp.local PTR"]));
        if number % 3 == 0 {
            bench.hear(&from, &truncated(&[pointer]));
        }
        if number % 10 == 0 {
            bench.run(10);
        }
    }
    // The flood lasts five seconds, so the record is multicast about five times.
    let count = bench
        .all()
        .into_iter()
        .filter(|line| line == pointer)
        .count();
    assert!((3..=6).contains(&count), "{count}");
}

/// python-zeroconf #1750: a flood of two alternating queries is answered once a second, like a flood of one query.
#[test]
fn flood_of_queries_is_answered_once_a_second() {
    let mut bench = Bench::serving(1);
    let questions = [
        query(&["? box.local A", "? _nfs._tcp.local PTR"]),
        query(&["? _nfs._tcp.local PTR", "? box.local A"]),
    ];
    for round in 0..10_000 {
        bench.hear("192.0.2.66:5353", &questions[round % 2]);
        if round % 10 == 0 {
            bench.run(10);
        }
        // A legacy querier still gets its reply.
        if round % 100 == 0 {
            assert!(bench.reply("192.0.2.7:41000", &["? box.local A"]).is_some());
        }
    }
    assert!(bench.sent.len() < 25, "{}", bench.sent.len());
}

#[test]
fn message_full_of_questions_is_answered() {
    let mut bench = Bench::serving(1);
    let mut lines = vec!["? box.local A"; 300];
    lines.extend(vec!["? _nfs._tcp.local PTR"; 200]);
    bench.hear_query(&lines);
    bench.run(2000);
    assert_eq!(bench.sent.len(), 1);
    // The unicast reply contains the records that fit into one message.
    let reply = bench.hear(LEGACY, &query(&lines[270..310])).unwrap();
    assert!(reply.len() <= 1452);
    // A legacy reply repeats the questions. They exceed one message, so there is no reply.
    assert_eq!(bench.hear(LEGACY, &query(&lines)), None);
}

/// CVE-2006-6870, python-zeroconf #1719: compression pointers that point to themselves, in a circle, or forward are rejected. So is
/// a chain of more than 127 pointers.
#[test]
fn pointer_loops_and_long_chains_are_rejected() {
    let mut bench = Bench::serving(1);
    let asked = |name: &[u8]| [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat();
    for name in [
        &b"\xc0\x0c"[..],
        b"\xc0\x0e\xc0\x0c",
        b"\x03box\xc0\x0c",
        b"\x03box\xc0\x20",
        b"\xff\xff",
    ] {
        assert_eq!(bench.hear(LEGACY, &asked(name)), None, "{name:?}");
        assert_eq!(bench.hear(PEER, &asked(name)), None, "{name:?}");
    }
    // Query for our host with known answers: the name of each known answer is a pointer to the name of the record before it.
    for (count, is_answered) in [(1, true), (127, true), (128, false), (500, false)] {
        let mut bytes = asked(b"\x03box\x05local\0");
        let mut at = 12u16;
        bytes[6..8].copy_from_slice(&u16::to_be_bytes(count));
        for _ in 0..count {
            let next = bytes.len() as u16;
            bytes.extend_from_slice(&(0xc000 | at).to_be_bytes());
            bytes.extend_from_slice(&[0, 99, 0, 1, 0, 0, 0, 120, 0, 0]);
            at = next;
        }
        let reply = bench.hear(LEGACY, &bytes);
        assert_eq!(reply.is_some(), is_answered, "{count}");
    }
    assert!(bench.sent.is_empty());
}

/// CVE-2009-0758: a responder that receives its own multicasts and unicast replies does not answer them in an endless loop.
#[test]
fn own_messages_are_not_answered_in_a_loop() {
    let mut bench = Bench::serving(1);
    let asked = query(&["? box.local A", "? _nfs._tcp.local PTR"]);
    for port in [5353, 40_000] {
        for cast in [
            Destination::Multicast,
            Destination::Unicast,
            Destination::Unknown,
        ] {
            let from = format!("192.0.2.1:{port}");
            let mut next = bench.hear_on(0, &from, cast, &asked);
            let mut rounds = 0;
            while let Some(bytes) = next {
                next = bench.hear_on(0, &from, cast, &bytes);
                rounds += 1;
            }
            assert!(rounds <= 1, "{from}: {rounds}");
            // The responder also receives its own multicasts: every 50 ms, 100 times, the test delivers those sent since the last
            // time.
            for _ in 0..100 {
                for sent in core::mem::take(&mut bench.sent) {
                    for port in [5353, 40_000] {
                        let from = format!("192.0.2.1:{port}");
                        assert_eq!(bench.hear_on(0, &from, cast, &sent.bytes), None);
                    }
                    rounds += 1;
                }
                bench.run(50);
            }
            assert!(rounds <= 4, "{from}: {rounds}");
        }
    }
    assert_eq!(bench.host(), "box");
}

/// Seeded mutations of valid messages at random times: the responder does not panic, and answers for its name afterwards.
#[test]
fn mutated_messages_do_no_harm() {
    use cases::mutate::mutate;
    use cases::random::{Random, for_seeds};
    let good = [
        query(&["? box.local ANY QU", "! box.local 120 A 192.0.2.77"]),
        query(&[
            "? _nfs._tcp.local PTR",
            "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local",
        ]),
        truncated(&["? a~box._nfs._tcp.local SRV", "? box.local AAAA"]),
        response(&[
            "= box.local 120 flush A 192.0.2.77",
            "+ box.local 120 flush NSEC box.local A",
        ]),
        response(&["= a~box._nfs._tcp.local 120 flush SRV 1 cat.local"]),
        message(0x0100, 9, &["? 1.2.0.192.in-addr.arpa PTR"]),
    ];
    for_seeds(100, |seed| {
        let mut random = Random::new(seed);
        let mut bench = Bench::up(seed as u8 | 1);
        bench.serve("a box", 2049, &["path=/srv"]);
        for _ in 0..300 {
            let mut bytes = random.pick(&good).clone();
            let other = random.pick(&good);
            for _ in 0..random.below(4) {
                mutate(&mut random, &mut bytes, other, 1);
            }
            let from = *random.pick(&[PEER, LEGACY, "[fe80::9]:5353", "192.0.2.1:5353"]);
            let cast = *random.pick(&[
                Destination::Multicast,
                Destination::Unicast,
                Destination::Unknown,
            ]);
            bench.hear_on(0, from, cast, &bytes);
            bench.run(random.below(400) as u64);
            bench.sent.clear();
        }
        bench.run(120_000);
        let name = format!("? {}.local A", bench.host());
        assert!(!bench.answers(&[&name]).is_empty());
    });
}
