//! Test harness: one responder, the messages that it sends, and virtual time.

use super::script;
use crate::engine::mdns::{Destination, Limits, Link, LinkId, Meta, NameId, Responder, family};
use crate::time::Instant;
use crate::wire::announce::Service;
use core::net::SocketAddr;

/// A multicast message that the responder sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Virtual time of sending (milliseconds).
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

/// Another multicast DNS host on the link.
pub(super) const PEER: &str = "192.0.2.9:5353";
/// The host itself, as the source of its looped-back messages.
pub(super) const HERE: &str = "192.0.2.1:5353";
/// A legacy querier on the link: its source port is not 5353.
pub(super) const LEGACY: &str = "192.0.2.9:40000";
/// Question for the service types on the link.
pub(super) const ASK_TYPES: &str = "? _services._dns-sd._udp.local PTR";
/// Table sizes of the responder in the tests.
pub(super) const LIMITS: Limits = Limits {
    name_count: 128,
    record_count: 128,
    rdata_bytes: 2048,
};

/// An NFS service in both families on all links.
pub(super) const SERVICE: Service<'static> = Service {
    name: b"",
    kind: b"_nfs._tcp",
    subtypes: b"",
    host: None,
    interface: b"",
    families: family::ANY,
    port: 1,
    priority: 0,
    weight: 0,
    txt: b"",
};

/// A responder with the messages that it sent.
pub(super) struct Bench {
    pub(super) responder: Responder,
    /// Virtual time (milliseconds).
    pub(super) now: u64,
    pub(super) sent: Vec<Sent>,
    /// Messages that are looped back, as (link of sending, link of receiving, source address). None may get a reply.
    pub(super) echoes: Vec<(LinkId, LinkId, &'static str)>,
}

/// Sorts the lines, where the order of the records does not matter.
pub(super) fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Returns a link with these addresses, each as `address/prefix length`.
pub(super) fn link(addresses: &[&str]) -> Link {
    let mut link = Link::default();
    for address in addresses {
        let (address, bits) = address.split_once('/').unwrap();
        let address = (address.parse().unwrap(), bits.parse().unwrap());
        link.addresses.push(address).unwrap();
    }
    link
}

impl Bench {
    /// Creates the host `box` without a link.
    pub(super) fn new(seed: u8) -> Self {
        Self::with_host_box(Self::responder_without_host(seed))
    }

    /// Creates the host `box` without host records and without a link.
    pub(super) fn without_host(seed: u8) -> Self {
        let mut responder = Self::responder_without_host(seed);
        responder.exclude_host();
        Self::with_host_box(responder)
    }

    fn responder_without_host(seed: u8) -> Responder {
        // The two halves of the entropy must differ: they are XORed, and equal halves would cancel out.
        let mut entropy = [0; 16];
        entropy[0] = seed;
        Responder::new(LIMITS, &entropy)
    }

    fn with_host_box(mut responder: Responder) -> Self {
        responder.set_host(b"box").unwrap();
        Self {
            responder,
            now: 0,
            sent: Vec::new(),
            echoes: Vec::new(),
        }
    }

    /// Creates the host `box`, whose link 0 has just come up.
    pub(super) fn up(seed: u8) -> Self {
        let mut bench = Self::new(seed);
        bench.set_link(0, &["192.0.2.1/24", "fe80::1/64"]);
        bench
    }

    /// Creates the host `box` and runs until its announcements are sent.
    pub(super) fn settled(seed: u8) -> Self {
        let mut bench = Self::up(seed);
        bench.settle();
        bench
    }

    /// Creates the host `box` with the service `a box`, and runs until its announcements are sent.
    pub(super) fn serving(seed: u8) -> Self {
        let mut bench = Self::up(seed);
        bench.serve("a box", 2049, &["path=/srv"]);
        bench.settle();
        bench
    }

    /// Runs for ten seconds, so that probing and announcing end, and clears the sent messages.
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

    /// Adds an NFS service in both families. Returns its instance name.
    pub(super) fn serve(&mut self, instance: &str, port: u16, texts: &[&str]) -> NameId {
        self.serve_in(family::ANY, instance, port, texts)
    }

    /// Adds an NFS service in these families. Returns its instance name.
    pub(super) fn serve_in(
        &mut self,
        families: u8,
        instance: &str,
        port: u16,
        texts: &[&str],
    ) -> NameId {
        let mut txt = Vec::new();
        for string in texts {
            txt.push(string.len() as u8);
            txt.extend_from_slice(string.as_bytes());
        }
        let service = Service {
            name: instance.as_bytes(),
            families,
            port,
            txt: &txt,
            ..SERVICE
        };
        let now = self.instant();
        self.responder.add_service(now, &service).unwrap()
    }

    /// Removes a service.
    pub(super) fn withdraw(&mut self, name: NameId) {
        self.responder.remove_service(self.instant(), name);
    }

    /// Withdraws all records.
    pub(super) fn goodbye(&mut self) {
        self.responder.goodbye(self.instant());
    }

