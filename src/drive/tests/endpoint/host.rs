//! A responder on simulated interfaces, on a host with injected faults.

use crate::config::{RX_BYTES, TX_BYTES};
use crate::drive::Loop;
use crate::drive::endpoint::{Choice, Endpoint, Mdns};
use crate::engine::mdns::{Limits, Link, LinkId, Meta, Responder, Transmit};
use crate::event::testing::Sink;
use crate::event::{Events, Fatal};
use crate::net::sim::Sim;
use crate::net::{
    Connections, Datagrams, FileId, FileRange, Interest, Interface, Interfaces, Multicast, Net,
    NetError, NetResult, Own, Ready, Received, Signals, Socket, Streams, Token,
};
use crate::time::{Duration, Instant};
use crate::vfs::Tree;
use crate::vfs::shared::delegate;
use crate::wire::dns::{Message, Name, kind};
use core::cell::RefCell;
use core::net::{IpAddr, SocketAddr};
use std::rc::Rc;

pub(in super::super) const PEER: &str = "192.0.2.9:5353";
const GROUPS: [&str; 2] = ["224.0.0.251:5353", "[ff02::fb]:5353"];
/// Time until all records are probed and announced.
pub(in super::super) const SETTLED: Duration = Duration::from_secs(4);
/// DNS query for the A record of `box.local`.
pub(in super::super) const QUERY: &[u8] =
    b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03box\x05local\0\0\x01\0\x01";

/// Faults to inject, and counters.
#[derive(Default)]
pub(in super::super) struct Faults {
    /// Names of the interfaces to serve.
    pub(in super::super) names: &'static [&'static [u8]],
    /// Error of every send.
    pub(in super::super) send: Option<NetError>,
    /// Error of every receive; all sockets count as ready.
    pub(in super::super) recv: Option<NetError>,
    /// Error of joining a group.
    pub(in super::super) join: Option<NetError>,
    /// Error of binding an own address.
    pub(in super::super) claim: Option<NetError>,
    /// True if another program has port 5353 open.
    pub(in super::super) is_port_taken: bool,
    /// True if the host does not report changes of interfaces.
    pub(in super::super) no_changes: bool,
    /// True if a group's socket also receives datagrams of other interfaces.
    pub(in super::super) hears_others: bool,
    /// True if SIGHUP is pending.
    pub(in super::super) reload: bool,
    /// The open sockets.
    pub(in super::super) open: Vec<(Socket, Token)>,
    /// Number of calls of `wait`, and number of receives.
    pub(in super::super) waits: usize,
    pub(in super::super) recvs: usize,
}

/// The simulated network, with the faults injected.
struct Poor(Sim, Rc<RefCell<Faults>>);

impl Poor {
    fn keep(&self, socket: Socket, token: Token) {
        self.1.borrow_mut().open.push((socket, token));
    }

    fn on_sim<T>(&mut self, call: impl FnOnce(&mut dyn Net) -> T) -> T {
        call(&mut self.0)
    }
}

impl Net for Poor {}

impl Datagrams for Poor {
    fn bind(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        self.0.bind(at, token)
    }

