//! Errors of a backend: the POSIX errors that protocols distinguish.

use super::{JobId, Until};

/// The reason why a call failed, or did not begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)] // `FsResult<u32>` and `FsResult<Node>` then fit in two registers.
pub enum FsError {
    /// Not the owner.
    Permission,
    /// No such name.
    NoEntry,
    /// The disk failed.
    Io,
    /// The part is missing at the end of an image, which is shorter than its file system.
    Cut,
    /// Permission denied.
    Access,
    /// A mount point, which is not crossed.
    OtherFileSystem,
    /// The name exists already.
    Exists,
    /// The two names are not in the same export and file system.
    CrossDevice,
    /// Not a directory.
    NotDirectory,
    /// A directory.
    IsDirectory,
    /// Not possible for this kind of object.
    Invalid,
    /// The file would become larger than the host allows.
    TooLarge,
    /// The disk is full.
    NoSpace,
    /// The user's disk quota is exceeded.
    Quota,
    /// The object has the maximum number of hard links.
    TooManyLinks,
    /// Too many symbolic links in a path, perhaps a loop.
    TooManyFollowed,
    /// The directory has entries.
    NotEmpty,
    /// A name is longer than 255 bytes.
    NameTooLong,
    /// The export is read-only.
    ReadOnly,
    /// The object of the handle was removed.
    Stale,
    /// Not a handle of this server.
    BadHandle,
    /// Not a cookie of this directory.
    BadCookie,
    /// The host's file system does not support the operation.
    NotSupported,
    /// Descriptors, memory or table entries ran out. The same request may succeed later.
    TryLater,
    /// Nothing was done yet: a disk of a machine without an operating system must read something first.
    AwaitsDisk,
    /// Nothing was done yet: a look-up of host names must end first.
    AwaitsNames,
    /// Nothing was done yet: a bounded search goes on in the next turn.
    AwaitsTurn,
}

impl FsError {
    /// The event that must come before the call is repeated; `None` after a failure.
    pub const fn until(self) -> Option<Until> {
        match self {
            Self::AwaitsDisk => Some(Until::Job(JobId::DISKS)),
            Self::AwaitsNames => Some(Until::Job(JobId::NAMES)),
            Self::AwaitsTurn => Some(Until::Turn),
            _ => None,
        }
    }

    /// Returns true if the call has done nothing yet and is to be repeated.
    pub const fn stops(self) -> bool {
        self as u32 >= Self::AwaitsDisk as u32
    }
}

/// Result of a backend's method.
pub type FsResult<T> = Result<T, FsError>;
