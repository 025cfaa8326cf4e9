//! One connection: a slot of a fixed size, which holds what neither the socket nor the engine holds.

use super::pool::Block;
use crate::config::{CONNECTION_BYTES_MAX, REQUEST_INLINE_BYTES};
use crate::engine::{Order, rpc};
use crate::net::Socket;
use crate::time::Instant;
use core::net::IpAddr;

/// Bytes that came and were not used up: the beginning of a request.
#[derive(Debug)]
pub(super) enum Input {
    /// So many of the inline bytes.
    Inline(u8),
    /// So many of a block.
    Block(Block, u16),
}

/// Bytes of a reply that the socket did not take: of this block, from here to there.
#[derive(Debug)]
pub(super) struct Owed {
    pub(super) block: Block,
    pub(super) from: u32,
    pub(super) to: u32,
    /// An order's bytes follow.
    pub(super) more: bool,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection<S> {
    pub(super) socket: Socket,
    pub(super) peer: IpAddr,
    pub(super) session: S,
    pub(super) inline: [u8; REQUEST_INLINE_BYTES],
    pub(super) input: Input,
    pub(super) owed: Option<Owed>,
    pub(super) order: Option<Order>,
    /// Bytes of the order that are done.
    pub(super) moved: u32,
    /// The last time that bytes came or went.
    pub(super) progress: Instant,
    /// Whether it was ever answered.
    pub(super) answered: bool,
}

const _: () = assert!(size_of::<Option<Connection<rpc::Session>>>() <= CONNECTION_BYTES_MAX);

impl<S> Connection<S> {
    pub(super) const fn new(socket: Socket, peer: IpAddr, session: S, now: Instant) -> Self {
        Self {
            socket,
            peer,
            session,
            inline: [0; REQUEST_INLINE_BYTES],
            input: Input::Inline(0),
            owed: None,
            order: None,
            moved: 0,
            progress: now,
            answered: false,
        }
    }

    /// Whether output waits for the socket.
    pub(super) const fn blocked(&self) -> bool {
        self.owed.is_some() || self.order.is_some()
    }

    /// Whether it holds something that others may need, and so must make progress.
    pub(super) const fn holds(&self) -> bool {
        self.blocked() || matches!(self.input, Input::Block(..))
    }
}
