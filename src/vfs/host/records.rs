//! The backend's records of its workers' jobs.

use super::super::Node;
use rustix::fd::RawFd;

/// A job that is queued or running at a worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum PendingJob {
    /// A sync that makes these changes durable.
    Sync(Changes),
    /// A read into the page cache.
    Read,
    /// A WRITE; `Writes` has its pin, offset and pipe.
    Write,
    /// A write to a file of the server's state, from this pipe.
    Save(RawFd),
    /// The close of a removed file.
    Free,
}

/// The first `count` changes of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) node: Node,
    pub(super) count: u32,
}
