//! What changes objects: by a descriptor that may be open only as a path.
//!
//! New kernels change all of it so. For old ones there is the path in /proc, and where that is missing too the object is opened.

use super::super::kernel::change::{self, times};
use super::super::kernel::{self, PATH, READ, WRITE, error, terminated};
use super::super::{Change, FsError, FsResult, Make, Name, Node};
use super::User;
use crate::sys::Errno;
use crate::sys::files::{self, File};
use core::ffi::CStr;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// How something is done to an object.
enum How<'a> {
    /// As new kernels can, whatever the descriptor is for.
    New,
    /// By its path in /proc.
    ByPath(&'a CStr),
    /// By a descriptor that is open for more than a path.
    Open,
}

impl User {
    /// Changes attributes in the order in which none undoes another.
    pub(super) fn alter(&mut self, node: Node, change: &Change) -> FsResult<()> {
        if let Some(size) = change.size {
            self.cut(node, size)?;
        }
        change::own(self.table.get(node)?, change)?;
        if let Some(mode) = change.mode {
            self.change(node, &|file, how| match how {
                How::New => files::change_mode(file, mode),
                How::ByPath(path) => rustix::fs::chmod(path, Mode::from_bits_retain(mode)),
                How::Open => rustix::fs::fchmod(file, Mode::from_bits_retain(mode)),
            })?;
        }
        if change.times() {
            let times = times(change.atime, change.mtime);
            self.change(node, &|file, how| match how {
                How::New => rustix::fs::utimensat(file, c"", &times, AtFlags::EMPTY_PATH),
                How::ByPath(path) => rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
                How::Open => rustix::fs::futimens(file, &times),
            })?;
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
        change: &dyn Fn(&File, How<'_>) -> Result<(), Errno>,
    ) -> FsResult<()> {
        let file = self.table.get(node)?;
        let mut done = change(file, How::New);
        // Some old sandboxes say of what they do not know that it is not permitted.
        if matches!(done, Err(Errno::NOSYS | Errno::INVAL | Errno::PERM)) {
            done = change(file, How::ByPath(files::path(file, &mut [0; 25])));
        }
        if matches!(done, Err(Errno::NOENT | Errno::NOTDIR)) {
            done = change(file, How::Open);
        }
        if done == Err(Errno::BADF) {
            done = change(&self.reopen(node, READ | OFlags::DIRECTORY)?, How::Open);
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
        let (mut text, mut new_text) = ([0; 256], [0; 256]);
        let name = terminated(name, &mut text);
        let new_name = terminated(new_name, &mut new_text);
        let rename = || rustix::fs::renameat(from, name, to, new_name);
        if replace {
            return rename().map_err(error);
        }
        match files::rename_new(from, name, to, new_name) {
            // Linux before 3.15, or a file system that does not know how: a second name is never taken from anybody.
            Err(Errno::NOSYS | Errno::INVAL) => {}
            renamed => return renamed.map_err(error),
        }
        let remove = |dir, name| rustix::fs::unlinkat(dir, name, AtFlags::empty());
        match rustix::fs::linkat(from, name, to, new_name, AtFlags::empty()) {
            Ok(()) => remove(from, name).inspect_err(|_| {
                let _ = remove(to, new_name);
            }),
            // A directory has one name only, and so has everything on some file systems.
            Err(_) => match files::stat_entry(to, new_name, &mut files::blank()) {
                Err(Errno::NOENT) => rename(),
                there => there.and(Err(Errno::EXIST)),
            },
        }
        .map_err(error)
    }

    pub(super) fn add_name(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        match change::link(self.table.get(node)?, self.table.get(dir)?, name) {
            // Without /proc it has to be found once more, which its path alone says nothing safe of in a jail.
            Err(FsError::NoEntry) if self.named == Some(node) => {}
            linked => return linked,
        }
        if self.jail.is_some() {
            return Err(FsError::NotSupported);
        }
        let mut text = [0; 256];
        let (dir, name) = (self.table.get(dir)?, terminated(name, &mut text));
        rustix::fs::linkat(CWD, self.taken(), dir, name, AtFlags::empty()).map_err(error)
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
