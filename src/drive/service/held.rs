//! Work that waits for a disk: the ends of jobs, and unfinished replies, each of which is kept in a block.

use super::Served;
use super::connection::{CloseReason, Connection, Held};
use super::turn::{Batch, Halt, Turn};
use crate::drive::task::World;
use crate::engine::service::{ConnectionId, Service};
use crate::mem::{self, Ends as _};
use crate::net::Socket;
use crate::vfs::Tree;

impl Served {
    /// Returns true if a job has ended that a connection may wait for.
    pub(super) fn may_have_ended(&self, tree: &Tree) -> bool {
        self.group.has_ended() || tree.ended_count() != self.heard_count
    }

    /// Returns true if no block is free for an unfinished reply of this service.
    pub(super) fn lacks_held_block(&self) -> bool {
        self.held_bytes > 0 && self.held.is_used_up()
    }

    /// Copies the saved start of a reply into the transmit buffer and returns its length.
    pub(super) fn restore_held(&mut self, tx: &mut [u8], connection: &mut Connection) -> usize {
        let Some(Held { block, len }) = connection.held.take() else {
            return 0;
        };
        let len = usize::from(len);
        mem::copy_into(tx, self.held.get(&block).head(len));
        self.held.release(block);
        len
    }

    /// Saves the start of a reply in a block.
    pub(super) fn save_held(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        held: core::ops::Range<usize>,
    ) -> Result<(), Halt> {
        if !held.is_empty() {
            let fits = held.len() <= self.held_bytes;
            let block = self.held.allocate().filter(|_| fits);
            let block = block.ok_or(CloseReason::NoReplyBlock)?;
            let len = held.len() as u16;
            mem::copy_into(
                self.held.get(&block),
                turn.world.tx.head(held.end).tail(held.start),
            );
            connection.held = Some(Held { block, len });
        }
        Ok(())
    }
}

/// Lets the service know that the peer has ended the connection.
pub(super) fn pass_end(
    world: &mut World<'_>,
    service: &mut dyn Service,
    id: ConnectionId,
    socket: Socket,
) {
    let net = &mut *world.net;
    service.ended_by_peer(id, &mut || net.has_delivered(socket));
}

impl Batch {
    /// Moves the unfinished reply to the end of the replies, and returns its length.
    pub(super) fn move_held(&self, tx: &mut [u8]) -> usize {
        let held = self.held.len();
        if held > 0 && self.held.start != self.produced {
            tx.copy_within(self.held.clone(), self.produced);
        }
        held
    }
}
