//! Another responder on this host, which speaks from one of its addresses: it has the host, we have our services.

use super::script::{message, query, response};
use super::world::{PEER, World, link};
use crate::engine::mdns::Cast;

/// From where it speaks.
const HERE: &str = "192.0.2.1:5353";
const REVERSE: &str = "1.2.0.192.in-addr.arpa";

/// Its probe for this name, as avahi writes it.
fn probe(name: &str) -> Vec<u8> {
    query(&[
        &format!("? {name}.local ANY"),
        &format!("? {REVERSE} ANY"),
        &format!("! {name}.local 120 A 192.0.2.1"),
        &format!("! {REVERSE} 120 PTR {name}.local"),
    ])
}

/// What it announces, or with a TTL of 0 says goodbye to.
fn announcement(name: &str, ttl: u32) -> Vec<u8> {
    response(&[
        &format!("= {name}.local {ttl} flush A 192.0.2.1"),
        &format!("= {REVERSE} {ttl} flush PTR {name}.local"),
    ])
}

fn has(world: &World, begin: &str) -> bool {
    world.all().iter().any(|line| line.starts_with(begin))
}

/// Whether anything of the host is told or proposed: addresses, or whose they are.
fn tells_host(world: &World) -> bool {
    let is_its = |line: &String| {
        line.contains(" A 192") || line.contains(" AAAA ") || line.contains("arpa ")
    };
    world
        .all()
        .iter()
        .any(|line| !line.starts_with('?') && is_its(line))
}

/// What we send is heard by ourselves.
fn hear_ourselves(world: &mut World) {
    for sent in world.sent.clone() {
        world.hear_on(sent.link, HERE, Cast::Multicast, &sent.bytes);
    }
}

/// It probes after we have announced: what we say of the host would make it take another name.
#[test]
fn who_probes_from_here_gets_the_host() {
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

/// It answers our probe: it was here first.
#[test]
fn who_answers_from_here_keeps_the_host() {
    for name in ["box", "vm"] {
        let mut world = World::up(1);
        world.serve("a box", 2049, &[]);
        world.run(300);
        hear_ourselves(&mut world);
        // Of two names, the reverse mapping tells which is the other's.
        let answer = format!("= {REVERSE} 120 flush PTR {name}.local");
        world.hear(HERE, &response(&[&answer]));
        world.sent.clear();
        world.run(3000);
        assert!(!tells_host(&world), "{:?}", world.all());
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

/// Another program has the port: it is asked, and a probe that could cost it its name is not sent before.
#[test]
fn who_may_be_here_is_asked_first() {
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
    assert!(!tells_host(&world) && !world.responder.is_settled());
    world.hear(HERE, &announcement("vm", 120));
    world.run(5000);
    assert!(!tells_host(&world) && world.responder.is_settled());
    // Nobody answers.
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
fn who_says_goodbye_or_is_silent_leaves_us_the_host() {
    for says_goodbye in [true, false] {
        for name in ["box", "vm"] {
            let mut world = World::serving(1);
            world.hear(HERE, &announcement(name, 120));
            world.run(90_000);
            assert!(!tells_host(&world) || name == "vm");
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
            // The name is claimed as it was: another host's makes it another.
            world.run(400);
            world.set_link(0, &[]);
            world.set_link(0, &["192.0.2.1/24"]);
            world.run(400);
            world.hear(PEER, &response(&["= box.local 120 flush A 192.0.2.77"]));
            assert_eq!(world.host(), "box-2");
        }
    }
}

/// It is asked before its records expire, and answers.
#[test]
fn who_answers_stays() {
    let mut world = World::serving(1);
    world.hear(HERE, &announcement("vm", 120));
    for _ in 0..10 {
        world.run(4000);
        world.sent.clear();
        world.run(92_249);
        assert_eq!(world.sent.len(), 1, "{:?}", world.all());
        assert!(has(&world, "? 1.2.0.192.in-addr.arpa ANY"));
        world.hear(HERE, &announcement("vm", 120));
        assert!(!tells_host(&world));
    }
}

/// What comes back of ours, what queriers know and say of us, names of an address that are no host's, other hosts: nobody is here.
#[test]
fn nobody_is_taken_for_another_responder() {
    let mut world = World::up(1);
    world.serve("a box", 2049, &[]);
    for _ in 0..50 {
        world.run(100);
        hear_ourselves(&mut world);
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

/// Two of ours probe at once: both give way, and one of them comes back.
#[test]
fn two_of_ours_end_with_one_host() {
    for seed in 1..20 {
        let mut worlds = [World::new(seed), World::new(seed + 100)];
        for (number, world) in worlds.iter_mut().enumerate() {
            world.set_link(0, &["192.0.2.1/24"]);
            world.serve(&format!("service {number}"), 1, &[]);
        }
        for _ in 0..40_000 {
            let mut said = [Vec::new(), Vec::new()];
            for (world, said) in worlds.iter_mut().zip(&mut said) {
                world.run(1);
                *said = core::mem::take(&mut world.sent);
            }
            for (from, said) in said.iter().enumerate() {
                for (to, world) in worlds.iter_mut().enumerate() {
                    for sent in said {
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
fn the_host_and_its_reverse_mapping_can_be_left_out() {
    let mut world = World::new(1);
    world.responder.leave_reverse_out();
    world.set_link(0, &["192.0.2.1/24"]);
    world.run(5000);
    assert!(has(&world, "= box.local 120 flush A 192.0.2.1"));
    assert!(world.all().iter().all(|line| !line.contains("arpa")));
    let mut world = World::without_host(1);
    world.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
    world.serve("a box", 2049, &[]);
    world.run(5000);
    assert!(!tells_host(&world) && !has(&world, "? box.local"));
    assert!(has(
        &world,
        "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local"
    ));
    world.hear(HERE, &announcement("box", 120));
    world.run(200_000);
    assert!(!tells_host(&world) && world.responder.is_settled());
}
