//! Opens objects by handle or name, and identifies them.
//!
//! Objects are opened with `O_PATH` first. They are reopened for reading or writing with the server's own rights, after the
//! caller's access was checked.

use super::super::handle::{self, Body, PathHandle};
use super::super::kernel::{self, PATH, READ, WRITE, error, terminated};
use super::super::{Access, FsError, FsResult, Handle, ImageFile, Name, Node, ObjectType, Purpose};
use super::open_files::{OpenEntry, Opened};
use super::volume::Identity;
use super::{Form, Host, HostExport, change};
use crate::config::HAS_HTTP;
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File, KernelHandle, Statx};
use core::cell::Cell;
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

impl Host {
    /// Writes the handle of the entry `name` of `file` to `handle`, or of `file` itself if `name` is empty. The object was looked
    /// up in the directory `dir`. Also writes the attributes to `stat` if `wants_stat`, or if handles are path handles.
    pub(super) fn identify(
        &self,
        (dir, export): (&OpenEntry, &HostExport),
        file: &File,
        name: &CStr,
        handle: &mut Handle,
        stat: &mut Statx,
        wants_stat: bool,
    ) -> FsResult<()> {
        if wants_stat || self.form == Form::Path {
            fs::statx(file, name, stat).map_err(error)?;
        }
        if self.form == Form::Path {
            return export.path_handle(dir, file, name, stat, handle);
        }
        let mut kernel = KernelHandle::EMPTY;
        if fs::name_to_handle_at(file, name, &mut kernel).map_err(error)? != export.mount {
            return Err(FsError::OtherFileSystem);
        }
        let (kind, bytes) = kernel.parts();
        handle::kernel(export.tag, &self.key, kind, bytes, handle)
    }

    /// Looks up a name as the caller. With [`Purpose::Read`], opens a regular file for reading if the caller may: that saves a second
    /// open.
    pub(super) fn look_up(
        &mut self,
        dir: Node,
        name: Name<'_>,
        purpose: Purpose,
    ) -> FsResult<Node> {
        self.acting.caller()?;
        let at = self.at(dir)?;
        let parent = &at.0.file;
        if at.0.kind != ObjectType::Directory {
            return Err(FsError::NotDirectory);
        }
        let (mut text, mut handle, mut stat) = ([0; 256], Handle::EMPTY, fs::blank());
        let name = terminated(name, &mut text);
        self.identify(at, parent, name, &mut handle, &mut stat, false)?;
        if let Some(node) = self.table.find(handle.bytes()) {
            return Ok(node);
        }
        // Without path handles the kind is not known here, and a device must not be opened.
        if HAS_HTTP
            && purpose == Purpose::Read
            && self.form == Form::Path
            && ObjectType::of_mode(stat.stx_mode.into()) == ObjectType::Regular
            && let Ok(file) = kernel::open(parent, name, READ.union(OFlags::NOFOLLOW), 0)
        {
            let node = self.adopt(dir, file, Opened::Read)?;
            self.readable = Some(node);
            return Ok(node);
        }
        let file = kernel::open(parent, name, PATH, 0)?;
        self.adopt(dir, file, Opened::Path)
    }

    /// Adds an opened object of the directory `dir` to the table. Identifies it by descriptor, because its name may have changed.
    pub(super) fn adopt(&mut self, dir: Node, file: File, opened: Opened) -> FsResult<Node> {
        let at = self.at(dir)?;
        let (mut handle, mut stat) = (Handle::EMPTY, fs::blank());
        self.identify(at, &file, c"", &mut handle, &mut stat, true)?;
        let export_index = at.0.export_index;
        match self.table.find(handle.bytes()) {
            Some(node) if opened == Opened::Path => Ok(node),
            _ => self.insert(export_index, file, &stat, &handle, opened),
        }
    }

    /// Adds an object to the table.
    fn insert(
        &mut self,
        export_index: u16,
        file: File,
        stat: &Statx,
        handle: &Handle,
        opened: Opened,
    ) -> FsResult<Node> {
        // The object was removed; only a descriptor keeps its inode.
        let named = self.removals.count();
        if stat.stx_nlink == 0 && !self.removals.spare(stat, named) {
            return Err(FsError::Stale);
        }
        let export = self.export(export_index).ok_or(FsError::Stale)?;
        let volumes = export.volumes;
        let volume = volumes.find(volumes.top, &file, c"", stat)?;
        let inode = match handle::path_inode(handle) {
            Some(inode) => inode,
            None if *handle == handle::root(export.tag) => export.number,
            None => stat.stx_ino,
        };
        let node = self.table.insert(OpenEntry {
            file,
            volume,
            opened,
            written: Cell::new(true),
            // Count one change: another process may have changed the object without syncing it.
            changes: Cell::new(1),
            durable: Cell::new(0),
            unsynced_bytes: Cell::new(0),
            named: Cell::new(named),
            lingers: Cell::new(false),
            export_index,
            kind: ObjectType::of_mode(stat.stx_mode.into()),
            inode,
            handle: *handle,
        })?;
        self.seen.set(Some(node));
        self.seen_stat = *stat;
        Ok(node)
    }

