//! The tree: exports, their rules, and the backend of each object.
//!
//! [`Tree::add`] registers a backend, which knows only its own objects. The tree enters ISO images when it resolves a name or a
//! handle; their contents are read-only. `by_handle` has the methods for NFS, `by_path` those for SFTP.

#[cfg(bare)]
use super::disks::TOP;
use super::iso::Images;
use super::{
    Access, Attr, Backend, Caller, Detail, DirEntry, Extent, FsError, FsResult, FsStat, Handles,
    Name, Node, Paths, Pin, SetAttr, Vfs, is_image,
};
use crate::mem::{self, Slots};
use core::ops::ControlFlow;

/// The options of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The option `fsid`: a number that identifies the export permanently.
    pub fsid: Option<u32>,
    /// True if clients may change files (`rw`).
    pub writable: bool,
    /// True if paths may continue inside ISO images.
    pub isos: bool,
    /// The option `async`: replies do not wait until changes of names and attributes are durable. The next COMMIT makes them
    /// durable, or a sync within two seconds.
    pub is_async: bool,
    /// Maps UID and GID 0 to [`Rules::anonymous`] (`root_squash`).
    pub squashes_root: bool,
    /// Maps every UID and GID to [`Rules::anonymous`] (`all_squash`).
    pub squashes_all: bool,
    /// UID and GID of squashed callers and of callers without credentials.
    pub anonymous: (u32, u32),
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            fsid: None,
            writable: false,
            isos: false,
            is_async: false,
            squashes_root: true,
            squashes_all: false,
            anonymous: (65_534, 65_534),
        }
    }
}

/// UID of the superuser, to which every access is allowed.
pub(super) const ROOT: u32 = 0;

impl Rules {
    /// Squashes a caller: maps its UID and GIDs by these rules.
    pub(super) fn squash(&self, caller: &Caller) -> Caller {
        let nameless = [caller.uid, caller.gid].contains(&Caller::NOBODY);
        let believed = |number: u32, anonymous: u32| {
            let squashed = self.squashes_all || nameless || self.squashes_root && number == ROOT;
            if squashed { anonymous } else { number }
        };
        let mut squashed = Caller {
            uid: believed(caller.uid, self.anonymous.0),
            gid: believed(caller.gid, self.anonymous.1),
            groups: heapless::Vec::new(),
        };
        if !nameless && !self.squashes_all {
            for group in &caller.groups {
                let _ = squashed.groups.push(believed(*group, self.anonymous.1));
            }
        }
        squashed
    }
}

/// The top of an export, as its backend knows it.
#[derive(Clone, Copy, Debug)]
pub struct ExportRoot {
    /// The backend.
    pub backend: Backend,
    /// Number of the export in handles: unique, and the same after a restart.
    pub tag: u32,
    /// True if the top is an ISO image file; clients see its contents.
    pub is_image: bool,
    /// Path without symbolic links, if the exported path contains some; else empty.
    pub real: &'static [u8],
}

/// A directory that clients may mount.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Absolute path as clients write it.
    pub path: &'static [u8],
    /// Options.
    pub rules: Rules,
    /// The exported object.
    pub root: ExportRoot,
}

/// All files that a loop serves, whatever their backend.
#[derive(Default)]
pub struct Tree {
    /// Backends by number. That of images is added when the first image is opened.
    pub(super) backends: [Option<&'static mut dyn Vfs>; Backend::COUNT],
    pub(super) exports: Slots<Export>,
    /// True if paths may continue inside every image file, whatever its name, also if the path reached it by a symbolic link.
    pub(super) enters_all_images: bool,
}

impl core::fmt::Debug for Tree {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Tree")
    }
}

/// Registration of backends and exports.
impl Tree {
    /// Registers a backend.
    pub fn add(&mut self, kind: Backend, backend: &'static mut dyn Vfs) {
        if let Some(place) = self.backends.get_mut(kind as usize) {
            *place = Some(backend);
        }
    }

    /// Lets paths continue inside every image file, whatever its name, also if the path reached it by a symbolic link.
    pub const fn enter_all_images(&mut self) {
        self.enters_all_images = true;
    }

    /// Allocates space for `count` exports.
    pub fn expect(&mut self, count: usize) {
        self.exports = Slots::new(count);
    }

    /// Exports `root` as `path`.
    ///
    /// # Errors
    /// `Exists`: another export has this tag.
    pub fn export(&mut self, path: &'static [u8], rules: Rules, root: ExportRoot) -> FsResult<()> {
        if self.tagged(root.tag).is_some() {
            return Err(FsError::Exists);
        }
        self.exports.push_more(Export { path, rules, root });
        Ok(())
    }

