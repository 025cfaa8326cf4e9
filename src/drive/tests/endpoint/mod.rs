//! The task of multicast DNS: changing interfaces, bad datagrams, failing calls.

pub(super) mod host;

use crate::drive::endpoint::Choice;
use crate::net::{Interface, NetError};
use crate::time::Duration;
use cases::random::{Random, for_seeds};
use host::{PEER, QUERY, SETTLED, interfaces, with_announced, with_choice, with_host};

const ERRORS: [NetError; 5] = [
    // Errors to inject: ENOBUFS, no route, denied by a packet filter, and others.
    NetError::Full,
    NetError::Gone,
    NetError::Denied,
    NetError::WouldBlock,
    NetError::Unsupported,
];

const NOWHERE: &str =
    "stowaway: cannot use multicast DNS on any interface: down, or without an address; waiting";

#[test]
fn stopped_responder_sends_goodbye_in_each_family() {
    with_announced(false, |bench| {
        assert!(bench.answers());
        bench.stop();
        assert_eq!(bench.heard(), (0, 0, 2));
    });
    // No goodbyes are sent without an interface, or before the first announcement.
    for count in [0, 1] {
        with_host(false, |bench| {
            bench.sim.set_interfaces(&interfaces(count));
            bench.run(Duration::from_ms(300));
            bench.stop();
            assert_eq!(bench.heard().2, 0);
        });
    }
}

#[test]
fn reload_signal_is_handled_at_once() {
    with_announced(false, |bench| {
        for count in 1..4 {
            bench.sim.faults().reload = true;
            bench.run(Duration::from_ms(5));
            assert_eq!(*bench.calls.borrow(), count);
        }
        assert!(bench.answers());
    });
}

/// An idle endpoint wakes the loop only to poll the interfaces, and only if the host does not report changes.
/// RFC 6762 section 8.3: "MUST NOT send announcements in the absence of information that its network connectivity may have
/// changed".
#[test]
fn idle_endpoint_sleeps_until_an_event() {
    for no_changes in [false, true] {
        with_announced(no_changes, |bench| {
            bench.run(Duration::from_secs(60));
            let waits = bench.sim.turns();
            // If the host does not report changes, the interfaces are read every five seconds.
            assert_eq!(waits, if no_changes { 13 } else { 1 });
            assert_eq!(bench.sim.sleep().is_none(), !no_changes);
            assert_eq!(bench.heard(), (0, 0, 0));
        });
    }
}

#[test]
fn lost_interface_is_left_until_it_returns() {
    for no_changes in [false, true] {
        with_announced(no_changes, |bench| {
            let open = bench.sim.open_count();
            let without_cable = interfaces(1).into_iter().map(|interface| Interface {
                is_running: false,
                ..interface
            });
            for gone in [Vec::new(), without_cable.collect::<Vec<_>>()] {
                bench.sim.set_interfaces(&gone);
                bench.run(Duration::from_secs(6));
                // The link's sockets are closed: two of multicast groups and two of addresses.
                assert_eq!(bench.sim.open_count(), open - 4);
                assert!(!bench.answers());
                bench.sim.set_interfaces(&interfaces(1));
                bench.run(Duration::from_secs(5).max(SETTLED));
                bench.run(SETTLED);
                assert_eq!(bench.heard(), (6, 4, 0));
                assert_eq!(bench.sim.open_count(), open);
                assert!(bench.answers());
            }
            assert_eq!(bench.sink.lines(), [NOWHERE]);
        });
    }
}

/// Without an interface, the endpoint reports that once and waits.
#[test]
fn missing_interface_is_reported_once() {
    with_host(false, |bench| {
        bench.run(Duration::from_secs(60));
        let alone = interfaces(1).into_iter().map(|interface| Interface {
            is_loopback: true,
            ..interface
        });
        bench.sim.set_interfaces(&alone.collect::<Vec<_>>());
        bench.run(Duration::from_secs(60));
        assert_eq!(bench.sink.lines(), [NOWHERE]);
        bench.sim.set_interfaces(&interfaces(1));
        bench.run(SETTLED);
        assert!(bench.answers());
    });
}

