//! Another responder runs on this host and sends from the host's address: it announces the host, and we announce services only.

use super::script::{message, query, response};
use super::world::{PEER, World, link};
use crate::engine::mdns::Destination;

/// Source address of the other responder.
const HERE: &str = "192.0.2.1:5353";
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
fn has(world: &World, begin: &str) -> bool {
    world.all().iter().any(|line| line.starts_with(begin))
}

/// Returns true if the responder has sent records of the host: addresses or reverse mappings.
fn sent_host_records(world: &World) -> bool {
    let is_host_record = |line: &String| {
        line.contains(" A 192") || line.contains(" AAAA ") || line.contains("arpa ")
    };
    world
        .all()
        .iter()
        .any(|line| !line.starts_with('?') && is_host_record(line))
}

/// Delivers the responder's own messages to it, as a network stack loops multicasts back.
fn loop_back(world: &mut World) {
    for sent in world.sent.clone() {
        world.hear_on(sent.link, HERE, Destination::Multicast, &sent.bytes);
    }
}

/// The other responder starts later and probes. We must not answer with our host records, because it would then rename the host.
#[test]
fn probing_responder_takes_over_the_host_records() {
    for name in ["box", "vm"] {
        let mut world = World::serving(1);
        world.hear(HERE, &probe(name));
        assert_eq!(has(&world, "= box.local 0 flush A 192.0.2.1"), name == "vm");
        world.run(2000);
        let srv = format!("= a~box._nfs._tcp.local 120 flush SRV 2049 {name}.local");
        assert_eq!(has(&world, &srv), name == "vm", "{name}");
        world.hear(HERE, &announcement(name, 120));
        world.sent.clear();
        world.run(60_000);
        assert!(world.sent.is_empty(), "{name}");
        for question in [
            "? box.local ANY",
            "? vm.local ANY",
            "? 1.2.0.192.in-addr.arpa PTR",
        ] {
            assert!(world.answers(&[question]).is_empty(), "{question}");
        }
        assert_eq!(world.answers(&["? a~box._nfs._tcp.local SRV"]), [srv]);
        assert_eq!(world.host(), "box");
    }
}

/// The other responder started earlier and answers our probe: we announce no host records.
#[test]
fn answering_responder_keeps_the_host_records() {
    for name in ["box", "vm"] {
        let mut world = World::up(1);
        world.serve("a box", 2049, &[]);
        world.run(300);
        loop_back(&mut world);
        // The other responder's name for the host is the target of the reverse mapping.
        let answer = format!("= {REVERSE} 120 flush PTR {name}.local");
        world.hear(HERE, &response(&[&answer]));
        world.sent.clear();
        world.run(3000);
        assert!(!sent_host_records(&world), "{:?}", world.all());
        assert!(has(
            &world,
            &format!("= a~box._nfs._tcp.local 120 flush SRV 2049 {name}.local")
        ));
        assert_eq!(
            (world.host(), world.responder.is_settled()),
            ("box".into(), true)
        );
    }
}

/// If another program has port 5353, we ask for the host's names first: a probe could make that program rename the host.
#[test]
fn shared_port_queries_host_records_before_probing() {
    let shared = |world: &mut World| {
        let mut link = link(&["192.0.2.1/24"]);
        link.shares_port = true;
        world.responder.set_link(world.instant(), 0, &link).unwrap();
        world.serve("a box", 2049, &[]);
    };
    let mut world = World::new(1);
    shared(&mut world);
    world.run(300);
    assert!(has(&world, "? box.local ANY") && has(&world, "? 1.2.0.192.in-addr.arpa ANY"));
    assert!(!sent_host_records(&world) && !world.responder.is_settled());
    world.hear(HERE, &announcement("vm", 120));
    world.run(5000);
    assert!(!sent_host_records(&world) && world.responder.is_settled());
    // If no other responder answers, the host is ours.
    let mut world = World::new(1);
    shared(&mut world);
    world.run(5000);
    assert!(has(&world, "= box.local 120 flush A 192.0.2.1") && world.responder.is_settled());
    assert!(has(
        &world,
        "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local"
    ));
}

#[test]
fn host_records_are_reannounced_after_goodbye_or_silence() {
    for says_goodbye in [true, false] {
        for name in ["box", "vm"] {
            let mut world = World::serving(1);
            world.hear(HERE, &announcement(name, 120));
            world.run(90_000);
            assert!(!sent_host_records(&world) || name == "vm");
            if says_goodbye {
                world.hear(HERE, &announcement(name, 0));
            } else {
                world.run(7000);
            }
            world.sent.clear();
            world.run(6000);
            for line in [
                "? box.local ANY QU",
                "= box.local 120 flush A 192.0.2.1",
                "= box.local 120 flush AAAA fe80::1",
                "= 1.2.0.192.in-addr.arpa 120 flush PTR box.local",
                "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
            ] {
                assert!(has(&world, line), "{name}: {line}");
            }
            assert_eq!(world.host(), "box");
            // The name is as much ours as before: a conflict with a different host renames it.
            world.run(400);
            world.set_link(0, &[]);
            world.set_link(0, &["192.0.2.1/24"]);
            world.run(400);
            world.hear_response(&["= box.local 120 flush A 192.0.2.77"]);
            assert_eq!(world.host(), "box-2");
        }
    }
}

