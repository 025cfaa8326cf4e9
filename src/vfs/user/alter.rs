//! What changes objects: by a descriptor that may be open only as a path.
//!
//! New kernels change all of it so. For old ones there is the path in /proc, and where that is missing too the object is opened.

use super::super::kernel::change::{self, times};
use super::super::kernel::{self, PATH, READ, WRITE, error, terminated};
use super::super::{Change, FsError, FsResult, Make, Name, Node};
use super::{User, is_same};
use crate::sys::Errno;
use crate::sys::files::{self, File};
use core::ffi::CStr;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

impl User {
    /// Changes attributes in the order in which none undoes another.
    pub(super) fn alter(&mut self, node: Node, change: &Change) -> FsResult<()> {
        if let Some(size) = change.size {
            self.cut(node, size)?;
        }
        change::own(self.table.get(node)?, change)?;
        if let Some(mode) = change.mode {
            let bits = Mode::from_bits_retain(mode);
            self.change(
                node,
                &|file| match files::change_mode(file, mode) {
                    // Some old sandboxes say the latter.
                    Err(Errno::NOSYS | Errno::PERM) => rustix::fs::fchmod(file, bits),
                    changed => changed,
                },
                &|path| rustix::fs::chmod(path, bits),
            )?;
        }
        if change.times() {
            let times = times(change.atime, change.mtime);
            self.change(
                node,
                &|file| match rustix::fs::utimensat(file, c"", &times, AtFlags::EMPTY_PATH) {
                    // Before Linux 5.8.
                    Err(Errno::INVAL) => rustix::fs::futimens(file, &times),
                    changed => changed,
                },
                &|path| rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
            )?;
        }
        Ok(())
    }

    fn cut(&mut self, node: Node, size: u64) -> FsResult<()> {
        if size > i64::MAX as u64 {
            return Err(FsError::TooLarge);
        }
        let cut = |file: &File| rustix::fs::ftruncate(file, size);
        match cut(self.table.get(node)?) {
            Err(Errno::BADF) => cut(&self.reopen(node, WRITE)?),
            done => done,
        }
        .map_err(error)
    }

    fn change(
        &mut self,
        node: Node,
        by_file: &dyn Fn(&File) -> Result<(), Errno>,
        by_path: &dyn Fn(&CStr) -> Result<(), Errno>,
    ) -> FsResult<()> {
        let (file, mut room) = (self.table.get(node)?, [0; 25]);
        let mut done = by_file(file);
        if done == Err(Errno::BADF) {
            done = by_path(files::path(file, &mut room));
            if matches!(done, Err(Errno::NOENT | Errno::NOTDIR)) {
                done = by_file(&self.reopen(node, READ | OFlags::DIRECTORY)?);
            }
        }
        done.map_err(error)
    }

    pub(super) fn move_name(
        &self,
        (from, name): (Node, Name<'_>),
        (to, new_name): (Node, Name<'_>),
        replace: bool,
    ) -> FsResult<()> {
        let (from, to) = (self.table.get(from)?, self.table.get(to)?);
        match change::rename((from, name), (to, new_name), replace) {
            Err(FsError::NotSupported | FsError::Invalid) if !replace => {}
            renamed => return renamed,
        }
        // Linux before 3.15, or a file system that does not know how: a second name is never taken from anybody.
        let (mut text, mut new_text) = ([0; 256], [0; 256]);
        let text = terminated(name, &mut text);
        let new_text = terminated(new_name, &mut new_text);
        match rustix::fs::linkat(from, text, to, new_text, AtFlags::empty()) {
            Ok(()) => {
                let removed = change::remove(from, name, false);
                if removed.is_err() {
                    let _ = change::remove(to, new_name, false);
                }
                removed
            }
            // A directory has one name only, and so has everything on some file systems.
            Err(_) => match files::stat_entry(to, new_text, &mut files::blank()) {
                Err(Errno::NOENT) => change::rename((from, name), (to, new_name), true),
                there => there.map_err(error).and(Err(FsError::Exists)),
            },
        }
    }

    pub(super) fn add_name(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        match change::link(self.table.get(node)?, self.table.get(dir)?, name) {
            // Without /proc it has to be found once more.
            Err(FsError::NoEntry) if self.named == Some(node) => {}
            linked => return linked,
        }
        let (mut text, mut old_text) = ([0; 256], [0; 256]);
        let (mut stat, mut again) = (files::blank(), files::blank());
        let path = self.text.strip_suffix(b"\0").unwrap_or_default();
        let last = path.rsplit(|byte| *byte == b'/').next();
        let last = terminated(Name::new(last.unwrap_or_default())?, &mut old_text);
        let parent_len = path.len().saturating_sub(last.count_bytes());
        self.text.truncate(parent_len);
        // The directory itself, also where there was nothing before the name.
        let _ = self.text.extend_from_slice(b".\0");
        let parent = self.open_taken(PATH | OFlags::DIRECTORY, 0)?;
        kernel::stat(self.table.get(node)?, &mut stat)?;
        files::stat_entry(&parent, last, &mut again).map_err(error)?;
        is_same(&stat, &again)?;
        let (dir, name) = (self.table.get(dir)?, terminated(name, &mut text));
        rustix::fs::linkat(&parent, last, dir, name, AtFlags::empty()).map_err(error)
    }

    /// Makes an object that was not there.
    pub(super) fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: Make<'_>,
        change: &Change,
    ) -> FsResult<Node> {
        let mut text = [0; 256];
        let text = terminated(name, &mut text);
        let dir = self.table.get(dir)?;
        let (mut flags, mode) = (PATH, change.mode.unwrap_or(0o666));
        if make == Make::File {
            flags = WRITE | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        }
        change::make(dir, text, make, change.mode)?;
        let file = kernel::open(dir, text, flags, mode)?;
        let node = self.found(file);
        let rest = Change {
            mode: None,
            size: change.size.filter(|size| *size > 0),
            ..*change
        };
        self.alter(node, &rest)?;
        Ok(node)
    }
}
