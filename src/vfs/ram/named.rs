//! Creates objects, and opens them by paths of one name; the tree walks longer paths.

use super::super::{
    CreateWhat, FsError, FsResult, Name, Node, ObjectType, OpenFlags, Pin, SetAttr,
};
use super::bytes::{BLOCK_BYTES, Bytes};
use super::inode::{Content, Directory};
use super::{OPENED, Ram};

/// Set-group-ID bit (S_ISGID): new objects in such a directory get the directory's group.
const SET_GROUP: u32 = 0o2000;

impl Ram {
    /// As [`Vfs::create`](super::super::Vfs::create).
    pub(super) fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        self.is_writable()?;
        let dir = self.find(dir)?;
        if self.store.named_or_free(dir, name.bytes())?.is_some() {
            return Err(FsError::Exists);
        }
        let within = self.store.inodes.at(dir)?.attr;
        let bytes = Content::Bytes(Bytes::default());
        let (kind, mode, content, target) = match what {
            CreateWhat::File => (ObjectType::Regular, 0o644, bytes, &b""[..]),
            CreateWhat::Directory => {
                let directory = Content::Directory(Directory::beneath(dir));
                (ObjectType::Directory, 0o755, directory, &b""[..])
            }
            CreateWhat::Link(target) => (ObjectType::SymbolicLink, 0o777, bytes, target),
            CreateWhat::Special(
                ObjectType::Regular | ObjectType::Directory | ObjectType::SymbolicLink,
                _,
            ) => {
                return Err(FsError::Invalid);
            }
            CreateWhat::Special(kind, _) => (kind, 0o644, Content::Special, &b""[..]),
        };
        Self::can_change(kind, change)?;
        self.has_space(target.len().next_multiple_of(BLOCK_BYTES) as u64)?;
        self.has_space_for_name()?;
        let mut attr = self.fresh_attr(kind, mode, self.caller);
        if let CreateWhat::Special(ObjectType::BlockDevice | ObjectType::CharacterDevice, rdev) =
            what
        {
            attr.rdev = rdev;
        }
        if within.mode & SET_GROUP != 0 {
            attr.gid = within.gid;
        }
        #[cfg(any(test, fuzzing))]
        self.keep_durable();
        let number = self.store.inodes.add(content, attr)?;
        if kind == ObjectType::SymbolicLink {
            self.store.write(number, 0, target)?;
        }
        self.add_name(dir, name.bytes(), number)?;
        self.change(number, change)?;
        let attr = &mut self.store.inodes.at_mut(number)?.attr;
        match kind {
            // As on Linux, a symbolic link always has mode 0777: a mode in the request is ignored.
            ObjectType::SymbolicLink => attr.mode = mode,
            // As mkdir(2): set-ID bits are inherited from the parent, not set by the caller.
            ObjectType::Directory => attr.mode = attr.mode & 0o1777 | within.mode & SET_GROUP,
            _ => {}
        }
        Ok(self.node(number))
    }

    /// The object to open. Creates it if it is absent and `how.create` says so.
    fn found_or_made(&mut self, dir: Node, name: &[u8], how: &OpenFlags) -> FsResult<Node> {
        match (self.entry(dir, name), how.create) {
            (Ok(_), Some(_)) if how.has(OpenFlags::EXCLUSIVE) => Err(FsError::Exists),
            (Err(FsError::NoEntry), Some(mode)) => {
                let change = SetAttr {
                    mode: Some(mode),
                    ..SetAttr::default()
                };
                self.make(dir, Name::new(name)?, CreateWhat::File, &change)
            }
            (found, _) => found,
        }
    }

    /// Looks up a name in a directory.
    pub(super) fn named(&self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        let number = self.store.named(self.find(dir)?, name.bytes())?;
        Ok(self.node(number))
    }

    /// Looks up a name in a directory; "." is the directory itself.
    pub(super) fn entry(&mut self, dir: Node, name: &[u8]) -> FsResult<Node> {
        if name == b"." {
            return Ok(dir);
        }
        self.named(dir, Name::new(name)?)
    }

    /// Opens a name in a directory.
    pub(super) fn open_name(&mut self, dir: Node, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        let node = self.found_or_made(dir, path, how)?;
        let kind = self.get(node)?.attr.kind;
        match (kind, how.has(OpenFlags::DIRECTORY)) {
            (ObjectType::Directory, true) | (ObjectType::Regular, false) => {}
            (_, true) => return Err(FsError::NotDirectory),
            (ObjectType::Directory, false) => return Err(FsError::IsDirectory),
            (_, false) => return Err(FsError::Access),
        }
        if how.has(OpenFlags::WRITE | OpenFlags::TRUNCATE) {
            self.is_writable()?;
        }
        if how.has(OpenFlags::TRUNCATE) {
            self.alter(
                node,
                &SetAttr {
                    size: Some(0),
                    ..SetAttr::default()
                },
            )?;
        }
        let [writes, appends] =
            [OpenFlags::WRITE, OpenFlags::APPEND].map(|bit| u32::from(how.has(bit)));
        self.add_pin(node, OPENED | writes << 1 | appends)
    }
}