/// We ask the other responder before its records expire. It answers, so we do not announce the host.
#[test]
fn answering_responder_stays_the_announcer() {
    let mut world = World::serving(1);
    world.hear(HERE, &announcement("vm", 120));
    for _ in 0..10 {
        world.run(4000);
        world.sent.clear();
        world.run(92_249);
        assert_eq!(world.sent.len(), 1, "{:?}", world.all());
        assert!(has(&world, "? 1.2.0.192.in-addr.arpa ANY"));
        world.hear(HERE, &announcement("vm", 120));
        assert!(!sent_host_records(&world));
    }
}

/// Messages that do not reveal another responder on this host: our own messages, looped back; known answers in queries; a record
/// with a different name and our address; a goodbye; a message with an error code; announcements of other hosts.
#[test]
fn unrelated_messages_do_not_reveal_another_responder() {
    let mut world = World::up(1);
    world.serve("a box", 2049, &[]);
    for _ in 0..50 {
        world.run(100);
        loop_back(&mut world);
        world.sent.clear();
    }
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
        world.hear(HERE, &heard);
        world.run(3000);
        assert!(world.responder.other_host().is_none());
    }
    world.hear(PEER, &announcement("vm", 120));
    world.run(3000);
    assert!(world.responder.other_host().is_none());
    assert!(!world.answers(&["? box.local A"]).is_empty());
}

/// Two instances of this responder probe at the same time. Both leave the host to the other, then one of them announces it again.
#[test]
fn two_instances_end_with_one_host_announcer() {
    for seed in 1..20 {
        let mut worlds = [World::new(seed), World::new(seed + 100)];
        for (number, world) in worlds.iter_mut().enumerate() {
            world.set_link(0, &["192.0.2.1/24"]);
            world.serve(&format!("service {number}"), 1, &[]);
        }
        for _ in 0..40_000 {
            let mut messages = [Vec::new(), Vec::new()];
            for (world, messages) in worlds.iter_mut().zip(&mut messages) {
                world.run(1);
                *messages = core::mem::take(&mut world.sent);
            }
            for (from, messages) in messages.iter().enumerate() {
                for (to, world) in worlds.iter_mut().enumerate() {
                    for sent in messages {
                        world.hear(HERE, &sent.bytes);
                        assert!(from != to || world.sent.is_empty());
                    }
                }
            }
        }
        let others = worlds
            .each_ref()
            .map(|world| world.responder.other_host().is_some());
        assert_eq!(
            others.iter().filter(|is_other| **is_other).count(),
            1,
            "{seed}"
        );
        assert!(
            worlds
                .iter()
                .all(|world| world.host() == "box" && world.responder.is_settled())
        );
    }
}

#[test]
fn host_and_reverse_mapping_can_be_excluded() {
    let mut world = World::new(1);
    world.responder.exclude_reverse();
    world.set_link(0, &["192.0.2.1/24"]);
    world.run(5000);
    assert!(has(&world, "= box.local 120 flush A 192.0.2.1"));
    assert!(world.all().iter().all(|line| !line.contains("arpa")));
    let mut world = World::without_host(1);
    world.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    world.serve("a box", 2049, &[]);
    world.run(5000);
    assert!(!sent_host_records(&world) && !has(&world, "? box.local"));
    assert!(has(
        &world,
        "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local"
    ));
    world.hear(HERE, &announcement("box", 120));
    world.run(200_000);
    assert!(!sent_host_records(&world) && world.responder.is_settled());
}

/// Another program opens port 5353 while we claim the host, or between our announcements.
#[test]
fn port_taken_while_claiming_asks_before_announcing() {
    for (ms, is_claiming) in [(300, true), (1500, true), (8000, false)] {
        for is_responder in [true, false] {
            let mut world = World::up(1);
            world.serve("a box", 2049, &[]);
            world.run(ms);
            assert_eq!(world.responder.is_claiming(world.instant()), is_claiming);
            if !is_claiming {
                continue;
            }
            let now = world.instant();
            world.responder.on_port_taken(now);
            world.sent.clear();
            world.run(900);
            assert!(!sent_host_records(&world) && !has(&world, "! box.local"));
            if is_responder {
                world.hear(HERE, &probe("box"));
                world.hear(HERE, &announcement("box", 120));
            }
            world.run(5000);
            let is_announced = has(&world, "= box.local 120 flush A 192.0.2.1");
            assert_eq!(is_announced, !is_responder);
            assert!(
                has(
                    &world,
                    "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local"
                ) || ms > 1000
            );
        }
    }
}
