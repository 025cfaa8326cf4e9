//! Tasks that share a loop, and the resources that the loop lends them.

use super::health::Pulse;
use crate::engine::service::Health;
use crate::event::{Events, Fatal};
use crate::net::{Net, Signals, Token};
use crate::stats::Meter;
use crate::sys::Needs;
use crate::time::{Duration, Instant};
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
    pub(super) pulse: Pulse,
}

impl World<'_> {
    /// Returns a token of the current task. `local` is less than [`Token::LOCAL_COUNT`].
    pub const fn token(&self, local: u32) -> Token {
        Token::new(self.task, local)
    }

    /// Lets the loop look for stalled connections and at the wall clock. Called once by a task that asks for them.
    pub const fn watch_health(&mut self) {
        self.pulse.watch();
    }

    /// Returns true if a task of this process, or of one that shares a supervisor with it, asks for the health.
    pub fn is_health_watched(&self) -> bool {
        self.pulse.is_watched()
    }

    /// The health of this process and of those that share a supervisor with it, at most two seconds ago.
    pub const fn health(&self) -> Health {
        self.pulse.health()
    }

    /// The time since 1970. A step of the clock is seen after at most two seconds.
    pub const fn wall(&self) -> Duration {
        self.pulse.wall(self.now)
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
    /// Returns true if a connection has waited for a job for so long that the disk may hang.
    fn is_stalled(&self, _now: Instant) -> bool {
        false
    }
    /// Called when the loop ends: sends goodbyes, makes promised changes durable.
    fn stop(&mut self, _world: &mut World<'_>) {}
}
