//! The connections of one protocol: buffers, limits and turns, independent of the protocol.
//!
//! Bytes move between sockets and the protocol through the loop's two buffers. A partial request and an unsent reply each wait in
//! a block of a pool. While a connection has unsent output, nothing is read from it. Invariant: a slow or silent peer costs a
//! slot, perhaps a block for some time, and never another connection's time.

pub(crate) mod connection;
mod group_commit;
mod listeners;
pub mod orders;
mod pool;
mod protocol;
mod receive;
mod replies;
mod serve;
mod turn;

pub use protocol::Protocol;

use super::task::World;
use crate::config::CONNECTION_COUNT_MAX;
use crate::engine::Cx;
use crate::mem::Slots;
use crate::time::Instant;
use crate::vfs::Peer;
use connection::Connection;
use group_commit::GroupCommit;
use listeners::Listener;
use pool::Pool;

/// First token of the connections; smaller ones are the task's own.
pub const CONNECTION_TOKEN: u32 = 8;

/// Token of the descriptor that is readable once a job has ended. Listeners have smaller tokens.
pub const JOBS_TOKEN: u32 = CONNECTION_TOKEN - 1;

/// The limits of a [`Streams`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest number of connections.
    pub connection_count: usize,
    /// Number of blocks for partial requests.
    pub request_count: usize,
    /// Number of blocks for unsent replies.
    pub reply_count: usize,
    /// Size (bytes) of a reply block, at most that of the loop's transmit buffer.
    pub reply_bytes: usize,
}

/// The connections of a protocol.
#[repr(C)] // Short instructions reach the first fields, which are used most.
pub struct Streams {
    connections: Slots<Option<Connection>>,
    /// Next time at which to check the connections' timeouts.
    patrol_at: Instant,
    /// Next time at which to close unused files.
    release_at: Instant,
    /// Time at which to accept connections again.
    accept_at: Instant,
    /// Earliest time of the next [`crate::event::FULL`] message.
    tell_full_at: Instant,
    /// True if a connection may be waiting for a block for its incomplete request.
    wants_block: bool,
    /// Number of bytes that the current connection has sent or received in this turn.
    moved_bytes: usize,
    /// Counts the connections' waits for jobs.
    group: GroupCommit,
    /// Longest request (bytes).
    request_bytes: usize,
    /// Size (bytes) of a reply block, and of the part of the transmit buffer for replies.
    reply_bytes: usize,
    free: Slots<u16>,
    pub(super) requests: Pool,
    pub(super) replies: Pool,
    listeners: heapless::Vec<Listener, { CONNECTION_TOKEN as usize }>,
}

impl Streams {
    /// Creates the connections of a protocol whose longest request has `request_bytes` bytes.
    pub fn new(limits: Limits, request_bytes: usize) -> Self {
        let count = limits.connection_count.min(CONNECTION_COUNT_MAX);
        Self {
            connections: Slots::new(count),
            free: Slots::new(count),
            requests: Pool::new(limits.request_count, request_bytes),
            replies: Pool::new(limits.reply_count, limits.reply_bytes),
            listeners: heapless::Vec::new(),
            request_bytes,
            reply_bytes: limits.reply_bytes,
            patrol_at: Instant::NEVER,
            release_at: Instant::NEVER,
            accept_at: Instant::NEVER,
            tell_full_at: Instant::default(),
            wants_block: false,
            moved_bytes: 0,
            group: GroupCommit::default(),
        }
    }
}

impl World<'_> {
    /// Returns the context of a protocol call for `peer`, the receive buffer and the transmit buffer.
    pub(super) const fn lend(&mut self, peer: Peer) -> (Cx<'_>, &mut [u8], &mut [u8]) {
        let cx = Cx {
            now: self.now,
            peer,
            vfs: self.tree,
            events: self.events,
        };
        (cx, self.rx, self.tx)
    }
}
