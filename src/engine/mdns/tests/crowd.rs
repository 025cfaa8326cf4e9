//! Many hosts that all wish the same name, on a link that loses and doubles what is said.

use super::world::link;
use crate::engine::mdns::{Cast, Limits, Meta, Responder};
use crate::time::Instant;
use crate::wire::announce::Service;
use cases::random::{Random, for_seeds};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question};
use std::collections::{BinaryHeap, HashSet};

/// A host on the link.
struct Host {
    responder: Responder,
    address: Ipv4Addr,
    /// What it has sent in each second.
    sent: Vec<u32>,
}

struct Crowd {
    hosts: Vec<Host>,
    random: Random,
    now: u64,
    /// When hosts want to speak.
    agenda: BinaryHeap<core::cmp::Reverse<(u64, usize)>>,
}

/// Of a hundred messages, so many are lost, and so many come twice.
const LOST: usize = 10;
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
                text_bytes: 128,
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
                    subtypes: b"",
                    host: None,
                    families: crate::engine::mdns::family::ANY,
                    port: 1,
                    priority: 0,
                    weight: 0,
                    txt: b"",
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
            crowd.plan(number);
        }
        crowd
    }

    fn plan(&mut self, number: usize) {
        let at = self.hosts[number].responder.poll_at();
        if at != Instant::NEVER {
            let at = at.since(Instant::from_ms(0)).as_ms();
            self.agenda
                .push(core::cmp::Reverse((at.max(self.now), number)));
        }
    }

    /// Until everybody has what he wants, or the end.
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
            self.plan(number);
        }
    }

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
                    cast: Cast::Multicast,
                };
                let len = host.responder.handle(now, meta, bytes, &mut reply);
                replies.extend(len.map(|len| (host.address, reply[..len].to_vec())));
            }
            if host.responder.poll_at() != before {
                self.plan(number);
            }
        }
        // Replies to the one who asked.
        let Some(asker) = self.hosts.iter().position(|host| host.address == from) else {
            return;
        };
        for (from, bytes) in replies {
            if self.random.below(100) >= LOST {
                let meta = Meta {
                    from: SocketAddr::new(IpAddr::V4(from), 5353),
                    link: 0,
                    cast: Cast::Unicast,
                };
                let asker = &mut self.hosts[asker].responder;
                assert_eq!(asker.handle(now, meta, &bytes, &mut reply), None);
            }
        }
        self.plan(asker);
    }
}

impl Crowd {
    /// Somebody asks for all records of a name, and whoever has it answers for all to hear.
    fn ask(&mut self, name: &str) {
        let mut packet = Packet::new_query(0);
        let (kind, class) = (QTYPE::ANY, QCLASS::CLASS(CLASS::IN));
        packet
            .questions
            .push(Question::new(Name::new_unchecked(name), kind, class, false));
        let bytes = packet.build_bytes_vec().unwrap();
        self.deliver(
            Instant::from_ms(self.now),
            Ipv4Addr::new(10, 1, 0, 1),
            &bytes,
        );
    }

    /// The names of all; and those that two have.
    fn names(&self) -> (HashSet<String>, Vec<String>) {
        let (mut names, mut twice) = (HashSet::new(), Vec::new());
        for host in &self.hosts {
            assert!(host.responder.is_settled(), "{} still probes", host.address);
            for name in host.responder.own_names() {
                let name = name.to_ascii_lowercase();
                if !names.insert(name.clone()) {
                    twice.push(name);
                }
            }
        }
        (names, twice)
    }
}

/// Times that a name is asked for which two have.
const ASKED_MAX: usize = 5;

/// RFC 6762 section 9: conflicts end. Now and then everything that two hosts with one name say to each other while they claim it is
/// lost: three probes or their answers, and two announcements (in about one claim of 15,000). They learn of it when somebody asks.
fn converge(count: usize, seed: u64, minutes: u64) {
    let mut crowd = Crowd::new(count, seed);
    crowd.run(minutes * 60_000);
    for _ in 0..ASKED_MAX {
        for name in crowd.names().1 {
            crowd.ask(&name);
        }
        crowd.run(crowd.now + minutes * 60_000);
    }
    let (names, twice) = crowd.names();
    assert!(twice.is_empty(), "{twice:?} are had twice");
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
    assert!(*most <= 40, "{most} messages of one host in a second");
    // Then they are quiet.
    let settled = crowd.now;
    crowd.run(settled + 3_600_000);
    assert_eq!(crowd.now, settled);
}

#[test]
fn a_crowd_of_one_name_converges() {
    for_seeds(5, |seed| converge(30, seed, 20));
}

/// With `STOWAWAY_FULL`, of five hundred, ten times, which takes minutes.
#[test]
fn a_large_crowd_of_one_name_converges() {
    let is_full = std::env::var_os("STOWAWAY_FULL").is_some();
    let (times, count) = if is_full { (10, 500) } else { (1, 100) };
    for_seeds(times, |seed| converge(count, seed, 60));
}
