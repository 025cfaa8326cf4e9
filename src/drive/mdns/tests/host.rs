//! A responder on interfaces in memory, on a host that fails as it is told to.

use crate::drive::mdns::{CALL, Choice, Mdns, Speaker};
use crate::engine::mdns::{Limits, Link, LinkId, Meta, Responder, Transmit};
use crate::event::Events;
use crate::event::kept::Sink;
use crate::net::sim::Sim;
use crate::net::{
    Interface, Interfaces, Joined, Links, NetError, NetResult, Post, Ready, Socket, Token,
};
use crate::sys::linux::interfaces::{MULTICAST, RUNNING, UP};
use crate::time::{Duration, Instant};
use crate::wire::dns::{Message, Name, kind};
use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

pub(super) const PEER: &str = "192.0.2.9:5353";
const GROUPS: [&str; 2] = ["224.0.0.251:5353", "[ff02::fb]:5353"];
/// Until everything is probed for and announced.
pub(super) const SETTLED: Duration = Duration::from_secs(4);
/// `? box.local A`
pub(super) const QUERY: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03box\x05local\0\0\x01\0\x01";

/// What the host does not do, and what is asked of it.
#[derive(Default)]
pub(super) struct Faults {
    /// These interfaces alone are wished.
    pub(super) names: &'static [&'static [u8]],
    /// Every datagram that is sent fails so.
    pub(super) send: Option<NetError>,
    /// Every socket is ready at once, and says no more than this.
    pub(super) recv: Option<NetError>,
    /// No group can be joined.
    pub(super) join: Option<NetError>,
    /// Somebody else has our addresses.
    pub(super) claim: Option<NetError>,
    /// Nobody tells of changes.
    pub(super) no_changes: bool,
    /// A socket at a group hears others, too.
    pub(super) hears_others: bool,
    /// The process is called.
    pub(super) call: bool,
    /// What is open.
    pub(super) open: Vec<(Socket, Token)>,
    /// How often it was waited, and received.
    pub(super) waits: usize,
    pub(super) recvs: usize,
}

/// The net in memory on such a host.
struct Poor(Sim, Rc<RefCell<Faults>>);

impl Poor {
    fn keep(&self, socket: Socket, token: Token) {
        self.1.borrow_mut().open.push((socket, token));
    }
}

impl Post for Poor {
    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<(usize, SocketAddr)> {
        let mut faults = self.1.borrow_mut();
        faults.recvs += 1;
        match faults.recv {
            Some(error) => Err(error),
            None => self.0.recv_from(socket, buffer),
        }
    }

    fn send_to(&mut self, socket: Socket, to: SocketAddr, bytes: &[u8]) -> NetResult<()> {
        match self.1.borrow().send {
            Some(error) => Err(error),
            None => self.0.send_to(socket, to, bytes),
        }
    }

    fn close(&mut self, socket: Socket) {
        let mut faults = self.1.borrow_mut();
        faults.open.retain(|(open, _)| *open != socket);
        self.0.close(socket);
    }

    fn wait(&mut self, now: Instant, until: Option<Instant>, ready: &mut Ready) -> Instant {
        let mut faults = self.1.borrow_mut();
        faults.waits += 1;
        let is_called = core::mem::take(&mut faults.call);
        let fails = faults.recv.is_some() && !faults.open.is_empty();
        let until = if is_called || fails { Some(now) } else { until };
        let now = self.0.wait(now, until, ready);
        if is_called {
            let _ = ready.tokens.push(CALL);
        }
        if fails {
            ready.tokens.clear();
            let tokens = faults.open.iter().map(|(_, token)| *token);
            ready.tokens.extend(tokens);
        }
        now
    }
}

impl Links for Poor {
    fn interfaces(&self, out: &mut Interfaces) {
        self.0.interfaces(out);
    }

    fn changes(&mut self, token: Token) -> NetResult<Socket> {
        if self.1.borrow().no_changes {
            return Err(NetError::Unsupported);
        }
        let socket = self.0.changes(token)?;
        self.keep(socket, token);
        Ok(socket)
    }

    fn join(&mut self, index: u32, own: IpAddr, token: Token) -> NetResult<Joined> {
        if let Some(error) = self.1.borrow().join {
            return Err(error);
        }
        let joined = self.0.join(index, own, token)?;
        self.keep(joined.socket, token);
        Ok(Joined {
            alone: !self.1.borrow().hears_others,
            ..joined
        })
    }

    fn claim(&mut self, index: u32, own: IpAddr, token: Token) -> NetResult<Socket> {
        if let Some(error) = self.1.borrow().claim {
            return Err(error);
        }
        let socket = self.0.claim(index, own, token)?;
        self.keep(socket, token);
        Ok(socket)
    }
}

