//! The connections and sockets of one service: buffers, limits and turns, independent of the protocol.
//!
//! Bytes move between sockets and the service through the loop's two buffers. A partial request, an unsent reply and the start of an
//! unfinished one each wait in a block of a pool. While a connection has unsent output, nothing is read from it. Invariant: a slow
//! or silent peer costs a slot, perhaps a block for some time, and never another connection's time.
//! Methods call each other in one direction: turns, receive and accept, replies, closing, then the others.

mod accept;
mod closing;
pub(super) mod connection;
#[cfg_attr(not(feature = "datagrams"), path = "no_datagrams.rs")]
mod datagrams;
#[cfg_attr(not(feature = "transfers"), path = "no_ends.rs")]
mod ends;
#[cfg_attr(not(any(feature = "held", test)), path = "no_held.rs")]
mod held;
mod listeners;
mod pool;
mod receive;
mod replies;
#[cfg_attr(not(feature = "transfers"), path = "no_sends.rs")]
mod sends;
mod serving;
#[cfg_attr(not(feature = "health"), path = "no_stalls.rs")]
mod stalls;
#[cfg_attr(not(feature = "times"), path = "no_times.rs")]
mod times;
mod transfer;
mod turn;
mod turns;
mod waits;

pub use serving::{Server, Serving};

use super::task::World;
use crate::config::{CONNECTION_COUNT_MAX, DATAGRAM_BYTES};
use crate::engine::Cx;
use crate::mem::Slots;
use crate::net::NetResult;
use crate::stats::Family;
use crate::time::{Duration, Instant};
use crate::vfs::Peer;
use connection::Connection;
use core::net::SocketAddr;
use datagrams::Sockets;
use listeners::Listeners;
use pool::Pool;
use waits::GroupCommit;

/// First token of the connections; smaller ones are the listeners'.
pub const CONNECTION_TOKEN: u32 = 8;

/// The limits of a [`Served`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The protocol, for the figures.
    pub protocol: Family,
    /// Largest number of connections.
    pub connection_count: usize,
    /// Size (bytes) of the longest request.
    pub request_bytes: usize,
    /// Number of blocks for partial requests.
    pub request_count: usize,
    /// Size (bytes) of a reply block, at most that of the loop's transmit buffer.
    pub reply_bytes: usize,
    /// Number of blocks for unsent replies.
    pub reply_count: usize,
    /// Size (bytes) of the longest start of an unfinished reply; 0: the service finishes each reply at once.
    pub held_bytes: usize,
    /// Number of blocks for unfinished replies.
    pub held_count: usize,
    /// Largest number of a datagram socket, plus one.
    pub socket_count: usize,
    /// Size (bytes) of the longest datagram that the service sends.
    pub datagram_bytes: usize,
    /// The time limits of requests and of idle connections, for a service whose clients may also end their sending direction after a
    /// request. `None`: only a pause of [`REQUEST_TIMEOUT`](crate::config::REQUEST_TIMEOUT) within a request is limited.
    pub times: Option<Times>,
}

impl Limits {
    /// The limits of a service without connections, with short datagrams.
    pub const DATAGRAMS: Self = Self {
        protocol: Family::Rpc,
        socket_count: 8,
        datagram_bytes: DATAGRAM_BYTES,
        connection_count: 1,
        request_bytes: 1,
        request_count: 1,
        reply_bytes: 1,
        reply_count: 1,
        held_bytes: 0,
        held_count: 0,
        times: None,
    };
}

/// The time limits of connections. Time in which the server is busy, or the peer reads a reply, does not count.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Longest time from the first byte of a request to its last one. Then [`Service::expire`](crate::engine::service::Service::expire)
    /// is called.
    pub request: Duration,
    /// Longest time without a request. Then the connection is closed.
    pub idle: Duration,
}

/// The connections and sockets of a service.
#[repr(C)] // Short instructions reach the first fields, which are used most.
pub struct Served {
    protocol: Family,
    connections: Slots<Option<Connection>>,
    /// Next time at which to check the connections' timeouts.
    patrol_at: Instant,
    /// Next time at which to close unused files.
    release_at: Instant,
    /// The time since which newcomers have waited for a slot; [`Instant::NEVER`]: none does.
    full_since: Instant,
    /// True if a connection may be waiting for a block.
    wants_block: bool,
    /// Number of bytes that the current connection has sent or received in this turn.
    moved_bytes: usize,
    /// Counts the connections' waits for jobs.
    group: GroupCommit,
    /// Number of ended jobs of the tree that are recorded.
    heard_count: u32,
    /// Size (bytes) of the longest request.
    request_bytes: usize,
    /// Size (bytes) of a reply block, and of the part of the transmit buffer for replies.
    reply_bytes: usize,
    /// Size (bytes) of a block for the start of an unfinished reply; 0: there are none.
    held_bytes: usize,
    times: Option<Times>,
    free: Slots<u16>,
    pub(super) requests: Pool,
    pub(super) replies: Pool,
    pub(super) held: Pool,
    listeners: Listeners,
    sockets: Sockets,
}

impl Served {
    /// Creates the connections of a service.
    pub fn new(limits: &Limits) -> Self {
        let count = limits.connection_count.min(CONNECTION_COUNT_MAX);
        Self {
            protocol: limits.protocol,
            connections: Slots::new(count),
            free: Slots::new(count),
            requests: Pool::new(limits.request_count, limits.request_bytes),
            replies: Pool::new(limits.reply_count, limits.reply_bytes),
            // Memory has no part of 0 bytes.
            held: Pool::new(limits.held_count.max(1), limits.held_bytes.max(1)),
            request_bytes: limits.request_bytes,
            reply_bytes: limits.reply_bytes,
            held_bytes: limits.held_bytes,
            times: limits.times,
            listeners: Listeners::new(),
            sockets: Sockets::new(limits),
            patrol_at: Instant::NEVER,
            release_at: Instant::NEVER,
            full_since: Instant::NEVER,
            wants_block: false,
            moved_bytes: 0,
            group: GroupCommit::default(),
            heard_count: 0,
        }
    }

    /// Listens at `at` and returns the bound address. `local`, below [`CONNECTION_TOKEN`], is the listener's number in the service.
    ///
    /// # Errors
    /// As [`crate::net::Streams::listen`]; `Full` if there are too many listeners.
    pub fn listen(
        &mut self,
        world: &mut World<'_>,
        at: SocketAddr,
        local: u32,
    ) -> NetResult<SocketAddr> {
        self.listeners.listen(world, at, local)
    }

    /// Closes the listener opened last.
    pub fn close_listener(&mut self, world: &mut World<'_>) {
        self.listeners.close_last(world);
    }
}

impl World<'_> {
    /// Returns the context of a service's call for `peer`, the receive buffer and the transmit buffer.
    const fn lend(&mut self, peer: Peer) -> (Cx<'_>, &mut [u8], &mut [u8]) {
        let cx = Cx {
            now: self.now,
            wall: self.wall(),
            health: self.health(),
            peer,
            vfs: self.tree,
            events: self.events,
            stats: self.stats,
        };
        (cx, self.rx, self.tx)
    }
}
