//! Changes of the host's files: data, attributes, names.
//!
//! Names are changed with the caller's credentials, so the kernel checks permissions. If an object must be opened in a mode that
//! the kernel would deny to the caller, the server opens it itself after it checked the caller's access.

use super::super::kernel::{self, PATH, WRITE, change, error};
use super::super::{
    Access, CreateWhat, FsError, FsResult, Kind, Name, NewTime, Node, ObjectType, Pin, SetAttr,
    Target,
};
use super::Host;
use super::open_files::{OpenEntry, Opened};
use crate::mem::Ends as _;
use crate::sys::linux::fs::{self, AT_FDCWD, File};
use crate::sys::linux::fsuid;
use rustix::fd::AsRawFd as _;
use rustix::fs::OFlags;

/// Flags of open(2) that create a new file, which is open for writing whatever its mode.
const MAKE: OFlags = WRITE
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);
/// Bytes per copy from a pipe to a file if splice(2) fails.
const PIPE_COPY_BYTES: usize = 4096;

impl Host {
    /// Prepares a change of names in a directory: switches to the caller and returns the directory's entry.
    fn names_of(&self, dir: Node) -> FsResult<&OpenEntry> {
        self.seen.take();
        self.acting.caller()?;
        let (entry, _) = self.at(dir)?;
        if entry.kind == ObjectType::Directory {
            Ok(entry)
        } else {
            Err(FsError::NotDirectory)
        }
    }

    /// Prepares a write: switches to the UID of the pin, so that the kernel clears set-user-ID bits and does not use the blocks
    /// reserved for root.
    pub(super) fn begin_write(&self, pin: &Pin) -> FsResult<&OpenEntry> {
        self.seen.take();
        self.acting.user(pin.user)?;
        let (entry, _) = self.at(pin.node)?;
        entry.written.set(true);
        entry.change();
        Ok(entry)
    }

    /// Counts bytes that were written to a file and are not on disk.
    pub(super) fn count_unsynced(&self, pin: &Pin, len: usize) {
        if let Some(entry) = self.table.get(pin.node) {
            let bytes = &entry.unsynced_bytes;
            bytes.set(bytes.get().saturating_add(len as u32));
        }
    }

