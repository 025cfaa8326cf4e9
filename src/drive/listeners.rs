//! Listeners: which connections are accepted, and which give way when there is no place left.

use super::connection::{CloseReason, Connection};
use super::streams::{CONNECTION_TOKEN, Streams, address};
use super::task::World;
use super::turn::Turn;
use crate::config::{
    ACCEPT_PAUSE, CONNECTION_COUNT_MAX, IDLE_TIMEOUT, REPLY_BYTES, SILENT_TIMEOUT,
};
use crate::engine::share;
use crate::event;
use crate::log;
use crate::net::{Interest, NetError, NetResult, Socket};
use crate::text::Text;
use crate::time::{Duration, Instant};
use core::net::SocketAddr;

/// Connections accepted from one listener in one turn.
const ACCEPT_COUNT: usize = 64;
/// How long a person is not told again that clients wait.
const FULL_SILENCE: Duration = Duration::from_secs(60);

/// The connections of one address: how many, and the place of the one without progress for longest.
type Share = (usize, usize);

/// Of so many connections of the address that has most, one more goes.
const SHARE_CUT: usize = 8;
/// Entries of the table of shares, as a power of two; a few more lie behind them.
const SHARE_BITS: u32 = 14;

const _: () = assert!(4 << SHARE_BITS <= REPLY_BYTES && CONNECTION_COUNT_MAX < 1 << SHARE_BITS);

/// A socket that peers connect to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    socket: Socket,
    /// Its token, and its number for the protocol.
    local: u32,
}

impl Streams {
    /// Listens at `at`; where that is. `local`, below [`CONNECTION_TOKEN`], is the listener's number for the protocol.
    ///
    /// # Errors
    /// As [`crate::net::Streams::listen`]; `Full` when there are too many.
    pub fn listen(
        &mut self,
        world: &mut World<'_>,
        at: SocketAddr,
        local: u32,
    ) -> NetResult<SocketAddr> {
        let socket = world.net.listen(at, world.token(local))?;
        let listener = Listener { socket, local };
        self.listeners.push(listener).map_err(|_| NetError::Full)?;
        world.net.local(socket)
    }

    /// Closes the listener that was opened last.
    pub fn close_listener(&mut self, world: &mut World<'_>) {
        if let Some(listener) = self.listeners.pop() {
            world.net.close(listener.socket);
        }
    }

    fn watch_listeners(&mut self, world: &mut World<'_>, interest: Interest) {
        for listener in &self.listeners {
            let token = world.token(listener.local);
            let _ = world.net.watch(listener.socket, token, interest);
        }
    }

    /// Accepts the connections that wait at a listener.
    pub(super) fn accept(&mut self, turn: &mut Turn<'_, '_>, local: u32) {
        let mut listeners = self.listeners.iter();
        let Some(listener) = listeners.find(|listener| listener.local == local).copied() else {
            return;
        };
        // A place first: a connection that was accepted must be kept, unless others have more right to their places.
        let mut largest = None;
        if self.is_full() && !self.drop_silent(turn) {
            largest = self.largest_share(turn.world);
            if largest.is_none() {
                return self.pause(turn.world);
            }
        }
        for count in 0..ACCEPT_COUNT {
            let is_full = self.is_full();
            if is_full && largest.is_none() {
                return;
            }
            match turn.world.net.accept(listener.socket) {
                Ok((socket, peer)) => {
                    if is_full
                        && let Some(largest) = largest.take_if(|it| self.gives_way(*it, peer))
                    {
                        self.cut_share(turn, largest);
                    }
                    self.admit(turn, socket, peer, local);
                }
                // At least one waits, perhaps no more: a place is made for one.
                Err(NetError::Full) if count == 0 => {
                    if !self.drop_silent(turn) {
                        return self.pause(turn.world);
                    }
                }
                Err(NetError::Gone) => {} // It hung up while it waited.
                Err(_) => return,
            }
        }
    }

