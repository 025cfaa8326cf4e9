//! The NFS status of each backend error.

use crate::vfs::FsError;
use crate::wire::nfs3::Status;

impl From<FsError> for Status {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Permission => Self::Permission,
            FsError::NoEntry => Self::NoEntry,
            FsError::Io | FsError::Cut => Self::Io,
            FsError::Access => Self::Access,
            FsError::OtherFileSystem => Self::Access,
            FsError::Exists => Self::Exists,
            FsError::CrossDevice => Self::CrossDevice,
            FsError::NotDirectory => Self::NotDirectory,
            FsError::IsDirectory => Self::IsDirectory,
            FsError::Invalid => Self::Invalid,
            FsError::TooLarge => Self::TooLarge,
            FsError::NoSpace => Self::NoSpace,
            FsError::Quota => Self::Quota,
            FsError::TooManyLinks => Self::TooManyLinks,
            // ELOOP from an open that follows no links: a symbolic link has replaced the object meanwhile.
            FsError::TooManyFollowed => Self::Invalid,
            FsError::NotEmpty => Self::NotEmpty,
            FsError::NameTooLong => Self::NameTooLong,
            FsError::ReadOnly => Self::ReadOnly,
            FsError::Stale => Self::Stale,
            FsError::BadHandle => Self::BadHandle,
            FsError::BadCookie => Self::BadCookie,
            FsError::NotSupported => Self::NotSupported,
            // A call that stops is repeated instead of answered, unless it awaits names.
            FsError::TryLater
            | FsError::AwaitsDisk
            | FsError::AwaitsNames
            | FsError::AwaitsTurn => Self::TryLater,
        }
    }
}
