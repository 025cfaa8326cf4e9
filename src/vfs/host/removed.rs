//! Unlinked files that are still open. The last close frees their blocks; for a large file a worker closes it.
//!
//! A regular file that another program unlinked or replaced stays usable as long as the table has it open. A file that a client of
//! this server removed is stale at once; so that every loop knows, [`Removals`] are in memory that the loops share.

use super::super::kernel::{self, PATH, terminated};
use super::super::{FsResult, Name, ObjectType, handle};
use super::Host;
use super::durable::Dirty;
use super::open_files::OpenEntry;
use super::records::PendingJob;
use crate::config::{FREE_BLOCKS_MAX, REMOVED_COUNT};
use crate::sys;
use crate::sys::linux::fs::{self, File, Statx};
use crate::sys::linux::workers::Work;
use core::sync::atomic::{AtomicU32, Ordering};

/// The files whose last names clients have removed most recently, in words that all loops share: the count of removals, then a ring of
/// [`REMOVED_COUNT`] identities. Without words, nothing is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Removals(pub &'static [AtomicU32]);

/// A removal that has not been carried out yet.
#[derive(Default)]
pub(super) struct Removal {
    /// A large file, for a worker to close.
    file: Option<File>,
    /// The file's record in [`Removals`], if the name is its last.
    record: Option<&'static AtomicU32>,
}

impl Removals {
    /// Number of removals by clients since the memory was made. Wraps.
    pub(super) fn count(self) -> u32 {
        self.0
            .first()
            .map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Records a file. Returns the record.
    fn add(self, stat: &Statx) -> Option<&'static AtomicU32> {
        let number = self.0.first()?.fetch_add(1, Ordering::Relaxed) as usize;
        let record = self.0.get(1 + number % REMOVED_COUNT)?;
        record.store(identity(stat), Ordering::Relaxed);
        Some(record)
    }

    /// Returns true if another program unlinked the open file, which had a name when [`count`](Self::count) was `then`. False if the
    /// record of a removal by a client may be overwritten since: a loop may carry out a removal long after it has recorded it.
    #[cold]
    pub(super) fn spare(self, stat: &Statx, then: u32) -> bool {
        let own = identity(stat);
        let is_own = |record: &AtomicU32| record.load(Ordering::Relaxed) == own;
        is_regular(stat)
            && self.count().wrapping_sub(then) as usize <= REMOVED_COUNT / 2
            && !self.0.iter().skip(1).any(is_own)
    }
}

/// A digest of device, inode number and birth time; not 0.
fn identity(stat: &Statx) -> u32 {
    let born = handle::digest(stat.stx_btime.tv_sec as u64, stat.stx_btime.tv_nsec.into());
    let object = handle::digest(fs::device(stat), stat.stx_ino);
    handle::digest(object.into(), born.into()) | 1
}

impl Host {
    /// Prepares the removal of a name. Opens a large file, so that a worker can be the last to close it.
    pub(super) fn begin_removal(&self, dir: &File, name: Name<'_>) -> Removal {
        let (mut text, mut stat) = ([0; 256], fs::blank());
        let name = terminated(name, &mut text);
        let mut removal = Removal::default();
        if fs::statx(dir, name, &mut stat).is_ok() && is_regular(&stat) {
            if self.dirty.workers.is_some() && stat.stx_blocks > FREE_BLOCKS_MAX {
                removal.file = kernel::open(dir, name, PATH, 0).ok();
            }
            if stat.stx_nlink == 1 {
                removal.record = self.removals.add(&stat);
            }
        }
        removal
    }

    /// Completes a removal after the system call returned `done`, and returns that.
    pub(super) fn end_removal(&mut self, removal: Removal, done: FsResult<()>) -> FsResult<()> {
        if done.is_err()
            && let Some(record) = removal.record
        {
            record.store(0, Ordering::Relaxed);
        }
        self.dirty.close_by_worker(removal.file);
        done
    }

    /// After ENOSPC or EDQUOT: waits for the workers that free blocks, and closes removed files. Returns true if that may have made
    /// room.
    #[cold]
    pub(super) fn make_room(&mut self) -> bool {
        let mut has_waited = false;
        while let Some(workers) = &mut self.dirty.workers
            && workers.is_freeing()
        {
            workers.wait();
            workers.drain();
            workers.collect(sys::now());
            has_waited = true;
        }
        if let Some(workers) = self.dirty.workers.as_ref().filter(|_| has_waited) {
            // `drain` has emptied the pipe, but other jobs may have ended, too: make it readable again for the loop.
            workers.notify();
        }
        self.table.drop_removed() || has_waited
    }
}

impl Dirty {
    /// Has a worker close a file. If the file has no name, this frees its blocks.
    pub(super) fn close_by_worker(&mut self, file: Option<File>) {
        let Some(file) = file.map(File::leak) else {
            return;
        };
        let workers = self.workers.as_mut();
        if !workers
            .is_some_and(|workers| workers.push(Work::Close, file, PendingJob::Free, sys::now()))
        {
            fs::close(file);
        }
    }

    /// Closes the descriptor of an idle entry; a worker does it if the file is large and unlinked. Leaves a file that another program
    /// unlinked open once, so that a client may use it again within two seconds.
    pub(super) fn close_idle(&mut self, place: &mut Option<OpenEntry>, removals: Removals) {
        let mut stat = fs::blank();
        if let Some(entry) = place
            && entry.kind == ObjectType::Regular
            && fs::statx(&entry.file, c"", &mut stat).is_ok()
            && stat.stx_nlink == 0
        {
            if !entry.lingers.replace(true) && removals.spare(&stat, entry.named.get()) {
                return;
            }
            if stat.stx_blocks > FREE_BLOCKS_MAX {
                return self.close_by_worker(place.take().map(|entry| entry.file));
            }
        }
        *place = None;
    }
}

fn is_regular(stat: &Statx) -> bool {
    ObjectType::of_mode(stat.stx_mode.into()) == ObjectType::Regular
}
