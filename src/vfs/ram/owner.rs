//! What the owner of the tree does to it, apart from its clients: builds it, removes, pulls the plug.

use super::super::{Kind, Node};
use super::bytes::Bytes;
use super::inode::{Content, Names};
use super::{OWNER, Ram};

impl Ram {
    /// Adds a regular file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.sparse(path, content.len() as u64, 0, content);
    }

    /// Adds a file of `size` zeros, but for `bytes` at `offset`.
    pub fn sparse(&mut self, path: &str, size: u64, offset: u64, bytes: &[u8]) {
        let mut content = Bytes::default();
        content.write(offset, bytes);
        content.resize(size);
        self.add(path, Kind::Regular, 0o644, Content::File(content, None));
    }

    /// Makes this all that a file has in it, or adds the file.
    pub fn overwrite(&mut self, path: &str, bytes: &[u8]) {
        let (dir, name) = self.split(path);
        let Some(number) = self.names(dir).unwrap().get(name) else {
            return self.file(path, bytes);
        };
        self.touch(number, true);
        let mut content = Bytes::default();
        content.write(0, bytes);
        self.inodes.at_mut(number).content = Content::File(content, None);
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str) {
        let (parent, _) = self.split(path);
        let names = Names::beneath(parent.slot());
        self.add(path, Kind::Directory, 0o755, Content::Directory(names));
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &[u8]) {
        let content = Content::Link(target.to_vec());
        self.add(path, Kind::SymbolicLink, 0o777, content);
    }

    /// Adds a FIFO.
    pub fn fifo(&mut self, path: &str) {
        self.add(path, Kind::Fifo, 0o600, Content::Special);
    }

    /// Removes what is at `path`, even if a test still holds a handle to it.
    pub fn unlink(&mut self, path: &str) {
        let (dir, name) = self.split(path);
        let number = self.names(dir).unwrap().get(name).expect("the path exists");
        self.take_name(dir.slot(), name, number);
    }

    /// The power fails, while nothing is pinned: what was written or changed and not made durable is lost.
    pub fn lose_power(&mut self) {
        assert_eq!(self.pinned, 0);
        if let Some(durable) = self.durable.take() {
            self.inodes = durable;
        }
        for inode in self.inodes.iter_mut() {
            if let Content::File(bytes, durable) = &mut inode.content
                && let Some(durable) = durable.take()
            {
                *bytes = durable;
            }
        }
    }

    /// Makes the capacity what is stored already and so many bytes more.
    pub fn leave_space(&mut self, bytes: u64) {
        self.capacity_bytes = self.inodes.stored_bytes() + bytes;
    }

    /// Whether nothing would be lost with the power.
    pub fn is_durable(&self) -> bool {
        let mut all = self.inodes.iter();
        self.durable.is_none()
            && all.all(|inode| !matches!(inode.content, Content::File(_, Some(_))))
    }

    /// Whether everything is as in `other`.
    pub fn is_like(&self, other: &Self) -> bool {
        self.inodes == other.inodes
    }

    /// Panics when the tree contradicts itself.
    pub fn check(&self) {
        self.inodes.check();
        let pins: usize = self.inodes.iter().map(|inode| inode.pins).sum();
        assert_eq!(self.pinned, pins);
    }

    fn add(&mut self, path: &str, kind: Kind, mode: u32, content: Content) {
        let (parent, name) = self.split(path);
        let attr = self.fresh_attr(kind, mode, OWNER);
        let number = self.inodes.add(content, attr);
        self.names_mut(parent).unwrap().add(name, number);
    }

    fn split<'a>(&self, path: &'a str) -> (Node, &'a [u8]) {
        let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
        let names = dirs.split('/').filter(|name| !name.is_empty());
        let dir = names.fold(self.inodes.node(1), |dir, name| {
            let number = self.names(dir).unwrap().get(name.as_bytes());
            self.inodes.node(number.expect("the directory exists"))
        });
        (dir, name.as_bytes())
    }
}
