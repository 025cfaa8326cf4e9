//! What changes the host's files. Each change is on disk when it returns, names too; but for what is written to files.
//!
//! Names are changed as the caller, so the host's own rules decide. Where an object has to be opened for more than its caller
//! may, it is opened as the server, after the caller's rights were looked at.

use super::super::{
    Change, FileTime, FsError, FsResult, Handle, Kind, Make, Name, NewTime, Node, Pin, Right,
};
use super::table::Opened;
use super::words::error;
use super::{Form, Host, PATH, READ, WRITE, terminated};
use crate::sys::Errno;
use crate::sys::files::{self, KernelHandle};
use core::ffi::CStr;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};

/// What a file is made with: nobody else made it, and it can be written to at once, whatever its mode.
const MAKE: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);
/// Bytes of the longest target of a symbolic link, and its NUL.
const TARGET_BYTES: usize = crate::config::LINK_BYTES_MAX + 1;

impl Host {
    /// Whether the export that an object lies in may be changed.
    pub(super) fn check_writable(&self, node: Node) -> FsResult<()> {
        let entry = self.table.get(node)?;
        if self.top(entry.export)?.rules.writable {
            Ok(())
        } else {
            Err(FsError::ReadOnly)
        }
    }

    /// The descriptor of a directory whose names the caller may be about to change.
    fn names_of(&mut self, dir: Node) -> FsResult<&OwnedFd> {
        self.check_writable(dir)?;
        self.acting.caller()?;
        let entry = self.table.get(dir)?;
        if entry.kind == Kind::Directory {
            Ok(&entry.file)
        } else {
            Err(FsError::NotDirectory)
        }
    }

    /// Makes the names in a directory durable.
    fn settle(&mut self, dir: Node) -> FsResult<()> {
        let export = self.table.get(dir)?.export;
        match self.reopen(dir, Opened::Read) {
            Ok(entry) => rustix::fs::fsync(&entry.file),
            // Who may not read a directory may still have changed it.
            Err(FsError::Access) => rustix::fs::syncfs(&self.top(export)?.dir),
            Err(other) => return Err(other),
        }
        .map_err(error)
    }

    /// Makes the attributes of an object durable. Only files and directories can be told to; others follow with their names.
    pub(super) fn settle_object(&mut self, node: Node) -> FsResult<()> {
        match self.table.get(node)?.kind {
            Kind::Regular | Kind::Directory => self.settle(node),
            _ => Ok(()),
        }
    }