/// The host `box`, as a role has it.
struct Host {
    responder: Responder,
    pub(super) calls: Rc<RefCell<usize>>,
}

impl Speaker for Host {
    fn set_link(&mut self, now: Instant, id: LinkId, link: &Link, _: &[u8]) -> bool {
        self.responder.set_link(now, id, link).is_ok()
    }

    fn handle(&mut self, now: Instant, meta: Meta, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
        self.responder.handle(now, meta, bytes, out)
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.responder.poll_transmit(now, out)
    }

    fn poll_at(&self) -> Instant {
        self.responder.poll_at()
    }

    fn tell(&mut self, _: Instant) -> bool {
        true
    }

    fn hear(&mut self, _: Instant) {
        *self.calls.borrow_mut() += 1;
    }

    fn leave(&mut self, now: Instant) {
        self.responder.goodbye(now);
    }
}

/// A loop and its surroundings.
pub(super) struct Bench<'a> {
    pub(super) sim: Sim,
    pub(super) mdns: Mdns<'a>,
    pub(super) faults: Rc<RefCell<Faults>>,
    pub(super) calls: Rc<RefCell<usize>>,
    pub(super) sink: Sink,
}

/// Interfaces with two addresses each, the first of which has the number 2.
pub(super) fn interfaces(count: u32) -> Vec<Interface> {
    let interface = |index: u32| {
        let mut name = [0; 16];
        let text = format!("eth{}", index - 2);
        name[..text.len()].copy_from_slice(text.as_bytes());
        let addresses = [
            (format!("192.0.{index}.1").parse().unwrap(), 24),
            (format!("fe80::{index}").parse().unwrap(), 64),
        ];
        Interface {
            index,
            name,
            flags: UP | RUNNING | MULTICAST,
            mtu: 1500,
            hardware: None,
            addresses: addresses.into_iter().collect(),
        }
    };
    (2..2 + count).map(interface).collect()
}

pub(super) fn with_host(faults: Faults, script: impl FnOnce(&mut Bench<'_>)) {
    let (sim, sink) = (Sim::new(7), Sink::default());
    let (faults, calls) = (Rc::new(RefCell::new(faults)), Rc::default());
    let mut net = Poor(sim.clone(), Rc::clone(&faults));
    let limits = Limits {
        name_count: 256,
        record_count: 128,
        text_bytes: 2048,
    };
    let mut host = Host {
        responder: Responder::new(limits, &[7; 16]),
        calls: Rc::clone(&calls),
    };
    host.responder.set_host(b"box").unwrap();
    let events = Events::new(Box::new(sink.clone()));
    let choice = Choice {
        names: faults.borrow().names,
    };
    let now = sim.now();
    let mut bench = Bench {
        mdns: Mdns::new(&mut net, &mut host, choice, events, now),
        sim,
        faults,
        calls,
        sink,
    };
    script(&mut bench);
}

/// The same on a host with one interface, when everything is announced.
pub(super) fn with_announced(faults: Faults, script: impl FnOnce(&mut Bench<'_>)) {
    with_host(faults, |bench| {
        bench.sim.set_interfaces(&interfaces(1));
        bench.run(SETTLED);
        assert_eq!(bench.heard(), (6, 4, 0));
        script(bench);
    });
}

impl Bench<'_> {
    /// Lets so much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        self.sim.allow(time);
        let mut ready = Ready::default();
        while !ready.stop {
            assert!(self.mdns.turn(&mut ready));
        }
    }

    /// How often everybody was asked, told, and told for the last time, since this was asked last.
    pub(super) fn heard(&self) -> (usize, usize, usize) {
        let (mut asked, mut told, mut left) = (0, 0, 0);
        for (_, bytes, to) in self.sim.take_multicast() {
            assert!(
                GROUPS
                    .iter()
                    .any(|group| to.to_string().starts_with(&group[..9])),
                "{to}"
            );
            let message = Message::parse(&bytes).unwrap();
            if message.questions().next().is_some() {
                asked += 1;
            } else if message.records().any(|(_, record)| record.ttl == 0) {
                left += 1;
            } else {
                told += 1;
            }
        }
        (asked, told, left)
    }

    /// Whether a neighbour that asks for the host's address has it within a moment.
    pub(super) fn answers(&mut self) -> bool {
        // It is not told twice within a second.
        self.run(Duration::from_secs(2));
        self.sim.take_multicast();
        self.sim.arrive(2, PEER.parse().unwrap(), QUERY);
        self.run(Duration::from_secs(1));
        self.sim.take_multicast().iter().any(|(_, bytes, _)| {
            let message = Message::parse(bytes).unwrap();
            let mut records = message.records();
            records.any(|(_, record)| {
                record.kind == kind::A && record.name.is(Name::of(b"\x03box\x05local\0"))
            })
        })
    }
}
