//! What the changes of the model have in common: names that come and go, times that move, attributes.

use super::super::{FsError, FsResult, Kind, NewTime, Node, SetAttr};
use super::Ram;
use super::bytes::SIZE_MAX;
use super::inode::{Content, Inode};

/// Bits of a mode.
const MODE_MASK: u32 = 0o7777;

impl Ram {
    /// An object was changed; so was what is in it, if `content`.
    pub(super) fn touch(&mut self, number: usize, content: bool) {
        self.clock += 1;
        let now = self.now();
        let attr = &mut self.inodes.at_mut(number).attr;
        attr.ctime = now;
        if content {
            attr.mtime = now;
        }
    }

    /// Names or attributes are about to be changed.
    pub(super) fn keep_durable(&mut self) {
        self.durable.get_or_insert_with(|| self.inodes.clone());
    }

    /// Takes a name away from the object of this number, which may be its end.
    pub(super) fn take_name(&mut self, dir: usize, name: &[u8], number: usize) {
        if let Content::Directory(names) = &mut self.inodes.at_mut(dir).content {
            names.take(name);
        }
        self.touch(dir, true);
        self.touch(number, false);
        self.inodes.at_mut(number).attr.nlink -= 1;
        self.inodes.release_unlinked(number);
    }

    /// Gives the object of this number a name that is free.
    pub(super) fn give_name(&mut self, dir: Node, name: &[u8], number: usize) -> FsResult<()> {
        let parent = self.inodes.find(dir)?;
        self.names_mut(dir)?.add(name, number);
        if let Content::Directory(names) = &mut self.inodes.at_mut(number).content {
            names.parent = parent;
        }
        self.touch(parent, true);
        self.touch(number, false);
        Ok(())
    }

    /// Whether `dir` is the directory of this number, or lies beneath it.
    pub(super) fn lies_in(&self, dir: usize, number: usize) -> bool {
        let parent = match &self.inodes.at(dir).content {
            Content::Directory(names) => names.parent,
            _ => return false,
        };
        dir == number || parent != dir && self.lies_in(parent, number)
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

    pub(super) fn change(&mut self, number: usize, change: &SetAttr) {
        if *change == SetAttr::default() {
            return;
        }
        self.touch(number, change.size.is_some());
        let now = self.now();
        let Inode { content, attr, .. } = self.inodes.at_mut(number);
        if let (Some(size), Content::File(bytes, durable)) = (change.size, content) {
            bytes.resize(size);
            if let Some(durable) = durable {
                durable.resize(size);
            }
        }
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
    }
}
