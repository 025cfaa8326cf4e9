//! The host's own files, from descriptors, never from stored paths.
//!
//! Every step takes one name beneath one descriptor without following links, so nothing that is swapped meanwhile leads
//! outside. Objects are opened with `O_PATH`, which touches neither FIFOs nor devices; only regular files and directories are
//! opened again for reading. A name where another file system is mounted is listed, but not entered. A directory that the
//! host's owner moves out of the export stays reachable by the handles that clients hold, as with other NFS servers.

mod key;
mod search;
mod table;
mod words;

use super::handle::{self, Body, Key, Trail};
use super::{
    Attr, Descriptor, Detail, DirEntry, Export, FsError, FsResult, Handle, Kind, Name, Node, Pin,
    Right, Space, Vfs,
};
use crate::config::{DIRECTORY_BUFFER_BYTES, EXPORT_COUNT_MAX};
use crate::sys::Errno;
use crate::sys::files::{self, KernelHandle, Stat};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::ops::ControlFlow;
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use search::Search;
use table::{Entry, Table};
use words::{attr, error, generation, kind};

pub use key::KeyError;

/// Read once it is known to be a regular file: neither blocks nor becomes a terminal, whatever it turns into.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::LARGEFILE);
const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// File systems that are made of the kernel's own state: reading there has effects, or never ends.
const PSEUDO_FILE_SYSTEMS: [u32; 8] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0xcafe_4a11, // bpf
];

/// What the handles of an export are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// The kernel's handles, with a MAC: they survive renames everywhere.
    Kernel,
    /// Trails: they need no privilege, and survive what leaves the object's directory in place.
    Trail,
}

/// Why a directory cannot be exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportError {
    /// It cannot be opened.
    Open(Errno),
    /// It lies on a file system of the kernel's own state, such as /proc.
    Pseudo,
    /// It is exported already.
    Twice,
    /// There are [`EXPORT_COUNT_MAX`] already.
    TooMany,
    /// Kernel handles were asked for, and the host does not give them.
    NoKernelHandles(Errno),
}

/// The top of an export.
#[derive(Debug)]
struct Top {
    dir: OwnedFd,
    dev: (u32, u32),
    inode: u64,
    mount: u32,
    tag: u32,
}

/// The backend.
#[derive(Debug)]
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Host {
    table: Table,
    form: Form,
    key: Key,
    tops: heapless::Vec<Top, EXPORT_COUNT_MAX>,
    exports: heapless::Vec<Export, EXPORT_COUNT_MAX>,
    search: Search,
}

impl Host {
    /// A backend that keeps at most `node_count` descriptors open.
    pub fn new(node_count: usize) -> Self {
        Self {
            exports: heapless::Vec::new(),
            tops: heapless::Vec::new(),
            table: Table::new(node_count),
            form: Form::Trail,
            key: Key::default(),
            search: Search::NONE,
        }
    }

    /// Makes the handles of all exports kernel handles, with the key at `path`; it is made there if there is none.
    pub fn use_kernel_handles(&mut self, path: &CStr) -> Result<(), KeyError> {
        self.key = key::load_or_make(path)?;
        self.form = Form::Kernel;
        Ok(())
    }

    /// Whether the host lets this user open files of the directory at `path` by the kernel's handles.
    pub fn gives_kernel_handles(path: &CStr) -> bool {
        let dir = rustix::fs::open(path, READ | OFlags::DIRECTORY, Mode::empty());
        dir.is_ok_and(|dir| try_kernel_handles(&dir).is_ok())
    }

    /// Exports the directory at `path` under a tag of its own or `fsid`'s.
    #[inline(never)]
    pub fn export(&mut self, path: &'static CStr, fsid: Option<u32>) -> Result<(), ExportError> {
        // The owner's own path: links in it are followed.
        let dir = rustix::fs::open(path, READ | OFlags::DIRECTORY, Mode::empty())
            .map_err(ExportError::Open)?;
        let mut stat = files::blank();
        files::stat(&dir, &mut stat).map_err(ExportError::Open)?;
        let system = rustix::fs::fstatfs(&dir).map_err(ExportError::Open)?;
        if PSEUDO_FILE_SYSTEMS.contains(&(system.f_type as u32)) {
            return Err(ExportError::Pseudo);
        }
        let tag = fsid.unwrap_or_else(|| handle::digest(files::system_id(&system), stat.stx_ino));
        if self.tops.iter().any(|top| top.tag == tag) {
            return Err(ExportError::Twice);
        }
        let mount = match self.form {
            Form::Kernel => try_kernel_handles(&dir).map_err(ExportError::NoKernelHandles)?,
            Form::Trail => 0,
        };
        let top = Top {
            dir,
            dev: files::device(&stat),
            inode: stat.stx_ino,
            mount,
            tag,
        };
        let export = Export {
            path: path.to_bytes(),
        };
        let kept = self.tops.push(top).is_ok() && self.exports.push(export).is_ok();
        if kept {
            Ok(())
        } else {
            Err(ExportError::TooMany)
        }
    }

