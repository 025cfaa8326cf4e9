//! A file of lines for other programs, such as an access log. It is opened again after another program has renamed it.

#![forbid(unsafe_code)]

use crate::event::{Marks, Sink};
use crate::mem::Ends as _;
use crate::sys::linux::daemon::open_lines;
use crate::sys::linux::fs::{self, File};
use crate::sys::{Errno, FileRights, Needs};
use core::cell::RefCell;
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;

/// Longest path (bytes).
const PATH_BYTES_MAX: usize = 1024;

/// A file at whose end lines are written.
pub struct LogFile {
    /// Its path.
    pub path: &'static CStr,
    file: RefCell<File>,
}

impl LogFile {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &'static CStr) -> Result<Self, Errno> {
        let file = RefCell::new(open_lines(path)?);
        Ok(Self { path, file })
    }

    /// Opens or creates the file again, in case it was renamed. After an error, lines still go to the old file.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn reopen(&self) -> Result<(), Errno> {
        self.file.replace(open_lines(self.path)?);
        Ok(())
    }

    /// Adds the file's directory to those that the sandbox allows.
    pub fn add_needs(&self, needs: &mut Needs) {
        let path = self.path.to_bytes();
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

impl Sink for &LogFile {
    fn write_line(&mut self, line: &[u8], _: Marks) {
        // A full disk loses lines; replies go on.
        let _ = fs::write(self.file.borrow().as_raw_fd(), line);
    }
}
