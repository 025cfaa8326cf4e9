//! Accepts connections, and evicts others if all slots are used.

use super::super::task::World;
use super::connection::{CloseReason, Connection, DISCONNECTED, Phase, TABLE_FULL};
use super::turn::Turn;
use super::{CONNECTION_TOKEN, Served};
use crate::config::{CONNECTION_COUNT_MAX, IDLE_TIMEOUT, REPLY_BYTES, SILENT_TIMEOUT};
use crate::engine::service::{ConnectionId, Local};
use crate::event::{self, Line};
use crate::log;
use crate::net::{Interest, NetError, Socket};
use crate::text::{Text, text};
use crate::time::{Duration, Instant};
use crate::vfs::{Peer, share};
use core::net::SocketAddr;

/// Most connections accepted from one listener in one turn.
const ACCEPT_COUNT: usize = 64;

/// Connections of one peer: their count, and the slot of the one with the longest time without progress.
type Share = (usize, usize);

/// An eviction also closes up to one in this many of the other connections of the peer with the most connections.
const SHARE_CUT: usize = 8;
/// Base-2 logarithm of the number of hash values in the table of shares. The table has more entries, for collisions at its end.
const SHARE_BITS: u32 = 14;

const _: () = assert!(4 << SHARE_BITS <= REPLY_BYTES && CONNECTION_COUNT_MAX < 1 << SHARE_BITS);

impl Served {
    /// Accepts the pending connections of a listener.
    pub(super) fn accept(&mut self, turn: &mut Turn<'_, '_>, local: u32) {
        let Some(listener) = self.listeners.find(local) else {
            return;
        };
        // If all slots are used, select before accept(2) the peer whose connection is evicted. The accepted connection is then
        // closed only if its own peer's share is too large to evict another connection.
        let mut largest = None;
        if !self.is_full() {
            self.full_since = Instant::NEVER;
        } else if !self.drop_silent(turn) {
            if !self.awaits_slot(turn.world.now) {
                largest = self.largest_share(turn.world);
            }
            if largest.is_none() {
                let mut limit = Line::default();
                limit.number(self.connections.len() as u32);
                return self.listeners.pause(turn.world, TABLE_FULL, limit.bytes());
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
                // EMFILE. At least one connection is pending: free a descriptor for it.
                Err(NetError::Full) if count == 0 => {
                    if !self.drop_silent(turn) {
                        return self.listeners.pause(turn.world, event::FULL, b"");
                    }
                }
                Err(NetError::Gone) => {} // The peer hung up before accept(2).
                Err(_) => return,
            }
        }
    }

    /// Returns true if all slots are used.
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.connections.is_full()
    }

    fn admit(&mut self, turn: &mut Turn<'_, '_>, socket: Socket, peer: SocketAddr, local: u32) {
        let free = self.free.pop().map(usize::from);
        let Some(at) = free.or_else(|| self.connections.push(None)) else {
            let Turn { world, service } = turn;
            let why = CloseReason::Evicted.message();
            let (events, address) = (&mut world.events, Peer::new(peer).address);
            events.report_for_peer(world.now, address, DISCONNECTED, b"", why);
            let _ = world.net.send(socket, service.refusal(), false);
            return world.net.close(socket);
        };
        let world = &mut *turn.world;
        log::debug!("connection {=usize} accepted", at);
        let id = ConnectionId(at as u16);
        if let Some(place) = self.connections.get_mut(at) {
            let peer = Peer::new(peer);
            let client = world.stats.opened(self.protocol, peer.address, world.now);
            *place = Some(Connection::new(id, socket, peer, client, world.now));
            if world.events.shows_debug() {
                let (events, event) = (&mut world.events, text!("has connected").debug());
                events.report_for_peer(world.now, peer.address, event, b"", Text::NOTHING);
            }
        }
        if let Some(times) = self.times() {
            self.patrol_by(world.now, world.now.after(times.idle));
        }
        turn.service.open(id, Local::of(local as u16));
        let token = world.token(CONNECTION_TOKEN + at as u32);
        if world.net.watch(socket, token, Interest::Input).is_err() {
            self.close(turn, at, CloseReason::Gone);
        }
    }

    /// Closes the longest draining connection; else the never-answered connection without progress for longest, if longer than
    /// `SILENT_TIMEOUT`; else the connection without progress for longest, if longer than `IDLE_TIMEOUT`. If the service limits the
    /// time of idle connections, one that was answered is closed first, after any time (RFC 9112 section 9.5). Returns false if none
    /// is closed.
    fn drop_silent(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let now = turn.world.now;
        if self.times().is_some() {
            let is_idle = |other: &Connection| other.answered && other.phase() == Phase::Idle;
            if let Some(at) = self.most_overdue(now, Duration::default(), is_idle) {
                self.close(turn, at, CloseReason::Gone);
                return true;
            }
        }
        let silent = self
            .most_overdue(now, Duration::default(), |other| other.drains)
            .or_else(|| self.most_overdue(now, SILENT_TIMEOUT, |other| !other.answered))
            .or_else(|| self.most_overdue(now, IDLE_TIMEOUT, |_| true));
        if let Some(at) = silent {
            self.cut_off(turn, at);
        }
        silent.is_some()
    }

    /// Returns the share of the peer with the most connections, if it has several.
    fn largest_share(&self, world: &mut World<'_>) -> Option<Share> {
        let now = world.now;
        // A hash table in the transmit buffer, which is unused here. A peer that finds no free entry is not counted; the hash
        // depends on the time, so that this happens to other peers at the next call.
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

    /// Returns true if a connection of the largest share may be evicted for `peer`: without that connection, the largest share must
    /// still exceed the peer's.
    fn gives_way(&self, (count, _): Share, peer: SocketAddr) -> bool {
        let share = share(Peer::new(peer).address);
        let connections = self.connections.iter().flatten();
        let same = connections.filter(|other| other.share() == share);
        same.count() + 1 < count
    }

    /// Closes the connection of the largest share with the longest time without progress. If the share has many, closes some more
    /// without progress for at least half that time, so that a flood of connections does not cost a scan of all slots for each.
    #[inline(never)] // −27 bytes: one caller, whose frame stays small.
    fn cut_share(&mut self, turn: &mut Turn<'_, '_>, (count, oldest): Share) {
        let now = turn.world.now;
        let (share, longest) = self.share(oldest, now);
        self.cut_off(turn, oldest);
        let mut others = (count / SHARE_CUT).min(ACCEPT_COUNT);
        for at in 0..self.connections.len() {
            let (other, silence) = self.share(at, now);
            if others > 0 && other == share && silence.as_ms() * 2 >= longest.as_ms() {
                self.cut_off(turn, at);
                others -= 1;
            }
        }
    }

    /// Returns the peer's key and the time without progress of the connection in a slot. Called while all slots are used.
    fn share(&self, at: usize, now: Instant) -> (u64, Duration) {
        match self.connections.get(at) {
            Some(Some(connection)) => (connection.share(), now.since(connection.progress)),
            _ => (0, Duration::default()),
        }
    }
}

/// Decodes an entry of the table of shares.
const fn unpack(entry: u32) -> Share {
    ((entry >> 16) as usize, entry as u16 as usize)
}
