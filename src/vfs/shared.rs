//! A backend that a test and its tree share. The tree leaks a small wrapper; the backend itself is freed with the test.

use super::{
    Access, Attr, Backend, Caller, Client, CreateWhat, Detail, DirEntry, Ended, ExportRoot, Extent,
    FileId, FileTime, FsResult, FsStat, Handle, Handles, ImageFile, Job, Name, Node, OpenFlags,
    Paths, Peer, Pin, Rules, SetAttr, Storage, Submitted, Tree, Vfs,
};
use core::cell::RefCell;
use core::ffi::CStr;
use core::ops::ControlFlow;
use std::rc::{Rc, Weak};

/// Rules of the export of test trees. They allow everything, so the backend decides what may be changed.
pub const RULES: Rules = Rules {
    fsid: None,
    set: Rules::WRITABLE | Rules::ISOS,
    anonymous: (65_534, 65_534),
};

impl Tree {
    /// As [`Tree::open`], for a request of the process itself.
    pub fn open_as(&mut self, handle: &[u8], caller: &Caller) -> FsResult<Node> {
        self.open(handle, caller, &Peer::NONE)
    }

    /// A tree with one export, `path`. Its backend is registered twice: as `kind` and as [`Backend::ByPath`].
    pub fn of(
        kind: Backend,
        backend: [&'static mut dyn Vfs; 2],
        path: &'static [u8],
        tag: u32,
    ) -> Self {
        let mut tree = Self::default();
        let [one, other] = backend;
        tree.add(Backend::ByPath, other);
        tree.add(kind, one);
        let root = ExportRoot {
            backend: kind,
            tag,
            is_image: false,
            real: b"",
        };
        let path = std::ffi::CString::new(path).unwrap();
        let path = Box::leak(path.into_boxed_c_str());
        tree.export(path, &[Client::everyone(RULES)], root).unwrap();
        tree
    }
}

/// A backend in a tree, which its test can reach too.
pub struct Shared<B>(Weak<RefCell<B>>);

impl<B: Vfs + Handles + Paths + 'static> Shared<B> {
    /// Wraps a backend for a tree.
    pub fn lend(backend: &Rc<RefCell<B>>) -> &'static mut dyn Vfs {
        Box::leak(Box::new(Self(Rc::downgrade(backend))))
    }
}

macro_rules! pass {
    ($self:ident, $of:ident :: $method:ident ( $($argument:expr),* )) => {{
        let backend = $self.0.upgrade().expect("the test keeps it");
        let done = $of::$method(&mut *backend.borrow_mut(), $($argument),*);
        done
    }};
}

impl<B: Vfs + Handles + Paths + 'static> Vfs for Shared<B> {
    fn as_handles(&mut self) -> Option<&mut dyn Handles> {
        Some(self)
    }

    fn as_paths(&mut self) -> Option<&mut dyn Paths> {
        Some(self)
    }

    fn as_storage(&mut self) -> Option<&mut dyn Storage> {
        let backend = self.0.upgrade().expect("the test keeps it");
        let has_disk = backend.borrow_mut().as_storage().is_some();
        if has_disk { Some(self) } else { None }
    }

    fn image(&mut self, dir: Node, name: Option<Name<'_>>) -> FsResult<ImageFile> {
        pass!(self, Vfs::image(dir, name))
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        pass!(self, Vfs::handle(node))
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        pass!(self, Vfs::pin(node, access))
    }

    fn unpin(&mut self, pin: Pin) {
        pass!(self, Vfs::unpin(pin));
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        pass!(self, Vfs::read(pin, offset, out))
    }

    fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        pass!(self, Vfs::extent(pin, offset, len))
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        pass!(self, Vfs::write(pin, offset, bytes))
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        pass!(self, Vfs::sync(pin))
    }

    fn release_idle(&mut self) -> bool {
        pass!(self, Vfs::release_idle())
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        pass!(self, Vfs::attr(node))
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        pass!(self, Vfs::lookup(dir, name))
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        pass!(self, Vfs::readlink(node, out))
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        pass!(self, Vfs::readdir(dir, from, detail, each))
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        pass!(self, Vfs::statfs(node))
    }

    fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        pass!(self, Vfs::set_attr(node, change))
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        pass!(self, Vfs::remove(dir, name, directory))
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        pass!(self, Vfs::rename(from, name, to, new_name, replace))
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        pass!(self, Vfs::link(node, dir, name))
    }
}

