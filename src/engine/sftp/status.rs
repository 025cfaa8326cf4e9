//! What requests come to: from what a backend says to what the wire says, after OpenSSH's table of the host's errors.

use super::requests::nth;
use crate::vfs::FsError;
use crate::wire::sftp::{Status, kind};
use crate::wire::{Malformed, Writer};

/// Why a request is not answered as it would like to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The file system's answer.
    Files(FsError),
    /// None: it is done.
    Done,
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
    /// Nothing was begun: the reply needs an empty output.
    NoRoom,
    /// Nothing was begun: as much is under way as there may be.
    Busy,
    /// None: the reply follows.
    Later,
}

/// What a request led to: the reply is written, or there is nothing to tell but that it is done.
pub(super) type Outcome = Result<(), Fault>;

const _: () = assert!(size_of::<Outcome>() == 1);

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

/// OpenSSH's words for statuses, in the order of their numbers; then better ones where these say nothing.
const WORDS: &str = "Success,End of file,No such file,Permission denied,Failure,Bad message,Operation unsupported,\
    Failure: the disk failed,Failure: it exists,Failure: another file system,Failure: it is a directory,\
    Failure: too large,Failure: the disk is full,Failure: the quota is used up,Failure: it is not empty,\
    Failure: read-only file system,";

const MISSING: u8 = Status::NoSuchFile as u8;
const DENIED: u8 = Status::PermissionDenied as u8;
const FAILURE: u8 = Status::Failure as u8;
const BAD_MESSAGE: u8 = Status::BadMessage as u8;
const UNSUPPORTED: u8 = 6;

/// Where the words for an error are.
const PAIRS: [(FsError, u8); 23] = [
    (FsError::Permission, DENIED),
    (FsError::NoEntry, MISSING),
    (FsError::Io, 7),
    (FsError::Access, DENIED),
    (FsError::OtherFileSystem, DENIED),
    (FsError::Exists, 8),
    (FsError::CrossDevice, 9),
    (FsError::NotDirectory, MISSING),
    (FsError::IsDirectory, 10),
    (FsError::Invalid, BAD_MESSAGE),
    (FsError::TooLarge, 11),
    (FsError::NoSpace, 12),
    (FsError::Quota, 13),
    (FsError::TooManyLinks, FAILURE),
    (FsError::TooManyFollowed, MISSING),
    (FsError::NotEmpty, 14),
    (FsError::NameTooLong, BAD_MESSAGE),
    (FsError::ReadOnly, 15),
    (FsError::Stale, FAILURE),
    (FsError::BadHandle, FAILURE),
    (FsError::BadCookie, FAILURE),
    (FsError::NotSupported, UNSUPPORTED),
    (FsError::TryLater, FAILURE),
];

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static PLACES: [u8; PAIRS.len()] = {
    let mut places = [0; PAIRS.len()];
    let mut at = 0;
    while at < PAIRS.len() {
        let (error, place) = PAIRS[at];
        assert!(error as usize == at);
        places[at] = place;
        at += 1;
    }
    // There is a place for each: this is the last.
    assert!(FsError::TryLater as usize + 1 == PAIRS.len());
    places
};

impl Fault {
    /// The status, and the words for it.
    #[inline(never)]
    pub(super) fn words(self) -> (u32, &'static str) {
        let place = match self {
            Self::Files(error) => PLACES.get(error as usize).copied().unwrap_or(FAILURE),
            Self::Done => Status::Ok as u8,
            Self::Eof => Status::Eof as u8,
            Self::Missing => MISSING,
            Self::Denied => DENIED,
            Self::BadMessage => BAD_MESSAGE,
            Self::Unsupported => UNSUPPORTED,
            // There is another time for the latter.
            Self::Failure | Self::NoRoom | Self::Busy | Self::Later => FAILURE,
        };
        let status = match place {
            UNSUPPORTED => Status::Unsupported as u8,
            7.. => FAILURE,
            status => status,
        };
        (status.into(), nth(WORDS, b',', place.into()))
    }

    /// Writes a STATUS.
    #[inline(never)]
    pub(super) fn emit(self, reply: &mut Writer<'_>, id: u32) {
        let (status, text) = self.words();
        let start = reply.begin(kind::STATUS, id);
        reply.u32(status);
        reply.string(text.as_bytes());
        // The language of the text.
        reply.u32(0);
        reply.end(start, 0);
    }
}
