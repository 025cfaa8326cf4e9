//! Listeners: which connections are accepted, and which give way when there is no place left.

use super::connection::{CloseReason, Connection};
use super::exchange::Turn;
use super::streams::{CONNECTION_TOKEN, Streams, address};
use super::task::World;
use crate::config::{ACCEPT_PAUSE, IDLE_TIMEOUT, SILENT_TIMEOUT};
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
        for count in 0..ACCEPT_COUNT {
            // A place first: a connection that was accepted must be kept.
            let accepted = if self.free.is_empty() && self.connections.is_full() {
                Err(NetError::Full)
            } else {
                turn.world.net.accept(listener.socket)
            };
            match accepted {
                Ok((socket, peer)) => self.admit(turn, socket, peer, local),
                // At least one waits, perhaps no more: a place is made for one.
                Err(NetError::Full) if count == 0 && self.make_place(turn) => {}
                Err(NetError::Gone) => {} // It hung up while it waited.
                Err(_) => return,
            }
        }
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

    /// Closes a connection that was silent for too long, one that was never answered before the others; else accepts none for
    /// a while.
    fn make_place(&mut self, turn: &mut Turn<'_, '_>) -> bool {
        let now = turn.world.now;
        let silent = self
            .most_overdue(now, SILENT_TIMEOUT, |other| !other.answered)
            .or_else(|| self.most_overdue(now, IDLE_TIMEOUT, |_| true));
        if let Some(at) = silent {
            self.close(turn, at, CloseReason::Gone);
            return true;
        }
        let world = &mut *turn.world;
        if self.tell_full_at <= now {
            self.tell_full_at = now.after(FULL_SILENCE);
            world.events.tell(event::FULL, b"", Text::NOTHING);
        }
        self.accept_at = now.after(ACCEPT_PAUSE);
        self.watch_listeners(world, Interest::None);
        false
    }

    pub(super) fn accept_again(&mut self, world: &mut World<'_>) {
        self.accept_at = Instant::NEVER;
        self.watch_listeners(world, Interest::Input);
    }
}
