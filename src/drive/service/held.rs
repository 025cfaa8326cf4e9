//! Unfinished replies, each of which is kept in a block.
//!
//! A request that has arrived whole, and whose reply is unfinished, is carried out to its end although its peer is gone: its connection
//! stays, without a socket.

use super::Served;
use super::connection::{CloseReason, Connection, Held, Waits};
use super::turn::{Halt, Turn};
use crate::engine::service::Way;
use crate::mem::{self, Ends as _};
use crate::net::Socket;

impl Served {
    /// Returns true if no block is free for an unfinished reply of this service.
    pub(super) fn lacks_held_block(&self) -> bool {
        self.held_bytes > 0 && self.held.is_used_up()
    }

    /// Copies the unfinished reply to the start of the output and returns its length.
    pub(super) fn restore_held(&mut self, output: &mut [u8], connection: &mut Connection) -> usize {
        let Some(Held { block, len }) = connection.held.take() else {
            return 0;
        };
        let len = usize::from(len);
        mem::copy_into(output, self.held.get(&block).head(len));
        self.held.release(block);
        len
    }

    /// Saves an unfinished reply in a block; without a byte, there is none.
    pub(super) fn save_held(
        &mut self,
        connection: &mut Connection,
        unfinished: &[u8],
    ) -> Result<(), Halt> {
        if !unfinished.is_empty() {
            let fits = unfinished.len() <= self.held_bytes;
            let block = self.held.allocate().filter(|_| fits);
            let block = block.ok_or(CloseReason::NoReplyBlock)?;
            mem::copy_into(self.held.get(&block), unfinished);
            let len = unfinished.len() as u16;
            connection.held = Some(Held { block, len });
        }
        Ok(())
    }

    /// Closes only the socket of a connection whose request is not finished. Returns false if there is no such request, or its slot is
    /// needed.
    pub(super) fn outlives_socket(
        &mut self,
        turn: &mut Turn<'_, '_>,
        at: usize,
        reason: CloseReason,
    ) -> bool {
        let Some(Some(connection)) = self.connections.get_mut(at) else {
            return false;
        };
        if !connection.is_unfinished() || reason == CloseReason::Evicted {
            return false;
        }
        if let Some(unsent) = connection.unsent.take() {
            self.replies.release(unsent.block);
        }
        let sync = connection.waits.sync.take();
        self.group.forget(Waits { sync, job: None });
        turn.world.net.close(connection.socket);
        connection.socket = Socket::CLOSED;
        // Unless its job has yet to end, it goes on in the next turn.
        connection.wants_block = !connection.waits.is_pending();
        self.wants_block |= connection.wants_block;
        self.patrol_at = turn.world.now;
        self.listeners.resume(turn.world);
        true
    }
}

impl Connection {
    /// Returns true if the start of a reply is saved.
    pub(super) const fn is_begun(&self) -> bool {
        self.held.is_some()
    }

    /// Returns true if the start of a reply is saved, and the whole request has arrived.
    pub(super) fn is_unfinished(&self) -> bool {
        self.held.is_some() && !self.needs_rest && !self.is_moving(Way::ToFile)
    }

    /// Returns true if the peer is gone, and its unfinished request goes on.
    pub(super) fn is_left(&self) -> bool {
        self.socket == Socket::CLOSED
    }
}
