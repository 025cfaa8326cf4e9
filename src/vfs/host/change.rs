//! What changes the host's files: data, attributes, names.
//!
//! Names are changed as the caller, so the host's own rules decide. Where an object has to be opened for more than its caller
//! may, it is opened as the server, after the caller's rights were looked at.

use super::super::kernel::{self, PATH, WRITE, change, error, terminated};
use super::super::{
    Access, CreateWhat, FsError, FsResult, Kind, Name, NewTime, Node, Pin, SetAttr,
};
use super::Host;
use super::table::{Entry, Opened};
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::fsuid;
use core::ffi::CStr;
use rustix::fd::AsRawFd as _;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};

/// What a file is made with: it was not there before, and it can be written to at once, whatever its mode.
const MAKE: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);
/// Bytes that go from a pipe to a file at once where the host cannot move them by itself.
const PIPE_COPY_BYTES: usize = 4096;

impl Host {
    /// Whether the export that an object lies in may be changed.
    pub(super) fn check_writable(&self, node: Node) -> FsResult<()> {
        match self.entry_and_top(node) {
            Some((_, top)) if top.rules.writable => Ok(()),
            Some(_) => Err(FsError::ReadOnly),
            None => Err(FsError::Stale),
        }
    }

    /// A directory whose names the caller is about to change.
    fn names_of(&self, dir: Node) -> FsResult<&Entry> {
        self.seen.take();
        self.check_writable(dir)?;
        self.acting.caller()?;
        let (entry, _) = self.at(dir)?;
        if entry.kind == Kind::Directory {
            Ok(entry)
        } else {
            Err(FsError::NotDirectory)
        }
    }

    /// A file is about to be written to: as the caller, so that the host takes set-user-id bits away, and keeps its last
    /// blocks for root.
    fn begin_write(&self, pin: &Pin) -> FsResult<&Entry> {
        self.seen.take();
        self.acting.user(pin.user)?;
        let (entry, _) = self.at(pin.node)?;
        entry.written.set(true);
        entry.synced.set(false);
        Ok(entry)
    }

    #[inline(never)]
    pub(super) fn write_all(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let file = &self.begin_write(pin)?.file;
            match rustix::io::pwrite(file, rest, offset.saturating_add(done as u64)) {
                // No file system does this; it must not become a loop.
                Ok(0) => return Err(FsError::Io),
                Ok(more) => done += more,
                Err(Errno::INTR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) if self.table.drop_removed() => {}
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(())
    }

    /// As [`Host::write_all`], from a pipe, which is empty afterwards in any case.
    pub(super) fn write_pipe(
        &mut self,
        pin: &Pin,
        mut offset: u64,
        pipe: i32,
        mut len: usize,
    ) -> FsResult<()> {
        let (mut outcome, mut moves) = (Ok(()), true);
        let mut buffer = [0; PIPE_COPY_BYTES];
        while len > 0 {
            let count = if moves && outcome.is_ok() {
                let file = match self.begin_write(pin) {
                    Ok(entry) => entry.file.as_raw_fd(),
                    Err(error) => {
                        outcome = Err(error);
                        continue;
                    }
                };
                match fs::splice(pipe, file, Some(&mut { offset }), len) {
                    Ok(count) if count > 0 => count,
                    Err(Errno::NOSPC | Errno::DQUOT) if self.table.drop_removed() => continue,
                    // It cannot be moved there, but perhaps copied.
                    Err(Errno::INVAL) => {
                        moves = false;
                        continue;
                    }
                    Err(Errno::INTR) => continue,
                    stopped => {
                        outcome = Err(stopped.map_or_else(error, |_| FsError::Io));
                        continue;
                    }
                }
            } else {
                // What cannot be stored is taken off the pipe all the same.
                let buffer = buffer
                    .get_mut(..len.min(PIPE_COPY_BYTES))
                    .unwrap_or_default();
                let count = fs::read(pipe, buffer).map_err(error)?;
                if outcome.is_ok() {
                    let bytes = buffer.get(..count).unwrap_or_default();
                    outcome = self.write_all(pin, offset, bytes);
                }
                count.max(1)
            };
            offset = offset.saturating_add(count as u64);
            len = len.saturating_sub(count);
        }
        outcome
    }

    /// Changes attributes as the caller.
    #[inline(never)]
    pub(super) fn change(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.seen.take();
        self.acting.caller()?;
        // The size first: to be cut takes set-user-id bits away.
        if let Some(size) = change.size {
            // Asks whether it is a file that the caller may write to.
            let pin = self.pin_to_write(node)?;
            let cut = self.cut(&pin, size);
            self.table.unpin(pin);
            cut?;
            self.acting.caller()?;
        }
        change::own(&self.at(node)?.0.file, change)?;
        if let Some(mode) = change.mode {
            let mode = Mode::from_bits_retain(mode);
            self.by_path(node, &|path| rustix::fs::chmod(path, mode), &|file| {
                rustix::fs::fchmod(file, mode)
            })?;
        }
        // To be cut has set it already, also for a caller that may write and is not the owner: of one time alone the host would refuse
        // them "now".
        let mtime = match change.mtime {
            NewTime::Now if change.size.is_some() => NewTime::Keep,
            mtime => mtime,
        };
        if (change.atime, mtime) != (NewTime::Keep, NewTime::Keep) {
            let times = change::times(change.atime, mtime);
            self.by_path(
                node,
                &|path| rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()),
                &|file| rustix::fs::futimens(file, &times),
            )?;
        }
        Ok(())
    }