impl<B: Vfs + Handles + Paths + 'static> Handles for Shared<B> {
    fn open_top(
        &mut self,
        number: usize,
        path: &'static CStr,
        rules: &Rules,
    ) -> Result<ExportRoot, u8> {
        pass!(self, Handles::open_top(number, path, rules))
    }

    fn close_top(&mut self, number: usize) {
        pass!(self, Handles::close_top(number));
    }

    fn root(&mut self, tag: u32) -> FsResult<Node> {
        pass!(self, Handles::root(tag))
    }

    fn open(&mut self, handle: &[u8]) -> FsResult<Node> {
        pass!(self, Handles::open(handle))
    }

    fn parent(&mut self, dir: Node) -> FsResult<Node> {
        pass!(self, Handles::parent(dir))
    }

    fn act_as(&mut self, caller: Option<(&Caller, &Rules)>) {
        pass!(self, Handles::act_as(caller));
    }

    fn access(&mut self, node: Node, access: Access) -> FsResult<()> {
        pass!(self, Handles::access(node, access))
    }

    fn access_by_mode(&mut self, attr: &Attr, access: Access) -> FsResult<()> {
        pass!(self, Handles::access_by_mode(attr, access))
    }

    fn caller(&self) -> Option<u32> {
        let backend = self.0.upgrade().expect("the test keeps it");
        backend.borrow().caller()
    }

    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        pass!(self, Handles::create(dir, name, what, change))
    }
}

/// Calls a method of the backend's [`Storage`].
macro_rules! storage {
    ($self:ident.$method:ident($($argument:expr),*)) => {{
        let backend = $self.0.upgrade().expect("the test keeps it");
        let mut backend = backend.borrow_mut();
        let storage = backend.as_storage().expect("it has a disk");
        storage.$method($($argument),*)
    }};
}

impl<B: Vfs + Handles + Paths + 'static> Storage for Shared<B> {
    fn start(&mut self, watch: &mut dyn FnMut(FileId) -> bool) {
        storage!(self.start(watch));
    }

    fn stage(&mut self, file: &Pin) -> FsResult<()> {
        storage!(self.stage(file))
    }

    fn stage_export(&mut self, tag: u32) {
        storage!(self.stage_export(tag));
    }

    fn submit(&mut self, job: Job<'_>) -> Submitted {
        storage!(self.submit(job))
    }

    fn reap(&mut self, each: &mut dyn FnMut(Ended)) {
        storage!(self.reap(each));
    }

    fn wait(&mut self) {
        storage!(self.wait());
    }
}

impl<B: Vfs + Handles + Paths + 'static> Paths for Shared<B> {
    fn act_as_process(&mut self) {
        pass!(self, Paths::act_as_process());
    }

    fn root_path(&self) -> &'static [u8] {
        let backend = self.0.upgrade().expect("the test keeps it");
        backend.borrow().root_path()
    }

    fn root_dir(&mut self) -> FsResult<Node> {
        pass!(self, Paths::root_dir())
    }

    fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        pass!(self, Paths::cwd(out))
    }

    fn chdir(&mut self, dir: &'static CStr) -> FsResult<()> {
        pass!(self, Paths::chdir(dir))
    }

    fn resolve(&mut self, dir: Option<Node>, path: &[u8], follow: bool) -> FsResult<Node> {
        pass!(self, Paths::resolve(dir, path, follow))
    }

    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        pass!(self, Paths::attr_at(path, follow))
    }

    fn open_at(&mut self, dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        pass!(self, Paths::open_at(dir, path, how))
    }

    fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        pass!(self, Paths::make(dir, name, what, mode))
    }

    fn clock(&mut self) -> FileTime {
        pass!(self, Paths::clock())
    }
}
