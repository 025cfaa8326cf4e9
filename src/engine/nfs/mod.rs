//! NFS version 3: what each procedure answers. RFC 1813 section 3.3.
//!
//! Every procedure but NULL begins with a handle, and nearly every reply carries that object's attributes: both are dealt with
//! here, once. Nothing is remembered between requests, neither attributes nor names: the host's own tree is the only truth.

use super::rpc::Answer;
use super::{Cx, Order};
use crate::config::REPLY_HEAD_BYTES;
use crate::event;
use crate::vfs::{Attr, Caller, Detail, FileTime, FsError, Kind, Node};
use crate::wire::nfs3::{
    Attributes, FileType, HANDLE_BYTES_MAX, Procedure, Status, VERIFIER_BYTES, VERSION,
    emit_post_op, emit_wcc,
};
use crate::wire::rpc::{Call, Credential, Reject};
use crate::wire::{Malformed, Reader, Writer};

mod about;
mod change;
mod directory;
mod read;
mod status;
mod write;

pub(super) use write::Writing;

/// Why a procedure did not succeed.
enum Fault {
    /// The file system's answer, which becomes a status.
    Files(FsError),
    /// The protocol's own.
    Status(Status),
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

/// What NFS remembers from one request to the next.
#[derive(Debug)]
pub(super) struct Nfs {
    /// Another one whenever what was written and not made durable may be lost.
    verifier: [u8; VERIFIER_BYTES],
    creations: change::Creations,
    /// What the file of the WRITE in hand was like; nothing as soon as anything else may have changed.
    before: Option<write::Before>,
}

/// Whether a call must not be carried out twice.
pub(super) fn must_not_repeat(call: &Call<'_>) -> bool {
    call.program == crate::wire::nfs3::PROGRAM
        && call.version == VERSION
        && Procedure::new(call.procedure).is_some_and(changes)
}

/// Whether a procedure changes attributes or names.
const fn changes(procedure: Procedure) -> bool {
    matches!(
        procedure,
        Procedure::SetAttr
            | Procedure::Create
            | Procedure::MkDir
            | Procedure::SymLink
            | Procedure::MkNod
            | Procedure::Remove
            | Procedure::RmDir
            | Procedure::Rename
            | Procedure::Link
    )
}

/// Who calls, in the words of the files.
fn caller(credential: Option<Credential<'_>>) -> Caller {
    let mut caller = Caller {
        uid: Caller::NOBODY,
        ..Caller::default()
    };
    if let Some(credential) = credential {
        (caller.uid, caller.gid) = (credential.uid, credential.gid);
        for group in credential.groups() {
            let _ = caller.groups.push(group);
        }
    }
    caller
}

impl Nfs {
    pub(super) const fn new(verifier: [u8; VERIFIER_BYTES]) -> Self {
        Self {
            verifier,
            creations: change::Creations::new(),
            before: None,
        }
    }

    /// Answers one call. `follows`: bytes of a WRITE's data that are not in `args`, if that is known.
    #[inline(never)]
    pub(super) fn answer(
        &mut self,
        call: &Call<'_>,
        cx: &mut Cx<'_>,
        args: &mut Reader<'_>,
        follows: Option<u32>,
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
        let caller = caller(call.credential);
        let opened = cx.vfs.open(handle, &caller);
        let object = opened.and_then(|node| describe(cx, node));
        let mut effect = change::Effect::default();
        let outcome = match &object {
            Err(error) => Err(Fault::Files(*error)),
            Ok(object) if changes(procedure) => {
                self.before = None;
                self.change(procedure, cx, object, &caller, args, &mut effect)
                    .map(|()| Answer::Done)
            }
            Ok(object) if matches!(procedure, Procedure::Write | Procedure::Commit) => {
                self.write(procedure, call.xid, cx, object, args, follows)
            }
            Ok(object) => carry_out(procedure, cx, object, args, reply, order),
        };
        let status = match outcome {
            Ok(answer) if !changes(procedure) => return Ok(answer),
            Ok(_) => Status::Ok,
            Err(Fault::Malformed) => return Err(Reject::Arguments),
            Err(Fault::Status(status)) => status,
            Err(Fault::Files(error)) => tell(cx, error),
        };
        reply.truncate(start);
        reply.u32(status as u32);
        let object = object.as_ref().ok();
        if changes(procedure) {
            effect.emit(procedure, status, cx, object, reply);
        } else if procedure != Procedure::GetAttr {
            let attributes = object.map(|object| &object.attributes);
            if matches!(procedure, Procedure::Write | Procedure::Commit) {
                emit_wcc(reply, attributes, attributes);
            } else {
                emit_post_op(reply, attributes);
            }
        }
        Ok(Answer::Done)
    }
}

/// Tells a person of what only a person can mend; the status.
fn tell(cx: &mut Cx<'_>, error: FsError) -> Status {
    match error {
        FsError::Io => cx.tell(event::DISK_FAILED, b"", ""),
        FsError::NoSpace => cx.tell(event::DISK_FULL, b"", ""),
        FsError::OtherFileSystem => cx.tell(event::OTHER_FILE_SYSTEM, b"", ""),
        _ => {}
    }
    error.into()
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

/// What changes nothing.
fn carry_out(
    procedure: Procedure,
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
        Procedure::Lookup => directory::lookup(cx, object, args, reply)?,
        Procedure::Access => about::access(cx, object, args, reply)?,
        Procedure::ReadLink => read::read_link(cx, object, reply)?,
        Procedure::FsStat | Procedure::PathConf => about::space(procedure, cx, object, reply)?,
        Procedure::FsInfo => about::fs_info(object, reply),
        _ => {
            reply.u32(Status::Ok as u32);
            object.attributes.emit(reply);
        }
    }
    Ok(Answer::Done)
}

/// Begins the reply of a success: the status, and the object's attributes.
fn begin(reply: &mut Writer<'_>, object: &Object) {
    reply.u32(Status::Ok as u32);
    emit_post_op(reply, Some(&object.attributes));
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
