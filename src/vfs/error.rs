//! Why a backend did not do something: the errors of POSIX that protocols tell apart.

/// Why a backend did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)] // So that a number or a node, or else this, is returned in two registers.
pub enum FsError {
    /// Not the owner.
    Permission,
    /// No such name.
    NoEntry,
    /// The disk failed.
    Io,
    /// The host does not allow it.
    Access,
    /// Another file system is mounted there; it is not entered.
    OtherFileSystem,
    /// There is such a name already.
    Exists,
    /// The two names do not lie in one export on one file system.
    CrossDevice,
    /// Not a directory.
    NotDirectory,
    /// A directory.
    IsDirectory,
    /// It makes no sense for this kind of object.
    Invalid,
    /// The file would become larger than the host allows.
    TooLarge,
    /// The disk is full.
    NoSpace,
    /// The user has used up what the disk has for it.
    Quota,
    /// The object has as many names as it can have.
    TooManyLinks,
    /// Symbolic links lead to symbolic links without end.
    TooManyFollowed,
    /// The directory has entries.
    NotEmpty,
    /// A name is longer than 255 bytes.
    NameTooLong,
    /// The export cannot be written to.
    ReadOnly,
    /// The object that the handle named is gone.
    Stale,
    /// The handle is none of this server's.
    BadHandle,
    /// The cookie is none of this directory's.
    BadCookie,
    /// The host's file system cannot do it.
    NotSupported,
    /// Not now: descriptors or time ran out. The same request may succeed later.
    TryLater,
}

/// What a backend returns.
pub type FsResult<T> = Result<T, FsError>;