    fn local(&self, socket: Socket) -> NetResult<SocketAddr> {
        self.0.local(socket)
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<Received> {
        let mut faults = self.1.borrow_mut();
        faults.recvs += 1;
        match faults.recv {
            Some(error) => Err(error),
            None => {
                let received = self.0.recv_from(socket, buffer)?;
                let to = received.to.address.filter(|_| !faults.hears_others);
                Ok(Received {
                    to: Own::of(to),
                    ..received
                })
            }
        }
    }

    fn send_to(
        &mut self,
        socket: Socket,
        from: Own,
        to: SocketAddr,
        bytes: &[u8],
    ) -> NetResult<()> {
        match self.1.borrow().send {
            Some(error) => Err(error),
            None => self.0.send_to(socket, from, to, bytes),
        }
    }

    fn close(&mut self, socket: Socket) {
        let mut faults = self.1.borrow_mut();
        faults.open.retain(|(open, _)| *open != socket);
        self.0.close(socket);
    }

    fn wait(&mut self, now: Instant, until: Instant, ready: &mut Ready) -> Instant {
        let mut faults = self.1.borrow_mut();
        faults.waits += 1;
        let reloads = core::mem::take(&mut faults.reload);
        let fails = faults.recv.is_some() && !faults.open.is_empty();
        let until = if reloads || fails { now } else { until };
        let now = self.0.wait(now, until, ready);
        ready.signals.reload = reloads;
        if fails {
            ready.tokens.clear();
            let tokens = faults.open.iter().map(|(_, token)| *token);
            ready.tokens.extend(tokens);
        }
        now
    }
}

impl Connections for Poor {
    delegate! {
        on_sim:
        fn recv(socket: Socket, buffer: &mut [u8]) -> NetResult<usize>;
        fn peek(socket: Socket, buffer: &mut [u8]) -> NetResult<usize>;
        fn send(socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize>;
        fn send_file(socket: Socket, range: FileRange) -> NetResult<usize>;
        fn recv_pipe(socket: Socket, len: u32) -> NetResult<(usize, FileId)>;
    }
}

impl Streams for Poor {
    delegate! {
        on_sim:
        fn listen(at: SocketAddr, token: Token) -> NetResult<Socket>;
        fn accept(listener: Socket) -> NetResult<(Socket, SocketAddr)>;
        fn watch(socket: Socket, token: Token, interest: Interest) -> NetResult<()>;
    }
}

impl Multicast for Poor {
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

    fn join(
        &mut self,
        index: u32,
        own: IpAddr,
        group: SocketAddr,
        token: Token,
    ) -> NetResult<Socket> {
        if let Some(error) = self.1.borrow().join {
            return Err(error);
        }
        let socket = self.0.join(index, own, group, token)?;
        self.keep(socket, token);
        Ok(socket)
    }

    fn claim(&mut self, index: u32, own: SocketAddr, token: Token) -> NetResult<Socket> {
        if let Some(error) = self.1.borrow().claim {
            return Err(error);
        }
        if own.ip().is_loopback() {
            // Not an address of an interface of the simulation.
            return match self.1.borrow().is_port_taken {
                true => Err(NetError::InUse),
                false => self.0.bind(own, token),
            };
        }
        let socket = self.0.claim(index, own, token)?;
        self.keep(socket, token);
        Ok(socket)
    }
}

/// An endpoint that responds for the host `box`.
pub(in super::super) struct Host {
    responder: Responder,
    pub(in super::super) calls: Rc<RefCell<usize>>,
}

impl Host {
    pub(in super::super) fn new() -> Self {
        let limits = Limits {
            name_count: 2048,
            record_count: 2048,
            rdata_bytes: 2048,
        };
        let mut responder = Responder::new(limits, &[7; 16]);
        responder.set_host(b"box").unwrap();
        Self {
            responder,
            calls: Rc::default(),
        }
    }
}

/// Returns true if the host's address was multicast since the last call.
pub(in super::super) fn is_answered(sim: &Sim) -> bool {
    sim.take_multicast().iter().any(|(_, bytes, _)| {
        let message = Message::parse(bytes).unwrap();
        let mut records = message.records();
        records
            .any(|record| record.kind == kind::A && record.name.is(Name::of(b"\x03box\x05local\0")))
    })
}

impl Endpoint for Host {
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

    fn poll_event(&mut self, _: Instant, _: &mut Events) -> Result<(), Fatal> {
        Ok(())
    }

    fn is_claiming(&self, now: Instant) -> bool {
        self.responder.is_claiming(now)
    }

    fn on_port_taken(&mut self, now: Instant) {
        self.responder.on_port_taken(now);
    }

    fn on_signals(&mut self, _: Instant, signals: Signals) {
        *self.calls.borrow_mut() += usize::from(signals.reload);
    }

