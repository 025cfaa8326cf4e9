//! TCP listeners and connections, from SYN to the last ACK.

use super::congestion::Congestion;
use super::forge::paced_secs;
use super::packet::{Content, Segment};
use super::{Interest, OpenSocket, Smol, SocketKind, covers};
use crate::config::{REPLY_BYTES, Rings, STACK_RINGS};
use crate::mem::{Ends as _, heap, scaled};
use crate::net::{Connections, NetError, NetResult, Socket, Streams, Token};
use crate::net::{OwnAddresses, add_own};
use crate::time::{Duration, Instant};
use core::net::Ipv6Addr;
use core::net::SocketAddr;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{RecvError, Socket as Tcp, SocketBuffer, State};
use smoltcp::wire::IpListenEndpoint;

/// Timeout of the handshake, in seconds. The SYN-ACK is repeated three times meanwhile.
const HALF_OPEN_SECS: u64 = 10;
/// Shortest time before the first repetition of a SYN-ACK (RFC 6298 section 2.1). It is doubled for each further one.
const SYN_ACK_WAIT: Duration = Duration::SECOND;
/// Shortest time that a handshake may take. Without it, a SYN flood would evict clients before their ACKs arrive; an ACK of an evicted
/// connection is answered with RST.
const HALF_OPEN_MIN: Duration = Duration::from_ms(100);
/// Keepalive as for kernel sockets (`sys::linux::sockets`), in seconds: idle time before a probe, and before the connection fails.
const KEEP_ALIVE_SECS: u64 = 60;
const TIMEOUT_SECS: u64 = 60 + 9 * 15;
/// Idle time before a probe while data is queued, in seconds. smoltcp 0.14 has no timer if a window of zero arrives before a
/// retransmission, for example with a reordered segment, and the update of that window is lost.
const STALLED_SECS: u64 = 1;
/// Longest wait for the peer to acknowledge the sent data of a closed connection.
const LINGER: Duration = Duration::from_secs(30);
/// Time that a closed connection stays in TIME-WAIT.
const TIME_WAIT: Duration = Duration::SECOND;

/// Stage of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// SYN received.
    HalfOpen,
    /// Established, in the backlog.
    Waiting,
    /// Accepted by the task.
    Accepted,
    /// Closed by the task; data or FIN is not acknowledged yet, or the connection is in TIME-WAIT.
    Closing,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    handle: SocketHandle,
    /// Index of the listener, until the connection is accepted.
    listener: usize,
    peer: SocketAddr,
    /// Sequence number of the first byte that the task has not received.
    next: u32,
    stage: Stage,
    /// Time at which the stage began.
    since: Instant,
    /// Earliest time of the next SYN-ACK, and the wait after it.
    syn_ack_at: Instant,
    syn_ack_wait: Duration,
    congestion: Congestion,
}

/// Treatment of a received packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// smoltcp processes the packet.
    Accept,
    /// smoltcp processes the segment with a window field of at most `window`. `is_loss`: it shows a new loss.
    Limit {
        window: u16,
        is_loss: bool,
    },
    Drop,
    /// A challenge ACK answers the segment. `number` is a sequence number outside the connection's window.
    Challenge {
        number: u32,
    },
}

