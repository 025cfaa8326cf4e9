//! The interface between the driver and a protocol over connections and datagrams.
//!
//! To the driver every protocol is a [`Service`]. It passes input and an output buffer, and does next what the returned [`Progress`]
//! says. Invariant: a request stops before the first change of its next operation, so that the driver can pass the
//! unused input again; the operations before it are not repeated.

use super::Cx;
use crate::text::Text;
use crate::time::Instant;
use crate::vfs::{Ended, FsResult, JobId, Pin, Tree, Until};
use core::net::{IpAddr, SocketAddr};

/// The number of a connection, from 0. Numbers of closed connections are used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionId(pub u16);

impl ConnectionId {
    /// The number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The own end of a connection or datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// The service's own number of the socket or listener.
    pub socket: u16,
    /// Index of the interface at which a datagram arrived, or by which it leaves; 0: unknown, or as the routes say.
    pub interface: u32,
    /// The own address that a datagram reached, or from which it is sent; `None`: unknown, or as the routes say. Of a broadcast,
    /// that of the interface.
    pub address: Option<IpAddr>,
    /// How a datagram was sent to this host. Nothing for one that leaves.
    pub cast: Cast,
}

impl Local {
    /// This socket, and nothing known about the rest.
    pub const fn of(socket: u16) -> Self {
        Self {
            socket,
            interface: 0,
            address: None,
            cast: Cast::Unicast,
        }
    }
}

/// The kind of a datagram's destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cast {
    /// An address of this host, or unknown, where the kernel has no IP_PKTINFO.
    Unicast,
    /// All hosts of a network.
    Broadcast,
    /// A group.
    Multicast,
}

/// A datagram to send, in the output buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// The socket, the interface and the address from which it is sent.
    pub from: Local,
    /// The destination.
    pub to: SocketAddr,
    /// Length (bytes).
    pub len: usize,
}

/// A service's need that no input has caused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// A datagram is to be sent.
    Send(Transmit),
    /// A connection has something to say: [`Service::advance`] is to be called, though nothing has arrived.
    Serve(ConnectionId),
    /// Nothing, until [`Service::poll_at`].
    Nothing,
}

/// The kind of change that replies report as durable, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// The reply reports nothing as durable and need not wait for a sync.
    Nothing,
    /// Changed names or attributes are durable.
    Names,
    /// Data is durable. The driver may delay the sync, so that it also covers data that has already arrived.
    Data,
}

/// The direction of a [`Transfer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Sends bytes of the file after the produced replies. Fails if the file has become shorter.
    ToPeer,
    /// Writes the next bytes of the stream to the file: input that was not used, then what the peer sends.
    ToFile,
}

/// A transfer between a file and a peer that the driver carries out, because it is long or waits for a disk.
#[derive(PartialEq, Eq, Debug)]
#[repr(C)] // No padding before `way`.
pub struct Transfer {
    /// Offset in the file of the next byte.
    pub offset: u64,
    /// Bytes left.
    pub len: u64,
    /// The file, held until the transfer is passed back.
    pub file: Pin,
    /// The direction.
    pub way: Way,
}

/// A transfer that has ended; if it failed, the rest is left in it.
#[derive(PartialEq, Eq, Debug)]
pub struct Moved {
    /// The transfer.
    pub transfer: Transfer,
    /// Its result.
    pub result: FsResult<()>,
}

/// The service's next need.
#[derive(PartialEq, Eq, Debug)]
pub enum Next {
    /// More input: the next request.
    Input,
    /// More input: the rest of a request of which a part is already used. The time limit of incomplete requests runs.
    Rest,
    /// An empty output buffer.
    Output,
    /// Another call in a later turn: there is long work. Input that has arrived is passed, too.
    Soon,
    /// The end of this job. Then the unused input is passed again.
    Until(JobId),
    /// This transfer, whose result is passed to [`Service::moved`].
    Move(Transfer),
    /// The end of the connection, with this reason (empty: none to report), once the produced replies are sent.
    Close(Text),
    /// The end of the connection once the produced replies are sent, although the peer may send more: the sending direction is ended,
    /// and input is dropped for a while. A close with unread input would reset the connection, perhaps before the peer has read the
    /// replies.
    Drain,
}

impl From<Until> for Next {
    fn from(until: Until) -> Self {
        match until {
            Until::Job(id) => Self::Until(id),
            Until::Output => Self::Output,
            Until::Turn => Self::Soon,
        }
    }
}

