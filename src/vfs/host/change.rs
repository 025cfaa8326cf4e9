//! What changes the host's files: data, attributes, names.
//!
//! Names are changed as the caller, so the host's own rules decide. Where an object has to be opened for more than its caller
//! may, it is opened as the server, after the caller's rights were looked at.

use super::super::kernel::{self, PATH, WRITE, change, error};
use super::super::{
    Access, CreateWhat, FsError, FsResult, Kind, Name, NewTime, Node, Pin, SetAttr,
};
use super::Host;
use super::table::{Entry, Opened};
use crate::mem::Ends as _;
use crate::sys::linux::fs::{self, AT_FDCWD, File};
use crate::sys::linux::fsuid;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// What a file is made with: it was not there before, and it can be written to at once, whatever its mode.
const MAKE: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);
/// Bytes that go from a pipe to a file at once where the host cannot move them by itself.
const PIPE_COPY_BYTES: usize = 4096;

impl Host {
    /// A directory whose names the caller is about to change.
    fn names_of(&self, dir: Node) -> FsResult<&Entry> {
        self.seen.take();
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
    pub(super) fn begin_write(&self, pin: &Pin) -> FsResult<&Entry> {
        self.seen.take();
        self.acting.user(pin.user)?;
        let (entry, _) = self.at(pin.node)?;
        entry.written.set(true);
        entry.change();
        Ok(entry)
    }

    #[inline(never)]
    pub(super) fn write_all(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.count_unsynced(pin, bytes.len());
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let file = &self.begin_write(pin)?.file;
            let at = offset.saturating_add(done as u64);
            match fs::pwrite(file.as_raw_fd(), at, rest) {
                // No file system does this; it must not become a loop.
                Ok(0) => return Err(FsError::Io),
                Ok(more) => done += more as usize,
                Err(FsError::NoSpace | FsError::Quota) if self.make_room() => {}
                Err(error) => return Err(error),
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
        self.count_unsynced(pin, len);
        let mut outcome = Ok(());
        let mut buffer = [0; PIPE_COPY_BYTES];
        while len > 0 {
            let mut count = 0;
            if outcome.is_ok()
                && let Ok(entry) = self.begin_write(pin)
            {
                let (file, at) = (entry.file.as_raw_fd(), &mut { offset });
                count = fs::splice(pipe, None, file, Some(at), len).unwrap_or(0);
            }
            if count == 0 {
                // splice failed, but write may not, or has an errno to report. Bytes that cannot be stored leave the pipe, too.
                let buffer = buffer.head_mut(len.min(PIPE_COPY_BYTES));
                count = fs::read(pipe, buffer).map_err(error)?;
                if outcome.is_ok() {
                    outcome = self.write_all(pin, offset, buffer.head(count));
                }
                count = count.max(1);
            }
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
            // The tree has asked whether the caller may write to it; whether it is a file is asked here.
            let pin = self.pin_to_write(node)?;
            let cut = self.cut(&pin, size);
            self.table.unpin(pin);
            cut?;
            self.acting.caller()?;
        }
        let mut rest = *change;
        // To be cut has set it already, also for a caller that may write and is not the owner: of one time alone the host would refuse
        // them "now".
        if rest.size.take().is_some() && rest.mtime == NewTime::Now {
            rest.mtime = NewTime::Keep;
        }
        let mut buffer = [0; 25];
        let file = self.at(node)?.0.file.as_raw_fd();
        match change::set_attr(file, Some(fs::proc_path(file, &mut buffer)), &rest) {
            // Without /proc it has to be open for more than its path.
            Err(FsError::NoEntry | FsError::NotDirectory) => {
                self.reopen(node, Opened::Read)?;
                self.acting.caller()?;
                change::set_attr(self.at(node)?.0.file.as_raw_fd(), None, &rest)
            }
            done => done,
        }
    }

    fn pin_to_write(&mut self, node: Node) -> FsResult<Pin> {
        super::Vfs::pin(self, node, Some(Access::Write))
    }

    fn cut(&self, pin: &Pin, size: u64) -> FsResult<()> {
        if size > i64::MAX as u64 {
            return Err(FsError::TooLarge);
        }
        fs::truncate(self.begin_write(pin)?.file.as_raw_fd(), None, size)
    }

    pub(super) fn make(
        &mut self,
        dir: Node,
        name: Name<'_>,
        make: CreateWhat<'_>,
        change: &SetAttr,
    ) -> FsResult<Node> {
        let at = self.names_of(dir)?.file.as_raw_fd();
        // What clients make has the modes that they say.
        fsuid::set_umask(0);
        let (mut flags, mut opened) = (PATH, Opened::Path);
        if make == CreateWhat::File {
            (flags, opened) = (MAKE, Opened::Write);
        } else {
            change::make(at, name.bytes(), make, change.mode)?;
        }
        let file = fs::open_entry(at, name.bytes(), flags, change.mode.unwrap_or(0o666));
        if opened == Opened::Write {
            // It is there only now, or was before.
            file?;
        }
        let made = file.and_then(|file| self.finish(dir, File::of(file), opened, change));
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
        let dir_file = &self.names_of(dir)?.file;
        let file = self.hold_large(dir_file, name);
        fs::unlinkat::<FsError>(dir_file.as_raw_fd(), name.bytes(), directory)?;
        self.dirty.close_by_worker(file);
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
        let old = (from_dir.file.as_raw_fd(), name.bytes());
        let new = (to_dir.file.as_raw_fd(), new_name.bytes());
        let replaced = self.hold_large(&to_dir.file, new_name);
        fs::renameat::<FsError>(old, new, replace)?;
        self.dirty.close_by_worker(replaced);
        // The new name first: better twice than not at all.
        self.mark_dirty(to)?;
        self.mark_dirty(from)
    }

    pub(super) fn add_name(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        let (object, dir_entry) = (self.at(node)?.0, self.names_of(dir)?);
        if object.export != dir_entry.export {
            return Err(FsError::CrossDevice);
        }
        let (file, into) = (object.file.as_raw_fd(), dir_entry.file.as_raw_fd());
        change::link(file, into, name.bytes())?;
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
    let set = |mode| fs::chmod::<FsError>(AT_FDCWD, Some(path), mode);
    set(mode | 0o600)?;
    let opened = file.reopen(flags).map_err(error);
    set(mode)?;
    opened
}
