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
    /// A write to a file of the server's state.
    Save(Saving),
    /// The close of a removed file.
    Free,
}

/// A write to a file of the server's state: from this pipe, to this offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Saving {
    pub(super) pipe: RawFd,
    pub(super) file: RawFd,
    pub(super) offset: u64,
}

/// The first `count` changes of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) node: Node,
    pub(super) count: u32,
}
