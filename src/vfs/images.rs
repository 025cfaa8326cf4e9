//! The open images, and the backend for their contents.
//!
//! An image is opened when a request resolves an object in it, and closed if it was not used between two calls of `release_idle`.
//! The number of open images is bounded; a new one closes the oldest that is not pinned. All share one reader of each file system, so
//! memory depends on neither their number nor their size. If an image is changed, replaced or removed, its objects are `Stale`.

use super::bridge::Bridge;
use super::volume::{Block as _, Disk, Run, Volume};
use super::walk::put;
use super::{
    Access, Attr, Backend, Detail, DirEntry, Extent, FileId, FileTime, FsError, FsResult, FsStat,
    Handle, Name, Node, ObjectType, Patience, Pin, Purpose, Rights, Stop, Vfs, handle, iso, udf,
};
use crate::config::{HANDLE_COUNT_MAX, HAS_NFS4, IMAGE_COUNT_MAX};
use crate::mem::Slots;
use core::ops::ControlFlow;

/// Value of `Images::known` if the reader has no object selected.
const NOTHING: u64 = u64::MAX;
/// Allocation unit of ISO 9660 in bytes.
const UNIT_BYTES: u32 = 2048;

/// Number of images of which the directory is stored; only NFS 4 asks for it.
const HOLDER_COUNT: usize = if HAS_NFS4 { IMAGE_COUNT_MAX } else { 0 };

/// Number of nodes that a request can use before the oldest is reused.
const REQUEST_NODE_COUNT: u32 = 64;
/// Number of nodes: those of a request, and those pinned by sessions and transfers.
const OBJECT_COUNT: usize = HANDLE_COUNT_MAX + 2 * REQUEST_NODE_COUNT as usize;

/// An open file that may be an image.
pub struct ImageFile {
    /// The open file.
    pub disk: Disk,
    /// The file's handle; empty if its backend has none.
    pub handle: Handle,
}

/// The file system of an image, and its structure.
#[derive(Clone, Copy)]
enum Layout {
    Iso(iso::Layout),
    Udf(udf::Layout),
}

/// The readers of all kinds of file systems.
struct Readers {
    /// True if the current image is read as UDF.
    is_udf: bool,
    iso: iso::Reader,
    udf: udf::Reader<Disk>,
    bridge: Bridge,
}

impl Readers {
    /// Finds the file system of an image, and sets `layout`. If it has two, UDF is used, except as [`Bridge`] says.
    fn open(&mut self, disk: Disk, identity: u64, layout: &mut Layout) -> FsResult<()> {
        let (iso, udf) = (self.iso.open(disk), self.udf.open(disk));
        let whole = self.iso.volume_bytes().max(self.udf.volume_bytes());
        let is_udf = match (iso, udf) {
            (Err(FsError::Io), Err(_)) if disk.size() < whole => return Err(FsError::Cut),
            (Err(error), _) | (_, Err(error)) if error.stops() => return Err(error),
            (Ok(()), Ok(())) if self.iso.has_rock_ridge() => {
                let trees: [&mut dyn Volume; 2] = [&mut self.iso, &mut self.udf];
                self.bridge.prefers_udf(identity, disk.size(), trees)?
            }
            (Ok(()), Err(_)) => false,
            (Err(fault), Err(FsError::Invalid)) => return Err(fault),
            (Err(_), Err(fault)) => return Err(fault),
            (_, Ok(())) => true,
        };
        *layout = match is_udf {
            true => Layout::Udf(*self.udf.layout()),
            false => Layout::Iso(self.iso.layout()),
        };
        Ok(())
    }

    /// Switches to another image.
    fn switch_to(&mut self, disk: Disk, layout: &Layout) {
        match layout {
            Layout::Iso(layout) => self.iso.switch_to(disk, *layout),
            Layout::Udf(layout) => self.udf.switch_to(disk, layout),
        }
        self.is_udf = matches!(layout, Layout::Udf(_));
    }

    /// The reader of the current image.
    fn current(&mut self) -> &mut dyn Volume {
        match self.is_udf {
            true => &mut self.udf,
            false => &mut self.iso,
        }
    }
}

/// Number of reads of an object between two checks for a changed image. A check (fstat) takes a thirtieth of the time of a READ of
/// 32 KiB.
const READS_UNCHECKED: u32 = 8;

/// A slot for an open image; free if `identity` is 0.
#[derive(Clone, Copy)]
struct Slot {
    /// Hash that identifies the image, and changes when the image is written to.
    identity: u64,
    /// The image file's mtime when it was opened.
    mtime: FileTime,
    pins: u32,
    /// Number of the backend that contains the image file.
    within: usize,
    used: bool,
    /// Handle of the image file.
    handle: Handle,
    disk: Disk,
}

