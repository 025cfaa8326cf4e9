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
use crate::sys::{self, Errno};
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
    /// The path that was opened last, with its NUL; in a jail what of it lies beneath the top.
    text: heapless::Vec<u8, PATH_BYTES_MAX>,
    /// What it led to: where a descriptor is not enough, it is opened by its path once more.
    named: Option<Node>,
}

impl User {
    /// A backend that keeps at most `pin_count` files and directories open, beside a few descriptors of its own.
    pub fn new(pin_count: usize) -> Self {
        Self {
            table: Table::new(pin_count),
            exports: [Export { path: b"/" }],
            jail: None,
            text: heapless::Vec::new(),
            named: None,
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
        self.text.clear();
        if path.contains(&0) {
            return Err(FsError::Invalid);
        }
        let path = match &self.jail {
            None => path,
            Some(jail) => jail.enter(path, &mut self.text)?,
        };
        let fits = self.text.extend_from_slice(path).is_ok() && self.text.push(0).is_ok();
        if fits {
            Ok(())
        } else {
            Err(FsError::NameTooLong)
        }
    }

    /// Opens what the path that was taken leads to.
    #[inline(never)]
    fn open_taken(&mut self, flags: OFlags, mode: u32) -> FsResult<File> {
        if self.jail.is_some() {
            return self.open_beneath(flags, mode);
        }
        files::open(sys::c_str(&self.text), flags, mode).map_err(error)
    }

    /// Opens an object for more than a path, a directory only if the flags say so.
    #[inline(never)]
    fn reopen(&mut self, node: Node, flags: OFlags) -> FsResult<File> {
        let (mut stat, mut again) = (files::blank(), files::blank());
        let file = self.table.get(node)?;
        kernel::stat(file, &mut stat)?;
        let opened = match kernel::kind(&stat) {
            Kind::Directory if !flags.contains(OFlags::DIRECTORY) => {
                return Err(FsError::IsDirectory);
            }
            Kind::Directory => kernel::open(file, c".", flags, 0)?,
            Kind::Regular => match files::reopen(file, flags.difference(OFlags::DIRECTORY)) {
                // Without /proc it has to be found once more.
                Err(Errno::NOENT | Errno::NOTDIR) if self.named == Some(node) => {
                    let opened = self.open_taken(flags.difference(OFlags::DIRECTORY), 0)?;
                    kernel::stat(&opened, &mut again)?;
                    is_same(&stat, &again)?;
                    opened
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

/// Whether two answers are about the same object; else something was moved meanwhile.
fn is_same(stat: &Stat, other: &Stat) -> FsResult<()> {
    if (files::device(stat), stat.stx_ino) == (files::device(other), other.stx_ino) {
        Ok(())
    } else {
        Err(FsError::TryLater)
    }
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

    fn allows(&mut self, node: Node, right: Right) -> FsResult<bool> {
        match files::access(self.table.get(node)?, right as u32) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::TXTBSY) => Ok(false),
            Err(errno) => Err(error(errno)),
        }
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
            files::stat_at(CWD, sys::c_str(&self.text), end, &mut stat).map_err(error)?;
        }
        Ok(attr(&stat, tag(&stat)))
    }

    fn open_at(&mut self, path: &[u8], how: &Opening) -> FsResult<Pin> {
        // Before anything is made or cut.
        if self.table.is_full() {
            return Err(FsError::TryLater);
        }
        let mut flags = match (how.read, how.write || how.truncate) {
            (_, false) => READ,
            (true, true) => WRITE,
            (false, true) => READ.union(OFlags::WRONLY),
        };
        flags.set(OFlags::APPEND, how.append);
        flags.set(OFlags::CREATE, how.create.is_some());
        flags.set(OFlags::EXCL, how.exclusive);
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
        let file = self.table.get(node)?;
        match rustix::fs::readlinkat_raw(file, c"", &mut *out) {
            // So the kernel says that it is no link.
            Err(Errno::NOENT) => Err(FsError::Invalid),
            Ok(len) => {
                refuse_system(file)?;
                match &self.jail {
                    Some(jail) => jail.show(file, out),
                    None => Ok(len),
                }
            }
            Err(errno) => Err(error(errno)),
        }
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

    fn write_from(
        &mut self,
        pin: &Pin,
        mut offset: u64,
        pipe: Descriptor,
        mut len: usize,
    ) -> FsResult<()> {
        let (mut room, mut outcome) = ([0; PATH_BYTES_MAX], Ok(()));
        while let Some(room) = room.get_mut(..len.min(PATH_BYTES_MAX)).filter(|_| len > 0) {
            // What cannot be stored is taken off the pipe all the same.
            let count = files::read_pipe(pipe.0, room).map_err(error)?.max(1);
            if outcome.is_ok() {
                outcome = self.write(pin, offset, room.get(..count).unwrap_or_default());
            }
            offset = offset.saturating_add(count as u64);
            len = len.saturating_sub(count);
        }
        outcome
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

    fn descriptor(&self, pin: &Pin) -> Option<Descriptor> {
        let file = self.table.get(pin.node).ok()?;
        Some(Descriptor(file.as_raw_fd()))
    }

    fn rest(&mut self) -> bool {
        self.named = None;
        self.table.rest();
        false
    }
}
