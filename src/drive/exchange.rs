//! What a connection exchanges in its turn: requests that arrive in parts, replies that are not taken, orders.

use super::connection::{CloseReason, Connection, Unsent};
use super::orders::Carrier;
use super::pool::{Block, Pool};
use super::streams::{Protocol, Streams};
use super::task::World;
use crate::config::{ORDER_TURN_BYTES, PRESSED_TIMEOUT, REPLY_BYTES, REQUEST_INLINE_BYTES};
use crate::engine::{Order, Progress, State};
use crate::event;
use crate::mem::{self, Ends as _};
use crate::net::{Interest, NetError};
use crate::vfs::{FsResult, Ticket};
use core::ops::Range;

/// Why a connection does not go on for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blocked {
    /// It waits for this.
    Wait(Interest),
    /// It ends.
    End(CloseReason),
}

impl From<CloseReason> for Blocked {
    fn from(reason: CloseReason) -> Self {
        Self::End(reason)
    }
}

impl Blocked {
    /// Why a connection does not go on after `error`: it waits for `interest`, or is gone.
    fn by(error: NetError, interest: Interest) -> Self {
        match error {
            NetError::WouldBlock | NetError::Full => Self::Wait(interest),
            _ => CloseReason::Gone.into(),
        }
    }
}

/// What connections need beside their slots.
pub(super) struct Turn<'a, 'w> {
    pub(super) world: &'a mut World<'w>,
    pub(super) protocol: &'a mut dyn Protocol,
}

