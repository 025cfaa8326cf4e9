//! Listeners: sockets at which connections are accepted, and pauses while none can be.

use super::super::task::World;
use super::CONNECTION_TOKEN;
use crate::config::ACCEPT_PAUSE;
use crate::event::Event;
use crate::net::{Interest, NetError, NetResult, Socket};
use crate::text::Text;
use crate::time::{Duration, Instant};
use core::net::SocketAddr;

/// Shortest interval between two messages that no connection can be accepted.
const FULL_SILENCE: Duration = Duration::from_secs(60);

/// A listening socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listener {
    pub(super) socket: Socket,
    /// Token of the socket, which is also the listener's number in the service.
    pub(super) local: u32,
}

/// The listening sockets of a service.
#[derive(Debug)]
pub(super) struct Listeners {
    all: heapless::Vec<Listener, { CONNECTION_TOKEN as usize }>,
    /// Time at which to accept connections again; [`Instant::NEVER`]: no pause.
    pub(super) accept_at: Instant,
    /// Earliest time of the next message that no connection can be accepted.
    report_at: Instant,
}

impl Listeners {
    pub(super) fn new() -> Self {
        Self {
            all: heapless::Vec::new(),
            accept_at: Instant::NEVER,
            report_at: Instant::default(),
        }
    }

    pub(super) fn listen(
        &mut self,
        world: &mut World<'_>,
        at: SocketAddr,
        local: u32,
    ) -> NetResult<SocketAddr> {
        let socket = world.net.listen(at, world.token(local))?;
        let listener = Listener { socket, local };
        self.all.push(listener).map_err(|_| NetError::Full)?;
        world.net.local(socket)
    }

    /// Closes the listener opened last.
    pub(super) fn close_last(&mut self, world: &mut World<'_>) {
        if let Some(listener) = self.all.pop() {
            world.net.close(listener.socket);
        }
    }

    /// The listener with the token `local`.
    pub(super) fn find(&self, local: u32) -> Option<Listener> {
        let mut all = self.all.iter();
        all.find(|listener| listener.local == local).copied()
    }

    fn watch(&mut self, world: &mut World<'_>, interest: Interest) {
        for listener in &self.all {
            let token = world.token(listener.local);
            let _ = world.net.watch(listener.socket, token, interest);
        }
    }

    /// Stops accepting connections for [`ACCEPT_PAUSE`], and reports why.
    pub(super) fn pause(&mut self, world: &mut World<'_>, what: Event, about: &[u8]) {
        let now = world.now;
        if self.report_at <= now {
            self.report_at = now.after(FULL_SILENCE);
            world.events.report(what, about, Text::NOTHING);
        }
        self.accept_at = now.after(ACCEPT_PAUSE);
        self.watch(world, Interest::None);
    }

    /// Ends a pause.
    pub(super) fn resume(&mut self, world: &mut World<'_>) {
        if self.accept_at < Instant::NEVER {
            self.accept_at = Instant::NEVER;
            self.watch(world, Interest::Input);
        }
    }
}
