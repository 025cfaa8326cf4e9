//! The tree: exports, their rules, and the backend of each object.
//!
//! [`Tree::add`] registers a backend, which knows only its own objects. The tree enters ISO images when it resolves a name or a
//! handle; their contents are read-only. `by_handle` has the methods for NFS, `by_path` those for SFTP.

#[cfg(bare)]
use super::disks::TOP;
use super::images::Images;
use super::{
    Access, Attr, Backend, Caller, Detail, DirEntry, Extent, FsError, FsResult, FsStat, Handles,
    Name, Node, Paths, Peer, Pin, Rights, SetAttr, Vfs, is_image,
};
use crate::config::{HAS_ISO, HAS_NFS};
use crate::mem::{self, Slots};
use crate::wire::exports::Hosts;
pub use crate::wire::exports::Rules;
use core::ffi::CStr;
use core::net::Ipv6Addr;
use core::ops::ControlFlow;

/// UID of the superuser, to which every access is allowed.
pub(super) const ROOT: u32 = 0;

impl Rules {
    /// Squashes a caller: maps its UID and GIDs by these rules. -1 is anonymous as UID and as GID, and no supplementary group, as in
    /// the kernel's server.
    pub(super) fn squash(&self, caller: &Caller) -> Caller {
        let is_all = self.has(Self::SQUASHES_ALL);
        let believed = |number: u32, anonymous: u32| {
            let squashed = is_all
                || number == Caller::NOBODY
                || number == ROOT && self.has(Self::SQUASHES_ROOT);
            if squashed { anonymous } else { number }
        };
        let mut squashed = Caller {
            uid: believed(caller.uid, self.anonymous.0),
            gid: believed(caller.gid, self.anonymous.1),
            groups: heapless::Vec::new(),
        };
        if !is_all {
            // setgroups(2) refuses -1 with EINVAL.
            for group in caller.groups.iter().filter(|id| **id != Caller::NOBODY) {
                let _ = squashed.groups.push(believed(*group, self.anonymous.1));
            }
        }
        squashed
    }

    /// The rights that clients have by these rules.
    pub(super) const fn rights(&self) -> Rights {
        Rights::of(self.has(Self::WRITABLE), self.has(Self::ISOS))
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

/// Hosts that may mount an export, and its rules for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Client {
    /// The hosts.
    pub hosts: Hosts<'static>,
    /// The rules.
    pub rules: Rules,
}

impl Client {
    /// Every host.
    pub const fn everyone(rules: Rules) -> Self {
        Self {
            hosts: Hosts::Everyone,
            rules,
        }
    }
}

/// An address of a host that [`Hosts::Named`] names.
#[derive(Clone, Copy, Debug)]
pub struct KnownHost {
    /// The name or pattern.
    pub name: &'static [u8],
    /// The address; an IPv4 address is mapped into IPv6.
    pub address: Ipv6Addr,
}

/// A directory that clients may mount.
#[derive(Debug)]
pub struct Export {
    /// Absolute path as clients write it.
    pub path: &'static CStr,
    /// The hosts that may mount it. None: not exported any more.
    pub clients: Slots<Client>,
    /// The hosts that may mount it once the exports are read completely.
    pub next: Slots<Client>,
    /// The exported object. `None`: it is missing, or not exported any more.
    pub root: Option<ExportRoot>,
}

impl Export {
    /// The rules that hold whatever the client: `fsid` and `mountpoint` of the first entry that has them; `rw`, `isos` if an entry
    /// has them; `async` if all entries have it.
    pub fn common_rules(&self) -> Rules {
        const OF_ANY: u8 = Rules::NEEDS_MOUNT | Rules::WRITABLE | Rules::ISOS;
        let (mut common, mut of_all) = (Rules::DEFAULT, Rules::ASYNC);
        for Client { rules, .. } in self.clients.iter() {
            common.fsid = common.fsid.or(rules.fsid);
            common.set |= rules.set & OF_ANY;
            of_all &= rules.set;
        }
        common.with(of_all)
    }

