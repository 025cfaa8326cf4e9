//! The model: a tree in memory, as plain as can be. What it does is what the laws mean.
//!
//! It serves tests only until writable trees in memory are offered to users.

use super::{
    Attr, Descriptor, Detail, DirEntry, Export, FileTime, FsError, FsResult, Handle, Kind, Name,
    Node, Pin, Right, Space, Vfs,
};
use core::ops::ControlFlow;
use std::collections::BTreeMap;

#[derive(Debug)]
enum Content {
    File(Vec<u8>),
    /// A file of zeros of this many bytes, but for a few at an offset.
    Sparse(u64, u64, Vec<u8>),
    Directory(BTreeMap<Vec<u8>, usize>),
    Link(Vec<u8>),
    Fifo,
}

#[derive(Debug)]
struct Inode {
    content: Content,
    parent: usize,
    mode: u32,
    alive: bool,
}

/// The tree. Inode numbers are places in a list, from 1; the top is 1.
#[derive(Debug)]
pub struct Ram {
    inodes: Vec<Inode>,
    exports: Vec<Export>,
    /// Pins that were not given back.
    pub pinned: usize,
}

impl Ram {
    /// An empty tree, exported as `path`.
    pub fn new(path: &'static [u8]) -> Self {
        let top = Inode {
            content: Content::Directory(BTreeMap::new()),
            parent: 1,
            mode: 0o755,
            alive: true,
        };
        Self {
            inodes: vec![top],
            exports: vec![Export { path }],
            pinned: 0,
        }
    }

    /// Adds a regular file.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.add(path, Content::File(content.to_vec()), 0o644);
    }

    /// Adds a file of `size` zeros, but for `bytes` at `offset`.
    pub fn sparse(&mut self, path: &str, size: u64, offset: u64, bytes: &[u8]) {
        self.add(path, Content::Sparse(size, offset, bytes.to_vec()), 0o644);
    }

    /// Adds a directory.
    pub fn dir(&mut self, path: &str) {
        self.add(path, Content::Directory(BTreeMap::new()), 0o755);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &[u8]) {
        self.add(path, Content::Link(target.to_vec()), 0o777);
    }

    /// Adds a FIFO.
    pub fn fifo(&mut self, path: &str) {
        self.add(path, Content::Fifo, 0o600);
    }

    /// Removes what is at `path`, even if a test still holds a handle to it.
    pub fn remove(&mut self, path: &str) {
        let (dir, name) = self.split(path);
        if let Content::Directory(entries) = &mut self.inodes[dir - 1].content {
            let gone = entries.remove(name).expect("the path exists");
            self.inodes[gone - 1].alive = false;
        }
    }

    fn add(&mut self, path: &str, content: Content, mode: u32) {
        let (parent, name) = self.split(path);
        self.inodes.push(Inode {
            content,
            parent,
            mode,
            alive: true,
        });
        let inode = self.inodes.len();
        if let Content::Directory(entries) = &mut self.inodes[parent - 1].content {
            entries.insert(name.to_vec(), inode);
        }
    }

    fn split<'a>(&self, path: &'a str) -> (usize, &'a [u8]) {
        let mut parts: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
        let name = parts.pop().expect("a path has a name");
        let dir = parts
            .iter()
            .fold(1, |dir, name| match &self.inodes[dir - 1].content {
                Content::Directory(entries) => entries[*name],
                _ => panic!("not a directory"),
            });
        (dir, name)
    }

    fn get(&self, node: Node) -> FsResult<&Inode> {
        self.inodes
            .get(node.slot() - 1)
            .filter(|inode| inode.alive)
            .ok_or(FsError::Stale)
    }

    fn attr_of(&self, number: usize) -> Attr {
        let inode = &self.inodes[number - 1];
        let (kind, size) = match &inode.content {
            Content::File(bytes) => (Kind::Regular, bytes.len() as u64),
            Content::Sparse(size, ..) => (Kind::Regular, *size),
            Content::Directory(_) => (Kind::Directory, 4096),
            Content::Link(target) => (Kind::SymbolicLink, target.len() as u64),
            Content::Fifo => (Kind::Fifo, 0),
        };
        let time = FileTime {
            secs: 1_000_000_000,
            nanos: 123_456_789,
        };
        Attr {
            kind,
            mode: inode.mode,
            nlink: 1,
            uid: 1000,
            gid: 100,
            size,
            used: size,
            rdev: (0, 0),
            fsid: 7,
            inode: number as u64,
            atime: time,
            mtime: time,
            ctime: time,
        }
    }
}

