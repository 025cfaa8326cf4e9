//! What we say comes back: at once, through another link of ours, or as said by another process of this host.

use super::super::Goal;
use super::world::{PEER, Say, Sent, World};
use crate::engine::mdns::Cast;
use crate::wire::dns::{CLASS_IN, flag, kind};

const HTTP: &str = "_http._tcp.local";
const IPP: &str = "_ipp._tcp.local";

/// What is sent by link 0 comes back there, in both families.
const OWN: [(u8, u8, &str); 2] = [(0, 0, "192.0.2.1:5353"), (0, 0, "[fe80::1]:5353")];

/// All that a browser does in a day: it asks again and again, says what it knows in many messages, refreshes, doubts, and has
/// its link go and come.
fn a_day(echoes: &[(u8, u8, &'static str)]) -> (Vec<Sent>, Vec<(u64, String)>) {
    let mut world = World::new();
    world.echoes = echoes.to_vec();
    world.wish(Goal::Services, HTTP);
    world.wish(Goal::Host, "h.local");
    world.wait(300);
    for count in 0..60 {
        let name = format!("some service with a long name {count}.{HTTP}");
        world.hear(Say::answer().service(&name, "h.local", 120));
    }
    world.wait(130_000);
    world.hear(Say::answer().ptr(HTTP, 4500, &format!("a.{HTTP}")));
    world.wait(5_000);
    world.wish(Goal::Types, "_services._dns-sd._udp.local");
    world.wish(Goal::Services, IPP);
    world.wait(10_000);
    world.down(0);
    world.wait(1_000);
    world.up(0);
    world.wait(86_400_000);
    (world.sent, world.told)
}

/// RFC 6762 section 7.3 speaks of another host: our own question, which every real host hears again, spares us none.
#[test]
fn what_comes_back_to_us_changes_nothing() {
    let (sent, told) = a_day(&[]);
    assert!(sent.iter().any(|sent| sent.flags & flag::TRUNCATED != 0));
    assert!(sent.len() > 60 && told.len() > 120, "{}", sent.len());
    assert!((sent, told) == a_day(&OWN));
}

/// Two processes of one host have one address and one port. What the other asks is not ours, and is not another host's: who
/// asks rarely is not spared by one who asks often, and both are told all.
#[test]
fn two_on_one_host_ask_for_themselves() {
    let mut world = World::new();
    let start = world.ms;
    world.wish(Goal::Services, HTTP);
    let ask = Say::query().asks(HTTP, kind::PTR, CLASS_IN);
    for _ in 0..79 {
        world.wait(100);
        for (_, _, from) in OWN {
            world.hear_from(from, Cast::Multicast, &ask.0);
        }
    }
    let at = world.asked(start, HTTP, kind::PTR);
    let after: Vec<_> = at.iter().map(|ms| ms - at[0]).collect();
    assert_eq!(after, [0, 1000, 3000, 7000]);
    // What a responder of this host says is told as any other's, also to him who did not ask.
    for (from, name) in [(OWN[0].2, "a"), (OWN[1].2, "b"), (PEER, "c")] {
        let say = Say::answer().service(&format!("{name}.{HTTP}"), "h.local", 120);
        world.hear_from(from, Cast::Multicast, &say.0).wait(20);
        assert!(world.knows(name), "{name}");
    }
}

/// Two links of ours that lead to the same network: a question that was asked there by one was asked for both. Whoever answers
/// is heard by both.
#[test]
fn what_comes_back_by_another_link_was_asked_there() {
    let mut world = World::new();
    world.echoes = [
        OWN[0],
        (0, 1, OWN[0].2),
        (1, 0, "192.0.2.3:5353"),
        (1, 1, "192.0.2.3:5353"),
    ]
    .to_vec();
    let second = ("192.0.2.3".parse().unwrap(), 24);
    world.links[1].addresses.push(second).unwrap();
    world.wish(Goal::Services, HTTP).wait(20_000);
    // It comes later: its questions are the only ones for a while.
    world.change(1);
    let start = world.ms;
    world.wait(500);
    assert_eq!(world.asked(start, HTTP, kind::PTR).len(), 1);
    for link in [0, 1] {
        let say = Say::answer().service(&format!("a.{HTTP}"), "h.local", 4500);
        world.hear_on(link, PEER, Cast::Multicast, &say.0);
    }
    world.wait(50_000);
    let lines = world.lines();
    for link in [0, 1] {
        assert!(
            lines.contains(&format!("Added {link} a.{HTTP}")),
            "{lines:?}"
        );
    }
    // In an hour they ask as often as one would, and neither forgets while somebody answers.
    world.sent.clear();
    for _ in 0..60 {
        world.wait(60_000);
        for link in [0, 1] {
            let say = Say::answer().service(&format!("a.{HTTP}"), "h.local", 4500);
            world.hear_on(link, PEER, Cast::Multicast, &say.0);
        }
    }
    assert_eq!(world.lines(), [""; 0]);
    let asked = world.asked(0, HTTP, kind::PTR);
    assert!((3..9).contains(&asked.len()), "{asked:?}");
}