    /// Whether all places are taken.
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.connections.is_full()
    }

    fn admit(&mut self, turn: &mut Turn<'_, '_>, socket: Socket, peer: SocketAddr, local: u32) {
        let free = self.free.pop().map(usize::from);
        let Some(at) = free.or_else(|| self.connections.push(None)) else {
            return turn.world.net.close(socket);
        };
        let world = &mut *turn.world;
        log::debug!("connection {=usize} accepted", at);
        if let Some(place) = self.connections.get_mut(at) {
            *place = Some(Connection::new(at, socket, address(peer), world.now));
        }
        turn.protocol.open(at, local);
        let token = world.token(CONNECTION_TOKEN + at as u32);
        if world.net.watch(socket, token, Interest::Input).is_err() {
            self.close(turn, at, CloseReason::Gone);
        }
    }

    /// Closes a connection that was silent for too long, one that was never answered before the others; whether there is one.
    fn drop_silent(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let now = turn.world.now;
        let silent = self
            .most_overdue(now, SILENT_TIMEOUT, |other| !other.answered)
            .or_else(|| self.most_overdue(now, IDLE_TIMEOUT, |_| true));
        if let Some(at) = silent {
            self.close(turn, at, CloseReason::Gone);
        }
        silent.is_some()
    }

    /// Accepts no connections for a while.
    fn pause(&mut self, world: &mut World<'_>) {
        let now = world.now;
        if self.tell_full_at <= now {
            self.tell_full_at = now.after(FULL_SILENCE);
            world.events.tell(event::FULL, b"", Text::NOTHING);
        }
        self.accept_at = now.after(ACCEPT_PAUSE);
        self.watch_listeners(world, Interest::None);
    }

    /// Of the address that has most connections, if it has several: how many, and which made no progress for longest.
    #[inline(never)]
    fn largest_share(&self, world: &mut World<'_>) -> Option<Share> {
        let now = world.now;
        // A hash table in the buffer, which is free now. An address that finds no entry is not counted this time; the next time
        // others are near it.
        let (entries, _) = world.tx.as_chunks_mut();
        entries.fill([0; 4]);
        let seed = now.since(Instant::default()).as_ms();
        let factor = (seed << 1 | 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut largest = 0;
        for at in 0..self.connections.len() {
            let (share, silence) = self.share(at, now);
            let mut place = (share.wrapping_mul(factor) >> (u64::BITS - SHARE_BITS)) as usize;
            while let Some(entry) = entries.get_mut(place) {
                place += 1;
                let (count, mut oldest) = unpack(u32::from_ne_bytes(*entry));
                let (other, longest) = self.share(oldest, now);
                if count == 0 || other == share {
                    if count == 0 || silence > longest {
                        oldest = at;
                    }
                    let counted = (count as u32 + 1) << 16 | oldest as u32;
                    *entry = counted.to_ne_bytes();
                    largest = largest.max(counted);
                    break;
                }
            }
        }
        Some(unpack(largest)).filter(|(count, _)| *count > 1)
    }

    /// Whether the address that has most connections gives way to `peer`: it has more also after that.
    #[inline(never)]
    fn gives_way(&self, (count, _): Share, peer: SocketAddr) -> bool {
        let share = share(address(peer));
        let connections = self.connections.iter().flatten();
        let same = connections.filter(|other| other.share() == share);
        same.count() + 1 < count
    }

    /// Closes the connection of the largest share that made no progress for longest, and of many some more, so that a flood does
    /// not cost a look at all connections for each.
    #[inline(never)]
    fn cut_share(&mut self, turn: &mut Turn<'_, '_>, (count, oldest): Share) {
        let now = turn.world.now;
        let (share, longest) = self.share(oldest, now);
        self.close(turn, oldest, CloseReason::Gone);
        let mut others = (count / SHARE_CUT).min(ACCEPT_COUNT);
        for at in 0..self.connections.len() {
            let (other, silence) = self.share(at, now);
            if others > 0 && other == share && silence.as_ms() * 2 >= longest.as_ms() {
                self.close(turn, at, CloseReason::Gone);
                others -= 1;
            }
        }
    }

    /// Whose share a connection counts to, and how long it made no progress. There is one at each place while all are taken.
    #[inline(never)]
    fn share(&self, at: usize, now: Instant) -> (u64, Duration) {
        match self.connections.get(at) {
            Some(Some(connection)) => (connection.share(), now.since(connection.progress)),
            _ => (0, Duration::default()),
        }
    }

    pub(super) fn accept_again(&mut self, world: &mut World<'_>) {
        self.accept_at = Instant::NEVER;
        self.watch_listeners(world, Interest::Input);
    }
}

/// What an entry of the table of shares says.
const fn unpack(entry: u32) -> Share {
    ((entry >> 16) as usize, entry as u16 as usize)
}
