//! The tree: the backend of each object, and the operations on it.
//!
//! [`Tree::add`] registers a backend, which knows only its own objects. The tree enters ISO images when it resolves a name or a
//! handle; their contents are read-only. `exports` has the list of exports, `rules` those of a peer, `handles` the methods for NFS,
//! `paths` those for SFTP, `root` the directories above the exports that a peer sees, `nested` the exports below others.

mod exports;
mod handles;
mod nested;
mod paths;
mod root;
pub(super) mod rules;
mod sorted;

use super::handle::Key;
use super::images::Images;
use super::jobs::EndedJobs;
use super::names::Names;
use super::reading::{Exports, Place, Reading};
use super::recent::Recent;
use super::{
    Access, Attr, Backend, CreateWhat, Detail, DirEntry, Extent, FsError, FsResult, FsStat, Handle,
    Kind, Name, Node, Patience, Peer, Pin, Purpose, SetAttr, Stop, Target, Vfs, is_image,
};
use crate::config::{HAS_ISO, HAS_NFS, HAS_SERVE, REFUSED_USER_COUNT_MAX};
use crate::mem::{self, Slots};
pub use crate::wire::exports::Rules;
use core::ops::ControlFlow;
use core::sync::atomic::AtomicU32;
pub use exports::OpenFault;

/// All files that a loop serves, whatever their backend.
#[derive(Default)]
pub struct Tree {
    /// Backends by number, but that of images.
    pub(super) backends: [Option<&'static mut dyn Vfs>; Backend::COUNT],
    /// The backend of images. `None`: no image was opened yet.
    images: Option<&'static mut Images>,
    pub(super) exports: Slots<Place>,
    /// The numbers of the exports, sorted by the names of their paths.
    sorted: Slots<u16>,
    /// The key of the MACs in handles; zeros if the handles of files need none.
    key: Key,
    /// The valid reading of the exports.
    pub(super) reading: Reading,
    /// The reading that [`Tree::add_client`] fills. `None`: no exports.
    next: Option<&'static mut Reading>,
    /// The addresses of host names, and the names of clients. `None`: the exports have no host names.
    pub(super) names: Option<&'static mut Names>,
    /// True if exports are the host's directories, which may be replaced: clients open them again.
    reopens: bool,
    /// Users whose refusal was reported, because they may have more groups than a credential carries. `None`: no user is.
    #[cfg(any(feature = "serve", test))]
    pub refused_users: Option<heapless::Vec<u32, REFUSED_USER_COUNT_MAX>>,
    /// True if an export is nested in another one.
    has_nested: bool,
    /// True if an export has become missing since the last call of [`Tree::take_missing`].
    has_missing: bool,
    /// The last export that was missing and that [`Tree::reopen_for_client`] opened.
    opened: Option<usize>,
    /// Counter of the changes of exports, shared by the loops that serve the same files. `None`: one loop.
    changes: Option<&'static AtomicU32>,
    /// The value of `changes` for which all exports were opened.
    changes_seen: u32,
    /// The jobs that have ended, in executables with jobs. `None`: no job was started yet.
    pub(super) ended: [Option<&'static mut EndedJobs>; HAS_NFS as usize],
    /// The last changes, if NFS 4 is offered.
    pub recent: Recent,
    /// The peer of the current request, in SFTP and above the exports.
    pub(super) peer: Peer,
    /// The absolute path of the root directory; empty: no backend resolves paths.
    root_path: &'static [u8],
    /// True if paths may continue inside every image file, whatever its name, also if the path reached it by a symbolic link.
    pub(super) enters_all_images: bool,
}

impl core::fmt::Debug for Tree {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Tree")
    }
}

impl Tree {
    /// See the field. Files without `serve` have no flag to name.
    pub fn refused_users(&mut self) -> Option<&mut heapless::Vec<u32, REFUSED_USER_COUNT_MAX>> {
        #[cfg(any(feature = "serve", test))]
        let named = self.refused_users.as_mut();
        #[cfg(not(any(feature = "serve", test)))]
        let named = None;
        named
    }