    /// Opens a regular file as an image, or the block device of an export that is an image. The image gets a descriptor of its own.
    pub(super) fn open_image_file(&mut self, file: Node) -> FsResult<ImageFile> {
        let (entry, export) = self.at(file)?;
        if entry.kind != ObjectType::Regular && !export.is_image {
            return Err(FsError::NotDirectory);
        }
        self.reopen(file, Opened::Read)?;
        let entry = self.table.get(file).ok_or(FsError::Stale)?;
        let own = fs::dup::<FsError>(entry.file.as_raw_fd())?;
        Ok(ImageFile {
            disk: kernel::disk(own),
            handle: entry.handle,
        })
    }

    /// Returns the object of a handle: from the table, else opened by its kernel handle or searched by its path handle.
    pub(super) fn find_or_open(&mut self, bytes: &[u8]) -> FsResult<Node> {
        // A new request: other processes may have changed the object that `seen` caches.
        self.seen.take();
        self.readable = None;
        if let Some(node) = self.table.find(bytes) {
            return Ok(node);
        }
        let (tag, body) = handle::check(bytes, &self.key)?;
        let is_it = |export: &HostExport| export.tag == tag;
        let mut exports = self.exports.iter();
        let index = exports.position(|export| export.as_ref().is_some_and(is_it));
        let export_index = index.ok_or(FsError::Stale)? as u16;
        let export = self.export(export_index).ok_or(FsError::Stale)?;
        let mut handle = Handle::EMPTY;
        handle.push(bytes);
        self.acting.server();
        let mut opened = Opened::Path;
        let file = match (body, self.form) {
            (Body::Root, _) if export.is_image => {
                opened = Opened::Read;
                File::of(fs::dup::<FsError>(export.dir.as_raw_fd())?)
            }
            (Body::Root, _) => kernel::open(&export.dir, c".", PATH, 0)?,
            (Body::Kernel, Form::Kernel) => export.open(&handle, PATH)?,
            (Body::Path, Form::Path) => return self.find(export_index, &handle),
            // The handle was issued when the server used the other form.
            _ => return Err(FsError::Stale),
        };
        let mut stat = fs::blank();
        kernel::stat(&file, &mut stat)?;
        // The export keeps an image open that was removed or replaced.
        if stat.stx_nlink == 0 {
            return Err(FsError::Stale);
        }
        self.insert(export_index, file, &stat, &handle, opened)
    }

    /// Adds a directory that was opened as "..", and all its ancestors up to the export's top: its path handle is derived from
    /// theirs, and another process may have moved it. `Stale`: the top is not among the next `levels_left` ancestors.
    pub(super) fn adopt_directory(
        &mut self,
        export_index: u16,
        dir: File,
        levels_left: usize,
    ) -> FsResult<Node> {
        let mut stat = fs::blank();
        kernel::stat(&dir, &mut stat)?;
        let export = self.export(export_index).ok_or(FsError::Stale)?;
        if stat.stx_ino == export.inode && fs::device(&stat) == export.volumes.top.dev {
            return self.find_or_open(handle::root(export.tag).bytes());
        }
        let levels_left = levels_left.checked_sub(1).ok_or(FsError::Stale)?;
        let above = kernel::open(&dir, c"..", PATH, 0)?;
        let above = self.adopt_directory(export_index, above, levels_left)?;
        self.adopt(above, dir, Opened::Path)
    }

    /// Searches for the object of a path handle that is not in the table.
    fn find(&mut self, export_index: u16, handle: &Handle) -> FsResult<Node> {
        if self.search.handle != *handle {
            // Only one search can be in progress. A search for another object is finished first.
            self.end_search()?;
        }
        if !self.search.is_under_way() {
            self.begin_search(export_index, handle)?;
        }
        self.advance()
    }

    fn end_search(&mut self) -> FsResult<()> {
        match self.search.is_under_way().then(|| self.advance()) {
            Some(Err(error)) if error.stops() => Err(error),
            _ => Ok(()),
        }
    }

