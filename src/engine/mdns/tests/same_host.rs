//! Another responder runs on this host and sends from the host's address: it announces the host, and we announce services only.

use super::bench::{Bench, HERE, PEER, link};
use super::script::{message, query, response};

const REVERSE: &str = "1.2.0.192.in-addr.arpa";

/// Returns the other responder's probe for this host name, as avahi writes it.
fn probe(name: &str) -> Vec<u8> {
    query(&[
        &format!("? {name}.local ANY"),
        &format!("? {REVERSE} ANY"),
        &format!("! {name}.local 120 A 192.0.2.1"),
        &format!("! {REVERSE} 120 PTR {name}.local"),
    ])
}

/// Returns the other responder's announcement of the host, or its goodbye if `ttl` is 0.
fn announcement(name: &str, ttl: u32) -> Vec<u8> {
    response(&[
        &format!("= {name}.local {ttl} flush A 192.0.2.1"),
        &format!("= {REVERSE} {ttl} flush PTR {name}.local"),
    ])
}

/// Returns true if the responder has sent a line that starts with `begin`.
fn has(bench: &Bench, begin: &str) -> bool {
    bench.all().iter().any(|line| line.starts_with(begin))
}

/// Returns true if the responder has sent records of the host: addresses or reverse mappings.
fn sent_host_records(bench: &Bench) -> bool {
    let is_host_record = |line: &String| {
        line.contains(" A 192") || line.contains(" AAAA ") || line.contains("arpa ")
    };
    bench
        .all()
        .iter()
        .any(|line| !line.starts_with('?') && is_host_record(line))
}

/// The other responder starts later and probes. We must not answer with our host records, because it would then rename the host.
#[test]
fn probing_responder_takes_over_the_host_records() {
    for name in ["box", "vm"] {
        let mut bench = Bench::serving(1);
        bench.hear(HERE, &probe(name));
        assert_eq!(has(&bench, "= box.local 0 flush A 192.0.2.1"), name == "vm");
        bench.run(2000);
        let srv = format!("= a~box._nfs._tcp.local 120 flush SRV 2049 {name}.local");
        assert_eq!(has(&bench, &srv), name == "vm", "{name}");
        bench.hear(HERE, &announcement(name, 120));
        bench.sent.clear();
        bench.run(60_000);
        assert!(bench.sent.is_empty(), "{name}");
        for question in [
            "? box.local ANY",
            "? vm.local ANY",
            "? 1.2.0.192.in-addr.arpa PTR",
        ] {
            assert!(bench.answers(&[question]).is_empty(), "{question}");
        }
        assert_eq!(bench.answers(&["? a~box._nfs._tcp.local SRV"]), [srv]);
        assert_eq!(bench.host(), "box");
        // Services come and go.
        let late = bench.serve("late", 1, &[]);
        bench.settle();
        let srv = format!("= late._nfs._tcp.local 120 flush SRV 1 {name}.local");
        assert_eq!(bench.answers(&["? late._nfs._tcp.local SRV"]), [srv]);
        bench.sent.clear();
        bench.withdraw(late);
        bench.run(3000);
        bench.expect_sent("= _nfs._tcp.local 0 PTR late._nfs._tcp.local", 1);
        assert!(!sent_host_records(&bench));
    }
}

/// The other responder started earlier and answers our probe: we announce no host records.
#[test]
fn answering_responder_keeps_the_host_records() {
    for name in ["box", "vm"] {
        let mut bench = Bench::up(1);
        bench.serve("a box", 2049, &[]);
        bench.echoes = vec![(0, 0, HERE)];
        bench.run(300);
        // The other responder's name for the host is the target of the reverse mapping.
        let answer = format!("= {REVERSE} 120 flush PTR {name}.local");
        bench.hear(HERE, &response(&[&answer]));
        bench.sent.clear();
        bench.run(3000);
        assert!(!sent_host_records(&bench), "{:?}", bench.all());
        assert!(has(
            &bench,
            &format!("= a~box._nfs._tcp.local 120 flush SRV 2049 {name}.local")
        ));
        assert_eq!(
            (bench.host(), bench.responder.is_settled()),
            ("box".into(), true)
        );
    }
}

