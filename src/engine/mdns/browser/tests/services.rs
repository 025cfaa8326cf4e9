//! Service types, services, and their events.

use super::super::Goal;
use super::bench::{A, Bench, HOST, HTTP, PEER, PEER_V6, Say, answer, wire};
use crate::engine::mdns::Destination;
use crate::wire::dns::{CLASS_IN, kind};

const TYPES: &str = "_services._dns-sd._udp.local";

#[test]
fn complete_response_resolves_service() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().service(A, HOST, 120), 20);
    assert_eq!(
        bench.lines(),
        [
            format!("Added 0 {A}"),
            format!("Resolved 0 {A} {HOST} 192.0.2.9 80 \u{3}a=1")
        ]
    );
    // All records were in one message: the browser sends no queries except the repeated one for the type.
    bench.sent.clear();
    bench.wait(60_000);
    assert!(
        bench
            .sent
            .iter()
            .all(|sent| sent.asks == [(HTTP.into(), kind::PTR, false)])
    );
}

/// RFC 6763 section 12: "Clients MUST be capable of functioning correctly with DNS servers (and Multicast DNS Responders) that
/// fail to generate these additional records automatically, by issuing subsequent queries for any further record(s) they
/// require."
#[test]
fn missing_additional_records_are_queried() {
    let mut bench = Bench::browsing(HTTP);
    let start = bench.ms;
    bench.hear(answer().ptr(HTTP, 4500, A), 200);
    assert_eq!(bench.query_times(start, A, kind::SRV).len(), 1);
    assert_eq!(
        bench.query_times(start, A, kind::TXT),
        bench.query_times(start, A, kind::SRV)
    );
    let start = bench.ms;
    bench.hear(answer().srv(A, 120, 80, HOST), 200);
    assert_eq!(bench.query_times(start, HOST, kind::A).len(), 1);
    assert_eq!(
        bench.query_times(start, HOST, kind::AAAA),
        bench.query_times(start, HOST, kind::A)
    );
    bench.hear(answer().txt(A, 4500, b"\x01k"), 2000);
    bench.expect_event(&format!("Added 0 {A}"));
    // The address query is repeated until a response is received.
    assert_eq!(bench.query_times(start, HOST, kind::A).len(), 2);
    assert_eq!(bench.query_times(start, A, kind::SRV).len(), 0);
    bench.hear(answer().aaaa(HOST, 120, 7), 20);
    assert_eq!(
        bench.lines()[0],
        format!("Resolved 0 {A} {HOST} fe80::7 80 \u{1}k")
    );
}

/// RFC 6763 section 6.1: "DNS-SD clients MUST treat the following as equivalent": no byte, a single zero, no TXT record
#[test]
fn missing_txt_equals_empty_txt() {
    for text in [Some(&b""[..]), Some(b"\0"), None] {
        let mut bench = Bench::browsing(HTTP);
        let mut say = answer()
            .ptr(HTTP, 120, A)
            .srv(A, 120, 80, HOST)
            .a(HOST, 120, [1, 2, 3, 4]);
        say = match text {
            Some(text) => say.txt(A, 120, text),
            None => say.nsec(A, 120, &[kind::SRV]),
        };
        bench.hear(say, 20);
        let lines = bench.lines();
        assert_eq!(lines[1], format!("Resolved 0 {A} {HOST} 1.2.3.4 80 \0"));
        // TXT rdata without a byte and TXT rdata with one zero byte are the same record.
        if text.is_some() {
            let weight = bench.browser.weight();
            bench.hear(answer().txt(A, 120, b"\0").txt(A, 120, b""), 2000);
            assert_eq!((bench.browser.weight(), bench.lines().len()), (weight, 1));
        }
    }
}

/// python-zeroconf sends with each service an NSEC record for the service's name. It lists the address types that the host does not
/// have, although RFC 6762 section 6.1 requires the types that the name has. The service must be resolved nevertheless.
#[test]
fn service_with_wrong_nsec_is_resolved() {
    let mut bench = Bench::browsing(HTTP);
    let nsec = answer().ptr(HTTP, 4500, A).nsec(A, 120, &[kind::AAAA]);
    let start = bench.ms;
    bench.hear(nsec, 200);
    assert_eq!(bench.query_times(start, A, kind::SRV).len(), 1);
    let srv_and_address = answer().srv(A, 120, 80, HOST).a(HOST, 120, [192, 0, 2, 9]);
    bench.hear(srv_and_address, 20);
    bench.expect_event(&format!("Added 0 {A}"));
    bench.hear(answer().txt(A, 4500, b"\x01k"), 20);
    let expect = format!("Resolved 0 {A} {HOST} 192.0.2.9 80 \u{1}k");
    bench.expect_event(&expect);
}

