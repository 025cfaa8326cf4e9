//! What changes have in common: names that come and go, times that move, attributes.

use super::super::{FileTime, FsError, FsResult, Kind, NewTime, SetAttr};
use super::Ram;
use super::bytes::SIZE_MAX;

/// Bits of a mode.
const MODE_MASK: u32 = 0o7777;

impl Ram {
    /// An object was changed, now; so was what is in it, if `content`.
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

    /// Takes a name away from the object of this number, which may be its end.
    pub(super) fn take_name(&mut self, dir: u32, name: &[u8], number: u32) -> FsResult<()> {
        self.store.remove_name(dir, name)?;
        self.touch(dir, true);
        self.touch(number, false);
        let inode = self.store.inodes.at_mut(number)?;
        inode.attr.nlink = inode.attr.nlink.saturating_sub(1);
        self.store.release_unlinked(number);
        Ok(())
    }

    /// Gives the object of this number a name that is free, and for which there is space.
    pub(super) fn give_name(&mut self, dir: u32, name: &[u8], number: u32) -> FsResult<()> {
        self.store.add_name(dir, name, number)?;
        self.touch(dir, true);
        self.touch(number, false);
        Ok(())
    }

    /// Whether an object of this kind can be changed so.
    pub(super) fn can_change(kind: Kind, change: &SetAttr) -> FsResult<()> {
        match (kind, change.size) {
            (Kind::Regular, Some(size)) if size > SIZE_MAX => Err(FsError::TooLarge),
            (Kind::Directory, Some(_)) => Err(FsError::IsDirectory),
            (kind, Some(_)) if kind != Kind::Regular => Err(FsError::Invalid),
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
