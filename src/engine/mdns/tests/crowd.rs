//! Many hosts that request the same names, on a link that loses and duplicates messages.

use super::bench::{SERVICE, link};
use super::script::query;
use crate::engine::mdns::{Destination, Limits, Meta, Responder};
use crate::time::Instant;
use crate::wire::announce::Service;
use cases::random::{Random, for_seeds};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::collections::{BinaryHeap, HashSet};

/// A host on the link.
struct Host {
    responder: Responder,
    address: Ipv4Addr,
    /// Number of messages sent in each second.
    sent: Vec<u32>,
}

struct Crowd {
    hosts: Vec<Host>,
    random: Random,
    now: u64,
    /// Queue of the times (milliseconds) at which hosts next have a message to send, each with the host's index.
    agenda: BinaryHeap<core::cmp::Reverse<(u64, usize)>>,
}

/// Percentage of messages that are lost.
const LOST: usize = 10;
/// Percentage of messages that are delivered twice.
const DOUBLED: usize = 10;

impl Crowd {
    fn new(count: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let hosts = (0..count).map(|number| {
            let mut entropy = [0; 16];
            entropy[..8].copy_from_slice(&random.number().to_ne_bytes());
            let limits = Limits {
                name_count: 40,
                record_count: 40,
                rdata_bytes: 128,
            };
            let mut responder = Responder::new(limits, &entropy);
            responder.set_host(b"box").unwrap();
            let address = Ipv4Addr::from_bits(0x0a00_0001 + number as u32);
            let link = link(&[&format!("{address}/16")]);
            responder.set_link(Instant::from_ms(0), 0, &link).unwrap();
            for (instance, kind) in [
                (&b"box"[..], &b"_nfs._tcp"[..]),
                (b"box", b"_sftp._tcp"),
                (b"A box", b"_vm._tcp"),
            ] {
                let service = Service {
                    name: instance,
                    kind,
                    ..SERVICE
                };
                responder
                    .add_service(Instant::from_ms(0), &service)
                    .unwrap();
            }
            Host {
                responder,
                address,
                sent: Vec::new(),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        let mut crowd = Self {
            agenda: BinaryHeap::new(),
            hosts,
            random,
            now: 0,
        };
        for number in 0..count {
            crowd.schedule(number);
        }
        crowd
    }

    /// Adds the time of the host's next message to the agenda.
    fn schedule(&mut self, number: usize) {
        let at = self.hosts[number].responder.poll_at();
        if at != Instant::NEVER {
            let at = at.since(Instant::from_ms(0)).as_ms();
            self.agenda
                .push(core::cmp::Reverse((at.max(self.now), number)));
        }
    }

    /// Runs until no host has a message to send, or until `end` (milliseconds).
    fn run(&mut self, end: u64) {
        let mut out = vec![0; 9000];
        while let Some(core::cmp::Reverse((at, number))) = self.agenda.pop() {
            if at > end {
                return;
            }
            self.now = at;
            let now = Instant::from_ms(at);
            if self.hosts[number].responder.poll_at() > now {
                continue;
            }
            while let Some(sent) = self.hosts[number].responder.poll_transmit(now, &mut out) {
                let second = (at / 1000) as usize;
                let host = &mut self.hosts[number];
                host.sent.resize(host.sent.len().max(second + 1), 0);
                host.sent[second] += 1;
                let from = host.address;
                self.deliver(now, from, &out[..sent.len]);
            }
            self.schedule(number);
        }
    }

    /// Delivers a multicast message to all hosts but its sender, and their unicast replies to the sender.
    fn deliver(&mut self, now: Instant, from: Ipv4Addr, bytes: &[u8]) {
        let mut reply = vec![0; 9000];
        let mut replies = Vec::new();
        for number in 0..self.hosts.len() {
            let chance = self.random.below(100);
            let times = if chance < LOST {
                0
            } else if chance < LOST + DOUBLED {
                2
            } else {
                1
            };
            let host = &mut self.hosts[number];
            if host.address == from {
                continue;
            }
            let before = host.responder.poll_at();
            for _ in 0..times {
                let meta = Meta {
                    from: SocketAddr::new(IpAddr::V4(from), 5353),
                    link: 0,
                    cast: Destination::Multicast,
                };
                let len = host.responder.handle(now, meta, bytes, &mut reply);
                replies.extend(len.map(|len| (host.address, reply[..len].to_vec())));
            }
            if host.responder.poll_at() != before {
                self.schedule(number);
            }
        }
        // Deliver the unicast replies to the sender of the query.
        let Some(asker) = self.hosts.iter().position(|host| host.address == from) else {
            return;
        };
        for (from, bytes) in replies {
            if self.random.below(100) >= LOST {
                let meta = Meta {
                    from: SocketAddr::new(IpAddr::V4(from), 5353),
                    link: 0,
                    cast: Destination::Unicast,
                };
                let asker = &mut self.hosts[asker].responder;
                assert_eq!(asker.handle(now, meta, &bytes, &mut reply), None);
            }
        }
        self.schedule(asker);
    }
}

impl Crowd {
    /// Delivers a query for all records of a name, from a querier that is not one of the hosts. The hosts that claim the name
    /// answer by multicast.
    fn ask(&mut self, name: &str) {
        let question = format!("? {} ANY", name.replace(' ', "~"));
        let (now, querier) = (Instant::from_ms(self.now), Ipv4Addr::new(10, 1, 0, 1));
        self.deliver(now, querier, &query(&[&question]));
    }

    /// Returns the names of all hosts, and the names that two hosts claim.
    fn names(&self) -> (HashSet<String>, Vec<String>) {
        let (mut names, mut duplicates) = (HashSet::new(), Vec::new());
        for host in &self.hosts {
            assert!(host.responder.is_settled(), "{} still probes", host.address);
            for name in host.responder.own_names() {
                let name = name.to_ascii_lowercase();
                if !names.insert(name.clone()) {
                    duplicates.push(name);
                }
            }
        }
        (names, duplicates)
    }
}

/// Maximum number of queries for each name that two hosts claim.
const ASKED_MAX: usize = 5;

/// Runs `count` hosts that request one name until their conflicts are resolved (RFC 6762 section 9). Afterwards all names must
/// differ. In about one claim of 15,000, all messages between two hosts that claim the same name are lost: three probes or their
/// answers, and two announcements. The hosts then detect the conflict when a querier asks for the name.
fn converge(count: usize, seed: u64, minutes: u64) {
    let mut crowd = Crowd::new(count, seed);
    crowd.run(minutes * 60_000);
    for _ in 0..ASKED_MAX {
        for name in crowd.names().1 {
            crowd.ask(&name);
        }
        crowd.run(crowd.now + minutes * 60_000);
    }
    let (names, duplicates) = crowd.names();
    assert!(duplicates.is_empty(), "two hosts claim {duplicates:?}");
    assert_eq!(names.len(), count * 4);
    let most = crowd
        .hosts
        .iter()
        .flat_map(|host| host.sent.iter())
        .max()
        .unwrap();
    let all: u32 = crowd.hosts.iter().flat_map(|host| host.sent.iter()).sum();
    let last = crowd
        .hosts
        .iter()
        .map(|host| host.sent.len())
        .max()
        .unwrap();
    println!(
        "{count} hosts of one name: settled after {last} s; {all} messages, {} per host, {most} at most in a second",
        all / count as u32
    );
    assert!(*most <= 40, "a host sent {most} messages in one second");
    // Once the conflicts are resolved, no host sends a message for an hour.
    let settled = crowd.now;
    crowd.run(settled + 3_600_000);
    assert_eq!(crowd.now, settled);
}

/// Runs 40 hosts three times. If the environment variable `STOWAWAY_FULL` is set, runs 500 hosts ten times, which takes minutes.
#[test]
fn many_hosts_with_one_name_converge() {
    let is_full = std::env::var_os("STOWAWAY_FULL").is_some();
    let (times, count, minutes) = if is_full { (10, 500, 60) } else { (3, 40, 20) };
    for_seeds(times, |seed| converge(count, seed, minutes));
}