impl Smol {
    fn tcp(&mut self, socket: Socket) -> NetResult<&mut Tcp<'static>> {
        match self.get(socket)?.kind {
            SocketKind::Connection(Connection { handle, .. }) => Ok(self.sockets.get_mut(handle)),
            _ => Err(NetError::Unsupported),
        }
    }

    fn connections(&self) -> impl Iterator<Item = (usize, &Connection, &OpenSocket)> {
        let open = self.open_sockets.iter().enumerate();
        open.filter_map(|(index, open)| match open {
            Some(
                open @ OpenSocket {
                    kind: SocketKind::Connection(connection),
                    ..
                },
            ) => Some((index, connection, open)),
            _ => None,
        })
    }

    /// Returns true if a connection between these addresses is open.
    pub(super) fn has_connection(&self, peer: SocketAddr, own: SocketAddr) -> bool {
        self.connections()
            .any(|(_, one, open)| (one.peer, open.at) == (peer, own))
    }

    /// Returns the connection whose stage began first, among those that `is_it` accepts.
    fn oldest(&self, is_it: impl Fn(&Connection) -> bool) -> Option<usize> {
        let all = self.connections().filter(|(_, one, _)| is_it(one));
        let oldest = all.min_by_key(|(_, one, _)| one.since);
        oldest.map(|(index, ..)| index)
    }

    /// Removes a connection at once, without sending anything to the peer.
    fn forget(&mut self, index: usize) {
        let taken = self.open_sockets.get_mut(index).and_then(Option::take);
        if let Some(SocketKind::Connection(connection)) = taken.map(|open| open.kind) {
            self.sockets.remove(connection.handle);
            let peer = connection.peer.ip();
            self.port.neighbors.remove_connection(peer);
        }
    }

    /// Checks a TCP segment before smoltcp, which would accept any RST in the window and has no congestion control here. An RST ends a
    /// connection only if its sequence number is the next one (RFC 5961 section 3.2). A SYN does not end a connection (section 4.2),
    /// except one in TIME-WAIT. Segments to a group or a broadcast address are dropped (RFC 9293 section 3.9.2.3).
    pub(super) fn check_segment(&mut self, now: Instant, content: &Content<'_>) -> Verdict {
        if let Content::Syn { to, .. } | Content::Segment { to, .. } | Content::Reset { to, .. } =
            *content
            && !self.has(to.ip())
        {
            return Verdict::Drop;
        }
        let (from, to, number, scale) = match *content {
            Content::Segment { from, to, segment } => return self.limit(now, from, to, &segment),
            Content::Syn {
                from,
                to,
                number,
                scale,
            } => (from, to, number, Some(scale)),
            Content::Reset { from, to, number } => (from, to, number, None),
            Content::TooBig {
                from: own,
                to: peer,
                number,
                mtu,
            } => {
                self.lower_mtu(peer, own, number, mtu);
                return Verdict::Drop;
            }
            _ => return Verdict::Accept,
        };
        let known = self
            .connections()
            .find(|(_, one, open)| (one.peer, open.at) == (from, to));
        let Some((index, one, _)) = known else {
            return match scale {
                Some(scale) if !self.admit(now, from, to, number, scale) => Verdict::Drop,
                _ => Verdict::Accept,
            };
        };
        let is_syn = scale.is_some();
        let socket = self.sockets.get::<Tcp<'_>>(one.handle);
        let state = socket.state();
        let has_fin = matches!(
            state,
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        let received = socket.recv_queue() as u32 + u32::from(has_fin);
        let next = one.next.wrapping_add(received);
        match state {
            State::Closed | State::Listen => Verdict::Accept,
            // The peer reuses the ports of a connection in TIME-WAIT (RFC 9293 section 3.6.1).
            State::TimeWait if is_syn => {
                self.forget(index);
                self.check_segment(now, content)
            }
            _ if !is_syn && number == next => Verdict::Accept,
            State::SynReceived => Verdict::Drop,
            _ => Verdict::Challenge {
                number: next ^ 1 << 31,
            },
        }
    }

    /// Applies congestion control to a segment of a connection.
    fn limit(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        own: SocketAddr,
        segment: &Segment,
    ) -> Verdict {
        for open in self.open_sockets.iter_mut().flatten() {
            if let SocketKind::Connection(one) = &mut open.kind
                && (one.peer, open.at) == (peer, own)
            {
                if one.stage == Stage::HalfOpen {
                    one.congestion.begin(segment.acked);
                }
                let queued = self.sockets.get::<Tcp<'_>>(one.handle).send_queue() as u32;
                let (window, is_loss) = one.congestion.receive(now, segment, queued);
                return Verdict::Limit { window, is_loss };
            }
        }
        Verdict::Accept
    }

    /// Handles an ICMP error about a segment with this sequence number. It is forged unless that segment is in flight (RFC 5927
    /// section 4.1).
    fn lower_mtu(&mut self, peer: SocketAddr, own: SocketAddr, number: u32, mtu: u16) {
        let is_in_flight = self.connections().any(|(_, one, open)| {
            let queued = self.sockets.get::<Tcp<'_>>(one.handle).send_queue() as u32;
            (one.peer, open.at) == (peer, own) && one.congestion.is_in_flight(number, queued)
        });
        if is_in_flight {
            self.port.neighbors.lower_mtu(peer.ip(), mtu);
        }
    }

    /// Creates a socket for a SYN if one of our listeners matches. Returns false if smoltcp must not see the SYN.
    fn admit(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        number: u32,
        scale: u8,
    ) -> bool {
        let listener = self.open_sockets.iter().position(|open| {
            let listens = |open: &OpenSocket| {
                let is_here = open.at.ip() == to.ip() || covers(open.at.ip(), to.ip());
                matches!(open.kind, SocketKind::Listener) && open.at.port() == to.port() && is_here
            };
            open.as_ref().is_some_and(listens)
        });
        let Some(listener) = listener else {
            // No listener matches, so smoltcp sees the SYN and answers with RST.
            return true;
        };
        let count = self.connections().count();
        let open =
            |it: &mut Self| it.listen_for(now, from, to, [number, scale.into()], listener, count);
        if count < super::connection_count_max() && open(self).is_some() {
            return true;
        }
        // The table or the memory is full. Evicts the oldest half-open connection, or else the oldest closing one.
        let half_open = self.oldest(|one| one.stage == Stage::HalfOpen);
        let index = half_open.or_else(|| self.oldest(|one| one.stage == Stage::Closing));
        let is_young = |(at, one, _): (usize, &Connection, _)| {
            let age = now.since(one.since);
            Some(at) == half_open && age < HALF_OPEN_MIN
        };
        let index = index.filter(|_| !self.connections().any(is_young));
        let Some(index) = index else {
            // No connection can be evicted. The peer will retransmit its SYN.
            return false;
        };
        self.forget(index);
        open(self).is_some()
    }

    fn listen_for(
        &mut self,
        now: Instant,
        peer: SocketAddr,
        at: SocketAddr,
        [number, scale]: [u32; 2],
        listener: usize,
        count: usize,
    ) -> Option<()> {
        let [.., smallest] = &STACK_RINGS;
        let is_enough = |rings: &&Rings| count < scaled(0, rings.count);
        let Rings { rx, tx, .. } = STACK_RINGS.iter().find(is_enough).unwrap_or(smallest);
        let (rx, tx) = (heap::bytes(*rx)?, heap::bytes(*tx)?);
        let mut socket = Tcp::new(SocketBuffer::new(rx), SocketBuffer::new(tx));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(Some(paced_secs(HALF_OPEN_SECS)));
        // Set before the handshake: on an established connection smoltcp sends a probe at once.
        socket.set_keep_alive(Some(paced_secs(KEEP_ALIVE_SECS)));
        let endpoint = IpListenEndpoint {
            addr: Some(at.ip().into()),
            port: at.port(),
        };
        socket.listen(endpoint).ok()?;
        let handle = self.sockets.add(socket);
        let opened = self.insert(OpenSocket {
            kind: SocketKind::Connection(Connection {
                handle,
                listener,
                peer,
                next: number.wrapping_add(1),
                stage: Stage::HalfOpen,
                since: now,
                syn_ack_at: now,
                syn_ack_wait: SYN_ACK_WAIT,
                congestion: Congestion::new(scale as u8, now),
            }),
            at,
            token: Token(0),
            interest: Interest::None,
        });
        match opened {
            Ok(_) => self.port.neighbors.add_connection(peer.ip()),
            Err(_) => drop(self.sockets.remove(handle)),
        }
        opened.ok().map(drop)
    }

    /// Updates the phases of connections, and removes those that have ended.
    pub(super) fn sweep(&mut self, now: Instant) {
        for index in 0..self.open_sockets.len() {
            let Some(Some(OpenSocket {
                kind: SocketKind::Connection(connection),
                ..
            })) = self.open_sockets.get_mut(index)
            else {
                continue;
            };
            let socket = self.sockets.get_mut::<Tcp<'_>>(connection.handle);
            let age = now.since(connection.since);
            let is_over = match (connection.stage, socket.state()) {
                (Stage::HalfOpen, State::SynReceived) => false,
                (Stage::HalfOpen, State::Established | State::CloseWait) => {
                    (connection.stage, connection.since) = (Stage::Waiting, now);
                    socket.set_timeout(Some(paced_secs(TIMEOUT_SECS)));
                    false
                }
                // The handshake failed, or the peer has reset the connection.
                (Stage::HalfOpen, _) => true,
                // An error is reported at the next call on the socket.
                (Stage::Waiting | Stage::Accepted, _) => false,
                (Stage::Closing, State::Closed) => true,
                (Stage::Closing, State::TimeWait) => age >= TIME_WAIT,
                (Stage::Closing, _) if age >= LINGER => {
                    socket.abort();
                    false
                }
                (Stage::Closing, _) => false,
            };
            let idle_secs = match socket.send_queue() {
                0 => KEEP_ALIVE_SECS,
                _ => STALLED_SECS,
            };
            socket.set_keep_alive(Some(paced_secs(idle_secs)));
            if is_over {
                self.forget(index);
            }
        }
    }

    /// Returns the connection that has been longest in the backlog of this listener.
    pub(super) fn waiting(&self, listener: usize) -> Option<usize> {
        self.oldest(|one| one.stage == Stage::Waiting && one.listener == listener)
    }

    pub(super) fn can_continue(&self, connection: &Connection, interest: Interest) -> bool {
        let socket = self.sockets.get::<Tcp<'_>>(connection.handle);
        match (connection.stage, interest) {
            (Stage::Accepted, Interest::Input) => socket.can_recv() || !socket.may_recv(),
            (Stage::Accepted, Interest::Output) => socket.can_send() || !socket.may_send(),
            (Stage::Accepted, Interest::Reply) => has_reply_space(socket) || !socket.may_send(),
            _ => false,
        }
    }

    pub(super) fn close_connection(&mut self, socket: Socket) {
        let Ok(tcp) = self.tcp(socket) else {
            return;
        };
        tcp.close();
        if let Some(Some(open)) = self.open_sockets.get_mut(socket.0)
            && let SocketKind::Connection(connection) = &mut open.kind
        {
            open.interest = Interest::None;
            (connection.stage, connection.since) = (Stage::Closing, self.now);
        }
    }

    /// Closes a listener and resets the connections in its backlog.
    pub(super) fn close_listener(&mut self, socket: Socket) {
        if let Some(slot) = self.open_sockets.get_mut(socket.0) {
            *slot = None;
        }
        for open in self.open_sockets.iter_mut().flatten() {
            if let SocketKind::Connection(connection) = &mut open.kind
                && connection.listener == socket.0
                && matches!(connection.stage, Stage::HalfOpen | Stage::Waiting)
            {
                connection.stage = Stage::Closing;
                self.sockets.get_mut::<Tcp<'_>>(connection.handle).abort();
            }
        }
    }
}

