//! The interface between the loop and a protocol over connections.

use crate::engine::nfs::Promise;
use crate::engine::{Cx, Order, Progress};
use crate::event::Events;
use crate::vfs::{FsResult, Tree};

/// A protocol over connections, numbered from 0: an engine and its sessions. Object-safe, so that the loop is compiled once.
pub trait Protocol {
    /// Returns which kind of change must be durable before the replies written since the last call are sent.
    fn take_promise(&mut self) -> Promise {
        Promise::Nothing
    }
    /// Finishes replies that promise a durable change, after their sync; a failed sync turns them into errors. Returns their
    /// length, which does not grow.
    fn settle(&mut self, _cx: &mut Cx<'_>, replies: &mut [u8], _synced: FsResult<()>) -> usize {
        replies.len()
    }
    /// Called when `listener` has accepted a connection.
    fn open(&mut self, connection: usize, listener: u32);
    /// Answers the requests in `input`, as far as the replies fit into `output`.
    fn advance(
        &mut self,
        connection: usize,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress;
    /// Continues after the loop carried out the last order, with the given `result`: finishes the reply, or returns another order.
    /// `order` is passed back, so that the engine can release its file.
    fn done(
        &mut self,
        connection: usize,
        cx: &mut Cx<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress;
    /// Returns true if the session keeps a file open until more input arrives.
    fn holds_file(&self, _connection: usize) -> bool {
        false
    }
    /// Called when an order waits and other connections are served.
    fn interrupted(&mut self) {}
    /// Called after a failed sync that no reply waited for: unstable data may be lost.
    fn break_promises(&mut self) {}
    /// Called before the connection is closed.
    fn abandon(&mut self, connection: usize, tree: &mut Tree, events: &mut Events);
}
