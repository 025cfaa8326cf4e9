//! Jobs: work that may wait for a disk, carried out so that neither the loop nor other clients wait.
//!
//! A caller submits a [`Job`] and continues; [`Tree::reap`] lists the jobs that have ended, for all tasks of the loop. Where no job
//! can wait (files in memory, a host without threads, a network that cannot watch the workers) every job is [`Submitted::Done`] at
//! once.

use super::{Backend, FsResult, Patience, Pin, Tree};
use crate::config::{ENDED_COUNT_MAX, JOB_COUNT};
use crate::mem::{self, Ends as _};

/// The host's number of an open file or pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(pub i32);

/// The number of a pending job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobId(u16);

impl JobId {
    /// Numbers of the jobs of workers, which are used again.
    const COUNT: u32 = 0xff00;
    /// An export was opened, or cannot be: the task that keeps the exports has work.
    pub const EXPORTS: Self = Self(0xfffd);
    /// A read by any disk of a machine without an operating system.
    pub const DISKS: Self = Self(0xfffe);
    /// A look-up of host names.
    pub const NAMES: Self = Self(0xffff);

    /// The number for traces.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The number of a worker's job that is counted from 0 and wraps around.
    pub const fn of(number: u32) -> Self {
        Self((number % Self::COUNT) as u16)
    }
}

/// Changes that a sync makes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Staged files, and names and attributes in exports without the option `async`.
    Promised,
    /// The changes of [`Scope::Promised`], and names and attributes in `async` exports.
    All,
}

/// Work that may wait for a disk.
#[derive(Clone, Copy, Debug)]
pub enum Job<'a> {
    /// Makes changes durable (fsync, syncfs). It ends when all syncs that were submitted before have ended, and fails if one of
    /// them does.
    Sync(Scope),
    /// Reads a part of a file into memory. Its result is always `Ok`: the READ that follows reports the error.
    Read(Extent),
    /// Writes all bytes at an offset of a file that is pinned for writing. `TooLarge`: the offset is beyond the largest file. After
    /// an error some bytes may be written.
    Write(&'a Pin, u64, Bytes<'a>),
    /// Makes the data of this file part of the next sync, or syncs it at once. Never pending. `Stale`: the file is not open any more;
    /// else as [`Vfs::sync`](super::Vfs::sync).
    Stage(&'a Pin),
    /// Makes everything in the export with this tag part of the next sync, because another server process has changed the export.
    /// Never pending.
    StageExport(u32),
    /// Writes bytes at an offset of a file that is no object of the backend.
    Save(FileId, u64, &'a [u8]),
}

/// Bytes to write.
#[derive(Clone, Copy, Debug)]
pub enum Bytes<'a> {
    /// A slice.
    Here(&'a [u8]),
    /// All bytes in a pipe, and their count. `Job::Write` empties the pipe, even if it fails.
    Piped(FileId, usize),
}

impl Bytes<'_> {
    /// The bytes after the first `count`, which were moved elsewhere.
    pub fn after(self, count: usize) -> Self {
        match self {
            Self::Here(bytes) => Self::Here(bytes.tail(count)),
            Self::Piped(pipe, len) => Self::Piped(pipe, len - count),
        }
    }

    /// Bytes to write.
    pub const fn len(&self) -> usize {
        match self {
            Self::Here(bytes) => bytes.len(),
            Self::Piped(_, len) => *len,
        }
    }

    /// Returns true if there is nothing to write.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A contiguous range of an open file, for sendfile(2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// The file.
    pub file: FileId,
    /// Offset of the first byte.
    pub offset: u64,
    /// Bytes; 0: the file ends here.
    pub len: u32,
}

/// The answer to a submitted job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Submitted {
    /// The job has ended.
    Done(FsResult<()>),
    /// [`Tree::reap`] will list it.
    Pending(JobId),
}

/// The kind of an ended job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JobKind {
    /// [`Job::Sync`].
    Sync,
    /// [`Job::Read`].
    Read,
    /// [`Job::Write`].
    Write,
    /// [`Job::Save`].
    Save,
}

/// A job that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The job's number.
    pub id: JobId,
    /// The job's kind.
    pub kind: JobKind,
    /// `NoSpace`, `Quota` or `Io` if the disk failed.
    pub result: FsResult<()>,
}

/// Jobs that have ended, until all tasks of the loop know it. They are counted in the order of their ends; the counts wrap around.
#[derive(Debug)]
pub(super) struct EndedJobs {
    /// The job that was the `n`th to end is at `n` modulo the size.
    ring: [Ended; ENDED_COUNT_MAX],
    /// Number of jobs that have ended.
    count: u32,
    /// Number of those that all tasks know.
    known_count: u32,
}

