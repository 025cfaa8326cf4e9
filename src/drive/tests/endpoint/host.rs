//! A responder on simulated interfaces.

use crate::drive::endpoint::{Choice, Endpoint, Mdns};
use crate::drive::tests::with_loop;
use crate::drive::{Loop, Task};
use crate::engine::mdns::{Limits, Link, LinkId, Meta, Outgoing, Responder};
use crate::event::testing::Sink;
use crate::event::{Events, Fatal};
use crate::net::sim::Sim;
use crate::net::{Interface, Signals};
use crate::time::{Duration, Instant};
use crate::vfs::Tree;
use crate::wire::dns::{Message, Name, kind};
use core::cell::RefCell;
use std::rc::Rc;

pub(in super::super) const PEER: &str = "192.0.2.9:5353";
const GROUPS: [&str; 2] = ["224.0.0.251:5353", "[ff02::fb]:5353"];
/// Time until all records are probed and announced.
pub(in super::super) const SETTLED: Duration = Duration::from_secs(4);
/// DNS query for the A record of `box.local`.
pub(in super::super) const QUERY: &[u8] =
    b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03box\x05local\0\0\x01\0\x01";

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

    fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Outgoing> {
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

/// An endpoint with its network.
pub(in super::super) struct Bench<'a> {
    pub(in super::super) sim: Sim,
    mdns: Mdns<'a>,
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

/// Runs `script` with an endpoint; with `no_changes` on a host that does not report changes of interfaces.
pub(in super::super) fn with_host(no_changes: bool, script: impl FnOnce(&mut Bench<'_>)) {
    with_choice(no_changes, Choice::default(), script);
}

/// Like [`with_host`], with a choice of interfaces.
pub(in super::super) fn with_choice(
    no_changes: bool,
    choice: Choice<'_>,
    script: impl FnOnce(&mut Bench<'_>),
) {
    let sim = Sim::new(7);
    sim.faults().no_changes = no_changes;
    let mut host = Host::new();
    let mut bench = Bench {
        calls: Rc::clone(&host.calls),
        mdns: Mdns::new(&mut host, choice),
        sim,
        sink: Sink::default(),
    };
    assert_eq!(bench.with_loop(|mdns| mdns.start()), Ok(()));
    script(&mut bench);
}

/// Runs `script` with one interface, after all records are announced.
pub(in super::super) fn with_announced(no_changes: bool, script: impl FnOnce(&mut Bench<'_>)) {
    with_host(no_changes, |bench| {
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
        let (tree, tasks) = (&mut Tree::default(), &mut [&mut self.mdns as &mut dyn Task]);
        with_loop(&self.sim, tree, tasks, &self.sink, run)
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