#[test]
fn changed_record_is_reported_once() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().service(A, HOST, 120), 3000);
    bench.lines();
    bench.hear(answer().txt(A, 120, b"\x03a=2"), 5000);
    bench.expect_event(&format!("Changed 0 {A} {HOST} 192.0.2.9 80 \u{3}a=2"));
    bench.hear(answer().srv(A, 120, 81, HOST), 5000);
    bench.expect_event(&format!("Changed 0 {A} {HOST} 192.0.2.9 81 \u{3}a=2"));
    // The SRV record changes to a host whose address is not known yet: `Changed` follows once the address is received.
    bench.hear(answer().srv(A, 120, 81, "i.local"), 1000);
    assert_eq!(bench.lines(), [""; 0]);
    bench.hear(answer().a("i.local", 120, [192, 0, 2, 5]), 5000);
    bench.expect_event(&format!("Changed 0 {A} i.local 192.0.2.5 81 \u{3}a=2"));
    // Repeated records cause no event.
    bench.hear(
        answer().srv(A, 120, 81, "i.local").txt(A, 120, b"\x03a=2"),
        5000,
    );
    assert_eq!(bench.lines(), [""; 0]);
}

#[test]
fn replaced_address_is_reported_but_additional_is_not() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().service(A, HOST, 120), 3000);
    bench.lines();
    let both = answer()
        .a(HOST, 120, [192, 0, 2, 9])
        .a(HOST, 120, [192, 0, 2, 8]);
    bench.hear(both.aaaa(HOST, 120, 1), 3000);
    assert_eq!(bench.lines(), [""; 0]);
    bench.hear(answer().a(HOST, 120, [192, 0, 2, 7]), 3000);
    bench.expect_event(&format!("Changed 0 {A} {HOST} 192.0.2.7 80 \u{3}a=1"));
}

#[test]
fn global_address_is_preferred_to_link_local() {
    let mut bench = Bench::browsing(HTTP);
    let name = wire(HOST);
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
    for last in [1, 2] {
        let say = answer().service(A, HOST, 120).aaaa(HOST, 120, last);
        let say = say
            .record(1, &name, kind::AAAA, CLASS_IN, 120, &global)
            .aaaa(HOST, 120, 3);
        bench.receive_via(0, PEER_V6, &say).wait(20);
    }
    let lines = bench.lines();
    assert_eq!(
        lines[1],
        format!("Resolved 0v6 {A} {HOST} 2001:db8::5 80 \u{3}a=1")
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn service_is_reported_per_address_family() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().service(A, HOST, 120), 20);
    bench.lines();
    let say = answer().service(A, HOST, 120).aaaa(HOST, 120, 9);
    bench.receive_via(0, PEER_V6, &say).wait(2000);
    assert_eq!(
        bench.lines()[..2],
        [
            format!("Added 0v6 {A}"),
            format!("Resolved 0v6 {A} {HOST} fe80::9 80 \u{3}a=1")
        ]
    );
    bench.hear(answer().ptr(HTTP, 0, A), 1100);
    assert_eq!(
        bench.lines(),
        [format!("Removed 0 {A}"), format!("Removed 0v6 {A}")]
    );
    assert_eq!(bench.browser.weight().0, 5);
}

