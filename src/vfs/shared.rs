//! A backend that a test and its tree share. The tree leaks a small wrapper; the backend itself is freed with the test.

use super::{
    Access, Attr, Backend, Caller, Client, CreateWhat, Detail, DirEntry, Ended, ExportRoot, Extent,
    FileId, FsResult, FsStat, Handle, ImageFile, Job, Kind, Name, Node, OpenFlags, Patience, Peer,
    Pin, Purpose, Rules, SetAttr, Stop, Submitted, Target, Tree, Vfs,
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

    /// A tree with one export, `path`. Its backend is registered twice: as `kind` and as [`Backend::User`].
    pub fn of(
        kind: Backend,
        backend: [&'static mut dyn Vfs; 2],
        path: &'static [u8],
        tag: u32,
    ) -> Self {
        let mut tree = Self::default();
        let [one, other] = backend;
        tree.add_paths(other, path);
        tree.add(kind, one);
        let root = ExportRoot::fixed(kind, tag, false);
        tree.export(path, &[Client::everyone(RULES)], root).unwrap();
        tree
    }
}

/// A backend in a tree, which its test can reach too.
pub struct Shared<B>(Weak<RefCell<B>>);

impl<B: Vfs + 'static> Shared<B> {
    /// Wraps a backend for a tree.
    pub fn lend(backend: &Rc<RefCell<B>>) -> &'static mut dyn Vfs {
        Box::leak(Box::new(Self(Rc::downgrade(backend))))
    }

    /// Calls the backend.
    fn to_backend<T>(&self, call: impl FnOnce(&mut B) -> T) -> T {
        let backend = self.0.upgrade().expect("the test keeps it");
        call(&mut backend.borrow_mut())
    }
}

/// Implements methods with `&mut self` by the methods of another object, which the method before the colon passes to a closure.
///
/// ```ignore
/// delegate! {
///     to_backend:
///     fn root(tag: Option<u32>) -> FsResult<Node>;
/// }
/// ```
macro_rules! delegate {
    ($pass:ident: $(fn $method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty)?;)+) => {
        $(fn $method(&mut self, $($argument: $kind),*) $(-> $result)? {
            self.$pass(|to| to.$method($($argument),*))
        })+
    };
}
pub(crate) use delegate;

impl<B: Vfs + 'static> Vfs for Shared<B> {
    fn caller(&self) -> Option<u32> {
        self.to_backend(|backend| backend.caller())
    }

    delegate! {
        to_backend:
        fn attr(node: Node) -> FsResult<Attr>;
        fn lookup(dir: Node, name: Name<'_>, purpose: Purpose) -> FsResult<Node>;
        fn readlink(node: Node, out: &mut [u8]) -> FsResult<u32>;
        fn readdir(dir: Node, from: u64, detail: Detail, each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>) -> FsResult<bool>;
        fn statfs(node: Node) -> FsResult<FsStat>;
        fn set_attr(node: Node, change: &SetAttr) -> FsResult<()>;
        fn create(dir: Node, name: Name<'_>, what: CreateWhat<'_>, change: &SetAttr) -> FsResult<Node>;
        fn remove(dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()>;
        fn rename(from: Node, name: Name<'_>, to: Node, new_name: Name<'_>, target: Target) -> FsResult<()>;
        fn link(node: Node, dir: Node, name: Name<'_>) -> FsResult<()>;
        fn image(dir: Node, name: Option<Name<'_>>) -> FsResult<ImageFile>;
        fn pin(node: Node, access: Option<Access>) -> FsResult<Pin>;
        fn unpin(pin: Pin);
        fn read(pin: &Pin, offset: u64, out: &mut [u8], patience: Patience) -> Result<u32, Stop>;
        fn extent(pin: &Pin, offset: u64, len: u32) -> Option<Extent>;
        fn write(pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()>;
        fn sync(pin: &Pin) -> FsResult<()>;
        fn release_idle() -> bool;
        fn open_top(number: usize, path: &CStr, rules: &Rules) -> Result<ExportRoot, u8>;
        fn close_top(number: usize);
        fn digest(dir: Option<Node>, path: &CStr) -> FsResult<u32>;
        fn real_path(number: usize, out: &mut [u8]) -> usize;
        fn root(tag: Option<u32>) -> FsResult<Node>;
        fn handle(node: Node) -> FsResult<Handle>;
        fn open(handle: &[u8]) -> FsResult<Node>;
        fn parent(dir: Node) -> FsResult<Node>;
        fn act_as(caller: Option<(&Caller, &Rules)>);
        fn access(node: Node, access: Access, inside: Option<&Attr>) -> FsResult<()>;
        fn cwd(out: &mut [u8]) -> FsResult<u32>;
        fn chdir(dir: &'static CStr) -> FsResult<()>;
        fn resolve(dir: Option<Node>, path: &[u8], follow: bool) -> FsResult<Node>;
        fn attr_at(path: &[u8], follow: bool) -> FsResult<Attr>;
        fn open_at(dir: Option<Node>, path: &[u8], how: &OpenFlags) -> FsResult<Pin>;
        fn start(watch: &mut dyn FnMut(FileId) -> bool);
        fn submit(job: Job<'_>) -> Submitted;
        fn reap(patience: Patience, each: &mut dyn FnMut(Ended));
    }
}
