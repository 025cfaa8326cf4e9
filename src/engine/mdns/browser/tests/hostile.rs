//! Malformed and hostile messages, most of them from defects of other implementations.

use super::super::{Goal, Limits};
use super::bench::{A, Bench, FLUSH, HOST, HTTP, PEER, PEER_V6, answer, query, wire};
use crate::engine::mdns::Destination;
use crate::wire::dns::{CLASS_IN, kind};
use cases::random::Random;

/// RFC 6762 section 18.14: "MUST correctly decode compressed names appearing in the Question Section, and compressed names of
/// resource records appearing in other sections"
/// RFC 6762 section 18.14: "implementations MUST correctly decode compressed names appearing within the rdata"
#[test]
fn compressed_names_are_decoded_in_all_sections() {
    let mut bench = Bench::browsing(HTTP);
    // Offset 12 is the name of the type. Offset 0x28 is the rdata of the PTR record, the name of an instance of that type.
    let say = answer()
        .record(1, &wire(HTTP), kind::PTR, CLASS_IN, 120, b"\x01a\xc0\x0c")
        .record(
            3,
            b"\xc0\x28",
            kind::SRV,
            FLUSH,
            120,
            b"\0\0\0\0\0\x50\x01h\xc0\x17",
        )
        .record(3, b"\xc0\x28", kind::TXT, FLUSH, 120, b"\0")
        .record(3, b"\x01h\xc0\x17", kind::A, FLUSH, 120, &[192, 0, 2, 9]);
    assert_eq!(say.0[0x28..0x2c], *b"\x01a\xc0\x0c");
    assert_eq!(say.0[0x17..0x1d], *b"\x05local");
    bench.hear(say, 20);
    assert_eq!(
        bench.lines()[1],
        "Resolved 0 a._http._tcp.local h.local 192.0.2.9 80 \0"
    );
}

/// CVE-2006-6870, python-zeroconf #1756, CVE-2023-38472: compression pointers that point to themselves or forward; rdata that is
/// empty or truncated.
#[test]
fn bad_compression_pointers_are_rejected() {
    for name in [
        &b"\xc0\x0c"[..],
        b"\xc0\x0e\xc0\x0c",
        b"\x01a\xc0\x0c",
        b"\xff\xff",
        b"\xc0",
    ] {
        let mut bench = Bench::new();
        bench.receive(answer().record(1, name, kind::A, FLUSH, 120, &[1, 2, 3, 4]));
        assert_eq!(bench.browser.weight().0, 0, "{name:?}");
    }
    // A record with a bad pointer or malformed rdata is discarded alone.
    let mut bench = Bench::new();
    let say = answer()
        .record(1, &wire(HTTP), kind::PTR, CLASS_IN, 120, b"\xc0\xff")
        .record(1, &wire(HTTP), kind::SRV, CLASS_IN, 120, b"\0\0\0\0\0")
        .record(1, &wire(HTTP), kind::CNAME, CLASS_IN, 120, b"")
        .record(1, &wire(HOST), kind::A, FLUSH, 120, &[1, 2, 3])
        .record(1, &wire(HOST), kind::AAAA, FLUSH, 120, &[0; 17])
        .record(1, &wire(HOST), kind::A, FLUSH, 120, &[1, 2, 3, 4]);
    bench.receive(say);
    assert_eq!(bench.browser.weight().0, 1);
}

/// CVE-2010-2244, CVE-2011-1002, CVE-2008-5081: an empty datagram, and source port 0.
#[test]
fn empty_datagrams_and_bad_ports_are_ignored() {
    let mut bench = Bench::new();
    let good = answer().service(A, HOST, 120).0;
    bench.receive_from(PEER, Destination::Multicast, b"");
    bench.receive_from("192.0.2.9:0", Destination::Multicast, &good);
    for len in 0..good.len() {
        bench.receive_from(PEER, Destination::Multicast, &good[..len]);
    }
    assert_eq!(bench.browser.weight(), (0, 0));
    // Datagrams on a link that is down, and on links that do not exist.
    for link in [1, 8, 255] {
        bench.receive_on(link, PEER, Destination::Multicast, &good);
    }
    assert_eq!(bench.browser.weight(), (0, 0));
}