/// The reason is reported at once, and once.
#[test]
fn unknown_interface_is_reported_at_the_start() {
    let choice = Choice {
        names: &[b"nope"],
        ..Choice::default()
    };
    with_choice(false, choice, |bench| {
        let lines = ["stowaway: cannot use multicast DNS on nope: no such interface; waiting"];
        assert_eq!(bench.sink.lines(), lines);
        bench.sim.set_interfaces(&interfaces(1));
        bench.run(Duration::from_secs(60));
        assert_eq!(bench.sink.lines(), lines);
        assert!(!bench.answers());
    });
}

#[test]
fn changed_address_is_probed_and_replaces_lost_one() {
    with_announced(false, |bench| {
        let mut changed = interfaces(1);
        let address = ("192.0.2.5".parse().unwrap(), 24);
        changed[0].addresses[0] = address;
        bench.sim.set_interfaces(&changed);
        bench.run(SETTLED);
        let (asked, told, left) = bench.heard();
        assert!((6, 4) == (asked, told) && left > 0, "{asked} {told} {left}");
        assert!(bench.answers());
        // Unchanged addresses, and changes of interfaces that are not served, cause no message.
        changed.extend(interfaces(1).into_iter().map(|interface| Interface {
            index: 9,
            is_loopback: true,
            ..interface
        }));
        changed.extend(interfaces(1).into_iter().map(|interface| Interface {
            index: 10,
            is_point_to_point: true,
            ..interface
        }));
        bench.sim.set_interfaces(&changed);
        bench.run(SETTLED);
        assert_eq!(bench.heard(), (0, 0, 0));
    });
}

#[test]
fn excess_interfaces_are_reported_once() {
    with_host(false, |bench| {
        bench.sim.set_interfaces(&interfaces(66));
        bench.run(SETTLED);
        assert_eq!(bench.heard(), (64 * 6, 64 * 4, 0));
        let message = "stowaway: cannot use multicast DNS on eth64: too many interfaces; choose with --interface or --deny";
        assert_eq!(bench.sink.lines(), [message]);
        bench.sim.set_interfaces(&interfaces(67));
        bench.run(SETTLED);
        assert_eq!(bench.sink.lines(), [message]);
        // A closed link's slot is used again.
        bench.sim.set_interfaces(&interfaces(66)[2..]);
        bench.run(SETTLED);
        assert_eq!(bench.heard(), (2 * 6, 2 * 4, 0));
    });
}

#[test]
fn occupied_port_is_reported_once_and_retried() {
    with_host(true, |bench| {
        bench.sim.faults().join = Some(NetError::InUse);
        bench.sim.set_interfaces(&interfaces(1));
        bench.run(Duration::from_secs(60));
        let message = "stowaway: cannot use multicast DNS on eth0: another program uses port 5353 without sharing it";
        assert_eq!(bench.sink.lines(), [message]);
        assert_eq!((bench.heard(), bench.sim.open_count()), ((0, 0, 0), 0));
        bench.sim.faults().join = None;
        bench.run(Duration::from_secs(10));
        assert_eq!(bench.heard(), (6, 4, 0));
        assert!(bench.answers());
    });
}

/// If another program also binds our address, questions do not set the QU bit.
#[test]
fn shared_address_disables_qu_questions() {
    for claim in [None, Some(NetError::InUse)] {
        with_host(false, |bench| {
            bench.sim.faults().claim = claim;
            bench.sim.set_interfaces(&interfaces(1));
            bench.run(SETTLED);
            let sent = bench.sim.take_multicast();
            let (_, probe, _) = &sent[0];
            let message = crate::wire::dns::Message::parse(probe).unwrap();
            let mut questions = message.questions();
            assert!(questions.all(|asked| asked.wants_unicast() == claim.is_none()));
            assert!(bench.answers());
        });
    }
}

/// As at boot: avahi, which would rename the host because of our records, opens the port while we probe, or between our two
/// announcements.
#[test]
fn port_opened_while_claiming_stops_host_records() {
    for ms in [100, 600, 1300] {
        with_host(false, |bench| {
            bench.sim.set_interfaces(&interfaces(1));
            bench.run(Duration::from_ms(ms));
            bench.sim.take_multicast();
            bench.sim.faults().is_port_taken = true;
            // Questions may be sent, but no records: neither answers nor those of a probe.
            bench.run(Duration::from_ms(1500));
            for (_, bytes, _) in bench.sim.take_multicast() {
                let message = crate::wire::dns::Message::parse(&bytes).unwrap();
                assert_eq!(message.records().count(), 0, "{ms}");
            }
            // The program is no responder: the host is announced.
            bench.run(SETTLED);
            assert!(host::is_answered(&bench.sim), "{ms}");
        });
    }
}

