//! From what a backend says to what the wire says: one total match.

use crate::vfs::FsError;
use crate::wire::nfs3::Status;

impl From<FsError> for Status {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Permission => Self::Permission,
            FsError::NoEntry => Self::NoEntry,
            FsError::Io => Self::Io,
            FsError::Access | FsError::OtherFileSystem => Self::Access,
            FsError::Exists => Self::Exists,
            FsError::CrossDevice => Self::CrossDevice,
            FsError::TooLarge => Self::TooLarge,
            FsError::NoSpace => Self::NoSpace,
            FsError::Quota => Self::Quota,
            FsError::TooManyLinks => Self::TooManyLinks,
            FsError::NotEmpty => Self::NotEmpty,
            FsError::NotDirectory => Self::NotDirectory,
            FsError::IsDirectory => Self::IsDirectory,
            FsError::Invalid => Self::Invalid,
            FsError::NameTooLong => Self::NameTooLong,
            FsError::ReadOnly => Self::ReadOnly,
            FsError::Stale => Self::Stale,
            FsError::BadHandle => Self::BadHandle,
            FsError::BadCookie => Self::BadCookie,
            FsError::NotSupported => Self::NotSupported,
            FsError::TryLater => Self::TryLater,
        }
    }
}
