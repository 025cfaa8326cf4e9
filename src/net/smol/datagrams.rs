//! Datagram sockets. All sockets of one port share one smoltcp socket.

use super::{Interest, OpenSocket, Smol, SocketKind, covers};
use crate::mem::{Ends as _, heap, scaled};
use crate::net::{NetError, NetResult, Received, Socket, Token};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, SendError, Socket as Udp, UdpMetadata};

/// Limits of each receive and send queue: datagrams, bytes.
const DATAGRAM_COUNT_MAX: usize = 64;
const DATAGRAM_BYTES: usize = 64 << 10;
/// [`DATAGRAM_BYTES`] with minimum memory.
const DATAGRAM_BYTES_MIN: usize = 16 << 10;
/// Length of IP and UDP headers, in bytes.
const HEAD_BYTES_V4: usize = 28;
const HEAD_BYTES_V6: usize = 48;

/// A UDP port in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    number: u16,
    handle: SocketHandle,
    /// Index of the socket that receives the first queued datagram.
    first: Option<usize>,
}

fn buffer() -> Option<PacketBuffer<'static>> {
    let bytes = scaled(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES);
    let mut metadata = Vec::new();
    metadata.try_reserve_exact(DATAGRAM_COUNT_MAX).ok()?;
    metadata.resize(DATAGRAM_COUNT_MAX, PacketMetadata::EMPTY);
    Some(PacketBuffer::new(metadata, heap::bytes(bytes)?))
}

impl Smol {
    fn udp_port(&self, number: u16) -> Option<Port> {
        self.udp.iter().copied().find(|port| port.number == number)
    }

    pub(super) fn open_datagrams(
        &mut self,
        kind: SocketKind,
        at: SocketAddr,
        token: Token,
    ) -> NetResult<Socket> {
        if self.udp_port(at.port()).is_none() {
            let (Some(received), Some(sent)) = (buffer(), buffer()) else {
                return Err(NetError::Full);
            };
            let mut socket = Udp::new(received, sent);
            socket.bind(at.port()).map_err(|_| NetError::InUse)?;
            let handle = self.sockets.add(socket);
            let number = at.port();
            self.udp
                .push(Port {
                    number,
                    handle,
                    first: None,
                })
                .map_err(|_| NetError::Full)?;
        }
        self.insert(OpenSocket {
            kind,
            at,
            token,
            interest: Interest::Input,
        })
    }

    /// Sets the hop limit of a port's datagrams.
    pub(super) fn set_hop_limit(&mut self, number: u16, limit: u8) {
        if let Some(port) = self.udp_port(number) {
            let socket = self.sockets.get_mut::<Udp<'_>>(port.handle);
            socket.set_hop_limit(Some(limit));
        }
    }

    pub(super) fn close_datagrams(&mut self, socket: Socket) {
        let Some(open) = self.open_sockets.get_mut(socket.0).and_then(Option::take) else {
            return;
        };
        let (at, is_group) = (open.at, matches!(open.kind, SocketKind::Group));
        if is_group && !self.has_datagrams_at(|open| open.at == at) {
            let _ = self.interface.leave_multicast_group(at.ip());
        }
        if !self.has_datagrams_at(|open| open.at.port() == at.port())
            && let Some(index) = self.udp.iter().position(|port| port.number == at.port())
        {
            let port = self.udp.swap_remove(index);
            self.sockets.remove(port.handle);
        }
    }

    fn has_datagrams_at(&self, is_it: impl Fn(&OpenSocket) -> bool) -> bool {
        let mut all = self.open_sockets.iter().flatten();
        all.any(|open| {
            matches!(open.kind, SocketKind::Datagrams | SocketKind::Group) && is_it(open)
        })
    }

