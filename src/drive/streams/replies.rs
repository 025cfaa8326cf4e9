//! Replies: sent, or kept in a block while the socket would block or their sync is pending.

use super::Streams;
use super::connection::{CloseReason, Connection, Unsent};
use super::orders::OrderContext;
use super::pool::Block;
use super::turn::{Batch, Blocked, Turn};
use crate::engine::Order;
use crate::engine::nfs::Promise;
use crate::mem::{self, Ends as _};
use crate::net::Interest;
use crate::time::Duration;
use crate::vfs::{FsResult, Submitted};
use core::ops::Range;

impl Streams {
    /// Sends kept replies once their sync has ended, and continues the order once the job of the order has ended.
    pub(super) fn send_kept(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Result<(), Blocked> {
        // A connection that waits for a job or a block is not watched for input or output, so its socket is ready only after the
        // peer closed it.
        if connection.wants_block || connection.is_waiting() && !connection.can_continue() {
            return Err(CloseReason::Gone.into());
        }
        if let Some(mut unsent) = connection.unsent.take() {
            let [sync, _] = &mut connection.waits;
            if let Some(synced) = self.group.take_result(sync) {
                connection.progress = turn.world.now;
                let block = self.replies.get(&unsent.block);
                let replies = block.head_mut(unsent.to as usize);
                let len = settle(turn, connection, replies, synced);
                unsent.to = len as u32;
            }
            let sent = match connection.waits {
                [Some(_), _] => Err(Blocked::Wait(Interest::None)),
                [None, _] => self.send_block(turn, connection, &mut unsent),
            };
            match sent {
                Ok(()) => self.replies.release(unsent.block),
                Err(blocked) => {
                    connection.unsent = Some(unsent);
                    return Err(blocked);
                }
            }
        }
        match connection.is_waiting() {
            true => Err(Blocked::Wait(Interest::None)),
            false => Ok(()),
        }
    }

    fn send_block(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unsent: &mut Unsent,
    ) -> Result<(), Blocked> {
        let left = unsent.from as usize..unsent.to as usize;
        let block = self.replies.get(&unsent.block);
        let mut carrier = OrderContext::new(turn.world.net, connection.socket, block, left, &[]);
        let sent = carrier.send(unsent.more);
        unsent.from = carrier.unsent.start as u32;
        if carrier.moved_bytes > 0 {
            connection.progress = turn.world.now;
        }
        sent.map_err(|error| Blocked::by(error, Interest::Output))
    }

    /// Sends the replies of a batch, after a sync if they promise a durable change. Replies that have to wait are kept in a
    /// block.
    pub(super) fn release(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<(), Blocked> {
        if core::mem::replace(&mut batch.promise, Promise::Nothing) != Promise::Nothing {
            let synced = match self.group.flush(turn.world.tree) {
                Submitted::Done(synced) => synced,
                Submitted::Pending(id) if self.replies.is_used_up() => self.wait_here(turn, id),
                Submitted::Pending(id) => {
                    let replies = 0..core::mem::take(&mut batch.produced);
                    self.keep(turn, connection, replies)?;
                    let [sync, _] = &mut connection.waits;
                    *sync = self.group.add(id);
                    return Err(Blocked::Wait(Interest::None));
                }
            };
            let tx = core::mem::take(&mut turn.world.tx);
            batch.produced = settle(turn, connection, tx.head_mut(batch.produced), synced);
            turn.world.tx = tx;
        }
        if batch.produced == 0 {
            return Ok(());
        }
        // Send the replies without the order, which continues later.
        let order = connection.order.take();
        let sent = self.carry(turn, connection, batch);
        connection.order = order;
        sent.map(drop)
    }

    /// Copies bytes of the transmit buffer to a block.
    pub(super) fn keep(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unsent: Range<usize>,
    ) -> Result<(), Blocked> {
        let block = self.reply_block(turn).ok_or(CloseReason::NoReplyBlock)?;
        let bytes = turn.world.tx.head(unsent.end).tail(unsent.start);
        mem::copy_into(self.replies.get(&block), bytes);
        connection.unsent = Some(Unsent {
            block,
            from: 0,
            to: bytes.len() as u32,
            more: matches!(connection.order, Some(Order::Send { .. })),
        });
        Ok(())
    }

    /// Allocates a block. If none is free, closes the connection that has not read its replies for longest.
    #[inline(never)]
    fn reply_block(&mut self, turn: &mut Turn<'_, '_>) -> Option<Block> {
        let block = self.replies.allocate();
        if block.is_some() {
            return block;
        }
        let now = turn.world.now;
        let stalled = self.most_overdue(now, Duration::default(), |other| {
            other.unsent.is_some() && !other.is_waiting()
        })?;
        self.close(turn, stalled, CloseReason::Gone);
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
    turn.protocol.settle(&mut cx, replies, synced)
}