/// The browser reports `Resolved` once per address family, with an address of that family. Records received over one family cause
/// no `Changed` in the other, whatever the order.
#[test]
fn each_family_resolves_once_with_own_address() {
    let v4 = answer().ptr(HTTP, 120, A).a(HOST, 120, [192, 0, 2, 9]);
    let v6 = answer()
        .ptr(HTTP, 120, A)
        .srv(A, 120, 80, HOST)
        .txt(A, 120, b"\0")
        .aaaa(HOST, 120, 9);
    let added = |v6: &str| format!("Added 0{v6} {A}");
    let line =
        |what: &str, v6: &str, address: &str| format!("{what} 0{v6} {A} {HOST} {address} 80 \0");
    let browse = || {
        let mut bench = Bench::browsing(HTTP);
        bench.wait(2000).lines();
        bench
    };
    // Records arrive over IPv6 first. Then an IPv4 address arrives over IPv4.
    let mut bench = browse();
    bench.receive_via(0, PEER_V6, &v6).wait(500);
    bench.hear(v4.clone(), 500);
    assert_eq!(
        bench.lines(),
        [
            added("v6"),
            line("Resolved", "v6", "fe80::9"),
            added(""),
            line("Resolved", "", "192.0.2.9")
        ]
    );
    // Records arrive over both families before the next pass over the cache.
    let mut bench = browse();
    bench.receive_via(0, PEER_V6, &v6);
    bench.hear(v4.clone(), 500);
    assert_eq!(
        bench.lines(),
        [
            added(""),
            added("v6"),
            line("Resolved", "", "192.0.2.9"),
            line("Resolved", "v6", "fe80::9")
        ]
    );
    // A changed address in one family causes no event in the other.
    bench.wait(2000);
    let other = answer().aaaa(HOST, 120, 8);
    bench.receive_via(0, PEER_V6, &other).wait(3000);
    bench.expect_event(&line("Changed", "v6", "fe80::8"));
    // A new port causes a change in both families.
    bench.hear(answer().srv(A, 120, 81, HOST), 3000);
    let lines = bench.lines();
    assert_eq!(lines.len(), 2);
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("Changed") && line.contains(" 81 "))
    );
    // The address of the other family is reported until an address of the same family is received.
    let mut bench = browse();
    bench.hear(Say(v6.0.clone()), 500);
    bench.hear(v4, 500);
    bench.receive_via(0, PEER_V6, &v6).wait(500);
    assert_eq!(
        bench.lines(),
        [
            added(""),
            line("Resolved", "", "fe80::9"),
            line("Changed", "", "192.0.2.9"),
            added("v6"),
            line("Resolved", "v6", "fe80::9")
        ]
    );
}

/// When an address family is added to a link, the next query lists no known answers: otherwise responders would not answer over the
/// new family.
#[test]
fn records_before_link_change_are_no_known_answers() {
    let mut bench = Bench::browsing(HTTP);
    bench.hear(answer().service(A, HOST, 120), 3000);
    bench.sent.clear();
    let _ = bench.links[0]
        .addresses
        .push(("2001:db8::1".parse().unwrap(), 64));
    bench.notify_link_change(0);
    bench.wait(1000);
    let sent = bench.sent.first().unwrap();
    assert!(
        sent.asks_for(HTTP, kind::PTR) && sent.knows.is_empty(),
        "{sent:?}"
    );
    // Records received after the change are sent as known answers.
    bench.hear(answer().service(A, HOST, 120), 3000);
    let sent = bench.sent.last().unwrap();
    assert!(
        sent.asks_for(HTTP, kind::PTR) && sent.knows.len() == 1,
        "{sent:?}"
    );
}

#[test]
fn expired_srv_reports_lost_until_host_returns() {
    let mut bench = Bench::browsing(HTTP);
    bench.wait(2000).lines();
    bench.receive(answer().service(A, HOST, 120));
    bench.hear(answer().ptr(HTTP, 4500, A), 119_000);
    assert_eq!(bench.lines().len(), 2);
    bench.wait(60_000);
    bench.expect_event(&format!("Lost 0 {A}"));
    bench.hear(answer().service(A, HOST, 120), 1000);
    bench.expect_event(&format!("Resolved 0 {A} {HOST} 192.0.2.9 80 \u{3}a=1"));
    // A goodbye removes the service without a `Lost` event.
    let bye = answer().srv(A, 0, 80, HOST).ptr(HTTP, 0, A);
    bench.hear(bye, 5000);
    bench.expect_event(&format!("Removed 0 {A}"));
}

/// Events that the caller does not fetch are kept. Meanwhile `poll_at` returns no time that has passed.
#[test]
fn unfetched_events_are_kept() {
    let mut bench = Bench::browsing(HTTP);
    let bytes = answer().service(A, HOST, 4500).0;
    bench.handle(0, PEER, Destination::Multicast, &bytes);
    let (mut buffer, mut count) = ([0; 2000], 0);
    let start = bench.ms;
    while bench.ms < start + 100_000 {
        let now = bench.now();
        while bench.browser.poll_transmit(now, &mut buffer).is_some() {}
        // Fetch only the first event. `AllForNow` becomes due later.
        if count == 0 {
            count += usize::from(bench.browser.next_event(now).is_some());
        }
        let next = bench.browser.poll_at();
        assert!(next > now, "the browser is due again at once");
        bench.ms += next.since(now).as_ms();
    }
    bench.drain();
    let lines = bench.lines();
    assert!(lines[0].starts_with("Resolved"), "{lines:?}");
    assert!(lines[1].starts_with("AllForNow"), "{lines:?}");
}

