//! The host's files by their paths, as who started the process sees them: for one peer, who has the same rights.
//!
//! A path is one call wherever the kernel has one. Nothing is known by a handle: a node is a descriptor in a small ring, which
//! lasts for a request, a pin one in a table. Only regular files and directories are opened, and nothing of what the kernel
//! makes of its own state. In a jail all paths begin at its directory: the kernel is asked to stay beneath that, and where it
//! cannot, or a path seems to lead out, [`walk`](super::walk) has the law.

use super::kernel::{self, PATH, READ, WRITE, attr, change, error, terminated};
use super::{
    Attr, Caller, Change, Descriptor, Detail, DirEntry, Export, FileTime, FsError, FsResult,
    Handle, Kind, Make, Name, Node, Opening, Pin, Right, Space, Vfs,
};
use crate::config::PATH_BYTES_MAX;
use crate::sys::files::{self, File, Stat};
use crate::sys::heap::Slots;
use crate::sys::{self, Errno};
use core::ffi::CStr;
use core::ops::ControlFlow;
use jail::Jail;
use rustix::fd::AsRawFd as _;
use rustix::fs::{AtFlags, CWD, OFlags};
use table::{Ring, Table};

mod alter;
mod jail;
mod table;
#[cfg(test)]
mod tests;

/// The backend.
#[derive(Debug)]
pub struct User {
    table: Table,
    exports: [Export; 1],
    jail: Option<Jail>,
    /// The path that was opened last, to its NUL; in a jail what of it lies beneath the top.
    text: Slots<u8>,
    text_len: usize,
    /// What it led to: where a descriptor is not enough, it is opened by its path once more.
    named: Option<Node>,
    /// Whether anything was ever opened to be written.
    writes: bool,
}

impl User {
    /// A backend that keeps at most `pin_count` files and directories open, beside a few descriptors of its own.
    pub fn new(pin_count: usize) -> Self {
        Self {
            table: Table::new(pin_count),
            exports: [Export { path: b"/" }],
            jail: None,
            text: Slots::zeroed(PATH_BYTES_MAX),
            text_len: 0,
            named: None,
            writes: false,
        }
    }

    /// Names are looked up from this directory: what handles are looked for beneath.
    #[cfg(test)]
    pub(super) fn begin_at(&mut self, dir: &core::ffi::CStr) {
        self.table.top = Some(files::open(dir, PATH, 0).unwrap());
    }

    /// Keeps a path in the kernel's words.
    #[inline(never)]
    fn take(&mut self, path: &[u8]) -> FsResult<()> {
        self.named = None;
        if path.contains(&0) {
            return Err(FsError::Invalid);
        }
        let (mut len, mut path) = (0, path);
        if let Some(jail) = &self.jail {
            (path, len) = jail.enter(path, &mut self.text)?;
        }
        len = put(&mut self.text, len, path);
        self.text_len = len;
        *self.text.get_mut(len).ok_or(FsError::NameTooLong)? = 0;
        Ok(())
    }

    /// The path that was taken.
    fn taken(&self) -> &CStr {
        sys::c_str(self.text.get(..=self.text_len).unwrap_or_default())
    }

    /// Opens what the path that was taken leads to.
    #[inline(never)]
    fn open_taken(&mut self, flags: OFlags, mode: u32) -> FsResult<File> {
        if self.jail.is_some() {
            return self.open_beneath(flags, mode);
        }
        files::open(self.taken(), flags, mode).map_err(error)
    }

    /// Opens an object for more than a path, a directory only if the flags say so.
    #[inline(never)]
    fn reopen(&mut self, node: Node, flags: OFlags) -> FsResult<File> {
        let mut stat = files::blank();
        let file = self.table.get(node)?;
        kernel::stat(file, &mut stat)?;
        let opened = match kernel::kind(&stat) {
            Kind::Directory if !flags.contains(OFlags::DIRECTORY) => {
                return Err(FsError::IsDirectory);
            }
            Kind::Directory => kernel::open(file, c".", flags, 0)?,
            Kind::Regular => match files::reopen(file, flags.difference(OFlags::DIRECTORY)) {
                // Without /proc it has to be found once more: what has its path now is as good.
                Err(Errno::NOENT | Errno::NOTDIR) if self.named == Some(node) => {
                    self.open_taken(flags.difference(OFlags::DIRECTORY), 0)?
                }
                opened => opened.map_err(error)?,
            },
            _ => return Err(FsError::Invalid),
        };
        refuse_pseudo(&opened, &stat)?;
        Ok(opened)
    }

    /// Takes in an object that a request asks for by its path.
    fn found(&mut self, file: File) -> Node {
        self.table.keep(file, Ring::Found)
    }
}