/// Returns true if a SYN-ACK between these addresses may be sent now: it is the first one, or not repeated too early.
pub(super) fn may_send_syn_ack(
    sockets: &mut [Option<OpenSocket>],
    now: Instant,
    [own, peer]: [SocketAddr; 2],
) -> bool {
    for open in sockets.iter_mut().flatten() {
        if let SocketKind::Connection(one) = &mut open.kind
            && (one.peer, open.at) == (peer, own)
        {
            let is_due = one.syn_ack_at <= now;
            if is_due {
                one.syn_ack_at = now.after(one.syn_ack_wait);
                one.syn_ack_wait = Duration::from_ms(one.syn_ack_wait.as_ms() as u32 * 2);
            }
            return is_due;
        }
    }
    true
}

/// Returns true if the send buffer has space for a whole reply.
fn has_reply_space(socket: &Tcp<'_>) -> bool {
    socket.send_capacity() - socket.send_queue() >= REPLY_BYTES
}

impl Connections for Smol {
    fn end_sending(&mut self, socket: Socket) {
        if let Ok(tcp) = self.tcp(socket) {
            tcp.close();
        }
    }

    fn has_delivered(&mut self, socket: Socket) -> bool {
        self.tcp(socket).is_ok_and(|tcp| tcp.send_queue() == 0)
    }

