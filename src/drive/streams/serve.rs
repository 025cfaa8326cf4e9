//! The turns of the connections: serves those that are ready, closes those that timed out.

use super::super::task::World;
use super::connection::{CloseReason, Connection};
use super::orders::OUTSIDE;
use super::protocol::Protocol;
use super::turn::{Blocked, Turn};
use super::{CONNECTION_TOKEN, JOBS_TOKEN, Streams};
use crate::config::NODE_IDLE;
use crate::event;
use crate::log;
use crate::net::FileId;
use crate::time::{Duration, Instant};
use crate::vfs::{Ended, Job, JobKind, Scope, Submitted};

impl Streams {
    /// The next time at which [`Streams::turn`] has work.
    pub fn poll_at(&self) -> Instant {
        if self.group.has_ended() || self.has_block_for_other() {
            return Instant::default();
        }
        self.patrol_at.min(self.release_at).min(self.accept_at)
    }

    /// Serves the connection, listener or job descriptor with the token `local`, which is ready.
    #[inline(never)]
    pub fn ready(&mut self, world: &mut World<'_>, protocol: &mut dyn Protocol, local: u32) {
        let turn = &mut Turn { world, protocol };
        match local.checked_sub(CONNECTION_TOKEN) {
            Some(at) => self.serve(turn, at as usize),
            None if local == JOBS_TOKEN => self.serve_ended(turn),
            None => self.accept(turn, local),
        }
        self.used_files(turn.world.now);
    }

    /// Schedules the closing of unused files.
    pub fn used_files(&mut self, now: Instant) {
        self.release_at = self.release_at.min(now.after(NODE_IDLE));
    }

    /// Continues the connections that wait for a disk of a machine without an operating system, or for a look-up of host names.
    pub fn outside_ended(&mut self) {
        let ended = Ended {
            id: OUTSIDE,
            kind: JobKind::Read,
            result: Ok(()),
        };
        self.group.on_done(&mut self.connections, ended);
    }

    /// Serves the connections whose jobs have ended, closes connections and files that timed out, and resumes accepting connections
    /// after a pause.
    pub fn turn(&mut self, world: &mut World<'_>, protocol: &mut dyn Protocol) {
        if self.group.has_ended() {
            self.serve_ended(&mut Turn { world, protocol });
        }
        if self.has_block_for_other() {
            self.serve_wanting(&mut Turn { world, protocol });
        }
        if self.patrol_at <= world.now {
            self.patrol(&mut Turn { world, protocol });
        }
        if self.release_at <= world.now {
            self.release_at = Instant::NEVER;
            if world.tree.release_idle() {
                self.release_at = world.now.after(NODE_IDLE);
            }
        }
        if self.accept_at <= world.now {
            self.accept_again(world);
        }
    }

    /// Returns true if a block is free and a connection may be waiting for it.
    fn has_block_for_other(&self) -> bool {
        self.wants_block && !self.requests.is_used_up()
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
        if let Some(Some(connection)) = self.connections.get_mut(at) {
            connection.wants_block = false;
        }
        self.serve(turn, at);
    }

    /// Returns the slot of the connection with the longest time without progress, at least `timeout`, among those for which
    /// `is_meant` is true.
    #[inline(never)]
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

    /// Serves a connection until it has to wait or its turn ends.
    pub(super) fn serve(&mut self, turn: &mut Turn<'_, '_>, at: usize) {
        let Some(place) = self.connections.get_mut(at) else {
            return;
        };
        // Removed from its slot, so that all other fields of `self` can be borrowed.
        let mut taken = place.take();
        let Some(connection) = &mut taken else {
            return;
        };
        self.moved_bytes = 0;
        let mut blocked = match self.send_kept(turn, connection) {
            Ok(()) => self.answer_input(turn, connection),
            Err(blocked) => blocked,
        };
        let world = &mut *turn.world;
        let token = world.token(CONNECTION_TOKEN + at as u32);
        if let Blocked::Wait(interest) = blocked
            && world.net.watch(connection.socket, token, interest).is_err()
        {
            blocked = Blocked::End(CloseReason::Gone);
        }
        connection.holds_file = turn.protocol.holds_file(at);
        if connection.timeout().is_some() || connection.wants_block {
            self.patrol_at = self.patrol_at.min(world.now.after(Duration::SECOND));
        }
        if let Some(place) = self.connections.get_mut(at) {
            *place = taken;
        }
        if let Blocked::End(reason) = blocked {
            self.close(turn, at, reason);
        }
    }

    /// Closes the connections that timed out, and serves those that wait for a block. Called every second while there are any.
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
            let Some((timeout, reason)) = connection.timeout() else {
                continue;
            };
            if now.since(connection.progress) >= timeout {
                self.close(turn, at, reason);
            } else {
                self.patrol_at = now.after(Duration::SECOND);
            }
        }
    }

    /// Closes a connection, reports the reason if users may want it, and frees its resources.
    pub(super) fn close(&mut self, turn: &mut Turn<'_, '_>, at: usize, reason: CloseReason) {
        let Turn { world, protocol } = turn;
        let Some(place) = self.connections.get_mut(at) else {
            return;
        };
        let Some(connection) = place else { return };
        log::debug!("connection {=usize} closed", at);
        if reason != CloseReason::Gone {
            let (peer, why) = (connection.peer.address, reason.message());
            let events = &mut world.events;
            events.report_for_peer(world.now, peer, event::DISCONNECTED, b"", why);
        }
        let socket = connection.socket;
        if let Some(block) = connection.input.take() {
            self.requests.release(block);
        }
        self.group.forget(connection);
        if let Some(unsent) = connection.unsent.take() {
            self.replies.release(unsent.block);
        }
        if let Some(order) = connection.order.take() {
            order.abandon(world.tree);
        }
        // Before the socket is closed: a client that sees the end may send its calls again to another server at once.
        protocol.abandon(at, world.tree, world.events);
        world.net.close(socket);
        *place = None;
        self.free.push(at as u16);
        // A slot and a descriptor are free: accept pending connections at once.
        if self.accept_at < Instant::NEVER {
            self.accept_again(world);
        }
    }

    /// Starts the workers if the network can watch their wake-up descriptor.
    pub fn start_jobs(&mut self, world: &mut World<'_>) {
        let token = world.token(JOBS_TOKEN);
        let World { tree, net, .. } = world;
        tree.start_jobs(&mut |file| net.watch_file(FileId(file.0), token).is_ok());
    }

    /// Syncs everything before the loop ends.
    pub fn stop(&mut self, world: &mut World<'_>) {
        world.tree.release_idle();
        let (group, connections) = (&mut self.group, &mut self.connections);
        while let Submitted::Pending(_) = world.tree.submit(Job::Sync(Scope::All)) {
            world.tree.wait_for_jobs();
            world
                .tree
                .reap(&mut |ended| _ = group.on_done(connections, ended));
        }
    }
}
