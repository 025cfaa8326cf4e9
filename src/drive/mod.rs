//! The loop: the only room that sees net, engine and files together.
//!
//! It moves bytes between sockets and engines through two buffers of its own, carries out orders, and keeps the memory plan: a
//! connection is a slot; a request that has not all arrived and a reply that was not taken each wait in a block of a pool.
//! While a connection's output waits, nothing more is read from it. Invariant: a slow or silent peer costs a slot, perhaps a
//! block for a while, and never anybody else's time.

#![forbid(unsafe_code)]

mod connection;
mod pool;
pub mod supervisor;
#[cfg(test)]
mod tests;

use crate::config::{
    ACCEPT_PAUSE, CONNECTION_COUNT_MAX, DATAGRAM_BYTES, IDLE_PATIENCE, NODE_IDLE, ORDER_TURN_BYTES,
    PRESSED_PATIENCE, REPLY_BLOCK_COUNT, REPLY_BYTES, REPLY_PATIENCE, REQUEST_BLOCK_COUNT,
    REQUEST_BYTES, REQUEST_PATIENCE, SILENT_PATIENCE,
};
use crate::engine::rpc::{Programs, Service, Session};
use crate::engine::{Cx, Datagrams as _, Order, State, Stream as _};
use crate::event::{self, Events};
use crate::log;
use crate::net::{Interest, Net, NetError, NetResult, Ready, Socket, Token};
use crate::time::{Duration, Instant};
use crate::vfs::Vfs;
use alloc::vec::Vec;
use connection::{Connection, Input, Owed};
use core::net::SocketAddr;
use pool::Pool;

/// Sockets that are not connections. Their tokens come first.
const DOOR_COUNT_MAX: usize = 8;
/// Connections or datagrams taken from one socket in one turn.
const DOOR_TURN: usize = 64;

/// A socket that clients come to.
#[derive(Clone, Copy, Debug)]
enum Door {
    Stream(Socket, Service),
    Datagrams(Socket, Service),
}

/// What is the matter with a connection.
enum Trouble {
    /// The peer ended it, or it broke: nothing to tell.
    Gone,
    /// We end it, and a person may want to know why.
    Broken(&'static str),
}

/// How far output came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Push {
    /// All of it is with the socket.
    Done,
    /// The socket is full.
    Blocked,
    /// It is others' turn.
    Yield,
}

/// The loop and all it owns.
pub struct Driver<'a> {
    net: &'a mut dyn Net,
    vfs: &'a mut dyn Vfs,
    events: Events,
    programs: Programs,
    doors: heapless::Vec<Door, DOOR_COUNT_MAX>,
    connections: Vec<Option<Connection<Session>>>,
    free: Vec<u16>,
    requests: Pool,
    replies: Pool,
    rx: Vec<u8>,
    tx: Vec<u8>,
    /// Connections that were interrupted for others' sake.
    again: Vec<u16>,
    now: Instant,
    /// Whether some connection holds what others may need: then they are looked through every second.
    patrol_at: Option<Instant>,
    /// When files that were not used are let go.
    rest_at: Option<Instant>,
    /// When connections are accepted again.
    accept_at: Option<Instant>,
    /// Whether this host sends files to sockets by itself.
    sends_files: bool,
}

impl<'a> Driver<'a> {
    /// A loop for at most `connection_count` connections.
    pub fn new(
        net: &'a mut dyn Net,
        vfs: &'a mut dyn Vfs,
        events: Events,
        programs: Programs,
        connection_count: usize,
        now: Instant,
    ) -> Self {
        let count = connection_count.min(CONNECTION_COUNT_MAX);
        let buffer = |bytes| {
            let mut buffer = Vec::with_capacity(bytes);
            buffer.resize(bytes, 0);
            buffer
        };
        Self {
            net,
            vfs,
            events,
            programs,
            doors: heapless::Vec::new(),
            connections: Vec::with_capacity(count),
            free: Vec::with_capacity(count),
            requests: Pool::new(REQUEST_BLOCK_COUNT, REQUEST_BYTES),
            replies: Pool::new(REPLY_BLOCK_COUNT, REPLY_BYTES),
            rx: buffer(REQUEST_BYTES),
            tx: buffer(REPLY_BYTES),
            again: Vec::with_capacity(count),
            now,
            patrol_at: None,
            rest_at: None,
            accept_at: None,
            sends_files: true,
        }
    }

