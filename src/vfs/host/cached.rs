//! READs that the page cache answers.

use super::super::{Extent, FileId, FsError, Pin, Stop, Submitted, Until};
use super::Host;
use crate::sys::Errno;
use crate::sys::linux::fs;
use rustix::fd::AsRawFd as _;

impl Host {
    /// Reads bytes of a file. Without workers or RWF_NOWAIT, and after EIO, the call may wait for the disk.
    ///
    /// # Errors
    /// `Again`: bytes are not in the page cache (RWF_NOWAIT), and a worker reads them.
    pub(super) fn read_at_once(
        &mut self,
        pin: &Pin,
        offset: u64,
        out: &mut [u8],
    ) -> Result<u32, Stop> {
        let (entry, export) = self.at(pin.node)?;
        let file = entry.file.as_raw_fd();
        let mut done = 0;
        while self.dirty.workers.is_some() && export.tells_cached.get() {
            let rest = out.get_mut(done..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(done as u32);
            }
            match fs::pread_cached(file, offset + done as u64, rest) {
                // The file ends here.
                Ok(0) => return Ok(done as u32),
                Ok(more) => done += more,
                Err(Errno::AGAIN) => {
                    let extent = Extent {
                        file: FileId(file),
                        offset,
                        len: out.len() as u32,
                    };
                    match self.read_into_cache(&extent) {
                        Submitted::Pending(id) => return Err(Stop::Again(Until::Job(id))),
                        Submitted::Done(_) => break,
                    }
                }
                Err(Errno::IO | Errno::INTR) => break,
                Err(_) => export.tells_cached.set(false),
            }
        }
        Ok(fs::pread::<FsError>(file, offset, out)?)
    }
}
