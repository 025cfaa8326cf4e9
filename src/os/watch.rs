//! Files and directories that a role watches for changes, to read them again.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File};
use rustix::fd::AsRawFd as _;

/// Paths that are watched for changes, by inotify if the host has it.
#[derive(Default, Debug)]
pub struct Watch {
    inotify: Option<File>,
    /// True if each path was watched that was passed to [`Self::add`] since [`Self::start_scan`].
    pub is_complete: bool,
}

impl Watch {
    /// Opens an inotify instance, if the host has inotify.
    pub fn open(&mut self) {
        if !crate::sys::is_bare() {
            self.inotify = fs::inotify().ok();
        }
    }

    /// Passes the descriptor to `watch`. Returns false if the host has no inotify, or if `watch` does.
    pub fn start(&mut self, watch: &mut dyn FnMut(i32) -> bool) -> bool {
        let is_watched = |file: &File| watch(file.as_raw_fd());
        self.inotify = self.inotify.take().filter(is_watched);
        self.inotify.is_some()
    }

    /// Starts a scan of all paths, each of which is passed to [`Self::add`] before it is read.
    pub const fn start_scan(&mut self) {
        self.is_complete = self.inotify.is_some();
    }

    /// Watches the file or directory at `path`. If there is none, watches the nearest directory above, where it may be created.
    pub fn add(&mut self, path: &[u8]) {
        let (mut path, mut events) = (path, fs::Events::Changes);
        while let Some(inotify) = &self.inotify {
            match fs::watch(inotify, path, events) {
                Ok(()) => return,
                Err(Errno::NOENT | Errno::NOTDIR) if !matches!(path, b"/" | b".") => {}
                Err(_) => break,
            }
            path = match path.iter().rposition(|byte| *byte == b'/') {
                None => b".",
                Some(0) => b"/",
                Some(len) => path.head(len),
            };
            events = fs::Events::Creation;
        }
        self.is_complete = false;
    }

    /// Discards the reported events.
    pub fn drain(&self) {
        if let Some(inotify) = &self.inotify {
            let _ = fs::read(inotify.as_raw_fd(), &mut [0; 4096]);
        }
    }
}
