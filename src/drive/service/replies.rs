//! Replies: sent, or kept in a block while the socket would block or their sync is pending.

use super::Served;
use super::connection::{CloseReason, Connection, Unsent};
use super::pool::Block;
use super::times;
use super::transfer::Carrier;
use super::turn::{Batch, Halt, Turn};
use crate::engine::service::Promise;
use crate::mem::{self, Ends as _};
use crate::net::Interest;
use crate::time::Duration;
use crate::vfs::{FsResult, Submitted};
use core::ops::Range;

impl Served {
    /// Sends kept replies once their sync has ended.
    pub(super) fn send_kept(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Result<(), Halt> {
        if times::drains(connection) {
            return Err(Halt::Drain);
        }
        // A connection that waits for a job or a block is not watched for input or output, so its socket is ready only after the
        // peer closed it.
        let waits = &connection.waits;
        if connection.wants_block || waits.is_pending() && !waits.has_ended() {
            return Err(CloseReason::Gone.into());
        }
        if let Some(mut unsent) = connection.unsent.take() {
            if let Some(synced) = self.group.take_result(&mut connection.waits.sync) {
                connection.progress = turn.world.now;
                let block = self.replies.get(&unsent.block);
                let replies = block.head_mut(unsent.to as usize);
                unsent.to = settle(turn, connection, replies, synced) as u32;
            }
            let sent = match connection.waits.sync {
                Some(_) => Err(Halt::Socket(Interest::None)),
                None => self.send_block(turn, connection, &mut unsent),
            };
            match sent {
                Ok(()) => self.replies.release(unsent.block),
                Err(halt) => {
                    connection.unsent = Some(unsent);
                    return Err(halt);
                }
            }
        }
        match connection.waits.is_pending() {
            true => Err(Halt::Socket(Interest::None)),
            false => Ok(()),
        }
    }

    fn send_block(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unsent: &mut Unsent,
    ) -> Result<(), Halt> {
        let left = unsent.from as usize..unsent.to as usize;
        let block = self.replies.get(&unsent.block);
        let mut carrier = Carrier::new(turn.world.net, connection.socket, block, left, &[]);
        let sent = carrier.send(unsent.more);
        unsent.from = carrier.unsent.start as u32;
        if carrier.moved_bytes > 0 {
            turn.world.stats.sent(carrier.moved_bytes);
            connection.progress = turn.world.now;
        }
        sent.map_err(|error| Halt::by(error, Interest::Output))
    }

    /// Sends the replies of a batch, after a sync if they promise a durable change. Replies that have to wait are kept in a
    /// block.
    pub(super) fn release(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<(), Halt> {
        if core::mem::replace(&mut batch.promise, Promise::Nothing) != Promise::Nothing {
            let synced = match self.group.flush(turn.world.tree) {
                Submitted::Done(synced) => synced,
                Submitted::Pending(id) if self.replies.is_used_up() => self.wait_here(turn, id)?,
                Submitted::Pending(id) => {
                    let replies = 0..core::mem::take(&mut batch.produced);
                    self.keep(turn, connection, replies, false)?;
                    connection.waits.sync = self.group.add(id);
                    return Err(Halt::Socket(Interest::None));
                }
            };
            let tx = core::mem::take(&mut turn.world.tx);
            batch.produced = settle(turn, connection, tx.head_mut(batch.produced), synced);
            turn.world.tx = tx;
        }
        if batch.produced == 0 {
            return Ok(());
        }
        let replies = 0..core::mem::take(&mut batch.produced);
        let world = &mut *turn.world;
        let mut carrier = Carrier::new(world.net, connection.socket, world.tx, replies, &[]);
        let sent = carrier.send(false);
        let (unsent, moved_bytes) = (carrier.unsent, carrier.moved_bytes);
        world.stats.sent(moved_bytes);
        self.count(moved_bytes, turn, connection);
        sent.or_else(|error| {
            let halt = Halt::by(error, Interest::Output);
            if let Halt::Socket(_) = halt {
                self.keep(turn, connection, unsent, false)?;
            }
            Err(halt)
        })
    }

    /// Counts bytes that the connection has sent or received.
    pub(super) fn count(
        &mut self,
        moved_bytes: usize,
        turn: &Turn<'_, '_>,
        connection: &mut Connection,
    ) {
        if moved_bytes > 0 {
            self.moved_bytes += moved_bytes;
            connection.progress = turn.world.now;
        }
    }

    /// Copies bytes of the transmit buffer to a block. `more`: the data of a transfer follows them.
    pub(super) fn keep(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unsent: Range<usize>,
        more: bool,
    ) -> Result<(), Halt> {
        let block = self.reply_block(turn).ok_or(CloseReason::NoReplyBlock)?;
        let bytes = turn.world.tx.head(unsent.end).tail(unsent.start);
        mem::copy_into(self.replies.get(&block), bytes);
        connection.unsent = Some(Unsent {
            block,
            from: 0,
            to: bytes.len() as u32,
            more,
        });
        Ok(())
    }

    /// Allocates a block. If none is free, closes the connection that has not read its replies for longest.
    fn reply_block(&mut self, turn: &mut Turn<'_, '_>) -> Option<Block> {
        let block = self.replies.allocate();
        if block.is_some() {
            return block;
        }
        let now = turn.world.now;
        let stalled = self.most_overdue(now, Duration::default(), |other| {
            other.unsent.is_some() && !other.waits.is_pending()
        })?;
        self.cut_off(turn, stalled);
        self.replies.allocate()
    }
}

/// Finishes replies after their sync; returns their new length.
fn settle(
    turn: &mut Turn<'_, '_>,
    connection: &Connection,
    replies: &mut [u8],
    synced: FsResult<()>,
) -> usize {
    let (mut cx, _, _) = turn.world.lend(connection.peer);
    turn.service.settle(connection.id, &mut cx, replies, synced)
}
