//! What changes attributes, by a descriptor that may be open only as a path, and what makes objects.
//!
//! The kernel changes little by such a descriptor. For the rest there is the path in /proc, and where that is missing the object
//! is opened.

use super::super::kernel::change::times;
use super::super::kernel::{READ, WRITE};
use super::super::{CreateWhat, FsError, FsResult, Kind, Node, SetAttr, Vfs as _};
use super::ring::NONE;
use super::{User, number};
use crate::sys::linux::fs::{self, AT_FDCWD};
use core::ffi::CStr;
use rustix::fd::RawFd;
use rustix::fs::{AtFlags, OFlags};

/// A file that was not there.
pub(super) const NEW: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);

/// Changes attributes of an open file, or of what a path leads to, in the order in which none undoes another. Its owner is
/// changed by its descriptor in any case.
#[inline(never)]
fn change(file: RawFd, path: Option<&CStr>, change: &SetAttr) -> FsResult<()> {
    if let Some(size) = change.size {
        fs::truncate::<FsError>(file, path, size)?;
    }
    if change.uid.is_some() || change.gid.is_some() {
        fs::chown::<FsError>(file, change.uid, change.gid)?;
    }
    if let Some(mode) = change.mode {
        fs::chmod::<FsError>(file, path, mode)?;
    }
    if change.times() {
        let times = times(change.atime, change.mtime);
        let none = AtFlags::empty();
        if path.is_some() {
            return fs::utimensat(AT_FDCWD, path, &times, none);
        }
        match fs::utimensat(file, Some(c""), &times, AtFlags::EMPTY_PATH) {
            // The kernel is too old for this.
            Err(FsError::Invalid) => return fs::utimensat(file, None, &times, none),
            done => return done,
        }
    }
    Ok(())
}

impl User {
    /// Changes attributes.
    #[inline(never)]
    pub(super) fn alter(&mut self, node: Node, by: &SetAttr) -> FsResult<()> {
        if by.size > Some(i64::MAX as u64) {
            return Err(FsError::TooLarge);
        }
        let (file, mut buffer) = (number(node), [0; 25]);
        match change(file, None, by) {
            // It is open only as a path.
            Err(FsError::Stale) => {}
            done => return done,
        }
        match change(file, Some(fs::proc_path(file, &mut buffer)), by) {
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
        change(number(again), None, by)
    }

    /// Makes an object that was not there.
    pub(super) fn name(
        &mut self,
        into: RawFd,
        raw: &[u8],
        make: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        let bits = mode.unwrap_or(0o666);
        match make {
            CreateWhat::File => {
                let made = fs::open_entry::<FsError>(into, raw, NEW, bits)?;
                fs::close(made);
                Ok(())
            }
            CreateWhat::Directory => fs::mkdirat(into, raw, mode.unwrap_or(0o777)),
            CreateWhat::Link(target) => {
                // It is never followed here, so it may be anything but empty.
                if target.is_empty() {
                    return Err(FsError::Invalid);
                }
                self.named = NONE;
                self.text.clear();
                self.end_text(target)?;
                fs::symlinkat(self.text(), into, raw)
            }
            CreateWhat::Special(kind, device) => fs::mknodat(into, raw, kind.bits() | bits, device),
        }
    }
}