impl Streams {
    /// Receives input, and does what the protocol makes of it.
    pub(super) fn on_readable(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Blocked {
        let mut have = self.restore(turn.world.rx, connection);
        let request_bytes = self.request_bytes;
        let space = turn.world.rx.head_mut(request_bytes).tail_mut(have);
        // A protocol with long work in hand may have left as much as fits.
        if !space.is_empty() {
            match turn.world.net.recv(connection.socket, space) {
                Ok(received @ 1..) => {
                    connection.progress = turn.world.now;
                    have += received;
                }
                Err(NetError::WouldBlock | NetError::Full) => {}
                Ok(0) | Err(_) => return CloseReason::Gone.into(),
            }
        }
        let mut used = 0;
        // Replies at the beginning of the transmit buffer, which leave when what others share with them is on disk.
        let mut held = 0;
        let blocked = loop {
            let (mut cx, rx, tx) = turn.world.lend(connection.peer);
            let input = rx.head(have).tail(used);
            let output = tx.head_mut(REPLY_BYTES).tail_mut(held);
            let at = connection.number();
            let mut progress = turn.protocol.advance(at, &mut cx, input, output);
            used += progress.consumed;
            progress.produced += held;
            let is_held = held > 0;
            self.store_at_once(turn, connection, &mut progress);
            if self.shares_sync(
                turn,
                connection,
                &mut progress,
                is_held,
                &mut used,
                &mut have,
            ) {
                held = progress.produced;
                continue;
            }
            held = 0;
            let needs_input = matches!(progress.state, State::NeedInput);
            let is_busy = matches!(progress.state, State::Busy);
            if let Err(blocked) = self.apply(turn, connection, progress) {
                break blocked;
            }
            if needs_input {
                break Blocked::Wait(Interest::Input);
            }
            // Other connections' turn: after theirs this one is ready again.
            if is_busy {
                // The peer owes nothing meanwhile.
                connection.progress = turn.world.now;
                break Blocked::Wait(Interest::Output);
            }
            if self.moved_bytes >= ORDER_TURN_BYTES as usize {
                break Blocked::Wait(Interest::Output);
            }
        };
        match blocked {
            Blocked::Wait(Interest::Input) if used == 0 && have == request_bytes => {
                CloseReason::Large.into()
            }
            Blocked::Wait(_) => {
                let saved = self.save(turn, connection, used..have);
                saved.err().unwrap_or(blocked)
            }
            end => end,
        }
    }

    /// Carries out an order to store what has been received, before replies of `progress` are sent: a sync that follows may be
    /// shared. What cannot be carried out now is left in `progress`.
    #[inline(never)]
    fn store_at_once(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        progress: &mut Progress,
    ) {
        if !self.may_hold(progress) || !matches!(progress.state, State::Order(Order::Store { .. }))
        {
            return;
        }
        let world = &mut *turn.world;
        let mut order = progress.take_order();
        let output = world.tx.head_mut(REPLY_BYTES).tail_mut(progress.produced);
        let mut carrier = Carrier::new(world.net, connection.socket, output, 0..0);
        let stored = carrier.carry_out(&mut order, world.tree);
        if carrier.moved_bytes > 0 {
            self.moved_bytes += carrier.moved_bytes;
            connection.progress = world.now;
        }
        let Some(order) = order else { return };
        match stored {
            Ok(result) => self.done(turn, connection, progress, order, result),
            Err(_) => progress.state = State::Order(order),
        }
    }

    /// Adds what the protocol makes of an order that was carried out to the replies of `progress`.
    fn done(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &Connection,
        progress: &mut Progress,
        order: Order,
        result: FsResult<()>,
    ) {
        let (mut cx, _, tx) = turn.world.lend(connection.peer);
        let output = tx.head_mut(REPLY_BYTES).tail_mut(progress.produced);
        let at = connection.number();
        let done = turn.protocol.done(at, &mut cx, order, result, output);
        progress.produced += done.produced;
        progress.state = done.state;
    }

    /// Whether replies may wait for those of what follows.
    const fn may_hold(&self, progress: &Progress) -> bool {
        !self.sync_failed
            && progress.produced <= REPLY_BYTES / 2
            && self.moved_bytes < ORDER_TURN_BYTES as usize
    }

    /// Whether a sync is put off, because more has been received meanwhile that shares it: the sync that `progress` asks for, or
    /// one that replies are held for already. `progress` has the replies that leave behind it then. Of `have` received bytes `used`
    /// were used.
    #[inline(never)]
    fn shares_sync(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        progress: &mut Progress,
        is_held: bool,
        used: &mut usize,
        have: &mut usize,
    ) -> bool {
        let is_sync = matches!(progress.state, State::Order(Order::Sync { .. }));
        let waits = is_held && matches!(progress.state, State::NeedInput);
        if !(is_sync || waits) || !self.may_hold(progress) {
            return false;
        }
        let World { net, tree, rx, .. } = &mut *turn.world;
        *have = mem::shift(rx.head_mut(*have), core::mem::take(used));
        let space = rx.head_mut(self.request_bytes).tail_mut(*have);
        // An end of the stream is found again when it is waited for.
        let received = net.recv(connection.socket, space).unwrap_or(0);
        *have += received;
        // However fast it comes, a turn ends.
        self.moved_bytes += received;
        let State::Order(Order::Sync { file }) = &progress.state else {
            return received > 0;
        };
        if *have == 0 || tree.sync_later(file).is_err() {
            return false;
        }
        let Some(order) = progress.take_order() else {
            return false;
        };
        self.has_put_off = true;
        self.done(turn, connection, progress, order, Ok(()));
        true
    }

    /// Sends what is unsent, then goes on with the order, if there is one.
    pub(super) fn flush(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
    ) -> Result<(), Blocked> {
        let mut synced = None;
        if let Some(ticket) = connection.ticket {
            let committed = match turn.world.tree.committed(ticket, false) {
                // Nothing is awaited of it meanwhile but that it ends.
                Ok(false) => return Err(CloseReason::Gone.into()),
                committed => committed.map(drop),
            };
            if committed.is_err() && connection.unsent.is_some() {
                return Err(self.lost(turn));
            }
            if let Some(Order::Store { job, .. }) = &mut connection.order
                && let Ticket::Stored { job: ended } = ticket
            {
                turn.world.tree.forget_stored(ended);
                *job = None;
            }
            connection.ticket = None;
            connection.progress = turn.world.now;
            self.waiting_count -= 1;
            synced = Some(committed);
        }
        if let Some(unsent) = &mut connection.unsent {
            let left = unsent.from as usize..unsent.to as usize;
            let block = self.replies.get(&unsent.block);
            let mut carrier = Carrier::new(turn.world.net, connection.socket, block, left);
            let sent = carrier.send(unsent.more);
            unsent.from = carrier.unsent.start as u32;
            if carrier.moved_bytes > 0 {
                connection.progress = turn.world.now;
            }
            sent.map_err(|error| Blocked::by(error, Interest::Output))?;
            if let Some(unsent) = connection.unsent.take() {
                self.replies.give(unsent.block);
            }
        }
        let Some(order) = connection.order.take() else {
            return Ok(());
        };
        let mut progress = Progress {
            consumed: 0,
            produced: 0,
            state: State::NeedInput,
        };
        match synced {
            // It was put off, and this is what came of it.
            Some(result) if matches!(order, Order::Sync { .. }) => {
                self.sync_failed = result.is_err();
                self.done(turn, connection, &mut progress, order, result);
            }
            // A thread could not store what came before.
            Some(result @ Err(_)) => {
                self.done(turn, connection, &mut progress, order, result);
            }
            _ => progress.state = State::Order(order),
        }
        self.resume(turn, connection, progress, synced.is_some())
    }

    /// Whether a connection's order is a sync that can be put off until the next commit, before its reply is sent.
    fn puts_off(&mut self, turn: &mut Turn<'_, '_>, connection: &Connection) -> bool {
        let Some(Order::Sync { file }) = &connection.order else {
            return false;
        };
        let is_put_off =
            self.has_threads && !self.sync_failed && turn.world.tree.sync_later(file).is_ok();
        self.has_put_off |= is_put_off;
        is_put_off
    }

    /// Has a connection wait for what a ticket is for. The replies of `progress` are kept meanwhile; where there is no place
    /// for them, all others wait, too.
    fn wait(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        ticket: Ticket,
        progress: &Progress,
    ) -> Result<(), Blocked> {
        if progress.produced > 0 {
            let has_place = self.has_threads && !self.replies.is_used_up();
            if !has_place || matches!(progress.state, State::Closed(_)) {
                return match turn.world.tree.committed(ticket, true) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(self.lost(turn)),
                };
            }
            self.keep(turn, connection, 0..progress.produced)?;
        }
        connection.ticket = Some(ticket);
        self.waiting_count += 1;
        Err(Blocked::Wait(Interest::None))
    }

