//! Tasks that share a loop, and the resources that the loop lends them.

use crate::event::{Events, Fatal};
use crate::net::{Net, Signals, Token};
use crate::stats::Meter;
use crate::sys::Needs;
use crate::time::Instant;
use crate::vfs::Tree;

/// The resources of a loop, lent to a task for one call.
pub struct World<'a> {
    /// Current time of the monotonic clock.
    pub now: Instant,
    /// Index of the task in its loop.
    pub task: u8,
    /// The network.
    pub net: &'a mut dyn Net,
    /// The exported files.
    pub tree: &'a mut Tree,
    /// Messages for users.
    pub events: &'a mut Events,
    /// Receive buffer. Its content is lost after the call.
    pub rx: &'a mut [u8],
    /// Transmit buffer. Its content is lost after the call.
    pub tx: &'a mut [u8],
    /// Figures of the process.
    pub stats: &'a mut Meter,
    /// Set by a task that has finished: the loop ends and the process exits with this status.
    pub exit: Option<Fatal>,
    /// The heartbeat of the loop.
    pub(super) pulse: super::health::Pulse,
}

impl World<'_> {
    /// Returns a token of the current task. `local` is less than [`Token::LOCAL_COUNT`].
    pub const fn token(&self, local: u32) -> Token {
        Token::new(self.task, local)
    }
}

/// Tasks for one loop.
pub type Tasks = heapless::Vec<&'static mut dyn Task, TASK_COUNT_MAX>;

/// Limit of the tasks in one loop: an address, NFS, HTTP, SFTP, multicast DNS, the upkeep and the look-ups of each of two servers.
pub const TASK_COUNT_MAX: usize = 8;

/// A server, a responder or a browser that shares a loop with others. Object-safe.
pub trait Task {
    /// Opens sockets and reports the services.
    ///
    /// # Errors
    /// The exit status if the task cannot serve; the reason is already reported.
    fn start(&mut self, world: &mut World<'_>) -> Result<(), Fatal>;
    /// Adds the system calls and files that the task needs from now on. Called once, after [`Task::start`] of all tasks of the loop.
    fn add_needs(&self, tree: &Tree, needs: &mut Needs);
    /// Called when the socket with the token `local` is ready.
    fn ready(&mut self, _world: &mut World<'_>, _local: u32) {}
    /// Does the work that is due. Called in each turn of the loop, after `ready` for each ready socket.
    fn turn(&mut self, world: &mut World<'_>, signals: Signals);
    /// The next time at which [`Task::turn`] has work.
    fn poll_at(&self) -> Instant;
    /// Returns true if a connection has waited for a job for more than [`STALL`](super::health::STALL).
    #[cfg(any(feature = "http", test))]
    fn is_stalled(&self, _now: Instant) -> bool {
        false
    }
    /// Called when the loop ends: sends goodbyes, makes promised changes durable.
    fn stop(&mut self, _world: &mut World<'_>) {}
}