/// An object inside an image, for as long as its node is valid.
#[derive(Clone, Copy, Debug, Default)]
struct Object {
    id: u64,
    image: u32,
    pins: u32,
    /// Number of reads of the object.
    reads: u32,
}

/// The backend for contents of images.
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub struct Images {
    /// Index of the slot of the image in `now`.
    loaded: u32,
    /// Index of the slot of the image that was opened last.
    last: u32,
    /// ID of the selected object, or [`NOTHING`].
    known: u64,
    /// Index in `objects` of the node that was returned last. `pins`: number of pins of all objects.
    node: u32,
    pins: u32,
    /// True if the content of the selected object was checked.
    is_checked: bool,
    /// Identities of images for which [`finds_compressed`](Self::finds_compressed) returned true.
    compressed: [u64; IMAGE_COUNT_MAX],
    /// Identities of images, each with the handle of the directory in which it was entered.
    holders: [(u64, Handle); HOLDER_COUNT],
    slots: Slots<Slot>,
    /// The layout of the image in each slot.
    layouts: Slots<Layout>,
    objects: Slots<Object>,
    readers: Readers,
    /// The image that `readers` currently read.
    now: Slot,
}

impl core::fmt::Debug for Images {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.write_str("Images")
    }
}

/// A hash of the image file's handle, inode, size and mtime: identifies an image, and changes when it is written to. The same
/// after a restart; never 0.
#[inline(never)] // −97 bytes: one caller, whose frame stays small.
fn identity(attr: &Attr, handle: &Handle) -> u64 {
    let time = attr.mtime;
    let mut mixed = 0_u64;
    let mut mix =
        |part: u64| mixed = (mixed.rotate_left(29) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for part in [attr.inode, attr.size, time.secs as u64, time.nanos.into()] {
        mix(part);
    }
    for byte in handle.bytes() {
        mix((*byte).into());
    }
    mixed | 1
}

impl Images {
    /// Opens an image and returns its top. `within` is the number of the file's backend. Takes ownership of the file, and closes it
    /// on error.
    ///
    /// # Errors
    /// `NotDirectory`: not a regular file; `Invalid`: the image has no file system; `NotSupported`: the image's file system is
    /// unknown, or the handles of its objects would be too long; `TryLater`: the maximum of images is open, and all have pins.
    #[inline(never)] // −144 bytes: one caller, whose frame stays small.
    pub(super) fn take(&mut self, image: &ImageFile, within: usize) -> FsResult<Node> {
        let opened = match &image.disk.attr() {
            Ok(attr) if crate::config::HAS_ISO && attr.kind == ObjectType::Regular => {
                self.open(image, attr, within)
            }
            Ok(_) => Err(FsError::NotDirectory),
            Err(error) => Err(*error),
        };
        if opened.is_err() {
            image.disk.close();
        }
        opened
    }

    /// The object of a handle, if its image is open and `file` is the image file's handle. Other handles of the same image may
    /// belong to an export with other rules.
    pub(super) fn find(&mut self, file: &[u8], handle: &[u8]) -> Option<Node> {
        let (identity, id) = handle::name(handle)?;
        let at = self.place(identity)?;
        self.load(at).ok()?;
        if self.now.handle.bytes() != file {
            return None;
        }
        self.name(id).ok()
    }

    /// Returns true at the first call for a compressed file of an image, as long as the image is one of the last
    /// [`IMAGE_COUNT_MAX`] opened.
    pub(super) fn finds_compressed(&mut self, node: Node) -> bool {
        if self.select(node).is_err() || !self.readers.current().is_compressed() {
            return false;
        }
        let identity = self.now.identity;
        let is_known = self.compressed.contains(&identity);
        if let Some(place) = self.compressed.get_mut(self.loaded as usize)
            && !is_known
        {
            *place = identity;
        }
        !is_known
    }

    /// Returns true for the top directory of an image, which is the current one then.
    pub(super) fn is_top(&mut self, node: Node) -> bool {
        self.select(node).is_ok() && self.readers.current().root() == self.known
    }

    /// The identity of the current image.
    pub(super) const fn identity(&self) -> u64 {
        self.now.identity
    }

    /// Stores the handle of the directory in which the current image was entered.
    pub(super) fn set_holder(&mut self, dir: Handle) {
        let identity = self.now.identity;
        if let Some(place) = self.holders.get_mut(self.loaded as usize) {
            *place = (identity, dir);
        }
    }

    /// The handle of the directory in which the current image was entered last.
    pub(super) fn holder(&self) -> Option<Handle> {
        let mut holders = self.holders.iter();
        let found = holders.find(|(identity, _)| *identity == self.now.identity);
        found.map(|(_, dir)| *dir)
    }

    /// Length of the current image, and of its file system (bytes).
    pub(super) fn sizes(&mut self) -> Option<[u64; 2]> {
        let is_open = (self.loaded as usize) < IMAGE_COUNT_MAX;
        is_open.then(|| [self.now.disk.size(), self.readers.current().volume_bytes()])
    }

    /// Returns the error of a method of the current image's reader: a read error of an image that is cut is `Cut`.
    fn fault(&mut self, error: FsError) -> FsError {
        let [bytes, whole] = self.sizes().unwrap_or_default();
        match error {
            FsError::Io if bytes < whole => FsError::Cut,
            error => error,
        }
    }

    /// Number of the backend of the image file that contains an object.
    pub(super) fn within(&self, node: Node) -> Option<usize> {
        let object = self.objects.get(node.slot())?;
        Some(self.slots.get(object.image as usize)?.within)
    }
}

impl Slot {
    fn close(&mut self) {
        if self.identity != 0 {
            self.disk.close();
        }
        self.identity = 0;
    }
}

impl Images {
    /// No image yet.
    pub(super) fn new() -> Self {
        const SLOT: Slot = Slot {
            identity: 0,
            mtime: FileTime { secs: 0, nanos: 0 },
            pins: 0,
            within: 0,
            used: false,
            handle: Handle::EMPTY,
            disk: Disk::NONE,
        };
        let mut slots = Slots::new(IMAGE_COUNT_MAX);
        let mut layouts = Slots::new(IMAGE_COUNT_MAX);
        while !slots.is_full() {
            slots.push(SLOT);
            layouts.push(Layout::Iso(iso::Layout::EMPTY));
        }
        Self {
            now: SLOT,
            loaded: 0,
            last: 0,
            known: 0,
            node: 0,
            pins: 0,
            is_checked: false,
            compressed: [0; IMAGE_COUNT_MAX],
            holders: [(0, Handle::EMPTY); HOLDER_COUNT],
            readers: Readers {
                is_udf: false,
                iso: iso::Reader::default(),
                udf: udf::Reader::new(Disk::NONE),
                bridge: Bridge::new(),
            },
            slots,
            layouts,
            objects: Slots::new(OBJECT_COUNT),
        }
    }

    /// Returns the index of the slot of the image with this identity.
    fn place(&self, identity: u64) -> Option<u32> {
        let mut slots = self.slots.iter();
        let at = slots.position(|slot| slot.identity == identity)?;
        Some(at as u32)
    }

    fn open(&mut self, file: &ImageFile, attr: &Attr, within: usize) -> FsResult<Node> {
        if !handle::has_inside(&file.handle) {
            return Err(FsError::NotSupported);
        }
        let identity = identity(attr, &file.handle);
        let mut at = self.last;
        if let Some(known) = self.place(identity) {
            file.disk.close();
            at = known;
        } else {
            let mut left = IMAGE_COUNT_MAX;
            let slot = loop {
                at = (at + 1) % IMAGE_COUNT_MAX as u32;
                left = left.checked_sub(1).ok_or(FsError::TryLater)?;
                if let Some(slot) = self.slots.get_mut(at as usize)
                    && slot.pins == 0
                {
                    break slot;
                }
            };
            slot.close();
            let mut disk = file.disk;
            disk.resize(attr.size);
            (self.last, self.loaded) = (at, IMAGE_COUNT_MAX as u32);
            let layout = self.layouts.get_mut(at as usize).ok_or(FsError::Io)?;
            self.readers.open(disk, identity, layout)?;
            *slot = Slot {
                identity,
                mtime: attr.mtime,
                pins: 0,
                within,
                used: true,
                handle: file.handle,
                disk,
            };
        }
        self.load(at)?;
        let root = self.readers.current().root();
        self.name(root)
    }

    /// Returns a node for the object `id` of the current image. An unpinned node is reused only after at least
    /// [`REQUEST_NODE_COUNT`] others were returned.
    fn name(&mut self, id: u64) -> FsResult<Node> {
        for _ in 0..OBJECT_COUNT {
            self.node += 1;
            if self.node >= self.pins + REQUEST_NODE_COUNT {
                self.node = 0;
            }
            if self.node as usize == self.objects.len() {
                self.objects.push(Object::default());
            }
            if let Some(object) = self.objects.get_mut(self.node as usize)
                && object.pins == 0
            {
                (object.id, object.image) = (id, self.loaded);
                return Ok(Node::new(
                    Backend::Images,
                    Rights::NONE,
                    self.node as usize,
                    0,
                ));
            }
        }
        Err(FsError::TryLater)
    }

    /// Makes the image in slot `at` the current one.
    fn load(&mut self, at: u32) -> FsResult<()> {
        match self.slots.get_mut(at as usize) {
            Some(slot) if slot.identity != 0 => {
                slot.used = true;
                if self.loaded != at
                    && let Some(layout) = self.layouts.get(at as usize)
                {
                    self.readers.switch_to(slot.disk, layout);
                    self.now = *slot;
                    (self.loaded, self.known) = (at, NOTHING);
                }
                self.readers.current().reset_budget();
                Ok(())
            }
            _ => Err(FsError::Stale),
        }
    }

    /// Makes the image of an object the current one, and selects the object.
    fn select(&mut self, node: Node) -> FsResult<()> {
        let object = self.objects.get(node.slot()).ok_or(FsError::Stale)?;
        let id = object.id;
        self.load(object.image)?;
        if self.known != id {
            self.look_at(id)?;
        }
        Ok(())
    }

    /// Selects an object of the current image.
    fn look_at(&mut self, id: u64) -> FsResult<()> {
        (self.known, self.is_checked) = (NOTHING, false);
        let selected = self.readers.current().select(id);
        selected.map_err(|error| self.fault(error))?;
        self.known = id;
        Ok(())
    }

    /// Attributes of the selected object.
    fn known_attr(&mut self) -> Attr {
        self.readers.current().attr(self.now.identity)
    }

    fn write_handle(&self, id: u64, handle: &mut Handle) {
        handle::inside(&self.now.handle, self.now.identity, id, handle);
    }

    /// Checks that the current image was not changed or removed since it was opened.
    ///
    /// # Errors
    /// `Stale`: it was.
    fn check(&self) -> FsResult<()> {
        let attr = self.now.disk.attr()?;
        let now = (attr.size, attr.mtime);
        if attr.nlink == 0 || now != (self.now.disk.size(), self.now.mtime) {
            return Err(FsError::Stale);
        }
        Ok(())
    }

    /// Pins an object. With `directory`, the object must be a directory; without, it must not be one.
    pub(super) fn pin_as(&mut self, node: Node, directory: bool) -> FsResult<Pin> {
        self.select(node)?;
        let is_directory = self.known_attr().kind == ObjectType::Directory;
        if is_directory != directory {
            return Err(if is_directory {
                FsError::IsDirectory
            } else {
                FsError::NotDirectory
            });
        }
        // A READ promises its length before the bytes are sent, so the whole content must be inside the image.
        if !directory && !self.is_checked {
            let checked = self.readers.current().check_content();
            checked.map_err(|error| self.fault(error))?;
            self.is_checked = true;
        }
        if self.pins + REQUEST_NODE_COUNT >= OBJECT_COUNT as u32 {
            return Err(FsError::TryLater);
        }
        self.count(node, true);
        Ok(Pin { node, user: 0 })
    }

    /// Adds a pin to an object (`more`), or removes one.
    fn count(&mut self, node: Node, more: bool) {
        if let Some(object) = self.objects.get_mut(node.slot())
            && let Some(slot) = self.slots.get_mut(object.image as usize)
        {
            for count in [&mut self.pins, &mut object.pins, &mut slot.pins] {
                *count = if more { *count + 1 } else { *count - 1 };
            }
        }
    }

    /// The part of the image with at most `len` bytes at `offset` of a file. Checks for a changed image at the end of a
    /// contiguous part, and at every [`READS_UNCHECKED`]th read of the object.
    ///
    /// # Errors
    /// `Stale`: the image was changed or removed.
    fn find_run(&mut self, node: Node, offset: u64, len: u32) -> FsResult<Run> {
        self.select(node)?;
        let run = self.readers.current().run(offset);
        if run.is_err() {
            self.known = NOTHING;
        }
        let mut run = run.map_err(|error| self.fault(error))?;
        let object = self.objects.get_mut(node.slot()).ok_or(FsError::Stale)?;
        object.reads = object.reads.wrapping_add(1);
        if run.len <= len.into() || object.reads.is_multiple_of(READS_UNCHECKED) {
            self.check()?;
        }
        run.len = run.len.min(len.into());
        Ok(run)
    }
}

/// Methods that change something fail: images are read-only.
impl Vfs for Images {
    /// The image file's handle, followed by the image's identity and the object's ID.
    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        self.select(node)?;
        let mut handle = Handle::EMPTY;
        self.write_handle(self.known, &mut handle);
        Ok(handle)
    }

    fn pin(&mut self, node: Node, access: Option<Access>) -> FsResult<Pin> {
        self.select(node)?;
        let is_directory = self.known_attr().kind == ObjectType::Directory;
        self.pin_as(node, is_directory && access.is_none())
    }

    fn unpin(&mut self, pin: Pin) {
        self.count(pin.node, false);
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8], _: Patience) -> Result<u32, Stop> {
        let mut done = 0;
        while done < out.len() {
            let rest = out.get_mut(done..).unwrap_or_default();
            let from = offset.saturating_add(done as u64);
            let run = self.find_run(pin.node, from, rest.len() as u32)?;
            if run.len == 0 {
                break;
            }
            let part = rest.get_mut(..run.len as usize).unwrap_or_default();
            match run.is_hole() {
                true => part.fill(0),
                false => self.now.disk.read(run.offset, part)?,
            }
            done += part.len();
        }
        Ok(done as u32)
    }

    fn extent(&mut self, pin: &Pin, offset: u64, len: u32) -> Option<Extent> {
        let run = self.find_run(pin.node, offset, len).ok()?;
        (!run.is_hole()).then(|| Extent {
            file: FileId(self.now.disk.number()),
            offset: run.offset,
            len: run.len as u32,
        })
    }

    fn sync(&mut self, _: &Pin) -> FsResult<()> {
        Ok(())
    }

    /// Closes unpinned images that were not used since the last call, or have no handle. Returns true if unpinned images remain
    /// open.
    fn release_idle(&mut self) -> bool {
        let mut more = false;
        for slot in self.slots.iter_mut() {
            if slot.pins == 0 && slot.identity != 0 {
                // An image without a handle (SFTP) is closed at once, because the session may stay idle for long.
                let is_kept = slot.used && slot.handle != Handle::EMPTY;
                more |= is_kept;
                if !is_kept {
                    slot.close();
                }
                slot.used = false;
            }
        }
        more
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        self.select(node)?;
        self.check()?;
        Ok(self.known_attr())
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>, _: Purpose) -> FsResult<Node> {
        self.select(dir)?;
        let found = self.readers.current().lookup(name.bytes());
        let id = found.map_err(|error| self.fault(error))?;
        self.name(id)
    }

    #[cfg(any(feature = "http", test, fuzzing))]
    fn entry_attr(&mut self, dir: Node, name: Name<'_>, id: Option<u64>) -> FsResult<Attr> {
        let Some(id) = id else {
            let node = self.lookup(dir, name, Purpose::Any)?;
            return self.attr(node);
        };
        let object = self.objects.get(dir.slot()).ok_or(FsError::Stale)?;
        self.load(object.image)?;
        self.look_at(id)?;
        Ok(self.known_attr())
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<u32> {
        self.select(node)?;
        if self.known_attr().kind != ObjectType::SymbolicLink {
            return Err(FsError::Invalid);
        }
        match self.readers.current().target() {
            [] => Err(FsError::Io),
            target => Ok(put(out, 0, target) as u32),
        }
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        self.select(dir)?;
        let mut handle = Handle::EMPTY;
        self.readers.current().list(from)?;
        loop {
            let listed = match self.readers.current().next() {
                Err(FsError::NoEntry) => return Ok(true),
                next => next.map_err(|error| self.fault(error))?,
            };
            // A directory's attributes are in its own record ("."), so read that.
            let mut attr = None;
            if detail == Detail::Objects && self.look_at(listed.id).is_ok() {
                attr = Some(self.known_attr());
                self.write_handle(listed.id, &mut handle);
            }
            let flow = each(&DirEntry {
                name: self.readers.current().name(),
                cookie: listed.cookie,
                inode: listed.inode,
                kind: listed.kind,
                id: listed.id,
                object: attr.as_ref().map(|attr| (attr, Some(&handle))),
            });
            if flow.is_break() {
                return Ok(false);
            }
        }
    }

    fn statfs(&mut self, node: Node) -> FsResult<FsStat> {
        self.select(node)?;
        Ok(FsStat {
            unit_bytes: UNIT_BYTES,
            id: self.now.identity,
            read_only: true,
            total_bytes: self.now.disk.size(),
            name_bytes_max: 255,
            ..FsStat::default()
        })
    }
}