/// Calls of [`Tree::end_job`] until all tasks know a job: four in each of two turns.
const OTHER_COUNT_MAX: usize = 8;
const _: () = assert!(ENDED_COUNT_MAX.is_power_of_two());
const _: () = assert!(JOB_COUNT + OTHER_COUNT_MAX < ENDED_COUNT_MAX);

impl Default for EndedJobs {
    fn default() -> Self {
        Self {
            ring: [Ended::other(JobId::NAMES); _],
            count: 0,
            known_count: 0,
        }
    }
}

impl EndedJobs {
    fn push(&mut self, ended: Ended) {
        if let Some(place) = self.ring.get_mut(self.count as usize % ENDED_COUNT_MAX) {
            *place = ended;
        }
        self.count = self.count.wrapping_add(1);
    }
}

impl Ended {
    /// The end of a job that no worker had.
    const fn other(id: JobId) -> Self {
        Self {
            id,
            kind: JobKind::Read,
            result: Ok(()),
        }
    }
}

/// Jobs of the only backend that has a disk; all other backends carry out every job in place.
impl Tree {
    fn ended(&self) -> Option<&EndedJobs> {
        self.ended.first()?.as_deref()
    }

    /// See [`Vfs::start`](super::Vfs::start). Called before the other calls for jobs.
    pub fn start_jobs(&mut self, watch: &mut dyn FnMut(FileId) -> bool) {
        if let Some(jobs) = self.ended.first_mut() {
            *jobs = Some(mem::leak(EndedJobs::default()));
        }
        let backends = self.backends.iter_mut().flatten();
        backends.for_each(|backend| backend.start(watch));
    }

    /// Submits [`Job::Stage`].
    ///
    /// # Errors
    /// Those of the job.
    pub fn stage(&mut self, file: &Pin) -> FsResult<()> {
        match self.submit(Job::Stage(file)) {
            Submitted::Done(staged) => staged,
            Submitted::Pending(_) => Ok(()),
        }
    }

    /// Submits [`Job::StageExport`] for the export of a handle.
    pub fn stage_export(&mut self, handle: &[u8]) {
        if let Ok(tag) = super::handle::tag(handle) {
            let _ = self.submit(Job::StageExport(tag));
        }
    }

    /// See [`Vfs::submit`](super::Vfs::submit).
    pub fn submit(&mut self, job: Job<'_>) -> Submitted {
        if let Job::Write(file, ..) | Job::Stage(file) = job {
            return match self.backend(file.node) {
                Ok(backend) => backend.submit(job),
                Err(error) => Submitted::Done(Err(error)),
            };
        }
        let nothing = Submitted::Done(Ok(()));
        for number in 0..Backend::COUNT {
            if let Some(backend) = self.numbered(number) {
                let submitted = backend.submit(job);
                if submitted != nothing {
                    return submitted;
                }
            }
        }
        nothing
    }

    /// Counts the jobs that have ended; with [`Patience::Forever`], waits for one. Returns false if there is no space for them before
    /// [`Tree::forget_ended`].
    pub fn reap(&mut self, patience: Patience) -> bool {
        let Some(Some(jobs)) = self.ended.first_mut() else {
            return true;
        };
        let kept_count = jobs.count.wrapping_sub(jobs.known_count) as usize;
        let has_space = kept_count + JOB_COUNT + OTHER_COUNT_MAX <= ENDED_COUNT_MAX;
        if has_space {
            let each = &mut |ended| jobs.push(ended);
            let backends = self.backends.iter_mut().flatten();
            backends.for_each(|backend| backend.reap(patience, each));
        }
        has_space
    }

    /// Counts an end of [`JobId::DISKS`], [`JobId::NAMES`] or [`JobId::EXPORTS`], so that the next turn begins at once. Called at most
    /// once in a turn for each of the first two, and twice for the last.
    pub fn end_job(&mut self, id: JobId) {
        if let Some(Some(jobs)) = self.ended.first_mut() {
            jobs.push(Ended::other(id));
        }
    }

    /// Returns the job that has ended after `count` others, if there is one.
    pub fn ended_after(&self, count: u32) -> Option<Ended> {
        let jobs = self.ended()?;
        if jobs.count == count {
            return None;
        }
        jobs.ring.get(count as usize % ENDED_COUNT_MAX).copied()
    }

    /// Number of jobs that have ended.
    pub fn ended_count(&self) -> u32 {
        self.ended().map_or(0, |jobs| jobs.count)
    }

    /// Returns true if there are ends of jobs that not all tasks know.
    pub fn has_ended(&self) -> bool {
        let jobs = self.ended();
        jobs.is_some_and(|jobs| jobs.count != jobs.known_count)
    }

    /// From now on, all tasks know the first `count` ends.
    pub fn forget_ended(&mut self, count: u32) {
        if let Some(Some(jobs)) = self.ended.first_mut() {
            jobs.known_count = count;
        }
    }
}
