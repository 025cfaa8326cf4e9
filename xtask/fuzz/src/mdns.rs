//! The target `mdns`: sends datagrams to a responder and a browser on one link.
//!
//! Each step is four bytes (destination and port, sender's address, time that passes, datagram's length) and a datagram.

use std::net::SocketAddr;
use std::path::Path;

use stowaway::engine::mdns::browser::{self, Browser, Goal, Lookup};
use stowaway::engine::mdns::{
    Destination, Limits, Link, LinkSet, MESSAGE_BYTES, Meta, Random, Responder, family,
};
use stowaway::time::{Duration, Instant};
use stowaway::wire::announce::Service;
use stowaway::wire::dns::{Message, Name};

/// Largest number of messages and events in one step; more mean that the engine loops forever.
const SENT_COUNT_MAX: usize = 2000;

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
        (Goal::Services, &b"\x04_nfs\x04_tcp\x05local\0"[..]),
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
    let mut steps = input;
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
}

/// Runs responder and browser until the time `until`. Checks that their messages parse, and drops messages and events.
fn drain(
    responder: &mut Responder,
    browser: &mut Browser,
    now: &mut Instant,
    until: Instant,
    out: &mut [u8],
) {
    for _ in 0..SENT_COUNT_MAX {
        let sent = responder.poll_transmit(*now, out);
        let sent = sent.or_else(|| browser.poll_transmit(*now, out));
        if let Some(sent) = sent {
            assert!(Message::parse(&out[..sent.len]).is_ok());
            continue;
        }
        if browser.next_event(*now).is_some() {
            continue;
        }
        let next = responder.poll_at().min(browser.poll_at());
        assert!(next > *now, "responder or browser is due again at once");
        if *now >= until {
            return;
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
        let mut steps = Vec::new();
        for pause in [20, 60] {
            steps.extend_from_slice(&[0, 9, pause, seed.len() as u8]);
            steps.extend_from_slice(seed);
        }
        let path = Path::new(&dir).join(number.to_string());
        std::fs::write(&path, steps).expect("the directory in STOWAWAY_SEEDS is writable");
    }
}