    /// Begins a search at the export's top. If a directory in the table is the parent according to the handle, the search looks
    /// there first.
    fn begin_search(&mut self, export_index: u16, handle: &Handle) -> FsResult<()> {
        let export = self.exports.get(usize::from(export_index));
        let export = export.and_then(Option::as_ref).ok_or(FsError::Stale)?;
        let wanted = PathHandle(handle.bytes());
        if wanted.depth() == 0 && wanted.parent() != export.number {
            return Err(FsError::Stale);
        }
        self.search.start(handle, export_index, export.volumes);
        self.search.add(&export.dir, export.volumes.top, 0)?;
        let parent = self.table.any(&|entry| {
            let mut below = Handle::EMPTY;
            handle::path(
                &entry.handle,
                entry.inode,
                wanted.inode(),
                wanted.generation(),
                &mut below,
            );
            entry.export_index == export_index && below == *handle
        });
        match parent {
            Some(parent) => self.search.add(&parent.file, parent.volume, wanted.depth()),
            None => Ok(()),
        }
    }

    /// Continues the search. `Again`: it goes on in the next turn. `Stale`: the object is not in the export.
    fn advance(&mut self) -> FsResult<Node> {
        let mut stat = fs::blank();
        let file = self.search.step(PATH, &mut stat)?;
        let (export_index, handle) = (self.search.export_index, self.search.handle);
        self.insert(export_index, file, &stat, &handle, Opened::Path)
    }

    /// As [`Vfs::access`](super::super::Vfs::access).
    pub(super) fn ask_access(&self, node: Node, access: Access) -> FsResult<()> {
        if HAS_HTTP && access == Access::Read && self.readable == Some(node) {
            return Ok(());
        }
        let bit = access as u32;
        self.acting.caller()?;
        let (entry, _) = self.at(node)?;
        match fs::faccessat2(&entry.file, bit) {
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY) => Err(FsError::Access),
            Err(Errno::NOSYS) => {
                let mut stat = fs::blank();
                kernel::stat(&entry.file, &mut stat)?;
                let owner = (stat.stx_uid, stat.stx_gid);
                self.acting.mode_lets(stat.stx_mode.into(), owner, bit)
            }
            asked => asked.map_err(error),
        }
    }

    /// Reopens a regular file or directory for reading or writing, unless its descriptor is already open for that.
    pub(super) fn reopen(&mut self, node: Node, wanted: Opened) -> FsResult<()> {
        let (entry, export) = self.at(node)?;
        if entry.opened >= wanted {
            return Ok(());
        }
        let flags = if wanted == Opened::Write { WRITE } else { READ };
        if (entry.kind, self.form) != (ObjectType::Regular, Form::Path) {
            self.acting.server();
        }
        // The caller may open most of the files that it may access: that saves two switches of the UID.
        let as_server = |_: Errno| {
            self.acting.server();
            entry.file.reopen(flags)
        };
        let file = match (entry.kind, self.form) {
            (ObjectType::Directory, _) => kernel::open(&entry.file, c".", flags, 0)?,
            (ObjectType::Regular, Form::Kernel) => export.open(&entry.handle, flags)?,
            (ObjectType::Regular, Form::Path) => {
                match entry.file.reopen(flags).or_else(as_server) {
                    // Without /proc, the object is searched by its path handle.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                        let (export_index, handle) = (entry.export_index, entry.handle);
                        self.end_search()?;
                        self.begin_search(export_index, &handle)?;
                        self.search.step(flags, &mut fs::blank())?
                    }
                    Err(Errno::ACCESS) => change::open_own(&entry.file, flags)?,
                    opened => opened.map_err(error)?,
                }
            }
            _ => return Err(FsError::Invalid),
        };
        let entry = self.table.get_mut(node).ok_or(FsError::Stale)?;
        (entry.file, entry.opened) = (file, wanted);
        Ok(())
    }
}

const _: () = assert!(KernelHandle::BYTES_MAX <= handle::KERNEL_BYTES_MAX);

impl HostExport {
    /// Returns true if the entry is the top of the export.
    pub(super) fn is_top(&self, entry: &OpenEntry) -> bool {
        (entry.inode, entry.volume) == (self.number, self.volumes.top)
    }

    /// Opens the object of a kernel handle.
    fn open(&self, handle: &Handle, flags: OFlags) -> FsResult<File> {
        let (kind, bytes) = handle::kernel_parts(handle);
        fs::open_by_handle_at(&self.dir, &KernelHandle::new(kind, bytes), flags).map_err(error)
    }

    /// Makes the path handle of an object that was looked up in `dir`. `OtherFileSystem`: the object is a mount point.
    fn path_handle(
        &self,
        dir: &OpenEntry,
        file: &File,
        name: &CStr,
        stat: &Statx,
        handle: &mut Handle,
    ) -> FsResult<()> {
        let volume = self.volumes.enter(dir.volume, file, name, stat)?;
        let Identity { inode, generation } = self.volumes.identify(volume, file, name, stat);
        handle::path(&dir.handle, dir.inode, inode, generation, handle);
        Ok(())
    }
}