    fn pin_to_write(&mut self, node: Node) -> FsResult<Pin> {
        super::Handles::pin(self, node, Some(Access::Write))
    }

    fn cut(&self, pin: &Pin, size: u64) -> FsResult<()> {
        if size > i64::MAX as u64 {
            return Err(FsError::TooLarge);
        }
        rustix::fs::ftruncate(&self.begin_write(pin)?.file, size).map_err(error)
    }

    /// Does something to an object by its path in /proc, which needs no more than `O_PATH`; where that is missing, to what it
    /// is opened as.
    fn by_path(
        &mut self,
        node: Node,
        by_path: &dyn Fn(&CStr) -> Result<(), Errno>,
        by_file: &dyn Fn(&File) -> Result<(), Errno>,
    ) -> FsResult<()> {
        let mut buffer = [0; 25];
        match by_path(fs::proc_path(
            self.at(node)?.0.file.as_raw_fd(),
            &mut buffer,
        )) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                self.reopen(node, Opened::Read)?;
                self.acting.caller()?;
                by_file(&self.at(node)?.0.file)
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
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        let mut text = [0; 256];
        let text = terminated(name, &mut text);
        let at = &self.names_of(dir)?.file;
        // What clients make has the modes that they say.
        fsuid::set_umask(0);
        let (mut flags, mut opened) = (PATH, Opened::Path);
        if make == CreateWhat::File {
            (flags, opened) = (MAKE, Opened::Write);
        } else {
            change::make(at, text, make, change.mode)?;
        }
        let file = kernel::open(at, text, flags, change.mode.unwrap_or(0o666));
        if opened == Opened::Write {
            // It is there only now, or was before.
            file.as_ref().map_err(|error| *error)?;
        }
        let made = file.and_then(|file| self.finish(dir, file, opened, change));
        if made.is_err() {
            // All or nothing.
            let _ = self.unlink(dir, name, matches!(make, CreateWhat::Directory));
        }
        self.mark_dirty(dir)?;
        made
    }

    /// Takes in what was made, and gives it what it could not be made with.
    fn finish(
        &mut self,
        dir: Node,
        file: File,
        opened: Opened,
        change: &SetAttr,
    ) -> FsResult<Node> {
        let node = self.adopt(dir, file, opened)?;
        // The mode it has already. Whose it is only root can say; some clients say it all the same.
        let mut rest = *change;
        rest.mode = None;
        if self.acting.is_other() {
            (rest.uid, rest.gid) = (None, None);
        }
        rest.size = rest.size.filter(|size| *size > 0);
        if rest.uid.is_some() || rest.gid.is_some() || rest.size.is_some() || rest.times() {
            self.change(node, &rest)?;
            self.mark_dirty(node)?;
        }
        Ok(node)
    }

    pub(super) fn unlink(&mut self, dir: Node, name: Name<'_>, directory: bool) -> FsResult<()> {
        change::remove(&self.names_of(dir)?.file, name, directory)?;
        self.mark_dirty(dir)
    }

    pub(super) fn move_name(
        &mut self,
        (from, name): (Node, Name<'_>),
        (to, new_name): (Node, Name<'_>),
        replace: bool,
    ) -> FsResult<()> {
        let (from_dir, to_dir) = (self.names_of(from)?, self.names_of(to)?);
        if from_dir.export != to_dir.export {
            return Err(FsError::CrossDevice);
        }
        let (mut text, mut new_text) = ([0; 256], [0; 256]);
        let name = terminated(name, &mut text);
        let new_name = terminated(new_name, &mut new_text);
        if replace {
            rustix::fs::renameat(&from_dir.file, name, &to_dir.file, new_name)
        } else {
            fs::renameat::<Errno>(
                (from_dir.file.as_raw_fd(), name.to_bytes()),
                (to_dir.file.as_raw_fd(), new_name.to_bytes()),
                false,
            )
        }
        .map_err(error)?;
        // The new name first: better twice than not at all.
        self.mark_dirty(to)?;
        self.mark_dirty(from)
    }

    pub(super) fn add_name(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        let (object, dir_entry) = (self.at(node)?.0, self.names_of(dir)?);
        if object.export != dir_entry.export {
            return Err(FsError::CrossDevice);
        }
        change::link(&object.file, &dir_entry.file, name)?;
        self.mark_dirty(dir)
    }
}

/// Opens a file that the server's own user has taken its own rights to away from: NFS lets an owner read and write.
pub(super) fn open_own(file: &File, flags: OFlags) -> FsResult<File> {
    let mut stat = fs::blank();
    kernel::stat(file, &mut stat)?;
    if stat.stx_uid != rustix::process::geteuid().as_raw() {
        return Err(FsError::Access);
    }
    let (mut buffer, mode) = ([0; 25], u32::from(stat.stx_mode) & 0o7777);
    let path = fs::proc_path(file.as_raw_fd(), &mut buffer);
    let set = |mode| rustix::fs::chmod(path, Mode::from_bits_retain(mode)).map_err(error);
    set(mode | 0o600)?;
    let opened = file.reopen(flags).map_err(error);
    set(mode)?;
    opened
}
