//! Protocols with one datagram per request and at most one per reply.

use super::task::World;
use crate::config::DATAGRAM_BYTES;
use crate::engine::Cx;
use crate::mem::Ends as _;
use crate::net::{NetError, NetResult, Received, Socket};
use crate::vfs::Peer;
use core::net::{IpAddr, SocketAddr};

/// Most datagrams received from one socket in one turn.
const TURN_COUNT: usize = 64;
/// Most sockets of a task.
const SOCKET_COUNT_MAX: usize = 4;

/// A protocol over datagrams. Object-safe.
pub trait Protocol {
    /// Answers a datagram received at socket `local`; `reached` is the address of this host at which it arrived, if known. Returns the length of the reply in `output`, if there is one.
    fn answer(
        &mut self,
        local: u32,
        cx: &mut Cx<'_>,
        reached: Option<IpAddr>,
        datagram: &[u8],
        output: &mut [u8],
    ) -> Option<usize>;
}

/// The sockets of a protocol and their tokens.
#[derive(Debug, Default)]
pub struct Datagrams {
    sockets: heapless::Vec<(Socket, u32), SOCKET_COUNT_MAX>,
}

impl Datagrams {
    /// Binds a socket at `at`.
    ///
    /// # Errors
    /// As [`crate::net::Datagrams::bind`]; `Full` if there are too many sockets.
    pub fn bind(&mut self, world: &mut World<'_>, at: SocketAddr, local: u32) -> NetResult<()> {
        let socket = world.net.bind(at, world.token(local))?;
        self.sockets
            .push((socket, local))
            .map_err(|_| NetError::Full)
    }

    /// Answers the datagrams queued at the socket with the token `local`. Returns false if none of these sockets has that token.
    pub fn ready(&self, world: &mut World<'_>, protocol: &mut dyn Protocol, local: u32) -> bool {
        let mut sockets = self.sockets.iter();
        let Some((socket, _)) = sockets.find(|(_, known)| *known == local).copied() else {
            return false;
        };
        for _ in 0..TURN_COUNT {
            let Ok(Received { len, from, to }) = world.net.recv_from(socket, world.rx) else {
                break;
            };
            let (mut cx, rx, tx) = world.lend(Peer::new(from));
            let output = tx.head_mut(DATAGRAM_BYTES);
            let answer = protocol.answer(local, &mut cx, to, rx.head(len), output);
            if let Some(reply) = answer.and_then(|len| world.tx.get(..len)) {
                let _ = world.net.send_to(socket, to, from, reply);
            }
        }
        true
    }
}
