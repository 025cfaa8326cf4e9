//! Closes connections: those that ended or timed out, and the longest silent one if its slot or block is needed.

use super::Served;
use super::connection::{CloseReason, Connection, DISCONNECTED, Phase};
use super::ends::pass_end;
use super::turn::Turn;
use crate::config::{DRAIN_TIMEOUT, REPLY_TIMEOUT, REQUEST_TIMEOUT, SILENT_TIMEOUT};
use crate::log;
use crate::mem::Ends as _;
use crate::stats::Figure;
use crate::text::{Text, text};
use crate::time::{Duration, Instant};

impl Served {
    /// Returns the slot of the connection with the longest time without progress, at least `timeout`, among those for which
    /// `is_meant` is true.
    #[inline(never)] // −255 bytes: five callers.
    pub(super) fn most_overdue(
        &self,
        now: Instant,
        timeout: Duration,
        is_meant: fn(&Connection) -> bool,
    ) -> Option<usize> {
        let (mut most, mut longest) = (None, timeout);
        for (at, place) in self.connections.iter().enumerate() {
            let Some(connection) = place else { continue };
            let silence = now.since(connection.progress);
            if silence >= longest && is_meant(connection) {
                (most, longest) = (Some(at), silence);
            }
        }
        most
    }

    /// Returns the time at which the connection is closed if nothing happens before, and the reason.
    pub(super) fn due(&self, connection: &Connection) -> (Instant, CloseReason) {
        let (timeout, reason) = match (connection.phase(), self.times()) {
            // Served in the next patrol.
            _ if connection.wants_block => return (Instant::default(), CloseReason::Gone),
            (Phase::Waits, _) | (Phase::Idle, None) => return (Instant::NEVER, CloseReason::Gone),
            (Phase::Idle, Some(times)) => (times.idle, CloseReason::Gone),
            (Phase::Sends, _) => (REPLY_TIMEOUT, CloseReason::Untaken),
            (Phase::Receives, None) => (REQUEST_TIMEOUT, CloseReason::Unended),
            (Phase::Receives, Some(times)) => (times.request, CloseReason::Unended),
            (Phase::Drains, _) => (DRAIN_TIMEOUT, CloseReason::Gone),
        };
        (connection.progress.after(timeout), reason)
    }

    /// Plans the next patrol for `due`, at least a second from now.
    pub(super) fn patrol_by(&mut self, now: Instant, due: Instant) {
        self.patrol_at = self.patrol_at.min(due.max(now.after(Duration::SECOND)));
    }

    /// Closes the connection without progress for longest, at least [`SILENT_TIMEOUT`], among those for which `is_meant` is true.
    pub(super) fn evict(
        &mut self,
        turn: &mut Turn<'_, '_>,
        is_meant: fn(&Connection) -> bool,
    ) -> Option<()> {
        let now = turn.world.now;
        let stalled = self.most_overdue(now, SILENT_TIMEOUT, is_meant)?;
        self.cut_off(turn, stalled);
        Some(())
    }

    /// Closes a connection whose slot or block is needed.
    pub(super) fn cut_off(&mut self, turn: &mut Turn<'_, '_>, at: usize) {
        self.close(turn, at, CloseReason::Evicted);
    }

    /// Closes a connection, reports the reason if users may want it, and frees its resources.
    pub(super) fn close(&mut self, turn: &mut Turn<'_, '_>, at: usize, reason: CloseReason) {
        if self.outlives_socket(turn, at, reason) {
            return;
        }
        let Turn { world, service } = turn;
        let Some(connection) = self.connections.get_mut(at).and_then(Option::take) else {
            return;
        };
        log::debug!("connection {=usize} closed", at);
        world.stats.closed(self.protocol, connection.client);
        // The peer has its last reply.
        if reason.message() != Text::NOTHING && !connection.drains {
            world.stats.add(self.protocol, Figure::Evicted, 1);
            let (peer, why) = (connection.peer.address, reason.message());
            let events = &mut world.events;
            events.report_for_peer(world.now, peer, DISCONNECTED, b"", why);
        } else if world.events.shows_debug() {
            let (events, event) = (&mut world.events, text!("has disconnected").debug());
            let peer = connection.peer.address;
            events.report_for_peer(world.now, peer, event, b"", Text::NOTHING);
        }
        if let Some(block) = connection.input {
            self.requests.release(block);
        }
        self.group.forget(connection.waits);
        if let Some(unsent) = connection.unsent {
            self.replies.release(unsent.block);
        }
        if let Some(transfer) = connection.transfer {
            transfer.abandon(world.tree);
        }
        if reason == CloseReason::Ended {
            pass_end(world, *service, connection.id, connection.socket);
        }
        // Before the socket is closed: a client that sees the end may send its calls again to another server at once.
        let (mut cx, ..) = world.lend(connection.peer);
        let mut held: &[u8] = &[];
        if let Some(kept) = &connection.held {
            held = self.held.get(&kept.block).head(kept.len.into());
        }
        service.close(connection.id, &mut cx, held);
        if let Some(kept) = connection.held {
            self.held.release(kept.block);
        }
        world.net.close(connection.socket);
        self.free.push(at as u16);
        // A slot and a descriptor are free: accept pending connections at once.
        self.listeners.resume(world);
    }
}