/// CVE-2026-24401: a CNAME record that points to itself, two CNAME records of one name, and CNAME records in a ring. Neither the
/// cache nor the number of queries grows without limit.
#[test]
fn cname_loop_is_bounded() {
    let rings: [&[(&str, &str)]; 3] = [
        &[(HOST, HOST)],
        &[(HOST, "i.local"), (HOST, "j.local")],
        &[(HOST, "i.local"), ("i.local", "j.local"), ("j.local", HOST)],
    ];
    for ring in rings {
        let mut bench = Bench::new();
        bench.look_up(Goal::Host, HOST).wait(300);
        for _ in 0..10 {
            for (from, to) in ring {
                bench.hear(answer().cname(from, 120, to), 2000);
            }
        }
        assert!(bench.browser.weight().0 <= ring.len());
        bench.wait(500_000);
        assert!(bench.sent.len() < 100, "{}", bench.sent.len());
        bench.expect_event("TimedOut 0 h.local");
    }
}

/// CVE-2025-68471: two CNAME records of one name, 2 s apart. If the later one has the cache-flush bit, the earlier target is not
/// queried any more.
#[test]
fn later_of_two_cnames_is_followed() {
    let alias =
        |class, to: &str| answer().record(1, &wire(HOST), kind::CNAME, class, 120, &wire(to));
    for class in [FLUSH, CLASS_IN] {
        let mut bench = Bench::new();
        bench.look_up(Goal::Host, HOST).wait(300);
        bench.hear(alias(class, "i.local"), 2000);
        assert!(!bench.query_times(0, "i.local", kind::A).is_empty());
        bench.hear(alias(class, "j.local"), 2000);
        assert_eq!(bench.browser.weight().0, if class == FLUSH { 1 } else { 2 });
        let since = bench.ms;
        bench.wait(50_000);
        let (earlier, later) = (
            bench.query_times(since, "i.local", kind::A).len(),
            bench.query_times(since, "j.local", kind::A).len(),
        );
        if class == FLUSH {
            assert!(earlier == 0 && later > 2, "{earlier} {later}");
        }
        // Without the cache-flush bit the browser may follow either record, but not both.
        assert!((earlier == 0) != (later == 0), "{earlier} {later}");
        bench.lines();
        let to = if earlier == 0 { "j.local" } else { "i.local" };
        bench.hear(answer().a(to, 120, [1, 2, 3, 4]), 200_000);
        bench.expect_event(&format!("Found 0 {to} {to} 1.2.3.4"));
        // The CNAME records have expired. No lookup needs the address record, so it may remain.
        assert!(bench.browser.weight().0 <= 1);
    }
}

/// avahi #684: a CNAME record for the name that enumerates types, with that name itself or another one as its target. The type and
/// its service are reported once nevertheless.
#[test]
fn cname_of_type_enumeration_is_harmless() {
    const TYPES: &str = "_services._dns-sd._udp.local";
    for to in [TYPES, HTTP, HOST, "local"] {
        let mut bench = Bench::new();
        bench.look_up(Goal::Everything, TYPES).wait(300);
        bench.receive(answer().cname(TYPES, 120, to).ptr(TYPES, 120, HTTP));
        bench
            .wait(300)
            .receive(answer().service(A, HOST, 120))
            .wait(10_000);
        let lines = bench.lines();
        let count = |what: &str| lines.iter().filter(|line| line.starts_with(what)).count();
        assert_eq!(count("AllForNow"), 1, "{to}: {lines:?}");
        assert_eq!((count("Type"), count("Added")), (1, 1), "{to}: {lines:?}");
        assert!(bench.sent.len() < 40, "{}", bench.sent.len());
    }
}

/// CVE-2025-68468: the address record that a CNAME record points to expires before the CNAME record.
#[test]
fn cname_may_outlive_its_target() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Host, HOST).wait(300);
    bench.receive(
        answer()
            .cname(HOST, 120, "i.local")
            .a("i.local", 1, [1, 2, 3, 4]),
    );
    bench.wait(10_000);
    bench.expect_event("Found 0 i.local i.local 1.2.3.4");
    assert_eq!(bench.browser.weight().0, 1);
}

/// python-zeroconf #1762: NSEC records that deny the records of a known service do not change the service.
#[test]
fn nsec_does_not_change_known_service() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().service(A, HOST, 4500), 2000);
    assert!(bench.has_service(A) && bench.lines()[1].starts_with("Resolved"));
    for kinds in [&[kind::SRV, kind::TXT][..], &[kind::TXT], &[]] {
        for of in [A, HOST, HTTP] {
            bench.hear(answer().nsec(of, 4500, kinds), 2000);
            // The NSEC record arrives in the same message as the known records.
            let all = answer().service(A, HOST, 4500);
            bench.hear(all.nsec(of, 4500, kinds), 2000);
        }
    }
    assert_eq!(bench.lines(), [""; 0]);
}

