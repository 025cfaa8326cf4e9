//! WRITEs that a worker stores. Once many bytes of a file are not on disk, the kernel makes every write(2) wait for the disk, also
//! that of an UNSTABLE WRITE.
//!
//! The bytes are moved to a pipe of the job, and the worker splices them into the file. Bytes that the worker cannot store (ENOSPC,
//! EINVAL) are then written by the loop, so that errors are the same as without a worker.

use super::super::jobs::{Bytes, FileId, JobId, Submitted};
use super::super::{FsResult, Pin};
use super::Host;
use super::records::PendingJob;
use crate::config::{UNSYNCED_BYTES_MAX, WORKER_COUNT, WORKER_WRITE_COUNT};
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::workers::Work;
use rustix::fd::AsRawFd as _;

/// The end of a pipe to read from, and the end to write to.
type Pipe = (File, File);

/// A WRITE that a worker carries out.
#[derive(Debug)]
struct Write {
    /// Number of the job.
    number: u32,
    file: Pin,
    /// File offset of the next byte in the pipe.
    offset: u64,
    /// Bytes in the pipe.
    len: u32,
    pipe: Pipe,
}

/// The WRITEs queued or running at workers, and empty pipes for later ones.
#[derive(Debug, Default)]
pub(super) struct Writes {
    writes: heapless::Vec<Write, WORKER_WRITE_COUNT>,
    pipes: heapless::Vec<Pipe, WORKER_COUNT>,
}

impl Host {
    /// Writes bytes in place, or submits them to a worker if writing may wait for the disk.
    pub(super) fn store(&mut self, pin: &Pin, offset: u64, bytes: Bytes<'_>) -> Submitted {
        let given = match self.may_wait(pin, offset, bytes.len()) {
            true => self.start_write(pin, offset, bytes),
            false => None,
        };
        given.unwrap_or_else(|| Submitted::Done(self.store_in_place(pin, offset, bytes)))
    }

    fn store_in_place(&mut self, pin: &Pin, offset: u64, bytes: Bytes<'_>) -> FsResult<()> {
        match bytes {
            Bytes::Here(bytes) => self.write_all(pin, offset, bytes),
            Bytes::Piped(FileId(pipe), len) => self.write_pipe(pin, offset, pipe, len),
        }
    }

    /// Returns true if the kernel may make this write wait for the disk.
    fn may_wait(&self, pin: &Pin, offset: u64, len: usize) -> bool {
        let Some((entry, export)) = self.entry_and_export(pin.node) else {
            return false;
        };
        // A write that ends beyond the largest offset gets another errno from splice(2) than from pwrite(2).
        let ends = offset.saturating_add(len as u64) <= i64::MAX as u64;
        export.has_disk && ends && entry.unsynced_bytes.get() >= UNSYNCED_BYTES_MAX
    }

    /// Submits a write to a worker. `None`: there are no workers or no pipe, or too many WRITEs are queued; no byte was moved.
    #[cold]
    fn start_write(&mut self, pin: &Pin, offset: u64, bytes: Bytes<'_>) -> Option<Submitted> {
        if self.dirty.workers.is_none() || self.dirty.writes.writes.is_full() {
            return None;
        }
        let file = self.begin_write(pin).ok()?.file.as_raw_fd();
        let pipe = self.dirty.writes.pipes.pop();
        let pipe = pipe.or_else(|| fs::pipe().ok())?;
        let (to, len) = (pipe.1.as_raw_fd(), bytes.len());
        let moved = match bytes {
            Bytes::Here(bytes) => fs::write(pipe.1.as_raw_fd(), bytes),
            Bytes::Piped(FileId(from), len) => fs::splice(from, None, to, None, len),
        };
        let moved = moved.unwrap_or(0);
        let mut write = Write {
            number: 0,
            file: pin.lend(),
            offset,
            len: moved as u32,
            pipe,
        };
        let work = Work::Write {
            pipe: write.pipe.0.as_raw_fd(),
            offset,
            len: moved as u32,
            user: self.acting.switches().then_some(pin.user),
        };
        if moved == len
            && let Some(number) = self.dirty.start_job(work, file, PendingJob::Write)
        {
            write.number = number;
            self.count_unsynced(pin, len);
            let _ = self.dirty.writes.writes.push(write);
            return Some(Submitted::Pending(JobId::of(number)));
        }
        let stored = self.store_rest(&write);
        let rest = offset.saturating_add(moved as u64);
        let rest = self.store_in_place(pin, rest, bytes.after(moved));
        Some(Submitted::Done(stored.and(rest)))
    }

    /// Writes in place the bytes that the worker left in the pipe of a WRITE.
    fn store_rest(&mut self, write: &Write) -> FsResult<()> {
        let pipe = write.pipe.0.as_raw_fd();
        self.write_pipe(&write.file, write.offset, pipe, write.len as usize)
    }

    /// Completes a WRITE after its worker has stored `stored` bytes.
    pub(super) fn complete_write(&mut self, number: u32, stored: u32) -> FsResult<()> {
        let writes = &mut self.dirty.writes.writes;
        let place = writes.iter().position(|write| write.number == number);
        let Some(mut write) = place.map(|place| writes.swap_remove(place)) else {
            return Ok(());
        };
        write.offset += u64::from(stored);
        write.len -= stored.min(write.len);
        // `begin_write` counts one more change, because a sync that ran meanwhile may not have covered all bytes.
        self.begin_write(&write.file)?;
        self.store_rest(&write)?;
        let _ = self.dirty.writes.pipes.push(write.pipe);
        Ok(())
    }
}

impl Writes {
    /// Closes the empty pipes.
    pub(super) fn release_idle(&mut self) {
        self.pipes.clear();
    }
}
