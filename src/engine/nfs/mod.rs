//! NFS version 3: what each procedure answers. RFC 1813 section 3.3.
//!
//! Every procedure but NULL begins with a handle, and nearly every reply carries that object's attributes: both are dealt with
//! here, once. Nothing is remembered between requests, neither attributes nor names: the host's own tree is the only truth.

use super::rpc::{Answer, Request};
use super::{Cx, Order};
use crate::config::REPLY_HEAD_BYTES;
use crate::event;
use crate::vfs::{Attr, Caller, Detail, FileTime, FsError, FsResult, Kind, Node};
use crate::wire::nfs3::{
    Attributes, HANDLE_BYTES_MAX, Procedure, Status, VERIFIER_BYTES, VERSION, emit_post_op,
    emit_pre_op,
};
use crate::wire::rpc::{Call, Reject};
use crate::wire::{Malformed, Writer};

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
    /// The object has changed since the caller looked at it.
    NotSynchronous,
    /// No object of this kind can be made.
    BadType,
    /// The results do not fit the count that the caller set.
    TooSmall,
    /// The arguments did not parse.
    Malformed,
    /// Nothing was begun: the results need an empty output.
    NoRoom,
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

/// An object and its attributes.
#[derive(Debug)]
#[repr(C)]
struct Object {
    node: Node,
    attr: Attr,
}

/// What NFS remembers from one request to the next.
#[derive(Debug)]
pub(super) struct Nfs {
    /// What the call in hand ordered.
    pub(super) order: Option<Order>,
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

/// Whether a procedure is answered when data is where it belongs.
const fn writes(procedure: Procedure) -> bool {
    matches!(procedure, Procedure::Write | Procedure::Commit)
}

impl Nfs {
    pub(super) const fn new(verifier: [u8; VERIFIER_BYTES]) -> Self {
        Self {
            order: None,
            verifier,
            creations: change::Creations::new(),
            before: None,
        }
    }

    /// Answers one call.
    #[inline(never)]
    pub(super) fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
    ) -> Result<Answer, Reject> {
        if request.call.version != VERSION {
            return Err(Reject::Version(VERSION as u8, VERSION as u8));
        }
        let procedure = Procedure::new(request.call.procedure).ok_or(Reject::Procedure)?;
        if procedure == Procedure::Null {
            return Ok(Answer::Done);
        }
        let handle = request.args.opaque(HANDLE_BYTES_MAX);
        request.args.check()?;
        let start = request.reply.position();
        let mut effect = change::Effect::new(procedure, request.call.credential);
        let object = open(cx, handle, &effect.caller);
        let outcome = match &object {
            Err(error) => Err(Fault::Files(*error)),
            Ok(object) if changes(procedure) => self.change(cx, request, object, &mut effect),
            Ok(object) => self.carry_out(procedure, cx, request, object),
        };
        let status = match outcome {
            Ok(()) if writes(procedure) => return Ok(Answer::Writing),
            Ok(()) if !changes(procedure) => return Ok(Answer::Done),
            Ok(()) => Status::Ok,
            Err(Fault::NoRoom) => return Ok(Answer::NoRoom),
            Err(Fault::Malformed) => return Err(Reject::Arguments),
            Err(Fault::Files(error)) => tell(cx, error),
            Err(Fault::NotSynchronous) => Status::NotSynchronous,
            Err(Fault::BadType) => Status::BadType,
            Err(Fault::TooSmall) => Status::TooSmall,
        };
        let reply = &mut *request.reply;
        reply.truncate(start);
        reply.u32(status as u32);
        let object = object.as_ref().ok();
        if changes(procedure) {
            effect.emit(cx, object, reply);
        } else if procedure != Procedure::GetAttr {
            let attr = object.map(|object| &object.attr);
            if writes(procedure) {
                pre_op(reply, attr);
            }
            post_op(reply, attr);
        }
        Ok(Answer::Done)
    }

    /// What changes neither attributes nor names.
    fn carry_out(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
    ) -> Result<(), Fault> {
        if writes(procedure) {
            return self.write(procedure, cx, request, object);
        }
        let reply = &mut *request.reply;
        reply.u32(Status::Ok as u32);
        match procedure {
            Procedure::GetAttr => {
                reply.words(&to_wire(&object.attr).0);
                return Ok(());
            }
            Procedure::Lookup => return directory::lookup(cx, request, object),
            _ => post_op(reply, Some(&object.attr)),
        }
        match procedure {
            Procedure::ReadDir => directory::list(cx, request, object, Detail::Names),
            Procedure::ReadDirPlus => directory::list(cx, request, object, Detail::Objects),
            Procedure::Read => read::read(cx, request, object, &mut self.order),
            Procedure::Access => about::access(cx, request, object),
            Procedure::ReadLink => read::read_link(cx, request, object),
            Procedure::FsInfo => {
                about::fs_info(reply);
                Ok(())
            }
            _ => about::space(procedure, cx, request, object),
        }
    }
}

/// Tells a person of what only a person can mend; the status.
#[inline(never)]
fn tell(cx: &mut Cx<'_>, error: FsError) -> Status {
    let event = match error {
        FsError::Io => event::DISK_FAILED,
        FsError::NoSpace => event::DISK_FULL,
        FsError::OtherFileSystem => event::OTHER_FILE_SYSTEM,
        _ => return error.into(),
    };
    cx.tell(event, b"", "");
    error.into()
}

/// The object that a handle names.
#[inline(never)]
fn open(cx: &mut Cx<'_>, handle: &[u8], caller: &Caller) -> FsResult<Object> {
    let node = cx.vfs.open(handle, caller)?;
    let attr = cx.vfs.attr(node)?;
    Ok(Object { node, attr })
}

/// What must be a regular file.
fn check_regular(object: &Object) -> FsResult<()> {
    match object.attr.kind {
        Kind::Regular => Ok(()),
        Kind::Directory => Err(FsError::IsDirectory),
        _ => Err(FsError::Invalid),
    }
}

/// Writes the attributes of an object, if they are known.
#[inline(never)]
fn post_op(reply: &mut Writer<'_>, attr: Option<&Attr>) {
    emit_post_op(reply, attr.map(to_wire).as_ref());
}

/// Writes what tells whether an object was changed meanwhile, if that is known.
#[inline(never)]
fn pre_op(reply: &mut Writer<'_>, attr: Option<&Attr>) {
    emit_pre_op(reply, attr.map(to_wire).as_ref());
}

/// Kinds of objects by their numbers on the wire, of which the first is 1.
const KINDS: [Kind; 7] = [
    Kind::Regular,
    Kind::Directory,
    Kind::BlockDevice,
    Kind::CharacterDevice,
    Kind::SymbolicLink,
    Kind::Socket,
    Kind::Fifo,
];

/// Attributes in the words of the wire.
#[inline(never)]
fn to_wire(attr: &Attr) -> Attributes {
    let kind = (1..)
        .zip(KINDS)
        .find_map(|(number, kind)| (kind == attr.kind).then_some(number));
    let (size, used) = (halves(attr.size), halves(attr.used));
    let (fsid, fileid) = (halves(attr.fsid), halves(attr.inode));
    let (atime, mtime, ctime) = (time(attr.atime), time(attr.mtime), time(attr.ctime));
    Attributes([
        kind.unwrap_or(0),
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
#[inline(never)]
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