/// python-zeroconf #1764, avahi e3b58622: a link-local address is reported once per link, not once per address family over which it
/// was received.
#[test]
fn link_local_address_is_reported_once_per_link() {
    let mut bench = Bench::new();
    bench.up(1);
    bench.look_up_families(Goal::Host, HOST, 2).wait(300);
    let say = answer().aaaa(HOST, 120, 9).0;
    bench.receive_on(0, PEER, Destination::Multicast, &say);
    bench.wait(20);
    for from in [PEER_V6, PEER, "[fe80::9%7]:5353"] {
        bench.receive_on(0, from, Destination::Multicast, &say);
        bench.wait(20);
    }
    bench.expect_event("Found 0 h.local h.local fe80::9");
    bench.receive_on(1, PEER, Destination::Multicast, &say);
    bench.wait(20);
    bench.expect_event("Found 1 h.local h.local fe80::9");
    assert_eq!(bench.browser.weight().0, 2);
    // The scope ID in a source address is ignored, because the receiving socket identifies the link. A response from outside the
    // link's prefixes is rejected.
    for (from, is_heard) in [("[fe80::9%3]:5353", true), ("[fe81::9%3]:5353", false)] {
        let mut bench = Bench::new();
        bench.look_up_families(Goal::Host, HOST, 2).wait(300);
        bench.receive_from(from, Destination::Unicast, &say);
        assert_eq!(bench.browser.weight().0, usize::from(is_heard), "{from}");
    }
}

/// python-zeroconf #1733 and #1755: questions and known answers of other hosts are not stored, however many they are.
#[test]
fn queries_of_others_are_not_stored() {
    let mut bench = Bench::browsing(HTTP);
    let places = bench.browser.questions.all.len();
    for count in 0..10_000 {
        let name = format!("n{count}._http._tcp.local");
        bench.receive(
            query()
                .asks(&name, kind::ANY, CLASS_IN)
                .asks(HTTP, kind::PTR, CLASS_IN)
                .ptr(HTTP, 4500, &name)
                .a(&name, 120, [1, 2, 3, 4]),
        );
    }
    assert_eq!(bench.browser.weight(), (0, 0));
    assert_eq!(bench.browser.questions.all.len(), places);
    assert_eq!(bench.find("n1.local"), None);
    // Our own queries continue.
    let since = bench.ms;
    bench.wait(60_000);
    assert!(bench.query_times(since, HTTP, kind::PTR).len() >= 2);
}

/// CVE-2026-47184: records of ever new names, and one record with ever new TTLs. The cache stays within its limits.
#[test]
fn endless_names_stay_within_limits() {
    let limits = Limits {
        records: 512,
        names: 512,
        questions: 64,
        rdata_bytes: 16_384,
    };
    let mut bench = Bench::with_limits(&limits);
    bench.look_up(Goal::Services, HTTP).wait(300);
    bench.hear(answer().service(A, HOST, 4500), 20);
    for count in 0..10_000 {
        let name = format!("n{count}.local");
        bench.receive(
            answer()
                .a(&name, 86_400, [1, 2, 3, 4])
                .txt(&name, 86_400, &[7; 100]),
        );
        let (records, bytes) = bench.browser.weight();
        assert!(records <= limits.records && bytes <= limits.rdata_bytes);
    }
    // Records that a lookup needs are evicted last.
    bench.wait(5000);
    assert!(bench.has_service(A));
    assert!(bench.browser.weight().0 > 100);
    let mut bench = Bench::with_limits(&limits);
    for ttl in 1..10_000 {
        bench.receive(answer().a(HOST, ttl, [1, 2, 3, 4]));
    }
    assert_eq!(bench.browser.weight(), (1, 8));
    bench.wait(20);
    assert_eq!(bench.browser.poll_at(), crate::time::Instant::NEVER);
}

/// python-zeroconf #1750, GHSA-qc2x-6f54-m6h9: a TXT record whose rdata changes every 20 ms.
#[test]
fn alternating_rdata_does_not_accumulate() {
    let mut bench = Bench::browsing(HTTP);
    for count in 0..2000u16 {
        let text = format!("\x08{:08}", count % 200);
        bench.receive(answer().service(A, HOST, 120).txt(A, 120, text.as_bytes()));
        bench.ms += 20;
        assert!(bench.browser.weight().0 <= 70);
    }
    // The records of the last second are still valid. After 2 s, the next record with the cache-flush bit flushes them.
    bench
        .wait(2000)
        .receive(answer().service(A, HOST, 120))
        .wait(2000);
    assert_eq!(bench.browser.weight().0, 5);
    assert!(bench.has_service(A));
}