    #[inline(never)]
    fn top(&self, export: u16) -> FsResult<&Top> {
        self.tops.get(usize::from(export)).ok_or(FsError::Stale)
    }

    /// Finds out the handle of the entry `name` in `dir`; with trails its attributes too, which have to be asked for.
    fn identify(
        &self,
        dir: &Entry,
        name: &CStr,
        handle: &mut Handle,
        stat: &mut Stat,
    ) -> FsResult<()> {
        let top = self.top(dir.export)?;
        if self.form == Form::Trail {
            files::stat_entry(&dir.file, name, stat).map_err(error)?;
            return top.trail(dir, stat, handle);
        }
        let mut kernel = KernelHandle::ROOM;
        if files::name_to_handle(&dir.file, name, &mut kernel).map_err(error)? != top.mount {
            return Err(FsError::OtherFileSystem);
        }
        let (kind, bytes) = kernel.parts().ok_or(FsError::NotSupported)?;
        handle::kernel(top.tag, &self.key, kind, bytes, handle)
    }

    /// Takes an object in that was opened with `O_PATH`.
    fn insert(
        &mut self,
        export: u16,
        file: OwnedFd,
        stat: &Stat,
        handle: Handle,
    ) -> FsResult<Node> {
        // Removed, though some descriptor still keeps it.
        if stat.stx_nlink == 0 {
            return Err(FsError::Stale);
        }
        self.table.insert(Entry {
            file,
            readable: false,
            export,
            kind: kind(stat),
            inode: stat.stx_ino,
            handle,
        })
    }

    /// Opens the top of an export.
    fn open_top(&mut self, export: u16, handle: &Handle) -> FsResult<Node> {
        let file =
            rustix::fs::openat(&self.top(export)?.dir, c".", PATH, Mode::empty()).map_err(error)?;
        self.take_in(export, file, handle)
    }

    /// Opens the object of a kernel handle that is not in the table.
    fn open_kernel(&mut self, export: u16, handle: &Handle) -> FsResult<Node> {
        let file = self.reopen_kernel(export, handle, PATH)?;
        self.take_in(export, file, handle)
    }

    fn take_in(&mut self, export: u16, file: OwnedFd, handle: &Handle) -> FsResult<Node> {
        let mut stat = files::blank();
        files::stat(&file, &mut stat).map_err(error)?;
        self.insert(export, file, &stat, *handle)
    }

    fn reopen_kernel(&self, export: u16, handle: &Handle, flags: OFlags) -> FsResult<OwnedFd> {
        let (kind, bytes) = handle::kernel_parts(handle);
        let kernel = KernelHandle::new(kind, bytes).ok_or(FsError::BadHandle)?;
        files::open_by_handle(&self.top(export)?.dir, &kernel, flags).map_err(error)
    }

    /// Looks for the object of a trail that is not in the table.
    fn find(&mut self, export: u16, handle: &Handle) -> FsResult<Node> {
        if self.search.handle != *handle {
            // One search at a time; the one under way is brought to its end first, whoever asks.
            self.end_search()?;
        }
        if !self.search.is_under_way() {
            self.begin_search(export, handle)?;
        }
        self.advance()
    }

    fn end_search(&mut self) -> FsResult<()> {
        if self.search.is_under_way() && self.advance() == Err(FsError::TryLater) {
            return Err(FsError::TryLater);
        }
        Ok(())
    }

    /// Will look from the top, but first in the parent, if that is open and its own trail leads on to this one.
    fn begin_search(&mut self, export: u16, handle: &Handle) -> FsResult<()> {
        let top = self.tops.get(usize::from(export)).ok_or(FsError::Stale)?;
        let trail = Trail(handle.bytes());
        if trail.depth() == 0 && trail.parent() != top.inode {
            return Err(FsError::Stale);
        }
        self.search.begin(handle, export, top.dev);
        self.search.add(&top.dir, 0)?;
        let parent = self.table.any(&|entry| {
            let mut below = Handle::EMPTY;
            handle::trail(
                &entry.handle,
                entry.inode,
                trail.inode(),
                trail.generation(),
                &mut below,
            );
            entry.export == export && below == *handle
        });
        match parent {
            Some(parent) => self.search.add(&parent.file, trail.depth()),
            None => Ok(()),
        }
    }