    pub(super) fn write_all(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        // As the caller, so that the host takes set-user-id bits away, and keeps its last blocks for root.
        self.acting.user(pin.user)?;
        let entry = self.table.get_mut(pin.node)?;
        (entry.written, entry.synced) = (true, false);
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pwrite(&entry.file, rest, offset.saturating_add(done as u64)) {
                // No file system does this; it must not become a loop.
                Ok(0) => return Err(FsError::Io),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(())
    }

    /// Changes attributes as the caller.
    #[inline(never)]
    pub(super) fn change(&mut self, node: Node, change: &Change) -> FsResult<()> {
        self.acting.caller()?;
        if change.uid.is_some() || change.gid.is_some() {
            let (uid, gid) = (change.uid.map(Uid::from_raw), change.gid.map(Gid::from_raw));
            let file = &self.table.get(node)?.file;
            rustix::fs::chownat(file, c"", uid, gid, AtFlags::EMPTY_PATH).map_err(error)?;
        }
        if let Some(mode) = change.mode {
            let mode = Mode::from_bits_retain(mode);
            self.by_path(node, &|path| rustix::fs::chmod(path, mode), &|file| {
                rustix::fs::fchmod(file, mode)
            })?;
        }
        if let Some(size) = change.size {
            // Asks whether it is a file that the caller may write to.
            let pin = self.pin_to_write(node)?;
            let user = self.acting.user(pin.user);
            let cut = self.cut(&pin, size);
            self.table.unpin(pin);
            user.and(cut)?;
            self.acting.caller()?;
        }
        if (change.atime, change.mtime) != (NewTime::Keep, NewTime::Keep) {
            let times = Timestamps {
                last_access: time(change.atime),
                last_modification: time(change.mtime),
            };
            self.by_path(
                node,
                &|path| rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
                &|file| rustix::fs::futimens(file, &times),
            )?;
        }
        Ok(())
    }

    fn pin_to_write(&mut self, node: Node) -> FsResult<Pin> {
        super::Vfs::pin(self, node, Some(Right::Write))
    }

    fn cut(&mut self, pin: &Pin, size: u64) -> FsResult<()> {
        if size > i64::MAX as u64 {
            return Err(FsError::TooLarge);
        }
        let entry = self.table.get_mut(pin.node)?;
        (entry.written, entry.synced) = (true, false);
        rustix::fs::ftruncate(&entry.file, size).map_err(error)
    }

    /// Does something to an object by its path in /proc, which needs no more than `O_PATH`; where that is missing, to what it
    /// is opened as.
    fn by_path(
        &mut self,
        node: Node,
        by_path: &dyn Fn(&CStr) -> Result<(), Errno>,
        by_file: &dyn Fn(&OwnedFd) -> Result<(), Errno>,
    ) -> FsResult<()> {
        let mut room = [0; 25];
        let entry = self.table.get(node)?;
        match by_path(files::path(&entry.file, &mut room)) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.reopen(node, Opened::Read)?;
                self.acting.caller()?;
                by_file(&self.table.get(node)?.file)
            }
            done => done,
        }
        .map_err(error)
    }

    #[inline(never)]
    pub(super) fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: Make<'_>,
        change: &Change,
    ) -> FsResult<Node> {
        let mut text = [0; 256];
        let name = terminated(name, &mut text);
        let at = self.names_of(dir)?;
        let mode = |default| Mode::from_bits_retain(change.mode.unwrap_or(default));
        match make {
            Make::File => Ok(()),
            Make::Directory => rustix::fs::mkdirat(at, name, mode(0o777)),
            Make::Link(target) => {
                let mut room = [0; TARGET_BYTES];
                rustix::fs::symlinkat(target_text(target, &mut room)?, at, name)
            }
            Make::Special(kind, (major, minor)) => {
                let kind = match kind {
                    Kind::Fifo => FileType::Fifo,
                    Kind::Socket => FileType::Socket,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::CharacterDevice,
                };
                let device = rustix::fs::makedev(major, minor);
                rustix::fs::mknodat(at, name, kind, mode(0o666), device)
            }
        }
        .map_err(error)?;
        let opened = if make == Make::File {
            Opened::Write
        } else {
            Opened::Path
        };
        let (flags, mode) = match make {
            Make::File => (MAKE, mode(0o666)),
            _ => (PATH, Mode::empty()),
        };
        let file = rustix::fs::openat(at, name, flags, mode).map_err(error)?;
        let mut stat = files::blank();
        files::stat(&file, &mut stat).map_err(error)?;
        let entry = self.table.get(dir)?;
        let (export, top) = (entry.export, self.top(entry.export)?);
        let mut handle = Handle::EMPTY;
        match self.form {
            Form::Trail => top.trail(entry, &stat, &mut handle)?,
            Form::Kernel => {
                let mut kernel = KernelHandle::ROOM;
                files::name_to_handle(&file, c"", &mut kernel).map_err(error)?;
                let (kind, bytes) = kernel.parts().ok_or(FsError::NotSupported)?;
                super::handle::kernel(top.tag, &self.key, kind, bytes, &mut handle)?;
            }
        }
        let node = self.insert_opened(export, file, &stat, handle, opened)?;
        // The mode it has already. Whose it is only root can say; some clients say it all the same.
        let is_root = !self.acting.is_other();
        let rest = Change {
            mode: None,
            uid: change.uid.filter(|_| is_root),
            gid: change.gid.filter(|_| is_root),
            size: change.size.filter(|size| *size > 0),
            ..*change
        };
        if rest != Change::default() {
            let changed = self
                .change(node, &rest)
                .and_then(|()| self.settle_object(node));
            if changed.is_err() {
                // All or nothing.
                let at = self.names_of(dir)?;
                let flags = if make == Make::Directory {
                    AtFlags::REMOVEDIR
                } else {
                    AtFlags::empty()
                };
                let _ = rustix::fs::unlinkat(at, name, flags);
                changed?;
            }
        }
        self.settle(dir)?;
        Ok(node)
    }

    pub(super) fn unlink(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        let mut text = [0; 256];
        let name = terminated(name, &mut text);
        let flags = if directory {
            AtFlags::REMOVEDIR
        } else {
            AtFlags::empty()
        };
        rustix::fs::unlinkat(self.names_of(dir)?, name, flags).map_err(error)?;
        self.settle(dir)
    }

    /// The export of a directory, to which names may be added from another of the same export.
    fn check_same_export(&self, one: Node, other: Node) -> FsResult<()> {
        if self.table.get(one)?.export == self.table.get(other)?.export {
            Ok(())
        } else {
            Err(FsError::CrossDevice)
        }
    }

    pub(super) fn move_name(
        &mut self,
        from: Node,
        name: Name<'_>,
        to: Node,
        new_name: Name<'_>,
    ) -> FsResult<()> {
        let (mut text, mut new_text) = ([0; 256], [0; 256]);
        let name = terminated(name, &mut text);
        let new_name = terminated(new_name, &mut new_text);
        self.names_of(to)?;
        self.names_of(from)?;
        self.check_same_export(from, to)?;
        let (from_dir, to_dir) = (&self.table.get(from)?.file, &self.table.get(to)?.file);
        rustix::fs::renameat(from_dir, name, to_dir, new_name).map_err(error)?;
        // The new name first: better twice than not at all.
        self.settle(to)?;
        if from == to {
            Ok(())
        } else {
            self.settle(from)
        }
    }

    pub(super) fn add_name(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        let (mut text, mut room) = ([0; 256], [0; 25]);
        let name = terminated(name, &mut text);
        self.names_of(dir)?;
        self.check_same_export(node, dir)?;
        let (file, at) = (&self.table.get(node)?.file, &self.table.get(dir)?.file);
        let path = files::path(file, &mut room);
        match rustix::fs::linkat(CWD, path, at, name, AtFlags::SYMLINK_FOLLOW) {
            // Without /proc only root can.
            Err(Errno::NOENT | Errno::NOTDIR) => {
                rustix::fs::linkat(file, c"", at, name, AtFlags::EMPTY_PATH)
            }
            linked => linked,
        }
        .map_err(error)?;
        self.settle(dir)
    }
}

