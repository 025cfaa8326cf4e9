//! The turns of the connections: serves those that are ready, closes those that timed out.

use super::super::task::World;
use super::connection::{CloseReason, Phase};
use super::times;
use super::turn::{Halt, Turn};
use super::{CONNECTION_TOKEN, Served};
use crate::config::NODE_IDLE;
use crate::engine::service::{ConnectionId, Service};
use crate::log;
use crate::stats::Figure;
use crate::time::{Duration, Instant};
use crate::vfs::{Job, Patience, Scope, Submitted};

/// Most needs of a service in one turn.
const DUE_COUNT: usize = 64;

impl Served {
    /// The next time at which [`Served::turn`] has work.
    pub fn poll_at(&self, service: &dyn Service) -> Instant {
        if self.group.has_ended() || self.has_block_for_other() {
            return Instant::default();
        }
        let at = self.patrol_at.min(self.release_at);
        at.min(Self::due_at(service)).min(self.listeners.accept_at)
    }

    /// Serves the connection, listener or datagram socket with the token `local`, which is ready.
    pub fn ready(&mut self, world: &mut World<'_>, service: &mut dyn Service, local: u32) {
        let turn = &mut Turn { world, service };
        self.serve_ended(turn);
        if !self.receive_datagrams(turn, local) {
            match local.checked_sub(CONNECTION_TOKEN) {
                Some(at) => self.serve(turn, at as usize),
                None => self.accept(turn, local),
            }
        }
        self.release_at = self.release_at.min(turn.world.now.after(NODE_IDLE));
    }

    /// Serves the connections whose jobs have ended, closes connections and files that timed out, sends the datagrams that are due,
    /// and resumes accepting connections after a pause.
    pub fn turn(&mut self, world: &mut World<'_>, service: &mut dyn Service) {
        let turn = &mut Turn { world, service };
        self.serve_ended(turn);
        if self.has_block_for_other() {
            self.serve_wanting(turn);
        }
        if !self.connections.is_empty() {
            let waiting = self.pending_count() as u64;
            let stats = &turn.world.stats;
            stats.set(self.protocol, Figure::Waiting, waiting);
        }
        let now = turn.world.now;
        if self.patrol_at <= now {
            self.patrol(turn);
        }
        if self.release_at <= now {
            self.release_at = Instant::NEVER;
            if turn.world.tree.release_idle() {
                self.release_at = now.after(NODE_IDLE);
            }
        }
        let mut left = DUE_COUNT;
        while let Some(ConnectionId(at)) = self.next_due(turn, &mut left) {
            self.serve(turn, at.into());
        }
        if self.listeners.accept_at <= now {
            self.listeners.resume(turn.world);
        }
    }

    /// Returns true if a block is free and a connection may be waiting for it.
    fn has_block_for_other(&self) -> bool {
        self.wants_block && !self.requests.is_used_up() && !self.lacks_held_block()
    }

    /// Serves the connections whose jobs have ended.
    fn serve_ended(&mut self, turn: &mut Turn<'_, '_>) {
        if !self.may_have_ended(turn.world.tree) {
            return;
        }
        while self.hear_ended(turn).is_some() {}
        self.release_at = self.release_at.min(turn.world.now.after(NODE_IDLE));
        for at in 0..self.connections.len() {
            if !self.group.has_ended() {
                return;
            }
            if let Some(Some(connection)) = self.connections.get(at)
                && connection.waits.has_ended()
            {
                self.serve(turn, at);
            }
        }
    }

    /// Serves the connections that wait for a block, the longest waiting first, while a block is free.
    #[cold]
    fn serve_wanting(&mut self, turn: &mut Turn<'_, '_>) {
        while self.has_block_for_other() {
            let now = turn.world.now;
            match self.most_overdue(now, Duration::default(), |other| other.wants_block) {
                Some(at) => self.serve_again(turn, at),
                None => self.wants_block = false,
            }
        }
    }

    /// Serves a connection that waits for a block.
    fn serve_again(&mut self, turn: &mut Turn<'_, '_>, at: usize) {
        let has_block = self.has_block_for_other();
        if let Some(Some(connection)) = self.connections.get_mut(at) {
            connection.wants_block = false;
            if has_block {
                // The wait does not count as time of the request.
                connection.progress = turn.world.now;
            }
        }
        self.serve(turn, at);
    }

    /// Serves a connection until it has to wait or its turn ends.
    fn serve(&mut self, turn: &mut Turn<'_, '_>, at: usize) {
        let Some(place) = self.connections.get_mut(at) else {
            return;
        };
        // Removed from its slot, so that all other fields of `self` can be borrowed.
        let mut taken = place.take();
        let Some(connection) = &mut taken else {
            return;
        };
        self.moved_bytes = 0;
        // The request waits for a job since the last byte arrived.
        let since = match connection.waits.has_ended() {
            true => connection.progress,
            false => turn.world.now,
        };
        let stats = &mut turn.world.stats;
        stats.serve(self.protocol, connection.client, since);
        let mut halt = match self.send_kept(turn, connection) {
            Ok(()) => self.answer_input(turn, connection),
            Err(halt) => halt,
        };
        halt = times::drained(halt, turn.world, connection);
        log::debug!("connection {=usize} waits for {=str}", at, halt.name());
        let world = &mut *turn.world;
        world.stats.served();
        let token = world.token(CONNECTION_TOKEN + at as u32);
        if let Halt::Socket(interest) = halt
            && world.net.watch(connection.socket, token, interest).is_err()
        {
            halt = CloseReason::Gone.into();
        }
        if self.times().is_some() || connection.phase() != Phase::Idle {
            let due = self.due(connection).0;
            self.patrol_by(world.now, due);
        }
        if let Some(place) = self.connections.get_mut(at) {
            *place = taken;
        }
        if let Halt::Close(reason) = halt {
            self.close(turn, at, reason);
        }
    }

    /// Closes the connections that timed out, and serves those that wait for a block, every second while there are any.
    fn patrol(&mut self, turn: &mut Turn<'_, '_>) {
        let now = turn.world.now;
        self.patrol_at = Instant::NEVER;
        for at in 0..self.connections.len() {
            let Some(Some(connection)) = self.connections.get(at) else {
                continue;
            };
            if connection.wants_block {
                self.serve_again(turn, at);
                continue;
            }
            let (due, reason) = self.due(connection);
            if due > now {
                self.patrol_by(now, due);
            } else if reason == CloseReason::Unended && turn.service.expire(connection.id) {
                self.serve(turn, at);
            } else {
                self.close(turn, at, reason);
            }
        }
    }

    /// Syncs everything before the loop ends.
    pub fn stop(&mut self, world: &mut World<'_>) {
        world.tree.release_idle();
        while let Submitted::Pending(_) = world.tree.submit(Job::Sync(Scope::All)) {
            world.tree.reap(Patience::Forever);
            world.tree.forget_ended(world.tree.ended_count());
        }
    }
}
