//! The sockets of the resolver of host names ([`crate::engine::names`]): a few, with random ports, that are opened once.

use super::task::World;
use crate::config::NAME_SOCKET_COUNT;
use crate::engine::names::Resolver;
use crate::mem::Ends as _;
use crate::net::{Interfaces, NetError, Own, Socket};
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// First token of these sockets; those of connections are smaller.
pub const NAMES_TOKEN: u32 = 1 << 20;
const _: () = assert!(
    crate::config::CONNECTION_COUNT_MAX + (super::service::CONNECTION_TOKEN as usize)
        < NAMES_TOKEN as usize
);
/// Most datagrams received from one socket in one turn.
const TURN_COUNT: usize = 64;
/// Longest question (bytes).
const QUESTION_BYTES_MAX: usize = 512;
/// Attempts to find a free port.
const PORT_TRIES: usize = 8;

/// The resolver and its sockets.
#[derive(Debug)]
pub struct Names {
    /// The resolver.
    pub resolver: Resolver,
    sockets: heapless::Vec<Socket, NAME_SOCKET_COUNT>,
}

impl Names {
    /// A resolver without sockets.
    pub const fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            sockets: heapless::Vec::new(),
        }
    }

    /// Opens the sockets, and sets the addresses from which multicast questions are sent. Called once, before the sandbox.
    pub fn open(&mut self, world: &mut World<'_>, interfaces: &Interfaces) {
        while !self.sockets.is_full() && self.open_socket(world) {}
        self.resolver.set_socket_count(self.sockets.len());
        let linked = interfaces
            .iter()
            .filter(|one| one.is_multicast && one.is_running);
        let mut links = linked.flat_map(|one| {
            let of_v4 = one.addresses.iter().find(|(own, _)| own.is_ipv4());
            let is_link_local =
                |own: &IpAddr| matches!(own, IpAddr::V6(own) if own.is_unicast_link_local());
            let of_v6 = one.addresses.iter().find(|(own, _)| is_link_local(own));
            let both = of_v4.into_iter().chain(of_v6);
            both.map(|(own, _)| (*own, one.index))
        });
        self.resolver.set_links(&mut links);
    }

    /// Opens one more socket at a random port. Returns false if that failed.
    fn open_socket(&mut self, world: &mut World<'_>) -> bool {
        let token = world.token(NAMES_TOKEN + self.sockets.len() as u32);
        for _ in 0..PORT_TRIES {
            let port = self.resolver.random_port();
            let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let bound = world.net.bind(any, token).or_else(|error| match error {
                NetError::InUse => Err(error),
                // A host without IPv6.
                _ => world.net.bind((Ipv4Addr::UNSPECIFIED, port).into(), token),
            });
            match bound {
                Ok(socket) => return self.sockets.push(socket).is_ok(),
                Err(NetError::InUse) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Handles the datagrams queued at the socket with the token `local`. Returns false if it is not one of these sockets.
    pub fn ready(&mut self, world: &mut World<'_>, local: u32) -> bool {
        let Some(number) = local.checked_sub(NAMES_TOKEN) else {
            return false;
        };
        let number = number as usize;
        let Some(socket) = self.sockets.get(number).copied() else {
            return true;
        };
        for _ in 0..TURN_COUNT {
            let received = match world.net.recv_from(socket, world.rx) {
                Ok(received) => received,
                Err(NetError::WouldBlock) => break,
                Err(_) => continue,
            };
            let bytes = world.rx.head(received.len);
            let origin = (number, received.from);
            let (tree, events) = (&mut *world.tree, &mut *world.events);
            self.resolver.handle(world.now, origin, bytes, tree, events);
        }
        true
    }

    /// Sends the due questions. Returns true if calls that wait for a look-up are to be repeated.
    pub fn turn(&mut self, world: &mut World<'_>) -> bool {
        let now = world.now;
        loop {
            let out = world.tx.head_mut(QUESTION_BYTES_MAX);
            let (tree, events) = (&mut *world.tree, &mut *world.events);
            let Some(transmit) = self.resolver.poll_transmit(now, tree, events, out) else {
                break;
            };
            let bytes = out.head(transmit.len);
            let sent = match self.sockets.get(transmit.socket) {
                Some(socket) => {
                    world
                        .net
                        .send_to(*socket, Own::of(transmit.from), transmit.to, bytes)
                }
                None => Err(NetError::Gone),
            };
            if !matches!(sent, Ok(()) | Err(NetError::WouldBlock | NetError::Full)) {
                self.resolver.unsent(&transmit, now);
            }
        }
        self.resolver.take_progress()
    }

    /// The next time at which [`Names::turn`] has work.
    pub fn poll_at(&self) -> Instant {
        self.resolver.poll_at()
    }
}
