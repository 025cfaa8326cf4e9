//! The tree: exports, their rules, and the backend of each object.
//!
//! [`Tree::add`] registers a backend, which knows only its own objects. The tree enters ISO images when it resolves a name or a
//! handle; their contents are read-only. `by_handle` has the methods for NFS, `by_path` those for SFTP.

use super::images::Images;
use super::names::{Names, Verdict};
use super::reading::{Client, ExportRoot, Exports, KeptHosts, Place, Reading, Room};
use super::{
    Access, Attr, Backend, Caller, CreateWhat, Detail, DirEntry, Extent, FsError, FsResult, FsStat,
    Kind, Name, Node, Patience, Peer, Pin, Rights, SetAttr, Stop, Target, Vfs, is_image, root,
};
use crate::config::{EXPORT_PATH_BYTES_MAX, HAS_ISO, HAS_NAMES, HAS_NFS, REFUSED_USER_COUNT_MAX};
use crate::mem::{self, Slots};
pub use crate::wire::exports::Rules;
use core::ffi::CStr;
use core::ops::ControlFlow;
use core::sync::atomic::{AtomicU32, Ordering};

/// UID of the superuser, to which every access is allowed.
pub(super) const ROOT: u32 = 0;

impl Rules {
    /// Squashes a caller: maps its UID and GIDs by these rules, and stores them in `into`. -1 is anonymous as UID and as GID, and no
    /// supplementary group, as in the kernel's server. Returns true if GID or groups are others than before.
    pub(super) fn squash(&self, caller: &Caller, into: &mut Caller) -> bool {
        let is_all = self.has(Self::SQUASHES_ALL);
        let believed = |number: u32, anonymous: u32| {
            let squashed = is_all
                || number == Caller::NOBODY
                || number == ROOT && self.has(Self::SQUASHES_ROOT);
            if squashed { anonymous } else { number }
        };
        into.uid = believed(caller.uid, self.anonymous.0);
        let gid = believed(caller.gid, self.anonymous.1);
        let groups = caller.groups.iter();
        let groups = groups.filter_map(|group| self.squash_group(*group));
        if gid == into.gid && groups.clone().eq(into.groups.iter().copied()) {
            return false;
        }
        into.gid = gid;
        into.groups = groups.collect();
        true
    }

    /// Returns the supplementary group that a caller has by these rules instead of `group`.
    pub(super) fn squash_group(&self, group: u32) -> Option<u32> {
        // setgroups(2) refuses -1 with EINVAL.
        if self.has(Self::SQUASHES_ALL) || group == Caller::NOBODY {
            return None;
        }
        let is_root = group == ROOT && self.has(Self::SQUASHES_ROOT);
        Some(if is_root { self.anonymous.1 } else { group })
    }