    /// All exports. The number of an export is its index here.
    pub fn exports(&self) -> Exports<'_> {
        Exports {
            places: &self.exports,
            reading: &self.reading,
        }
    }

    /// Registers a backend.
    pub fn add(&mut self, kind: Backend, backend: &'static mut dyn Vfs) {
        if let Some(place) = self.backends.get_mut(kind as usize) {
            *place = Some(backend);
        }
    }

    /// Registers the host's directories. `key` is that of the MACs in their handles; zeros: they need none.
    pub fn add_host(&mut self, host: &'static mut dyn Vfs, key: Key) {
        (self.key, self.reopens) = (key, true);
        self.add(Backend::Host, host);
    }

    /// Registers the backend that resolves paths. All absolute paths begin with `root`; others do not exist.
    pub fn add_paths(&mut self, backend: &'static mut dyn Vfs, root: &'static [u8]) {
        self.root_path = root;
        self.add(Backend::User, backend);
    }
}

/// Lookup of backends and exports, and checks of export rules. Each `cfg!` removes a backend from executables without a role that
/// needs it.
impl Tree {
    /// The backend of an object.
    #[inline(always)] // A few instructions before a call of the backend.
    pub(super) fn backend(&mut self, node: Node) -> FsResult<&mut dyn Vfs> {
        self.numbered(node.backend()).ok_or(FsError::Stale)
    }

    /// The backend of this number.
    #[inline(never)] // −129 bytes: 37 callers.
    pub(super) fn numbered(&mut self, number: usize) -> Option<&mut dyn Vfs> {
        if HAS_ISO && number == Backend::Images as usize {
            return self.images().map(|images| images as &mut dyn Vfs);
        }
        match self.backends.get_mut(number) {
            Some(Some(backend)) => Some(&mut **backend),
            _ => None,
        }
    }

    /// The backend of this number, for calls that only NFS makes.
    pub(super) fn handles(&mut self, number: usize) -> Option<&mut dyn Vfs> {
        if !HAS_NFS {
            return None;
        }
        self.numbered(number)
    }

    /// The backend that resolves paths.
    #[inline(never)] // −27 bytes: nine callers.
    pub(super) fn paths(&mut self) -> Option<&mut dyn Vfs> {
        if !cfg!(any(feature = "sftp-server", feature = "ls", test)) {
            return None;
        }
        self.numbered(Backend::User as usize)
    }

    /// The backend for the contents of images, once an image was opened.
    pub(super) fn images(&mut self) -> Option<&mut Images> {
        if !HAS_ISO {
            return None;
        }
        self.images.as_deref_mut()
    }

    /// The number of the export that has this tag.
    pub(super) fn tagged(&self, tag: u32) -> Option<usize> {
        let mut exports = self.exports.iter();
        exports.position(|export| export.root.is_some_and(|root| root.tag == tag))
    }

    /// Checks that the export's rules allow changes of an object.
    ///
    /// # Errors
    /// `ReadOnly`: they do not.
    pub(super) fn check_changeable(node: Node) -> FsResult<()> {
        if node.may_change() {
            return Ok(());
        }
        Err(FsError::ReadOnly)
    }

    /// Checks that a rename or link may use both directories: both are changeable and of the same backend.
    fn check_both(one: Node, other: Node) -> FsResult<()> {
        Self::check_changeable(one)?;
        Self::check_changeable(other)?;
        if one.backend() != other.backend() {
            return Err(FsError::CrossDevice);
        }
        Ok(())
    }
}

/// Contents of pinned files, for transfers. Any method fails with `Io` if the disk failed.
impl Tree {
    /// See [`Vfs::unpin`].
    pub fn unpin(&mut self, pin: Pin) {
        if !pin.node.is_above()
            && let Ok(backend) = self.backend(pin.node)
        {
            backend.unpin(pin);
        }
    }