    /// Index of the socket that receives a datagram to this port and address. A socket bound to exactly that address has
    /// precedence.
    fn recipient(&self, number: u16, to: IpAddr) -> Option<usize> {
        let index = |is_it: &dyn Fn(IpAddr) -> bool| {
            self.open_sockets.iter().position(|open| {
                let open = open.as_ref();
                open.is_some_and(|open| {
                    matches!(open.kind, SocketKind::Datagrams | SocketKind::Group)
                        && open.at.port() == number
                        && is_it(open.at.ip())
                })
            })
        };
        index(&|at| at == to).or_else(|| index(&|at| covers(at, to)))
    }

    /// Assigns the first datagram of each port to a socket, and drops datagrams that no socket receives.
    pub(super) fn sort_datagrams(&mut self) {
        for index in 0..self.udp.len() {
            let mut first = None;
            while let Some(port) = self.udp.get(index).copied()
                && let Ok((_, metadata)) = self.sockets.get_mut::<Udp<'_>>(port.handle).peek()
            {
                let to = metadata.local_address.map(IpAddr::from);
                first = to.and_then(|to| self.recipient(port.number, to));
                if first.is_some() {
                    break;
                }
                let _ = self.sockets.get_mut::<Udp<'_>>(port.handle).recv();
            }
            if let Some(port) = self.udp.get_mut(index) {
                port.first = first;
            }
        }
    }

    /// Returns true if the first datagram of its port is for the socket at this index.
    pub(super) fn has_datagram(&self, index: usize, open: &OpenSocket) -> bool {
        let port = self.udp_port(open.at.port());
        port.is_some_and(|port| port.first == Some(index))
    }

    pub(super) fn recv_datagram(
        &mut self,
        socket: Socket,
        buffer: &mut [u8],
    ) -> NetResult<Received> {
        self.sort_datagrams();
        let number = self.get(socket)?.at.port();
        let port = self.udp_port(number).ok_or(NetError::Unsupported)?;
        if port.first != Some(socket.0) {
            return Err(NetError::WouldBlock);
        }
        let index = self.index;
        let udp = self.sockets.get_mut::<Udp<'_>>(port.handle);
        let (bytes, metadata) = udp.recv().map_err(|_| NetError::WouldBlock)?;
        let len = bytes.len().min(buffer.len());
        buffer.head_mut(len).copy_from_slice(bytes.head(len));
        let mut from = SocketAddr::new(metadata.endpoint.addr.into(), metadata.endpoint.port);
        if let SocketAddr::V6(from) = &mut from
            && from.ip().is_unicast_link_local()
        {
            from.set_scope_id(index);
        }
        Ok(Received {
            len,
            from,
            to: metadata.local_address.map(Into::into),
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
        let port = self.udp_port(at.port()).ok_or(NetError::Unsupported)?;
        let head = if to.is_ipv4() {
            HEAD_BYTES_V4
        } else {
            HEAD_BYTES_V6
        };
        // smoltcp does not fragment datagrams.
        if bytes.len() + head > self.port.limits().mtu {
            return Err(NetError::TooLong);
        }
        let bound = Some(at.ip()).filter(|at| !at.is_unspecified() && !at.is_multicast());
        let from = from.or(bound);
        let mut own = self.addresses.usable().map(|(own, _)| own);
        let can_send = match from {
            Some(from) => from.is_ipv4() == to.is_ipv4() && own.any(|own| own == from),
            None => own.any(|own| own.is_ipv4() == to.is_ipv4()),
        };
        if !can_send {
            return Err(NetError::Unreachable);
        }
        self.port.mac(to.ip()).ok_or(NetError::Unreachable)?;
        let mut metadata = UdpMetadata::from((smoltcp::wire::IpAddress::from(to.ip()), to.port()));
        metadata.local_address = from.map(Into::into);
        let udp = self.sockets.get_mut::<Udp<'_>>(port.handle);
        match udp.send_slice(bytes, metadata) {
            Ok(()) => Ok(()),
            Err(SendError::BufferFull) => Err(NetError::WouldBlock),
            Err(SendError::Unaddressable) => Err(NetError::Unreachable),
        }
    }
}