/// If another program has port 5353, we ask for the host's names first: a probe could make that program rename the host.
#[test]
fn shared_port_queries_host_records_before_probing() {
    let shared = |bench: &mut Bench| {
        let mut link = link(&["192.0.2.1/24"]);
        link.shares_port = true;
        bench.responder.set_link(bench.instant(), 0, &link).unwrap();
        bench.serve("a box", 2049, &[]);
    };
    let mut bench = Bench::new(1);
    shared(&mut bench);
    bench.run(300);
    assert!(has(&bench, "? box.local ANY") && has(&bench, "? 1.2.0.192.in-addr.arpa ANY"));
    assert!(!sent_host_records(&bench) && !bench.responder.is_settled());
    bench.hear(HERE, &announcement("vm", 120));
    bench.run(5000);
    assert!(!sent_host_records(&bench) && bench.responder.is_settled());
    // If no other responder answers, the host is ours.
    let mut bench = Bench::new(1);
    shared(&mut bench);
    bench.run(5000);
    assert!(has(&bench, "= box.local 120 flush A 192.0.2.1") && bench.responder.is_settled());
    assert!(has(
        &bench,
        "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local"
    ));
}

#[test]
fn host_records_are_reannounced_after_goodbye_or_silence() {
    for says_goodbye in [true, false] {
        for name in ["box", "vm"] {
            let mut bench = Bench::serving(1);
            bench.hear(HERE, &announcement(name, 120));
            bench.run(90_000);
            assert!(!sent_host_records(&bench) || name == "vm");
            if says_goodbye {
                bench.hear(HERE, &announcement(name, 0));
            } else {
                bench.run(7000);
            }
            bench.sent.clear();
            bench.run(6000);
            for line in [
                "? box.local ANY QU",
                "= box.local 120 flush A 192.0.2.1",
                "= box.local 120 flush AAAA fe80::1",
                "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local",
                "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
            ] {
                assert!(has(&bench, line), "{name}: {line}");
            }
            assert_eq!(bench.host(), "box");
            // The name is as much ours as before: a conflict with a different host renames it.
            bench.run(400);
            bench.set_link(0, &[]);
            bench.set_link(0, &["192.0.2.1/24"]);
            bench.run(400);
            bench.hear_response(&["= box.local 120 flush A 192.0.2.77"]);
            assert_eq!(bench.host(), "box-2");
        }
    }
}

/// We ask the other responder before its records expire. It answers, so we do not announce the host.
#[test]
fn answering_responder_stays_the_announcer() {
    let mut bench = Bench::serving(1);
    bench.hear(HERE, &announcement("vm", 120));
    for _ in 0..10 {
        bench.run(4000);
        bench.sent.clear();
        bench.run(92_249);
        assert_eq!(bench.sent.len(), 1, "{:?}", bench.all());
        assert!(has(&bench, "? 1.2.0.192.in-addr.arpa ANY"));
        bench.hear(HERE, &announcement("vm", 120));
        assert!(!sent_host_records(&bench));
    }
}

/// Messages that do not reveal another responder on this host: our own messages, looped back; known answers in queries; a record
/// with a different name and our address; a goodbye; a message with an error code; announcements of other hosts.
#[test]
fn unrelated_messages_do_not_reveal_another_responder() {
    let mut bench = Bench::up(1);
    bench.serve("a box", 2049, &[]);
    bench.echoes = vec![(0, 0, HERE)];
    bench.run(5000);
    for heard in [
        query(&[
            "? vm.local A",
            "= box.local 120 A 192.0.2.1",
            "= 1.2.0.192.in-addr.arpa 120 PTR vm.local",
        ]),
        response(&["= alias.local 120 flush A 192.0.2.1"]),
        response(&["= box.local 0 flush A 192.0.2.1"]),
        message(1, 0, &["= box.local 120 A 192.0.2.1"]),
    ] {
        bench.hear(HERE, &heard);
        bench.run(3000);
        assert!(bench.responder.other_host().is_none());
    }
    bench.hear(PEER, &announcement("vm", 120));
    bench.run(3000);
    assert!(bench.responder.other_host().is_none());
    assert!(!bench.answers(&["? box.local A"]).is_empty());
}