/// The result of one call.
#[derive(PartialEq, Eq, Debug)]
#[must_use]
pub struct Progress {
    /// Length of the input that is done with (bytes); the rest is passed again.
    pub used: usize,
    /// Length of the whole replies at the start of the output (bytes). They are sent once `promise` is kept.
    pub produced: usize,
    /// Length of the start of an unfinished reply after them (bytes). It is kept, and is at the start of the next call's output. 0
    /// before a transfer to the peer.
    pub held: usize,
    /// The kind of change that must be durable before the replies are sent.
    pub promise: Promise,
    /// The next need.
    pub next: Next,
}

impl Progress {
    /// Closes the connection without a message.
    pub const CLOSED: Self = Self::of(0, 0, Next::Close(Text::NOTHING));

    /// Progress without a promise.
    pub const fn of(used: usize, produced: usize, next: Next) -> Self {
        Self {
            used,
            produced,
            held: 0,
            promise: Promise::Nothing,
            next,
        }
    }
}

/// The buffers of one call.
#[derive(Debug)]
pub struct Io<'a> {
    /// The input that is not done with.
    pub input: &'a [u8],
    /// Space for replies. Begins with the unfinished reply.
    pub output: &'a mut [u8],
    /// Length of the unfinished reply (bytes).
    pub held: usize,
}

/// A protocol: an engine and its sessions. Object-safe, so that the driver is compiled once.
pub trait Service {
    /// A connection to the listener `at` was accepted.
    fn open(&mut self, _id: ConnectionId, _at: Local) {}
    /// The bytes that are sent before a connection is closed that was accepted although all slots are used.
    fn refusal(&self) -> &'static [u8] {
        &[]
    }
    /// Answers the requests in the input, as far as the replies fit into the output.
    fn advance(&mut self, _id: ConnectionId, _cx: &mut Cx<'_>, _io: Io<'_>) -> Progress {
        Progress::CLOSED
    }
    /// Continues after a transfer, without input: releases its file, and finishes the reply or returns another transfer.
    fn moved(&mut self, _id: ConnectionId, cx: &mut Cx<'_>, done: Moved, _io: Io<'_>) -> Progress {
        done.transfer.abandon(cx.vfs);
        Progress::CLOSED
    }
    /// Finishes replies that promise a durable change, after their sync; a failed sync turns them into errors. Returns their length,
    /// which does not grow.
    fn settle(
        &mut self,
        _id: ConnectionId,
        _cx: &mut Cx<'_>,
        replies: &mut [u8],
        _synced: FsResult<()>,
    ) -> usize {
        replies.len()
    }
    /// The time limit of the connection's incomplete request has passed. Returns true if the next call of [`Service::advance`] ends
    /// the connection, perhaps with a reply; false: it is closed.
    fn expire(&mut self, _id: ConnectionId) -> bool {
        false
    }
    /// The peer has ended the connection, and waits for no reply. `has_all` returns true if the peer has received every reply.
    fn ended_by_peer(&mut self, _id: ConnectionId, _has_all: &mut dyn FnMut() -> bool) {}
    /// The connection is about to be closed; `held` is its unfinished reply. A request with one is carried out to its end before,
    /// unless another connection needs the place.
    fn close(&mut self, _id: ConnectionId, _cx: &mut Cx<'_>, _held: &[u8]) {}
    /// Answers a datagram that arrived at `at`. Returns the reply in `output`, if there is one.
    fn datagram(
        &mut self,
        _cx: &mut Cx<'_>,
        _at: Local,
        _from: SocketAddr,
        _input: &[u8],
        _output: &mut [u8],
    ) -> Option<Transmit> {
        None
    }
    /// The next need that is due. A datagram is in `output`. Called until it returns [`Due::Nothing`], as often as a turn allows.
    fn due(&mut self, _cx: &mut Cx<'_>, _output: &mut [u8]) -> Due {
        Due::Nothing
    }
    /// The last datagram of [`Service::due`] could not be sent: there is no route to its destination, for instance.
    fn unsent(&mut self, _now: Instant) {}
    /// A job has ended that no connection waits for. After a sync that failed, unstable data may be lost.
    fn ended(&mut self, _cx: &mut Cx<'_>, _ended: Ended) {}
    /// The next time at which [`Service::due`] has work. Called in each turn, so it only reads a field.
    fn poll_at(&self) -> Instant {
        Instant::NEVER
    }
}

impl Transfer {
    /// Releases the file, after the connection has closed.
    pub fn abandon(self, tree: &mut Tree) {
        tree.unpin(self.file);
    }
}

/// The health of all roles of a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Health {
    /// All roles run.
    #[default]
    Fine,
    /// A connection has waited for a job for too long.
    Disk,
    /// A role hangs, or has ended.
    Role,
}
