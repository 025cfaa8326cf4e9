//! The loop: the only room that sees net, engine and files together.
//!
//! It moves bytes between sockets and engines through two buffers of its own, carries out orders, and keeps the memory plan: a
//! connection is a slot; a request that has not all arrived and a reply that was not taken each wait in a block of a pool.
//! While a connection's output waits, nothing more is read from it. Invariant: a slow or silent peer costs a slot, perhaps a
//! block for a while, and never anybody else's time.

#![forbid(unsafe_code)]

mod connection;
mod doors;
pub mod guests;
#[cfg(any(feature = "mdns", feature = "browse", feature = "resolve"))]
pub mod mdns;
mod pool;
pub mod stdio;
pub mod supervisor;
#[cfg(test)]
mod tests;

use crate::config::{
    CONNECTION_COUNT_MAX, NODE_IDLE, ORDER_TURN_BYTES, PAGE_BYTES, PRESSED_PATIENCE,
    REPLY_BLOCK_COUNT, REPLY_BYTES, REQUEST_BLOCK_COUNT, REQUEST_BYTES, REQUEST_INLINE_BYTES,
    SPLICE_BYTES_MIN, STORE_BYTES,
};
use crate::engine::programs::Programs;
use crate::engine::{Cx, Order, Progress, State, Stream as _};
use crate::event::{self, Events};
use crate::log;
use crate::mem::Ends as _;
use crate::mem::Slots;
use crate::net::{Interest, Net, NetError, NetResult, Ready, Socket, Token};
use crate::text::Text;
use crate::time::{Duration, Instant};
use crate::vfs::{Descriptor, FsResult, Handles, Pin};
use connection::{Connection, Owed};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use doors::{DOOR_COUNT_MAX, Door};
use pool::{Block, Pool};

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    /// The peer ended it, or it gave way to another, or it is told already.
    Gone,
    /// The file of an order is shorter than it was.
    Short,
    /// It sent more than a request may have.
    Large,
    /// What it changed cannot be made durable.
    Disk,
    /// There is no block for the beginning of its request.
    NoRequestBlock,
    /// There is no block for the rest of its reply.
    NoReplyBlock,
    /// Its request did not go on for too long.
    Unended,
    /// Its reply was not taken for too long.
    Untaken,
}

impl Trouble {
    /// What a person is told.
    const fn text(self) -> Text {
        match self {
            Self::Gone => Text::NOTHING,
            trouble => TOLD.plus(trouble as u8 - Self::Short as u8),
        }
    }
}

/// What a person is told of those from [`Trouble::Short`] on.
const TOLD: Text = Text::row(&[
    "a file became shorter while it was read",
    "a request does not fit",
    "the disk failed under what it changed; see the kernel's log",
    "too many requests wait for their end",
    "too many replies wait to be taken",
    "a request did not end",
    "it took no reply for a minute",
]);

/// Why a connection does not go on for now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Halt {
    /// It waits for this.
    Wait(Interest),
    /// It ends.
    End(Trouble),
}

impl From<Trouble> for Halt {
    fn from(trouble: Trouble) -> Self {
        Self::End(trouble)
    }
}

/// The loop and all it owns.
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Driver<'a> {
    net: &'a mut dyn Net,
    vfs: &'a mut (dyn Handles + 'static),
    now: Instant,
    rx: Slots<u8>,
    tx: Slots<u8>,
    connections: Slots<Option<Connection>>,
    /// When connections are looked through, because some hold what others may need.
    patrol_at: Instant,
    /// When files that were not used are let go.
    rest_at: Instant,
    /// When connections are accepted again.
    accept_at: Instant,
    /// When a person may be told again that clients wait.
    tell_full_at: Instant,
    /// Bytes that the connection whose turn it is has moved.
    moved_bytes: usize,
    free: Slots<u16>,
    requests: Pool,
    replies: Pool,
    doors: heapless::Vec<Door, DOOR_COUNT_MAX>,
    /// Whether this host sends files to sockets by itself.
    sends_files: bool,
    /// Whether it moves bytes from sockets to files by itself.
    pipes: bool,
    events: Events,
    programs: Programs,
}

