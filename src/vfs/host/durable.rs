//! What is on its way to the disk: names and attributes that were changed and not yet made durable.
//!
//! They are made so all together before anybody is told: one call for a directory, however many of its names were changed by
//! requests that came together. Of an export that is `async` they follow with the next COMMIT, or within two seconds.

use super::super::kernel::error;
use super::super::{FsError, FsResult, Node, Pin};
use super::Host;
use super::table::Opened;
use crate::config::DIRTY_COUNT;
use crate::sys::linux::fs;
use rustix::fd::AsRawFd as _;

/// Objects whose names or attributes are not durable yet, each pinned.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    nodes: heapless::Vec<Node, DIRTY_COUNT>,
    /// What went wrong when they were made durable, and was not told yet.
    error: Option<FsError>,
}

impl Host {
    /// Names in a directory, or the attributes of an object, were changed.
    pub(super) fn mark_dirty(&mut self, node: Node) -> FsResult<()> {
        if self.dirty.nodes.contains(&node) {
            return Ok(());
        }
        if self.dirty.nodes.is_full() {
            self.commit_all(true);
        }
        let pin = self.table.pin(node, 0)?;
        let _ = self.dirty.nodes.push(pin.node);
        Ok(())
    }

    /// Makes all of them durable, or all but those that may wait. What goes wrong is told by [`Host::committed`].
    pub(super) fn commit_all(&mut self, at_once: bool) {
        for node in core::mem::take(&mut self.dirty.nodes) {
            if !at_once && self.at(node).is_ok_and(|(_, top)| top.is_async) {
                let _ = self.dirty.nodes.push(node);
                continue;
            }
            let committed = self.commit_one(node);
            self.table.unpin(Pin { node, user: 0 });
            self.dirty.error = self.dirty.error.or(committed.err());
        }
    }

    fn commit_one(&mut self, node: Node) -> FsResult<()> {
        let reopened = self.reopen(node, Opened::Read);
        let (entry, top) = self.at(node)?;
        let synced = match reopened {
            Ok(()) => fs::fsync(entry.file.as_raw_fd()),
            Err(_) => Err(FsError::Invalid),
        };
        match synced {
            // What cannot be opened now, as a link or a device never can, or has no way to the disk of its own, gets there
            // with all the rest.
            Err(FsError::Invalid) => rustix::fs::syncfs(&top.dir).map_err(error),
            synced => synced,
        }
    }

    /// Whether all that was to be made durable is.
    pub(super) fn committed(&mut self) -> FsResult<()> {
        self.dirty.error.take().map_or(Ok(()), Err)
    }

    /// Makes durable what an earlier server did: it may be killed before it has, and its replies are given all the same.
    #[inline(never)]
    pub fn commit_earlier(&mut self) {
        for top in self.tops.iter().filter(|top| !top.is_async) {
            let synced = rustix::fs::syncfs(&top.dir).map_err(error);
            self.dirty.error = self.dirty.error.or(synced.err());
        }
    }

    pub(super) fn sync_file(&mut self, pin: &Pin) -> FsResult<()> {
        let (entry, _) = self.at(pin.node)?;
        // A caller that asked while another waited for the disk has what it wants.
        if !entry.synced.get() {
            fs::fsync::<FsError>(entry.file.as_raw_fd())?;
            entry.synced.set(true);
        }
        // With the data the names.
        self.commit_all(true);
        self.committed()
    }
}
