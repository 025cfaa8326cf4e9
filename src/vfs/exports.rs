//! The tree: what is exported, by which rules, and the backend of each object.
//!
//! A new backend is registered by [`Tree::add`]. It knows its own objects alone. Images are entered here, on the way from a name
//! or a handle to an object; nothing inside them can be changed. `by_handle` has what NFS needs besides, `by_path` what SFTP does.

#[cfg(bare)]
use super::disks::TOP;
use super::iso::Images;
use super::{
    Access, Attr, Backend, Caller, Detail, DirEntry, Extent, FsError, FsResult, FsStat, Handles,
    Name, Node, Paths, Pin, SetAttr, Vfs, is_image,
};
use crate::mem::{self, Slots};
use core::ops::ControlFlow;

/// What an export's owner says about its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// The number that the export is known by, for good.
    pub fsid: Option<u32>,
    /// Clients may change what is in it.
    pub writable: bool,
    /// Paths may go through the images in it.
    pub isos: bool,
    /// Changes of names and attributes are on disk with the next COMMIT or within two seconds, not before they are answered.
    pub is_async: bool,
    /// A client's root is [`Rules::anonymous`] here.
    pub squashes_root: bool,
    /// So is every user.
    pub squashes_all: bool,
    /// User and group of a caller that is not believed, or names none.
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

/// The user that is never refused.
pub(super) const ROOT: u32 = 0;

impl Rules {
    /// Whom a caller is taken for.
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

/// What its backend says of the top of an export.
#[derive(Clone, Copy, Debug)]
pub struct Top {
    /// The backend.
    pub backend: Backend,
    /// Tells it from all others in handles, also after a restart.
    pub tag: u32,
    /// What is exported is inside the image that it is.
    pub is_image: bool,
    /// Its path without links, if that by which it is exported has some; else nothing.
    pub real: &'static [u8],
}

/// A directory that clients may mount.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// Absolute path as clients write it.
    pub path: &'static [u8],
    /// What clients may do.
    pub rules: Rules,
    /// What it begins at.
    pub top: Top,
}

/// Files, whatever they lie on: the one way to them.
#[derive(Default)]
pub struct Tree {
    /// Backends, by their numbers. Images are there once one was opened.
    pub(super) backends: [Option<&'static mut dyn Vfs>; Backend::COUNT],
    pub(super) exports: Slots<Export>,
    /// Whether any file may be an image to paths, whatever its name is and whether or not a link led there.
    pub(super) looks_anywhere: bool,
}

impl core::fmt::Debug for Tree {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Tree")
    }
}

/// What is registered.
impl Tree {
    /// Registers a backend.
    pub fn add(&mut self, kind: Backend, backend: &'static mut dyn Vfs) {
        if let Some(place) = self.backends.get_mut(kind as usize) {
            *place = Some(backend);
        }
    }

    /// Lets paths go on in every file that is an image, whatever its name is and whether or not a link led there.
    pub const fn look_anywhere(&mut self) {
        self.looks_anywhere = true;
    }

    /// Makes space for so many exports.
    pub fn expect(&mut self, count: usize) {
        self.exports = Slots::new(count);
    }

    /// Exports what begins at `top` as `path`.
    ///
    /// # Errors
    /// `Exists`: something with this tag is exported already.
    pub fn export(&mut self, path: &'static [u8], rules: Rules, top: Top) -> FsResult<()> {
        if self.tagged(top.tag).is_some() {
            return Err(FsError::Exists);
        }
        self.exports.push_more(Export { path, rules, top });
        Ok(())
    }

    /// What is exported. An export's number is its place here.
    pub fn exports(&self) -> &[Export] {
        &self.exports
    }
}

/// Which backend, by which rules. A file without the roles that need one half leaves it out.
impl Tree {
    /// The backend of an object.
    #[inline(always)] // A few instructions, after which the call goes on to the backend.
    pub(super) fn backend(&mut self, node: Node) -> FsResult<&mut dyn Vfs> {
        self.numbered(node.backend()).ok_or(FsError::Stale)
    }

    /// The backend of this number.
    #[inline(always)]
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

    /// The backend that paths lead through.
    #[inline(never)]
    pub(super) fn paths(&mut self) -> Option<&mut dyn Paths> {
        if !cfg!(any(feature = "sftp-server", feature = "ls")) {
            return None;
        }
        self.numbered(Backend::ByPath as usize)?.as_paths()
    }

    /// What is inside images, once one was opened.
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
        exports.position(|export| export.top.tag == tag)
    }

    /// Whether an object may be changed by the rules of where it lies.
    ///
    /// # Errors
    /// `ReadOnly`: it may not.
    pub(super) fn check_changeable(node: Node) -> FsResult<()> {
        if node.may_change() {
            return Ok(());
        }
        Err(FsError::ReadOnly)
    }

    /// Whether objects may be changed together.
    fn check_both(one: Node, other: Node) -> FsResult<()> {
        Self::check_changeable(one)?;
        Self::check_changeable(other)?;
        if one.backend() != other.backend() {
            return Err(FsError::CrossDevice);
        }
        Ok(())
    }
}

/// What is in the files that are pinned: all that orders need. Any method fails with `Io` where the disk does.
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

    /// Lets go of what was not used since the last call. True: there is more to let go of later.
    pub fn release_idle(&mut self) -> bool {
        let mut more = false;
        for backend in self.backends.iter_mut().flatten() {
            more |= backend.release_idle();
        }
        more
    }
}

/// Objects: what is read of them and changed, whatever they were named by.
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

    /// The top of what is inside the image of this name in `dir`.
    ///
    /// # Errors
    /// `NotDirectory`: it is no image, or one that is not entered; `Invalid`, `NotSupported`: it has no file system, or one that
    /// is not known.
    pub fn enter_image(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.may_enter() && (self.looks_anywhere || is_image(name.bytes())) {
            return self.open_image(dir, Some(name));
        }
        Err(FsError::NotDirectory)
    }

    /// The top of the image of this name in `dir`, or that `dir` itself is.
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