    /// Carries the search on; `TryLater` keeps it for the next request, `Stale`: its object is nowhere.
    fn advance(&mut self) -> FsResult<Node> {
        let mut stat = files::blank();
        let file = self.search.step(PATH, &mut stat)?;
        self.insert(self.search.export, file, &stat, self.search.handle)
    }

    /// Makes the descriptor of a regular file or directory one that can be read.
    fn make_readable(&mut self, node: Node) -> FsResult<&Entry> {
        let entry = self.table.get(node)?;
        if !entry.readable {
            let file = match (entry.kind, self.form) {
                (Kind::Directory, _) => search::open_dir(&entry.file, c".").map_err(error)?,
                (Kind::Regular, Form::Kernel) => {
                    self.reopen_kernel(entry.export, &entry.handle, READ)?
                }
                (Kind::Regular, Form::Trail) => self.reopen_trail(node)?,
                _ => return Err(FsError::Invalid),
            };
            self.table.make_readable(node, file)?;
        }
        self.table.get(node)
    }

    /// Opens a regular file again through /proc, or, where that is missing, by looking for its name.
    fn reopen_trail(&mut self, node: Node) -> FsResult<OwnedFd> {
        let entry = self.table.get(node)?;
        match files::reopen(&entry.file, READ) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            opened => return opened.map_err(error),
        }
        let (export, handle) = (entry.export, entry.handle);
        self.end_search()?;
        self.begin_search(export, &handle)?;
        self.search.step(READ, &mut files::blank())
    }
}

impl Top {
    /// The handle of an object that was seen in `dir`.
    fn trail(&self, dir: &Entry, stat: &Stat, handle: &mut Handle) -> FsResult<()> {
        if files::device(stat) != self.dev || files::is_mounted_on(stat) {
            return Err(FsError::OtherFileSystem);
        }
        handle::trail(
            &dir.handle,
            dir.inode,
            stat.stx_ino,
            generation(stat),
            handle,
        );
        Ok(())
    }
}

impl Vfs for Host {
    fn exports(&self) -> &[Export] {
        &self.exports
    }

    fn root(&mut self, export: usize) -> FsResult<Node> {
        let top = self.tops.get(export).ok_or(FsError::Stale)?;
        self.open(handle::root(top.tag).bytes())
    }

    fn open(&mut self, bytes: &[u8]) -> FsResult<Node> {
        if let Some(node) = self.table.find(bytes) {
            return Ok(node);
        }
        let (tag, body) = handle::check(bytes, &self.key)?;
        let export = self
            .tops
            .iter()
            .position(|top| top.tag == tag)
            .ok_or(FsError::Stale)? as u16;
        let mut handle = Handle::EMPTY;
        handle.push(bytes);
        match (body, self.form) {
            (Body::Root, _) => self.open_top(export, &handle),
            (Body::Kernel, Form::Kernel) => self.open_kernel(export, &handle),
            (Body::Trail, Form::Trail) => self.find(export, &handle),
            // From before the export was switched over to the other form.
            _ => Err(FsError::Stale),
        }
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        Ok(self.table.get(node)?.handle)
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        let entry = self.table.get(node)?;
        let mut stat = files::blank();
        files::stat(&entry.file, &mut stat).map_err(error)?;
        // Removed, though our descriptor still keeps it.
        if stat.stx_nlink == 0 {
            return Err(FsError::Stale);
        }
        Ok(attr(&stat, self.top(entry.export)?.tag))
    }

    fn allows(&mut self, node: Node, right: Right) -> FsResult<bool> {
        let entry = self.table.get(node)?;
        let bit = match right {
            Right::Read => files::MAY_READ,
            Right::Execute => files::MAY_EXECUTE,
        };
        match files::access(&entry.file, bit) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            Err(errno) => Err(error(errno)),
        }
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        let entry = self.table.get(dir)?;
        if entry.kind != Kind::Directory {
            return Err(FsError::NotDirectory);
        }
        let export = entry.export;
        let (mut text, mut handle, mut stat) = ([0; 256], Handle::EMPTY, files::blank());
        let name = terminated(name, &mut text);
        self.identify(entry, name, &mut handle, &mut stat)?;
        if let Some(node) = self.table.find(handle.bytes()) {
            return Ok(node);
        }
        if self.form == Form::Kernel {
            return self.open_kernel(export, &handle);
        }
        let entry = self.table.get(dir)?;
        let file = rustix::fs::openat(&entry.file, name, PATH, Mode::empty()).map_err(error)?;
        files::stat(&file, &mut stat).map_err(error)?;
        // The name may stand for another object by now: what was opened counts.
        self.top(export)?.trail(entry, &stat, &mut handle)?;
        self.insert(export, file, &stat, handle)
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<usize> {
        let entry = self.table.get(node)?;
        if entry.kind != Kind::SymbolicLink {
            return Err(FsError::Invalid);
        }
        rustix::fs::readlinkat_raw(&entry.file, c"", out).map_err(error)
    }