/// RFC 6763 section 7.1: "_printer._sub._http._tcp": a subtype has its own name and enumerates services of its type
#[test]
fn subtype_finds_services_of_its_type_only() {
    let sub = "_printer._sub._http._tcp.local";
    let mut bench = Bench::new();
    bench.look_up(Goal::Services, sub).wait(300);
    bench.hear(answer().service(A, HOST, 120).ptr(sub, 120, A), 20);
    assert_eq!(bench.lines()[0], format!("Added 0 {A}"));
    assert_eq!(bench.lines().len(), 0);
    bench.hear(answer().ptr(sub, 120, "b._ipp._tcp.local"), 20);
    assert_eq!(bench.lines(), [""; 0]);
}

/// RFC 6763 section 9: "_services._dns-sd._udp" enumerates the types on the network.
#[test]
fn enumerated_types_are_browsed_for_services() {
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up(Goal::Everything, TYPES).wait(200);
    assert_eq!(bench.query_times(start, TYPES, kind::PTR).len(), 1);
    let start = bench.ms;
    bench.receive(
        answer()
            .ptr(TYPES, 4500, HTTP)
            .ptr(TYPES, 4500, "_ipp._tcp.local"),
    );
    bench.wait(200);
    assert_eq!(bench.query_times(start, HTTP, kind::PTR).len(), 1);
    assert_eq!(
        bench.query_times(start, "_ipp._tcp.local", kind::PTR),
        bench.query_times(start, HTTP, kind::PTR)
    );
    bench.hear(answer().service(A, HOST, 120), 20);
    let lines = bench.lines();
    assert_eq!(
        lines[..2],
        ["Type 0 _http._tcp.local", "Type 0 _ipp._tcp.local"]
    );
    assert_eq!(lines[2], format!("Added 0 {A}"));
    assert!(lines[3].starts_with("Resolved") && lines.len() == 4);
    // Without further responses `AllForNow` is reported after 1.5 s.
    bench.wait(3000);
    assert_eq!(
        bench.events,
        [(start + 210 + 1500, format!("AllForNow 0 {TYPES}"))]
    );
    // `Goal::Types` sends no queries for instances.
    let mut bench = Bench::new();
    bench.look_up(Goal::Types, TYPES).wait(200);
    bench.hear(answer().ptr(TYPES, 4500, HTTP), 5000);
    assert_eq!(bench.query_times(0, HTTP, kind::PTR).len(), 0);
    assert_eq!(bench.lines().len(), 2);
}

#[test]
fn malformed_type_and_service_names_are_ignored() {
    let mut bench = Bench::new();
    bench.look_up(Goal::Everything, TYPES).wait(200);
    for strange in [
        TYPES,
        "local",
        "",
        "_tcp.local",
        "http._tcp.local",
        "_http.tcp.local",
        "_http._tcp.example",
        "a._http._tcp.local",
    ] {
        bench.receive(answer().ptr(TYPES, 4500, strange));
    }
    bench.hear(answer().ptr(TYPES, 4500, HTTP), 200);
    for strange in [
        HTTP,
        "",
        "local",
        "a.b._http._tcp.local",
        "a._ipp._tcp.local",
        TYPES,
    ] {
        bench.receive(answer().ptr(HTTP, 4500, strange));
    }
    bench.wait(10_000);
    assert_eq!(
        bench.lines(),
        ["Type 0 _http._tcp.local", &format!("AllForNow 0 {TYPES}")]
    );
    let asked = bench.sent.iter().flat_map(|sent| &sent.asks);
    assert!(
        asked
            .clone()
            .all(|asked| [HTTP, TYPES].contains(&&asked.0[..]))
    );
}

