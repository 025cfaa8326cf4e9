//! STATUS replies: the status and message of each backend error, as in OpenSSH's table of errnos.

use super::Level;
use crate::event::{Events, Line};
use crate::mem::nth;
use crate::stats;
use crate::text::{text, texts};
use crate::vfs::{FsError, FsResult};
use crate::wire::sftp::{Status, kind};
use crate::wire::{Malformed, Writer};

/// The reason why the handler did not write a reply of the request's own type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// An error of the file system.
    Files(FsError),
    /// No error: the reply is STATUS OK. The variant follows `Files` so that it has the discriminant of `Ok(())` in an
    /// `FsResult<()>`, and [`done`] needs no conversion code.
    Done,
    /// End of the file or directory.
    Eof,
    /// The reply needs an empty output buffer. Nothing was done yet.
    NeedOutput,
    /// The queue of jobs is full. Nothing was done yet.
    Busy,
    /// No error: the reply is written later.
    Later,
}

/// The result of a handler. `Ok`: the handler wrote the reply. Otherwise the caller writes a STATUS, of an error or of success, or
/// defers the reply.
pub(super) type Outcome = Result<(), Fault>;

/// Converts a backend's result into a STATUS.
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

texts! {
    /// The messages of STATUS replies. The first nine are indexed by status code, in OpenSSH's words; the others name the cause of
    /// a failure.
    #[expect(dead_code, reason = "every number has a value")]
    #[expect(clippy::enum_variant_names, reason = "BadMessage is what the draft calls it")]
    enum Message {
        Success => "",
        Eof => "End of file",
        NoSuchFile => "No such file",
        PermissionDenied => "Permission denied",
        Failure => "Failure",
        BadMessage => "Bad message",
        NoConnection => "",
        ConnectionLost => "",
        Unsupported => "Operation unsupported",
        Io => "Failure: the disk failed",
        Exists => "Failure: it exists",
        CrossDevice => "Failure: another file system",
        IsDirectory => "Failure: it is a directory",
        TooLarge => "Failure: too large",
        NoSpace => "Failure: the disk is full",
        Quota => "Failure: the quota is used up",
        NotEmpty => "Failure: it is not empty",
        ReadOnly => "Failure: read-only file system",
    }
}

const _: () = {
    assert!(Message::Success as u8 == Status::Ok as u8);
    assert!(Message::Eof as u8 == Status::Eof as u8);
    assert!(Message::NoSuchFile as u8 == Status::NoSuchFile as u8);
    assert!(Message::PermissionDenied as u8 == Status::PermissionDenied as u8);
    assert!(Message::Failure as u8 == Status::Failure as u8);
    assert!(Message::BadMessage as u8 == Status::BadMessage as u8);
    assert!(Message::Unsupported as u8 == Status::Unsupported as u8);
};

/// The message for a backend's error.
const fn message(error: FsError) -> Message {
    match error {
        FsError::NoEntry | FsError::NotDirectory | FsError::TooManyFollowed => Message::NoSuchFile,
        FsError::Permission | FsError::Access | FsError::OtherFileSystem => {
            Message::PermissionDenied
        }
        FsError::Invalid | FsError::NameTooLong => Message::BadMessage,
        FsError::NotSupported => Message::Unsupported,
        FsError::Io | FsError::Cut => Message::Io,
        FsError::Exists => Message::Exists,
        FsError::CrossDevice => Message::CrossDevice,
        FsError::IsDirectory => Message::IsDirectory,
        FsError::TooLarge => Message::TooLarge,
        FsError::NoSpace => Message::NoSpace,
        FsError::Quota => Message::Quota,
        FsError::NotEmpty => Message::NotEmpty,
        FsError::ReadOnly => Message::ReadOnly,
        _ => Message::Failure,
    }
}

// Errors found before a backend is called use the same codes.
impl Fault {
    /// No such file, or a handle that is invalid or not open for this access.
    pub(super) const MISSING: Self = Self::Files(FsError::NoEntry);
    /// The request is not permitted.
    pub(super) const DENIED: Self = Self::Files(FsError::Access);
    /// Any other failure.
    pub(super) const FAILURE: Self = Self::Files(FsError::BadHandle);
    /// The request is malformed.
    pub(super) const BAD_MESSAGE: Self = Self::Files(FsError::Invalid);
    /// The request is unknown.
    pub(super) const UNSUPPORTED: Self = Self::Files(FsError::NotSupported);

    fn message(self) -> Message {
        match self {
            Self::Files(error) => message(error),
            Self::Eof => Message::Eof,
            // `Done`, and the variants that cause no STATUS and therefore need no message.
            _ => Message::Success,
        }
    }

    /// The outcome of the request, for the figures.
    pub(super) const fn outcome(self) -> stats::Outcome {
        stats::Outcome::of_error(!matches!(self, Self::Done | Self::Eof))
    }

    /// Writes a STATUS and logs it.
    pub(super) fn emit(self, reply: &mut Writer<'_>, id: u32, level: Level, events: &mut Events) {
        let mut status = self.message() as u8;
        if status > Status::Unsupported as u8 {
            status = Status::Failure as u8;
        }
        let mut buffer = [0; 32];
        let start = reply.start_packet(kind::STATUS, id);
        reply.u32(status.into());
        let message: &[u8] = match self.message() {
            // The two most frequent messages are stored as they are, so that they need not be decompressed.
            Message::Success => b"Success",
            Message::NoSuchFile => b"No such file",
            message => message.text().decode(&mut buffer),
        };
        reply.string(message);
        // An empty language tag.
        reply.u32(0);
        reply.finish(start);
        let is_failure = status > Status::Eof as u8;
        if level > Level::Verbose || level > Level::Error && is_failure {
            // Log only the part before the colon: OpenSSH has no details after it.
            let message = nth(message, b':', 0);
            events.report_line(Line::start(text!("sent status ")).raw(message));
        }
    }
}

const _: () = assert!(size_of::<Outcome>() == size_of::<FsError>());
