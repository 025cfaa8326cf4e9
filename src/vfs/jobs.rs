//! Jobs: work that may wait for a disk, carried out so that neither the loop nor other clients wait.
//!
//! A caller submits a [`Job`] and continues; [`Vfs::reap`] reports the jobs that have ended. Where no job can wait (files in
//! memory, a host without threads, a network that cannot watch the workers) every job is [`Submitted::Done`] at once.

use super::{FsError, FsResult, Pin, Tree, Vfs};
use crate::mem::Ends as _;

/// The host's number of an open file or pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(pub i32);

/// The number of a pending job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JobId(u16);

impl JobId {
    /// Numbers of the jobs of workers, which are used again.
    const COUNT: u32 = 0xff00;
    /// A read by any disk of a machine without an operating system.
    pub const DISKS: Self = Self(0xfffe);
    /// A look-up of host names.
    pub const NAMES: Self = Self(0xffff);

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
    /// [`Vfs::reap`] will report it.
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

/// Jobs of the only backend that has a disk; all other backends carry out every job in place.
impl Tree {
    /// The backend that has a disk.
    #[inline(never)]
    fn disk(&mut self) -> Option<&mut dyn Vfs> {
        for backend in self.backends.iter_mut().flatten() {
            if backend.has_jobs() {
                return Some(&mut **backend);
            }
        }
        None
    }

    /// See [`Vfs::start`].
    pub fn start_jobs(&mut self, watch: &mut dyn FnMut(FileId) -> bool) {
        if let Some(disk) = self.disk() {
            disk.start(watch);
        }
    }

    /// See [`Vfs::stage`].
    pub fn stage(&mut self, file: &Pin) -> FsResult<()> {
        self.backend(file.node)?.stage(file)
    }

    /// See [`Vfs::stage_export`].
    pub fn stage_export(&mut self, handle: &[u8]) {
        if let Ok(tag) = super::handle::tag(handle)
            && let Some(disk) = self.disk()
        {
            disk.stage_export(tag);
        }
    }

    /// See [`Vfs::submit`].
    pub fn submit(&mut self, job: Job<'_>) -> Submitted {
        if let Job::Write(file, offset, bytes) = job {
            let Ok(backend) = self.backend(file.node) else {
                return Submitted::Done(Err(FsError::Stale));
            };
            match bytes {
                Bytes::Here(bytes) if !backend.has_jobs() => {
                    Submitted::Done(backend.write(file, offset, bytes))
                }
                _ => backend.submit(job),
            }
        } else if let Some(disk) = self.disk() {
            disk.submit(job)
        } else {
            // Nothing waits for a disk.
            Submitted::Done(Ok(()))
        }
    }

    /// See [`Vfs::reap`].
    pub fn reap(&mut self, each: &mut dyn FnMut(Ended)) {
        if let Some(disk) = self.disk() {
            disk.reap(each);
        }
    }

    /// See [`Vfs::wait`].
    pub fn wait_for_jobs(&mut self) {
        if let Some(disk) = self.disk() {
            disk.wait();
        }
    }
}