    /// Listens for connections to `service`; where that is.
    pub fn listen(&mut self, at: SocketAddr, service: Service) -> NetResult<SocketAddr> {
        let socket = self.net.listen(at, self.doors.len() as Token)?;
        self.open(Door::Stream(socket, service), socket)
    }

    /// Takes datagrams for `service`; where that is.
    pub fn bind(&mut self, at: SocketAddr, service: Service) -> NetResult<SocketAddr> {
        let socket = self.net.bind(at, self.doors.len() as Token)?;
        self.open(Door::Datagrams(socket, service), socket)
    }

    fn open(&mut self, door: Door, socket: Socket) -> NetResult<SocketAddr> {
        self.doors.push(door).map_err(|_| NetError::Full)?;
        self.net.local(socket)
    }

    /// Closes the doors that were opened last, so that `count` remain.
    pub fn close_doors(&mut self, count: usize) {
        while self.doors.len() > count {
            if let Some(Door::Stream(socket, _) | Door::Datagrams(socket, _)) = self.doors.pop() {
                self.net.close(socket);
            }
        }
    }

    /// How many doors are open.
    pub fn door_count(&self) -> usize {
        self.doors.len()
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
    pub fn run(&mut self) {
        let mut ready = Ready::default();
        while !ready.stop {
            self.turn(&mut ready);
        }
        self.events.tell(event::STOPPING, b"", "");
    }

    /// Waits once and does what can be done then.
    fn turn(&mut self, ready: &mut Ready) {
        let until = if self.again.is_empty() {
            [self.patrol_at, self.rest_at, self.accept_at]
                .into_iter()
                .flatten()
                .min()
        } else {
            Some(self.now)
        };
        self.now = self.net.wait(self.now, until, ready);
        // Those that were interrupted come after those that are ready now.
        let interrupted = self.again.len();
        for token in &ready.tokens {
            match self.doors.get(*token as usize).copied() {
                Some(Door::Stream(socket, service)) => self.accept(socket, service),
                Some(Door::Datagrams(socket, service)) => self.datagrams(socket, service),
                None => self.serve((*token as usize).saturating_sub(DOOR_COUNT_MAX), true),
            }
        }
        for _ in 0..interrupted.min(self.again.len()) {
            let at = self.again.remove(0);
            self.serve(at.into(), false);
        }
        if !ready.tokens.is_empty() && self.rest_at.is_none() {
            self.rest_at = Some(self.now.after(NODE_IDLE));
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let (patrol, rest, accept) = (due(self.patrol_at), due(self.rest_at), due(self.accept_at));
        if patrol {
            self.patrol();
        }
        if rest {
            self.rest_at = self.vfs.rest().then(|| self.now.after(NODE_IDLE));
        }
        if accept {
            self.accept_at = None;
            self.watch_doors(Interest::Input);
        }
    }

    fn watch_doors(&mut self, interest: Interest) {
        for (token, door) in self.doors.iter().enumerate() {
            if let Door::Stream(socket, _) = door {
                let _ = self.net.watch(*socket, token as Token, interest);
            }
        }
    }

    fn accept(&mut self, listener: Socket, service: Service) {
        for _ in 0..DOOR_TURN {
            // A place first: a connection that was accepted must be kept.
            if self.free.is_empty()
                && self.connections.len() == self.connections.capacity()
                && !self.make_place()
            {
                return;
            }
            let (socket, peer) = match self.net.accept(listener) {
                Ok(accepted) => accepted,
                Err(NetError::Full) => {
                    if self.make_place() {
                        continue;
                    }
                    return;
                }
                Err(NetError::Gone) => continue, // It hung up while it waited.
                Err(_) => return,
            };
            let connection = Connection::new(
                socket,
                peer.ip().to_canonical(),
                Session::new(service),
                self.now,
            );
            let at = match self.free.pop() {
                Some(at) => at,
                None => {
                    self.connections.push(None);
                    (self.connections.len() - 1) as u16
                }
            };
            if self.net.watch(socket, token(at), Interest::Input).is_err() {
                self.net.close(socket);
                self.free.push(at);
                continue;
            }
            log::debug!("connection {=u16} accepted", at);
            if let Some(slot) = self.connections.get_mut(usize::from(at)) {
                *slot = Some(connection);
            }
        }
    }

    /// Closes the connection that was silent for longest, if for long enough; else accepts none for a while.
    fn make_place(&mut self) -> bool {
        let silent = |connection: &Connection<Session>| {
            let patience = if connection.answered {
                IDLE_PATIENCE
            } else {
                SILENT_PATIENCE
            };
            let silence = self.now.since(connection.progress);
            (silence >= patience).then_some((connection.answered, core::cmp::Reverse(silence)))
        };
        let places = self.connections.iter().enumerate();
        let longest = places
            .filter_map(|(at, place)| Some((silent(place.as_ref()?)?, at)))
            .min();
        if let Some((_, at)) = longest {
            self.close(at);
            return true;
        }
        self.events.tell(event::FULL, b"", "");
        self.accept_at = Some(self.now.after(ACCEPT_PAUSE));
        self.watch_doors(Interest::None);
        false
    }

    fn datagrams(&mut self, socket: Socket, service: Service) {
        for _ in 0..DOOR_TURN {
            let Ok((len, from)) = self.net.recv_from(socket, &mut self.rx) else {
                return;
            };
            let mut cx = Cx {
                now: self.now,
                peer: from.ip().to_canonical(),
                vfs: self.vfs,
                events: &mut self.events,
            };
            let (packet, room) = (self.rx.get(..len), self.tx.get_mut(..DATAGRAM_BYTES));
            let answer = self.programs.answer(
                service,
                &mut cx,
                packet.unwrap_or_default(),
                room.unwrap_or_default(),
            );
            if let Some(reply) = answer.and_then(|len| self.tx.get(..len)) {
                let _ = self.net.send_to(socket, from, reply);
            }
        }
    }

    /// Does what connection `at` can do now. `ready`: its socket is ready for what was waited for.
    fn serve(&mut self, at: usize, ready: bool) {
        let Some(mut connection) = self.connections.get_mut(at).and_then(Option::take) else {
            return;
        };
        let outcome = self.converse(at as u16, &mut connection, ready);
        let interest = match outcome {
            Ok(Push::Done) => Interest::Input,
            Ok(Push::Blocked) => Interest::Output,
            Ok(Push::Yield) => {
                self.again.push(at as u16);
                Interest::None
            }
            Err(Trouble::Gone) => return self.bury(at, connection),
            Err(Trouble::Broken(why)) => {
                self.events
                    .tell_of(self.now, connection.peer, event::DISCONNECTED, b"", why);
                return self.bury(at, connection);
            }
        };
        if self
            .net
            .watch(connection.socket, token(at as u16), interest)
            .is_err()
        {
            return self.bury(at, connection);
        }
        if connection.holds() && self.patrol_at.is_none() {
            self.patrol_at = Some(self.now.after(Duration::SECOND));
        }
        if let Some(slot) = self.connections.get_mut(at) {
            *slot = Some(connection);
        }
    }

    /// Output that is owed, then input, then whatever the engine makes of it.
    fn converse(
        &mut self,
        at: u16,
        connection: &mut Connection<Session>,
        ready: bool,
    ) -> Result<Push, Trouble> {
        match self.push(at, connection)? {
            Push::Done => {}
            pushed => return Ok(pushed),
        }
        let mut have = self.restore(connection);
        if ready {
            match self.net.recv(
                connection.socket,
                self.rx.get_mut(have..).unwrap_or_default(),
            ) {
                Ok(0) | Err(NetError::Gone) => return Err(Trouble::Gone),
                Ok(more) => {
                    have += more;
                    connection.progress = self.now;
                }
                Err(_) => {}
            }
        }
        let mut used = 0;
        loop {
            let mut cx = Cx {
                now: self.now,
                peer: connection.peer,
                vfs: self.vfs,
                events: &mut self.events,
            };
            let input = self.rx.get(used..have).unwrap_or_default();
            let progress =
                self.programs
                    .advance(&mut connection.session, &mut cx, input, &mut self.tx);
            used += progress.consumed;
            connection.order = progress.order;
            connection.moved = 0;
            connection.answered |= progress.produced > 0;
            let mut pushed = self.send(at, connection, progress.produced)?;
            if pushed == Push::Done {
                pushed = self.push(at, connection)?;
            }
            if let State::Closed(why) = progress.state {
                return Err(Trouble::Broken(why));
            }
            if pushed != Push::Done || progress.state == State::NeedInput {
                if used == 0 && have == REQUEST_BYTES {
                    return Err(Trouble::Broken("a request does not fit"));
                }
                self.save(at, connection, used, have)?;
                return Ok(pushed);
            }
        }
    }

    /// Puts the bytes that came before back into the receive buffer; how many they are.
    fn restore(&mut self, connection: &mut Connection<Session>) -> usize {
        let input = core::mem::replace(&mut connection.input, Input::Inline(0));
        let (bytes, block): (&[u8], _) = match input {
            Input::Inline(len) => (
                connection.inline.get(..len.into()).unwrap_or_default(),
                None,
            ),
            Input::Block(block, len) => (
                self.requests
                    .get(block)
                    .get(..len.into())
                    .unwrap_or_default(),
                Some(block),
            ),
        };
        let len = bytes.len();
        if let Some(room) = self.rx.get_mut(..len) {
            room.copy_from_slice(bytes);
        }
        if let Some(block) = block {
            self.requests.give(block);
        }
        len
    }

    /// Keeps the bytes that were not used: inline if they are few, else in a block.
    fn save(
        &mut self,
        at: u16,
        connection: &mut Connection<Session>,
        used: usize,
        have: usize,
    ) -> Result<(), Trouble> {
        let len = have - used;
        if let Some(room) = connection.inline.get_mut(..len) {
            room.copy_from_slice(self.rx.get(used..have).unwrap_or_default());
            connection.input = Input::Inline(len as u8);
            return Ok(());
        }
        let block = match self.requests.take(at) {
            Some(block) => Some(block),
            None => self
                .press(|driver| &driver.requests)
                .and_then(|()| self.requests.take(at)),
        };
        let block = block.ok_or(Trouble::Broken(
            "too many requests wait for their end; try again",
        ))?;
        let (room, bytes) = (
            self.requests.get(block).get_mut(..len),
            self.rx.get(used..have),
        );
        if let (Some(room), Some(bytes)) = (room, bytes) {
            room.copy_from_slice(bytes);
        }
        connection.input = Input::Block(block, len as u16);
        Ok(())
    }

    /// Sends the first `len` bytes of the transmit buffer. What the socket does not take waits in a block.
    fn send(
        &mut self,
        at: u16,
        connection: &mut Connection<Session>,
        len: usize,
    ) -> Result<Push, Trouble> {
        if len == 0 {
            return Ok(Push::Done);
        }
        let more = connection.order.is_some();
        let sent = match self.net.send(
            connection.socket,
            self.tx.get(..len).unwrap_or_default(),
            more,
        ) {
            Ok(sent) => sent,
            Err(NetError::WouldBlock | NetError::Full) => 0,
            Err(_) => return Err(Trouble::Gone),
        };
        if sent > 0 {
            connection.progress = self.now;
        }
        if sent == len {
            return Ok(Push::Done);
        }
        let block = match self.replies.take(at) {
            Some(block) => Some(block),
            None => self
                .press(|driver| &driver.replies)
                .and_then(|()| self.replies.take(at)),
        };
        let block = block.ok_or(Trouble::Broken(
            "too many replies wait to be taken; try again",
        ))?;
        let rest = self.tx.get(sent..len).unwrap_or_default();
        if let Some(room) = self.replies.get(block).get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        connection.owed = Some(Owed {
            block,
            from: 0,
            to: rest.len() as u32,
            more,
        });
        Ok(Push::Blocked)
    }

    /// Sends what is owed, then carries out the order.
    fn push(&mut self, at: u16, connection: &mut Connection<Session>) -> Result<Push, Trouble> {
        while let Some(owed) = &mut connection.owed {
            let bytes = self
                .replies
                .get(owed.block)
                .get(owed.from as usize..owed.to as usize)
                .unwrap_or_default();
            match self.net.send(connection.socket, bytes, owed.more) {
                Ok(sent) => owed.from += sent as u32,
                Err(NetError::WouldBlock | NetError::Full) => return Ok(Push::Blocked),
                Err(_) => return Err(Trouble::Gone),
            }
            connection.progress = self.now;
            if owed.from >= owed.to {
                self.replies.give(owed.block);
                connection.owed = None;
            }
        }
        if connection.order.is_none() {
            return Ok(Push::Done);
        }
        match self.carry_out(connection)? {
            Push::Done => {}
            pushed => return Ok(pushed),
        }
        let Some(Order::Send { file, len, .. }) = connection.order.take() else {
            return Ok(Push::Done);
        };
        self.vfs.unpin(file);
        let mut cx = Cx {
            now: self.now,
            peer: connection.peer,
            vfs: self.vfs,
            events: &mut self.events,
        };
        let progress = self.programs.done(
            &mut connection.session,
            &mut cx,
            Ok(len.into()),
            &mut self.tx,
        );
        self.send(at, connection, progress.produced)
    }

    /// Moves bytes from the file to the socket until all are sent, the socket is full, or it is others' turn.
    fn carry_out(&mut self, connection: &mut Connection<Session>) -> Result<Push, Trouble> {
        const SHORT: Trouble =
            Trouble::Broken("a file could not be read to the end that was promised");
        let Some(Order::Send { file, offset, len }) = &connection.order else {
            return Ok(Push::Done);
        };
        let turn_end = connection.moved.saturating_add(ORDER_TURN_BYTES).min(*len);
        while connection.moved < turn_end {
            let (from, left) = (
                offset.saturating_add(connection.moved.into()),
                turn_end - connection.moved,
            );
            let sent = match self.vfs.descriptor(file).filter(|_| self.sends_files) {
                Some(descriptor) => self
                    .net
                    .send_file(connection.socket, descriptor, from, left),
                None => {
                    let room = self
                        .tx
                        .get_mut(..REPLY_BYTES.min(left as usize))
                        .unwrap_or_default();
                    let got = self.vfs.read(file.node(), from, room).map_err(|_| SHORT)?;
                    let bytes = self
                        .tx
                        .get(..got)
                        .filter(|bytes| !bytes.is_empty())
                        .ok_or(SHORT)?;
                    self.net.send(connection.socket, bytes, got < left as usize)
                }
            };
            match sent {
                Ok(0) => return Err(SHORT),
                Ok(sent) => {
                    connection.moved += sent as u32;
                    connection.progress = self.now;
                }
                Err(NetError::Unsupported) => self.sends_files = false,
                Err(NetError::WouldBlock | NetError::Full) => return Ok(Push::Blocked),
                Err(_) => return Err(Trouble::Gone),
            }
        }
        Ok(if connection.moved < *len {
            Push::Yield
        } else {
            Push::Done
        })
    }

    /// Closes the connection that has held a block of a pool for longest without progress, if that is long.
    fn press(&mut self, pool: impl Fn(&Self) -> &Pool) -> Option<()> {
        let stalled = |at: u16| {
            let connection = self.connections.get(usize::from(at))?.as_ref()?;
            Some((self.now.since(connection.progress), at))
        };
        let (silence, at) = pool(self).holders().filter_map(stalled).max()?;
        (silence >= PRESSED_PATIENCE).then(|| self.close(at.into()))
    }

    /// Closes the connections whose patience is at its end. Called every second while any holds something.
    fn patrol(&mut self) {
        let mut holding = false;
        for at in 0..self.connections.len() {
            let Some(connection) = self.connections.get(at).and_then(Option::as_ref) else {
                continue;
            };
            if !connection.holds() {
                continue;
            }
            let patience = if connection.blocked() {
                REPLY_PATIENCE
            } else {
                REQUEST_PATIENCE
            };
            if self.now.since(connection.progress) < patience {
                holding = true;
                continue;
            }
            let why = if connection.blocked() {
                "it took no reply for a minute"
            } else {
                "a request did not end"
            };
            let peer = connection.peer;
            self.events
                .tell_of(self.now, peer, event::DISCONNECTED, b"", why);
            self.close(at);
        }
        self.patrol_at = holding.then(|| self.now.after(Duration::SECOND));
    }

    fn close(&mut self, at: usize) {
        if let Some(connection) = self.connections.get_mut(at).and_then(Option::take) {
            self.bury(at, connection);
        }
    }

    /// Gives back all that a connection had.
    fn bury(&mut self, at: usize, connection: Connection<Session>) {
        log::debug!("connection {=usize} closed", at);
        self.net.close(connection.socket);
        if let Input::Block(block, _) = connection.input {
            self.requests.give(block);
        }
        if let Some(owed) = connection.owed {
            self.replies.give(owed.block);
        }
        if let Some(Order::Send { file, .. }) = connection.order {
            self.vfs.unpin(file);
        }
        self.again.retain(|other| usize::from(*other) != at);
        self.free.push(at as u16);
    }
}

const fn token(at: u16) -> Token {
    at as Token + DOOR_COUNT_MAX as Token
}