    /// What replies tell of cannot be made durable: they are not sent.
    fn lost(&mut self, turn: &mut Turn<'_, '_>) -> Blocked {
        self.sync_failed = true;
        turn.protocol.break_promises();
        CloseReason::Disk.into()
    }

    /// Applies what the protocol made of a call: sends its bytes, which are in the transmit buffer, carries out its orders and
    /// what follows from them. Bytes that the socket does not take wait in a block.
    fn apply(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        progress: Progress,
    ) -> Result<(), Blocked> {
        self.resume(turn, connection, progress, false)
    }

    /// The same; `has_waited`: for the disk, so that its first order is carried out whatever has to be waited for.
    #[inline(never)]
    fn resume(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        mut progress: Progress,
        mut has_waited: bool,
    ) -> Result<(), Blocked> {
        loop {
            connection.order = progress.take_order();
            connection.answered |= progress.produced > 0;
            if self.puts_off(turn, connection) || progress.produced > 0 {
                match turn.protocol.commit(turn.world.tree, self.has_put_off) {
                    Ok(None) => {}
                    Ok(Some(ticket)) => self.wait(turn, connection, ticket, &progress)?,
                    Err(why) => {
                        let Some(order) = connection.order.take_if(|_| progress.produced == 0)
                        else {
                            return Err(self.lost(turn));
                        };
                        // The sync that was put off, and nothing else: it is told.
                        self.sync_failed = true;
                        self.done(turn, connection, &mut progress, order, Err(why));
                        continue;
                    }
                }
            }
            if self.has_threads
                && !core::mem::take(&mut has_waited)
                && let Some(Order::Send { file, offset, len }) = &connection.order
                && let Some(ticket) = turn.world.tree.read_ahead(file, *offset, *len)
            {
                self.wait(turn, connection, ticket, &progress)?;
            }
            let world = &mut *turn.world;
            let produced = 0..progress.produced;
            let mut carrier = Carrier::new(world.net, connection.socket, world.tx, produced);
            let result = carrier.carry_out(&mut connection.order, world.tree);
            let (unsent, interest) = (carrier.unsent, carrier.interest);
            if carrier.moved_bytes > 0 {
                self.moved_bytes += carrier.moved_bytes;
                connection.progress = world.now;
            }
            match result {
                Ok(result) => {
                    let Some(order) = connection.order.take() else {
                        break;
                    };
                    if matches!(order, Order::Sync { .. }) {
                        self.sync_failed = result.is_err();
                    }
                    progress.produced = 0;
                    self.done(turn, connection, &mut progress, order, result);
                }
                Err(error) => {
                    if connection.order.is_some() {
                        turn.protocol.interrupted();
                    }
                    if let Some(Order::Store { job: Some(job), .. }) = connection.order
                        && interest == Interest::None
                    {
                        connection.ticket = Some(Ticket::Stored { job });
                        self.waiting_count += 1;
                    }
                    let blocked = Blocked::by(error, interest);
                    if matches!(blocked, Blocked::Wait(_)) && !unsent.is_empty() {
                        self.keep(turn, connection, unsent)?;
                    }
                    return Err(blocked);
                }
            }
        }
        let State::Closed(why) = progress.state else {
            return Ok(());
        };
        let World { now, events, .. } = &mut *turn.world;
        events.tell_of(*now, connection.peer, event::DISCONNECTED, b"", why);
        Err(CloseReason::Gone.into())
    }

