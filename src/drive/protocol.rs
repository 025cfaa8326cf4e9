//! A protocol over connections, as the loop calls it.

use crate::engine::nfs::Promise;
use crate::engine::{Cx, Order, Progress};
use crate::event::Events;
use crate::vfs::{FsResult, Tree};

/// A protocol over connections, which have numbers from 0: a [`Stream`](crate::engine::Stream) and its sessions.
/// Object-safe, so that the loop is compiled once.
pub trait Protocol {
    /// The promises of the replies that were written since the last call.
    fn take_promise(&mut self) -> Promise {
        Promise::Nothing
    }
    /// Makes replies that promise something final, after their sync. Returns their bytes, which are no more than before.
    fn settle(&mut self, _cx: &mut Cx<'_>, replies: &mut [u8], _synced: FsResult<()>) -> usize {
        replies.len()
    }
    /// A connection was accepted by the listener of this number.
    fn open(&mut self, connection: usize, listener: u32);
    /// As [`Stream::advance`](crate::engine::Stream::advance).
    fn advance(
        &mut self,
        connection: usize,
        cx: &mut Cx<'_>,
        input: &[u8],
        output: &mut [u8],
    ) -> Progress;
    /// As [`Stream::done`](crate::engine::Stream::done).
    fn done(
        &mut self,
        connection: usize,
        cx: &mut Cx<'_>,
        order: Order,
        result: FsResult<()>,
        output: &mut [u8],
    ) -> Progress;
    /// Whether the connection's session has a file open until more input arrives.
    fn holds_file(&self, _connection: usize) -> bool {
        false
    }
    /// An order has to wait: others are served meanwhile.
    fn interrupted(&mut self) {}
    /// A sync failed that no reply waited for: unstable data may be lost.
    fn break_promises(&mut self) {}
    /// The connection is closed.
    fn abandon(&mut self, connection: usize, tree: &mut Tree, events: &mut Events);
}
