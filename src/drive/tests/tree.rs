//! The model tree on a host that misbehaves as the test wants, and counts.

use crate::engine::tests::tree;
use crate::vfs::ram::Ram;
use crate::vfs::{
    Attr, Descriptor, Detail, DirEntry, Export, FsResult, Handle, Name, Node, Pin, Right, Space,
    Vfs,
};
use core::ops::ControlFlow;
use std::cell::Cell;
use std::rc::Rc;

/// What the host does, and what was done to it.
#[derive(Default)]
pub(super) struct Host {
    /// Files have become this short since their size was told.
    pub(super) cut: Cell<Option<u64>>,
    /// Files have numbers, though the net cannot send from them.
    pub(super) numbered: Cell<bool>,
    /// Calls of `rest`.
    pub(super) rests: Cell<usize>,
    /// More to let go of at the next calls of `rest`.
    pub(super) to_rest: Cell<usize>,
}

/// The tree.
pub(super) struct Tree {
    pub(super) ram: Ram,
    pub(super) host: Rc<Host>,
}

impl Tree {
    pub(super) fn new(host: Rc<Host>) -> Self {
        Self { ram: tree(), host }
    }
}

impl Vfs for Tree {
    fn exports(&self) -> &[Export] {
        self.ram.exports()
    }

    fn root(&mut self, export: usize) -> FsResult<Node> {
        self.ram.root(export)
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        self.ram.open(handle)
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        self.ram.handle(node)
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        self.ram.attr(node)
    }

    fn allows(&mut self, node: Node, right: Right) -> FsResult<bool> {
        self.ram.allows(node, right)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        self.ram.lookup(dir, name)
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<usize> {
        self.ram.readlink(node, out)
    }

    fn read(&mut self, node: Node, offset: u64, out: &mut [u8]) -> FsResult<usize> {
        let left = self.host.cut.get().map_or(u64::MAX, |cut| cut.saturating_sub(offset));
        let len = left.min(out.len() as u64) as usize;
        self.ram.read(node, offset, &mut out[..len])
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        self.ram.readdir(dir, from, detail, each)
    }

    fn space(&mut self, node: Node) -> FsResult<Space> {
        self.ram.space(node)
    }

    fn pin(&mut self, node: Node) -> FsResult<Pin> {
        self.ram.pin(node)
    }

    fn unpin(&mut self, pin: Pin) {
        self.ram.unpin(pin);
    }

    fn descriptor(&self, _: &Pin) -> Option<Descriptor> {
        self.host.numbered.get().then_some(Descriptor(3))
    }

    fn rest(&mut self) -> bool {
        self.host.rests.update(|count| count + 1);
        let left = self.host.to_rest.get();
        self.host.to_rest.set(left.saturating_sub(1));
        left > 0
    }
}
