//! NFS version 3, read-only: what each procedure answers. RFC 1813 section 3.3.
//!
//! Every procedure but NULL begins with a handle, and nearly every reply carries that object's attributes: both are dealt with
//! here, once. Nothing is remembered between requests, neither attributes nor names: the host's own tree is the only truth.

use super::rpc::Answer;
use super::{Cx, Order};
use crate::config::REPLY_HEAD_BYTES;
use crate::event;
use crate::vfs::{Attr, Detail, FileTime, FsError, Kind, Node};
use crate::wire::nfs3::{
    Attributes, FileType, HANDLE_BYTES_MAX, Procedure, Status, VERIFIER_BYTES, VERSION,
    emit_post_op,
};
use crate::wire::rpc::{Call, Reject};
use crate::wire::{Malformed, Reader, Writer};

mod about;
mod directory;
mod read;
mod status;

/// Why a procedure did not succeed.
enum Fault {
    /// The file system's answer, which becomes a status.
    Files(FsError),
    /// The page of a directory does not fit the caller's count.
    TooSmall,
    /// The arguments did not parse.
    Malformed,
}

impl From<FsError> for Fault {
    fn from(error: FsError) -> Self {
        Self::Files(error)
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The object of a request, and its attributes on the wire and here.
struct Object {
    node: Node,
    kind: Kind,
    size: u64,
    attributes: Attributes,
}

/// Answers one call.
#[inline(never)]
pub(super) fn answer(
    verifier: [u8; VERIFIER_BYTES],
    call: &Call,
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
    order: &mut Option<Order>,
) -> Result<Answer, Reject> {
    if call.version != VERSION {
        return Err(Reject::Version(VERSION as u8, VERSION as u8));
    }
    let procedure = Procedure::new(call.procedure).ok_or(Reject::Procedure)?;
    if procedure == Procedure::Null {
        return Ok(Answer::Done);
    }
    let handle = args.opaque(HANDLE_BYTES_MAX)?;
    let start = reply.position();
    let object = cx.vfs.open(handle).and_then(|node| describe(cx, node));
    let outcome = match &object {
        Ok(object) => carry_out(procedure, verifier, cx, object, args, reply, order),
        Err(error) => Err(Fault::Files(*error)),
    };
    let status = match outcome {
        Ok(answer) => return Ok(answer),
        Err(Fault::Malformed) => return Err(Reject::Arguments),
        Err(Fault::TooSmall) => Status::TooSmall,
        Err(Fault::Files(error)) => {
            match error {
                FsError::Io => cx.tell(event::DISK_FAILED, b"", ""),
                FsError::OtherFileSystem => cx.tell(event::OTHER_FILE_SYSTEM, b"", ""),
                _ => {}
            }
            error.into()
        }
    };
    reply.truncate(start);
    reply.u32(status as u32);
    emit_failure(
        procedure,
        reply,
        object.ok().as_ref().map(|object| &object.attributes),
    );
    Ok(Answer::Done)
}

/// What an object is like.
#[inline(never)]
fn describe(cx: &mut Cx<'_>, node: Node) -> Result<Object, FsError> {
    let attr = cx.vfs.attr(node)?;
    Ok(Object {
        node,
        kind: attr.kind,
        size: attr.size,
        attributes: to_wire(&attr),
    })
}

fn carry_out(
    procedure: Procedure,
    verifier: [u8; VERIFIER_BYTES],
    cx: &mut Cx<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
    order: &mut Option<Order>,
) -> Result<Answer, Fault> {
    match procedure {
        Procedure::ReadDir => return directory::list(cx, object, args, reply, Detail::Names),
        Procedure::ReadDirPlus => return directory::list(cx, object, args, reply, Detail::Objects),
        Procedure::Read => return read::read(cx, object, args, reply, order),
        Procedure::Null | Procedure::GetAttr => {
            reply.u32(Status::Ok as u32);
            object.attributes.emit(reply);
        }
        Procedure::Lookup => directory::lookup(cx, object, args, reply)?,
        Procedure::Access => about::access(cx, object, args, reply)?,
        Procedure::ReadLink => read::read_link(cx, object, reply)?,
        Procedure::FsStat | Procedure::PathConf => about::space(procedure, cx, object, reply)?,
        Procedure::FsInfo => about::fs_info(object, reply),
        Procedure::Commit => {
            let (_offset, _count) = (args.u64()?, args.u32()?);
            if object.kind != Kind::Regular {
                return Err(FsError::Invalid.into());
            }
            // Nothing was written through this server, so everything that was is durable: no attributes from before.
            reply.words(&[Status::Ok as u32, 0]);
            emit_post_op(reply, Some(&object.attributes));
            reply.put(&verifier);
        }
        // Nothing is exported for writing.
        Procedure::SetAttr
        | Procedure::Write
        | Procedure::Create
        | Procedure::MkDir
        | Procedure::SymLink
        | Procedure::MkNod
        | Procedure::Remove
        | Procedure::RmDir
        | Procedure::Rename
        | Procedure::Link => return Err(FsError::ReadOnly.into()),
    }
    Ok(Answer::Done)
}

/// Begins the reply of a success: the status, and the object's attributes.
fn begin(reply: &mut Writer<'_>, object: &Object) {
    reply.u32(Status::Ok as u32);
    emit_post_op(reply, Some(&object.attributes));
}

/// What follows the status of a failure: the object's attributes, and around them what is never there.
fn emit_failure(procedure: Procedure, reply: &mut Writer<'_>, attributes: Option<&Attributes>) {
    match procedure {
        Procedure::Null | Procedure::GetAttr => {}
        Procedure::Lookup
        | Procedure::Access
        | Procedure::ReadLink
        | Procedure::Read
        | Procedure::ReadDir
        | Procedure::ReadDirPlus
        | Procedure::FsStat
        | Procedure::FsInfo
        | Procedure::PathConf => emit_post_op(reply, attributes),
        // A file's attributes, then none from before or after of the directory.
        Procedure::Link => {
            emit_post_op(reply, attributes);
            reply.words(&[0, 0]);
        }
        // None from before, those from after; and neither of the second directory.
        Procedure::Rename => {
            reply.u32(0);
            emit_post_op(reply, attributes);
            reply.words(&[0, 0]);
        }
        Procedure::SetAttr
        | Procedure::Write
        | Procedure::Create
        | Procedure::MkDir
        | Procedure::SymLink
        | Procedure::MkNod
        | Procedure::Remove
        | Procedure::RmDir
        | Procedure::Commit => {
            reply.u32(0);
            emit_post_op(reply, attributes);
        }
    }
}

/// Attributes in the words of the wire.
fn to_wire(attr: &Attr) -> Attributes {
    let kind = match attr.kind {
        Kind::Regular => FileType::Regular,
        Kind::Directory => FileType::Directory,
        Kind::SymbolicLink => FileType::SymbolicLink,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharacterDevice => FileType::CharacterDevice,
    };
    let [size, used, fsid, fileid] = [attr.size, attr.used, attr.fsid, attr.inode].map(halves);
    let [atime, mtime, ctime] = [attr.atime, attr.mtime, attr.ctime].map(time);
    Attributes([
        kind as u32,
        attr.mode,
        attr.nlink,
        attr.uid,
        attr.gid,
        size.0,
        size.1,
        used.0,
        used.1,
        attr.rdev.0,
        attr.rdev.1,
        fsid.0,
        fsid.1,
        fileid.0,
        fileid.1,
        atime.0,
        atime.1,
        mtime.0,
        mtime.1,
        ctime.0,
        ctime.1,
    ])
}

const fn halves(number: u64) -> (u32, u32) {
    ((number >> 32) as u32, number as u32)
}

/// The wire counts from 1970 to 2106: what lies outside is shown at its edge.
fn time(time: FileTime) -> (u32, u32) {
    match u32::try_from(time.secs) {
        Ok(secs) => (secs, time.nanos),
        Err(_) if time.secs < 0 => (0, 0),
        Err(_) => (u32::MAX, 0),
    }
}

const _: () = assert!(crate::config::LINK_BYTES_MAX + 256 < REPLY_HEAD_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_stand_in_the_rfc_order_and_times_at_the_edge_of_the_wire() {
        let at = |secs| FileTime { secs, nanos: 7 };
        let attr = Attr {
            kind: Kind::SymbolicLink,
            mode: 0o777,
            nlink: 2,
            uid: 3,
            gid: 4,
            size: 5 << 32,
            used: 6,
            rdev: (7, 8),
            fsid: 9,
            inode: 10,
            atime: at(-1),
            mtime: at(12),
            ctime: at(1 << 33),
        };
        let expect = [
            5,
            0o777,
            2,
            3,
            4,
            5,
            0,
            0,
            6,
            7,
            8,
            0,
            9,
            0,
            10,
            0,
            0,
            12,
            7,
            u32::MAX,
            0,
        ];
        assert_eq!(to_wire(&attr), Attributes(expect));
    }
}
