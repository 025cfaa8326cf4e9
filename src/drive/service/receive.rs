//! Input of a connection: partial requests, several requests at once, and the transfers that the service returns for them.

use super::Served;
use super::connection::{CloseReason, Connection, DISCONNECTED, Phase};
use super::stalls;
use super::transfer::Carrier;
use super::turn::{Batch, Halt, Turn};
use crate::config::{HAS_STACK, REPLY_BYTES, REQUEST_INLINE_BYTES, TRANSFER_TURN_BYTES};
use crate::engine::service::{Io, Moved, Next, Progress, Promise, Way};
use crate::log;
use crate::mem::{self, Ends as _};
use crate::net::{Interest, NetError};
use crate::text::Text;
use crate::vfs::FsResult;

/// The end of a connection's input.
#[derive(Clone, Copy)]
#[repr(usize)] // A count or an end is returned in two registers.
enum End {
    /// The peer ended its sending direction.
    Orderly,
    /// The connection was reset or timed out.
    Broken,
}

impl Served {
    /// Receives input, passes it to the service, and carries out each transfer that the service returns, until the connection
    /// has to wait.
    pub(super) fn answer_input(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Halt {
        // The result of a job that a request, not a transfer, waited for: the request finds out itself.
        if connection.transfer.is_none() {
            self.group.take_result(&mut connection.waits.job);
        }
        let is_known = self.times().is_some() && connection.has_partial();
        let begun = is_known.then_some(connection.progress);
        let mut batch = Batch {
            have: self.restore(turn.world.rx, connection),
            peeked: 0,
            lacks_block: false,
            used: 0,
            produced: 0,
            promise: Promise::Nothing,
        };
        match self.answer(turn, connection, &mut batch) {
            Halt::Socket(Interest::Input)
                if batch.used == 0 && batch.have == self.request_bytes =>
            {
                CloseReason::Large.into()
            }
            Halt::Socket(interest) => match self.save(turn, connection, batch.used..batch.have) {
                Err(end) => end,
                Ok(()) => {
                    if let Some(begun) = begun
                        && interest == Interest::Input
                        && self.moved_bytes == 0
                        && (batch.used == 0 || connection.needs_rest)
                    {
                        // The request is still incomplete.
                        connection.progress = begun;
                    }
                    Halt::Socket(match interest {
                        Interest::Input if batch.lacks_block => self.want_block(turn, connection),
                        _ => interest,
                    })
                }
            },
            // The unfinished request goes on without its peer.
            end if connection.is_unfinished() => {
                match self.save(turn, connection, batch.used..batch.have) {
                    Err(other) => other,
                    Ok(()) => end,
                }
            }
            end => end,
        }
    }

    /// Receives and answers requests until the connection has to wait, whose reason is returned.
    fn answer(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Halt {
        if !connection.is_begun() && self.lacks_held_block() {
            return Halt::Socket(self.wait_for_block(connection));
        }
        let mut end = None;
        // A busy service may have left a full buffer of input.
        if connection.transfer.is_none() && batch.have < self.request_bytes {
            end = self.receive(turn, connection, batch).err();
        }
        if let Some(end) = end
            && !connection.is_unfinished()
            && (batch.have == 0 || self.times().is_none())
        {
            return match end {
                End::Orderly => CloseReason::Ended.into(),
                End::Broken => CloseReason::Gone.into(),
            };
        }
        loop {
            let is_store = connection.is_moving(Way::ToFile);
            let next = match connection.transfer {
                Some(_) => self.carry_out(turn, connection, batch),
                None => self.advance(turn, connection, batch),
            };
            let done = match next {
                Ok(Next::Move(transfer)) => {
                    connection.transfer = Some(transfer);
                    continue;
                }
                // The reply to a WRITE may be held to share a sync with the replies to the input that follows.
                Ok(Next::Output) if is_store && self.may_hold(batch) => continue,
                Ok(Next::Input | Next::Rest) if self.shares_sync(turn, connection, batch) => {
                    continue;
                }
                Ok(next) => self
                    .release(turn, connection, batch)
                    .and_then(|()| self.after(turn, connection, next)),
                Err(halt) => Err(halt),
            };
            match done {
                Ok(()) => {}
                // The request stays incomplete.
                Err(Halt::Socket(Interest::Input)) if end.is_some() && self.times().is_some() => {
                    return CloseReason::Gone.into();
                }
                Err(halt) => return halt,
            }
        }
    }

    /// Receives bytes into the buffer after the input, as many as fit. Returns their count. If no block is free for them, they also
    /// stay in the socket.
    fn receive(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<usize, End> {
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
            Ok(0) => Err(End::Orderly),
            Ok(count) => {
                batch.have += count;
                match may_keep {
                    true => {
                        connection.progress = turn.world.now;
                        turn.world.stats.received(count);
                    }
                    false => batch.peeked = count,
                }
                Ok(count)
            }
            Err(NetError::WouldBlock | NetError::Full) => Ok(0),
            Err(_) => Err(End::Broken),
        }
    }

    /// Passes the input to the service, unless its replies might neither be sent nor kept in a block.
    fn advance(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<Next, Halt> {
        connection.wants_space = HAS_STACK
            && batch.produced == 0
            && self.replies.is_used_up()
            && !connection.is_left()
            && !turn.world.net.has_reply_space(connection.socket)
            && self
                .evict(turn, |other| {
                    other.unsent.is_some() && !other.waits.is_pending()
                })
                .is_none();
        if connection.wants_space {
            batch.have -= core::mem::take(&mut batch.peeked);
            return Err(Halt::Socket(Interest::Reply));
        }
        let (mut cx, rx, tx) = turn.world.lend(connection.peer);
        let output = tx.head_mut(self.reply_bytes).tail_mut(batch.produced);
        let io = Io {
            input: rx.head(batch.have).tail(batch.used),
            held: self.restore_held(output, connection),
            output,
        };
        let progress = turn.service.advance(connection.id, &mut cx, io);
        batch.used += progress.used;
        let next = self.add(turn, connection, batch, progress)?;
        if batch.peeked > 0 {
            self.leave_peeked(turn, connection, batch, &next);
        }
        Ok(next)
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
        let needs_more = matches!(next, Next::Input | Next::Rest);
        if !needs_more || have - batch.used > REQUEST_INLINE_BYTES {
            batch.have = batch.used.max(at);
        }
        batch.lacks_block = needs_more && batch.used == 0 && batch.have < have;
        while at < batch.have {
            let space = turn.world.rx.head_mut(batch.have).tail_mut(at);
            match turn.world.net.recv(connection.socket, space) {
                // Errors are found again by the next receive.
                Ok(0) | Err(_) => return,
                Ok(count) => {
                    at += count;
                    turn.world.stats.received(count);
                }
            }
            connection.progress = turn.world.now;
        }
    }

    /// Carries out the connection's transfer, and passes its result to the service. Earlier replies are sent before the data. The
    /// exception is a WRITE: its data is stored first if the replies may be held, so that they can share the next sync.
    #[inline(never)] // −167 bytes: one caller, whose frame stays small.
    fn carry_out(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<Next, Halt> {
        let is_store = connection.is_moving(Way::ToFile);
        let leaves_first = match is_store {
            true => !self.may_hold(batch),
            // If no reply waits for a sync, the head of a READ's reply is sent together with its data.
            false => batch.promise != Promise::Nothing,
        };
        if leaves_first {
            self.release(turn, connection, batch)?;
        }
        let result = match self.carry(turn, connection, batch) {
            Ok(result) => result,
            Err(halt) => {
                if is_store && let Halt::Socket(_) = halt {
                    self.release(turn, connection, batch)?;
                }
                return Err(halt);
            }
        };
        let Some(transfer) = connection.transfer.take() else {
            return Ok(Next::Output);
        };
        let (mut cx, _, tx) = turn.world.lend(connection.peer);
        let output = tx.head_mut(self.reply_bytes).tail_mut(batch.produced);
        let io = Io {
            input: &[],
            held: self.restore_held(output, connection),
            output,
        };
        let done = Moved { transfer, result };
        let progress = turn.service.moved(connection.id, &mut cx, done, io);
        Ok(match self.add(turn, connection, batch, progress)? {
            // `moved` is not passed the input, which may contain more requests: continue with `advance`.
            Next::Input | Next::Rest => Next::Output,
            next => next,
        })
    }

    /// Carries out the connection's transfer, until the socket would block or a job is pending. Returns the transfer's result once it
    /// has ended. Replies to be sent before the data are those of the batch; unsent ones are copied to a block.
    fn carry(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
    ) -> Result<FsResult<()>, Halt> {
        let is_store = connection.is_moving(Way::ToFile);
        let (replies, space) = match is_store {
            true => (0..0, batch.produced),
            false => (0..core::mem::take(&mut batch.produced), 0),
        };
        let ended = self.group.take_result(&mut connection.waits.job);
        let world = &mut *turn.world;
        let input = world.rx.head(batch.have).tail(batch.used);
        let tx = world.tx.head_mut(self.reply_bytes).tail_mut(space);
        let mut carrier = Carrier::new(world.net, connection.socket, tx, replies, input);
        let carried = carrier.carry_out(&mut connection.transfer, ended, world.tree);
        let (unsent, moved_bytes) = (carrier.unsent, carrier.moved_bytes);
        batch.used += carrier.used;
        match is_store {
            true => world.stats.received(moved_bytes),
            false => world.stats.sent(moved_bytes),
        }
        self.count(moved_bytes, turn, connection);
        let halt = match carried {
            Err(Halt::Job(id)) => {
                if ended.is_none() {
                    stalls::begin_wait(connection, turn.world.now);
                }
                connection.waits.job = self.group.add(id);
                Halt::Socket(Interest::None)
            }
            Err(halt) => halt,
            done => return done,
        };
        if !unsent.is_empty()
            && let Halt::Socket(_) = halt
        {
            self.keep(turn, connection, unsent, !is_store)?;
        }
        Err(halt)
    }

    /// Returns true if replies may be held until those of later requests are ready.
    const fn may_hold(&self, batch: &Batch) -> bool {
        batch.produced <= REPLY_BYTES / 2 && self.moved_bytes < TRANSFER_TURN_BYTES as usize
    }

    /// Receives more input. Returns true if some has arrived: its replies can share the sync that the replies in the batch wait
    /// for.
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

    /// Fails with the reason why the connection has to wait or close after its replies were sent.
    fn after(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        next: Next,
    ) -> Result<(), Halt> {
        Err(match next {
            Next::Input | Next::Rest => Halt::Socket(Interest::Input),
            // Other connections are served first; then this socket is ready again.
            Next::Soon => {
                // The timeout does not run: the service is busy, not the peer.
                connection.progress = turn.world.now;
                Halt::Socket(Interest::Output)
            }
            Next::Until(id) => {
                log::debug!(
                    "connection {=u16} needs job {=u16}",
                    connection.id.0,
                    id.number()
                );
                connection.waits.job = self.group.add(id);
                Halt::Socket(Interest::None)
            }
            Next::Drain => Halt::Drain,
            Next::Close(why) => {
                if why != Text::NOTHING {
                    let (now, events) = (turn.world.now, &mut turn.world.events);
                    let peer = connection.peer.address;
                    events.report_for_peer(now, peer, DISCONNECTED, b"", why);
                }
                CloseReason::Gone.into()
            }
            _ if self.moved_bytes >= TRANSFER_TURN_BYTES as usize => Halt::Socket(Interest::Output),
            _ => return Ok(()),
        })
    }

    /// Closes another connection whose incomplete request has been stalled for long. If there is none, this connection's request
    /// waits in the socket until a block is free. A request that is meanwhile completed needs no block: [`Served::patrol`] checks
    /// every second.
    #[cold]
    fn want_block(&mut self, turn: &mut Turn<'_, '_>, connection: &mut Connection) -> Interest {
        let evicted = self.evict(turn, |other| {
            other.input.is_some() && other.phase() == Phase::Receives
        });
        if evicted.is_some() {
            connection.progress = turn.world.now;
            return Interest::Input;
        }
        self.wait_for_block(connection)
    }

    /// Lets a connection wait until a block is free.
    const fn wait_for_block(&mut self, connection: &mut Connection) -> Interest {
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
    ) -> Result<(), Halt> {
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

    /// Adds replies and their promises to the batch, and saves an unfinished reply that follows them.
    fn add(
        &mut self,
        turn: &Turn<'_, '_>,
        connection: &mut Connection,
        batch: &mut Batch,
        progress: Progress,
    ) -> Result<Next, Halt> {
        batch.produced += progress.produced;
        batch.promise = batch.promise.max(progress.promise);
        connection.answered |= progress.produced > 0;
        connection.needs_rest = progress.next == Next::Rest;
        let unfinished = turn.world.tx.tail(batch.produced).head(progress.held);
        self.save_held(connection, unfinished)?;
        Ok(progress.next)
    }
}
