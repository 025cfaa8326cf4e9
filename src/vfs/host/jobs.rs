//! What threads do, and what there is to remember of it until they have.

use super::super::Node;

/// What there is to remember of a job.
#[derive(Clone, Copy, Debug)]
pub(super) enum Job {
    /// Nothing: it changes nothing.
    Other,
    /// What it makes durable.
    Sync(Changes),
    /// Bytes are stored: the number by which they are asked for.
    Store(u32),
}

/// What a job makes durable: so many changes of an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changes {
    pub(super) node: Node,
    pub(super) count: u32,
}
