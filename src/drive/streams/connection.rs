//! One connection: a slot of fixed size with the state that neither the socket nor the protocol's session has.

use super::pool::Block;
use crate::config::{CONNECTION_BYTES_MAX, REPLY_TIMEOUT, REQUEST_INLINE_BYTES, REQUEST_TIMEOUT};
use crate::engine::{Order, share};
use crate::net::Socket;
use crate::text::{Text, texts};
use crate::time::{Duration, Instant};
use crate::vfs::Peer;
use crate::vfs::{FsResult, JobId};

texts! {
    /// The reason for closing a connection.
    pub(crate) enum CloseReason {
        /// Nothing to report: the peer closed it, it was evicted, or the reason is already reported.
        Gone => "",
        /// A request exceeds the size limit.
        Large => "a request does not fit",
        /// No block is free for an unsent reply.
        NoReplyBlock => "too many unread replies",
        /// A partial request timed out ([`REQUEST_TIMEOUT`]).
        Unended => "a request was not completed in time",
        /// An unsent reply timed out ([`REPLY_TIMEOUT`]).
        Untaken => "no reply was read for a minute",
    }
}

impl CloseReason {
    /// The message for the log; empty if there is nothing to report.
    pub(in super::super) fn message(self) -> Text {
        match self {
            Self::Gone => Text::NOTHING,
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
    /// True if file data of the current order is sent after this part.
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

/// A connection.
#[derive(Debug)]
#[repr(C)] // The longest field is last, so that short instructions reach the others.
pub(super) struct Connection {
    /// The rest of the current order.
    pub(super) order: Option<Order>,
    pub(super) socket: Socket,
    /// Time of the last sent or received byte.
    pub(super) progress: Instant,
    pub(super) peer: Peer,
    pub(super) unsent: Option<Unsent>,
    /// Index 0: the sync that the unsent replies wait for. Index 1: the job that the current order waits for.
    pub(super) waits: [Option<Wait>; 2],
    /// Connection number in the protocol.
    number: u16,
    /// True if an incomplete request stays in the socket until a block is free for it. The connection holds no block and waits for
    /// no job.
    pub(super) wants_block: bool,
    /// True if a call waits until the socket takes a whole reply, because no block is free for an unsent one.
    pub(super) wants_space: bool,
    /// True once a reply was sent.
    pub(super) answered: bool,
    /// True if the protocol keeps a file open until more of a request arrives.
    pub(super) holds_file: bool,
    /// Length (bytes) of the partial request. It is in the block `input`, or without a block in `inline`.
    pub(super) input_len: u32,
    pub(super) input: Option<Block>,
    pub(super) inline: [u8; REQUEST_INLINE_BYTES],
}

const _: () = assert!(size_of::<Option<Connection>>() <= CONNECTION_BYTES_MAX);

impl Connection {
    pub(super) const fn new(number: usize, socket: Socket, peer: Peer, now: Instant) -> Self {
        Self {
            socket,
            number: number as u16,
            peer,
            input_len: 0,
            input: None,
            inline: [0; REQUEST_INLINE_BYTES],
            unsent: None,
            waits: [None; 2],
            order: None,
            progress: now,
            wants_block: false,
            wants_space: false,
            answered: false,
            holds_file: false,
        }
    }

    /// Connection number in the protocol.
    pub(super) const fn number(&self) -> usize {
        self.number as usize
    }

    /// Key of the peer, for limits of connections per peer.
    pub(super) const fn share(&self) -> u64 {
        share(self.peer.address)
    }

    /// Returns true if a job that the connection waited for has ended, and the connection was not served since.
    pub(super) fn can_continue(&self) -> bool {
        let mut waits = self.waits.iter();
        waits.any(|wait| matches!(wait, Some(Wait::Ended(_))))
    }

    /// Returns true if a job that the connection waits for is pending.
    pub(super) fn is_waiting(&self) -> bool {
        let mut waits = self.waits.iter();
        waits.any(|wait| matches!(wait, Some(Wait::Pending(_))))
    }

    /// Returns the time without progress after which the connection is closed, and the reason. `None` if the connection waits for a
    /// job or a block, or holds no resource that other connections may need.
    pub(super) fn timeout(&self) -> Option<(Duration, CloseReason)> {
        if self.is_waiting() || self.wants_block {
            return None;
        }
        let stores = matches!(self.order, Some(Order::Store { .. }));
        if self.unsent.is_some() || self.wants_space || self.order.is_some() && !stores {
            Some((REPLY_TIMEOUT, CloseReason::Untaken))
        } else if self.input_len > 0 || stores || self.holds_file {
            Some((REQUEST_TIMEOUT, CloseReason::Unended))
        } else {
            None
        }
    }
}
