//! The tree: what is exported, by which rules, and the backend of each object.
//!
//! A new backend is registered by [`Tree::add`]. It knows its own objects alone. Images are entered here, on the way from a name or a handle to an
//! object; nothing inside them can be changed.

use super::handle;
use super::iso::Images;
use super::walk::{BUFFER_BYTES, End, Path, next_name};
use super::{
    Access, Attr, Backend, Caller, CreateWhat, Detail, DirEntry, Extent, FileTime, FsError,
    FsResult, FsStat, Handle, Handles, Kind, Name, Node, OpenFlags, Paths, Pin, SetAttr, Vfs,
    is_image,
};
use crate::config::EXPORT_COUNT_MAX;
use crate::mem;
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

/// Where a walk ended: a directory, a name there, and its object, if there is one.
#[derive(Default)]
struct Last {
    parent: Node,
    node: Option<Node>,
    name: heapless::Vec<u8, 255>,
}

/// Files, whatever they lie on: the one way to them.
#[derive(Default)]
pub struct Tree {
    /// Backends, by their numbers. Images are there once one was opened.
    backends: [Option<&'static mut dyn Vfs>; Backend::COUNT],
    exports: heapless::Vec<Export, EXPORT_COUNT_MAX>,
    /// Whether any file may be an image to paths, whatever its name is and whether or not a link led there.
    looks_anywhere: bool,
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

    /// Exports what begins at `top` as `path`.
    ///
    /// # Errors
    /// `Exists`: something with this tag is exported already; `NoSpace`: there are [`EXPORT_COUNT_MAX`].
    pub fn export(&mut self, path: &'static [u8], rules: Rules, top: Top) -> FsResult<()> {
        if self.tagged(top.tag).is_some() {
            return Err(FsError::Exists);
        }
        let export = Export { path, rules, top };
        self.exports.push(export).map_err(|_| FsError::NoSpace)
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
    fn backend(&mut self, node: Node) -> FsResult<&mut dyn Vfs> {
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
    fn handles(&mut self, number: usize) -> Option<&mut dyn Handles> {
        if !cfg!(feature = "nfs") {
            return None;
        }
        self.numbered(number)?.as_handles()
    }

    /// The backend that paths lead through.
    #[inline(never)]
    fn paths(&mut self) -> Option<&mut dyn Paths> {
        if !cfg!(any(feature = "sftp-server", feature = "ls")) {
            return None;
        }
        self.numbered(Backend::User as usize)?.as_paths()
    }

    /// What is inside images, once one was opened.
    #[inline(never)]
    fn images(&mut self) -> Option<&mut Images> {
        if !cfg!(feature = "iso") {
            return None;
        }
        self.numbered(Backend::Images as usize)?.as_images()
    }

    /// The number of the export that has this tag.
    #[inline(never)]
    fn tagged(&self, tag: u32) -> Option<usize> {
        let mut exports = self.exports.iter();
        exports.position(|export| export.top.tag == tag)
    }

    /// Whether an object may be changed by the rules of where it lies.
    ///
    /// # Errors
    /// `ReadOnly`: it may not.
    fn check_changeable(node: Node) -> FsResult<()> {
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

    /// Whether the caller may open an object, to use it so. The owner of a file may always read and write it: the client's own system
    /// has asked already when the file was opened. Who may run a file must be able to read it.
    ///
    /// # Errors
    /// `Access`: it may not.
    #[inline(never)]
    fn admit(&mut self, node: Node, access: Access) -> FsResult<()> {
        let backend = self.asked(node);
        let Some(uid) = backend.and_then(|backend| backend.caller()) else {
            return Ok(());
        };
        match self.access(node, access) {
            Err(FsError::Access) => {}
            done => return done,
        }
        let attr = self.attr(node);
        let attr = attr.as_ref().map_err(|error| *error)?;
        match (attr.kind, access) {
            (Kind::Regular, _) if attr.uid == uid => Ok(()),
            (Kind::Regular, Access::Read) => self.access(node, Access::Execute),
            _ => Err(FsError::Access),
        }
    }

    /// The backend that knows whether the caller may use an object: its own, or that of the image in which it lies. `None`: the caller
    /// is the process itself.
    fn asked(&mut self, node: Node) -> Option<&mut dyn Handles> {
        let mut number = node.backend();
        if node.is_inside() {
            number = self.images()?.within(node)?;
        }
        self.handles(number)
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

    /// See [`Vfs::extent`].
    pub fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        if pin.node.is_inside() && self.paths().is_some_and(|paths| !paths.lends()) {
            return None;
        }
        self.backend(pin.node).ok()?.extent(pin, offset, len)
    }

    /// See [`Vfs::write`].
    pub fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.backend(pin.node)?.write(pin, offset, bytes)
    }

    /// See [`Vfs::write_from`].
    pub fn write_from(&mut self, pin: &Pin, offset: u64, pipe: i32, len: usize) -> FsResult<()> {
        self.backend(pin.node)?.write_from(pin, offset, pipe, len)
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
        self.backend(dir)?.lookup(dir, name)
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
    fn open_image(&mut self, dir: Node, name: Option<Name<'_>>) -> FsResult<Node> {
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

/// Objects that are named by handles, for callers that differ: what NFS needs.
impl Tree {
    /// The top of an export. What follows is done as the server itself.
    ///
    /// # Errors
    /// `Stale`: there is no such export, or its directory is gone.
    pub fn root(&mut self, number: usize) -> FsResult<Node> {
        let Export { top, .. } = *self.exports.get(number).ok_or(FsError::Stale)?;
        let backend = self.handles(top.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(None);
        let node = backend.root(top.tag)?;
        if top.is_image {
            return self.open_image(node, None);
        }
        Ok(node)
    }

    /// The object that a handle names. What follows is done as `caller`, as far as the host and the export's rules allow.
    ///
    /// # Errors
    /// `BadHandle`: no server of this kind made it; `Stale`: what it named is gone; `TryLater`: that is still being looked for.
    pub fn open(&mut self, bytes: &[u8], caller: &Caller) -> FsResult<Node> {
        let mut buffer = [0; Handle::BYTES_MAX];
        let (mut file, mut inside) = (bytes, None);
        let is_inside = cfg!(feature = "iso") && handle::is_inside(bytes);
        if is_inside {
            file = handle::outside(bytes, &mut buffer);
            inside = self.images().and_then(|images| images.find(bytes));
        }
        let number = self.tagged(handle::tag(file)?).ok_or(FsError::Stale)?;
        let Export { top, rules, .. } = *self.exports.get(number).ok_or(FsError::Stale)?;
        let node = match inside {
            Some(node) => node,
            None => {
                let node = self
                    .handles(top.backend as usize)
                    .ok_or(FsError::Stale)?
                    .open(file)?;
                if is_inside {
                    self.open_image(node, None)?;
                    let found = self.images().and_then(|images| images.find(bytes));
                    found.ok_or(FsError::Stale)?
                } else if top.is_image {
                    // Of the image itself no handle was ever given.
                    return Err(FsError::Stale);
                } else {
                    node
                }
            }
        };
        let backend = self.handles(top.backend as usize).ok_or(FsError::Stale)?;
        backend.act_as(Some((caller, &rules)));
        Ok(node)
    }

    /// The handle that names `node`: the same bytes every time, also after a restart.
    ///
    /// # Errors
    /// None of its own.
    pub fn handle(&mut self, node: Node) -> FsResult<Handle> {
        self.backend(node)?.handle(node)
    }

    /// Whether the caller may use the object so.
    ///
    /// # Errors
    /// `Access`: it may not.
    pub fn access(&mut self, node: Node, access: Access) -> FsResult<()> {
        if access == Access::Write && !node.may_change() {
            return Err(FsError::Access);
        }
        if !node.is_inside() {
            let backend = self.handles(node.backend()).ok_or(FsError::Stale)?;
            return backend.access(node, access);
        }
        let attr = self.attr(node);
        let attr = attr.as_ref().map_err(|error| *error)?;
        match self.asked(node) {
            Some(backend) => backend.access_by_mode(attr, access),
            None => Ok(()),
        }
    }

    /// Keeps a regular file open for longer than this request, to be used so; `None`: only to be made durable.
    /// Its owner may always read and write.
    ///
    /// # Errors
    /// `IsDirectory`; `Invalid`: it is neither; `TryLater`: as many are pinned as can be.
    pub fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        if access == Some(Access::Write)
            && let Err(error) = Self::check_changeable(node)
        {
            // What it is comes first.
            return Err(match self.attr(node)?.kind {
                Kind::Regular => error,
                Kind::Directory => FsError::IsDirectory,
                _ => FsError::Invalid,
            });
        }
        if let Some(access) = access {
            self.admit(node, access)?;
        }
        self.backend(node)?.pin(node, access)
    }

    /// Makes an object that was not there: with `change`, owned by the caller otherwise.
    ///
    /// # Errors
    /// `Exists`; `NotDirectory`; `NotSupported`: there are no such objects here. After any it is not there.
    pub fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        Self::check_changeable(dir)?;
        self.handles(dir.backend())
            .ok_or(FsError::Stale)?
            .create(dir, name, what, change)
    }

    /// Makes durable what names and attributes were changed, before their changes are answered.
    ///
    /// # Errors
    /// After any they may be lost.
    pub fn commit_metadata(&mut self) -> FsResult<()> {
        let mut committed = Ok(());
        for number in 0..Backend::COUNT {
            if let Some(backend) = self.handles(number) {
                committed = committed.and(backend.commit_metadata());
            }
        }
        committed
    }
}

/// Objects that are named by paths, for one peer: what SFTP needs. Paths are as clients write them; [`walk`](super::walk) has
/// their rules.
impl Tree {
    /// A request of this peer begins: what follows is done as [`Paths::begin`] says, until a handle names a caller.
    pub fn begin(&mut self) {
        if let Some(paths) = self.paths() {
            paths.begin();
        }
    }

    /// See [`Paths::root_path`].
    pub fn root_path(&mut self) -> &'static [u8] {
        self.paths().map_or(b"/", |paths| paths.root_path())
    }

    /// See [`Paths::root_dir`].
    pub fn root_dir(&mut self) -> FsResult<Node> {
        self.paths().ok_or(FsError::Stale)?.root_dir()
    }

    /// See [`Paths::cwd`].
    pub fn cwd(&mut self, out: &mut [u8]) -> FsResult<u32> {
        self.paths().ok_or(FsError::Stale)?.cwd(out)
    }

    /// Has relative paths begin at the directory `dir`, a path like all others.
    ///
    /// # Errors
    /// As [`Tree::resolve`]; `NotDirectory`: it is none.
    pub fn chdir(&mut self, dir: &'static core::ffi::CStr) -> FsResult<()> {
        if self.attr_at(dir.to_bytes(), true)?.kind != Kind::Directory {
            return Err(FsError::NotDirectory);
        }
        self.paths().ok_or(FsError::Stale)?.chdir(dir)
    }

    /// The object at the end of a path, through directories, symbolic links and images; a link at the end is followed if `follow`.
    ///
    /// # Errors
    /// As [`Paths::resolve`].
    pub fn resolve(&mut self, path: &[u8], follow: bool) -> FsResult<Node> {
        let found = self
            .paths()
            .ok_or(FsError::Stale)?
            .resolve(None, path, follow);
        let Err(error) = found else { return found };
        let end = if follow { End::Follow } else { End::Keep };
        let mut last = Last::default();
        self.walk(path, end, error, &mut last)?;
        let node = last.node.ok_or(FsError::NoEntry)?;
        if node.is_inside() {
            return Ok(node);
        }
        // What the walk opened lasts no longer than the walk.
        let paths = self.paths().ok_or(FsError::Stale)?;
        paths.resolve(Some(last.parent), &last.name, false)
    }

    /// The attributes of the object at the end of a path.
    ///
    /// # Errors
    /// As [`Tree::resolve`].
    pub fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        let attr = self.paths().ok_or(FsError::Stale)?.attr_at(path, follow);
        match attr {
            Err(FsError::NotDirectory | FsError::CrossDevice) => {
                let node = self.resolve(path, follow)?;
                self.attr(node)
            }
            attr => attr,
        }
    }

    /// Opens the object at the end of a path for longer than this request.
    ///
    /// # Errors
    /// As [`Paths::open_at`].
    pub fn open_at(&mut self, path: &[u8], how: &OpenFlags) -> FsResult<Pin> {
        let opened = self.paths().ok_or(FsError::Stale)?.open_at(None, path, how);
        let Err(error) = opened else { return opened };
        let end = match how.create {
            Some(_) if how.has(OpenFlags::EXCLUSIVE) => End::New,
            Some(_) => End::Absent,
            None => End::Follow,
        };
        let mut last = Last::default();
        self.walk(path, end, error, &mut last)?;
        if !last.node.unwrap_or(last.parent).is_inside() {
            let paths = self.paths().ok_or(FsError::Stale)?;
            return paths.open_at(Some(last.parent), &last.name, how);
        }
        if how.has(OpenFlags::WRITE | OpenFlags::TRUNCATE) || how.create.is_some() {
            return Err(FsError::ReadOnly);
        }
        let node = last.node.ok_or(FsError::NoEntry)?;
        let images = self.images().ok_or(FsError::Stale)?;
        images.pin_as(node, how.has(OpenFlags::DIRECTORY))
    }

    /// Walks a path for which the backend has this error: it may lead into an image, or the backend does not know by itself
    /// where it leads.
    #[inline(never)]
    fn walk(&mut self, path: &[u8], end: End, error: FsError, last: &mut Last) -> FsResult<()> {
        let follows = self.looks_anywhere;
        let (mut rest, mut may) = (path, error == FsError::CrossDevice);
        while let Some(name) = next_name(&mut rest) {
            may |= error == FsError::NotDirectory && (follows || is_image(name));
        }
        if !may {
            return Err(error);
        }
        let mut done = Path::new(self);
        done.follows = follows;
        done.walk(path, &mut [0; BUFFER_BYTES], end)?;
        last.parent = done.parent;
        let name = match done.name() {
            b"" => b".",
            name => name,
        };
        let _ = last.name.extend_from_slice(name);
        last.node = done.node();
        Ok(())
    }

    /// See [`Paths::make`].
    pub fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        what: CreateWhat<'_>,
        mode: Option<u32>,
    ) -> FsResult<()> {
        Self::check_changeable(dir)?;
        self.paths()
            .ok_or(FsError::Stale)?
            .make(dir, name, what, mode)
    }

    /// See [`Paths::clock`].
    pub fn clock(&mut self) -> FileTime {
        match self.paths() {
            Some(paths) => paths.clock(),
            None => FileTime::default(),
        }
    }
}