    fn has_reply_space(&mut self, socket: Socket) -> bool {
        self.tcp(socket).is_ok_and(|tcp| has_reply_space(tcp))
    }

    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        let tcp = self.tcp(socket)?;
        match tcp.recv_slice(buffer) {
            Ok(0) if !buffer.is_empty() => Err(NetError::WouldBlock),
            Ok(len) => {
                if let Some(Some(open)) = self.open_sockets.get_mut(socket.0)
                    && let SocketKind::Connection(connection) = &mut open.kind
                {
                    connection.next = connection.next.wrapping_add(len as u32);
                }
                Ok(len)
            }
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) => Err(NetError::Gone),
        }
    }

    fn peek(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize> {
        match self.tcp(socket)?.peek_slice(buffer) {
            // smoltcp reports the end of the stream only when receiving.
            Ok(0) | Err(_) => self.recv(socket, buffer),
            Ok(len) => Ok(len),
        }
    }

    fn send(&mut self, socket: Socket, bytes: &[u8], _: bool) -> NetResult<usize> {
        let tcp = self.tcp(socket)?;
        match tcp.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => Err(NetError::WouldBlock),
            Ok(len) => Ok(len),
            Err(_) => Err(NetError::Gone),
        }
    }

    fn send_with(
        &mut self,
        socket: Socket,
        tx: &mut [u8],
        head: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> NetResult<usize> {
        let tcp = self.tcp(socket)?;
        if !tcp.may_send() {
            return Err(NetError::Gone);
        }
        let head = tx.head(head);
        let sent = tcp.send(|ring| {
            // The contiguous space at the end of the ring may be too small; the rest is sent by the next call.
            let len = head.len().min(ring.len());
            ring.head_mut(len).copy_from_slice(head.head(len));
            let filled = match ring.tail_mut(len) {
                [] => 0,
                space => fill(space),
            };
            (len + filled, len + filled)
        });
        match sent {
            Ok(0) => Err(NetError::WouldBlock),
            Ok(len) => Ok(len),
            Err(_) => Err(NetError::Gone),
        }
    }
}

impl Streams for Smol {
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket> {
        let at = self.free_address(at, true)?;
        self.insert(OpenSocket {
            kind: SocketKind::Listener,
            at,
            token,
            interest: Interest::Input,
        })
    }

    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)> {
        let index = self.waiting(listener.0).ok_or(NetError::WouldBlock)?;
        let open = self.get_mut(Socket(index))?;
        match &mut open.kind {
            SocketKind::Connection(connection) => {
                connection.stage = Stage::Accepted;
                Ok((Socket(index), connection.peer))
            }
            _ => Err(NetError::WouldBlock),
        }
    }

    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()> {
        let open = self.get_mut(socket)?;
        (open.token, open.interest) = (token, interest);
        Ok(())
    }

    fn own_addresses(&mut self) -> OwnAddresses {
        let mut own = [Ipv6Addr::UNSPECIFIED; 2];
        for (address, _) in self.addresses.usable() {
            add_own(&mut own, address);
        }
        own
    }
}
