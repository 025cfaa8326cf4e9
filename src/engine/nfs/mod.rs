//! NFS version 3, read-only: what each procedure answers. RFC 1813 section 3.3.
//!
//! Nothing is remembered between requests, neither attributes nor names: the host's own tree is the only truth.

use super::Cx;
use super::rpc::Answer;
use crate::event::Event;
use crate::vfs::{self, FsError, FsResult, Node, Vfs};
use crate::wire::nfs3::{
    Attributes, FileType, HANDLE_BYTES_MAX, Procedure, Status, Time, VERIFIER_BYTES, VERSION,
    emit_post_op,
};
use crate::wire::rpc::{Call, Reject};
use crate::wire::{Reader, Writer};

mod about;
mod change;
mod directory;
mod read;
mod status;

/// Answers one call.
pub(super) fn answer(
    verifier: [u8; VERIFIER_BYTES],
    call: &Call,
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<Answer, Reject> {
    if call.version != VERSION {
        return Err(Reject::Version(VERSION, VERSION));
    }
    let procedure = Procedure::new(call.procedure).ok_or(Reject::Procedure)?;
    match procedure {
        Procedure::Null => {}
        Procedure::GetAttr => about::get_attr(cx, args, reply)?,
        Procedure::Access => about::access(cx, args, reply)?,
        Procedure::FsStat => about::fs_stat(cx, args, reply)?,
        Procedure::FsInfo => about::fs_info(cx, args, reply)?,
        Procedure::PathConf => about::path_conf(cx, args, reply)?,
        Procedure::Lookup => directory::lookup(cx, args, reply)?,
        Procedure::ReadDir => return directory::list(cx, args, reply, vfs::Detail::Names),
        Procedure::ReadDirPlus => return directory::list(cx, args, reply, vfs::Detail::Objects),
        Procedure::ReadLink => read::read_link(cx, args, reply)?,
        Procedure::Read => return read::read(cx, args, reply),
        Procedure::Commit => change::commit(verifier, cx, args, reply)?,
        Procedure::SetAttr
        | Procedure::Write
        | Procedure::Create
        | Procedure::MkDir
        | Procedure::SymLink
        | Procedure::MkNod
        | Procedure::Remove
        | Procedure::RmDir
        | Procedure::Rename
        | Procedure::Link => change::refuse(procedure, cx, args, reply)?,
    }
    Ok(Answer::Done)
}

/// The object of the handle that comes next in `args`.
fn object(cx: &mut Cx<'_>, args: &mut Reader<'_>) -> Result<FsResult<Node>, Reject> {
    let handle = args.opaque(HANDLE_BYTES_MAX)?;
    Ok(cx.vfs.open(handle))
}

/// Writes the status of a failure, and tells a person of what a client cannot mend.
fn fail(cx: &mut Cx<'_>, reply: &mut Writer<'_>, error: FsError) {
    match error {
        FsError::Io => cx.events.tell(cx.now, Event::DiskError(cx.peer)),
        FsError::OtherFileSystem => cx.events.tell(cx.now, Event::OtherFileSystem(cx.peer)),
        _ => {}
    }
    reply.u32(Status::from(error) as u32);
}

/// Writes the status of a failure and the attributes of `node`, which most procedures add to it.
fn fail_with(cx: &mut Cx<'_>, reply: &mut Writer<'_>, error: FsError, node: Option<Node>) {
    fail(cx, reply, error);
    let attributes = node.and_then(|node| attributes(cx.vfs, node).ok());
    emit_post_op(reply, attributes.as_ref());
}

/// The attributes of an object in the words of the wire.
fn attributes(vfs: &mut dyn Vfs, node: Node) -> FsResult<Attributes> {
    Ok(to_wire(&vfs.attr(node)?))
}

fn to_wire(attr: &vfs::Attr) -> Attributes {
    // The wire counts from 1970 to 2106: what lies outside is shown at its edge.
    let time = |time: vfs::FileTime| match u32::try_from(time.secs) {
        Ok(secs) => Time {
            secs,
            nanos: time.nanos,
        },
        Err(_) if time.secs < 0 => Time::default(),
        Err(_) => Time {
            secs: u32::MAX,
            nanos: 0,
        },
    };
    Attributes {
        kind: match attr.kind {
            vfs::Kind::Regular => FileType::Regular,
            vfs::Kind::Directory => FileType::Directory,
            vfs::Kind::SymbolicLink => FileType::SymbolicLink,
            vfs::Kind::Fifo => FileType::Fifo,
            vfs::Kind::Socket => FileType::Socket,
            vfs::Kind::BlockDevice => FileType::BlockDevice,
            vfs::Kind::CharacterDevice => FileType::CharacterDevice,
        },
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        size: attr.size,
        used: attr.used,
        rdev: attr.rdev,
        fsid: attr.fsid,
        fileid: attr.inode,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
    }
}
