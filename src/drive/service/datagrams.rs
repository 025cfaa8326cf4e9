//! Datagrams: passes those that arrive to the service, and sends those that it returns.

use super::super::task::World;
use super::Served;
use super::turn::Turn;
use crate::config::DATAGRAM_BYTES;
use crate::engine::service::{Local, Transmit};
use crate::mem::Ends as _;
use crate::net::{NetError, NetResult, Own, Received};
use crate::vfs::Peer;
use core::net::SocketAddr;

/// Most datagrams received from one socket, and sent, in one turn.
const TURN_COUNT: usize = 64;

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

    /// Sends the datagrams that are due.
    pub(super) fn send_datagrams(&self, turn: &mut Turn<'_, '_>) {
        for _ in 0..TURN_COUNT {
            let (mut cx, _, tx) = turn.world.lend(Peer::NONE);
            let output = tx.head_mut(DATAGRAM_BYTES);
            match turn.service.poll_transmit(&mut cx, output) {
                Some(transmit) => self.send_datagram(turn, &transmit),
                None => return,
            }
        }
    }

    /// Sends a datagram in the transmit buffer. One that cannot be sent is lost, as in the network.
    fn send_datagram(&self, turn: &mut Turn<'_, '_>, transmit: &Transmit) {
        let Transmit { from, to, len } = *transmit;
        let mut sockets = self.sockets.iter();
        if let Some((socket, _)) = sockets.find(|(_, known)| *known == u32::from(from.socket)) {
            let bytes = turn.world.tx.head(len);
            let own = Own {
                address: from.address,
                interface: from.interface,
            };
            let _ = turn.world.net.send_to(*socket, own, to, bytes);
        }
    }
}
