//! What changes attributes, by a descriptor that may be open only as a path, and what makes objects.
//!
//! The kernel changes little by such a descriptor. For the rest there is the path in /proc, and where that is missing the object
//! is opened.

use super::super::kernel::change::{self, set_attr};
use super::super::kernel::{READ, WRITE};
use super::super::{CreateWhat, FsError, FsResult, Kind, Node, SetAttr, Vfs as _};
use super::{User, number};
use crate::sys::linux::fs;
use rustix::fd::RawFd;
use rustix::fs::OFlags;

/// A file that was not there.
pub(super) const NEW: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);

impl User {
    /// Changes attributes.
    pub(super) fn alter(&mut self, node: Node, by: &SetAttr) -> FsResult<()> {
        if by.size > Some(i64::MAX as u64) {
            return Err(FsError::TooLarge);
        }
        let (file, mut buffer) = (number(node), [0; 25]);
        match set_attr(file, None, by) {
            // It is open only as a path.
            Err(FsError::Stale) => {}
            done => return done,
        }
        match set_attr(file, Some(fs::proc_path(file, &mut buffer)), by) {
            // Without /proc it has to be found once more, if that has no effects.
            Err(FsError::NoEntry | FsError::NotDirectory) if self.named == file => {}
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
        set_attr(number(again), None, by)
    }

    /// Makes an object that was not there.
    pub(super) fn name(
        &mut self,
        into: RawFd,
        raw: &[u8],
        make: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        if make != CreateWhat::File {
            return change::make(into, raw, make, mode);
        }
        let made = fs::open_entry::<FsError>(into, raw, NEW, mode.unwrap_or(0o666))?;
        fs::close(made);
        Ok(())
    }
}
