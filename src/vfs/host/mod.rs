//! The host's own files, from descriptors, never from stored paths.
//!
//! Every step takes one name beneath one descriptor without following links, so nothing that is swapped meanwhile leads
//! outside. Objects are opened with `O_PATH`, which touches neither FIFOs nor devices; only regular files and directories are
//! opened again for reading. A name where another file system is mounted is listed, but not entered. A directory that the
//! host's owner moves out of the export stays reachable by the handles that clients hold, as with other NFS servers.

mod key;
mod search;
mod table;

use super::handle::{self, Body, Key, Trail};
use super::{
    Attr, Descriptor, Detail, DirEntry, Export, FileTime, FsError, FsResult, Handle, Kind, Name,
    Node, Pin, Right, Space, Vfs,
};
use crate::config::{DIRECTORY_BUFFER_BYTES, EXPORT_COUNT_MAX};
use crate::sys::Errno;
use crate::sys::files::{self, KernelHandle, Stat};
use alloc::vec::Vec;
use core::ffi::CStr;
use core::ops::ControlFlow;
use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use search::Search;
use table::{Entry, Table};

pub use key::KeyError;

/// Read once it is known to be a regular file: neither blocks nor becomes a terminal, whatever it turns into.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::LARGEFILE);
const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// File systems that are made of the kernel's own state: reading there has effects, or never ends.
const PSEUDO_FILE_SYSTEMS: [i64; 8] = [
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

/// The top of an export. Its directory is the entry of the same number in the table, pinned for good.
#[derive(Debug)]
struct Top {
    dev: u64,
    inode: u64,
    mount: u32,
    fsid: u64,
    tag: u32,
    form: Form,
}

/// The backend.
#[derive(Debug)]
pub struct Host {
    exports: Vec<Export>,
    tops: Vec<Top>,
    table: Table,
    key: Key,
    search: Option<Search>,
    buffer: Vec<u8>,
}

impl Host {
    /// A backend that keeps at most `node_count` descriptors open.
    pub fn new(node_count: usize) -> Self {
        Self {
            exports: Vec::with_capacity(EXPORT_COUNT_MAX),
            tops: Vec::with_capacity(EXPORT_COUNT_MAX),
            table: Table::new(node_count),
            key: Key::default(),
            search: None,
            buffer: Vec::with_capacity(DIRECTORY_BUFFER_BYTES),
        }
    }

    /// Reads the key of kernel handles from `path`, or makes it there. Before the first export.
    pub fn load_key(&mut self, path: &CStr) -> Result<(), KeyError> {
        self.key = key::load_or_make(path)?;
        Ok(())
    }

    /// Whether the host lets this user open files of the directory at `path` by the kernel's handles.
    pub fn gives_kernel_handles(path: &CStr) -> bool {
        let dir = rustix::fs::open(path, READ | OFlags::DIRECTORY, Mode::empty());
        dir.is_ok_and(|dir| try_kernel_handles(&dir).is_ok())
    }

    /// Exports the directory at `path` with handles of `form`, under a tag of its own or `fsid`'s.
    pub fn export(
        &mut self,
        path: &'static CStr,
        form: Form,
        fsid: Option<u32>,
    ) -> Result<(), ExportError> {
        if self.tops.len() == EXPORT_COUNT_MAX {
            return Err(ExportError::TooMany);
        }
        // The owner's own path: links in it are followed.
        let flags = READ | OFlags::DIRECTORY;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(ExportError::Open)?;
        let stat = files::stat(&dir).map_err(ExportError::Open)?;
        let system = rustix::fs::fstatfs(&dir).map_err(ExportError::Open)?;
        #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
        // f_type has another width on 32 bits.
        if PSEUDO_FILE_SYSTEMS.contains(&(system.f_type as u32 as i64)) {
            return Err(ExportError::Pseudo);
        }
        let system_id = rustix::fs::fstatvfs(&dir)
            .map_err(ExportError::Open)?
            .f_fsid;
        let tag = fsid.unwrap_or_else(|| handle::digest(&[system_id, stat.inode]));
        if self.tops.iter().any(|top| top.tag == tag) {
            return Err(ExportError::Twice);
        }
        let mount = match form {
            Form::Kernel => try_kernel_handles(&dir).map_err(ExportError::NoKernelHandles)?,
            Form::Trail => 0,
        };
        let handle = Body::Root
            .seal(tag, &self.key)
            .ok_or(ExportError::TooMany)?;
        let entry = Entry {
            file: dir,
            readable: true,
            export: self.tops.len() as u16,
            kind: Kind::Directory,
            inode: stat.inode,
            handle,
        };
        let node = self.table.insert(entry).map_err(|_| ExportError::TooMany)?;
        self.table.pin(node).map_err(|_| ExportError::TooMany)?;
        self.tops.push(Top {
            dev: stat.dev,
            inode: stat.inode,
            mount,
            fsid: fsid.map_or(
                if system_id == 0 {
                    tag.into()
                } else {
                    system_id
                },
                u64::from,
            ),
            tag,
            form,
        });
        self.exports.push(Export {
            path: path.to_bytes(),
        });
        Ok(())
    }

    fn top(&self, export: u16) -> FsResult<(&Top, BorrowedFd<'_>)> {
        let top = self.tops.get(usize::from(export)).ok_or(FsError::Stale)?;
        Ok((top, self.table.get(root_node(export))?.file.as_fd()))
    }

    /// The handle of the entry `name` in `dir`, and its attributes if they had to be asked for.
    fn identify(&self, dir: &Entry, name: &CStr) -> FsResult<(Handle, Option<Stat>)> {
        let (top, _) = self.top(dir.export)?;
        match top.form {
            Form::Kernel => {
                let (kernel, mount) = files::name_to_handle(&dir.file, name).map_err(error)?;
                if mount != top.mount {
                    return Err(FsError::OtherFileSystem);
                }
                let (kind, bytes) = kernel.parts().ok_or(FsError::NotSupported)?;
                let handle = Body::Kernel { kind, bytes }.seal(top.tag, &self.key);
                Ok((handle.ok_or(FsError::NotSupported)?, None))
            }
            Form::Trail => {
                let stat = files::stat_entry(&dir.file, name).map_err(error)?;
                Ok((self.trail_handle(dir, &stat)?, Some(stat)))
            }
        }
    }

    /// The handle of an object that was seen in `dir`.
    fn trail_handle(&self, dir: &Entry, stat: &Stat) -> FsResult<Handle> {
        let (top, _) = self.top(dir.export)?;
        if stat.dev != top.dev || stat.mounted_on {
            return Err(FsError::OtherFileSystem);
        }
        let trail = match handle::open(dir.handle.bytes(), &self.key)? {
            (_, Body::Trail(above)) => above.below(stat.inode, generation(stat)),
            _ => Trail::below_root(top.inode, stat.inode, generation(stat)),
        };
        Body::Trail(trail)
            .seal(top.tag, &self.key)
            .ok_or(FsError::NotSupported)
    }

    fn insert(
        &mut self,
        export: u16,
        file: OwnedFd,
        stat: &Stat,
        handle: Handle,
    ) -> FsResult<Node> {
        self.table.insert(Entry {
            file,
            readable: false,
            export,
            kind: kind(stat.mode),
            inode: stat.inode,
            handle,
        })
    }

    /// Opens the object of a kernel handle that is not in the table.
    fn open_kernel(&mut self, export: u16, handle: Handle) -> FsResult<Node> {
        let file = self.reopen_kernel(export, &handle, PATH)?;
        let stat = files::stat(&file).map_err(error)?;
        self.insert(export, file, &stat, handle)
    }

    fn reopen_kernel(&self, export: u16, handle: &Handle, flags: OFlags) -> FsResult<OwnedFd> {
        let (_, Body::Kernel { kind, bytes }) = handle::open(handle.bytes(), &self.key)? else {
            return Err(FsError::BadHandle);
        };
        let kernel = KernelHandle::new(kind, bytes).ok_or(FsError::BadHandle)?;
        let (_, mount) = self.top(export)?;
        files::open_by_handle(mount, &kernel, flags).map_err(error)
    }

    /// Looks for the object of a trail that is not in the table.
    fn find(&mut self, export: u16, handle: Handle, trail: &Trail) -> FsResult<Node> {
        let mut search = match self.search.take() {
            Some(search) if search.handle == handle && search.export == export => search,
            other => {
                // One search at a time; the one under way is brought to its end first, whoever asks.
                if let Some(other) = other {
                    self.advance(other)?;
                }
                let (top, dir) = self.top(export)?;
                if trail.depth == 0 && trail.parent != top.inode {
                    return Err(FsError::Stale);
                }
                // In the parent, if that is open and its own trail leads on to this one.
                let parent = self.table.any(|entry| {
                    let leads_here = |above: Trail| above.below(trail.inode, trail.generation) == *trail;
                    entry.export == export
                        && entry.inode == trail.parent
                        && matches!(handle::open(entry.handle.bytes(), &self.key), Ok((_, Body::Trail(above))) if leads_here(above))
                });
                Search::new(
                    handle,
                    *trail,
                    export,
                    top.dev,
                    dir,
                    parent.map(|entry| &entry.file),
                )?
            }
        };
        search.export = export;
        self.advance(search)?.ok_or(FsError::Stale)
    }

    /// Carries a search on; `TryLater` keeps it for the next request. `None`: its object is nowhere.
    fn advance(&mut self, mut search: Search) -> FsResult<Option<Node>> {
        match search.step(&mut self.buffer) {
            Ok(found) => self
                .insert(search.export, found.file, &found.stat, search.handle)
                .map(Some),
            Err(FsError::TryLater) => {
                self.search = Some(search);
                Err(FsError::TryLater)
            }
            Err(_) => Ok(None),
        }
    }

    /// Makes the descriptor of a regular file or directory one that can be read.
    fn make_readable(&mut self, node: Node) -> FsResult<&Entry> {
        let entry = self.table.get(node)?;
        if !entry.readable {
            let file = match (entry.kind, self.top(entry.export)?.0.form) {
                (Kind::Directory, _) => search::open_dir(&entry.file, c".").map_err(error)?,
                (Kind::Regular, Form::Kernel) => {
                    self.reopen_kernel(entry.export, &entry.handle, READ)?
                }
                (Kind::Regular, Form::Trail) => self.reopen_trail(node)?,
                _ => return Err(FsError::Invalid),
            };
            let entry = self.table.get_mut(node)?;
            entry.file = file;
            entry.readable = true;
        }
        self.table.get(node)
    }

    /// Opens a regular file again through /proc, or, where that is missing, by looking for its name.
    fn reopen_trail(&mut self, node: Node) -> FsResult<OwnedFd> {
        let entry = self.table.get(node)?;
        let mut path = [0; 32];
        match rustix::fs::open(
            descriptor_path(entry.file.as_raw_fd(), &mut path),
            READ,
            Mode::empty(),
        ) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            opened => return opened.map_err(error),
        }
        let (export, handle) = (entry.export, entry.handle);
        let (_, Body::Trail(trail)) = handle::open(handle.bytes(), &self.key)? else {
            return Err(FsError::BadHandle);
        };
        let (top, dir) = self.top(export)?;
        let mut search = Search::new(handle, trail, export, top.dev, dir, None::<BorrowedFd<'_>>)?;
        search.step(&mut self.buffer)?.open(READ).map_err(error)
    }
}

impl Vfs for Host {
    fn exports(&self) -> &[Export] {
        &self.exports
    }

    fn root(&mut self, export: usize) -> FsResult<Node> {
        let node = root_node(u16::try_from(export).map_err(|_| FsError::Stale)?);
        if export < self.tops.len() {
            Ok(node)
        } else {
            Err(FsError::Stale)
        }
    }

    fn open(&mut self, bytes: &[u8]) -> FsResult<Node> {
        if let Some(node) = self.table.find(bytes) {
            return Ok(node);
        }
        let (tag, body) = handle::open(bytes, &self.key)?;
        let export = self
            .tops
            .iter()
            .position(|top| top.tag == tag)
            .ok_or(FsError::Stale)? as u16;
        let handle = Handle::new(bytes).ok_or(FsError::BadHandle)?;
        match (body, self.top(export)?.0.form) {
            (Body::Kernel { .. }, Form::Kernel) => self.open_kernel(export, handle),
            (Body::Trail(trail), Form::Trail) => self.find(export, handle, &trail),
            // Roots are always in the table; the other form is from before the export was switched over.
            _ => Err(FsError::Stale),
        }
    }

    fn handle(&mut self, node: Node) -> FsResult<Handle> {
        Ok(self.table.get(node)?.handle)
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        let entry = self.table.get(node)?;
        let stat = files::stat(&entry.file).map_err(error)?;
        Ok(attr(&stat, self.top(entry.export)?.0.fsid))
    }

    fn allows(&mut self, node: Node, right: Right) -> FsResult<bool> {
        let entry = self.table.get(node)?;
        let (bits, shift) = match right {
            Right::Read => (files::MAY_READ, 2),
            Right::Execute => (files::MAY_EXECUTE, 0),
        };
        match files::access(&entry.file, bits) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM) => Ok(false),
            // An older kernel: what the mode says to the server's own user and group.
            Err(Errno::NOSYS | Errno::INVAL) => {
                let stat = files::stat(&entry.file).map_err(error)?;
                let user = rustix::process::geteuid().as_raw();
                let allowed = match () {
                    () if user == 0 => {
                        stat.mode & 0o111 != 0
                            || matches!(right, Right::Read)
                            || entry.kind == Kind::Directory
                    }
                    () if user == stat.uid => stat.mode >> (6 + shift) & 1 != 0,
                    () if rustix::process::getegid().as_raw() == stat.gid => {
                        stat.mode >> (3 + shift) & 1 != 0
                    }
                    () => stat.mode >> shift & 1 != 0,
                };
                Ok(allowed)
            }
            Err(errno) => Err(error(errno)),
        }
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        let entry = self.table.get(dir)?;
        if entry.kind != Kind::Directory {
            return Err(FsError::NotDirectory);
        }
        let export = entry.export;
        let mut text = [0; 256];
        let name = terminated(name, &mut text);
        let (handle, _) = self.identify(entry, name)?;
        if let Some(node) = self.table.find(handle.bytes()) {
            return Ok(node);
        }
        if self.top(export)?.0.form == Form::Kernel {
            return self.open_kernel(export, handle);
        }
        let entry = self.table.get(dir)?;
        let file = rustix::fs::openat(&entry.file, name, PATH, Mode::empty()).map_err(error)?;
        let stat = files::stat(&file).map_err(error)?;
        // The name may stand for another object by now: what was opened counts.
        let handle = self.trail_handle(entry, &stat)?;
        match self.table.find(handle.bytes()) {
            Some(node) => Ok(node),
            None => self.insert(export, file, &stat, handle),
        }
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
        let mut buffer = core::mem::take(&mut self.buffer);
        let result = self.list(dir, from, detail, &mut buffer, each);
        self.buffer = buffer;
        result
    }

    fn space(&mut self, node: Node) -> FsResult<Space> {
        let (_, dir) = self.top(self.table.get(node)?.export)?;
        let system = rustix::fs::fstatvfs(dir).map_err(error)?;
        Ok(Space {
            total_bytes: system.f_blocks.saturating_mul(system.f_frsize),
            free_bytes: system.f_bfree.saturating_mul(system.f_frsize),
            available_bytes: system.f_bavail.saturating_mul(system.f_frsize),
            total_files: system.f_files,
            free_files: system.f_ffree,
            name_bytes_max: system.f_namemax as u32,
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

impl Host {
    fn list(
        &self,
        dir: Node,
        from: u64,
        detail: Detail,
        buffer: &mut Vec<u8>,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let entry = self.table.get(dir)?;
        let (top, _) = self.top(entry.export)?;
        rustix::fs::seek(&entry.file, SeekFrom::Start(from)).map_err(|_| FsError::BadCookie)?;
        let mut listing = RawDir::new(&entry.file, buffer.spare_capacity_mut());
        while let Some(next) = listing.next() {
            let next = match next {
                Ok(next) => next,
                Err(Errno::INTR) => continue,
                Err(Errno::INVAL) if from != 0 => return Err(FsError::BadCookie),
                // Removed while it was open: there is nothing in it.
                Err(Errno::NOENT) => return Ok(true),
                Err(errno) => return Err(error(errno)),
            };
            let name = next.file_name();
            let dots = matches!(name.to_bytes(), b"." | b"..");
            let object = match detail {
                Detail::Objects if !dots => {
                    self.identify(entry, name).and_then(|(handle, stat)| {
                        let stat = match stat {
                            Some(stat) => stat,
                            None => files::stat_entry(&entry.file, name).map_err(error)?,
                        };
                        Ok((attr(&stat, top.fsid), handle))
                    })
                }
                _ => Err(FsError::NoEntry),
            };
            let inode = match name.to_bytes() {
                // Above the export there is nothing.
                b".." if entry.inode == top.inode => top.inode,
                _ => next.ino(),
            };
            let told = each(&DirEntry {
                name: name.to_bytes(),
                cookie: next.next_entry_cookie(),
                inode,
                object: object.ok(),
            });
            if told.is_break() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The root of an export is the entry of its number: it was inserted first and is never let go.
const fn root_node(export: u16) -> Node {
    Node {
        slot: export,
        generation: 0,
    }
}

/// Opens a directory by its own handle, as a client would have it done; the number of its mount.
fn try_kernel_handles(dir: &OwnedFd) -> Result<u32, Errno> {
    let (handle, mount) = files::name_to_handle(dir, c"")?;
    let (_, bytes) = handle.parts().ok_or(Errno::OPNOTSUPP)?;
    if bytes.len() > handle::KERNEL_BYTES_MAX {
        return Err(Errno::OVERFLOW);
    }
    files::open_by_handle(dir, &handle, PATH)?;
    Ok(mount)
}

/// Tells an inode from a later one of the same number: when it was made.
fn generation(stat: &Stat) -> u32 {
    stat.birth.map_or(0, |(secs, nanos)| {
        handle::digest(&[secs as u64, nanos.into()])
    })
}

fn terminated<'a>(name: Name<'_>, room: &'a mut [u8; 256]) -> &'a CStr {
    if let Some(room) = room.get_mut(..name.bytes().len()) {
        room.copy_from_slice(name.bytes());
    }
    // A name holds no NUL and is at most 255 bytes long, so the terminator is the zero that follows it.
    CStr::from_bytes_until_nul(room).unwrap_or_default()
}

/// "/proc/self/fd/" and a number.
fn descriptor_path(descriptor: i32, room: &mut [u8; 32]) -> &CStr {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut digits = heapless::Vec::<u8, 10>::new();
    let mut rest = descriptor;
    while digits.push(b'0' + (rest % 10) as u8).is_ok() && rest >= 10 {
        rest /= 10;
    }
    let text = PREFIX.iter().chain(digits.iter().rev());
    room.iter_mut()
        .zip(text)
        .for_each(|(room, byte)| *room = *byte);
    CStr::from_bytes_until_nul(room).unwrap_or_default()
}

fn kind(mode: u32) -> Kind {
    match mode & 0o170_000 {
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::SymbolicLink,
        0o010_000 => Kind::Fifo,
        0o140_000 => Kind::Socket,
        0o060_000 => Kind::BlockDevice,
        0o020_000 => Kind::CharacterDevice,
        _ => Kind::Regular,
    }
}

fn attr(stat: &Stat, fsid: u64) -> Attr {
    let time = |(secs, nanos)| FileTime { secs, nanos };
    Attr {
        kind: kind(stat.mode),
        mode: stat.mode & 0o7777,
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        used: stat.blocks.saturating_mul(512),
        rdev: stat.rdev,
        fsid,
        inode: stat.inode,
        atime: time(stat.atime),
        mtime: time(stat.mtime),
        ctime: time(stat.ctime),
    }
}

/// What an error of the host means to a client.
fn error(errno: Errno) -> FsError {
    match errno {
        Errno::PERM => FsError::Permission,
        Errno::NOENT => FsError::NoEntry,
        Errno::ACCESS => FsError::Access,
        Errno::XDEV => FsError::OtherFileSystem,
        Errno::NOTDIR => FsError::NotDirectory,
        Errno::ISDIR => FsError::IsDirectory,
        // A link where a file was: O_NOFOLLOW says so.
        Errno::INVAL | Errno::LOOP | Errno::NXIO => FsError::Invalid,
        Errno::NAMETOOLONG => FsError::NameTooLong,
        Errno::STALE => FsError::Stale,
        Errno::NOSYS | Errno::OPNOTSUPP | Errno::OVERFLOW => FsError::NotSupported,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => FsError::TryLater,
        _ => FsError::Io,
    }
}
