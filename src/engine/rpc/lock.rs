//! The locks between server processes that serve the same files. The lock of changes: calls that change names or attributes take
//! turns. The lock of the tables: accesses to the memory that the servers share take turns.
//!
//! Each server has its own connections and open files. The duplicate request cache is in memory that all of them share. With the
//! lock of changes, a retransmission to another server finds the reply, or the record that a killed server left, and the attributes
//! before and after a change are of that change alone (RFC 1813 section 2.6). That lock is held while the disk is waited for, so it
//! is acquired first; the lock of the tables is never held over a call that may wait.

use core::sync::atomic::AtomicU32;

/// The locks and the counter that the servers share.
pub trait ServerLock {
    /// Acquires the lock of changes; blocks while another server has it. If the process that holds a lock ends, at whatever point,
    /// the lock is released, too.
    fn acquire(&self);
    /// Releases the lock of changes.
    fn release(&self);
    /// Acquires the lock of the tables.
    fn acquire_tables(&self);
    /// Releases the lock of the tables.
    fn release_tables(&self);
    /// Number of times that unstable data of any server may have been lost. It is added to the write verifier.
    fn loss_count(&self) -> &AtomicU32;
}
