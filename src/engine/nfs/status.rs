//! The NFS status of each backend error: one total table, in the order of the errors.

use crate::vfs::FsError;
use crate::wire::nfs3::Status;

const PAIRS: [(FsError, Status); 24] = [
    (FsError::Permission, Status::Permission),
    (FsError::NoEntry, Status::NoEntry),
    (FsError::Io, Status::Io),
    (FsError::Access, Status::Access),
    (FsError::OtherFileSystem, Status::Access),
    (FsError::Exists, Status::Exists),
    (FsError::CrossDevice, Status::CrossDevice),
    (FsError::NotDirectory, Status::NotDirectory),
    (FsError::IsDirectory, Status::IsDirectory),
    (FsError::Invalid, Status::Invalid),
    (FsError::TooLarge, Status::TooLarge),
    (FsError::NoSpace, Status::NoSpace),
    (FsError::Quota, Status::Quota),
    (FsError::TooManyLinks, Status::TooManyLinks),
    // ELOOP from an open that follows no links: a symbolic link has replaced the object meanwhile.
    (FsError::TooManyFollowed, Status::Invalid),
    (FsError::NotEmpty, Status::NotEmpty),
    (FsError::NameTooLong, Status::NameTooLong),
    (FsError::ReadOnly, Status::ReadOnly),
    (FsError::Stale, Status::Stale),
    (FsError::BadHandle, Status::BadHandle),
    (FsError::BadCookie, Status::BadCookie),
    (FsError::NotSupported, Status::NotSupported),
    (FsError::TryLater, Status::TryLater),
    // The call is repeated instead.
    (FsError::Waits, Status::TryLater),
];

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static STATUSES: [Status; PAIRS.len()] = {
    let mut statuses = [Status::Ok; PAIRS.len()];
    let mut place = 0;
    while place < PAIRS.len() {
        let (error, status) = PAIRS[place];
        assert!(error as usize == place);
        statuses[place] = status;
        place += 1;
    }
    statuses
};

impl From<FsError> for Status {
    fn from(error: FsError) -> Self {
        // The table covers every error: `Waits` is the last.
        const { assert!(FsError::Waits as usize + 1 == PAIRS.len()) };
        STATUSES.get(error as usize).copied().unwrap_or(Self::Io)
    }
}
