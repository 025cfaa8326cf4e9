//! Tasks: what a loop runs beside each other, and what it lends them.

#[cfg(feature = "streams")]
use crate::engine::Cx;
use crate::event::{Events, Fatal};
use crate::net::{Net, Signals, Token};
use crate::time::Instant;
use crate::vfs::Tree;
#[cfg(feature = "streams")]
use core::net::Ipv6Addr;

/// What a task may use, lent for one call.
pub struct World<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// The place of the task in its loop.
    pub task: u8,
    /// The network.
    pub net: &'a mut dyn Net,
    /// The files.
    pub tree: &'a mut Tree,
    /// Messages for people.
    pub events: &'a mut Events,
    /// For received bytes. What is in it lasts for one call.
    pub rx: &'a mut [u8],
    /// For bytes to send. What is in it lasts for one call.
    pub tx: &'a mut [u8],
    /// Set by a task that has done all it was to do: the loop ends, and its process exits with this status.
    pub exit: Option<Fatal>,
}

impl World<'_> {
    /// A token of the task that this was lent to. `local` is less than [`Token::LOCAL_COUNT`].
    pub const fn token(&self, local: u32) -> Token {
        Token::new(self.task, local)
    }

    /// What a protocol is lent for a call by `peer`; and the buffers of what was received, and for what is to be sent.
    #[cfg(feature = "streams")]
    pub(super) const fn lend(&mut self, peer: Ipv6Addr) -> (Cx<'_>, &mut [u8], &mut [u8]) {
        let cx = Cx {
            now: self.now,
            peer,
            vfs: self.tree,
            events: self.events,
        };
        (cx, self.rx, self.tx)
    }
}

/// What a loop runs beside others: a server, a responder, a browser. Object-safe.
pub trait Task {
    /// Opens sockets; says what is served.
    ///
    /// # Errors
    /// It cannot serve, and has told why: the status to exit with.
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal>;
    /// The socket that the task opened with the token `local` can go on.
    fn ready(&mut self, world: &mut World<'_>, local: u32);
    /// Does what is due. Called in each turn of the loop, after the sockets that were ready.
    fn turn(&mut self, world: &mut World<'_>, signals: Signals);
    /// When [`Task::turn`] has something to do.
    fn poll_at(&self) -> Instant;
    /// The loop ends: says goodbye, makes durable what was promised.
    fn stop(&mut self, world: &mut World<'_>);
}
