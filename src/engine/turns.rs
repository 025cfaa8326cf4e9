//! Servers of the same files beside each other: they take turns at what changes names and attributes.
//!
//! Each has connections and open files of its own; replies that may be asked for again lie in memory that all of them have. Because
//! of the turns a call that comes again to another server finds the reply, or what a server left that was killed, and the
//! attributes before and after a change are of that change alone (RFC 1813 section 2.6).

use core::sync::atomic::AtomicU32;

/// What such servers share beside memory.
pub trait Turns {
    /// Waits until it is this server's turn, and keeps others waiting. A turn ends with its process, too, wherever that is.
    fn begin(&self);
    /// Its turn has ended.
    fn end(&self);
    /// The number of this server, which no other has.
    fn number(&self) -> u32;
    /// How often promises of any of them were broken.
    fn breaks(&self) -> &AtomicU32;
}
