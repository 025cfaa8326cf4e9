//! Common steps of changes: names, times, attributes.

use super::super::{FileTime, FsError, FsResult, NewTime, Node, ObjectType, SetAttr};
use super::Ram;
use super::bytes::SIZE_MAX;

/// Permission and set-ID bits of a mode.
const MODE_MASK: u32 = 0o7777;

impl Ram {
    /// Changes attributes.
    pub(super) fn alter(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.is_writable()?;
        let number = self.find(node)?;
        let kind = self.store.inodes.at(number)?.attr.kind;
        Self::can_change(kind, change)?;
        if kind == ObjectType::SymbolicLink && change.mode.is_some() {
            return Err(FsError::NotSupported);
        }
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        self.change(number, change)
    }

    /// Sets ctime of an object to now, and mtime too if its `content` was changed. Returns that time.
    pub(super) fn touch(&mut self, number: u32, content: bool) -> FileTime {
        let now = self.clock.of_change();
        if let Ok(inode) = self.store.inodes.at_mut(number) {
            inode.attr.ctime = now;
            if content {
                inode.attr.mtime = now;
            }
        }
        now
    }

    /// Removes a name of an object (unlink). If it was the last name, frees the object once no pin holds it.
    pub(super) fn remove_name(&mut self, dir: u32, name: &[u8], number: u32) -> FsResult<()> {
        self.store.remove_name(dir, name)?;
        self.touch(dir, true);
        self.touch(number, false);
        let inode = self.store.inodes.at_mut(number)?;
        inode.attr.nlink = inode.attr.nlink.saturating_sub(1);
        self.store.release_unlinked(number);
        Ok(())
    }

    /// Adds a name to an object. The caller has checked that the name is free and that there is space.
    pub(super) fn add_name(&mut self, dir: u32, name: &[u8], number: u32) -> FsResult<()> {
        self.store.add_name(dir, name, number)?;
        self.touch(dir, true);
        self.touch(number, false);
        Ok(())
    }

    /// Checks that an object of this kind has the attributes to change.
    pub(super) fn can_change(kind: ObjectType, change: &SetAttr) -> FsResult<()> {
        match (kind, change.size) {
            (ObjectType::Regular, Some(size)) if size > SIZE_MAX => Err(FsError::TooLarge),
            (ObjectType::Directory, Some(_)) => Err(FsError::IsDirectory),
            (kind, Some(_)) if kind != ObjectType::Regular => Err(FsError::Invalid),
            _ => Ok(()),
        }
    }

    pub(super) fn change(&mut self, number: u32, change: &SetAttr) -> FsResult<()> {
        if *change == SetAttr::default() {
            return Ok(());
        }
        let now = self.touch(number, change.size.is_some());
        if let Some(size) = change.size {
            self.store.resize(number, size);
            #[cfg(any(test, fuzzing))]
            self.store.unsynced.resize(number, size);
        }
        let attr = &mut self.store.inodes.at_mut(number)?.attr;
        attr.mode = change.mode.map_or(attr.mode, |mode| mode & MODE_MASK);
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        for (time, new) in [
            (&mut attr.atime, change.atime),
            (&mut attr.mtime, change.mtime),
        ] {
            match new {
                NewTime::Keep => {}
                NewTime::Now => *time = now,
                NewTime::At(new) => *time = new,
            }
        }
        Ok(())
    }
}
