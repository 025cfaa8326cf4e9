//! The target `mdns`: sends datagrams to a responder and a browser on one link, then lets a host answer the browser for a minute.
//!
//! The input starts with the number of services of that host and the length of their TXT records. Each step is four bytes (destination
//! and port, sender's address, time that passes, datagram's length) and a datagram.

use std::net::SocketAddr;
use std::path::Path;

use stowaway::engine::mdns::browser::{self, Browser, Goal, Lookup};
use stowaway::engine::mdns::{
    Destination, Limits, Link, LinkSet, MESSAGE_BYTES, Meta, Random, Responder, family,
};
use stowaway::time::{Duration, Instant};
use stowaway::wire::announce::Service;
use stowaway::wire::dns::{CLASS_IN, Head, Message, Name, Section, TOP_BIT, Writer, kind};

/// Largest number of messages and events in one step; more mean that the engine loops forever.
const SENT_COUNT_MAX: usize = 2000;
/// Largest number of the browser's messages in the last half of that minute; more mean a loop over the link.
const LATE_COUNT_MAX: usize = 60;
/// Interval (milliseconds) in which the host answers, and changes one TXT record.
const PEER_MS: u32 = 200;

/// The type of the services.
const SERVICE_TYPE: &[u8] = b"\x04_nfs\x04_tcp\x05local\0";

/// A host whose services may not fit into the browser's cache.
struct Peer {
    service_count: u8,
    text_bytes: u8,
    changes: u8,
}

impl Peer {
    /// Returns the answer to a question. A service's name is one byte before the type, that of its host is `cat`.
    fn answer(&self, name: Name<'_>, asked: u16) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let mut writer = Writer::new(&mut buffer, 0, 0x8400);
        let mut add = |kind, class, ttl, put: &mut dyn FnMut(&mut Writer<'_>)| {
            let head = Head { kind, class, ttl };
            writer.record(Section::Answer, &mut name.unnumbered(), head, put);
        };
        let (host, unique) = (b"\x03cat\x05local\0", CLASS_IN | TOP_BIT);
        match asked {
            kind::PTR => {
                for number in 1..=self.service_count {
                    add(asked, CLASS_IN, 4500, &mut |writer| {
                        writer.put(&[1, number]);
                        writer.name(&mut name.unnumbered(), false);
                    });
                }
            }
            kind::SRV => add(asked, unique, 120, &mut |writer| {
                writer.put(&[0, 0, 0, 0, 0, 80]);
                writer.put(host);
            }),
            kind::TXT => add(asked, unique, 4500, &mut |writer| {
                let mut text = vec![self.changes; usize::from(self.text_bytes) + 1];
                text[0] = self.text_bytes;
                writer.put(&text);
            }),
            kind::A => add(asked, unique, 120, &mut |writer| {
                writer.put(&[192, 0, 2, 9])
            }),
            _ => {}
        }
        // A denial, which no lookup needs if all records are known, so that it can be evicted.
        add(kind::NSEC, unique, 120, &mut |writer| {
            writer.name(&mut name.unnumbered(), false);
            let is_host = matches!(asked, kind::A | kind::AAAA);
            writer.put(if is_host {
                &[0, 1, 0x40]
            } else {
                &[0, 5, 0, 0, 0x80, 0, 0x40]
            });
        });
        let len = writer.finish();
        buffer[..len].to_vec()
    }
}

/// Runs one input.
pub fn receive(input: &[u8]) {
    let mut now = Instant::from_ms(0);
    let limits = Limits {
        name_count: 64,
        record_count: 64,
        rdata_bytes: 256,
    };
    let mut responder = Responder::new(limits, &[7; 16]);
    responder.set_host(b"box").expect("there is room");
    let service = Service {
        name: b"a box",
        kind: b"_nfs._tcp",
        subtypes: b"\x03sub",
        host: None,
        interface: b"",
        port: 2049,
        priority: 0,
        weight: 0,
        txt: b"\x06path=/",
        families: family::ANY,
    };
    responder.add_service(now, &service).expect("there is room");
    let limits = browser::Limits {
        records: 32,
        names: 64,
        questions: 32,
        rdata_bytes: 1024,
    };
    let mut browser = Browser::new(&limits, Random::new(&[9; 16]));
    browser.reports_once = input.len() & 1 != 0;
    for (goal, name) in [
        (Goal::Services, SERVICE_TYPE),
        (Goal::Host, b"\x03cat\x05local\0"),
    ] {
        let lookup = Lookup {
            goal,
            name: Name::of(name),
            links: LinkSet::of(0),
            resolves: true,
            families: 3,
        };
        assert!(browser.start_lookup(now, &lookup));
    }
    let mut link = Link::default();
    for (address, bits) in [("192.0.2.1", 24), ("fe80::1", 64)] {
        let address = (address.parse().expect("an address"), bits);
        link.addresses.push(address).expect("there is room");
    }
    responder.set_link(now, 0, &link).expect("there is room");
    browser.link_changed(now, 0, &link);
    let Some((&[service_count, text_bytes], mut steps)) = input.split_first_chunk() else {
        return;
    };
    let mut out = vec![0; MESSAGE_BYTES];
    while let [how, from, pause, len, after_len @ ..] = steps {
        let (datagram, after) = after_len.split_at(usize::from(*len).min(after_len.len()));
        steps = after;
        let cast = [
            Destination::Multicast,
            Destination::Unicast,
            Destination::Unknown,
        ][usize::from(how % 3)];
        let port = if how & 64 == 0 { 5353 } else { 40_000 };
        let from = SocketAddr::new([192, 0, 2, *from].into(), port);
        let meta = Meta {
            from,
            link: 0,
            cast,
        };
        if let Some(len) = responder.handle(now, meta, datagram, &mut out) {
            assert!(Message::parse(&out[..len]).is_ok());
        }
        browser.handle(now, &meta, datagram);
        let until = now.after(Duration::from_ms(u32::from(*pause) * 16));
        drain(&mut responder, &mut browser, &mut now, until, &mut out);
    }
    let peer = Peer {
        service_count: service_count % 64,
        text_bytes,
        changes: 0,
    };
    serve(&mut responder, &mut browser, peer, now);
}