/// Reading what the kernel makes of its own state has effects, or never ends. Such objects have no blocks.
fn refuse_pseudo(file: &File, stat: &Stat) -> FsResult<()> {
    if stat.stx_blocks == 0 {
        refuse_system(file)?;
    }
    Ok(())
}

fn refuse_system(file: &File) -> FsResult<()> {
    let system = rustix::fs::fstatfs(file).map_err(error)?;
    if kernel::is_pseudo(&system) {
        return Err(FsError::Access);
    }
    Ok(())
}

/// Copies bytes to what follows `at` in `out`, as far as they fit; where they end.
#[inline(never)]
fn put(out: &mut [u8], at: usize, bytes: &[u8]) -> usize {
    let room = out.get_mut(at..).unwrap_or_default();
    let copied = room.iter_mut().zip(bytes);
    at + copied.map(|(to, from)| *to = *from).count()
}

/// What tells two file systems from each other, in 32 bits.
const fn tag(stat: &Stat) -> u32 {
    let (major, minor) = files::device(stat);
    major << 20 ^ minor
}

/// Only the path of an object; a link at its end is followed or kept.
const fn path_flags(follow: bool) -> OFlags {
    if follow {
        PATH.difference(OFlags::NOFOLLOW)
    } else {
        PATH
    }
}

impl Vfs for User {
    fn exports(&self) -> &[Export] {
        &self.exports
    }

    fn root(&mut self, export: usize) -> FsResult<Node> {
        if export > 0 {
            return Err(FsError::Stale);
        }
        if self.table.top.is_none() {
            self.table.top = Some(files::open(c"/", PATH, 0).map_err(error)?);
        }
        Ok(Table::TOP)
    }

    fn open(&mut self, _: &[u8], _: &Caller) -> FsResult<Node> {
        Err(FsError::BadHandle)
    }

    fn handle(&mut self, _: Node) -> FsResult<Handle> {
        Err(FsError::NotSupported)
    }

    fn attr(&mut self, node: Node) -> FsResult<Attr> {
        let mut stat = files::blank();
        kernel::stat(self.table.get(node)?, &mut stat)?;
        Ok(attr(&stat, tag(&stat)))
    }

    fn allows(&mut self, _: Node, _: Right) -> FsResult<bool> {
        // Who asks is who it is done as: what is not allowed is told when it is tried.
        Err(FsError::NotSupported)
    }

    fn lookup(&mut self, dir: Node, name: Name<'_>) -> FsResult<Node> {
        let mut text = [0; 256];
        let dir = self.table.get(dir)?;
        let file = kernel::open(dir, terminated(name, &mut text), PATH, 0)?;
        Ok(self.table.keep(file, Ring::Steps))
    }

    fn start(&mut self, out: &mut [u8]) -> FsResult<usize> {
        match &self.jail {
            Some(jail) => Ok(jail.start(out)),
            None => Ok(files::current_dir(out).map_err(error)?.count_bytes()),
        }
    }

    fn resolve(&mut self, path: &[u8], follow: bool) -> FsResult<Node> {
        self.take(path)?;
        let file = self.open_taken(path_flags(follow), 0)?;
        let node = self.found(file);
        self.named = Some(node);
        Ok(node)
    }

    fn attr_at(&mut self, path: &[u8], follow: bool) -> FsResult<Attr> {
        let mut stat = files::blank();
        self.take(path)?;
        if self.jail.is_some() {
            let file = self.open_taken(path_flags(follow), 0)?;
            kernel::stat(&file, &mut stat)?;
        } else {
            let end = if follow {
                AtFlags::empty()
            } else {
                AtFlags::SYMLINK_NOFOLLOW
            };
            files::stat_at(CWD, self.taken(), end, &mut stat).map_err(error)?;
        }
        Ok(attr(&stat, tag(&stat)))
    }

    fn open_at(&mut self, path: &[u8], how: &Opening) -> FsResult<Pin> {
        // Before anything is made or cut.
        if self.table.is_full() {
            return Err(FsError::TryLater);
        }
        self.writes |= how.write || how.truncate;
        let mut flags = match (how.read, how.write || how.truncate) {
            (_, false) => READ,
            (true, true) => WRITE,
            (false, true) => READ.union(OFlags::WRONLY),
        };
        flags.set(OFlags::APPEND, how.append);
        flags.set(OFlags::CREATE, how.create.is_some());
        flags.set(OFlags::EXCL, how.exclusive && how.create.is_some());
        flags.set(OFlags::DIRECTORY, how.directory);
        self.take(path)?;
        let file = self.open_taken(flags, how.create.unwrap_or(0) & 0o7777)?;
        let mut stat = files::blank();
        kernel::stat(&file, &mut stat)?;
        match kernel::kind(&stat) {
            Kind::Directory if how.directory => {}
            Kind::Directory => return Err(FsError::IsDirectory),
            Kind::Regular => {}
            _ => return Err(FsError::Access),
        }
        refuse_pseudo(&file, &stat)?;
        // Nothing but a regular file is ever cut.
        if how.truncate {
            rustix::fs::ftruncate(&file, 0).map_err(error)?;
        }
        self.table.pin(file)
    }