/// Two instances of this responder probe at the same time. Both leave the host to the other, then one of them announces it again.
#[test]
fn two_instances_end_with_one_host_announcer() {
    for seed in 1..8 {
        let mut benches = [Bench::new(seed), Bench::new(seed + 100)];
        for (number, bench) in benches.iter_mut().enumerate() {
            bench.set_link(0, &["192.0.2.1/24"]);
            bench.serve(&format!("service {number}"), 1, &[]);
        }
        for _ in 0..40_000 {
            let mut messages = [Vec::new(), Vec::new()];
            for (bench, messages) in benches.iter_mut().zip(&mut messages) {
                bench.run(1);
                *messages = core::mem::take(&mut bench.sent);
            }
            for (from, messages) in messages.iter().enumerate() {
                for (to, bench) in benches.iter_mut().enumerate() {
                    for sent in messages {
                        bench.hear(HERE, &sent.bytes);
                        assert!(from != to || bench.sent.is_empty());
                    }
                }
            }
        }
        let others = benches
            .each_ref()
            .map(|bench| bench.responder.other_host().is_some());
        assert_eq!(
            others.iter().filter(|is_other| **is_other).count(),
            1,
            "{seed}"
        );
        assert!(
            benches
                .iter()
                .all(|bench| bench.host() == "box" && bench.responder.is_settled())
        );
    }
}

#[test]
fn host_and_reverse_mapping_can_be_excluded() {
    let mut bench = Bench::new(1);
    bench.responder.exclude_reverse();
    bench.set_link(0, &["192.0.2.1/24"]);
    bench.run(5000);
    assert!(has(&bench, "= box.local 120 flush A 192.0.2.1"));
    assert!(bench.all().iter().all(|line| !line.contains("arpa")));
    let mut bench = Bench::without_host(1);
    bench.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    bench.serve("a box", 2049, &[]);
    bench.run(5000);
    assert!(!sent_host_records(&bench) && !has(&bench, "? box.local"));
    assert!(has(
        &bench,
        "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local"
    ));
    bench.hear(HERE, &announcement("box", 120));
    bench.run(200_000);
    assert!(!sent_host_records(&bench) && bench.responder.is_settled());
}

/// Another program opens port 5353 while we claim the host, or between our announcements.
#[test]
fn port_taken_while_claiming_asks_before_announcing() {
    for (ms, is_claiming) in [(300, true), (1500, true), (8000, false)] {
        for is_responder in [true, false] {
            let mut bench = Bench::up(1);
            bench.serve("a box", 2049, &[]);
            bench.run(ms);
            assert_eq!(bench.responder.is_claiming(bench.instant()), is_claiming);
            if !is_claiming {
                continue;
            }
            let now = bench.instant();
            bench.responder.on_port_taken(now);
            bench.sent.clear();
            bench.run(900);
            assert!(!sent_host_records(&bench) && !has(&bench, "! box.local"));
            if is_responder {
                bench.hear(HERE, &probe("box"));
                bench.hear(HERE, &announcement("box", 120));
            }
            bench.run(5000);
            let is_announced = has(&bench, "= box.local 120 flush A 192.0.2.1");
            assert_eq!(is_announced, !is_responder);
            assert!(
                has(
                    &bench,
                    "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local"
                ) || ms > 1000
            );
        }
    }
}
