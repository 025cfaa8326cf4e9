//! What is on its way to the disk: names, attributes and data that were changed and not yet made durable.
//!
//! They are made so all together before anybody is told: one call for a directory or a file, however many requests that came
//! together changed it. Of an export that is `async` they follow with the next COMMIT, or within two seconds. A disk that takes
//! its time is waited for by threads, if there are any; who is to be told has a [`Ticket`].

use super::super::kernel::error;
use super::super::{FsError, FsResult, Node, Pin, Ticket};
use super::Host;
use super::jobs::{Changes, Job};
use super::storing::Stores;
use super::table::{Entry, Opened};
use crate::config::DIRTY_COUNT;
use crate::sys;
use crate::sys::linux::fs;
use crate::sys::linux::threads::{End, Work, Workers};
use crate::time::Duration;
use rustix::fd::AsRawFd as _;

/// Objects of which something is not durable yet, each pinned.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    nodes: heapless::Vec<Node, DIRTY_COUNT>,
    /// What went wrong when they were made durable, and was not told yet.
    error: Option<FsError>,
    pub(super) workers: Option<Workers<Job>>,
    pub(super) stores: Stores,
    /// Of the jobs that were taken, so many have somebody who waits for them.
    awaited: u32,
    /// How many of those failed, and why the last did.
    failures: u32,
    failed: Option<FsError>,
}

/// A sync that took so long is worth a thread's time; one that took less than a millisecond is not.
const SLOW: Duration = Duration::from_ms(2);
/// An object that was changed more often since it was durable may take long, however fast others were.
const CHANGES_AT_ONCE_MAX: u32 = 4;