/// Answers the browser for a minute, and changes a TXT record in each turn. Checks the number of the browser's messages in the last
/// half of it: before, records of the input may expire and be asked for.
fn serve(responder: &mut Responder, browser: &mut Browser, mut peer: Peer, start: Instant) {
    let (mut now, mut count, mut out) = (start, 0, vec![0; MESSAGE_BYTES]);
    let meta = Meta {
        from: SocketAddr::new([192, 0, 2, 9].into(), 5353),
        link: 0,
        cast: Destination::Multicast,
    };
    let turns = 60_000 / PEER_MS;
    for turn in 0..turns {
        let until = now.after(Duration::from_ms(PEER_MS));
        let sent = drain(responder, browser, &mut now, until, &mut out);
        if turn >= turns / 2 {
            count += sent.len();
        }
        for datagram in sent {
            let message = Message::parse(&datagram).expect("it was checked");
            for asked in message.questions() {
                browser.handle(now, &meta, &peer.answer(asked.name, asked.kind));
            }
        }
        if peer.service_count != 0 {
            peer.changes = peer.changes.wrapping_add(1);
            let name = [&[1, peer.changes % peer.service_count + 1], SERVICE_TYPE].concat();
            browser.handle(now, &meta, &peer.answer(Name::of(&name), kind::TXT));
        }
    }
    assert!(
        count <= LATE_COUNT_MAX,
        "the browser sends {count} messages in half a minute"
    );
}

/// Runs responder and browser until the time `until`. Checks that their messages parse, and drops events. Returns the browser's
/// messages.
fn drain(
    responder: &mut Responder,
    browser: &mut Browser,
    now: &mut Instant,
    until: Instant,
    out: &mut [u8],
) -> Vec<Vec<u8>> {
    let mut queries = Vec::new();
    for _ in 0..SENT_COUNT_MAX {
        if let Some(sent) = responder.poll_transmit(*now, out) {
            assert!(Message::parse(&out[..sent.len]).is_ok());
            continue;
        }
        if let Some(sent) = browser.poll_transmit(*now, out) {
            assert!(Message::parse(&out[..sent.len]).is_ok());
            queries.push(out[..sent.len].to_vec());
            continue;
        }
        if browser.next_event(*now).is_some() {
            continue;
        }
        let next = responder.poll_at().min(browser.poll_at());
        assert!(next > *now, "responder or browser is due again at once");
        if *now >= until {
            return queries;
        }
        *now = next.min(until);
    }
    panic!("responder or browser sends messages without end");
}

/// Writes inputs with valid datagrams to the directory in [`super::SEEDS`].
pub fn write_seeds() {
    let Some(dir) = std::env::var_os(super::SEEDS) else {
        return;
    };
    let seeds: [&[u8]; 4] = [
        // A query for the host's address, and a probe for its name.
        b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03box\x05local\0\0\x01\0\x01",
        b"\0\0\0\0\0\x01\0\0\0\x01\0\0\x03box\x05local\0\0\xff\x80\x01\xc0\x0c\0\x01\0\x01\0\0\0\x78\0\x04\xc0\0\x02\x4d",
        // A query with a known answer, and an announcement of the host's name by another host.
        b"\0\0\x02\0\0\x01\0\x01\0\0\0\0\x04_nfs\x04_tcp\x05local\0\0\x0c\0\x01\xc0\x0c\0\x0c\0\x01\0\0\x11\x94\0\x08\x05a box\xc0\x0c",
        b"\0\0\x84\0\0\0\0\x01\0\0\0\x01\x03box\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\xc0\0\x02\x4d\x03cat\xc0\x10\0\x2f\x80\x01\0\0\0\x78\0\x05\xc0\x2a\0\x01\x40",
    ];
    for (number, seed) in seeds.iter().enumerate() {
        // The names of 8 services fit into the cache, their TXT records of 160 bytes do not.
        let mut steps = vec![8, 160];
        for pause in [20, 60] {
            steps.extend_from_slice(&[0, 9, pause, seed.len() as u8]);
            steps.extend_from_slice(seed);
        }
        let path = Path::new(&dir).join(number.to_string());
        std::fs::write(&path, steps).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
