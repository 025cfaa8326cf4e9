//! One connection: a slot of fixed size with the state that neither the socket nor the protocol's session has.

use super::pool::Block;
use crate::config::{CONNECTION_BYTES_MAX, REQUEST_INLINE_BYTES};
use crate::engine::service::{ConnectionId, Transfer, Way};
use crate::event::Event;
use crate::net::Socket;
use crate::text::{Text, text, texts};
use crate::time::Instant;
use crate::vfs::{FsResult, JobId, Peer, share};

/// No slot is left for a connection; the subject is the number of slots.
pub(in super::super) const TABLE_FULL: Event =
    text!("a client must wait: connections are limited to").warn();
/// The server closed a client's connection.
pub(in super::super) const DISCONNECTED: Event = text!("was disconnected").warn();

texts! {
    /// The reason for closing a connection.
    pub(super) enum CloseReason {
        /// Nothing to report: the peer closed it, or the reason is already reported.
        Gone => "",
        /// Nothing to report: the peer ended its sending direction while it had no reply to wait for.
        Ended => "",
        /// Another connection needs its slot or block.
        Evicted => "others need its place; it was silent, or had many connections",
        /// A request exceeds the size limit.
        Large => "a request does not fit",
        /// No block is free for an unsent reply.
        NoReplyBlock => "too many unread replies",
        /// A partial request timed out ([`REQUEST_TIMEOUT`](crate::config::REQUEST_TIMEOUT)).
        Unended => "a request was not completed in time",
        /// An unsent reply timed out ([`REPLY_TIMEOUT`](crate::config::REPLY_TIMEOUT)).
        Untaken => "no reply was read for a minute",
    }
}

impl CloseReason {
    /// The message for the log; empty if there is nothing to report.
    pub(super) fn message(self) -> Text {
        match self {
            Self::Gone | Self::Ended => Text::NOTHING,
            reason => reason.text(),
        }
    }
}

/// Unsent part of a reply: the range `from..to` of a block.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) block: Block,
    pub(super) from: u32,
    pub(super) to: u32,
    /// True if the data of the current transfer is sent after this part.
    pub(super) more: bool,
}

/// A job that a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// The job has not ended.
    Pending(JobId),
    /// The job has ended with this result.
    Ended(FsResult<()>),
}

/// The jobs that a connection waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// The sync that the unsent replies wait for.
    pub(super) sync: Option<Wait>,
    /// The job that the current transfer or request waits for.
    pub(super) job: Option<Wait>,
}

impl Waits {
    pub(super) const NONE: Self = Self {
        sync: None,
        job: None,
    };

    /// Returns true if one of the jobs is pending.
    pub(super) const fn is_pending(&self) -> bool {
        matches!(self.sync, Some(Wait::Pending(_))) || matches!(self.job, Some(Wait::Pending(_)))
    }

    /// Returns true if one of the jobs has ended, and the connection was not served since.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.sync, Some(Wait::Ended(_))) || matches!(self.job, Some(Wait::Ended(_)))
    }
}

/// The start of an unfinished reply: the first `len` bytes of a block.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) block: Block,
    pub(super) len: u16,
}

/// The phase of a connection between two turns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Waits for a job or a block.
    Waits,
    /// Waits until the peer reads a reply.
    Sends,
    /// Waits for the rest of a request.
    Receives,
    /// Waits for a request, and holds nothing that other connections may need.
    Idle,
    /// Drops input after the last reply.
    Drains,
}

/// A connection.
#[derive(Debug)]
#[repr(C)] // The longest field is last, so that short instructions reach the others.
pub(super) struct Connection {
    /// The rest of the current transfer.
    pub(super) transfer: Option<Transfer>,
    pub(super) socket: Socket,
    /// Time of the last sent or received byte. If the service limits the time of requests, bytes after the first one of a request
    /// count only when they complete it.
    pub(super) progress: Instant,
    pub(super) peer: Peer,
    /// The client's number in the figures.
    pub(super) client: u16,
    pub(super) unsent: Option<Unsent>,
    pub(super) waits: Waits,
    /// The connection's number.
    pub(super) id: ConnectionId,
    /// True if an incomplete request stays in the socket until a block is free for it. The connection holds no block and waits for
    /// no job.
    pub(super) wants_block: bool,
    /// True if a call waits until the socket takes a whole reply, because no block is free for an unsent one.
    pub(super) wants_space: bool,
    /// True once a reply was sent.
    pub(super) answered: bool,
    /// True if a part of an incomplete request is already used ([`Next::Rest`](crate::engine::service::Next::Rest)).
    pub(super) needs_rest: bool,
    /// True if the last reply was sent, and input is dropped.
    pub(super) drains: bool,
    pub(super) held: Option<Held>,
    /// Length (bytes) of the partial request. It is in the block `input`, or without a block in `inline`. With `drains`, the count of
    /// dropped bytes.
    pub(super) input_len: u32,
    pub(super) input: Option<Block>,
    pub(super) inline: [u8; REQUEST_INLINE_BYTES],
}

const _: () = assert!(size_of::<Option<Connection>>() <= CONNECTION_BYTES_MAX);

impl Connection {
    pub(super) const fn new(
        id: ConnectionId,
        socket: Socket,
        peer: Peer,
        client: u16,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            id,
            peer,
            client,
            input_len: 0,
            input: None,
            inline: [0; REQUEST_INLINE_BYTES],
            unsent: None,
            waits: Waits::NONE,
            transfer: None,
            held: None,
            progress: now,
            wants_block: false,
            wants_space: false,
            answered: false,
            needs_rest: false,
            drains: false,
        }
    }

    /// Key of the peer, for limits of connections per peer.
    pub(super) const fn share(&self) -> u64 {
        share(self.peer.address)
    }

    /// Returns true if the connection has a transfer in this direction.
    pub(super) fn is_moving(&self, way: Way) -> bool {
        let transfer = self.transfer.as_ref();
        transfer.is_some_and(|transfer| transfer.way == way)
    }

    /// Returns true if a part of a request has arrived.
    pub(super) const fn has_partial(&self) -> bool {
        self.input_len > 0 || self.needs_rest
    }

    /// The connection's phase between two turns.
    pub(super) fn phase(&self) -> Phase {
        if self.drains {
            Phase::Drains
        } else if self.waits.is_pending() || self.wants_block {
            Phase::Waits
        } else if self.unsent.is_some() || self.wants_space || self.is_moving(Way::ToPeer) {
            Phase::Sends
        } else if self.has_partial() || self.is_moving(Way::ToFile) {
            Phase::Receives
        } else {
            Phase::Idle
        }
    }
}