impl Host {
    /// Names in a directory, the attributes of an object or the data of a file were changed.
    pub(super) fn mark_dirty(&mut self, node: Node) -> FsResult<()> {
        self.at(node)?.0.change();
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

    /// Makes all of them durable, or all but those that may wait, or has threads do so; whether it has. What goes wrong here is told
    /// by [`Host::committed`].
    pub(super) fn commit_all(&mut self, at_once: bool) -> bool {
        let mut is_begun = false;
        for node in core::mem::take(&mut self.dirty.nodes) {
            if !at_once && self.at(node).is_ok_and(|(_, top)| top.is_async) {
                let _ = self.dirty.nodes.push(node);
                continue;
            }
            let committed = self.commit_one(node);
            self.table.unpin(Pin { node, user: 0 });
            match committed {
                Ok(begun) => is_begun |= begun,
                Err(why) => self.dirty.error = self.dirty.error.or(Some(why)),
            }
        }
        is_begun
    }

    /// Makes an object durable; whether a thread does so.
    fn commit_one(&mut self, node: Node) -> FsResult<bool> {
        let reopened = self.reopen(node, Opened::Read);
        let Self {
            dirty, table, tops, ..
        } = self;
        let entry = table.get(node).ok_or(FsError::Stale)?;
        let top = tops.get(usize::from(entry.export));
        let top = top.ok_or(FsError::Stale)?;
        if entry.is_durable() {
            return Ok(false);
        }
        // What cannot be opened now, as a link or a device never can, gets there with all the rest.
        let (work, file) = match reopened {
            Ok(()) => (Work::Sync, entry.file.as_raw_fd()),
            Err(_) => (Work::SyncSystem, top.dir.as_raw_fd()),
        };
        let changes = Changes {
            node,
            count: entry.changes.get(),
        };
        let begun = sys::now();
        if let Some(workers) = &mut dirty.workers
            && (top.is_slow.get() || entry.is_much())
        {
            if let Some(waiting) =
                workers.waits(|other| matches!(other, Job::Sync(other) if other.node == node))
            {
                *waiting = Job::Sync(changes);
                return Ok(true);
            }
            if let Ok(own) = fs::dup::<FsError>(file) {
                if workers.take(work, own, Job::Sync(changes), begun) {
                    return Ok(true);
                }
                fs::close(own);
            }
        }
        let synced = match work {
            Work::Sync => fs::sync(file),
            _ => fs::syncfs(file),
        };
        top.is_slow.set(sys::now().since(begun) >= SLOW);
        synced.map_err(error)?;
        entry.is_durable_to(changes.count);
        Ok(false)
    }

    /// Takes in what threads have done.
    pub(super) fn collect(&mut self) {
        let Self {
            dirty, table, tops, ..
        } = self;
        let Some(workers) = &mut dirty.workers else {
            return;
        };
        workers.take_told();
        let (awaited, failures) = (dirty.awaited, &mut dirty.failures);
        let (failed, untold) = (&mut dirty.failed, &mut dirty.error);
        let stores = &mut dirty.stores;
        workers.collect(sys::now(), &mut |number, end| {
            let End { result, took, .. } = end;
            let changes = match end.tag {
                Job::Other => return,
                Job::Store(number) => return stores.ended(number, end.stored),
                Job::Sync(changes) => changes,
            };
            match result {
                Err(errno) if awaited.wrapping_sub(number) as i32 <= 0 => {
                    *untold = untold.or(Some(error(*errno)));
                }
                Err(errno) => {
                    *failures = failures.wrapping_add(1);
                    *failed = Some(error(*errno));
                }
                Ok(()) => {
                    let Some(entry) = table.get(changes.node) else {
                        return;
                    };
                    entry.is_durable_to(changes.count);
                    if let Some(top) = tops.get(usize::from(entry.export)) {
                        top.is_slow.set(*took > Duration::default());
                    }
                }
            }
        });
    }

    /// Whether all that was to be made durable is; else what those wait for who are to be told. `any`: of what was
    /// begun by whomever.
    pub(super) fn committed(&mut self, any: bool) -> FsResult<Option<Ticket>> {
        self.dirty.error.take().map_or(Ok(()), Err)?;
        let Some(workers) = &self.dirty.workers else {
            return Ok(None);
        };
        let taken = workers.taken();
        if workers.has_synced(taken) || !any {
            return Ok(None);
        }
        self.dirty.awaited = taken;
        Ok(Some(Ticket::Changes {
            jobs: taken,
            failures: self.dirty.failures,
        }))
    }

    /// Whether what a ticket is for is durable, or has been read. `waits`: until it is.
    pub(super) fn redeem(&mut self, ticket: Ticket, waits: bool) -> FsResult<bool> {
        if let Ticket::Stored { job } = ticket {
            return self.stored(job, waits);
        }
        let mut has_waited = false;
        loop {
            let Some(workers) = &self.dirty.workers else {
                return Ok(true);
            };
            let has_ended = match ticket {
                Ticket::Changes { jobs, .. } => workers.has_synced(jobs),
                Ticket::Bytes { job } => workers.has_ended(job),
                Ticket::Stored { .. } => true,
            };
            if waits && !has_ended {
                workers.wait();
                self.collect();
                has_waited = true;
                continue;
            }
            if has_waited {
                // What was told is taken: others who wait look once more.
                workers.tell();
            }
            return match ticket {
                Ticket::Changes { failures, .. } if failures != self.dirty.failures => {
                    Err(self.dirty.failed.unwrap_or(FsError::Io))
                }
                _ => Ok(has_ended),
            };
        }
    }

    /// Makes durable what other servers did: one may be killed before it has, and its replies are given all the same.
    #[inline(never)]
    pub fn sync_systems(&mut self) {
        for top in self.tops.iter().filter(|top| !top.is_async) {
            let synced = fs::syncfs(top.dir.as_raw_fd()).map_err(error);
            self.dirty.error = self.dirty.error.or(synced.err());
        }
    }

    /// Everything, now.
    pub(super) fn sync_file(&mut self, pin: &Pin) -> FsResult<()> {
        let entry = self.at(pin.node)?.0;
        if self.is_shared {
            // Others may have written to it.
            entry.change();
        }
        entry.sync()?;
        // With the data the names.
        self.commit_and_wait()
    }

    /// Makes everything durable and waits until it is.
    pub(super) fn commit_and_wait(&mut self) -> FsResult<()> {
        self.commit_all(true);
        match self.committed(true)? {
            Some(ticket) => self.redeem(ticket, true).map(drop),
            None => Ok(()),
        }
    }

    /// What was written to a file gets to the disk with the next commit, if its export has any.
    pub(super) fn sync_file_later(&mut self, pin: &Pin) -> FsResult<()> {
        let (entry, top) = self.at(pin.node)?;
        if top.is_async {
            return Err(FsError::NotSupported);
        }
        if entry.is_durable() && !self.is_shared {
            return Ok(());
        }
        self.mark_dirty(pin.node)
    }
}

impl Entry {
    /// It was changed.
    pub(super) fn change(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
    }

    fn is_durable(&self) -> bool {
        self.changes == self.durable
    }

    /// Whether so much was changed that the disk may take long.
    fn is_much(&self) -> bool {
        self.changes.get().wrapping_sub(self.durable.get()) > CHANGES_AT_ONCE_MAX
    }

    /// So many of its changes are durable: perhaps fewer than are already.
    fn is_durable_to(&self, count: u32) {
        if count.wrapping_sub(self.durable.get()) as i32 > 0 {
            self.durable.set(count);
            self.unsynced_bytes.set(0);
        }
    }

    /// A caller that asked while another waited for the disk has what it wants.
    #[inline(never)]
    fn sync(&self) -> FsResult<()> {
        if !self.is_durable() {
            fs::fsync::<FsError>(self.file.as_raw_fd())?;
            self.is_durable_to(self.changes.get());
        }
        Ok(())
    }
}
