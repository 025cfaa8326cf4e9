//! One connection: a slot of a fixed size, which holds what neither the socket nor the protocol's session holds.

use super::pool::Block;
use crate::config::{CONNECTION_BYTES_MAX, REPLY_TIMEOUT, REQUEST_INLINE_BYTES, REQUEST_TIMEOUT};
use crate::engine::{Order, share};
use crate::net::Socket;
use crate::text::{Text, texts};
use crate::time::{Duration, Instant};
use crate::vfs::{FsResult, JobId};
use core::net::Ipv6Addr;

texts! {
    /// Why a connection is closed.
    pub(crate) enum CloseReason {
        /// The peer closed it, or it gave way to another, or the reason has been told.
        Gone => "",
        /// It sent more than a request may have.
        Large => "a request does not fit",
        /// There is no block for the beginning of its request.
        NoRequestBlock => "too many requests wait for their end",
        /// There is no block for the rest of its reply.
        NoReplyBlock => "too many replies wait to be taken",
        /// Its request did not go on in time.
        Unended => "a request did not end",
        /// Its reply was not taken in time.
        Untaken => "it took no reply for a minute",
    }
}

impl CloseReason {
    /// As a person reads it; empty if there is nothing to say.
    pub(super) fn message(self) -> Text {
        match self {
            Self::Gone => Text::NOTHING,
            reason => reason.text(),
        }
    }
}

/// Bytes of a reply that the socket did not take: those of this block, from here to there.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) block: Block,
    pub(super) from: u32,
    pub(super) to: u32,
    /// An order's bytes follow.
    pub(super) more: bool,
}

/// A job that something waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// The job has not ended.
    Pending(JobId),
    /// The job has ended with this result.
    Ended(FsResult<()>),
}

/// A connection.
#[derive(Debug)]
#[repr(C)] // The longest last.
pub(super) struct Connection {
    /// What is left to do of the order in hand.
    pub(super) order: Option<Order>,
    pub(super) socket: Socket,
    /// The last time that bytes came or went.
    pub(super) progress: Instant,
    pub(super) peer: Ipv6Addr,
    pub(super) unsent: Option<Unsent>,
    /// The sync that the unsent replies wait for, and the job that the order waits for.
    pub(super) waits: [Option<Wait>; 2],
    /// Its number for the protocol.
    number: u16,
    /// Whether it was ever answered.
    pub(super) answered: bool,
    /// The protocol has a file open until more of a request arrives.
    pub(super) holds_file: bool,
    /// Bytes of a request that has not all arrived. They are in `input`, or without a block in `inline`.
    pub(super) input_len: u32,
    pub(super) input: Option<Block>,
    pub(super) inline: [u8; REQUEST_INLINE_BYTES],
}

const _: () = assert!(size_of::<Option<Connection>>() <= CONNECTION_BYTES_MAX);

impl Connection {
    pub(super) const fn new(number: usize, socket: Socket, peer: Ipv6Addr, now: Instant) -> Self {
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
            answered: false,
            holds_file: false,
        }
    }

    /// Its number for the protocol.
    pub(super) const fn number(&self) -> usize {
        self.number as usize
    }

    /// Whose share of all connections it counts to.
    pub(super) const fn share(&self) -> u64 {
        share(self.peer)
    }

    /// Returns true if a job that it waited for has ended, and it was not served since.
    pub(super) fn can_go_on(&self) -> bool {
        let mut waits = self.waits.iter();
        waits.any(|wait| matches!(wait, Some(Wait::Ended(_))))
    }

    /// Returns true if a job has not ended that it waits for.
    pub(super) fn is_waiting(&self) -> bool {
        let mut waits = self.waits.iter();
        waits.any(|wait| matches!(wait, Some(Wait::Pending(_))))
    }

    /// How long it may make no progress, and why it is closed then; `None`: it holds nothing that others may need.
    pub(super) fn timeout(&self) -> Option<(Duration, CloseReason)> {
        if self.is_waiting() {
            return None;
        }
        let stores = matches!(self.order, Some(Order::Store { .. }));
        if self.unsent.is_some() || self.order.is_some() && !stores {
            Some((REPLY_TIMEOUT, CloseReason::Untaken))
        } else if self.input_len > 0 || stores || self.holds_file {
            Some((REQUEST_TIMEOUT, CloseReason::Unended))
        } else {
            None
        }
    }
}
