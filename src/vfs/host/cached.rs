//! What is in memory, and what the disk has to be waited for.

use super::super::{Extent, FsError, FsResult, Pin, Ticket};
use super::Host;
use super::jobs::Job;
use crate::sys::linux::fs;
use crate::sys::linux::threads::Work;
use crate::sys::{self, Errno};
use rustix::fd::AsRawFd as _;

impl Host {
    /// Has a thread read bytes that are not in memory.
    pub(super) fn fetch(&mut self, extent: &Extent) -> Option<Ticket> {
        let workers = self.dirty.workers.as_mut()?;
        let &Extent { file, offset, len } = extent;
        if fs::is_cached(file, offset, len) {
            return None;
        }
        let (own, job) = (fs::dup::<FsError>(file).ok()?, workers.taken());
        if !workers.take(Work::Read { offset, len }, own, Job::Other, sys::now()) {
            fs::close(own);
            return None;
        }
        Some(Ticket::Bytes { job })
    }

    /// Reads bytes of a file if they are in memory, or where nobody else could wait for them.
    pub(super) fn read_at_once(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        let (entry, top) = self.at(pin.node)?;
        let file = entry.file.as_raw_fd();
        let mut done = 0;
        while self.dirty.workers.is_some() && top.tells_cached.get() {
            let rest = out.get_mut(done..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(done as u32);
            }
            match fs::pread_cached(file, offset + done as u64, rest) {
                // The file ends here.
                Ok(0) => return Ok(done as u32),
                Ok(more) => done += more,
                Err(Errno::AGAIN) => return Err(FsError::TryLater),
                Err(Errno::IO | Errno::INTR) => break,
                Err(_) => top.tells_cached.set(false),
            }
        }
        fs::pread(file, offset, out)
    }
}
