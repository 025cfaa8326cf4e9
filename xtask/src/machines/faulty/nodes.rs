//! The inodes of the file system in memory: regular files, directories, symbolic links and special files.

use fuser::{Errno, FileAttr, FileType, INodeNo, Request};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

/// An inode.
pub(super) struct Node {
    pub(super) attr: FileAttr,
    /// The bytes of a file, or the target of a symbolic link.
    pub(super) data: Vec<u8>,
    pub(super) names: BTreeMap<OsString, INodeNo>,
}

/// The inode table, by inode number.
pub(super) struct Nodes {
    all: BTreeMap<u64, Node>,
    last_ino: u64,
}

/// The result of a file system operation; the error is an errno.
pub(super) type ErrnoResult<T> = std::result::Result<T, Errno>;

impl Nodes {
    /// Creates a tree with an empty root directory: owner root, mode 0777.
    pub(super) fn new() -> Self {
        let mut nodes = Self {
            all: BTreeMap::new(),
            last_ino: 0,
        };
        nodes.add(FileType::Directory, 0o777, (0, 0), 0);
        nodes
    }

    fn add(&mut self, kind: FileType, mode: u32, (uid, gid): (u32, u32), rdev: u32) -> &mut Node {
        self.last_ino += 1;
        let now = SystemTime::now();
        let attr = FileAttr {
            ino: INodeNo(self.last_ino),
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            crtime: now,
            kind,
            perm: (mode & 0o7777) as u16,
            nlink: if kind == FileType::Directory { 2 } else { 1 },
            uid,
            gid,
            rdev,
            blksize: 4096,
            flags: 0,
        };
        self.all.entry(self.last_ino).or_insert(Node {
            attr,
            data: Vec::new(),
            names: BTreeMap::new(),
        })
    }

    /// The inode with this number, or ESTALE.
    pub(super) fn get(&mut self, ino: INodeNo) -> ErrnoResult<&mut Node> {
        self.all.get_mut(&ino.0).ok_or(Errno::ESTALE)
    }

    /// Looks up `name` in the directory `dir`. ENOENT if no such entry exists.
    pub(super) fn find(&mut self, dir: INodeNo, name: &OsStr) -> ErrnoResult<INodeNo> {
        let found = self.get(dir)?.names.get(name);
        found.copied().ok_or(Errno::ENOENT)
    }

    /// Sets mtime and ctime of an inode to now and returns the inode.
    pub(super) fn touch(&mut self, ino: INodeNo) -> ErrnoResult<&mut Node> {
        let node = self.get(ino)?;
        node.attr.mtime = SystemTime::now();
        node.attr.ctime = node.attr.mtime;
        Ok(node)
    }

    /// Creates the entry `name` with a new inode. EEXIST if the name exists.
    pub(super) fn create(
        &mut self,
        req: &Request,
        dir: INodeNo,
        name: &OsStr,
        (kind, mode, rdev): (FileType, u32, u32),
        data: &[u8],
    ) -> ErrnoResult<FileAttr> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let node = self.add(kind, mode, (req.uid(), req.gid()), rdev);
        node.data = data.to_vec();
        node.attr.size = data.len() as u64;
        let attr = node.attr;
        self.touch(dir)?.names.insert(name.to_owned(), attr.ino);
        if kind == FileType::Directory {
            self.get(dir)?.attr.nlink += 1;
        }
        Ok(attr)
    }

    /// Removes the entry `name`. ENOTEMPTY if it is a directory that is not empty.
    pub(super) fn remove(&mut self, dir: INodeNo, name: &OsStr) -> ErrnoResult<()> {
        let ino = self.find(dir, name)?;
        let node = self.touch(ino)?;
        if !node.names.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        let is_dir = node.attr.kind == FileType::Directory;
        node.attr.nlink -= if is_dir { 2 } else { 1 };
        self.touch(dir)?.names.remove(name);
        if is_dir {
            self.get(dir)?.attr.nlink -= 1;
        }
        Ok(())
    }
}
