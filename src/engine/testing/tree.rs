//! The model tree with something of everything in it, on a host that misbehaves as the test wants, and counts.

use crate::vfs::ram::Ram;
use crate::vfs::{
    Access, Attr, Caller, Content, CreateWhat, Detail, DirEntry, Export, Extent, FileTime, FsError,
    FsResult, FsStat, Handle, Handles, Name, Node, OpenFlags, Paths, Pin, SetAttr, Vfs,
};
use core::cell::{Cell, RefCell};
use core::ops::ControlFlow;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bytes of the file that is read by order: beyond the largest inline READ, and not a multiple of four.
pub const BIG_BYTES: usize = 200_003;
/// Bytes of the sparse file: as many as a file can have.
pub const ENDLESS_BYTES: u64 = i64::MAX as u64;

/// The number of the only pipe there is.
pub const PIPE: i32 = 4;

/// What the byte at `at` of the file "big" is.
pub fn big_byte(at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8
}

/// What the host does, and what was done to it.
#[derive(Default)]
pub struct Host {
    /// Handles open to this error.
    pub lost: Cell<Option<FsError>>,
    /// Objects that were opened fail with this error, though their attributes are known.
    pub broken: Cell<Option<FsError>>,
    /// Files have become this short since their size was told.
    pub cut: Cell<Option<u64>>,
    /// Files have numbers, though the net cannot send from them.
    pub numbered: Cell<bool>,
    /// Names and attributes cannot be made durable.
    pub commit_fails: Cell<Option<FsError>>,
    /// Names or attributes were changed and not made durable.
    pub is_dirty: Cell<bool>,
    /// What the net received into a pipe, where it can.
    pub pipe: Rc<RefCell<VecDeque<u8>>>,
    /// Calls of `release_idle`.
    pub rests: Cell<usize>,
    /// More to let go of at the next calls of `release_idle`.
    pub to_rest: Cell<usize>,
}

impl Host {
    fn works(&self) -> FsResult<()> {
        self.broken.get().map_or(Ok(()), Err)
    }

    /// It works, and something is about to be changed.
    fn changes(&self) -> FsResult<()> {
        self.works()?;
        self.is_dirty.set(true);
        Ok(())
    }
}

/// The tree.
pub struct Tree {
    /// The model.
    pub ram: Ram,
    /// What it lies on.
    pub host: Rc<Host>,
}

impl Default for Tree {
    /// The tree on a host that works, for reading only.
    fn default() -> Self {
        let mut ram = Ram::new(b"/export");
        ram.file("hello", b"hello world");
        ram.file("big", &(0..BIG_BYTES).map(big_byte).collect::<Vec<_>>());
        ram.sparse(
            "endless",
            ENDLESS_BYTES,
            ENDLESS_BYTES - 5000,
            &[b'e'; 5000],
        );
        ram.dir("dir");
        ram.file("dir/inner", b"inner");
        ram.dir("empty");
        ram.symlink("link", b"/etc/passwd");
        ram.symlink("long link", &[b'l'; 5000]);
        ram.fifo("fifo");
        ram.dir("many");
        for number in 0..100usize {
            let name = format!("{number:03}{}", "n".repeat(number * 37 % 100));
            ram.file(&format!("many/{name}"), b"");
        }
        ram.file(&format!("many/{}", "m".repeat(255)), b"");
        Self {
            ram,
            host: Rc::default(),
        }
    }
}

impl Tree {
    /// The same, which may be written to.
    pub fn writable() -> Self {
        let mut tree = Self::default();
        tree.ram.writable = true;
        tree
    }

    /// A tree like this one, on a host of its own that works.
    pub fn another(&self) -> Self {
        Self {
            ram: self.ram.clone(),
            host: Rc::default(),
        }
    }
}

impl Content for Tree {
    fn unpin(&mut self, pin: Pin) {
        self.ram.unpin(pin);
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        self.host.works()?;
        let left = self
            .host
            .cut
            .get()
            .map_or(u64::MAX, |cut| cut.saturating_sub(offset));
        let len = left.min(out.len() as u64) as usize;
        self.ram.read(pin, offset, &mut out[..len])
    }

    fn extent(&mut self, _: &Pin, offset: u64, len: u32) -> Option<Extent> {
        let extent = Extent {
            file: 3,
            offset,
            len,
        };
        self.host.numbered.get().then_some(extent)
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.host.works()?;
        self.ram.write(pin, offset, bytes)
    }

    fn write_from(&mut self, pin: &Pin, offset: u64, pipe: i32, len: usize) -> FsResult<()> {
        assert_eq!(pipe, PIPE);
        let mut held = self.host.pipe.borrow_mut();
        // It is empty afterwards in any case.
        let bytes: Vec<u8> = held.drain(..).collect();
        assert_eq!(bytes.len(), len);
        self.host.works()?;
        self.ram.write(pin, offset, &bytes)
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        self.host.works()?;
        self.ram.sync(pin)?;
        self.commit_metadata()
    }

    fn release_idle(&mut self) -> bool {
        self.host.rests.update(|count| count + 1);
        let left = self.host.to_rest.get();
        self.host.to_rest.set(left.saturating_sub(1));
        left > 0
    }
}

impl Vfs for Tree {
    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        self.ram.attr(node)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        self.host.works()?;
        self.ram.lookup(dir, name)
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        self.host.works()?;
        self.ram.readlink(node, out)
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        self.host.works()?;
        self.ram.readdir(dir, from, detail, each)
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        self.host.works()?;
        self.ram.statfs(node)
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.host.changes()?;
        self.ram.set_attr(node, change)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        self.host.changes()?;
        self.ram.remove(dir, name, directory)
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        self.host.changes()?;
        self.ram.rename(from, name, to, new_name, replace)
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.host.changes()?;
        self.ram.link(node, dir, name)
    }
}

impl Handles for Tree {
    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        self.host.works()?;
        self.ram.pin(node, access)
    }

    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        self.host.changes()?;
        self.ram.create(dir, name, make, change)
    }

    fn exports(&self) -> &[Export] {
        self.ram.exports()
    }

    fn root(&mut self, export: usize) -> FsResult<Node> {
        self.ram.root(export)
    }

    fn open(&mut self, handle: &[u8], caller: &Caller) -> FsResult<Node> {
        self.host.lost.get().map_or(Ok(()), Err)?;
        self.ram.open(handle, caller)
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        self.ram.handle(node)
    }

    fn access(&mut self, node: Node, access: Access) -> FsResult<bool> {
        self.host.works()?;
        self.ram.access(node, access)
    }

    fn commit_metadata(&mut self) -> FsResult<()> {
        self.host.commit_fails.get().map_or(Ok(()), Err)?;
        self.host.is_dirty.set(false);
        self.ram.commit_metadata()
    }
}

impl Paths for Tree {
    fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        let change = SetAttr {
            mode,
            ..SetAttr::default()
        };
        self.create(dir, name, what, &change).map(drop)
    }

    fn root_path(&self) -> &'static [u8] {
        self.ram.root_path()
    }

    fn root_dir(&mut self) -> FsResult<Node> {
        self.ram.root_dir()
    }

    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        self.ram.cwd(out)
    }

    fn resolve(&mut self, path: &[u8], follow: bool) -> FsResult<Node> {
        self.host.works()?;
        self.ram.resolve(path, follow)
    }

    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        self.host.works()?;
        self.ram.attr_at(path, follow)
    }

    fn open_at(&mut self, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        self.host.works()?;
        self.ram.open_at(path, how)
    }

    fn clock(&mut self) -> FileTime {
        self.ram.clock()
    }
}