    /// See [`Vfs::read`]. Waits for the disk.
    ///
    /// # Errors
    /// As [`Vfs::read`].
    pub fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        let read = self.read_with(pin, offset, out, Patience::Forever);
        read.map_err(|stop| match stop {
            Stop::Failed(error) => error,
            Stop::Again(_) => FsError::AwaitsDisk,
        })
    }

    /// See [`Vfs::read`].
    ///
    /// # Errors
    /// As [`Vfs::read`].
    pub fn read_with(
        &mut self,
        pin: &Pin,
        offset: u64,
        out: &mut [u8],
        patience: Patience,
    ) -> Result<u32, Stop> {
        self.backend(pin.node)?.read(pin, offset, out, patience)
    }

    /// See [`Vfs::extent`].
    pub fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        if !HAS_NFS {
            return None;
        }
        self.backend(pin.node).ok()?.extent(pin, offset, len)
    }

    /// See [`Vfs::write`].
    pub fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.backend(pin.node)?.write(pin, offset, bytes)
    }

    /// See [`Vfs::sync`].
    pub fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        self.backend(pin.node)?.sync(pin)
    }

    /// See [`Vfs::release_idle`].
    pub fn release_idle(&mut self) -> bool {
        let mut more = false;
        for backend in self.backends.iter_mut().flatten() {
            more |= backend.release_idle();
        }
        more | self.images().is_some_and(Vfs::release_idle)
    }
}

/// Operations on objects, whether they were found by handle or by path.
impl Tree {
    /// The top of an export, with the rights of any of its clients. The following calls are carried out with the server's own
    /// rights.
    ///
    /// # Errors
    /// `Stale`: no such export, or its directory was removed.
    pub fn root(&mut self, number: usize) -> FsResult<Node> {
        let export = self.exports().get(number).ok_or(FsError::Stale)?;
        let (root, rights) = (export.root.ok_or(FsError::Stale)?, export.rights());
        let backend = self.handles(root.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(None);
        let node = backend.root(Some(root.tag))?;
        if root.is_image {
            return self.open_image(node, None);
        }
        Ok(node.limited(rights))
    }

    /// The handle of `node`: the same bytes every time, also after a restart unless the file is in memory.
    ///
    /// # Errors
    /// `Stale`: there is no such backend; else the backend's error.
    pub fn handle(&mut self, node: Node) -> FsResult<Handle> {
        if node.is_above() {
            return Ok(self.handle_above(node));
        }
        self.backend(node)?.handle(node)
    }

    /// See [`Vfs::attr`].
    pub fn attr(&mut self, node: Node) -> FsResult<Attr> {
        if node.is_above() {
            return self.attr_above(node);
        }
        self.backend(node)?.attr(node)
    }

    /// See [`Vfs::lookup`].
    pub fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.is_inside() {
            self.admit_to_directory(dir, Access::Execute)?;
        }
        if dir.is_above() {
            return self.lookup_above(dir, name);
        }
        let found = self.backend(dir)?.lookup(dir, name, Purpose::Any)?;
        Ok(found.limited_by(dir))
    }

    /// As [`Tree::lookup`], for an object that is read next if it is a file. `dir` is not above the exports.
    #[cfg(any(feature = "http", test, fuzzing))]
    pub fn lookup_to_read(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.is_inside() {
            self.admit_to_directory(dir, Access::Execute)?;
        }
        let found = self.backend(dir)?.lookup(dir, name, Purpose::Read)?;
        Ok(found.limited_by(dir))
    }

    /// Returns true if the caller may search a directory inside an image. In others the backend checks each search.
    #[cfg(any(feature = "http", test, fuzzing))]
    pub fn may_search(&mut self, dir: Node) -> FsResult<bool> {
        match dir.is_inside().then(|| self.admit(dir, Access::Execute)) {
            Some(Err(FsError::Access)) => Ok(false),
            admitted => admitted.transpose().map(|_| true),
        }
    }