/// Opens a file that the server's own user has taken its own rights to away from: NFS lets an owner read and write.
pub(super) fn open_own(file: &OwnedFd, flags: OFlags) -> FsResult<OwnedFd> {
    let mut stat = files::blank();
    files::stat(file, &mut stat).map_err(error)?;
    if stat.stx_uid != rustix::process::geteuid().as_raw() {
        return Err(FsError::Access);
    }
    let (mut room, mode) = ([0; 25], u32::from(stat.stx_mode) & 0o7777);
    let path = files::path(file.as_fd(), &mut room);
    rustix::fs::chmod(path, Mode::from_bits_retain(mode | 0o600)).map_err(error)?;
    let opened = files::reopen(file, flags).map_err(error);
    rustix::fs::chmod(path, Mode::from_bits_retain(mode)).map_err(error)?;
    opened
}

fn time(time: NewTime) -> Timespec {
    const NOW: i64 = 0x3fff_ffff;
    const OMIT: i64 = 0x3fff_fffe;
    let (tv_sec, nanos) = match time {
        NewTime::Keep => (0, OMIT),
        NewTime::Now => (0, NOW),
        NewTime::At(FileTime { secs, nanos }) => (secs, nanos.into()),
    };
    Timespec {
        tv_sec,
        tv_nsec: nanos as _,
    }
}

/// The target of a symbolic link as text. It is never followed here, so it may be anything but empty.
fn target_text<'a>(target: &[u8], room: &'a mut [u8; TARGET_BYTES]) -> FsResult<&'a CStr> {
    if target.is_empty() || target.contains(&0) {
        return Err(FsError::Invalid);
    }
    let room = room.get_mut(..=target.len()).ok_or(FsError::NameTooLong)?;
    room.iter_mut()
        .zip(target)
        .for_each(|(room, byte)| *room = *byte);
    Ok(crate::sys::c_str(room))
}

const _: () = assert!(READ.bits() & OFlags::NONBLOCK.bits() != 0);
