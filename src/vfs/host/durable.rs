//! What is on its way to the disk: names, attributes and data that were changed and not yet made durable.
//!
//! They are made so all together before anybody is told: one call for a directory or a file, however many requests that came
//! together changed it. Of an export that is `async` they follow with the next COMMIT, or within two seconds.

use super::super::kernel::error;
use super::super::{FsError, FsResult, Node, Pin};
use super::Host;
use super::table::{Entry, Opened};
use crate::config::DIRTY_COUNT;
use crate::sys::linux::fs;
use rustix::fd::AsRawFd as _;

/// Objects of which something is not durable yet, each pinned.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    nodes: heapless::Vec<Node, DIRTY_COUNT>,
    /// What went wrong when they were made durable, and was not told yet.
    error: Option<FsError>,
}

impl Host {
    /// Names in a directory, the attributes of an object or the data of a file were changed.
    pub(super) fn mark_dirty(&mut self, node: Node) -> FsResult<()> {
        self.at(node)?.0.synced.set(false);
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
            Ok(()) => entry.sync(),
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
        self.at(pin.node)?.0.sync()?;
        // With the data the names.
        self.commit_all(true);
        self.committed()
    }

    /// What was written to a file gets to the disk with the next commit, if its export has any.
    pub(super) fn sync_file_later(&mut self, pin: &Pin) -> FsResult<()> {
        let (entry, top) = self.at(pin.node)?;
        if top.is_async {
            return Err(FsError::NotSupported);
        }
        if entry.synced.get() {
            return Ok(());
        }
        self.mark_dirty(pin.node)
    }
}

impl Entry {
    /// A caller that asked while another waited for the disk has what it wants.
    #[inline(never)]
    fn sync(&self) -> FsResult<()> {
        if !self.synced.get() {
            fs::fsync::<FsError>(self.file.as_raw_fd())?;
            self.synced.set(true);
        }
        Ok(())
    }
}
