//! The jobs of this backend: submits them to workers or carries them out in place, and completes those that workers have ended.

use super::super::jobs::{Ended, JobId, JobKind, Submitted};
use super::super::{Extent, FileId, FsError, FsResult, Pin};
use super::Host;
use super::durable::Scheduled;
use super::records::{PendingJob, Saving};
use crate::mem::Ends as _;
use crate::sys;
use crate::sys::linux::fs;
use crate::sys::linux::workers::{FinishedJob, Work};
use rustix::fd::AsRawFd as _;
use rustix::io::Errno;

impl Host {
    /// Has a worker read an extent into the page cache, if sendfile(2) would wait for the disk.
    pub(super) fn read_into_cache(&mut self, extent: &Extent) -> Submitted {
        let &Extent { file, offset, len } = extent;
        let in_place = Submitted::Done(Ok(()));
        if self.dirty.workers.is_none() || len == 0 {
            return in_place;
        }
        // cachestat(2) fails with EPERM for files that the process neither owns nor may write to.
        self.acting.server();
        if fs::is_cached(file.0, offset, len) {
            return in_place;
        }
        let work = Work::Read { offset, len };
        match self.dirty.start_job(work, file.0, PendingJob::Read) {
            Some(number) => Submitted::Pending(JobId::of(number)),
            None => in_place,
        }
    }

    /// Has a worker write `bytes` at an offset of a file; writes them in place if no worker is free, or no pipe for all of them.
    pub(super) fn overwrite(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Submitted {
        match self.start_overwrite(file, offset, bytes) {
            Some(number) => Submitted::Pending(JobId::of(number)),
            None => Submitted::Done(fs::pwrite(file.0, offset, bytes).map(drop)),
        }
    }

    fn start_overwrite(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Option<u32> {
        let (pipe, to) = fs::pipe().ok()?;
        if fs::write(to.as_raw_fd(), bytes) != Ok(bytes.len()) {
            return None;
        }
        let work = Work::Write {
            pipe: pipe.as_raw_fd(),
            offset,
            len: bytes.len() as u32,
            user: None,
        };
        let job = PendingJob::Save(Saving {
            pipe: pipe.as_raw_fd(),
            file: file.0,
            offset,
        });
        let number = self.dirty.start_job(work, file.0, job)?;
        // `complete` closes it.
        pipe.leak();
        Some(number)
    }

    /// Completes a job that a worker has ended.
    fn complete(&mut self, worked: &FinishedJob<PendingJob>) -> Option<Ended> {
        let id = JobId::of(worked.number);
        let (kind, result) = match worked.tag {
            PendingJob::Sync(changes) => (JobKind::Sync, self.complete_sync(changes, worked)),
            PendingJob::Read => (JobKind::Read, Ok(())),
            PendingJob::Write => {
                let stored = worked.outcome.stored;
                (JobKind::Write, self.complete_write(worked.number, stored))
            }
            PendingJob::Free => return None,
            PendingJob::Save(saving) => {
                // EINVAL: not every file system has splice(2).
                let outcome = &worked.outcome;
                let again = |failure| saving.copy_rest(outcome.stored, failure);
                let done = outcome.result.or_else(again);
                fs::close(saving.pipe);
                (JobKind::Save, done.map_err(FsError::from))
            }
        };
        Some(Ended { id, kind, result })
    }

    /// Carries out [`Job::Stage`](super::super::Job::Stage).
    pub(super) fn stage_file(&mut self, file: &Pin) -> FsResult<()> {
        let (entry, _) = self.at(file.node)?;
        if crate::config::HAS_SERVE && self.is_shared {
            // Another server process may have written to the file, so it is synced even if this process has not changed it.
            entry.change();
        }
        if entry.is_durable() {
            return Ok(());
        }
        self.schedule(file.node, Scheduled::Promised)
    }

    /// Carries out [`Job::StageExport`](super::super::Job::StageExport).
    pub(super) fn stage_system(&mut self, tag: u32) {
        if crate::config::HAS_SERVE
            && let Ok(export) = self.find_or_open(super::handle::root(tag).bytes())
            && let Ok((entry, _)) = self.at(export)
        {
            entry.change();
            let _ = self.schedule(export, Scheduled::System);
        }
    }

    /// Passes the jobs that workers have ended to `each`.
    pub(super) fn complete_all(&mut self, each: &mut dyn FnMut(Ended)) {
        if let Some(workers) = &mut self.dirty.workers {
            workers.drain();
            workers.collect(sys::now());
        }
        while let Some(workers) = &mut self.dirty.workers
            && let Some(worked) = workers.pop_ended()
        {
            if let Some(ended) = self.complete(&worked) {
                each(ended);
            }
        }
    }
}

impl Saving {
    /// Writes in place the rest of the pipe, whose other end is closed, after a worker has stored `stored` bytes and failed.
    #[cold]
    fn copy_rest(self, stored: u32, failure: Errno) -> Result<(), Errno> {
        let mut bytes = [0; 512];
        let (mut at, mut done) = (self.offset + u64::from(stored), Err(failure));
        loop {
            let len = fs::read(self.pipe, &mut bytes)?;
            if len == 0 {
                return done;
            }
            fs::pwrite::<Errno>(self.file, at, bytes.head(len))?;
            at += len as u64;
            done = Ok(());
        }
    }
}
