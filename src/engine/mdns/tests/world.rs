//! One responder on a link, its neighbours, and time that passes when the test says so.

use super::script;
use crate::engine::mdns::{Cast, Limits, Link, LinkId, Meta, NameId, Responder, family};
use crate::time::Instant;
use crate::wire::announce::Service;
use core::net::SocketAddr;

/// What was sent, when, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) at: u64,
    pub(super) link: LinkId,
    pub(super) families: u8,
    pub(super) bytes: Vec<u8>,
}

impl Sent {
    pub(super) fn lines(&self) -> Vec<String> {
        script::lines(&self.bytes)
    }
}

/// A neighbour on the link.
pub(super) const PEER: &str = "192.0.2.9:5353";
/// The same, who does not know what multicast DNS is.
pub(super) const LEGACY: &str = "192.0.2.9:40000";
/// What the tests share.
pub(super) const LIMITS: Limits = Limits {
    name_count: 128,
    record_count: 128,
    text_bytes: 2048,
};

/// A responder and what it has sent.
pub(super) struct World {
    pub(super) responder: Responder,
    pub(super) now: u64,
    pub(super) sent: Vec<Sent>,
}

/// A link with these addresses.
pub(super) fn link(addresses: &[&str]) -> Link {
    let mut link = Link::default();
    for address in addresses {
        let (address, bits) = address.split_once('/').unwrap();
        let address = (address.parse().unwrap(), bits.parse().unwrap());
        link.addresses.push(address).unwrap();
    }
    link
}

impl World {
    /// The host `box` on a link that is down yet.
    pub(super) fn new(seed: u8) -> Self {
        Self::of(Self::nameless(seed))
    }

    /// The same, which others announce.
    pub(super) fn without_host(seed: u8) -> Self {
        let mut responder = Self::nameless(seed);
        responder.leave_host_out();
        Self::of(responder)
    }

    fn nameless(seed: u8) -> Responder {
        // Halves that are equal would say nothing.
        let mut entropy = [0; 16];
        entropy[0] = seed;
        Responder::new(LIMITS, &entropy)
    }

    fn of(mut responder: Responder) -> Self {
        responder.set_host(b"box").unwrap();
        Self {
            responder,
            now: 0,
            sent: Vec::new(),
        }
    }

    /// The same, whose link has come up.
    pub(super) fn up(seed: u8) -> Self {
        let mut world = Self::new(seed);
        world.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
        world
    }

    /// The same, after everything was announced.
    pub(super) fn settled(seed: u8) -> Self {
        let mut world = Self::up(seed);
        world.settle();
        world
    }

    /// The same with a service.
    pub(super) fn serving(seed: u8) -> Self {
        let mut world = Self::up(seed);
        world.serve("a box", 2049, &["path=/srv"]);
        world.settle();
        world
    }

    pub(super) fn settle(&mut self) {
        self.run(10_000);
        self.sent.clear();
    }

    pub(super) fn instant(&self) -> Instant {
        Instant::from_ms(self.now)
    }

    pub(super) fn set_link(&mut self, id: LinkId, addresses: &[&str]) {
        let now = self.instant();
        self.responder.set_link(now, id, &link(addresses)).unwrap();
    }

    pub(super) fn serve(&mut self, instance: &str, port: u16, texts: &[&str]) -> NameId {
        self.serve_in(family::ANY, instance, port, texts)
    }

    /// The same in these families.
    pub(super) fn serve_in(
        &mut self,
        families: u8,
        instance: &str,
        port: u16,
        texts: &[&str],
    ) -> NameId {
        let mut text = Vec::new();
        for one in texts {
            text.push(one.len() as u8);
            text.extend_from_slice(one.as_bytes());
        }
        let service = Service {
            name: instance.as_bytes(),
            kind: b"_nfs._tcp",
            subtypes: b"",
            host: None,
            families,
            port,
            priority: 0,
            weight: 0,
            txt: &text,
        };
        let now = self.instant();
        self.responder.add_service(now, &service).unwrap()
    }

    /// Lets so many milliseconds pass.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut turns = 0;
        loop {
            self.drain();
            let at = self.responder.poll_at();
            let next = if at == Instant::NEVER {
                end
            } else {
                at.since(Instant::from_ms(0)).as_ms()
            };
            assert!(next >= self.now, "it wakes up in the past");
            if next >= end {
                self.now = end;
                self.drain();
                return;
            }
            turns = if next == self.now { turns + 1 } else { 0 };
            assert!(turns < 3, "it wakes up for nothing");
            self.now = next;
        }
    }

    fn drain(&mut self) {
        let mut out = vec![0; 9000];
        let now = self.instant();
        for _ in 0..1000 {
            let Some(sent) = self.responder.poll_transmit(now, &mut out) else {
                return;
            };
            assert!(sent.len <= 1452, "larger than a frame");
            self.sent.push(Sent {
                at: self.now,
                link: sent.link,
                families: sent.families,
                bytes: out[..sent.len].to_vec(),
            });
        }
        panic!("it never ends");
    }

    /// A datagram arrives on a link; the reply to its sender alone, and what is sent at once is noted.
    pub(super) fn hear_on(
        &mut self,
        link: LinkId,
        from: &str,
        cast: Cast,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let from: SocketAddr = from.parse().unwrap();
        let mut out = vec![0; 9000];
        let meta = Meta { from, link, cast };
        let len = self.responder.handle(self.instant(), meta, bytes, &mut out);
        self.drain();
        len.map(|len| out[..len].to_vec())
    }

    /// A datagram to all arrives.
    pub(super) fn hear(&mut self, from: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        self.hear_on(0, from, Cast::Multicast, bytes)
    }

    /// A query to all arrives, which nobody answers alone; the lines of what is sent to all within a second, and after how long.
    pub(super) fn ask(&mut self, lines: &[&str]) -> Vec<(u64, Vec<String>)> {
        self.ask_bytes(&script::query(lines))
    }

    pub(super) fn ask_bytes(&mut self, bytes: &[u8]) -> Vec<(u64, Vec<String>)> {
        let asked = self.now;
        self.sent.clear();
        assert_eq!(self.hear(PEER, bytes), None);
        self.run(1500);
        let told = self.sent.iter();
        told.map(|sent| (sent.at - asked, sent.lines())).collect()
    }

    /// All lines of what is sent to all, whenever.
    pub(super) fn answers(&mut self, lines: &[&str]) -> Vec<String> {
        self.ask(lines)
            .into_iter()
            .flat_map(|(_, lines)| lines)
            .collect()
    }

    /// The lines of the reply to the one who asks alone.
    pub(super) fn reply(&mut self, from: &str, lines: &[&str]) -> Option<Vec<String>> {
        let reply = self.hear(from, &script::query(lines))?;
        Some(script::lines(&reply))
    }

    /// All lines that were sent so far.
    pub(super) fn all(&self) -> Vec<String> {
        self.sent.iter().flat_map(Sent::lines).collect()
    }

    /// What the host is called.
    pub(super) fn host(&self) -> String {
        let label = self.responder.label(self.responder.host());
        String::from_utf8(label.to_vec()).unwrap()
    }
}