    /// Keeps bytes of the transmit buffer in a block, until the socket takes them.
    fn keep(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unsent: Range<usize>,
    ) -> Result<(), Blocked> {
        let block = self.block(
            turn,
            |streams| &mut streams.replies,
            |other| other.unsent.is_some(),
        );
        let block = block.ok_or(CloseReason::NoReplyBlock)?;
        let bytes = turn.world.tx.head(unsent.end).tail(unsent.start);
        copy(self.replies.get(&block), bytes);
        connection.unsent = Some(Unsent {
            block,
            from: 0,
            to: bytes.len() as u32,
            more: matches!(connection.order, Some(Order::Send { .. })),
        });
        Ok(())
    }

    /// Puts the bytes that came before back into the receive buffer; how many they are.
    fn restore(&mut self, rx: &mut [u8], connection: &mut Connection) -> usize {
        let len = connection.input_len as usize;
        let kept = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        copy(rx, kept.head(len));
        if let Some(block) = connection.input.take() {
            self.requests.give(block);
        }
        len
    }

    /// Keeps the bytes of the receive buffer that were not used: inline if they are few, else in a block.
    fn save(
        &mut self,
        turn: &mut Turn<'_, '_>,
        connection: &mut Connection,
        unused: Range<usize>,
    ) -> Result<(), Blocked> {
        connection.input_len = unused.len() as u32;
        if unused.len() > REQUEST_INLINE_BYTES {
            let block = self.block(
                turn,
                |streams| &mut streams.requests,
                |other| other.input.is_some(),
            );
            connection.input = Some(block.ok_or(CloseReason::NoRequestBlock)?);
        }
        let space = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        copy(space, turn.world.rx.head(unused.end).tail(unused.start));
        Ok(())
    }

    /// A block of a pool. Where none is left, the connection that holds one and made no progress for longest gives way.
    #[inline(never)]
    fn block(
        &mut self,
        turn: &mut Turn<'_, '_>,
        pool: fn(&mut Self) -> &mut Pool,
        holds: fn(&Connection) -> bool,
    ) -> Option<Block> {
        let block = pool(self).take();
        if block.is_some() {
            return block;
        }
        let stalled = self.most_overdue(turn.world.now, PRESSED_TIMEOUT, holds)?;
        self.close(turn, stalled, CloseReason::Gone);
        pool(self).take()
    }
}

/// Copies as many bytes as fit.
#[inline(never)]
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}