    /// Advances the virtual time by `ms` milliseconds and collects the messages sent meanwhile.
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
            assert!(next >= self.now, "poll_at returned an instant in the past");
            if next >= end {
                self.now = end;
                self.drain();
                return;
            }
            turns = if next == self.now { turns + 1 } else { 0 };
            assert!(
                turns < 3,
                "poll_at did not advance although nothing was due"
            );
            self.now = next;
        }
    }

    /// Collects all messages that are due now, then loops them back.
    fn drain(&mut self) {
        let mut out = vec![0; 9000];
        let (now, mut echoed) = (self.instant(), self.sent.len());
        for _ in 0..1000 {
            if let Some(sent) = self.responder.poll_transmit(now, &mut out) {
                assert!(sent.len <= 1452, "message exceeds an Ethernet frame");
                self.sent.push(Sent {
                    at: self.now,
                    link: sent.link,
                    families: sent.families,
                    bytes: out[..sent.len].to_vec(),
                });
                continue;
            }
            let Some(sent) = self.sent.get(echoed) else {
                return;
            };
            for (_, link, from) in self.echoes.iter().filter(|echo| echo.0 == sent.link) {
                let meta = Meta {
                    from: from.parse().unwrap(),
                    link: *link,
                    cast: Destination::Multicast,
                };
                let reply = self.responder.handle(now, meta, &sent.bytes, &mut out);
                assert_eq!(reply, None);
            }
            echoed += 1;
        }
        panic!("poll_transmit returned 1,000 messages at the same instant");
    }

    /// Delivers a datagram on a link. Returns the unicast reply. Adds multicasts that are due at once to `sent`.
    pub(super) fn hear_on(
        &mut self,
        link: LinkId,
        from: &str,
        cast: Destination,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let from: SocketAddr = from.parse().unwrap();
        let mut out = vec![0; 9000];
        let meta = Meta { from, link, cast };
        let len = self.responder.handle(self.instant(), meta, bytes, &mut out);
        self.drain();
        len.map(|len| out[..len].to_vec())
    }

    /// Delivers a multicast datagram on link 0. Returns the unicast reply.
    pub(super) fn hear(&mut self, from: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        self.hear_on(0, from, Destination::Multicast, bytes)
    }

    /// Delivers a multicast query of a peer. Returns the unicast reply.
    pub(super) fn hear_query(&mut self, lines: &[&str]) -> Option<Vec<u8>> {
        self.hear(PEER, &script::query(lines))
    }

    /// Delivers a multicast response of a peer. Returns the unicast reply.
    pub(super) fn hear_response(&mut self, lines: &[&str]) -> Option<Vec<u8>> {
        self.hear(PEER, &script::response(lines))
    }

    /// Delivers a multicast query that must get no unicast reply. Returns each multicast of the next 1,500 milliseconds: its delay
    /// and its lines.
    pub(super) fn ask(&mut self, lines: &[&str]) -> Vec<(u64, Vec<String>)> {
        self.ask_bytes(&script::query(lines))
    }

    /// Same as [`Self::ask`] for an encoded query.
    pub(super) fn ask_bytes(&mut self, bytes: &[u8]) -> Vec<(u64, Vec<String>)> {
        let start = self.now;
        self.sent.clear();
        assert_eq!(self.hear(PEER, bytes), None);
        self.run(1500);
        let multicasts = self.sent.iter();
        multicasts
            .map(|sent| (sent.at - start, sent.lines()))
            .collect()
    }

    /// Same as [`Self::ask`], but returns only the lines of all multicasts.
    pub(super) fn answers(&mut self, lines: &[&str]) -> Vec<String> {
        self.ask(lines)
            .into_iter()
            .flat_map(|(_, lines)| lines)
            .collect()
    }

    /// Delivers a multicast query. Returns the lines of the unicast reply.
    pub(super) fn reply(&mut self, from: &str, lines: &[&str]) -> Option<Vec<String>> {
        let reply = self.hear(from, &script::query(lines))?;
        Some(script::lines(&reply))
    }

    /// Returns the lines of all sent messages.
    pub(super) fn all(&self) -> Vec<String> {
        self.sent.iter().flat_map(Sent::lines).collect()
    }

    /// Returns the sent messages that start with an answer.
    pub(super) fn announcements(&self) -> Vec<&Sent> {
        let sent = self.sent.iter();
        sent.filter(|sent| sent.lines()[0].starts_with('='))
            .collect()
    }

    /// Returns how often the responder has sent this line.
    pub(super) fn count(&self, line: &str) -> usize {
        self.all().iter().filter(|other| *other == line).count()
    }

    /// Fails unless the responder has sent this line this many times.
    #[track_caller]
    pub(super) fn expect_sent(&self, line: &str, times: usize) {
        assert_eq!(self.count(line), times, "{line}");
    }

    /// Fails unless the first answer to the question is this line.
    #[track_caller]
    pub(super) fn expect_answer(&mut self, question: &str, line: &str) {
        assert_eq!(self.answers(&[question])[0], line);
    }

    /// Returns the first label of the host's name.
    pub(super) fn host(&self) -> String {
        let label = self.responder.label(self.responder.host());
        String::from_utf8(label.to_vec()).unwrap()
    }
}