    fn goodbye(&mut self, now: Instant) {
        self.responder.goodbye(now);
    }
}

/// A loop with its network and faults.
pub(in super::super) struct Bench<'a> {
    pub(in super::super) sim: Sim,
    net: Poor,
    mdns: Mdns<'a>,
    pub(in super::super) faults: Rc<RefCell<Faults>>,
    pub(in super::super) calls: Rc<RefCell<usize>>,
    pub(in super::super) sink: Sink,
}

/// Returns `count` interfaces with two addresses each, with indices from 2.
pub(in super::super) fn interfaces(count: u32) -> Vec<Interface> {
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
            is_running: true,
            is_multicast: true,
            is_loopback: false,
            is_point_to_point: false,
            mtu: 1500,
            hardware: None,
            gateway: None,
            addresses: addresses.into_iter().collect(),
        }
    };
    (2..2 + count).map(interface).collect()
}

pub(in super::super) fn with_host(faults: Faults, script: impl FnOnce(&mut Bench<'_>)) {
    let (sim, sink) = (Sim::new(7), Sink::default());
    let (faults, calls) = (Rc::new(RefCell::new(faults)), Rc::default());
    let net = Poor(sim.clone(), Rc::clone(&faults));
    let mut host = Host::new();
    host.calls = Rc::clone(&calls);
    let choice = Choice {
        names: faults.borrow().names,
        ..Choice::default()
    };
    let mut bench = Bench {
        net,
        mdns: Mdns::new(&mut host, choice),
        sim,
        faults,
        calls,
        sink,
    };
    assert_eq!(bench.with_loop(|mdns| mdns.start()), Ok(()));
    script(&mut bench);
}

/// Runs `script` with one interface, after all records are announced.
pub(in super::super) fn with_announced(faults: Faults, script: impl FnOnce(&mut Bench<'_>)) {
    with_host(faults, |bench| {
        bench.sim.set_interfaces(&interfaces(1));
        bench.run(SETTLED);
        assert_eq!(bench.heard(), (6, 4, 0));
        script(bench);
    });
}

impl Bench<'_> {
    /// Runs the loop for `time`.
    pub(in super::super) fn run(&mut self, time: Duration) {
        self.sim.allow(time);
        self.with_loop(|all| all.turns());
    }

    /// Stops the loop, so that the endpoint sends its goodbyes.
    pub(in super::super) fn stop(&mut self) {
        self.sim.allow(Duration::default());
        self.with_loop(|mdns| {
            mdns.turns();
            mdns.stop();
        });
    }

    /// Calls `run` with a loop over the endpoint.
    fn with_loop<T>(&mut self, run: impl FnOnce(&mut Loop<'_, '_>) -> T) -> T {
        let mut events = Events::new(Box::new(self.sink.clone()));
        let (mut rx, mut tx) = (vec![0; RX_BYTES], vec![0; TX_BYTES]);
        let now = self.sim.now();
        run(&mut Loop::new(
            &mut self.net,
            &mut Tree::default(),
            &mut [&mut self.mdns],
            &mut events,
            [&mut rx, &mut tx],
            &mut crate::stats::Meter::default(),
            now,
        ))
    }

    /// Counts of multicast queries, announcements and goodbyes since the last call.
    pub(in super::super) fn heard(&self) -> (usize, usize, usize) {
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
            } else if message.records().any(|record| record.ttl == 0) {
                left += 1;
            } else {
                told += 1;
            }
        }
        (asked, told, left)
    }

    /// Returns true if a query for the host's address is answered within a second.
    pub(in super::super) fn answers(&mut self) -> bool {
        // A record is not multicast twice within one second.
        self.run(Duration::from_secs(2));
        self.sim.take_multicast();
        self.sim.arrive(2, PEER.parse().unwrap(), QUERY);
        self.run(Duration::from_secs(1));
        is_answered(&self.sim)
    }
}