    /// The rights that clients have by these rules.
    pub(super) const fn rights(&self) -> Rights {
        Rights::of(self.has(Self::WRITABLE), self.has(Self::ISOS))
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
    /// Backends by number, but that of images.
    pub(super) backends: [Option<&'static mut dyn Vfs>; Backend::COUNT],
    /// The backend of images. `None`: no image was opened yet.
    images: Option<&'static mut Images>,
    pub(super) exports: Slots<Place>,
    /// The valid reading of the exports.
    pub(super) reading: Reading,
    /// The reading that [`Tree::add_client`] fills.
    next: Reading,
    /// The addresses of host names, and the names of clients. `None`: the exports have no host names.
    pub(super) names: Option<&'static mut Names>,
    /// True if exports are the host's directories, which may be replaced: MNT opens them again.
    pub reopens: bool,
    /// Users whose refusal was reported, because they may have more groups than a credential carries. `None`: no user is.
    #[cfg(any(feature = "serve", test))]
    pub refused_users: Option<heapless::Vec<u32, REFUSED_USER_COUNT_MAX>>,
    /// True if an export has become missing.
    pub has_missing: bool,
    /// The last export that was missing and that [`Tree::reopen_export`] opened.
    pub opened: Option<usize>,
    /// Counter of the changes of exports, shared by the loops that serve the same files. `None`: one loop.
    changes: Option<&'static AtomicU32>,
    /// The value of `changes` for which all exports were opened.
    changes_seen: u32,
    /// The SFTP peer of the current request.
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
    /// See the field. Files without `serve` have no flag to name.
    pub fn refused_users(&mut self) -> Option<&mut heapless::Vec<u32, REFUSED_USER_COUNT_MAX>> {
        #[cfg(any(feature = "serve", test))]
        let named = self.refused_users.as_mut();
        #[cfg(not(any(feature = "serve", test)))]
        let named = None;
        named
    }

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

    /// Exports `root` as `path`, to these hosts besides those of earlier calls. Returns the number of the export. Called at the
    /// start only.
    ///
    /// # Errors
    /// `Exists`: another export has this tag.
    pub fn export(
        &mut self,
        path: &[u8],
        clients: &[Client<'_>],
        root: ExportRoot,
    ) -> FsResult<usize> {
        if self.tagged(root.tag).is_some() {
            return Err(FsError::Exists);
        }
        let mut room = self.reading.used();
        room.paths += 1;
        room.entries += clients.len();
        room.bytes += path.len() + 1;
        self.reserve(&room);
        for client in clients {
            self.reading.add(path, client);
        }
        self.number_new();
        let number = self.number_of(path).ok_or(FsError::Stale)?;
        if let Some(export) = self.exports.get_mut(number) {
            export.root = Some(root);
        }
        Ok(number)
    }

    /// Returns true if the file system of an export is read-only, whatever the export's rules.
    pub fn is_read_only(&mut self, number: usize) -> bool {
        let root = self.root(number);
        let stat = root.and_then(|root| self.statfs(root));
        stat.is_ok_and(|stat| stat.read_only)
    }

    /// The number of the export of this path.
    pub fn number_of(&self, path: &[u8]) -> Option<usize> {
        let at = self.reading.find(path)? as u32;
        self.exports.iter().position(|place| place.path == at)
    }

    /// Makes memory for readings of the exports. Called at the start only.
    pub fn reserve(&mut self, room: &Room) {
        self.reading.reserve(room);
        self.next.reserve(room);
        self.exports.reserve(room.paths);
        if HAS_NAMES && room.names > 0 {
            let names = self
                .names
                .get_or_insert_with(|| mem::leak(Names::default()));
            names.reserve(room.names);
        }
    }

    /// The largest number of exports.
    pub const fn export_count_max(&self) -> usize {
        self.exports.count()
    }

    /// Adds hosts that [`Tree::replace_clients`] will let mount the export of this path, which may be new. Returns false if these
    /// hosts were added to it before: the first rules apply. `None`: no space.
    pub fn add_client(&mut self, path: &[u8], client: &Client<'_>) -> Option<bool> {
        self.next.add(path, client)
    }

    /// Records the file, line and column of the host name that [`Tree::add_client`] added last.
    pub fn locate_name(&mut self, file: &[u8], at: (u32, u32)) {
        self.next.locate_name(file, at);
    }

    /// Forgets the hosts added since the last call of [`Tree::replace_clients`].
    pub fn drop_clients(&mut self) {
        self.next.clear();
    }

    /// Replaces the hosts of all exports by those added since the last call. Exports without hosts end: each is passed to `ended`,
    /// with true if it was open, and its number is free.
    pub fn replace_clients(&mut self, ended: &mut dyn FnMut(usize, &[u8], bool)) {
        for number in 0..self.exports.len() {
            let Some(place) = self.exports.get_mut(number) else {
                break;
            };
            let Some(path) = self.reading.path(place.path) else {
                continue;
            };
            if let Some(at) = self.next.find(path) {
                place.path = at as u32;
                self.next.set_number(at, number);
            } else {
                ended(number, path, place.root.is_some());
                place.path = Place::FREE;
                self.close_export(number);
            }
        }
        core::mem::swap(&mut self.reading, &mut self.next);
        self.next.clear();
        self.number_new();
        if HAS_NAMES && let Some(names) = &mut self.names {
            names.follow(&self.reading);
        }
    }

    /// Gives each path of the valid reading that has no number yet a free one.
    fn number_new(&mut self) {
        let (mut at, mut number) = (0, 0);
        while let Some(new) = self.reading.next_without_number(at) {
            at = new;
            let mut places = self.exports.iter().skip(number);
            let free = places.position(|place| place.path == Place::FREE);
            number = free.map_or(self.exports.len(), |free| number + free);
            let place = Place {
                root: None,
                path: new as u32,
            };
            match self.exports.get_mut(number) {
                Some(free) => *free = place,
                // Cannot fail: the table has as many places as a reading has paths.
                None => _ = self.exports.push(place),
            }
            self.reading.set_number(new, number);
        }
    }

    /// Ends an export, until [`Tree::open_export`] opens it again.
    pub fn close_export(&mut self, number: usize) {
        if let Some(export) = self.exports.get_mut(number) {
            export.root = None;
        }
        if let Some(backend) = self.handles(Backend::Host as usize) {
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
        let export = self.exports().get(number).ok_or_else(gone)?;
        let rules = export.common_rules();
        let mut path = [0; EXPORT_PATH_BYTES_MAX];
        mem::copy_into(&mut path, export.path.to_bytes_with_nul());
        let backend = self.handles(Backend::Host as usize).ok_or_else(gone)?;
        let root = backend
            .open_top(number, mem::c_str(&path), &rules)
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

    /// Opens an export as [`Tree::open_export`], at a time that only this loop knows of. If that changes the export, the other loops
    /// will open theirs again.
    ///
    /// # Errors
    /// As [`Tree::open_export`].
    pub fn reopen_export(&mut self, number: usize) -> Result<(), OpenFault> {
        let was_open = self.is_open(number);
        let opened = self.open_export(number);
        let place = self.exports.get(number);
        let is_new = place.is_some_and(|place| place.root.is_some_and(|root| root.is_new));
        if !was_open && opened.is_ok() {
            self.opened = Some(number);
        }
        if (is_new || was_open != self.is_open(number))
            && let Some(changes) = self.changes
        {
            let before = changes.fetch_add(1, Ordering::AcqRel);
            // Another loop's change may have come between.
            if before == self.changes_seen {
                self.changes_seen = before.wrapping_add(1);
            }
        }
        opened
    }

    /// Shares the changes of exports with other loops.
    pub fn share_changes(&mut self, changes: &'static AtomicU32) {
        self.changes_seen = changes.load(Ordering::Acquire);
        self.changes = Some(changes);
    }

    /// Returns true once after another loop has found a changed export: this loop must open its exports again.
    pub fn must_reopen(&mut self) -> bool {
        let Some(changes) = self.changes else {
            return false;
        };
        let count = changes.load(Ordering::Acquire);
        core::mem::replace(&mut self.changes_seen, count) != count
    }

    /// The path of an export; empty if the number is free.
    pub fn path(&self, number: usize) -> &CStr {
        let export = self.exports().get(number);
        export.map_or(c"", |export| export.path)
    }

    /// Returns true if an export is open.
    pub fn is_open(&self, number: usize) -> bool {
        let place = self.exports.get(number);
        place.is_some_and(|place| place.root.is_some())
    }

    /// Writes the path of an export's top without symbolic links to `out`, and returns its length; 0: the exported path has none.
    pub fn real_path(&mut self, number: usize, out: &mut [u8]) -> usize {
        let root = self.exports.get(number).and_then(|place| place.root);
        let Some(root) = root.filter(|root| root.is_linked) else {
            return 0;
        };
        let backend = self.handles(root.backend as usize);
        backend.map_or(0, |backend| backend.real_path(number, out))
    }

    /// The rules of an export for a host.
    ///
    /// # Errors
    /// `Stale`: no such export, or not for that host; `Permission`: the request must come from a port below 1024; `Again`: that
    /// depends on a look-up of host names, which has begun.
    #[inline(never)]
    pub fn rules(&mut self, number: usize, peer: &Peer) -> FsResult<Rules> {
        /// The rank of wildcards, and one below that of every host.
        const WILDCARDS: u8 = 2;
        const NO_HOST: u8 = 4;
        // Every request comes here, so this does not make an `Export`, whose path is measured by strlen.
        let path = self.exports.get(number).ok_or(FsError::Stale)?.path;
        let (mut best, mut rules) = (NO_HOST, Rules::DEFAULT);
        let (mut undecided, mut has_wildcards) = (NO_HOST, false);
        for entry in self.reading.entries_of(path) {
            let rank = entry.rank();
            if rank >= best {
                continue;
            }
            let verdict = match &entry.hosts {
                KeptHosts::Named { .. } if !HAS_NAMES => Verdict::IsNot,
                KeptHosts::Named { is_pattern, .. } if *is_pattern => {
                    has_wildcards = true;
                    continue;
                }
                KeptHosts::Named { number, .. } => match &self.names {
                    Some(names) => names.compare_host(*number as usize, peer.address),
                    None => Verdict::IsNot,
                },
                KeptHosts::Other(hosts) if hosts.contains(peer.address) => Verdict::Is,
                KeptHosts::Other(_) => Verdict::IsNot,
            };
            match verdict {
                Verdict::Is => (best, rules) = (rank, entry.rules),
                Verdict::Undecided => undecided = undecided.min(rank),
                Verdict::IsNot => {}
            }
        }
        // Names of clients are looked up only if they matter.
        if HAS_NAMES
            && has_wildcards
            && best > WILDCARDS
            && let Some(names) = &mut self.names
            && let Some(at) = names.peer(peer.address)
        {
            for entry in self.reading.entries_of(path) {
                let KeptHosts::Named { number, is_pattern } = &entry.hosts else {
                    continue;
                };
                let name = self.reading.host_name(*number as usize);
                match name.map(|host| names.compare_peer(at, host.name)) {
                    Some(Verdict::Is) if *is_pattern && best > WILDCARDS => {
                        (best, rules) = (WILDCARDS, entry.rules);
                    }
                    Some(Verdict::Undecided) => undecided = undecided.min(WILDCARDS),
                    _ => {}
                }
            }
        }
        if undecided < best {
            return Err(FsError::AwaitsNames);
        }
        if best == NO_HOST {
            return Err(FsError::Stale);
        }
        if rules.has(Rules::SECURE) && !peer.is_privileged() {
            return Err(FsError::Permission);
        }
        Ok(rules)
    }

    /// All exports. The number of an export is its index here.
    pub fn exports(&self) -> Exports<'_> {
        Exports {
            places: &self.exports,
            reading: &self.reading,
        }
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
    #[inline(never)]
    pub(super) fn paths(&mut self) -> Option<&mut dyn Vfs> {
        if !cfg!(any(feature = "sftp-server", feature = "ls")) {
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
    /// See [`Vfs::attr`].
    pub fn attr(&mut self, node: Node) -> FsResult<Attr> {
        if HAS_NFS && node == root::ROOT {
            return Ok(root::attr());
        }
        self.backend(node)?.attr(node)
    }

    /// See [`Vfs::lookup`].
    pub fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        if dir.is_inside() {
            self.admit(dir, Access::Execute)?;
        }
        if HAS_NFS && dir == root::ROOT {
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
        let images = self.images.get_or_insert_with(|| mem::leak(Images::new()));
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
        if HAS_NFS && dir == root::ROOT {
            return self.list_exports(from, each);
        }
        self.admit(dir, Access::Read)?;
        self.backend(dir)?.readdir(dir, from, detail, each)
    }

    /// See [`Vfs::statfs`].
    pub fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        if HAS_NFS && node == root::ROOT {
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