#[test]
fn all_for_now_follows_resolution_or_timeout() {
    // No host responds.
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up(Goal::Services, HTTP).wait(10_000);
    assert_eq!(
        bench.events,
        [(start + 1500, format!("AllForNow 0 {HTTP}"))]
    );
    // A host that responds late is resolved. A host that never responds is reported once, as unresolved.
    for answers in [true, false] {
        let mut bench = Bench::new();
        let start = bench.ms;
        bench.look_up(Goal::Services, HTTP).wait(200);
        bench.hear(answer().ptr(HTTP, 4500, A), 1800);
        if answers {
            bench.receive(answer().service(A, HOST, 120));
        }
        bench.wait(60_000);
        let all = format!("AllForNow 0 {HTTP}");
        let expect = if answers {
            let resolved = format!("Resolved 0 {A} {HOST} 192.0.2.9 80 \u{3}a=1");
            [(start + 2010, resolved), (start + 3510, all)]
        } else {
            [
                (start + 5210, format!("Unresolved 0 {A}")),
                (start + 5210, all),
            ]
        };
        assert_eq!(bench.events[1..], expect);
        // A late response resolves the service. When its records expire, `Lost` is reported, not `Unresolved` again.
        bench.lines();
        let back = answer().service(A, HOST, 120).ptr(HTTP, 4500, A);
        bench.hear(back, 20);
        assert_eq!(bench.lines().len(), usize::from(!answers));
        bench.wait(200_000);
        bench.expect_event(&format!("Lost 0 {A}"));
    }
}

/// `AllForNow` is delayed while a host announces further services, but at most until 30 s after the start.
#[test]
fn all_for_now_waits_at_most_30_s() {
    for (every, count, end) in [
        (1400, 4, 210 + 3 * 1400 + 1500),
        (1600, 4, 210 + 1500),
        (900, 100, 30_000),
    ] {
        let mut bench = Bench::new();
        let start = bench.ms;
        bench.look_up(Goal::Services, HTTP).wait(200);
        for number in 0..count {
            let name = format!("{number}.{HTTP}");
            bench.hear(answer().service(&name, HOST, 120), every);
        }
        bench.wait(3000);
        let all = bench
            .events
            .iter()
            .filter(|events| events.1.starts_with("AllForNow"));
        let all: Vec<_> = all.map(|events| events.0 - start).collect();
        assert_eq!(all, [end], "every {every} ms");
    }
}

/// RFC 6763 section 5: "clients MUST correctly interpret the priority and weight fields -- i.e., lower-numbered priority
/// servers should be used in preference"
#[test]
fn srv_with_lowest_priority_is_used() {
    let mut bench = Bench::browsing(HTTP);
    let srv = |priority: u8, host: &str| [&[0, priority, 0, 0, 0, 80], &wire(host)[..]].concat();
    let mut say = answer()
        .ptr(HTTP, 120, A)
        .txt(A, 120, b"\0")
        .a("j.local", 120, [1, 2, 3, 4]);
    for (priority, host) in [(9, "i.local"), (3, "j.local"), (5, "k.local")] {
        say = say.record(1, &wire(A), kind::SRV, CLASS_IN, 120, &srv(priority, host));
    }
    bench.hear(say, 20);
    assert_eq!(
        bench.lines()[1],
        format!("Resolved 0 {A} j.local 1.2.3.4 80 \0")
    );
}

/// RFC 6763 section 4.3: "appropriate precautions MUST be taken to ensure that DNS label boundaries are properly preserved"
/// RFC 6763 section 4.1.1: "otherwise is allowed to contain any characters, without restriction, including ... dots"
#[test]
fn instance_name_may_contain_any_character() {
    let mut bench = Bench::browsing(HTTP);
    let name = "Dr\\. Ä\\.\u{1} x._http._tcp.local";
    bench.hear(answer().ptr(HTTP, 120, name), 20);
    assert_eq!(bench.lines()[0], "Added 0 Dr. Ä.\u{1} x._http._tcp.local");
    assert!(bench.find(name).is_some());
}

#[test]
fn service_of_this_host_is_marked_own() {
    let mut bench = Bench::browsing(HTTP);
    let bytes = answer().service(A, HOST, 120).0;
    bench.handle(0, "192.0.2.1:5353", Destination::Multicast, &bytes);
    bench.ms += 10;
    let now = bench.now();
    let event = bench.browser.next_event(now).unwrap();
    assert!(event.is_own);
    let event = bench.browser.next_event(now).unwrap();
    assert_eq!(event.addresses().count(), 1);
}
