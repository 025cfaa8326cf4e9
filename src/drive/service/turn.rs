//! The turn of a connection: the resources that the loop lends, the bytes in its buffers, and the reason why it ends.

use super::super::task::World;
use super::connection::CloseReason;
use crate::engine::service::{Promise, Service};
use crate::net::{Interest, NetError};
use crate::vfs::JobId;

/// The reason why a connection's turn ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Halt {
    /// The connection waits for its socket, or ([`Interest::None`]) for a job that is already recorded.
    Socket(Interest),
    /// The connection waits for this job.
    Job(JobId),
    /// The sending direction is ended, and input is dropped.
    Drain,
    /// The connection is closed.
    Close(CloseReason),
}

impl From<CloseReason> for Halt {
    fn from(reason: CloseReason) -> Self {
        Self::Close(reason)
    }
}

impl Halt {
    /// The name for traces.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Socket(Interest::None) | Self::Job(_) => "a job",
            Self::Socket(Interest::Input) => "input",
            Self::Socket(_) => "space for output",
            Self::Drain => "the peer's end",
            Self::Close(_) => "nothing: it is closed",
        }
    }

    /// Maps a socket error: after `WouldBlock` the connection waits for `interest`, else it is closed.
    pub(super) fn by(error: NetError, interest: Interest) -> Self {
        match error {
            NetError::WouldBlock | NetError::Full => Self::Socket(interest),
            _ => CloseReason::Gone.into(),
        }
    }
}

/// Resources that the loop lends for a connection's turn.
pub(super) struct Turn<'a, 'w> {
    pub(super) world: &'a mut World<'w>,
    pub(super) service: &'a mut dyn Service,
}

/// State of the loop's buffers during a connection's turn.
pub(super) struct Batch {
    /// Length of the input at the beginning of the receive buffer (bytes).
    pub(super) have: usize,
    /// Length of the part at the end of the input that also is in the socket (bytes): it was only peeked.
    pub(super) peeked: usize,
    /// True if the input ends with an incomplete request that is in the socket only, because no block is free for it.
    pub(super) lacks_block: bool,
    /// Length of the input that was used (bytes).
    pub(super) used: usize,
    /// Length of the unsent replies at the beginning of the transmit buffer (bytes).
    pub(super) produced: usize,
    /// The kind of change that must be durable before the unsent replies are sent.
    pub(super) promise: Promise,
}
