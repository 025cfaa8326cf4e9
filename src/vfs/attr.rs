//! Attributes of objects, changes of them (SETATTR), and the state of a file system (FSSTAT).

use super::tree::rules::ROOT;
use super::{FsError, FsResult};

/// Kinds of objects. The values are bits 12 to 15 of `st_mode` (`S_IFMT`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum ObjectType {
    Regular = 0o10,
    Directory = 0o04,
    SymbolicLink = 0o12,
    Fifo = 0o01,
    Socket = 0o14,
    BlockDevice = 0o06,
    CharacterDevice = 0o02,
}

impl ObjectType {
    /// The `S_IFMT` bits of a mode.
    pub const fn bits(self) -> u32 {
        (self as u32) << 12
    }

    /// The kind in a mode's `S_IFMT` bits; `Regular` if they are unknown.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each")]
    #[inline(never)] // −23 bytes: 19 callers.
    pub const fn of_mode(mode: u32) -> Self {
        static KINDS: [ObjectType; 16] = {
            let mut kinds = [ObjectType::Regular; 16];
            kinds[ObjectType::Directory as usize] = ObjectType::Directory;
            kinds[ObjectType::SymbolicLink as usize] = ObjectType::SymbolicLink;
            kinds[ObjectType::Fifo as usize] = ObjectType::Fifo;
            kinds[ObjectType::Socket as usize] = ObjectType::Socket;
            kinds[ObjectType::BlockDevice as usize] = ObjectType::BlockDevice;
            kinds[ObjectType::CharacterDevice as usize] = ObjectType::CharacterDevice;
            kinds
        };
        KINDS[(mode >> 12 & 0o17) as usize]
    }
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileTime {
    /// Whole seconds, before 1970 negative.
    pub secs: i64,
    /// Nanoseconds after `secs`.
    pub nanos: u32,
}

/// The attributes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// File, directory, link, …
    pub kind: ObjectType,
    /// The low twelve bits of the mode.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Bytes allocated on the disk.
    pub used: u64,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// File system ID. All objects of an export share it; exports on different file systems have different IDs.
    pub fsid: u64,
    /// Inode number.
    pub inode: u64,
    /// Time of the last read.
    pub atime: FileTime,
    /// Time of the last write.
    pub mtime: FileTime,
    /// Time of the last change of content or attributes.
    pub ctime: FileTime,
}

/// Change of a file's atime or mtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NewTime {
    /// No change.
    #[default]
    Keep,
    /// Set to the host's clock.
    Now,
    /// Set to this time.
    At(FileTime),
}

/// Attributes to change; `None` keeps an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// The low twelve bits of the mode.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// New length in bytes: truncates the file, or extends it with zeros.
    pub size: Option<u64>,
    /// Time of the last read.
    pub atime: NewTime,
    /// Time of the last write.
    pub mtime: NewTime,
}

impl SetAttr {
    /// The change of owner and group alone.
    pub(super) fn owner(&self) -> Self {
        Self {
            uid: self.uid,
            gid: self.gid,
            ..Self::default()
        }
    }

    /// Returns true if only the owner may make these changes: all but a size, and both times set to now.
    const fn is_for_owner(&self) -> bool {
        let keeps_times = matches!(
            (self.atime, self.mtime),
            (NewTime::Keep, NewTime::Keep) | (NewTime::Now, NewTime::Now)
        );
        !keeps_times || self.mode.is_some() || self.uid.is_some() || self.gid.is_some()
    }

    /// Returns true if the kernel may refuse a part of the change after it has made another one, whatever their order.
    pub(super) const fn needs_check(&self) -> bool {
        self.mode.is_some() || self.size.is_some() && self.is_for_owner()
    }

    /// Checks that the kernel will refuse no part of the change to `user`, so that a refused change leaves `attr` as it is.
    ///
    /// # Errors
    /// `NotSupported`: symbolic links have no mode. `Permission`: the user is not the owner.
    pub(super) fn check(&self, attr: &Attr, user: u32) -> FsResult<()> {
        if self.mode.is_some() && attr.kind == ObjectType::SymbolicLink {
            return Err(FsError::NotSupported);
        }
        // Without a size, the first part of the change that a stranger may not make is the first part of all.
        if self.size.is_some() && self.is_for_owner() && user != ROOT && user != attr.uid {
            return Err(FsError::Permission);
        }
        Ok(())
    }

    /// Returns true if atime or mtime is to change.
    pub const fn times(&self) -> bool {
        !matches!((self.atime, self.mtime), (NewTime::Keep, NewTime::Keep))
    }
}

/// Space, inodes and limits of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FsStat {
    /// Allocation unit in bytes.
    pub unit_bytes: u32,
    /// The file system's own ID (`f_fsid`), 0 if it has none.
    pub id: u64,
    /// True if the file system is mounted read-only.
    pub read_only: bool,
    /// True if set-user-ID bits are ignored (`nosuid`).
    pub ignores_set_user: bool,
    /// Size in bytes.
    pub total_bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes that the server's user may allocate.
    pub available_bytes: u64,
    /// Total inodes.
    pub total_files: u64,
    /// Free inodes.
    pub free_files: u64,
    /// Longest name in bytes.
    pub name_bytes_max: u32,
}
