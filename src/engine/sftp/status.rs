//! From what a backend says to what the wire says: one total table, after OpenSSH's of the host's errors.

use super::Fault;
use crate::vfs::FsError;
use crate::wire::Writer;
use crate::wire::sftp::{Status, kind};

/// The status of an error, and, where it is only [`Status::Failure`], what a person may want to know.
const fn of(error: FsError) -> (Status, &'static str) {
    let status = match error {
        FsError::NoEntry | FsError::NotDirectory | FsError::TooManyFollowed => Status::NoSuchFile,
        FsError::Permission | FsError::Access | FsError::OtherFileSystem => {
            Status::PermissionDenied
        }
        FsError::Invalid | FsError::NameTooLong => Status::BadMessage,
        FsError::NotSupported => Status::Unsupported,
        FsError::Io => return (Status::Failure, "Failure: the disk failed"),
        FsError::Exists => return (Status::Failure, "Failure: it exists"),
        FsError::CrossDevice => return (Status::Failure, "Failure: another file system"),
        FsError::IsDirectory => return (Status::Failure, "Failure: it is a directory"),
        FsError::TooLarge => return (Status::Failure, "Failure: too large"),
        FsError::NoSpace => return (Status::Failure, "Failure: the disk is full"),
        FsError::Quota => return (Status::Failure, "Failure: the quota is used up"),
        FsError::NotEmpty => return (Status::Failure, "Failure: it is not empty"),
        FsError::ReadOnly => return (Status::Failure, "Failure: read-only file system"),
        FsError::TryLater
        | FsError::TooManyLinks
        | FsError::Stale
        | FsError::BadHandle
        | FsError::BadCookie => Status::Failure,
    };
    (status, text(status))
}

/// OpenSSH's words for a status.
const fn text(status: Status) -> &'static str {
    match status {
        Status::Ok => "Success",
        Status::Eof => "End of file",
        Status::NoSuchFile => "No such file",
        Status::PermissionDenied => "Permission denied",
        Status::Failure => "Failure",
        Status::BadMessage => "Bad message",
        Status::Unsupported => "Operation unsupported",
    }
}

/// The status of what did not succeed, and its words.
pub(super) const fn words(fault: Fault) -> (Status, &'static str) {
    match fault {
        Fault::Files(error) => of(error),
        Fault::Status(status) => (status, text(status)),
        // There is another time for these.
        Fault::NoRoom | Fault::Busy | Fault::Later => (Status::Failure, ""),
    }
}

/// Writes a STATUS.
#[inline(never)]
pub(super) fn emit(reply: &mut Writer<'_>, id: u32, fault: Fault) {
    let (status, text) = words(fault);
    let start = reply.begin(kind::STATUS, id);
    reply.u32(status as u32);
    reply.string(text.as_bytes());
    // The language of the text.
    reply.string(b"");
    reply.end(start, 0);
}
