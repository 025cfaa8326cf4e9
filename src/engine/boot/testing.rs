//! A boot server for tests and fuzzers: datagrams in, datagrams out, over the model tree, with a clock of its own.

use super::machines::Machines;
use super::menu::{Menu, Wishes};
use super::{Boot, DHCP_SOCKET, Link};
use crate::engine::Cx;
use crate::engine::service::{Due, Health, Local, Service as _, Transmit};
use crate::engine::testing::tree::Tree;
use crate::event::Events;
use crate::event::testing::Sink;
use crate::stats::Meter;
use crate::time::{Duration, Instant};
use crate::vfs::ram::Ram;
use crate::vfs::{Patience, Peer};
use core::net::{Ipv4Addr, SocketAddr};
use std::boxed::Box;

/// The server's address.
pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// No client.
const NONE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A server at one interface.
pub struct Bench {
    /// The files.
    pub tree: Tree,
    pub(super) boot: Boot,
    /// The time.
    pub now: Instant,
    events: Events,
    /// The messages.
    pub sink: Sink,
    stats: Meter,
    /// The output buffer.
    pub out: Vec<u8>,
}

impl Bench {
    /// A server of these files.
    pub fn of(ram: Ram) -> Self {
        let sink = Sink::default();
        let machines = Box::leak(Box::new(Machines::new()));
        let mut boot = Boot::new(Menu::new(80, Wishes::default(), true), machines, 80);
        boot.set_port_count(8);
        let link = Link {
            index: 2,
            address: OWN,
        };
        assert_eq!(boot.add_link(link), Some(DHCP_SOCKET));
        Self {
            tree: Tree::of(ram),
            boot,
            now: Instant::from_ms(1_000_000),
            events: Events::new(Box::new(sink.clone())),
            sink,
            stats: Meter::IDLE,
            out: vec![0; 65_468],
        }
    }

    pub(super) fn call<T>(
        &mut self,
        from: SocketAddr,
        call: impl FnOnce(&mut Boot, &mut Cx<'_>, &mut [u8]) -> T,
    ) -> T {
        let mut cx = Cx {
            now: self.now,
            wall: Duration::from_secs(0),
            health: Health::Fine,
            peer: Peer::new(from),
            vfs: &mut self.tree,
            events: &mut self.events,
            stats: &mut self.stats,
        };
        call(&mut self.boot, &mut cx, &mut self.out)
    }

    /// Passes a datagram from a client to a socket. The answer is in [`Self::out`].
    pub fn pass(&mut self, from: SocketAddr, socket: u16, packet: &[u8]) -> Option<Transmit> {
        let at = Local {
            interface: 2,
            address: Some(OWN.into()),
            ..Local::of(socket)
        };
        self.call(from, |boot, cx, out| {
            boot.datagram(cx, at, from, packet, out)
        })
    }

    /// The next datagram that is due, in [`Self::out`].
    pub fn due(&mut self) -> Option<Transmit> {
        match self.call(NONE, |boot, cx, out| boot.due(cx, out)) {
            Due::Send(sent) => Some(sent),
            _ => None,
        }
    }

    /// Lets this time pass. Calls `sent` for each datagram that becomes due.
    pub fn wait(&mut self, ms: u32, sent: &mut dyn FnMut(&[u8])) {
        let end = self.now.after(Duration::from_ms(ms));
        while self.boot.poll_at() <= end {
            self.now = self.boot.poll_at().max(self.now);
            while let Some(Transmit { len, .. }) = self.due() {
                sent(&self.out[..len]);
            }
        }
        self.now = end;
    }

    /// Passes the ends of jobs.
    pub fn end_jobs(&mut self) {
        self.tree.reap(Patience::Now);
        let mut count = 0;
        while let Some(ended) = self.tree.ended_after(count) {
            count += 1;
            self.call(NONE, |boot, cx, _| boot.ended(cx, ended));
        }
    }

    /// Returns true if nothing is left to do.
    pub fn is_idle(&self) -> bool {
        self.boot.poll_at() == Instant::NEVER
    }
}
