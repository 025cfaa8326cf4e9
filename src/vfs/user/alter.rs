//! What changes attributes, by a descriptor that may be open only as a path, and what makes objects.
//!
//! The kernel changes little by such a descriptor. For the rest there is the path in /proc, and where that is missing the object
//! is opened.

use super::super::kernel::change::times;
use super::super::kernel::{PATH, READ, WRITE, error};
use super::super::{Change, FsError, FsResult, Kind, Make, Node, Right, Vfs as _};
use super::{User, number};
use crate::sys::c_str;
use crate::sys::files;
use crate::sys::named::{self, CURRENT};
use core::ffi::CStr;
use rustix::fd::RawFd;
use rustix::fs::OFlags;

impl User {
    /// Changes attributes in the order in which none undoes another. What is new was made with its mode.
    pub(super) fn alter(&mut self, node: Node, change: &Change, is_new: bool) -> FsResult<()> {
        let file = number(node);
        if let Some(size) = change.size {
            self.cut(node, size)?;
        }
        if change.uid.is_some() || change.gid.is_some() {
            named::own::<FsError>(file, change.uid, change.gid)?;
        }
        if let Some(mode) = change.mode
            && !is_new
        {
            self.change(node, &|file, path| named::change_mode(file, path, mode))?;
        }
        if change.times() {
            let times = times(change.atime, change.mtime);
            self.change(node, &|file, path| {
                named::change_times(file, path, &times).map_err(error)
            })?;
        }
        Ok(())
    }

    fn cut(&mut self, node: Node, size: u64) -> FsResult<()> {
        if size > i64::MAX as u64 {
            return Err(FsError::TooLarge);
        }
        match named::cut(number(node), size) {
            // It is open only as a path.
            Err(FsError::Stale) => {}
            done => return done,
        }
        let pin = self.pin(node, Some(Right::Write))?;
        let done = named::cut(number(pin.node), size);
        self.unpin(pin);
        done
    }

    fn change(
        &mut self,
        node: Node,
        by: &dyn Fn(RawFd, Option<&CStr>) -> FsResult<()>,
    ) -> FsResult<()> {
        let (file, mut room) = (number(node), [0; 25]);
        match by(file, None) {
            // It is open only as a path.
            Err(FsError::Stale) => {}
            done => return done,
        }
        match by(CURRENT, Some(files::path_of(file, &mut room))) {
            // Without /proc it has to be found once more, if that has no effects.
            Err(FsError::NoEntry | FsError::NotDirectory) if self.named == Some(node) => {}
            done => return done,
        }
        let attr = self.attr(node)?;
        if !matches!(attr.kind, Kind::Regular | Kind::Directory) {
            return Err(FsError::Invalid);
        }
        let again = self.open_taken(READ, 0);
        let again = self.found.keep(again)?;
        let found = self.attr(again)?;
        if (found.fsid, found.inode) != (attr.fsid, attr.inode) {
            // It was moved meanwhile.
            return Err(FsError::TryLater);
        }
        by(number(again), None)
    }

    /// Makes an object that was not there.
    pub(super) fn make(
        &mut self,
        dir: RawFd,
        name: &[u8],
        make: Make<'_>,
        change: &Change,
    ) -> FsResult<Node> {
        let (mut flags, mode) = (PATH, change.mode.unwrap_or(0o666));
        match make {
            Make::File => flags = WRITE | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW,
            Make::Directory => {
                named::make_directory::<FsError>(dir, name, change.mode.unwrap_or(0o777))?
            }
            Make::Link(target) => {
                // It is never followed here, so it may be anything but empty.
                if target.is_empty() {
                    return Err(FsError::Invalid);
                }
                self.named = None;
                self.text.clear();
                self.end_text(target)?;
                named::make_link::<FsError>(c_str(&self.text), dir, name)?;
            }
            Make::Special(kind, device) => {
                named::make_node::<FsError>(dir, name, kind.bits() | mode, device)?;
            }
        }
        let node = self.found.keep(named::open_entry(dir, name, flags, mode))?;
        self.alter(node, change, true)?;
        Ok(node)
    }
}
