//! Changes that are not durable yet: names, attributes and staged data.
//!
//! A sync makes all of them durable together: one fsync for a directory or a file, however many requests changed it. Names and
//! attributes of an `async` export follow with the next sync of [`Scope::All`], which the loop submits within two seconds. If the
//! last sync of an export was slow, a worker carries out the next one.

use super::super::jobs::{JobId, Scope, Submitted};
use super::super::kernel::error;
use super::super::{FsError, FsResult, Node, Pin};
use super::Host;
use super::HostExport;
use super::open_files::{OpenEntry, Opened};
use super::records::{Changes, PendingJob};
use super::writes::Writes;
use crate::config::DIRTY_COUNT;
use crate::sys;
use crate::sys::linux::fs;
use crate::sys::linux::workers::{FinishedJob, Work, Workers};
use crate::time::Duration;
use rustix::fd::{AsRawFd as _, RawFd};

/// The sync that makes the changes of an object durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Scheduled {
    /// The next sync of [`Scope::All`].
    Later,
    /// The next sync of any scope.
    Promised,
    /// The next sync of any scope, which syncs the object's whole file system.
    System,
}

/// Objects with changes that are not durable, each pinned, and the workers that sync them.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    objects: heapless::Vec<(Node, Scheduled), DIRTY_COUNT>,
    /// Error of a sync that the loop carried out itself, not reported yet. The next sync reports it.
    error: Option<FsError>,
    /// The error of the last sync that failed at a worker, and the number of the next job at that time. Syncs below that number
    /// fail, too: their replies may depend on the lost changes.
    failed: Option<(FsError, u32)>,
    pub(super) workers: Option<Workers<PendingJob>>,
    pub(super) writes: Writes,
}

/// A disk whose last sync took this long is slow: a worker syncs next.
const SLOW: Duration = Duration::from_ms(2);
/// An object with more changes than this since its last sync is synced by a worker, because the sync may take long.
const CHANGES_AT_ONCE_MAX: u32 = 4;

impl Host {
    /// Counts a change of an object's attributes, or of the names in a directory, and schedules its sync.
    pub(super) fn mark_dirty(&mut self, node: Node) -> FsResult<()> {
        let (entry, export) = self.at(node)?;
        entry.change();
        let scheduled = match export.is_async.get() {
            true => Scheduled::Later,
            false => Scheduled::Promised,
        };
        self.schedule(node, scheduled)
    }

    /// Schedules an object for a sync, and pins it until then.
    pub(super) fn schedule(&mut self, node: Node, scheduled: Scheduled) -> FsResult<()> {
        let objects = &mut self.dirty.objects;
        if let Some((_, sooner)) = objects.iter_mut().find(|(other, _)| *other == node) {
            *sooner = scheduled.max(*sooner);
            return Ok(());
        }
        if objects.is_full() {
            self.sync_objects(Scope::All);
        }
        let pin = self.table.pin(node, 0)?;
        let _ = self.dirty.objects.push((pin.node, scheduled));
        Ok(())
    }

    /// Syncs the scheduled objects. While workers have syncs to carry out, returns the last of them as the pending job, even if it
    /// was submitted for another client.
    pub(super) fn sync_changes(&mut self, scope: Scope) -> Submitted {
        self.sync_objects(scope);
        if let Some(why) = self.dirty.error.take() {
            return Submitted::Done(Err(why));
        }
        let workers = self.dirty.workers.as_ref();
        match workers.and_then(Workers::last_sync) {
            Some(number) => Submitted::Pending(JobId::of(number)),
            None => Submitted::Done(Ok(())),
        }
    }

    /// Syncs the scheduled objects, in place or by workers. An error is kept for the next [`sync_changes`](Self::sync_changes).
    pub(super) fn sync_objects(&mut self, scope: Scope) {
        for (node, scheduled) in core::mem::take(&mut self.dirty.objects) {
            if scope == Scope::Promised && scheduled == Scheduled::Later {
                let _ = self.dirty.objects.push((node, scheduled));
                continue;
            }
            let synced = self.sync_object(node, scheduled);
            self.table.unpin(Pin { node, user: 0 });
            if let Err(why) = synced {
                self.dirty.error.get_or_insert(why);
            }
        }
    }

