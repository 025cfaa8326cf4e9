//! One connection: a slot of a fixed size, which holds what neither the socket nor the engine holds.

use super::Trouble;
use super::pool::Block;
use crate::config::{
    CONNECTION_BYTES_MAX, REPLY_PATIENCE, REQUEST_BYTES, REQUEST_INLINE_BYTES, REQUEST_PATIENCE,
};
use crate::engine::Order;
use crate::engine::programs::Session;
use crate::net::Socket;
use crate::time::{Duration, Instant};
use core::net::Ipv6Addr;

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
pub(super) struct Connection {
    pub(super) socket: Socket,
    pub(super) peer: Ipv6Addr,
    pub(super) session: Session,
    /// Bytes that came and were not used up, the beginning of a request: so many …
    pub(super) input_len: u16,
    /// … of this block …
    pub(super) input: Option<Block>,
    /// … or, without one, of these.
    pub(super) inline: [u8; REQUEST_INLINE_BYTES],
    pub(super) owed: Option<Owed>,
    /// What is left of it.
    pub(super) order: Option<Order>,
    /// The last time that bytes came or went.
    pub(super) progress: Instant,
    /// Whether it was ever answered.
    pub(super) answered: bool,
}

const _: () = assert!(size_of::<Option<Connection>>() <= CONNECTION_BYTES_MAX);
const _: () = assert!(REQUEST_BYTES <= u16::MAX as usize);

impl Connection {
    pub(super) const fn new(
        socket: Socket,
        peer: Ipv6Addr,
        session: Session,
        now: Instant,
    ) -> Self {
        Self {
            socket,
            peer,
            session,
            input_len: 0,
            input: None,
            inline: [0; REQUEST_INLINE_BYTES],
            owed: None,
            order: None,
            progress: now,
            answered: false,
        }
    }

    /// How long it may make no progress, and what is the matter then; `None`: it holds nothing that others may need.
    pub(super) const fn patience(&self) -> Option<(Duration, Trouble)> {
        let stores = matches!(self.order, Some(Order::Store { .. }));
        if self.owed.is_some() || self.order.is_some() && !stores {
            Some((REPLY_PATIENCE, Trouble::Untaken))
        } else if self.input.is_some() || stores || self.session.holds_file() {
            Some((REQUEST_PATIENCE, Trouble::Unended))
        } else {
            None
        }
    }
}
