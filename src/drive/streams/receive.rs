//! Input of a connection: partial requests, several requests at once, and the orders that the protocol returns for them.

use super::Streams;
use super::connection::{CloseReason, Connection};
use super::orders::{OrderContext, OrderResult};
use super::turn::{Batch, Blocked, Turn};
use crate::config::{ORDER_TURN_BYTES, REPLY_BYTES, REQUEST_INLINE_BYTES, SILENT_TIMEOUT};
use crate::engine::nfs::Promise;
use crate::engine::{Order, Progress, State};
use crate::event;
use crate::mem::{self, Ends as _};
use crate::net::{Interest, NetError};
use crate::text::Text;
use crate::vfs::FsResult;

/// The protocol's next need after its order, if there is one, is carried out.
enum Next {
    /// More input.
    Input,
    /// An empty output buffer.
    Output,
    /// Space in the socket for a whole reply.
    Space,
    /// Another call in a later turn: the protocol has long work.
    Turn,
    /// The end of the connection, for this reason.
    Close(Text),
}

impl Streams {
    /// Receives input, passes it to the protocol, and carries out each [`Order`] that the protocol returns, until the connection
    /// has to wait.
    pub(super) fn answer_input(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Blocked {
        let mut batch = Batch {
            have: self.restore(turn.world.rx, connection),
            peeked: 0,
            lacks_block: false,
            used: 0,
            produced: 0,
            promise: Promise::Nothing,
        };
        let mut is_first = true;
        let blocked = loop {
            if connection.order.is_none()
                && batch.produced == 0
                && core::mem::take(&mut is_first)
                // A busy protocol may have left a full buffer of input.
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
                // The reply to a WRITE may be held to share a sync with the replies to the input that follows.
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
            Blocked::Wait(interest) => {
                if let Err(end) = self.save(turn, connection, batch.used..batch.have) {
                    return end;
                }
                Blocked::Wait(match interest {
                    Interest::Input if batch.lacks_block => self.want_block(turn, connection),
                    _ => interest,
                })
            }
            end => end,
        }
    }

    /// Receives bytes into the buffer after the input, as many as fit. Returns their count. If no block is free for them, they also
    /// stay in the socket.
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
        let may_keep = !self.requests.is_used_up();
        let received = match may_keep {
            true => turn.world.net.recv(connection.socket, space),
            false => turn.world.net.peek(connection.socket, space),
        };
        match received {
            Ok(0) => Err(NetError::Gone),
            Ok(count) => {
                batch.have += count;
                match may_keep {
                    true => connection.progress = turn.world.now,
                    false => batch.peeked = count,
                }
                Ok(count)
            }
            Err(NetError::WouldBlock | NetError::Full) => Ok(0),
            Err(_) => Err(NetError::Gone),
        }
    }

