//! What requests come to: from what a backend says to what the wire says, after OpenSSH's table of the host's errors.

use super::requests::line;
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

/// OpenSSH's words for each status, and, behind them, better ones for some failures.
const WORDS: &str = "Success
End of file
No such file
Permission denied
Failure
Bad message


Operation unsupported
Failure: the disk failed
Failure: it exists
Failure: another file system
Failure: it is a directory
Failure: too large
Failure: the disk is full
Failure: the quota is used up
Failure: it is not empty
Failure: read-only file system
";

impl Fault {
    /// Where its words are; the place of OpenSSH's own is the status.
    #[inline(never)]
    const fn place(self) -> u8 {
        match self {
            Self::Done => Status::Ok as u8,
            Self::Eof => Status::Eof as u8,
            Self::Missing
            | Self::Files(FsError::NoEntry | FsError::NotDirectory | FsError::TooManyFollowed) => {
                Status::NoSuchFile as u8
            }
            Self::Denied
            | Self::Files(FsError::Permission | FsError::Access | FsError::OtherFileSystem) => {
                Status::PermissionDenied as u8
            }
            Self::BadMessage | Self::Files(FsError::Invalid | FsError::NameTooLong) => {
                Status::BadMessage as u8
            }
            Self::Unsupported | Self::Files(FsError::NotSupported) => Status::Unsupported as u8,
            Self::Files(FsError::Io) => 9,
            Self::Files(FsError::Exists) => 10,
            Self::Files(FsError::CrossDevice) => 11,
            Self::Files(FsError::IsDirectory) => 12,
            Self::Files(FsError::TooLarge) => 13,
            Self::Files(FsError::NoSpace) => 14,
            Self::Files(FsError::Quota) => 15,
            Self::Files(FsError::NotEmpty) => 16,
            Self::Files(FsError::ReadOnly) => 17,
            Self::Failure
            | Self::Files(
                FsError::TryLater
                | FsError::TooManyLinks
                | FsError::Stale
                | FsError::BadHandle
                | FsError::BadCookie,
            )
            // There is another time for these.
            | Self::NoRoom
            | Self::Busy
            | Self::Later => Status::Failure as u8,
        }
    }

    /// What a person is told.
    pub(super) fn words(self) -> &'static str {
        line(WORDS, self.place().into())
    }

    /// Writes a STATUS.
    #[inline(never)]
    pub(super) fn emit(self, reply: &mut Writer<'_>, id: u32) {
        let mut status = self.place();
        if status > Status::Unsupported as u8 {
            status = Status::Failure as u8;
        }
        let start = reply.begin(kind::STATUS, id);
        reply.u32(status.into());
        reply.string(self.words().as_bytes());
        // The language of the text.
        reply.u32(0);
        reply.end(start, 0);
    }
}

const _: () = assert!(size_of::<Outcome>() == 1);
