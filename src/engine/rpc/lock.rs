//! A lock between server processes that serve the same files: calls that change names or attributes take turns.
//!
//! Each server has its own connections and open files. The duplicate request cache is in memory that all of them share. With the
//! lock, a retransmission to another server finds the reply, or the record that a killed server left, and the attributes before and
//! after a change are of that change alone (RFC 1813 section 2.6).

use core::sync::atomic::AtomicU32;

/// The lock and the counter that the servers share.
pub trait ServerLock {
    /// Acquires the lock; blocks while another server has it. If the process that holds the lock ends, at whatever point, the lock
    /// is released, too.
    fn acquire(&self);
    /// Releases the lock.
    fn release(&self);
    /// Number of times that unstable data of any server may have been lost. It is added to the write verifier.
    fn loss_count(&self) -> &AtomicU32;
}
