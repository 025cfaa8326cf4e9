//! Datagrams: passes those that arrive to the service, and sends those that it returns. Pools of sockets with random ports.

use super::super::task::World;
use super::Served;
use super::turn::Turn;
use crate::config::DATAGRAM_BYTES;
use crate::engine::service::{Due, Local, Transmit};
use crate::mem::Ends as _;
use crate::net::{NetError, NetResult, Own, Received};
use crate::vfs::Peer;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most datagrams received from one socket, and most needs of a service, in one turn.
pub(super) const TURN_COUNT: usize = 64;
/// Attempts to find a free port for a socket of a pool.
const PORT_TRIES: usize = 8;

impl Served {
    /// Binds a datagram socket at `at`. `local`, below [`super::CONNECTION_TOKEN`], is its number in the service; no listener has it.
    ///
    /// # Errors
    /// As [`crate::net::Datagrams::bind`]; `Full` if there are too many sockets.
    pub fn bind(&mut self, world: &mut World<'_>, at: SocketAddr, local: u32) -> NetResult<()> {
        let socket = world.net.bind(at, world.token(local))?;
        self.sockets
            .push((socket, local))
            .map_err(|_| NetError::Full)
    }

    /// Binds sockets with the numbers from 0 at ports that `port` chooses, to all addresses, until there are `count` or one cannot be
    /// bound. Returns their number.
    pub fn bind_pool(
        &mut self,
        world: &mut World<'_>,
        count: u32,
        port: &mut dyn FnMut() -> u16,
    ) -> u32 {
        let mut is_free = |number: u32| {
            (0..PORT_TRIES).find_map(|_| {
                let port = port();
                let v6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
                let bound = match self.bind(world, v6, number) {
                    Err(NetError::InUse) => return None,
                    // A host without IPv6.
                    Err(_) => self.bind(world, (Ipv4Addr::UNSPECIFIED, port).into(), number),
                    bound => bound,
                };
                (bound != Err(NetError::InUse)).then_some(bound.is_ok())
            })
        };
        (0..count)
            .take_while(|number| is_free(*number) == Some(true))
            .count() as u32
    }

    /// Passes the datagrams queued at the socket with the token `local` to the service. Returns false if no datagram socket has that
    /// token.
    pub(super) fn receive_datagrams(&self, turn: &mut Turn<'_, '_>, local: u32) -> bool {
        let mut sockets = self.sockets.iter();
        let Some((socket, _)) = sockets.find(|(_, known)| *known == local).copied() else {
            return false;
        };
        for _ in 0..TURN_COUNT {
            let world = &mut *turn.world;
            let Ok(Received { len, from, to }) = world.net.recv_from(socket, world.rx) else {
                break;
            };
            let at = Local {
                socket: local as u16,
                interface: to.interface,
                address: to.address,
            };
            let (mut cx, rx, tx) = world.lend(Peer::new(from));
            let output = tx.head_mut(DATAGRAM_BYTES);
            let reply = turn
                .service
                .datagram(&mut cx, at, from, rx.head(len), output);
            if let Some(transmit) = reply {
                self.send_datagram(turn, &transmit);
            }
        }
        true
    }

    /// The service's next need. A datagram is sent here.
    pub(super) fn next_due(&self, turn: &mut Turn<'_, '_>) -> Due {
        let (mut cx, _, tx) = turn.world.lend(Peer::NONE);
        let due = turn.service.due(&mut cx, tx.head_mut(DATAGRAM_BYTES));
        if let Due::Send(transmit) = &due
            && !self.send_datagram(turn, transmit)
        {
            turn.service.unsent(turn.world.now);
        }
        due
    }

    /// Sends a datagram in the transmit buffer. Returns false if none like it can be sent now. One for which the queue has no space is
    /// lost, as in the network.
    fn send_datagram(&self, turn: &mut Turn<'_, '_>, transmit: &Transmit) -> bool {
        let Transmit { from, to, len } = *transmit;
        let mut sockets = self.sockets.iter();
        let Some((socket, _)) = sockets.find(|(_, known)| *known == u32::from(from.socket)) else {
            return false;
        };
        let bytes = turn.world.tx.head(len);
        let own = Own {
            address: from.address,
            interface: from.interface,
        };
        let sent = turn.world.net.send_to(*socket, own, to, bytes);
        matches!(sent, Ok(()) | Err(NetError::WouldBlock | NetError::Full))
    }
}