impl<'a> Driver<'a> {
    /// A loop for at most `connection_count` connections.
    pub fn new(
        net: &'a mut dyn Net,
        vfs: &'a mut (dyn Handles + 'static),
        events: Events,
        programs: Programs,
        connection_count: usize,
        now: Instant,
    ) -> Self {
        let count = connection_count.min(CONNECTION_COUNT_MAX);
        Self {
            net,
            vfs,
            events,
            programs,
            doors: heapless::Vec::new(),
            connections: Slots::new(count),
            free: Slots::new(count),
            requests: Pool::new(REQUEST_BLOCK_COUNT, REQUEST_BYTES),
            replies: Pool::new(REPLY_BLOCK_COUNT, REPLY_BYTES),
            rx: Slots::zeroed(REQUEST_BYTES),
            tx: Slots::zeroed(REPLY_BYTES),
            now,
            patrol_at: Instant::NEVER,
            rest_at: Instant::NEVER,
            accept_at: Instant::NEVER,
            tell_full_at: now,
            moved_bytes: 0,
            sends_files: true,
            pipes: true,
        }
    }

    /// The programs behind the doors.
    pub const fn programs(&mut self) -> &mut Programs {
        &mut self.programs
    }

    /// Where a person is told.
    pub const fn events(&mut self) -> &mut Events {
        &mut self.events
    }

    /// Serves until the process is asked to stop.
    #[inline(never)] // Within its caller, every field would be further away, and every instruction longer.
    pub fn run(&mut self) {
        self.turns();
        // What may wait for the disk does not outlast the process otherwise.
        self.vfs.release_idle();
        self.events.tell(event::STOPPING, b"", Text::NOTHING);
    }

    /// Until it is asked to stop.
    fn turns(&mut self) {
        let mut ready = Ready::default();
        while !ready.stop {
            self.turn(&mut ready);
        }
    }

    /// Waits once and does what can be done then.
    fn turn(&mut self, ready: &mut Ready) {
        let until = self.patrol_at.min(self.rest_at).min(self.accept_at);
        let until = (until < Instant::NEVER).then_some(until);
        self.now = self.net.wait(self.now, until, ready);
        for token in &ready.tokens {
            let token = *token as usize;
            match self.doors.get(token).copied() {
                Some(door) if door.connects => self.accept(door),
                Some(door) => self.datagrams(door),
                None => self.serve(token.wrapping_sub(DOOR_COUNT_MAX)),
            }
        }
        if !ready.tokens.is_empty() {
            self.rest_at = self.rest_at.min(self.now.after(NODE_IDLE));
        }
        if self.patrol_at <= self.now {
            self.patrol();
        }
        if self.rest_at <= self.now {
            self.rest_at = Instant::NEVER;
            if self.vfs.release_idle() {
                self.rest_at = self.now.after(NODE_IDLE);
            }
        }
        if self.accept_at <= self.now {
            self.accept_again();
        }
    }

    /// The connection without progress for longest, of those for which that is longer than their patience.
    fn most_overdue(&self, patience: &dyn Fn(&Connection) -> Option<Duration>) -> Option<usize> {
        let (mut most, mut longest) = (None, Duration::default());
        for (at, place) in self.connections.iter().enumerate() {
            let Some(connection) = place else { continue };
            let silence = self.now.since(connection.progress);
            if silence >= longest && patience(connection).is_some_and(|most| silence >= most) {
                (most, longest) = (Some(at), silence);
            }
        }
        most
    }

    /// Does what a connection can do now.
    fn serve(&mut self, at: usize) {
        let Some(place) = self.connections.get_mut(at) else {
            return;
        };
        // Taken out of its place, so that all the rest can be used with it.
        let mut taken = place.take();
        let Some(connection) = &mut taken else {
            return;
        };
        self.moved_bytes = 0;
        let mut halt = match self.push(connection) {
            Ok(()) => self.converse(connection),
            Err(halt) => halt,
        };
        if let Halt::Wait(interest) = halt
            && self
                .net
                .watch(connection.socket, token(at), interest)
                .is_err()
        {
            halt = Halt::End(Trouble::Gone);
        }
        if connection.patience().is_some() {
            self.patrol_at = self.patrol_at.min(self.now.after(Duration::SECOND));
        }
        if let Some(place) = self.connections.get_mut(at) {
            *place = taken;
        }
        if let Halt::End(trouble) = halt {
            self.close(at, trouble);
        }
    }

    /// Takes input, and does whatever the engine makes of it.
    #[inline(never)] // As `run`.
    fn converse(&mut self, connection: &mut Connection) -> Halt {
        let mut have = self.restore(connection);
        let room = self.rx.tail_mut(have);
        let received = match self.net.recv(connection.socket, room) {
            Ok(0) => None,
            received => moved(received, self.now, &mut connection.progress),
        };
        let Some(received) = received else {
            return Halt::End(Trouble::Gone);
        };
        have += received;
        let mut used = 0;
        let halt = loop {
            let mut cx = Cx {
                now: self.now,
                peer: connection.peer,
                vfs: self.vfs,
                events: &mut self.events,
            };
            let input = self.rx.head(have).tail(used);
            let session = &mut connection.session;
            let progress = self.programs.advance(session, &mut cx, input, &mut self.tx);
            used += progress.consumed;
            self.moved_bytes += progress.produced;
            let state = progress.state;
            if let Err(halt) = self.take(connection, progress) {
                break halt;
            }
            if let Err(halt) = self.push(connection) {
                break halt;
            }
            if state == State::NeedInput {
                break Halt::Wait(Interest::Input);
            }
            // It is others' turn: after theirs it is found ready again.
            if self.moved_bytes >= ORDER_TURN_BYTES as usize {
                break Halt::Wait(Interest::Output);
            }
        };
        match halt {
            Halt::Wait(_) if used == 0 && have == REQUEST_BYTES => Halt::End(Trouble::Large),
            Halt::Wait(_) => self.save(connection, used, have).err().unwrap_or(halt),
            end => end,
        }
    }

    /// Takes what the engine made: bytes to send, an order, or the end.
    fn take(&mut self, connection: &mut Connection, progress: Progress) -> Result<(), Halt> {
        connection.order = progress.order;
        connection.answered |= progress.produced > 0;
        if progress.produced > 0 && self.vfs.commit_metadata().is_err() {
            // What the replies say is not so, and they are kept for whoever asks again.
            self.programs.break_promises();
            return Err(Trouble::Disk.into());
        }
        let sent = self.send(connection, progress.produced);
        if let State::Closed(why) = progress.state {
            self.events
                .tell_of(self.now, connection.peer, event::DISCONNECTED, b"", why);
            return Err(Trouble::Gone.into());
        }
        sent
    }

    /// Puts the bytes that came before back into the receive buffer; how many they are.
    fn restore(&mut self, connection: &mut Connection) -> usize {
        let len = connection.input_len.into();
        let kept = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        copy(&mut self.rx, kept.head(len));
        if let Some(block) = connection.input.take() {
            self.requests.give(block);
        }
        len
    }

    /// Keeps the bytes that were not used: inline if they are few, else in a block.
    fn save(&mut self, connection: &mut Connection, used: usize, have: usize) -> Result<(), Halt> {
        connection.input_len = (have - used) as u16;
        if have - used > REQUEST_INLINE_BYTES {
            let block = self.block(|driver| &mut driver.requests, &|other| {
                other.input.is_some()
            });
            connection.input = Some(block.ok_or(Trouble::NoRequestBlock)?);
        }
        let room = match &connection.input {
            Some(block) => self.requests.get(block),
            None => &mut connection.inline,
        };
        copy(room, self.rx.head(have).tail(used));
        Ok(())
    }

    /// Sends the first bytes of the transmit buffer. What the socket did not take waits in a block.
    fn send(&mut self, connection: &mut Connection, len: usize) -> Result<(), Halt> {
        if len == 0 {
            return Ok(());
        }
        let bytes = self.tx.head(len);
        let more = matches!(connection.order, Some(Order::Send { .. }));
        let sent = self.net.send(connection.socket, bytes, more);
        let sent = moved(sent, self.now, &mut connection.progress).ok_or(Trouble::Gone)?;
        if sent == len {
            return Ok(());
        }
        let block = self.block(|driver| &mut driver.replies, &|other| other.owed.is_some());
        let block = block.ok_or(Trouble::NoReplyBlock)?;
        let rest = self.tx.head(len).tail(sent);
        copy(self.replies.get(&block), rest);
        connection.owed = Some(Owed {
            block,
            from: 0,
            to: rest.len() as u32,
            more,
        });
        Err(Halt::Wait(Interest::Output))
    }

    /// Sends what is owed, then carries out orders until there are none.
    #[inline(never)]
    fn push(&mut self, connection: &mut Connection) -> Result<(), Halt> {
        if let Some(owed) = &mut connection.owed {
            let block = self.replies.get(&owed.block);
            let bytes = block.head(owed.to as usize).tail(owed.from as usize);
            let sent = self.net.send(connection.socket, bytes, owed.more);
            owed.from +=
                moved(sent, self.now, &mut connection.progress).ok_or(Trouble::Gone)? as u32;
            if owed.from < owed.to {
                return Err(Halt::Wait(Interest::Output));
            }
        }
        if let Some(owed) = connection.owed.take() {
            self.replies.give(owed.block);
        }
        while connection.order.is_some() {
            let result = self.carry_out(connection);
            let result = result.inspect_err(|_| self.programs.interrupted())?;
            let Some(order) = connection.order.take() else {
                break;
            };
            let mut cx = Cx {
                now: self.now,
                peer: connection.peer,
                vfs: self.vfs,
                events: &mut self.events,
            };
            let session = &mut connection.session;
            let progress = self
                .programs
                .done(session, &mut cx, order, result, &mut self.tx);
            self.take(connection, progress)?;
        }
        Ok(())
    }

    /// Moves an order's bytes until all are moved or the socket has to be waited for; what came of it.
    #[inline(never)]
    fn carry_out(&mut self, connection: &mut Connection) -> Result<FsResult<()>, Halt> {
        let (socket, progress) = (connection.socket, &mut connection.progress);
        loop {
            let (offset, left, interest, count) = match &mut connection.order {
                Some(Order::Sync { file }) => return Ok(self.vfs.sync(file)),
                Some(Order::Send { file, offset, len }) if *len > 0 => {
                    let sent = self.send_from(socket, file, *offset, *len);
                    if sent == Ok(0) {
                        return Err(Trouble::Short.into());
                    }
                    (offset, len, Interest::Output, sent)
                }
                Some(Order::Store { file, offset, len }) if *len > 0 => {
                    let mut stored = Ok(());
                    let received = self.store_from(socket, file, *offset, *len, &mut stored);
                    if received == Ok(0) {
                        return Err(Trouble::Gone.into());
                    }
                    if stored.is_err() {
                        *len -= received.unwrap_or(0) as u32;
                        return Ok(stored);
                    }
                    (offset, len, Interest::Input, received)
                }
                _ => return Ok(Ok(())),
            };
            if count == Err(NetError::Unsupported) {
                // There is another way, from now on.
                (self.sends_files, self.pipes) = match interest {
                    Interest::Input => (self.sends_files, false),
                    _ => (false, self.pipes),
                };
                continue;
            }
            let count = moved(count, self.now, progress).ok_or(Trouble::Gone)?;
            if count == 0 {
                return Err(Halt::Wait(interest));
            }
            *offset += count as u64;
            *left -= count as u32;
            self.moved_bytes += count;
        }
    }

    /// Receives bytes and stores them in a file: how many were received, and whether they were stored.
    fn store_from(
        &mut self,
        socket: Socket,
        file: &Pin,
        offset: u64,
        left: u32,
        stored: &mut FsResult<()>,
    ) -> NetResult<usize> {
        if self.pipes && left >= SPLICE_BYTES_MIN && self.vfs.extent(file, 0, 0).is_some() {
            let (count, pipe) = self.net.recv_pipe(socket, left)?;
            *stored = self.vfs.write_from(file, offset, pipe.0, count);
            return Ok(count);
        }
        // Up to where a page of the file begins.
        let page = STORE_BYTES - (offset as usize & (PAGE_BYTES - 1));
        let room = self.tx.head_mut(page.min(left as usize));
        let count = self.net.recv(socket, room)?;
        let bytes = self.tx.head(count);
        *stored = self.vfs.write(file, offset, bytes);
        Ok(count)
    }

    /// Sends bytes of a file, perhaps not all; 0: the file is at its end.
    fn send_from(&mut self, socket: Socket, file: &Pin, from: u64, left: u32) -> NetResult<usize> {
        if self.sends_files
            && let Some(extent) = self.vfs.extent(file, from, left)
        {
            let from = Descriptor(extent.file);
            return self.net.send_file(socket, from, extent.offset, extent.len);
        }
        let room = self.tx.head_mut(REPLY_BYTES.min(left as usize));
        let got = self.vfs.read(file, from, room);
        match self.tx.head(got.unwrap_or(0) as usize) {
            [] => Ok(0),
            bytes => self.net.send(socket, bytes, bytes.len() < left as usize),
        }
    }

    /// A block of a pool. Where none is left, whoever of those that hold one made no progress for longest gives way.
    #[inline(never)]
    fn block(
        &mut self,
        pool: fn(&mut Self) -> &mut Pool,
        holds: &dyn Fn(&Connection) -> bool,
    ) -> Option<Block> {
        let block = pool(self).take();
        if block.is_some() {
            return block;
        }
        let pressed = |other: &Connection| holds(other).then_some(PRESSED_PATIENCE);
        let stalled = self.most_overdue(&pressed)?;
        self.close(stalled, Trouble::Gone);
        pool(self).take()
    }

    /// Closes the connections whose patience is at its end. Called every second while any has one.
    fn patrol(&mut self) {
        self.patrol_at = Instant::NEVER;
        for at in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get(at) else {
                continue;
            };
            let Some((patience, trouble)) = connection.patience() else {
                continue;
            };
            if self.now.since(connection.progress) >= patience {
                self.close(at, trouble);
            } else {
                self.patrol_at = self.now.after(Duration::SECOND);
            }
        }
    }

    /// Closes a connection, tells why if a person may want to know, and takes back all that it had.
    fn close(&mut self, at: usize, trouble: Trouble) {
        let Some(place) = self.connections.get_mut(at) else {
            return;
        };
        let Some(connection) = place else { return };
        log::debug!("connection {=usize} closed", at);
        if trouble != Trouble::Gone {
            let (peer, why) = (connection.peer, trouble.text());
            self.events
                .tell_of(self.now, peer, event::DISCONNECTED, b"", why);
        }
        self.net.close(connection.socket);
        if let Some(block) = connection.input.take() {
            self.requests.give(block);
        }
        if let Some(owed) = connection.owed.take() {
            self.replies.give(owed.block);
        }
        if let Some(order) = connection.order.take() {
            order.abandon(self.vfs);
        }
        self.programs.abandon(&mut connection.session, self.vfs);
        *place = None;
        self.free.push(at as u16);
        // There is a place again, and a descriptor: whoever waits for one need not wait longer.
        if self.accept_at < Instant::NEVER {
            self.accept_again();
        }
    }
}

/// What the socket took or gave, which is progress; 0 when it has to wait.
#[inline(never)]
fn moved(outcome: NetResult<usize>, now: Instant, progress: &mut Instant) -> Option<usize> {
    match outcome {
        Ok(_) => *progress = now,
        Err(NetError::WouldBlock | NetError::Full) => {}
        Err(_) => return None,
    }
    Some(outcome.unwrap_or(0))
}

/// Whom a socket's address belongs to: a client of IPv4 is one, also at a socket for both families.
#[inline(never)]
const fn address(peer: SocketAddr) -> Ipv6Addr {
    match peer.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Copies as much as there is room for.
#[inline(never)]
fn copy(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

const fn token(at: usize) -> Token {
    (at + DOOR_COUNT_MAX) as Token
}
