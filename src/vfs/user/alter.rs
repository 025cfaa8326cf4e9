//! Changes attributes through a descriptor that may be O_PATH, and creates objects.
//!
//! Few system calls accept an O_PATH descriptor. The others get the path /proc/self/fd/N; without /proc, the object is opened
//! again.

use super::super::kernel::change;
use super::super::kernel::{PATH, READ, WRITE};
use super::super::{CreateWhat, FsError, FsResult, Name, Node, ObjectType, SetAttr};
use super::{User, number, stat};
use crate::sys::linux::fs;
use crate::sys::user_id;
use core::ffi::CStr;
use rustix::fd::RawFd;
use rustix::fs::OFlags;

/// Flags of open(2) that create a new file.
const NEW: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);

impl User {
    /// Changes attributes.
    pub(super) fn alter(&mut self, node: Node, by: &SetAttr) -> FsResult<()> {
        if by.size > Some(i64::MAX as u64) {
            return Err(FsError::TooLarge);
        }
        if by.needs_check() {
            by.check(&stat(node)?, user_id())?;
        }
        let (file, mut buffer) = (number(node), [0; 25]);
        match set_attr(file, None, by) {
            // EBADF: the descriptor is O_PATH.
            Err(FsError::Stale) => {}
            done => return done,
        }
        match set_attr(file, Some(fs::proc_path(file, &mut buffer)), by) {
            // Without /proc, opens the path again if the object is one whose opening has no effects.
            Err(FsError::NoEntry | FsError::NotDirectory) if self.named == file => {}
            done => return done,
        }
        let attr = stat(node)?;
        if !matches!(attr.kind, ObjectType::Regular | ObjectType::Directory) {
            return Err(FsError::Invalid);
        }
        let again = self.open_taken(READ, 0);
        let again = self.found.store(again)?;
        let found = stat(again)?;
        if (found.fsid, found.inode) != (attr.fsid, attr.inode) {
            // The path now names another object.
            return Err(FsError::TryLater);
        }
        set_attr(number(again), None, by)
    }

    /// Creates an object.
    pub(super) fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<Node> {
        let (into, raw, mut flags) = (number(dir), name.bytes(), PATH);
        match make {
            CreateWhat::File => flags = NEW,
            _ => change::make(into, raw, make, mode)?,
        }
        let opened = fs::open_entry(into, raw, flags, mode.unwrap_or(0o666));
        self.found.store(opened)
    }
}

/// As [`change::set_attr`], but like OpenSSH, which calls chown(2) after chmod(2): a change of owner clears the set-ID bits, even if
/// the same request sets them.
fn set_attr(file: RawFd, path: Option<&CStr>, by: &SetAttr) -> FsResult<()> {
    const SET_ID: u32 = 0o6000;
    change::set_attr(file, path, by)?;
    if by.mode.is_some_and(|mode| mode & SET_ID != 0) {
        change::set_attr(file, None, &by.owner())?;
    }
    Ok(())
}
