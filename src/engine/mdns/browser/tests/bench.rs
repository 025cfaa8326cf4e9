//! Test harness: a browser with links and virtual time, builders for messages, and events as text.

use super::super::{Browser, Goal, Limits, Lookup};
use crate::engine::mdns::{Destination, Link, LinkSet, Meta, NameId, Names, Outgoing, Random};
use crate::time::Instant;
use crate::wire::dns::{CLASS_IN, Name, TOP_BIT, flag, kind};
use simple_dns::{CLASS, Packet};

pub(crate) const PEER: &str = "192.0.2.9:5353";
/// A service type, a service of it, and its host.
pub(super) const HTTP: &str = "_http._tcp.local";
pub(super) const A: &str = "a._http._tcp.local";
pub(super) const HOST: &str = "h.local";
pub(crate) const PEER_V6: &str = "[fe80::9]:5353";
pub(crate) const FLUSH: u16 = CLASS_IN | TOP_BIT;

/// Returns a name in wire format without compression. `\.` is a dot within a label.
pub(crate) fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name
        .replace("\\.", "\0")
        .split('.')
        .filter(|label| !label.is_empty())
    {
        let label = label.replace('\0', ".");
        wire.push(label.len() as u8);
        wire.extend_from_slice(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn dotted_name(name: &simple_dns::Name<'_>) -> String {
    let labels = name
        .iter()
        .map(|label| String::from_utf8_lossy(label.as_ref()));
    labels.collect::<Vec<_>>().join(".")
}

/// Starts a response.
pub(crate) fn answer() -> Say {
    Say(vec![0, 0, 0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Starts a query.
pub(crate) fn query() -> Say {
    Say(vec![0; 12])
}

/// A message under construction; the methods append records.
#[derive(Clone)]
pub(crate) struct Say(pub(crate) Vec<u8>);

impl Say {
    pub(crate) fn flags(mut self, flags: u16) -> Self {
        self.0[2..4].copy_from_slice(&flags.to_be_bytes());
        self
    }

    fn count(&mut self, which: usize) {
        let at = 4 + 2 * which;
        let count = u16::from_be_bytes([self.0[at], self.0[at + 1]]) + 1;
        self.0[at..at + 2].copy_from_slice(&count.to_be_bytes());
    }

    pub(crate) fn asks(mut self, name: &str, kind: u16, class: u16) -> Self {
        self.count(0);
        self.0.extend_from_slice(&wire(name));
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&class.to_be_bytes());
        self
    }

    pub(crate) fn record(
        mut self,
        section: usize,
        name: &[u8],
        kind: u16,
        class: u16,
        ttl: u32,
        data: &[u8],
    ) -> Self {
        self.count(section);
        self.0.extend_from_slice(name);
        self.0.extend_from_slice(&kind.to_be_bytes());
        self.0.extend_from_slice(&class.to_be_bytes());
        self.0.extend_from_slice(&ttl.to_be_bytes());
        self.0.extend_from_slice(&(data.len() as u16).to_be_bytes());
        self.0.extend_from_slice(data);
        self
    }

    pub(crate) fn ptr(self, name: &str, ttl: u32, target: &str) -> Self {
        self.record(1, &wire(name), kind::PTR, CLASS_IN, ttl, &wire(target))
    }

    pub(crate) fn srv(self, name: &str, ttl: u32, port: u16, host: &str) -> Self {
        let mut data = vec![0, 0, 0, 0];
        data.extend_from_slice(&port.to_be_bytes());
        data.extend_from_slice(&wire(host));
        self.record(1, &wire(name), kind::SRV, FLUSH, ttl, &data)
    }

    pub(crate) fn txt(self, name: &str, ttl: u32, rdata: &[u8]) -> Self {
        self.record(1, &wire(name), kind::TXT, FLUSH, ttl, rdata)
    }

    pub(crate) fn a(self, name: &str, ttl: u32, address: [u8; 4]) -> Self {
        self.record(1, &wire(name), kind::A, FLUSH, ttl, &address)
    }

    pub(crate) fn aaaa(self, name: &str, ttl: u32, last: u8) -> Self {
        let mut address = [0; 16];
        (address[0], address[1], address[15]) = (0xfe, 0x80, last);
        self.record(1, &wire(name), kind::AAAA, FLUSH, ttl, &address)
    }

    pub(crate) fn cname(self, name: &str, ttl: u32, target: &str) -> Self {
        self.record(1, &wire(name), kind::CNAME, FLUSH, ttl, &wire(target))
    }

    /// Appends an NSEC record that denies all types but `kinds`.
    pub(crate) fn nsec(self, name: &str, ttl: u32, kinds: &[u16]) -> Self {
        let mut data = wire(name);
        let mut map = [0; 32];
        for kind in kinds {
            map[usize::from(kind >> 3)] |= 0x80 >> (kind & 7);
        }
        let last = map.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        data.extend([0, last as u8 + 1]);
        data.extend(&map[..=last]);
        self.record(1, &wire(name), kind::NSEC, FLUSH, ttl, &data)
    }

    /// Appends all records of a service, and the address of its host.
    pub(crate) fn service(self, name: &str, host: &str, ttl: u32) -> Self {
        let (_, of) = name.split_once('.').unwrap();
        self.ptr(of, ttl, name)
            .srv(name, ttl, 80, host)
            .txt(name, ttl, b"\x03a=1")
            .a(host, ttl, [192, 0, 2, 9])
            .nsec(host, ttl, &[kind::A])
    }
}

/// A message that the browser sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) ms: u64,
    pub(crate) link: u8,
    pub(crate) flags: u16,
    pub(crate) len: usize,
    /// Questions: name, type, and true if a unicast response is requested.
    pub(crate) asks: Vec<(String, u16, bool)>,
    /// Known answers: name, type, class, TTL in seconds.
    pub(crate) knows: Vec<(String, u16, u16, u32)>,
    pub(crate) bytes: Vec<u8>,
}

impl Sent {
    pub(crate) fn asks_for(&self, name: &str, kind: u16) -> bool {
        self.asks
            .iter()
            .any(|(asked, of, _)| asked == name && *of == kind)
    }
}

pub(crate) struct Bench {
    pub(crate) browser: Browser,
    pub(crate) links: [Link; 8],
    pub(crate) ms: u64,
    pub(crate) sent: Vec<Sent>,
    /// Reported events, each with its time (milliseconds).
    pub(crate) events: Vec<(u64, String)>,
    /// Number of wake-ups without a message or an event.
    pub(crate) idle_count: usize,
    /// Messages that are looped back, as (link of sending, link of receiving, source address).
    pub(crate) echoes: Vec<(u8, u8, &'static str)>,
}

fn dotted(names: &Names, name: NameId) -> String {
    let labels: Vec<_> = names
        .labels(name)
        .map(|label| String::from_utf8_lossy(label.bytes).into_owned())
        .collect();
    labels.join(".")
}

impl Bench {
    /// Creates a browser with link 0 up. The virtual time does not start at 0.
    pub(crate) fn new() -> Self {
        Self::with_limits(&Limits {
            records: 256,
            names: 256,
            questions: 128,
            rdata_bytes: 8192,
        })
    }

    /// Creates a browser that has asked for the services of a type.
    pub(crate) fn browsing(kind: &str) -> Self {
        let mut bench = Self::new();
        bench.look_up(Goal::Services, kind).wait(300);
        bench
    }

    pub(crate) fn with_limits(limits: &Limits) -> Self {
        let mut bench = Self {
            browser: Browser::new(limits, Random::new(&[7; 16])),
            links: Default::default(),
            ms: 100_000,
            sent: Vec::new(),
            events: Vec::new(),
            idle_count: 0,
            echoes: Vec::new(),
        };
        bench.up(0);
        bench
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::from_ms(self.ms)
    }

    pub(crate) fn up(&mut self, link: u8) {
        let state = &mut self.links[usize::from(link)];
        for (address, bits) in [("192.0.2.1", 24), ("fe80::1", 64)] {
            let _ = state.addresses.push((address.parse().unwrap(), bits));
        }
        self.notify_link_change(link);
    }

    pub(crate) fn down(&mut self, link: u8) {
        self.links[usize::from(link)].addresses.clear();
        self.notify_link_change(link);
    }

    pub(crate) fn notify_link_change(&mut self, link: u8) {
        let state = &self.links[usize::from(link)];
        self.browser
            .link_changed(Instant::from_ms(self.ms), link, state);
    }

    pub(crate) fn look_up(&mut self, goal: Goal, name: &str) -> &mut Self {
        self.look_up_families(goal, name, 3)
    }

    pub(crate) fn look_up_families(&mut self, goal: Goal, name: &str, families: u8) -> &mut Self {
        let name = wire(name);
        let lookup = Lookup {
            goal,
            name: Name::of(&name),
            links: LinkSet::ALL,
            resolves: true,
            families,
        };
        assert!(
            self.browser
                .start_lookup(Instant::from_ms(self.ms), &lookup)
        );
        self
    }

    /// Collects the messages and events that are due. Returns their number.
    pub(crate) fn drain(&mut self) -> usize {
        let now = self.now();
        let before = self.sent.len() + self.events.len();
        let mut buffer = [0; 2000];
        let mut echoed = before - self.events.len();
        while let Some(transmit) = self.next_transmit(&mut echoed, &mut buffer) {
            let message = Packet::parse(&buffer[..transmit.len]).unwrap();
            assert_eq!(message.id(), 0);
            let asks = message.questions.iter().map(|asked| {
                assert_eq!(asked.qclass, CLASS::IN.into());
                let name = dotted_name(&asked.qname);
                (name, asked.qtype.into(), asked.unicast_response)
            });
            assert!(message.name_servers.is_empty() && message.additional_records.is_empty());
            let knows = message.answers.iter().map(|record| {
                let flush = if record.cache_flush { TOP_BIT } else { 0 };
                let kind = record.rdata.type_code().into();
                (
                    dotted_name(&record.name),
                    kind,
                    u16::from(record.class) | flush,
                    record.ttl,
                )
            });
            let sent = Sent {
                ms: self.ms,
                link: transmit.link,
                flags: u16::from_be_bytes([buffer[2], buffer[3]]),
                len: transmit.len,
                asks: asks.collect(),
                knows: knows.collect(),
                bytes: buffer[..transmit.len].to_vec(),
            };
            self.sent.push(sent);
            assert!(
                self.sent.len() < before + 10_000,
                "no end of messages or events"
            );
        }
        while let Some(event) = self.browser.next_event(now) {
            let names = event.names();
            let mut line = format!(
                "{:?} {}{} {}",
                event.kind,
                event.link,
                if event.is_v6 { "v6" } else { "" },
                dotted(names, event.name)
            );
            if event.host != NameId::ROOT {
                line += &format!(" {}", dotted(names, event.host));
            }
            if let Some(address) = event.address {
                line += &format!(" {address}");
            }
            if event.port != 0 {
                line += &format!(" {} {}", event.port, String::from_utf8_lossy(event.txt));
            }
            self.events.push((self.ms, line));
            assert!(
                self.events.len() < before + 10_000,
                "no end of messages or events"
            );
        }
        self.sent.len() + self.events.len() - before
    }

    /// Returns the next message of the browser. When there is no further message, loops the messages from index `echoed` on back.
    fn next_transmit(&mut self, echoed: &mut usize, buffer: &mut [u8]) -> Option<Outgoing> {
        let now = self.now();
        loop {
            let next = self.browser.poll_transmit(now, buffer);
            let Some(sent) = self.sent.get(*echoed).filter(|_| next.is_none()) else {
                return next;
            };
            for (_, link, from) in self.echoes.iter().filter(|echo| echo.0 == sent.link) {
                let meta = Meta {
                    from: from.parse().unwrap(),
                    link: *link,
                    cast: Destination::Multicast,
                };
                self.browser.handle(now, &meta, &sent.bytes);
            }
            *echoed += 1;
        }
    }

    /// Advances the clock, and polls the browser at each of its deadlines.
    pub(crate) fn wait(&mut self, ms: u64) -> &mut Self {
        let end = self.ms + ms;
        self.drain();
        loop {
            let next = self.browser.poll_at();
            assert!(next > self.now(), "the browser is due again at once");
            if next > Instant::from_ms(end) {
                break;
            }
            self.ms += next.since(self.now()).as_ms();
            if self.drain() == 0 {
                self.idle_count += 1;
            }
        }
        self.ms = end;
        self
    }

    /// Passes a datagram to the browser, but leaves the messages and events that become due.
    pub(crate) fn handle(&mut self, link: u8, from: &str, cast: Destination, bytes: &[u8]) {
        let from = from.parse().unwrap();
        let meta = Meta { from, link, cast };
        self.browser.handle(self.now(), &meta, bytes);
    }

    /// Returns the number of a name in the cache.
    pub(crate) fn find(&self, name: &str) -> Option<NameId> {
        self.browser.cache.names.find(Name::of(&wire(name)))
    }

    pub(crate) fn receive(&mut self, say: Say) -> &mut Self {
        self.receive_from(PEER, Destination::Multicast, &say.0)
    }

    /// Receives a multicast, then waits.
    pub(crate) fn hear(&mut self, say: Say, ms: u64) -> &mut Self {
        self.receive(say).wait(ms)
    }

    /// Delivers a multicast of this host on a link.
    pub(crate) fn receive_via(&mut self, link: u8, from: &str, say: &Say) -> &mut Self {
        self.receive_on(link, from, Destination::Multicast, &say.0)
    }

    pub(crate) fn receive_from(
        &mut self,
        from: &str,
        cast: Destination,
        bytes: &[u8],
    ) -> &mut Self {
        self.receive_on(0, from, cast, bytes)
    }

    pub(crate) fn receive_on(
        &mut self,
        link: u8,
        from: &str,
        cast: Destination,
        bytes: &[u8],
    ) -> &mut Self {
        self.handle(link, from, cast, bytes);
        self.drain();
        self
    }

    pub(crate) fn forget(&mut self, name: &str) {
        let now = self.now();
        self.browser.stop_lookup(now, Name::of(&wire(name)));
        self.drain();
    }

    /// Returns the events since the previous call.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.events.drain(..).map(|(_, line)| line).collect()
    }

    /// Fails unless this is the only event since the previous call of [`Self::lines`].
    #[track_caller]
    pub(crate) fn expect_event(&mut self, line: &str) {
        assert_eq!(self.lines(), [line]);
    }

    /// Returns the times (milliseconds after `since`) at which the question was sent.
    pub(crate) fn query_times(&self, since: u64, name: &str, kind: u16) -> Vec<u64> {
        let sent = self.sent.iter().filter(|sent| sent.asks_for(name, kind));
        sent.filter(|sent| sent.ms >= since)
            .map(|sent| sent.ms - since)
            .collect()
    }

    /// Returns true if the service was reported more often as added than as removed.
    pub(crate) fn has_service(&self, name: &str) -> bool {
        let of = |what: &str| {
            let lines = self
                .events
                .iter()
                .filter(|(_, line)| line.starts_with(what));
            lines.filter(|(_, line)| line.contains(name)).count()
        };
        of("Added") > of("Removed")
    }
}

/// Returns true if all flags but TC are zero.
pub(crate) const fn is_query(flags: u16) -> bool {
    flags & !flag::TRUNCATED == 0
}