const fn node(number: usize) -> Node {
    Node::new(number, 0)
}

fn handle(number: usize) -> Handle {
    let mut bytes = *b"ram handle     \0";
    bytes[15] = number as u8;
    let mut handle = Handle::EMPTY;
    handle.push(&bytes);
    handle
}

impl Vfs for Ram {
    fn exports(&self) -> &[Export] {
        &self.exports
    }

    fn root(&mut self, export: usize) -> FsResult<Node> {
        if export < self.exports.len() {
            Ok(node(1))
        } else {
            Err(FsError::Stale)
        }
    }

    fn open(&mut self, bytes: &[u8]) -> FsResult<Node> {
        let number = usize::from(*bytes.last().ok_or(FsError::BadHandle)?);
        if handle(number).bytes() != bytes || number == 0 {
            return Err(FsError::BadHandle);
        }
        self.get(node(number)).map(|_| node(number))
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        Ok(handle(node.slot()))
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        self.get(node).map(|_| self.attr_of(node.slot()))
    }

    fn allows(&mut self, node: Node, right: Right) -> FsResult<bool> {
        let inode = self.get(node)?;
        Ok(matches!(right, Right::Read) || inode.mode & 0o111 != 0)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        match &self.get(dir)?.content {
            Content::Directory(entries) => entries
                .get(name.bytes())
                .map(|inode| node(*inode))
                .ok_or(FsError::NoEntry),
            _ => Err(FsError::NotDirectory),
        }
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<usize> {
        let Content::Link(target) = &self.get(node)?.content else {
            return Err(FsError::Invalid);
        };
        let len = target.len().min(out.len());
        out[..len].copy_from_slice(&target[..len]);
        Ok(len)
    }

    fn read(&mut self, node: Node, offset: u64, out: &mut [u8]) -> FsResult<usize> {
        match &self.get(node)?.content {
            Content::File(bytes) => {
                let rest = usize::try_from(offset)
                    .ok()
                    .and_then(|offset| bytes.get(offset..))
                    .unwrap_or_default();
                let len = rest.len().min(out.len());
                out[..len].copy_from_slice(&rest[..len]);
                Ok(len)
            }
            Content::Sparse(size, start, bytes) => {
                let len = size.saturating_sub(offset).min(out.len() as u64) as usize;
                for (at, byte) in (offset..).zip(&mut out[..len]) {
                    let inside = at
                        .checked_sub(*start)
                        .and_then(|at| bytes.get(usize::try_from(at).ok()?));
                    *byte = inside.copied().unwrap_or(0);
                }
                Ok(len)
            }
            _ => Err(FsError::Invalid),
        }
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let inode = self.get(dir)?;
        let Content::Directory(entries) = &inode.content else {
            return Err(FsError::NotDirectory);
        };
        let dots = [(&b"."[..], dir.slot()), (&b".."[..], inode.parent)];
        let all = dots
            .into_iter()
            .chain(entries.iter().map(|(name, inode)| (&name[..], *inode)));
        if from > entries.len() as u64 + 2 {
            return Err(FsError::BadCookie);
        }
        for (cookie, (name, number)) in (1..).zip(all).skip(from as usize) {
            let object = detail == Detail::Objects && !matches!(name, b"." | b"..");
            let (attr, handle) = (self.attr_of(number), handle(number));
            let entry = DirEntry {
                name,
                cookie,
                inode: number as u64,
                object: object.then_some((&attr, &handle)),
            };
            if each(&entry).is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn space(&mut self, node: Node) -> FsResult<Space> {
        self.get(node)?;
        Ok(Space {
            total_bytes: 1 << 30,
            name_bytes_max: 255,
            ..Space::default()
        })
    }

    fn pin(&mut self, node: Node) -> FsResult<Pin> {
        match self.get(node)?.content {
            Content::File(_) | Content::Sparse(..) => {
                self.pinned += 1;
                Ok(Pin(node))
            }
            _ => Err(FsError::Invalid),
        }
    }

    fn unpin(&mut self, _pin: Pin) {
        self.pinned -= 1;
    }

    fn descriptor(&self, _pin: &Pin) -> Option<Descriptor> {
        None
    }

    fn rest(&mut self) -> bool {
        false
    }
}