    fn sync_object(&mut self, node: Node, scheduled: Scheduled) -> FsResult<()> {
        let reopened = self.reopen(node, Opened::Read);
        let Self {
            dirty,
            table,
            exports,
            ..
        } = self;
        let entry = table.get(node).ok_or(FsError::Stale)?;
        let export = exports.get(usize::from(entry.export_index));
        let export = export.and_then(Option::as_ref).ok_or(FsError::Stale)?;
        if entry.is_durable() {
            return Ok(());
        }
        // A symbolic link, a FIFO or a device has no fsync: its file system is synced.
        let (work, file) = match reopened {
            Ok(()) if scheduled != Scheduled::System => (Work::Sync, entry.file.as_raw_fd()),
            _ => (Work::SyncSystem, export.dir.as_raw_fd()),
        };
        let changes = Changes {
            node,
            count: entry.changes.get(),
        };
        let begun = sys::now();
        if export.is_slow.get() || export.has_disk && entry.is_much() {
            let is_same =
                |other: &PendingJob| matches!(other, PendingJob::Sync(other) if other.node == node);
            if let Work::Sync = work
                && let Some(workers) = &mut dirty.workers
                && let Some(waiting) = workers.find_waiting(is_same)
            {
                *waiting = PendingJob::Sync(changes);
                return Ok(());
            }
            if dirty
                .start_job(work, file, PendingJob::Sync(changes))
                .is_some()
            {
                return Ok(());
            }
        }
        let synced = match work {
            Work::Sync => fs::sync(file),
            _ => fs::syncfs(file),
        };
        export.is_slow.set(sys::now().since(begun) >= SLOW);
        synced.map_err(error)?;
        entry.is_durable_to(changes.count);
        Ok(())
    }

    /// Completes a sync by a worker: records the durable changes or the error, and whether the disk was slow.
    pub(super) fn complete_sync(
        &mut self,
        changes: Changes,
        ended: &FinishedJob<PendingJob>,
    ) -> FsResult<()> {
        let Dirty {
            workers, failed, ..
        } = &mut self.dirty;
        if let Err(errno) = ended.outcome.result {
            let why = error(errno);
            *failed = workers.as_ref().map(|workers| (why, workers.next()));
            return Err(why);
        }
        if let Some(entry) = self.table.get(changes.node) {
            entry.is_durable_to(changes.count);
            if let Some(export) = self
                .exports
                .get(usize::from(entry.export_index))
                .and_then(Option::as_ref)
            {
                export.is_slow.set(ended.outcome.took > Duration::default());
            }
        }
        match *failed {
            Some((why, next)) if (ended.number.wrapping_sub(next) as i32) < 0 => Err(why),
            _ => Ok(()),
        }
    }

    /// Syncs the file system of an export that is not `async`, if an earlier server may have been killed before its sync.
    pub(super) fn sync_system(&mut self, export: &HostExport) {
        if self.was_used && !export.is_async.get() {
            let synced = fs::syncfs(export.dir.as_raw_fd()).map_err(error);
            self.dirty.error = self.dirty.error.or(synced.err());
        }
    }
}

impl Dirty {
    /// Submits a job on a file to the workers, with a duplicate of the descriptor. Returns the number of the job. `None`: no
    /// worker, job entry or descriptor is free.
    pub(super) fn start_job(&mut self, work: Work, file: RawFd, job: PendingJob) -> Option<u32> {
        let workers = self.workers.as_mut()?;
        let own = fs::dup::<FsError>(file).ok()?;
        let number = workers.next();
        if workers.push(work, own, job, sys::now()) {
            return Some(number);
        }
        fs::close(own);
        None
    }
}

impl OpenEntry {
    /// Counts a change of the object, for a later sync.
    pub(super) fn change(&self) {
        self.changes.set(self.changes.get().wrapping_add(1));
    }

    /// Returns true if every change is durable.
    pub(super) fn is_durable(&self) -> bool {
        self.changes == self.durable
    }

    /// Returns true if there are many changes to sync, so that the sync may take long.
    fn is_much(&self) -> bool {
        self.changes.get().wrapping_sub(self.durable.get()) > CHANGES_AT_ONCE_MAX
    }

    /// Records that the first `count` changes are durable. Ignores a `count` below the recorded one: syncs may end out of order.
    fn is_durable_to(&self, count: u32) {
        if count.wrapping_sub(self.durable.get()) as i32 > 0 {
            self.durable.set(count);
            self.unsynced_bytes.set(0);
        }
    }
}