    fn clock(&mut self) -> FileTime {
        let (secs, nanos) = sys::wall_clock();
        FileTime { secs, nanos }
    }

    fn readlink(&mut self, node: Node, out: &mut [u8]) -> FsResult<usize> {
        let (file, mut room) = (self.table.get(node)?, [0; PATH_BYTES_MAX]);
        let len = match rustix::fs::readlinkat_raw(file, c"", &mut room[..]) {
            // So the kernel says that it is no link.
            Err(Errno::NOENT) => return Err(FsError::Invalid),
            len => len.map_err(error)?,
        };
        refuse_system(file)?;
        let (mut target, mut len) = (room.get(..len).unwrap_or_default(), 0);
        if let Some(jail) = &self.jail {
            (len, target) = jail.show(target, out);
        }
        Ok(put(out, len, target))
    }

    fn readdir(
        &mut self,
        dir: Node,
        from: u64,
        detail: Detail,
        each: &mut dyn FnMut(&DirEntry<'_>) -> ControlFlow<()>,
    ) -> FsResult<bool> {
        let opened;
        let mut stat = files::blank();
        let file = if Table::is_pinned(dir) {
            self.table.get(dir)?
        } else {
            opened = self.reopen(dir, READ | OFlags::DIRECTORY)?;
            &opened
        };
        let is_jailed = self.jail.is_some();
        let listed = files::list(file, from, &mut |found| {
            let mut name = found.name;
            if is_jailed && found.is_dots() {
                // What is above may be outside.
                name = c"";
            }
            let wants = detail == Detail::Objects || name.is_empty();
            let known = wants && files::stat_entry(file, name, &mut stat).is_ok();
            let attr = attr(&stat, tag(&stat));
            each(&DirEntry {
                name: found.name.to_bytes(),
                cookie: found.cookie,
                inode: if known { attr.inode } else { found.inode },
                object: known.then_some((&attr, &Handle::EMPTY)),
            })
        });
        match listed {
            Err(Errno::INVAL) if from != 0 => Err(FsError::BadCookie),
            // Removed while it was open: there is nothing in it.
            Err(Errno::NOENT) => Ok(true),
            listed => listed.map_err(error),
        }
    }

    fn space(&mut self, node: Node) -> FsResult<Space> {
        kernel::space(self.table.get(node)?)
    }

    fn pin(&mut self, node: Node, right: Option<Right>) -> FsResult<Pin> {
        let flags = if right == Some(Right::Write) {
            WRITE
        } else {
            READ
        };
        let file = self.reopen(node, flags)?;
        self.table.pin(file)
    }

    fn unpin(&mut self, pin: Pin) {
        self.table.unpin(&pin);
    }

    fn read(&mut self, pin: &Pin, offset: u64, out: &mut [u8]) -> FsResult<usize> {
        kernel::read(self.table.get(pin.node)?, offset, out)
    }

    fn write(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        let file = self.table.get(pin.node)?;
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pwrite(file, rest, offset.saturating_add(done as u64)) {
                // No file system does this; it must not become a loop.
                Ok(0) => return Err(FsError::Io),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(())
    }

    fn write_from(&mut self, _: &Pin, _: u64, _: Descriptor, _: usize) -> FsResult<()> {
        // One peer at a time: what it sends is read and written at once.
        Err(FsError::NotSupported)
    }

    fn sync(&mut self, pin: &Pin) -> FsResult<()> {
        rustix::fs::fsync(self.table.get(pin.node)?).map_err(error)
    }

    fn settle(&mut self) -> FsResult<()> {
        Ok(())
    }

    fn set_attr(&mut self, node: Node, change: &Change) -> FsResult<()> {
        self.alter(node, change)
    }

    fn create(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: Make<'_>,
        change: &Change,
    ) -> FsResult<Node> {
        self.make(dir, name, make, change)
    }

    fn remove(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        change::remove(self.table.get(dir)?, name, directory)
    }

    fn rename(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
        replace: bool,
    ) -> FsResult<()> {
        self.move_name((from, name), (to, new_name), replace)
    }

    fn link(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        self.add_name(node, dir, name)
    }

    /// What the kernel sends of a file by itself are its pages: a peer that takes them later would find in them what was written
    /// meanwhile. Who writes gets copies.
    fn descriptor(&self, pin: &Pin) -> Option<Descriptor> {
        if self.writes {
            return None;
        }
        let file = self.table.get(pin.node).ok()?;
        Some(Descriptor(file.as_raw_fd()))
    }

    fn rest(&mut self) -> bool {
        self.named = None;
        self.table.rest();
        false
    }
}
