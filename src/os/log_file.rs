//! A file of lines for other programs, such as an access log, or a standard stream. A file is opened again after another program has
//! renamed it.

#![forbid(unsafe_code)]

use super::log_place::{Place, place};
use crate::event::{Fatal, Logged, Marks, Sink};
use crate::mem::{self, Ends as _};
use crate::sys::linux::daemon::open_lines;
use crate::sys::linux::fs::{self, File};
use crate::sys::{Errno, FileRights, Needs};
use core::cell::{Cell, RefCell};
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;

/// Longest path (bytes).
const PATH_BYTES_MAX: usize = 1024;

/// A file at whose end lines are written, or a standard stream.
pub struct LogFile {
    place: Place,
    /// `None`: the place is a stream.
    file: RefCell<Option<File>>,
    /// True while lines are lost.
    has_failed: Cell<bool>,
    /// Reports the path and the error of the first line that is lost.
    report: fn(&[u8], Errno) -> Fatal,
}

impl LogFile {
    /// Opens or creates the file at `path`. `report` reports an error at the file with this path.
    ///
    /// # Errors
    /// The status of the program: the errors of [`place`] and open(2) are reported.
    pub fn open(
        path: &'static CStr,
        report: fn(&[u8], Errno) -> Fatal,
    ) -> Result<&'static Self, Fatal> {
        let place = place(path).map_err(|errno| report(path.to_bytes(), errno))?;
        let log = mem::leak(Self {
            place,
            file: RefCell::default(),
            has_failed: Cell::new(false),
            report,
        });
        log.reopen().map_err(|errno| report(log.path(), errno))?;
        Ok(log)
    }

    /// The path of the file, behind links; empty: this is a stream.
    pub const fn path(&self) -> &'static [u8] {
        match self.place {
            Place::File(path) => path.to_bytes(),
            Place::Stream(_) => b"",
        }
    }

    /// Opens or creates the file again, in case it was renamed. After an error, lines still go to the old file.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn reopen(&self) -> Result<(), Errno> {
        if let Place::File(path) = self.place {
            self.file.replace(Some(open_lines(path)?));
        }
        Ok(())
    }

    /// Adds the file's directory to those that the sandbox allows.
    pub fn add_needs(&self, needs: &mut Needs) {
        let path = match self.place {
            Place::File(path) => path.to_bytes(),
            Place::Stream(_) => return,
        };
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let dir = match slash {
            None => &b"."[..],
            Some(at) => path.head(at.max(1)),
        };
        let mut buffer = [0; PATH_BYTES_MAX];
        let place = buffer.get_mut(..dir.len());
        let copied = place.map(|place| place.copy_from_slice(dir)).is_some();
        match CStr::from_bytes_until_nul(&buffer) {
            Ok(dir) if copied => _ = needs.add_directory(dir, FileRights::Change),
            _ => needs.add_all_files(),
        }
    }
}

impl Logged for &LogFile {}

impl Sink for &LogFile {
    fn write_line(&mut self, line: &[u8], _: Marks) {
        /// POSIX's PIPE_BUF of Linux (bytes): a pipe that is ready accepts as many without blocking.
        const PIPE_BYTES: usize = 4096;
        let written = match (self.place, &*self.file.borrow()) {
            (Place::Stream(stream), _) => {
                let parts = line.chunks(PIPE_BYTES);
                parts.for_each(|part| stream.offer(part));
                Ok(())
            }
            (_, Some(file)) => fs::append(file.as_raw_fd(), line),
            _ => Ok(()),
        };
        // A full disk loses lines; replies go on.
        let has_failed = self.has_failed.replace(written.is_err());
        if let Err(errno) = written
            && !has_failed
        {
            (self.report)(self.path(), errno);
        }
    }
}