    /// Passes the input to the protocol, unless its replies might neither be sent nor kept in a block.
    fn advance(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Next {
        connection.wants_space = cfg!(feature = "smol")
            && batch.produced == 0
            && self.replies.is_used_up()
            && !turn.world.net.has_reply_space(connection.socket)
            && self
                .evict(turn, |other| other.unsent.is_some() && !other.is_waiting())
                .is_none();
        if connection.wants_space {
            batch.have -= core::mem::take(&mut batch.peeked);
            return Next::Space;
        }
        let (mut cx, rx, tx) = turn.world.lend(connection.peer);
        let input = rx.head(batch.have).tail(batch.used);
        let output = tx.head_mut(self.reply_bytes).tail_mut(batch.produced);
        let at = connection.number();
        let progress = turn.protocol.advance(at, &mut cx, input, output);
        batch.used += progress.consumed;
        let next = batch.add(turn, connection, progress);
        if batch.peeked > 0 {
            self.leave_peeked(turn, connection, batch, &next);
        }
        next
    }

    /// Receives the peeked bytes that were used, and the start of a request that fits into the connection's slot. The others stay in
    /// the socket and are no longer part of the input.
    #[cold]
    fn leave_peeked(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
        next: &Next,
    ) {
        let have = batch.have;
        let mut at = have - core::mem::take(&mut batch.peeked);
        let needs_more = matches!(next, Next::Input);
        if !needs_more || have - batch.used > REQUEST_INLINE_BYTES {
            batch.have = batch.used.max(at);
        }
        batch.lacks_block = needs_more && batch.used == 0 && batch.have < have;
        while at < batch.have {
            let space = turn.world.rx.head_mut(batch.have).tail_mut(at);
            match turn.world.net.recv(connection.socket, space) {
                // Errors are found again by the next receive.
                Ok(0) | Err(_) => return,
                Ok(count) => at += count,
            }
            connection.progress = turn.world.now;
        }
    }

    /// Passes the result of the connection's order to the protocol.
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

    /// Carries out the connection's order. Earlier replies are sent before the order's data. The exception is a WRITE: its data is
    /// stored first if the replies may be held, so that they can share the next sync.
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
            // If no reply waits for a sync, the head of a READ's reply is sent together with its data.
            false => batch.promise != Promise::Nothing,
        };
        if leaves_first {
            self.release(turn, connection, batch)?;
        }
        match self.carry(turn, connection, batch) {
            Ok(result) => Ok(match self.done(turn, connection, batch, result) {
                // `done` is not passed the input, which may contain more requests: continue with `advance`.
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

    /// Sends the replies of a batch and carries out the connection's order, if there is one, until the socket would block or a
    /// job is pending. Returns the order's result once it has ended. Unsent replies are copied to a block.
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
            ended = self.group.take_result(job);
        }
        let world = &mut *turn.world;
        let input = world.rx.head(batch.have).tail(batch.used);
        let tx = world.tx.head_mut(self.reply_bytes).tail_mut(space);
        let mut carrier = OrderContext::new(world.net, connection.socket, tx, replies, input);
        let carried = carrier.carry_out(&mut connection.order, ended, world.tree);
        let (unsent, interest) = (carrier.unsent, carrier.interest);
        batch.used += carrier.used;
        if carrier.moved_bytes > 0 {
            self.moved_bytes += carrier.moved_bytes;
            connection.progress = world.now;
        }
        let blocked = match carried {
            Ok(OrderResult::Done(result)) => return Ok(result),
            Ok(OrderResult::Pending(id)) => {
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

    /// Returns true if replies may be held until those of later requests are ready.
    const fn may_hold(&self, batch: &Batch) -> bool {
        batch.produced <= REPLY_BYTES / 2 && self.moved_bytes < ORDER_TURN_BYTES as usize
    }

    /// Receives more input. Returns true if some has arrived: its replies can share the sync that the replies in the batch wait
    /// for.
    #[inline(never)]
    fn shares_sync(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> bool {
        if batch.promise != Promise::Data || batch.lacks_block || !self.may_hold(batch) {
            return false;
        }
        let used = core::mem::take(&mut batch.used);
        batch.have = mem::shift(turn.world.rx.head_mut(batch.have), used);
        // End of stream and errors are found again when the connection waits for input.
        let received = self.receive(turn, connection, batch).unwrap_or(0);
        // The bytes count towards the turn's limit, so that the turn of a fast client ends.
        self.moved_bytes += received;
        received > 0
    }

    /// Returns why the connection has to wait or close after its replies were sent; `None`: it continues.
    fn after(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        next: Next,
    ) -> Option<Blocked> {
        match next {
            Next::Input => Some(Blocked::Wait(Interest::Input)),
            Next::Space => Some(Blocked::Wait(Interest::Reply)),
            // Other connections are served first; then this socket is ready again.
            Next::Turn => {
                // The timeout does not run: the protocol is busy, not the peer.
                connection.progress = turn.world.now;
                Some(Blocked::Wait(Interest::Output))
            }
            Next::Close(why) => {
                let (now, events) = (turn.world.now, &mut turn.world.events);
                events.report_for_peer(now, connection.peer.address, event::DISCONNECTED, b"", why);
                Some(CloseReason::Gone.into())
            }
            _ if self.moved_bytes >= ORDER_TURN_BYTES as usize => {
                Some(Blocked::Wait(Interest::Output))
            }
            _ => None,
        }
    }

    /// Closes the connection without progress for longest, at least [`SILENT_TIMEOUT`], among those for which `is_meant` is true.
    fn evict(&mut self, turn: &mut Turn<'_, '_>, is_meant: fn(&Connection) -> bool) -> Option<()> {
        let now = turn.world.now;
        let stalled = self.most_overdue(now, SILENT_TIMEOUT, is_meant)?;
        self.close(turn, stalled, CloseReason::Gone);
        Some(())
    }

    /// Closes another connection whose incomplete request has been stalled for long. If there is none, this connection's request
    /// waits in the socket until a block is free. A request that is meanwhile completed needs no block: [`Streams::patrol`] checks
    /// every second.
    #[cold]
    fn want_block(&mut self, turn: &mut Turn<'_, '_>, connection: &mut Connection) -> Interest {
        let evicted = self.evict(turn, |other| {
            let timeout = other.timeout();
            other.input.is_some() && timeout.is_some_and(|(_, why)| why == CloseReason::Unended)
        });
        if evicted.is_some() {
            return Interest::Input;
        }
        connection.wants_block = true;
        self.wants_block = true;
        Interest::None
    }

    /// Copies the saved input into the receive buffer and returns its length.
    fn restore(&mut self, rx: &mut [u8], connection: &mut Connection) -> usize {
        let len = connection.input_len as usize;
        let kept = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        mem::copy_into(rx, kept.head(len));
        if let Some(block) = connection.input.take() {
            self.requests.release(block);
        }
        len
    }

    /// Saves the unused input: inline if it is short, else in a block.
    fn save(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unused: core::ops::Range<usize>,
    ) -> Result<(), Blocked> {
        connection.input_len = unused.len() as u32;
        if unused.len() > REQUEST_INLINE_BYTES {
            // A block is free: else the input was only peeked.
            connection.input = Some(self.requests.allocate().ok_or(CloseReason::Gone)?);
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
    /// Adds replies and their promises to the batch.
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