    /// All exports. The number of an export is its index here.
    pub fn exports(&self) -> &[Export] {
        &self.exports
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
    #[inline(never)]
    fn numbered(&mut self, number: usize) -> Option<&mut dyn Vfs> {
        match self.backends.get_mut(number) {
            Some(Some(backend)) => Some(&mut **backend),
            _ => None,
        }
    }

    /// The backend of this number, if its objects have handles.
    #[inline(never)]
    pub(super) fn handles(&mut self, number: usize) -> Option<&mut dyn Handles> {
        if !cfg!(feature = "nfs") {
            return None;
        }
        self.numbered(number)?.as_handles()
    }

    /// The backend that resolves paths.
    #[inline(never)]
    pub(super) fn paths(&mut self) -> Option<&mut dyn Paths> {
        if !cfg!(any(feature = "sftp-server", feature = "ls")) {
            return None;
        }
        self.numbered(Backend::ByPath as usize)?.as_paths()
    }

    /// The backend for the contents of images, once an image was opened.
    #[inline(never)]
    pub(super) fn images(&mut self) -> Option<&mut Images> {
        if !cfg!(feature = "iso") {
            return None;
        }
        self.numbered(Backend::Images as usize)?.as_images()
    }

    /// The number of the export that has this tag.
    #[inline(never)]
    pub(super) fn tagged(&self, tag: u32) -> Option<usize> {
        let mut exports = self.exports.iter();
        exports.position(|export| export.root.tag == tag)
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

/// Contents of pinned files, for orders. Any method fails with `Io` if the disk failed.
impl Tree {
    /// See [`Vfs::unpin`].
    pub fn unpin(&mut self, pin: Pin) {
        if let Ok(backend) = self.backend(pin.node) {
            backend.unpin(pin);
        }
    }

    /// See [`Vfs::read`].
    pub fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        self.backend(pin.node)?.read(pin, offset, out)
    }

    /// See [`Vfs::read_cached`].
    pub fn read_cached(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<u32> {
        self.backend(pin.node)?.read_cached(pin, offset, out)
    }

    /// See [`Vfs::extent`].
    pub fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        if !cfg!(any(feature = "nfs", test)) {
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
        more
    }
}

/// Operations on objects, whether they were found by handle or by path.
impl Tree {
    /// See [`Vfs::attr`].
    pub fn attr(&mut self, node: Node) -> FsResult<Attr> {
        self.backend(node)?.attr(node)
    }

    /// See [`Vfs::lookup`].
    pub fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.is_inside() {
            self.admit(dir, Access::Execute)?;
        }
        #[cfg(bare)]
        if dir == TOP {
            return self.lookup_export(name);
        }
        self.backend(dir)?.lookup(dir, name)
    }

    /// See [`Vfs::has_name`].
    pub fn has_name(&mut self, dir: Node, name: Name<'_>) -> bool {
        self.backend(dir)
            .is_ok_and(|backend| backend.has_name(dir, name))
    }

    /// Enters the image file `name` in `dir`: returns its top directory.
    ///
    /// # Errors
    /// `NotDirectory`: not an image, or the rules forbid to enter it; `Invalid`: the image has no file system; `NotSupported`: the
    /// image's file system is unknown.
    pub fn enter_image(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.may_enter() && (self.enters_all_images || is_image(name.bytes())) {
            return self.open_image(dir, Some(name));
        }
        Err(FsError::NotDirectory)
    }

    /// Opens the image file `name` in `dir`, or `dir` itself, and returns its top directory.
    #[inline(never)]
    pub(super) fn open_image(&mut self, dir: Node, name: Option<Name<'_>>) -> FsResult<Node> {
        if !cfg!(feature = "iso") {
            return Err(FsError::NotDirectory);
        }
        let image = self.backend(dir)?.image(dir, name);
        let image = image.as_ref().map_err(|error| *error)?;
        if self.images().is_none() {
            self.add(Backend::Images, mem::leak(Images::new()));
        }
        let images = self.images().ok_or(FsError::Stale)?;
        images.take(image, dir.backend())
    }

    /// See [`Vfs::readlink`].
    pub fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
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
        #[cfg(bare)]
        if dir == TOP {
            return self.list_exports(from, each);
        }
        self.admit(dir, Access::Read)?;
        self.backend(dir)?.readdir(dir, from, detail, each)
    }

    /// See [`Vfs::statfs`].
    pub fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
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

    /// See [`Vfs::remove`].
    pub fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        Self::check_changeable(dir)?;
        self.backend(dir)?.remove(dir, name, directory)
    }

    /// See [`Vfs::rename`].
    pub fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        Self::check_both(from, to)?;
        self.backend(from)?
            .rename(from, name, to, new_name, replace)
    }

    /// See [`Vfs::link`].
    pub fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        Self::check_both(node, dir)?;
        self.backend(dir)?.link(node, dir, name)
    }
}
