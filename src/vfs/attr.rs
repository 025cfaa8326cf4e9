//! Attributes: what an object is and is like, what is to change of that, and how full its file system is.

/// Kinds of objects. The numbers are those that modes have above their twelve bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    Regular = 0o10,
    Directory = 0o04,
    SymbolicLink = 0o12,
    Fifo = 0o01,
    Socket = 0o14,
    BlockDevice = 0o06,
    CharacterDevice = 0o02,
}

impl Kind {
    /// What a mode has for it.
    pub const fn bits(self) -> u32 {
        (self as u32) << 12
    }

    /// The kind that a mode tells of; `Regular` where it tells of none that there is.
    #[expect(clippy::indexing_slicing, reason = "there is a place for each")]
    #[inline(never)]
    pub const fn of_mode(mode: u32) -> Self {
        static KINDS: [Kind; 16] = {
            let mut kinds = [Kind::Regular; 16];
            kinds[Kind::Directory as usize] = Kind::Directory;
            kinds[Kind::SymbolicLink as usize] = Kind::SymbolicLink;
            kinds[Kind::Fifo as usize] = Kind::Fifo;
            kinds[Kind::Socket as usize] = Kind::Socket;
            kinds[Kind::BlockDevice as usize] = Kind::BlockDevice;
            kinds[Kind::CharacterDevice as usize] = Kind::CharacterDevice;
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
    /// Nanoseconds after them.
    pub nanos: u32,
}

/// The attributes of an object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// What it is.
    pub kind: Kind,
    /// The low twelve bits of the mode.
    pub mode: u32,
    /// Names it has.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Bytes on the disk.
    pub used: u64,
    /// Major and minor number of a device.
    pub rdev: (u32, u32),
    /// The same for all objects of an export, and for no other export on another file system.
    pub fsid: u64,
    /// Inode number.
    pub inode: u64,
    /// Last read.
    pub atime: FileTime,
    /// Last written.
    pub mtime: FileTime,
    /// Last changed.
    pub ctime: FileTime,
}

/// What becomes of one of a file's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum NewTime {
    /// It stays.
    #[default]
    Keep,
    /// The host's clock.
    Now,
    /// This.
    At(FileTime),
}

/// What is to change of an object; what is `None` stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttr {
    /// The low twelve bits of the mode.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Bytes: what is beyond is cut off, what is missing reads as zeros.
    pub size: Option<u64>,
    /// Last read.
    pub atime: NewTime,
    /// Last written.
    pub mtime: NewTime,
}

impl SetAttr {
    /// Whether one of the times is to change.
    pub(super) const fn times(&self) -> bool {
        !matches!((self.atime, self.mtime), (NewTime::Keep, NewTime::Keep))
    }
}

/// How full a file system is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FsStat {
    /// Bytes that are given out at once.
    pub unit_bytes: u32,
    /// The number that the file system has for itself, 0 if none.
    pub id: u64,
    /// Nothing can be written to it.
    pub read_only: bool,
    /// Set-user-id bits mean nothing on it.
    pub ignores_set_user: bool,
    /// Bytes there are.
    pub total_bytes: u64,
    /// Bytes free.
    pub free_bytes: u64,
    /// Bytes free for the user that the server runs as.
    pub available_bytes: u64,
    /// Inodes there are.
    pub total_files: u64,
    /// Inodes free.
    pub free_files: u64,
    /// Bytes of the longest name.
    pub name_bytes_max: u32,
}
