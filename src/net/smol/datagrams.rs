//! Datagrams (UDP). smoltcp has none of them: its sockets cannot tell groups apart.

use super::neighbors::is_host;
use super::packet::HOP_LIMIT;
use super::{Interest, OpenSocket, Smol, SocketKind, covers};
use crate::mem::{Ends as _, heap, scaled};
use crate::net::{NetError, NetResult, Own, Received, Socket, Token};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use smoltcp::storage::{PacketBuffer, PacketMetadata};

/// Limits of the queue of a socket: datagrams, bytes.
const DATAGRAM_COUNT_MAX: usize = 64;
const DATAGRAM_BYTES: usize = 64 << 10;
/// [`DATAGRAM_BYTES`] with minimum memory.
const DATAGRAM_BYTES_MIN: usize = 16 << 10;
/// Length of IP and UDP headers, in bytes.
const HEAD_BYTES_V4: usize = 28;
const HEAD_BYTES_V6: usize = 48;
/// Hop limit of datagrams from a port that receives a group's: multicast DNS (RFC 6762 section 11).
const GROUP_HOP_LIMIT: u8 = 255;

/// Received datagrams of a socket, each with its source, and its destination (for a broadcast: the own address, and true).
pub(super) type Queue = PacketBuffer<'static, (SocketAddr, Option<IpAddr>, bool)>;

/// Allocates a queue. `None`: no memory.
fn queue() -> Option<Queue> {
    let bytes = scaled(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES);
    let mut metadata = Vec::new();
    metadata.try_reserve_exact(DATAGRAM_COUNT_MAX).ok()?;
    metadata.resize_with(DATAGRAM_COUNT_MAX, || PacketMetadata::EMPTY);
    Some(PacketBuffer::new(metadata, heap::bytes(bytes)?))
}

impl Smol {
    /// Opens a datagram socket at an own address, an unspecified one or that of a group. `broadcasts`: see
    /// [`Binding::broadcasts`](crate::net::Binding::broadcasts).
    ///
    /// # Errors
    /// `Full`.
    pub(super) fn open_datagrams(
        &mut self,
        at: SocketAddr,
        broadcasts: bool,
        token: Token,
    ) -> NetResult<Socket> {
        let queue = queue().ok_or(NetError::Full)?;
        self.insert(OpenSocket {
            kind: SocketKind::Datagrams(queue, broadcasts),
            at,
            token,
            interest: Interest::Input,
        })
    }

    /// Closes a datagram socket. Leaves its group, unless another socket receives that.
    pub(super) fn close_datagrams(&mut self, socket: Socket) {
        let Some(open) = self.open_sockets.get_mut(socket.0).and_then(Option::take) else {
            return;
        };
        let group = open.at.ip();
        if group.is_multicast() && self.datagrams_at(|at| at.ip() == group).is_none() {
            self.groups.leave(self.now, |other| other == group);
        }
    }

    /// Returns the index of the first datagram socket whose local address is accepted.
    fn datagrams_at(&self, is_it: impl Fn(SocketAddr) -> bool) -> Option<usize> {
        let is_its =
            |open: &OpenSocket| matches!(open.kind, SocketKind::Datagrams(..)) && is_it(open.at);
        let mut sockets = self.open_sockets.iter();
        sockets.position(|open| open.as_ref().is_some_and(is_its))
    }

    /// Queues a received datagram for the socket with its destination, or for one that receives all addresses. Drops it if it is for
    /// another host, if its source is no host, nor one without an address at a socket that hears these, or if the queue is full.
    /// Returns false if no socket has its port.
    pub(super) fn receive_datagram(
        &mut self,
        mut from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let (ip, is_broadcast) = (to.ip(), self.is_broadcast(to.ip()));
        if !(self.has(ip) || self.groups.has(ip) || is_broadcast) {
            return true;
        }
        // A reply to a group or a broadcast address would reach all hosts.
        let is_nobody = is_broadcast && from.ip().is_unspecified();
        if !(is_host(from.ip()) || is_nobody) || self.is_broadcast(from.ip()) {
            return true;
        }
        let exact = self.datagrams_at(|at| at == to);
        let covering = || self.datagrams_at(|at| at.port() == to.port() && covers(at.ip(), ip));
        let Some(index) = exact.or_else(covering) else {
            return is_nobody;
        };
        let mut own = Some(ip);
        if is_broadcast {
            // The reply is sent from there.
            let source = self.interface.get_source_address(&from.ip().into());
            own = source.map(Into::into);
        }
        if let SocketAddr::V6(from) = &mut from
            && from.ip().is_unicast_link_local()
        {
            from.set_scope_id(self.index);
        }
        if let Some(Some(open)) = self.open_sockets.get_mut(index)
            && let SocketKind::Datagrams(queue, hears_nobody) = &mut open.kind
            && (*hears_nobody || !is_nobody)
            && let Ok(out) = queue.enqueue(bytes.len(), (from, own, is_broadcast))
        {
            out.copy_from_slice(bytes);
        }
        true
    }

    /// Returns true for the broadcast addresses of this network.
    pub(super) fn is_broadcast(&self, to: IpAddr) -> bool {
        let IpAddr::V4(to) = to else {
            return false;
        };
        to.is_broadcast()
            || self.addresses.usable().any(|(own, prefix)| match own {
                IpAddr::V4(own) => {
                    let hosts = u32::MAX.unbounded_shr(prefix.into());
                    hosts > 1 && to.to_bits() == own.to_bits() | hosts
                }
                IpAddr::V6(_) => false,
            })
    }

    pub(super) fn recv_datagram(
        &mut self,
        socket: Socket,
        buffer: &mut [u8],
    ) -> NetResult<Received> {
        let SocketKind::Datagrams(queue, _) = &mut self.get_mut(socket)?.kind else {
            return Err(NetError::Unsupported);
        };
        let ((from, own, is_broadcast), bytes) =
            queue.dequeue().map_err(|_| NetError::WouldBlock)?;
        let len = bytes.len().min(buffer.len());
        buffer.head_mut(len).copy_from_slice(bytes.head(len));
        Ok(Received {
            len,
            from,
            to: Own::of(own),
            is_broadcast,
        })
    }

    pub(super) fn send_datagram(
        &mut self,
        socket: Socket,
        from: Option<IpAddr>,
        to: SocketAddr,
        bytes: &[u8],
    ) -> NetResult<()> {
        let at = self.get(socket)?.at;
        let head = if to.is_ipv4() {
            HEAD_BYTES_V4
        } else {
            HEAD_BYTES_V6
        };
        // The stack does not fragment datagrams.
        if bytes.len() + head > self.port.limits().mtu {
            return Err(NetError::TooLong);
        }
        let bound = Some(at.ip()).filter(|at| !at.is_unspecified() && !at.is_multicast());
        let chosen = || self.interface.get_source_address(&to.ip().into());
        let from = from.or(bound).or_else(|| chosen().map(Into::into));
        let from = from.filter(|from| from.is_ipv4() == to.is_ipv4() && self.has(*from));
        let from = SocketAddr::new(from.ok_or(NetError::Unreachable)?, at.port());
        let is_member = |other: SocketAddr| other.port() == at.port() && other.ip().is_multicast();
        let hop_limit = match self.datagrams_at(is_member) {
            Some(_) => GROUP_HOP_LIMIT,
            None => HOP_LIMIT,
        };
        self.port.send_datagram([from, to], hop_limit, bytes)
    }
}
