//! Input of a connection: requests that arrive, in parts or many at once, and the orders that the protocol makes of them.

use super::connection::{CloseReason, Connection};
use super::orders::{Carried, Carrier};
use super::streams::Streams;
use super::turn::{Batch, Blocked, Turn};
use crate::config::{ORDER_TURN_BYTES, REPLY_BYTES, REQUEST_INLINE_BYTES};
use crate::engine::nfs::Promise;
use crate::engine::{Order, Progress, State};
use crate::event;
use crate::mem::{self, Ends as _};
use crate::net::{Interest, NetError};
use crate::text::Text;
use crate::vfs::FsResult;

/// The protocol's next need, after the connection's order if there is one.
enum Next {
    /// More input.
    Input,
    /// An empty output.
    Output,
    /// Another turn: it has long work of its own in hand.
    Turn,
    /// The end of the connection, for this reason.
    Close(Text),
}

impl Streams {
    /// Receives input, lets the protocol answer it, and carries out its orders, until something has to be waited for.
    pub(super) fn answer_input(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Blocked {
        let mut batch = Batch {
            have: self.restore(turn.world.rx, connection),
            used: 0,
            produced: 0,
            promise: Promise::Nothing,
        };
        let mut is_first = true;
        let blocked = loop {
            if connection.order.is_none()
                && batch.produced == 0
                && core::mem::take(&mut is_first)
                // A protocol with long work in hand may have left as much as fits.
                && batch.have < self.request_bytes
                && self.receive(turn, connection, &mut batch).is_err()
            {
                return CloseReason::Gone.into();
            }
            let is_store = matches!(connection.order, Some(Order::Store { .. }));
            let next = match connection.order {
                Some(_) => self.carry_out(turn, connection, &mut batch),
                None => Ok(self.advance(turn, connection, &mut batch)),
            };
            let blocked = match next {
                Ok(_) if connection.order.is_some() => continue,
                // The reply to a WRITE may wait for those to the input that follows.
                Ok(Next::Output) if is_store && self.may_hold(&batch) => continue,
                Ok(Next::Input) if self.shares_sync(turn, connection, &mut batch) => continue,
                Ok(next) => match self.release(turn, connection, &mut batch) {
                    Ok(()) => self.after(turn, connection, next),
                    Err(blocked) => Some(blocked),
                },
                Err(blocked) => Some(blocked),
            };
            if let Some(blocked) = blocked {
                break blocked;
            }
        };
        match blocked {
            Blocked::Wait(Interest::Input)
                if batch.used == 0 && batch.have == self.request_bytes =>
            {
                CloseReason::Large.into()
            }
            Blocked::Wait(_) => {
                let saved = self.save(turn, connection, batch.used..batch.have);
                saved.err().unwrap_or(blocked)
            }
            end => end,
        }
    }

    /// Receives what fits behind the input.
    fn receive(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<usize, NetError> {
        let space = turn
            .world
            .rx
            .head_mut(self.request_bytes)
            .tail_mut(batch.have);
        match turn.world.net.recv(connection.socket, space) {
            Ok(0) => Err(NetError::Gone),
            Ok(count) => {
                connection.progress = turn.world.now;
                batch.have += count;
                Ok(count)
            }
            Err(NetError::WouldBlock | NetError::Full) => Ok(0),
            Err(_) => Err(NetError::Gone),
        }
    }

    /// Lets the protocol answer the input.
    fn advance(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Next {
        let (mut cx, rx, tx) = turn.world.lend(connection.peer);
        let input = rx.head(batch.have).tail(batch.used);
        let output = tx.head_mut(self.reply_bytes).tail_mut(batch.produced);
        let at = connection.number();
        let progress = turn.protocol.advance(at, &mut cx, input, output);
        batch.used += progress.consumed;
        batch.add(turn, connection, progress)
    }

    /// Lets the protocol answer after the connection's order.
    fn done(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
        result: FsResult<()>,
    ) -> Next {
        let Some(order) = connection.order.take() else {
            return Next::Output;
        };
        let (mut cx, _, tx) = turn.world.lend(connection.peer);
        let output = tx.head_mut(self.reply_bytes).tail_mut(batch.produced);
        let at = connection.number();
        let progress = turn.protocol.done(at, &mut cx, order, result, output);
        batch.add(turn, connection, progress)
    }

    /// Carries out the connection's order. Replies leave before it, except that bytes of a WRITE that have arrived are stored first:
    /// the sync that follows may be shared.
    #[inline(never)]
    fn carry_out(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<Next, Blocked> {
        let is_store = matches!(connection.order, Some(Order::Store { .. }));
        let leaves_first = match is_store {
            true => !self.may_hold(batch),
            // Else the head of a READ's reply leaves with its data.
            false => batch.promise != Promise::Nothing,
        };
        if leaves_first {
            self.release(turn, connection, batch)?;
        }
        match self.carry(turn, connection, batch) {
            Ok(result) => Ok(match self.done(turn, connection, batch, result) {
                // The protocol was not given the input that follows.
                Next::Input => Next::Output,
                next => next,
            }),
            Err(blocked) => {
                turn.protocol.interrupted();
                if is_store && let Blocked::Wait(_) = blocked {
                    self.release(turn, connection, batch)?;
                }
                Err(blocked)
            }
        }
    }

    /// Sends the replies of a batch and carries out the connection's order, if there is one, as far as that goes. Returns the result
    /// of the order, which is then at its end. Replies that the peer does not take are kept in a block.
    #[inline(never)]
    pub(super) fn carry(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<FsResult<()>, Blocked> {
        let mut replies = 0..0;
        let mut space = 0;
        match connection.order {
            Some(Order::Store { .. }) => space = batch.produced,
            _ => replies.end = core::mem::take(&mut batch.produced),
        }
        let [_, job] = &mut connection.waits;
        let mut ended = None;
        if connection.order.is_some() {
            ended = self.group.take(job);
        }
        let world = &mut *turn.world;
        let input = world.rx.head(batch.have).tail(batch.used);
        let tx = world.tx.head_mut(self.reply_bytes).tail_mut(space);
        let mut carrier = Carrier::new(world.net, connection.socket, tx, replies, input);
        let carried = carrier.carry_out(&mut connection.order, ended, world.tree);
        let (unsent, interest) = (carrier.unsent, carrier.interest);
        batch.used += carrier.used;
        if carrier.moved_bytes > 0 {
            self.moved_bytes += carrier.moved_bytes;
            connection.progress = world.now;
        }
        let blocked = match carried {
            Ok(Carried::Done(result)) => return Ok(result),
            Ok(Carried::Pending(id)) => {
                *job = self.group.add(id);
                Blocked::Wait(Interest::None)
            }
            Err(error) => Blocked::by(error, interest),
        };
        if !unsent.is_empty()
            && let Blocked::Wait(_) = blocked
        {
            self.keep(turn, connection, unsent)?;
        }
        Err(blocked)
    }

    /// Returns true if replies may wait for those of later requests.
    const fn may_hold(&self, batch: &Batch) -> bool {
        batch.produced <= REPLY_BYTES / 2 && self.moved_bytes < ORDER_TURN_BYTES as usize
    }

    /// Returns true if more has arrived that can share the sync of replies that promise data.
    #[inline(never)]
    fn shares_sync(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> bool {
        if batch.promise != Promise::Data || !self.may_hold(batch) {
            return false;
        }
        let used = core::mem::take(&mut batch.used);
        batch.have = mem::shift(turn.world.rx.head_mut(batch.have), used);
        // The end of the stream is found again when the connection waits for input.
        let received = self.receive(turn, connection, batch).unwrap_or(0);
        // However fast a client sends, a turn ends.
        self.moved_bytes += received;
        received > 0
    }

    /// Why a connection does not go on after its replies were sent.
    fn after(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        next: Next,
    ) -> Option<Blocked> {
        match next {
            Next::Input => Some(Blocked::Wait(Interest::Input)),
            // Other connections' turn: after theirs this one is ready again.
            Next::Turn => {
                // The peer owes nothing meanwhile.
                connection.progress = turn.world.now;
                Some(Blocked::Wait(Interest::Output))
            }
            Next::Close(why) => {
                let (now, events) = (turn.world.now, &mut turn.world.events);
                events.tell_of(now, connection.peer, event::DISCONNECTED, b"", why);
                Some(CloseReason::Gone.into())
            }
            _ if self.moved_bytes >= ORDER_TURN_BYTES as usize => {
                Some(Blocked::Wait(Interest::Output))
            }
            _ => None,
        }
    }

    /// Copies the input that was kept back into the receive buffer; its bytes.
    fn restore(&mut self, rx: &mut [u8], connection: &mut Connection) -> usize {
        let len = connection.input_len as usize;
        let kept = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        mem::copy_into(rx, kept.head(len));
        if let Some(block) = connection.input.take() {
            self.requests.give(block);
        }
        len
    }

    /// Keeps the input that was not used: inline if it is short, else in a block.
    fn save(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unused: core::ops::Range<usize>,
    ) -> Result<(), Blocked> {
        connection.input_len = unused.len() as u32;
        if unused.len() > REQUEST_INLINE_BYTES {
            let block = self.block(
                turn,
                |streams| &mut streams.requests,
                |other| other.input.is_some() && !other.is_waiting(),
            );
            connection.input = Some(block.ok_or(CloseReason::NoRequestBlock)?);
        }
        let space = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        mem::copy_into(space, turn.world.rx.head(unused.end).tail(unused.start));
        Ok(())
    }
}

impl Batch {
    /// Adds replies.
    fn add(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        progress: Progress,
    ) -> Next {
        self.produced += progress.produced;
        self.promise = self.promise.max(turn.protocol.take_promise());
        connection.answered |= progress.produced > 0;
        match progress.state {
            State::NeedInput => Next::Input,
            State::NeedOutput => Next::Output,
            State::Busy => Next::Turn,
            State::Closed(why) => Next::Close(why),
            State::Order(order) => {
                connection.order = Some(order);
                Next::Output
            }
        }
    }
}
