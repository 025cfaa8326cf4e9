//! Datagrams and timers: passes datagrams that arrive to the service, sends those that it returns, and serves the needs that are due. Pools of
//! sockets.

use super::turn::Turn;
use super::{CONNECTION_TOKEN, Limits, Served};
use crate::config::CONNECTION_COUNT_MAX;
use crate::drive::task::World;
use crate::engine::service::{Cast, ConnectionId, Due, Local, Service, Transmit};
use crate::mem::{Ends as _, Slots, scaled};
use crate::net::{Binding, NetError, NetResult, Own, Received, Socket};
use crate::time::Instant;
use crate::vfs::Peer;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// First token of the datagram sockets.
const SOCKET_TOKEN: u32 = 1 << 17;
const _: () = assert!(CONNECTION_TOKEN as usize + CONNECTION_COUNT_MAX < SOCKET_TOKEN as usize);
/// Most datagrams received from one socket, and most needs of a service, in one turn.
const TURN_COUNT: usize = 64;
/// Sockets of a pool with minimum memory.
const POOL_COUNT_MIN: usize = 8;
/// Attempts to find a free port for a socket of a pool.
const PORT_TRIES: usize = 8;

/// The datagram sockets of a service.
pub(super) struct Sockets {
    /// By their numbers in the service.
    all: Slots<Option<Socket>>,
    /// Size (bytes) of the part of the transmit buffer for a datagram.
    datagram_bytes: usize,
}

impl Sockets {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            all: Slots::defaults(limits.socket_count.max(1)),
            datagram_bytes: limits.datagram_bytes,
        }
    }
}

impl Served {
    /// Opens a datagram socket with this number in the service.
    ///
    /// # Errors
    /// As [`crate::net::Datagrams::bind`]; `Full` if the number exceeds [`Limits::socket_count`](super::Limits::socket_count).
    pub fn bind(
        &mut self,
        world: &mut World<'_>,
        binding: &Binding<'_>,
        number: u16,
    ) -> NetResult<()> {
        let place = self.sockets.all.get_mut(usize::from(number));
        let place = place.ok_or(NetError::Full)?;
        let token = world.token(SOCKET_TOKEN + u32::from(number));
        *place = Some(world.net.bind(binding, token)?);
        Ok(())
    }

    /// Opens sockets with the numbers from `first` at ports that `port` chooses (0: any), at all addresses, until there are `count` or
    /// one cannot be opened: at most a quarter of those that the network can have, and 8 with minimum memory. Returns their number.
    /// `fragments`: see [`Binding`]. The service knows the own end of their datagrams.
    pub fn bind_pool(
        &mut self,
        world: &mut World<'_>,
        first: u16,
        count: u16,
        fragments: bool,
        port: &mut dyn FnMut() -> u16,
    ) -> u16 {
        let most = world.net.socket_count_max() / 4;
        let count = most.min(scaled(POOL_COUNT_MIN, usize::from(count))) as u16;
        let mut is_free = |number: u16| {
            (0..PORT_TRIES).find_map(|_| {
                let port = port();
                let mut binding = Binding::of(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
                (binding.fragments, binding.destinations) = (fragments, false);
                let mut bound = self.bind(world, &binding, first + number);
                if !matches!(bound, Ok(()) | Err(NetError::InUse)) {
                    // A host without IPv6.
                    binding.at = (Ipv4Addr::UNSPECIFIED, port).into();
                    bound = self.bind(world, &binding, first + number);
                }
                (bound != Err(NetError::InUse)).then_some(bound.is_ok())
            })
        };
        let opened = (0..count).take_while(|number| is_free(*number) == Some(true));
        opened.count() as u16
    }

    /// The socket with this number in the service.
    fn socket(&self, number: u16) -> Option<Socket> {
        self.sockets.all.get(usize::from(number)).copied().flatten()
    }

    /// Passes the datagrams queued at the socket with the token `local` to the service. Returns false if it is not that of a datagram
    /// socket.
    pub(super) fn receive_datagrams(&self, turn: &mut Turn<'_, '_>, local: u32) -> bool {
        let Some(number) = local.checked_sub(SOCKET_TOKEN) else {
            return false;
        };
        let number = number as u16;
        for _ in 0..TURN_COUNT {
            let world = &mut *turn.world;
            let Some(socket) = self.socket(number) else {
                break;
            };
            let Ok(received) = world.net.recv_from(socket, world.rx) else {
                break;
            };
            let Received { len, from, to, .. } = received;
            let cast = match to.address {
                Some(address) if address.is_multicast() => Cast::Multicast,
                _ if received.is_broadcast => Cast::Broadcast,
                _ => Cast::Unicast,
            };
            let at = Local {
                socket: number,
                interface: to.interface,
                address: to.address,
                cast,
            };
            let (mut cx, rx, tx) = world.lend(Peer::new(from));
            let output = tx.head_mut(self.sockets.datagram_bytes);
            let reply = turn
                .service
                .datagram(&mut cx, at, from, rx.head(len), output);
            if let Some(transmit) = reply {
                self.send_datagram(turn, &transmit);
                // The client waits for it, so the queue is mostly empty; else the socket is ready again.
                break;
            }
        }
        true
    }

    /// The next time at which [`Self::next_due`] has work.
    pub(super) fn due_at(service: &dyn Service) -> Instant {
        service.poll_at()
    }

    /// The next of the service's needs that are due, of which a turn allows `left`: sends datagrams, and returns a connection that has
    /// something to say.
    pub(super) fn next_due(
        &self,
        turn: &mut Turn<'_, '_>,
        left: &mut usize,
    ) -> Option<ConnectionId> {
        while turn.service.poll_at() <= turn.world.now && *left > 0 {
            *left -= 1;
            let (mut cx, _, tx) = turn.world.lend(Peer::NONE);
            let output = tx.head_mut(self.sockets.datagram_bytes);
            match turn.service.due(&mut cx, output) {
                Due::Send(transmit) => {
                    if !self.send_datagram(turn, &transmit) {
                        turn.service.unsent(turn.world.now);
                    }
                }
                Due::Serve(id) => return Some(id),
                Due::Nothing => break,
            }
        }
        None
    }

    /// Sends a datagram in the transmit buffer. Returns false if none like it can be sent now. One for which the queue has no space is
    /// lost, as in the network.
    fn send_datagram(&self, turn: &mut Turn<'_, '_>, transmit: &Transmit) -> bool {
        let Transmit { from, to, len } = *transmit;
        let Some(socket) = self.socket(from.socket) else {
            return false;
        };
        let bytes = turn.world.tx.head(len);
        let own = Own {
            address: from.address,
            interface: from.interface,
        };
        let sent = turn.world.net.send_to(socket, own, to, bytes);
        matches!(sent, Ok(()) | Err(NetError::WouldBlock | NetError::Full))
    }
}