/// RFC 6762 section 24.2: "Compliant Multicast DNS implementations MUST support names up to 255 bytes plus a terminating zero,
/// i.e., 256 bytes total."
#[test]
fn name_of_256_bytes_is_resolved() {
    let label = "x".repeat(63);
    let name = format!("{label}.{label}.{label}.{}.local", "y".repeat(56));
    assert_eq!(wire(&name).len(), 256);
    let mut bench = Bench::new();
    bench.look_up(Goal::Host, &name);
    // DNS libraries do not parse a name of this length, so compare the bytes.
    let mut sent = [0; 1500];
    let mut ask = |_| {
        bench.ms += 1;
        bench.browser.poll_transmit(bench.now(), &mut sent)
    };
    let transmit = (0..300).find_map(&mut ask).unwrap();
    let question = [&wire(&name)[..], &[0, 1]].concat();
    assert!(sent[12..transmit.len].starts_with(&question));
    bench.hear(answer().a(&name, 120, [1, 2, 3, 4]), 20);
    bench.expect_event(&format!("Found 0 {name} {name} 1.2.3.4"));
}

#[test]
fn names_with_many_labels_evict_nothing() {
    let mut bench = Bench::browsing(HTTP);
    bench.receive(answer().service(A, HOST, 120));
    let weight = bench.browser.weight();
    for count in 0..1000 {
        let name = format!("{count}.{}", "a.".repeat(100));
        bench.receive(answer().a(&name, 120, [1, 2, 3, 4]));
    }
    assert_eq!(bench.browser.weight(), weight);
}

/// Avahi 16fe942a, CVE-2023-38469: rdata of 65,535 bytes cannot arrive in one message; the largest that can is rejected or stored
/// whole.
#[test]
fn large_rdata_is_stored_whole_or_rejected() {
    for (buffer, len, expect) in [
        (65_535, 8900, true),
        (4096, 1000, true),
        (4096, 4090, false),
    ] {
        let mut bench = Bench::with_limits(&Limits {
            rdata_bytes: buffer,
            ..Limits::DEFAULT
        });
        bench.look_up(Goal::Services, HTTP).wait(300);
        let text: Vec<u8> = (0..len).map(|at| at as u8).collect();
        bench.hear(answer().service(A, HOST, 120), 2000);
        bench.hear(answer().txt(A, 120, &text), 100);
        let lines = bench.lines();
        assert_eq!(
            lines.iter().any(|line| line.starts_with("Changed")),
            expect,
            "{len}"
        );
        bench.wait(500);
        let of = bench.find(A).unwrap();
        let cache = &bench.browser.cache;
        let kept = cache.valid_of_kind(of, 0, kind::TXT).next();
        assert_eq!(
            kept.is_some_and(|(_, entry)| cache.rdata(entry) == &text[..]),
            expect
        );
        // A known answer that does not fit into any message is skipped and delays no other.
        bench.wait(200_000);
    }
}

#[test]
fn random_bytes_leave_no_state() {
    let good = answer()
        .service(A, HOST, 120)
        .cname("c.local", 120, HOST)
        .ptr("_services._dns-sd._udp.local", 120, HTTP)
        .asks(HTTP, kind::PTR, CLASS_IN);
    let mut bench = Bench::new();
    bench
        .look_up(Goal::Everything, "_services._dns-sd._udp.local")
        .look_up(Goal::Host, "c.local");
    let mut random = Random::new(3);
    let mut next = |below: usize| random.below(below);
    for _ in 0..30_000 {
        let mut bytes = good.0.clone();
        for _ in 0..next(6) {
            let at = next(bytes.len());
            bytes[at] = next(256) as u8;
        }
        if next(8) == 0 {
            bytes[2] = 0;
        }
        let cast = [
            Destination::Multicast,
            Destination::Unicast,
            Destination::Unknown,
        ][next(3)];
        bench.receive_from(PEER, cast, &bytes);
        bench.wait(next(3000) as u64);
        bench.sent.clear();
        bench.events.clear();
    }
    let (records, bytes) = bench.browser.weight();
    assert!(records <= 256 && bytes <= 8192);
    // Once all records have expired, the tables are empty.
    for name in ["_services._dns-sd._udp.local", "c.local"] {
        bench.forget(name);
    }
    bench.down(0);
    bench.wait(100_000_000);
    assert_eq!(bench.browser.weight(), (0, 0));
    assert_eq!(bench.find("local"), None);
}
