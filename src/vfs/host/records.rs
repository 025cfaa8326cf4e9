//! The backend's records of the jobs that its workers have.

use super::super::Node;

/// A job that a worker has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    /// These changes of an object are made durable.
    Sync(Changes),
    /// Bytes are read into the page cache.
    Read,
    /// Bytes are written; `Writes` has the rest.
    Write,
    /// The last descriptor of a removed file is closed.
    Free,
}

/// The first `count` changes of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) node: Node,
    pub(super) count: u32,
}