    /// Returns true if the export is an ISO image; clients see its contents.
    pub fn is_image(&self) -> bool {
        self.root.is_some_and(|root| root.is_image)
    }

    pub(super) fn rights(&self) -> Rights {
        self.common_rules().rights()
    }
}

/// The reason why an export cannot be opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenFault {
    /// Number of the errno, or one of the numbers below; `EXIST`: another export has the same `fsid` or directory.
    pub errno: u8,
    /// The number of that export.
    pub other: Option<usize>,
}

impl OpenFault {
    /// The file is no ISO image. This number and the next ones are above those of Linux, whose errnos are passed on.
    pub const NO_IMAGE: u8 = 200;
    /// The files of the image are in UDF.
    pub const OTHER_IMAGE: u8 = 201;
    /// Nothing is mounted at the path.
    pub const NOT_MOUNTED: u8 = 202;
    /// A file system such as proc.
    pub const PSEUDO: u8 = 203;

    /// The number for an error of an image.
    pub const fn of_image(error: FsError) -> Option<u8> {
        match error {
            FsError::Invalid => Some(Self::NO_IMAGE),
            FsError::NotSupported => Some(Self::OTHER_IMAGE),
            _ => None,
        }
    }

    const fn of(errno: u8) -> Self {
        Self { errno, other: None }
    }
}

