//! Our own messages received again: on the same link, through another link of this host, or sent by another process of this host.

use super::super::Goal;
use super::bench::{Bench, HTTP, PEER, Sent, answer, query};
use crate::wire::dns::{CLASS_IN, flag, kind};

const IPP: &str = "_ipp._tcp.local";

/// Value of [`Bench::echoes`]: messages sent on link 0 are received there again, from our IPv4 and from our IPv6 address.
const OWN: [(u8, u8, &str); 2] = [(0, 0, "192.0.2.1:5353"), (0, 0, "[fe80::1]:5353")];

/// Browses for a day with repeated queries, known answers in several messages, refreshes, reconfirmations, and a link that goes
/// down and up. Returns the sent messages and the events.
fn browse_for_a_day(echoes: &[(u8, u8, &'static str)]) -> (Vec<Sent>, Vec<(u64, String)>) {
    let mut bench = Bench::new();
    bench.echoes = echoes.to_vec();
    bench.look_up(Goal::Services, HTTP);
    bench.look_up(Goal::Host, "h.local");
    bench.wait(300);
    for count in 0..60 {
        let name = format!("some service with a long name {count}.{HTTP}");
        bench.receive(answer().service(&name, "h.local", 120));
    }
    bench.wait(130_000);
    bench.receive(answer().ptr(HTTP, 4500, &format!("a.{HTTP}")));
    bench.wait(5_000);
    bench.look_up(Goal::Types, "_services._dns-sd._udp.local");
    bench.look_up(Goal::Services, IPP);
    bench.wait(10_000);
    bench.down(0);
    bench.wait(1_000);
    bench.up(0);
    bench.wait(86_400_000);
    (bench.sent, bench.events)
}

/// RFC 6762 section 7.3 applies to other hosts: our own query, which multicast loops back, does not suppress later ones.
#[test]
fn looped_back_messages_change_nothing() {
    let (sent, events) = browse_for_a_day(&[]);
    assert!(sent.iter().any(|sent| sent.flags & flag::TRUNCATED != 0));
    assert!(sent.len() > 60 && events.len() > 120, "{}", sent.len());
    assert!((sent, events) == browse_for_a_day(&OWN));
}

/// Two processes of one host share address and port. A query of the other process counts neither as our own nor as another host's,
/// so frequent queries of one process do not suppress those of the other. Both processes receive each response.
#[test]
fn processes_of_one_host_query_independently() {
    let mut bench = Bench::new();
    let start = bench.ms;
    bench.look_up(Goal::Services, HTTP);
    let ask = query().asks(HTTP, kind::PTR, CLASS_IN);
    for _ in 0..79 {
        bench.wait(100);
        for (_, _, from) in OWN {
            bench.receive_via(0, from, &ask);
        }
    }
    let at = bench.query_times(start, HTTP, kind::PTR);
    let after: Vec<_> = at.iter().map(|ms| ms - at[0]).collect();
    assert_eq!(after, [0, 1000, 3000, 7000]);
    // A response of this host's responder is processed like any other response, even if the other process asked the question.
    for (from, name) in [(OWN[0].2, "a"), (OWN[1].2, "b"), (PEER, "c")] {
        let say = answer().service(&format!("{name}.{HTTP}"), "h.local", 120);
        bench.receive_via(0, from, &say).wait(20);
        assert!(bench.has_service(name), "{name}");
    }
}

/// Two links of ours are on the same network: a query sent through one counts as sent on both. Both links receive each response.
#[test]
fn query_looped_through_other_link_counts_there() {
    let mut bench = Bench::new();
    bench.echoes = [
        OWN[0],
        (0, 1, OWN[0].2),
        (1, 0, "192.0.2.3:5353"),
        (1, 1, "192.0.2.3:5353"),
    ]
    .to_vec();
    let second = ("192.0.2.3".parse().unwrap(), 24);
    bench.links[1].addresses.push(second).unwrap();
    bench.look_up(Goal::Services, HTTP).wait(20_000);
    // Link 1 changes later, when no other query is due.
    bench.notify_link_change(1);
    let start = bench.ms;
    bench.wait(500);
    assert_eq!(bench.query_times(start, HTTP, kind::PTR).len(), 1);
    for link in [0, 1] {
        let say = answer().service(&format!("a.{HTTP}"), "h.local", 4500);
        bench.receive_via(link, PEER, &say);
    }
    bench.wait(50_000);
    let lines = bench.lines();
    for link in [0, 1] {
        assert!(
            lines.contains(&format!("Added {link} a.{HTTP}")),
            "{lines:?}"
        );
    }
    // In an hour, both links together send as many queries as one link would. The service is not removed on either link while
    // responses arrive.
    bench.sent.clear();
    for _ in 0..60 {
        bench.wait(60_000);
        for link in [0, 1] {
            let say = answer().service(&format!("a.{HTTP}"), "h.local", 4500);
            bench.receive_via(link, PEER, &say);
        }
    }
    assert_eq!(bench.lines(), [""; 0]);
    let asked = bench.query_times(0, HTTP, kind::PTR);
    assert!((3..9).contains(&asked.len()), "{asked:?}");
}
