//! What requests come to: from what a backend says to what the wire says, after OpenSSH's table of the host's errors.

use super::Level;
use super::lines::log;
use crate::event::Events;
use crate::mem::nth;
use crate::text::{text, texts};
use crate::vfs::{FsError, FsResult};
use crate::wire::sftp::{Status, kind};
use crate::wire::{Malformed, Writer};

/// Why a request is not answered as it would like to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The file system's answer.
    Files(FsError),
    /// None: it is done. Its number follows those of `Files`, as `Ok`'s does in a backend's results.
    Done,
    /// There is no more.
    Eof,
    /// Nothing was begun: the reply needs an empty output.
    NeedOutput,
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

texts! {
    /// What a STATUS says: OpenSSH's message for each status, at its number, and behind these better ones for some failures.
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

/// The message for each of the backend's errors.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
static MESSAGES: [Message; FsError::TryLater as usize + 1] = {
    use FsError as Error;
    let mut messages = [Message::Failure; _];
    messages[Error::NoEntry as usize] = Message::NoSuchFile;
    messages[Error::NotDirectory as usize] = Message::NoSuchFile;
    messages[Error::TooManyFollowed as usize] = Message::NoSuchFile;
    messages[Error::Permission as usize] = Message::PermissionDenied;
    messages[Error::Access as usize] = Message::PermissionDenied;
    messages[Error::OtherFileSystem as usize] = Message::PermissionDenied;
    messages[Error::Invalid as usize] = Message::BadMessage;
    messages[Error::NameTooLong as usize] = Message::BadMessage;
    messages[Error::NotSupported as usize] = Message::Unsupported;
    messages[Error::Io as usize] = Message::Io;
    messages[Error::Exists as usize] = Message::Exists;
    messages[Error::CrossDevice as usize] = Message::CrossDevice;
    messages[Error::IsDirectory as usize] = Message::IsDirectory;
    messages[Error::TooLarge as usize] = Message::TooLarge;
    messages[Error::NoSpace as usize] = Message::NoSpace;
    messages[Error::Quota as usize] = Message::Quota;
    messages[Error::NotEmpty as usize] = Message::NotEmpty;
    messages[Error::ReadOnly as usize] = Message::ReadOnly;
    messages
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

    #[inline(never)]
    fn message(self) -> Message {
        match self {
            Self::Files(error) => {
                let message = MESSAGES.get(error as usize).copied();
                message.unwrap_or(Message::Success)
            }
            Self::Eof => Message::Eof,
            // And what is not answered.
            _ => Message::Success,
        }
    }

    /// Writes a STATUS and logs it.
    #[inline(never)]
    pub(super) fn emit(self, reply: &mut Writer<'_>, id: u32, level: Level, events: &mut Events) {
        let mut status = self.message() as u8;
        if status > Status::Unsupported as u8 {
            status = Status::Failure as u8;
        }
        let mut buffer = [0; 32];
        let start = reply.begin(kind::STATUS, id);
        reply.u32(status.into());
        let message: &[u8] = match self.message() {
            // What is sent most is not decoded each time.
            Message::Success => b"Success",
            Message::NoSuchFile => b"No such file",
            message => message.text().decode(&mut buffer),
        };
        reply.string(message);
        // The language of the text.
        reply.u32(0);
        reply.end(start);
        let is_failure = status > Status::Eof as u8;
        if level > Level::Verbose || level > Level::Error && is_failure {
            // Without what OpenSSH does not say.
            let message = nth(message, b':', 0);
            log(events, text!("sent status $"), &[message], &[]);
        }
    }
}

const _: () = assert!(size_of::<Outcome>() == size_of::<FsError>());