/// All files that a loop serves, whatever their backend.
#[derive(Default)]
pub struct Tree {
    /// Backends by number. That of images is added when the first image is opened.
    pub(super) backends: [Option<&'static mut dyn Vfs>; Backend::COUNT],
    pub(super) exports: Slots<Export>,
    /// True if exports are the host's directories, which may be replaced: MNT opens them again.
    pub reopens: bool,
    /// True if an export has become missing.
    pub has_missing: bool,
    /// Addresses of the hosts that clients' entries name.
    pub known_hosts: Slots<KnownHost>,
    /// The SFTP peer of the current request.
    #[cfg(bare)]
    pub(super) peer: Option<Peer>,
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

    /// Exports `root` as `path`, to these hosts besides those of earlier calls. Returns the number of the export.
    ///
    /// # Errors
    /// `Exists`: another export has this tag.
    pub fn export(
        &mut self,
        path: &'static CStr,
        clients: &[Client],
        root: ExportRoot,
    ) -> FsResult<usize> {
        if self.tagged(root.tag).is_some() {
            return Err(FsError::Exists);
        }
        let number = self.number_of(path);
        let export = self.exports.get_mut(number).ok_or(FsError::Stale)?;
        for client in clients {
            export.clients.push_more(*client);
        }
        export.root = Some(root);
        Ok(number)
    }

    /// Returns true if the file system of an export is read-only, whatever the export's rules.
    pub fn is_read_only(&mut self, number: usize) -> bool {
        let root = self.root(number);
        let stat = root.and_then(|root| self.statfs(root));
        stat.is_ok_and(|stat| stat.read_only)
    }

    /// Makes memory for this number of exports; more exports need a copy.
    pub fn reserve(&mut self, count: usize) {
        self.exports.reserve(count);
    }

    /// Adds hosts that [`Tree::replace_clients`] will let mount the export of this path, which may be new. Returns false if these
    /// hosts were added to it before: the first rules apply.
    pub fn add_client(&mut self, path: &'static CStr, client: Client) -> bool {
        let number = self.number_of(path);
        let Some(export) = self.exports.get_mut(number) else {
            return true;
        };
        let mut others = export.next.iter();
        if others.any(|other| other.hosts == client.hosts) {
            return false;
        }
        export.next.push_more(client);
        true
    }

    /// Replaces the hosts of all exports by those added since the last call, or forgets the added ones if not `is_valid`.
    pub fn replace_clients(&mut self, is_valid: bool) {
        for export in self.exports.iter_mut() {
            if is_valid {
                core::mem::swap(&mut export.clients, &mut export.next);
            }
            export.next.clear();
        }
    }

    /// Returns the number of the export of this path, which may be new.
    fn number_of(&mut self, path: &'static CStr) -> usize {
        let mut exports = self.exports.iter();
        if let Some(number) = exports.position(|export| export.path == path) {
            return number;
        }
        self.exports.push_more(Export {
            path,
            clients: Slots::default(),
            next: Slots::default(),
            root: None,
        });
        self.exports.len() - 1
    }

    /// Ends an export, until [`Tree::open_export`] opens it again.
    pub fn close_export(&mut self, number: usize) {
        if let Some(export) = self.exports.get_mut(number) {
            export.root = None;
        }
        if let Some(backend) = self.handles(Backend::ByHandle as usize) {
            backend.close_top(number);
        }
    }

    /// Opens an export's directory or image on the host, again if it was opened before: another one may be there now.
    ///
    /// # Errors
    /// The reason; the export is missing then.
    #[inline(never)]
    pub fn open_export(&mut self, number: usize) -> Result<(), OpenFault> {
        let opened = self.try_open(number);
        if opened.is_err() {
            self.has_missing = true;
            self.close_export(number);
        }
        opened
    }

    fn try_open(&mut self, number: usize) -> Result<(), OpenFault> {
        let gone = || OpenFault::of(FsError::Stale.number());
        let export = self.exports.get(number).ok_or_else(gone)?;
        let (path, rules) = (export.path, export.common_rules());
        let backend = self.handles(Backend::ByHandle as usize).ok_or_else(gone)?;
        let root = backend
            .open_top(number, path, &rules)
            .map_err(OpenFault::of)?;
        let other = self.tagged(root.tag).filter(|other| *other != number);
        if other.is_some() {
            let errno = FsError::Exists.number();
            return Err(OpenFault { errno, other });
        }
        if let Some(export) = self.exports.get_mut(number) {
            export.root = Some(root);
        }
        // Opens an image now, so that a file that is no image is an error.
        let opened = self.root(number).map(drop);
        opened.map_err(|error| {
            let of_image = OpenFault::of_image(error).filter(|_| root.is_image);
            OpenFault::of(of_image.unwrap_or_else(|| error.number()))
        })
    }

    /// The rules of an export for a host.
    ///
    /// # Errors
    /// `Stale`: no such export, or not for that host; `Permission`: the request must come from a port below 1024.
    #[inline(never)]
    pub fn rules(&self, number: usize, peer: &Peer) -> FsResult<Rules> {
        let export = self.exports.get(number).ok_or(FsError::Stale)?;
        let mut found: Option<&Client> = None;
        for client in export.clients.iter() {
            let is_better = found.is_none_or(|found| client.hosts.rank() < found.hosts.rank());
            if is_better && self.is_among(&client.hosts, peer.address) {
                found = Some(client);
            }
        }
        let rules = found.ok_or(FsError::Stale)?.rules;
        if rules.has(Rules::SECURE) && !peer.is_privileged() {
            return Err(FsError::Permission);
        }
        Ok(rules)
    }

    fn is_among(&self, hosts: &Hosts<'_>, address: Ipv6Addr) -> bool {
        match hosts {
            Hosts::Named(name) => {
                let mut hosts = self.known_hosts.iter();
                hosts.any(|host| host.address == address && host.name == *name)
            }
            hosts => hosts.contains(address),
        }
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
        if !HAS_NFS {
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
        if !HAS_ISO {
            return None;
        }
        self.numbered(Backend::Images as usize)?.as_images()
    }

    /// The number of the export that has this tag.
    #[inline(never)]
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
        Ok(self.backend(dir)?.lookup(dir, name)?.limited_by(dir))
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
        if !HAS_ISO {
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