    pub(super) fn write_all(&mut self, pin: &Pin, offset: u64, bytes: &[u8]) -> FsResult<()> {
        self.count_unsynced(pin, bytes.len());
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let file = &self.begin_write(pin)?.file;
            let at = offset.saturating_add(done as u64);
            match fs::pwrite(file.as_raw_fd(), at, rest) {
                // No file system returns 0 here; retrying could loop.
                Ok(0) => return Err(FsError::Io),
                Ok(more) => done += more as usize,
                Err(FsError::NoSpace | FsError::Quota) if self.make_room() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`Host::write_all`], from a pipe. Empties the pipe, also after an error.
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
                // splice(2) failed. A write may succeed, or returns the errno. Bytes that cannot be stored are read from the pipe
                // and dropped.
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

    /// Changes attributes as the caller. A change that the kernel would refuse in part is refused before its first part.
    pub(super) fn change(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        if change.size > Some(i64::MAX as u64) {
            return Err(FsError::TooLarge);
        }
        let mut rest = *change;
        // Truncation sets mtime as well. For a caller that may write but is not the owner, utimensat(2) would fail if only one of
        // the times is UTIME_NOW.
        if rest.size.is_some() && (rest.atime, rest.mtime) == (NewTime::Keep, NewTime::Now) {
            rest.mtime = NewTime::Keep;
        }
        if rest.needs_check() {
            let user = self.acting.file_user();
            rest.check(&super::super::Vfs::attr(self, node)?, user)?;
        }
        self.seen.take();
        // The size before the mode: truncation clears set-user-ID bits, which the mode may set.
        if let Some(size) = rest.size.take() {
            self.acting.caller()?;
            // The tree has checked the caller's write access. `pin_to_write` checks that the object is a regular file.
            let pin = self.pin_to_write(node)?;
            let cut = self.set_attr_of(node, &rest.owner());
            let cut = cut.and_then(|()| self.cut(&pin, size));
            self.table.unpin(pin);
            cut?;
            (rest.uid, rest.gid) = (None, None);
        }
        self.set_attr_of(node, &rest)
    }

    /// Changes attributes but the size.
    fn set_attr_of(&mut self, node: Node, change: &SetAttr) -> FsResult<()> {
        self.acting.caller()?;
        let mut buffer = [0; 25];
        let file = self.at(node)?.0.file.as_raw_fd();
        match change::set_attr(file, Some(fs::proc_path(file, &mut buffer)), change) {
            // Without /proc, changing attributes needs a descriptor that is not O_PATH.
            Err(FsError::NoEntry | FsError::NotDirectory) => {
                self.reopen(node, Opened::Read)?;
                self.acting.caller()?;
                change::set_attr(self.at(node)?.0.file.as_raw_fd(), None, change)
            }
            done => done,
        }
    }

    fn pin_to_write(&mut self, node: Node) -> FsResult<Pin> {
        super::super::Vfs::pin(self, node, Some(Access::Write))
    }

    fn cut(&self, pin: &Pin, size: u64) -> FsResult<()> {
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
        // The client has applied its user's umask already.
        fsuid::set_umask(0);
        let (mut flags, mut opened) = (PATH, Opened::Path);
        if make == CreateWhat::File {
            (flags, opened) = (MAKE, Opened::Write);
        } else {
            change::make(at, name.bytes(), make, change.mode)?;
        }
        let file = fs::open_entry(at, name.bytes(), flags, change.mode.unwrap_or(0o666));
        if opened == Opened::Write {
            // O_EXCL failed: nothing was created, so nothing must be removed.
            file?;
        }
        let made = file.and_then(|file| self.finish(dir, File::of(file), opened, change));
        if made.is_err() {
            // Do not leave a half-made object.
            let kind = match make {
                CreateWhat::Directory => Kind::Directory,
                _ => Kind::Other,
            };
            let _ = self.unlink(dir, name, kind);
        }
        self.mark_dirty(dir)?;
        made
    }

    /// Adds a created object to the table, and sets the attributes that open(2) or mkdir(2) could not set.
    fn finish(
        &mut self,
        dir: Node,
        file: File,
        opened: Opened,
        change: &SetAttr,
    ) -> FsResult<Node> {
        let node = self.adopt(dir, file, opened)?;
        // The mode is set already. Only root can set an owner; ignore the owner that some clients send with every CREATE.
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

    pub(super) fn unlink(&mut self, dir: Node, name: Name<'_>, kind: Kind) -> FsResult<()> {
        let dir_file = &self.names_of(dir)?.file;
        let removal = self.begin_removal(dir_file, name);
        let directory = kind == Kind::Directory;
        let removed = fs::unlinkat(dir_file.as_raw_fd(), name.bytes(), directory);
        self.end_removal(removal, removed)?;
        self.mark_dirty(dir)
    }

    pub(super) fn move_name(
        &mut self,
        (from, name): (Node, Name<'_>),
        (to, new_name): (Node, Name<'_>),
        target: Target,
    ) -> FsResult<()> {
        let (from_dir, to_dir) = (self.names_of(from)?, self.names_of(to)?);
        if from_dir.export_index != to_dir.export_index {
            return Err(FsError::CrossDevice);
        }
        let old = (from_dir.file.as_raw_fd(), name.bytes());
        let new = (to_dir.file.as_raw_fd(), new_name.bytes());
        let removal = self.begin_removal(&to_dir.file, new_name);
        let renamed = fs::renameat(old, new, target == Target::Replace);
        self.end_removal(removal, renamed)?;
        // The new name first: after a crash, two names are better than none.
        self.mark_dirty(to)?;
        self.mark_dirty(from)
    }

    pub(super) fn add_name(&mut self, node: Node, dir: Node, name: Name<'_>) -> FsResult<()> {
        let (object, dir_entry) = (self.at(node)?.0, self.names_of(dir)?);
        if object.export_index != dir_entry.export_index {
            return Err(FsError::CrossDevice);
        }
        let (file, into) = (object.file.as_raw_fd(), dir_entry.file.as_raw_fd());
        change::link(file, into, name.bytes())?;
        self.mark_dirty(dir)
    }
}

/// Opens a file of the server's own user whose mode denies that user access: in NFS, an owner may always read and write. Sets
/// the mode for the duration of the open.
pub(super) fn open_own(file: &File, flags: OFlags) -> FsResult<File> {
    let mut stat = fs::blank();
    kernel::stat(file, &mut stat)?;
    if stat.stx_uid != crate::sys::user_id() {
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
