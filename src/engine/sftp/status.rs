//! What requests come to: from what a backend says to what the wire says, after OpenSSH's table of the host's errors.

use crate::text::Text;
use crate::vfs::{FsError, FsResult};
use crate::wire::sftp::{Status, kind};
use crate::wire::{Malformed, Writer};

/// Why a request is not answered as it would like to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The file system's answer …
    Files(FsError),
    /// … or none: it is done. It lies behind that, as `Ok` does in a backend's results.
    Done,
    /// There is no more.
    Eof,
    /// Nothing was begun: the reply needs an empty output.
    NoRoom,
    /// Nothing was begun: as much is under way as there may be.
    Busy,
    /// None: the reply follows.
    Later,
}

/// What a request led to: the reply is written, or it is a STATUS, which says why, or that it is done.
pub(super) type Outcome = Result<(), Fault>;

/// What is answered when a backend has done what was asked, or has not.
#[inline(always)]
pub(super) fn done(result: FsResult<()>) -> Outcome {
    Err(result.map_or_else(Fault::Files, |()| Fault::Done))
}

impl From<FsError> for Fault {
    fn from(error: FsError) -> Self {
        Self::Files(error)
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::BAD_MESSAGE
    }
}

/// OpenSSH's words for each status, and, behind them, better ones for some failures.
const WORDS: Text = Text::row(&[
    "Success",
    "End of file",
    "No such file",
    "Permission denied",
    "Failure",
    "Bad message",
    "",
    "",
    "Operation unsupported",
    "Failure: the disk failed",
    "Failure: it exists",
    "Failure: another file system",
    "Failure: it is a directory",
    "Failure: too large",
    "Failure: the disk is full",
    "Failure: the quota is used up",
    "Failure: it is not empty",
    "Failure: read-only file system",
]);

/// Of each of the backend's errors, the place of its words.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static PLACES: [u8; FsError::TryLater as usize + 1] = {
    use FsError::*;
    let mut places = [Status::Failure as u8; _];
    places[NoEntry as usize] = Status::NoSuchFile as u8;
    places[NotDirectory as usize] = Status::NoSuchFile as u8;
    places[TooManyFollowed as usize] = Status::NoSuchFile as u8;
    places[Permission as usize] = Status::PermissionDenied as u8;
    places[Access as usize] = Status::PermissionDenied as u8;
    places[OtherFileSystem as usize] = Status::PermissionDenied as u8;
    places[Invalid as usize] = Status::BadMessage as u8;
    places[NameTooLong as usize] = Status::BadMessage as u8;
    places[NotSupported as usize] = Status::Unsupported as u8;
    places[Io as usize] = 9;
    places[Exists as usize] = 10;
    places[CrossDevice as usize] = 11;
    places[IsDirectory as usize] = 12;
    places[TooLarge as usize] = 13;
    places[NoSpace as usize] = 14;
    places[Quota as usize] = 15;
    places[NotEmpty as usize] = 16;
    places[ReadOnly as usize] = 17;
    places
};

// What goes wrong before a backend is asked is told in the same words.
impl Fault {
    /// There is no such file, or it is not open for that.
    pub(super) const MISSING: Self = Self::Files(FsError::NoEntry);
    /// It may not be asked.
    pub(super) const DENIED: Self = Self::Files(FsError::Access);
    /// What has no word of its own.
    pub(super) const FAILURE: Self = Self::Files(FsError::BadHandle);
    /// It makes no sense.
    pub(super) const BAD_MESSAGE: Self = Self::Files(FsError::Invalid);
    /// There is no such request.
    pub(super) const UNSUPPORTED: Self = Self::Files(FsError::NotSupported);

    /// Where its words are; the place of OpenSSH's own is the status.
    #[inline(never)]
    fn place(self) -> u8 {
        match self {
            Self::Files(error) => PLACES.get(error as usize).copied().unwrap_or_default(),
            Self::Eof => Status::Eof as u8,
            // And what is not answered.
            _ => Status::Ok as u8,
        }
    }

    /// What a person is told.
    pub(super) fn words(self) -> Text {
        WORDS.plus(self.place())
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
        reply.string(self.words().decode(&mut [0; 32]));
        // The language of the text.
        reply.u32(0);
        reply.end(start, 0);
    }
}

const _: () = assert!(size_of::<Outcome>() == 1);