/// On an old host, a group's socket also receives datagrams of other interfaces. The endpoint recognizes them by the source
/// address.
#[test]
fn datagram_of_other_interface_is_not_answered() {
    for hears_others in [false, true] {
        with_announced(false, |bench| {
            bench.sim.faults().hears_others = hears_others;
            bench.run(Duration::from_secs(2));
            let from = "198.51.100.9:5353".parse().unwrap();
            bench.sim.arrive(2, from, QUERY);
            bench.run(Duration::from_secs(1));
            assert_eq!(bench.heard().1 == 0, hears_others);
            assert!(bench.answers());
        });
    }
}

#[test]
fn bad_datagrams_change_nothing() {
    with_announced(false, |bench| {
        let own = "192.0.2.1:5353".parse().unwrap();
        for_seeds(200, |seed| {
            let mut random = Random::new(seed);
            let mut bytes = match seed % 3 {
                0 => vec![0; random.below(9100)],
                _ => QUERY.to_vec(),
            };
            for _ in 0..random.below(40) {
                let at = random.below(bytes.len().max(1));
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.number() as u8;
                }
            }
            bytes.truncate(random.below(bytes.len() + 1));
            for from in [
                PEER,
                "192.0.2.9:0",
                "192.0.2.9:40000",
                "192.0.2.1:5353",
                "8.8.8.8:53",
            ] {
                let from = from.parse().unwrap();
                bench.sim.arrive(2, from, &bytes);
                bench.sim.send_datagram(own, from, &bytes);
            }
            bench.run(Duration::from_ms(20));
        });
        bench.run(SETTLED);
        assert!(bench.answers());
        assert_eq!(bench.sink.lines(), [""; 0]);
    });
}

/// A flood on one interface does not delay another.
#[test]
fn flooded_socket_does_not_starve_others() {
    with_host(false, |bench| {
        bench.sim.set_interfaces(&interfaces(2));
        bench.run(SETTLED);
        bench.sim.take_multicast();
        for _ in 0..10_000 {
            bench.sim.arrive(2, PEER.parse().unwrap(), b"no message");
        }
        bench.run(Duration::from_secs(2));
        let later = "192.0.3.9:5353".parse().unwrap();
        for _ in 0..10_000 {
            bench.sim.arrive(2, PEER.parse().unwrap(), b"no message");
        }
        bench.sim.arrive(3, later, QUERY);
        // Run a few turns of 1 ms each; receiving the whole flood takes about 150 turns.
        bench.run(Duration::from_ms(5));
        let sent = bench.sim.take_multicast();
        assert!(sent.iter().any(|(index, ..)| *index == 3), "{}", sent.len());
    });
}

/// Failed sends are repeated later, and the loop does not spin.
#[test]
fn failing_sends_are_retried_without_spinning() {
    for error in ERRORS {
        with_host(false, |bench| {
            bench.sim.faults().send = Some(error);
            bench.sim.set_interfaces(&interfaces(1));
            bench.run(Duration::from_secs(60));
            let first = bench.sim.turns();
            bench.sim.arrive(2, PEER.parse().unwrap(), QUERY);
            bench
                .sim
                .arrive(2, "192.0.2.9:40000".parse().unwrap(), QUERY);
            bench.run(Duration::from_secs(1));
            assert!(first + bench.sim.turns() < 50);
            bench.sim.faults().send = None;
            assert!(bench.answers(), "{error:?}");
            bench.sim.faults().send = Some(error);
            bench.stop();
        });
    }
}

/// If a socket is always ready but every receive fails, its link is reopened at intervals, and the loop does not spin.
#[test]
fn failing_socket_is_reopened_without_spinning() {
    for error in ERRORS {
        if error == NetError::WouldBlock {
            continue;
        }
        for no_changes in [false, true] {
            with_announced(no_changes, |bench| {
                bench.sim.faults().recv = Some(error);
                let before = bench.sim.recv_calls();
                bench.run(Duration::from_secs(60));
                let (waits, recvs) = (bench.sim.turns(), bench.sim.recv_calls() - before);
                assert!(
                    waits < 500 && recvs < 5000,
                    "{error:?}: {waits} waits, {recvs} calls"
                );
                bench.sim.faults().recv = None;
                bench.run(Duration::from_secs(10));
                assert!(bench.answers(), "{error:?}");
            });
        }
    }
}