    /// See [`Vfs::entry_attr`]. `dir` is not above the exports. Inside an image, [`Tree::may_search`] was true.
    #[cfg(any(feature = "http", test, fuzzing))]
    pub fn entry_attr(&mut self, dir: Node, name: Name<'_>, id: u64) -> FsResult<Attr> {
        self.backend(dir)?.entry_attr(dir, name, Some(id))
    }

    /// Returns false only if `dir` certainly has no such name (`NoEntry`); any other error counts as true.
    pub fn has_name(&mut self, dir: Node, name: Name<'_>) -> bool {
        // Without `serve`, no other server process can have carried out a retransmitted request, so the name is not looked up.
        if !HAS_SERVE {
            return true;
        }
        let attr = self
            .backend(dir)
            .map(|backend| backend.entry_attr(dir, name, None));
        attr.is_ok_and(|attr| !matches!(attr, Err(FsError::NoEntry)))
    }

    /// Enters the image file `name` in `dir`: returns its top directory.
    ///
    /// # Errors
    /// `NotDirectory`: not an image, or the rules forbid to enter it; `Invalid`: the image has no file system; `NotSupported`: the
    /// image's file system is unknown; `Access`: the caller may not read it.
    pub fn enter_image(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if !dir.may_enter() || !self.enters_all_images && !is_image(name.bytes()) {
            return Err(FsError::NotDirectory);
        }
        // The backend of exports opens images with the server's own rights.
        if HAS_NFS && dir.backend() == Backend::Host as usize {
            let file = self.lookup(dir, name)?;
            self.admit(file, Access::Read)?;
            return self.open_image(file, None);
        }
        self.open_image(dir, Some(name))
    }

    /// Opens the image file `name` in `dir`, or `dir` itself, and returns its top directory.
    pub(super) fn open_image(&mut self, dir: Node, name: Option<Name<'_>>) -> FsResult<Node> {
        if !HAS_ISO {
            return Err(FsError::NotDirectory);
        }
        let image = self.backend(dir)?.image(dir, name);
        let image = image.as_ref().map_err(|error| *error)?;
        let images = self.images.get_or_insert_with(|| mem::leak(Images::new()));
        images.take(image, dir.backend())
    }

    /// See [`Vfs::readlink`].
    pub fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        if node.is_above() {
            return Err(FsError::Invalid);
        }
        self.backend(node)?.readlink(node, out)
    }

    /// See [`Vfs::readdir`].
    pub fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        if dir.is_above() {
            return self.list_above(dir, from, detail, each);
        }
        self.admit_to_directory(dir, Access::Read)?;
        self.backend(dir)?.readdir(dir, from, detail, each)
    }

    /// See [`Vfs::statfs`].
    pub fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        if node.is_above() {
            return Ok(root::statfs());
        }
        self.backend(node)?.statfs(node)
    }

    /// See [`Vfs::set_attr`].
    pub fn set_attr(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        Self::check_changeable(node)?;
        if change.size.is_some() {
            self.admit(node, Access::Write)?;
        }
        self.backend(node)?.set_attr(node, change)
    }

    /// Creates an object with the attributes of `change`, owned by the caller unless `change` names an owner.
    ///
    /// # Errors
    /// `Exists`; `NotDirectory`; `NotSupported`: the backend has no such objects. After any error, no object was created.
    pub fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        Self::check_changeable(dir)?;
        let made = self.backend(dir)?.create(dir, name, what, change)?;
        Ok(made.limited_by(dir))
    }

    /// See [`Vfs::remove`].
    pub fn remove(&mut self, dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()> {
        Self::check_changeable(dir)?;
        self.backend(dir)?.remove(dir, name, kind)
    }

    /// See [`Vfs::rename`].
    pub fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        target: Target,
    ) -> FsResult<()> {
        Self::check_both(from, to)?;
        self.backend(from)?.rename(from, name, to, new_name, target)
    }

    /// See [`Vfs::link`].
    pub fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        Self::check_both(node, dir)?;
        self.backend(dir)?.link(node, dir, name)
    }
}
