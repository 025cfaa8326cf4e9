//! Unlinked files that are still open. The last close frees their blocks; for a large file a worker closes it.

use super::super::kernel::{self, PATH, terminated};
use super::super::{Name, ObjectType};
use super::Host;
use super::durable::Dirty;
use super::open_files::OpenEntry;
use super::records::PendingJob;
use crate::config::FREE_BLOCKS_MAX;
use crate::sys;
use crate::sys::linux::fs::{self, File, Statx};
use crate::sys::linux::workers::Work;

impl Host {
    /// Opens a large file before one of its names is removed, so that a worker can be the last to close it.
    pub(super) fn open_large(&self, dir: &File, name: Name<'_>) -> Option<File> {
        self.dirty.workers.as_ref()?;
        let (mut text, mut stat) = ([0; 256], fs::blank());
        let name = terminated(name, &mut text);
        fs::statx(dir, name, &mut stat).ok()?;
        let file = is_large(&stat).then(|| kernel::open(dir, name, PATH, 0));
        file?.ok()
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

    /// Closes the descriptor of an evicted entry; a worker does it if the file is large and unlinked.
    pub(super) fn close_idle(&mut self, entry: OpenEntry) {
        let mut stat = fs::blank();
        if entry.kind == ObjectType::Regular
            && fs::statx(&entry.file, c"", &mut stat).is_ok()
            && stat.stx_nlink == 0
            && is_large(&stat)
        {
            self.close_by_worker(Some(entry.file));
        }
    }
}

fn is_large(stat: &Statx) -> bool {
    ObjectType::of_mode(stat.stx_mode.into()) == ObjectType::Regular
        && stat.stx_blocks > FREE_BLOCKS_MAX
}
