//! What requests come to: from what a backend says to what the wire says, after OpenSSH's table of the host's errors.

use crate::vfs::FsError;
use crate::wire::sftp::{Status, kind};
use crate::wire::{Malformed, Writer};

/// Why a request is not answered as it would like to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The file system's answer.
    Files(FsError),
    /// There is no more.
    Eof,
    /// There is no such file, or it is not open for that.
    Missing,
    /// It may not be asked.
    Denied,
    /// What has no word of its own.
    Failure,
    /// It makes no sense.
    BadMessage,
    /// There is no such request.
    Unsupported,
    /// None: it is done.
    Done,
    /// Nothing was begun: the reply needs an empty output.
    NoRoom,
    /// Nothing was begun: as much is under way as there may be.
    Busy,
    /// None: the reply follows.
    Later,
}

/// What a request led to: the reply is written, or there is nothing to tell but that it is done.
pub(super) type Outcome = Result<(), Fault>;

impl From<FsError> for Fault {
    fn from(error: FsError) -> Self {
        Self::Files(error)
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::BadMessage
    }
}

impl Fault {
    /// The status, and OpenSSH's words for it or, where these say nothing, better ones.
    pub(super) const fn words(self) -> (Status, &'static str) {
        let why = match self {
            Self::Done => return (Status::Ok, "Success"),
            Self::Eof => return (Status::Eof, "End of file"),
            Self::Missing
            | Self::Files(FsError::NoEntry | FsError::NotDirectory | FsError::TooManyFollowed) => {
                return (Status::NoSuchFile, "No such file");
            }
            Self::Denied
            | Self::Files(FsError::Permission | FsError::Access | FsError::OtherFileSystem) => {
                return (Status::PermissionDenied, "Permission denied");
            }
            Self::BadMessage | Self::Files(FsError::Invalid | FsError::NameTooLong) => {
                return (Status::BadMessage, "Bad message");
            }
            Self::Unsupported | Self::Files(FsError::NotSupported) => {
                return (Status::Unsupported, "Operation unsupported");
            }
            Self::Files(FsError::Io) => "Failure: the disk failed",
            Self::Files(FsError::Exists) => "Failure: it exists",
            Self::Files(FsError::CrossDevice) => "Failure: another file system",
            Self::Files(FsError::IsDirectory) => "Failure: it is a directory",
            Self::Files(FsError::TooLarge) => "Failure: too large",
            Self::Files(FsError::NoSpace) => "Failure: the disk is full",
            Self::Files(FsError::Quota) => "Failure: the quota is used up",
            Self::Files(FsError::NotEmpty) => "Failure: it is not empty",
            Self::Files(FsError::ReadOnly) => "Failure: read-only file system",
            Self::Failure
            | Self::Files(
                FsError::TryLater
                | FsError::TooManyLinks
                | FsError::Stale
                | FsError::BadHandle
                | FsError::BadCookie,
            ) => "Failure",
            // There is another time for these.
            Self::NoRoom | Self::Busy | Self::Later => "",
        };
        (Status::Failure, why)
    }

    /// Writes a STATUS.
    #[inline(never)]
    pub(super) fn emit(self, reply: &mut Writer<'_>, id: u32) {
        let (status, text) = self.words();
        let start = reply.begin(kind::STATUS, id);
        reply.u32(status as u32);
        reply.string(text.as_bytes());
        // The language of the text.
        reply.u32(0);
        reply.end(start, 0);
    }
}

const _: () = assert!(size_of::<Outcome>() == 1);