    fn read(&mut self, node: Node, offset: u64, out: &mut [u8]) -> FsResult<usize> {
        let file = &self.make_readable(node)?.file;
        let mut have = 0;
        while let Some(room) = out.get_mut(have..).filter(|room| !room.is_empty()) {
            match rustix::io::pread(file, room, offset.saturating_add(have as u64)) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(have)
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        if self.table.get(dir)?.kind != Kind::Directory {
            return Err(FsError::NotDirectory);
        }
        self.make_readable(dir)?;
        let entry = self.table.get(dir)?;
        let top = self.top(entry.export)?;
        rustix::fs::seek(&entry.file, SeekFrom::Start(from)).map_err(|_| FsError::BadCookie)?;
        let mut buffer = listing_buffer();
        let mut listing = RawDir::new(&entry.file, &mut buffer);
        let (mut handle, mut stat) = (Handle::EMPTY, files::blank());
        while let Some(next) = listing.next() {
            let next = match next {
                Ok(next) => next,
                Err(Errno::INVAL) if from != 0 => return Err(FsError::BadCookie),
                // Removed while it was open: there is nothing in it.
                Err(Errno::NOENT) => return Ok(true),
                Err(errno) => return Err(error(errno)),
            };
            let name = next.file_name();
            let dots = matches!(name.to_bytes(), b"." | b"..");
            let known = detail == Detail::Objects
                && !dots
                && self.identify(entry, name, &mut handle, &mut stat).is_ok()
                && (self.form == Form::Trail
                    || files::stat_entry(&entry.file, name, &mut stat).is_ok());
            let attr = attr(&stat, top.tag);
            // Above the export there is nothing.
            let is_top = dots && entry.inode == top.inode;
            let told = each(&DirEntry {
                name: name.to_bytes(),
                cookie: next.next_entry_cookie(),
                inode: if is_top { top.inode } else { next.ino() },
                object: known.then_some((&attr, &handle)),
            });
            if told.is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn space(&mut self, node: Node) -> FsResult<Space> {
        let dir = &self.top(self.table.get(node)?.export)?.dir;
        let system = rustix::fs::fstatfs(dir).map_err(error)?;
        let unit = if system.f_frsize == 0 {
            system.f_bsize
        } else {
            system.f_frsize
        };
        let bytes = |blocks: u64| blocks.saturating_mul(unit as u64);
        Ok(Space {
            total_bytes: bytes(system.f_blocks),
            free_bytes: bytes(system.f_bfree),
            available_bytes: bytes(system.f_bavail),
            total_files: system.f_files,
            free_files: system.f_ffree,
            name_bytes_max: system.f_namelen as u32,
        })
    }

    fn pin(&mut self, node: Node) -> FsResult<Pin> {
        if self.table.get(node)?.kind != Kind::Regular {
            return Err(FsError::Invalid);
        }
        self.make_readable(node)?;
        self.table.pin(node)
    }

    fn unpin(&mut self, pin: Pin) {
        self.table.unpin(pin);
    }

    fn descriptor(&self, pin: &Pin) -> Option<Descriptor> {
        Some(Descriptor(
            self.table.get(pin.node()).ok()?.file.as_raw_fd(),
        ))
    }

    fn rest(&mut self) -> bool {
        self.table.rest()
    }
}

/// Room for directory entries, on the stack.
const fn listing_buffer() -> [MaybeUninit<u8>; DIRECTORY_BUFFER_BYTES] {
    [MaybeUninit::uninit(); DIRECTORY_BUFFER_BYTES]
}

/// Opens a directory by its own handle, as a client would have it done; the number of its mount.
fn try_kernel_handles(dir: &OwnedFd) -> Result<u32, Errno> {
    let mut handle = KernelHandle::ROOM;
    let mount = files::name_to_handle(dir, c"", &mut handle)?;
    let (_, bytes) = handle.parts().ok_or(Errno::OPNOTSUPP)?;
    if bytes.len() > handle::KERNEL_BYTES_MAX {
        return Err(Errno::OVERFLOW);
    }
    files::open_by_handle(dir, &handle, PATH)?;
    Ok(mount)
}

fn terminated<'a>(name: Name<'_>, room: &'a mut [u8; 256]) -> &'a CStr {
    // A name holds no NUL and is at most 255 bytes long, so the terminator is the zero that follows it.
    room.iter_mut()
        .zip(name.bytes())
        .for_each(|(room, byte)| *room = *byte);
    let end = name.bytes().len();
    crate::sys::c_str(room.get(..=end).unwrap_or_default())
}
