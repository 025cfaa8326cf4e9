//! READ and READLINK.

use super::super::Cx;
use super::super::rpc::{Request, patch_mark};
use super::{Fault, Object, Outcome, check_regular, post_op, tell};
use crate::config::{LINK_BYTES_MAX, READ_INLINE_BYTES, REPLY_HEAD_BYTES};
use crate::vfs::{Access, FsError, FsResult, Pin};
use crate::wire::Writer;
use crate::wire::nfs3::Status;
use crate::wire::rpc::emit_reply;

const WORD_BYTES: usize = 4;
/// Bytes of the results between the attributes and the data: count, eof and the data's length.
const COUNTS_BYTES: usize = 3 * WORD_BYTES;

/// A READ of up to [`READ_INLINE_BYTES`] that waits for the disk.
#[derive(Debug)]
pub(in super::super) struct Reading {
    xid: u32,
    /// Bytes from the start of the file.
    pub(in super::super) offset: u64,
    /// Bytes to read.
    pub(in super::super) len: u32,
}

/// A READ of up to [`READ_INLINE_BYTES`] is a copy: the file is read into the reply, after a job if it is not in memory. A larger one
/// promises the length that the file's size allows and becomes an order; if the file shrinks meanwhile, the connection is closed. None
/// is longer than `max`.
pub(super) fn read(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
    max: u32,
) -> Result<Outcome, Fault> {
    let (offset, count) = (request.args.u64(), request.args.u32());
    request.args.check()?;
    check_regular(object)?;
    let reply = &mut *request.reply;
    let left = object.attr.size.saturating_sub(offset);
    let len = left.min(count.min(max).into()) as u32;
    let is_large = len > READ_INLINE_BYTES;
    let inline = if is_large { 0 } else { len as usize };
    if reply.space().len() < inline + REPLY_HEAD_BYTES / 2 {
        return Err(Fault::NeedOutput);
    }
    let file = cx.vfs.pin(object.node, Some(Access::Read))?;
    if is_large {
        reply.words(&[len, u32::from(u64::from(len) == left), len]);
        return Ok(Outcome::Send(file, offset, len));
    }
    // The data first, to its place: the count before it is not known yet.
    let data = reply.ahead(COUNTS_BYTES, inline);
    let got = cx.vfs.read_cached(&file, offset, data);
    if got == Err(FsError::TryLater) {
        let xid = request.call.xid;
        return Ok(Outcome::Read(file, Reading { xid, offset, len }));
    }
    cx.vfs.unpin(file);
    emit_counts(reply, got?, len, left);
    Ok(Outcome::Reply(None))
}

/// Writes count and eof before data that is in its place: `got` of `len` bytes, where the file had `left`.
fn emit_counts(reply: &mut Writer<'_>, got: u32, len: u32, left: u64) {
    // Fewer bytes than the size allowed: the file became shorter meanwhile, and this is its end.
    let is_end = u64::from(len) == left || got < len;
    reply.words(&[got, is_end.into()]);
    reply.opaque_ahead(got as usize);
}

impl Reading {
    /// Writes the reply: the bytes are in memory now.
    pub(in super::super) fn finish(&self, file: &Pin, cx: &mut Cx<'_>, reply: &mut Writer<'_>) {
        let &Self { xid, offset, len } = self;
        let mark = reply.position();
        reply.u32(0);
        emit_reply(reply, xid, Ok(()));
        let start = reply.position();
        reply.u32(Status::Ok as u32);
        let attr = cx.vfs.attr(file.node());
        let attr = attr.as_ref();
        post_op(reply, attr.ok());
        let data = reply.ahead(COUNTS_BYTES, len as usize);
        let got: FsResult<u32> = cx.vfs.read(file, offset, data);
        match got {
            Ok(got) => {
                let size = attr.map_or(0, |attr| attr.size);
                emit_counts(reply, got, len, size.saturating_sub(offset));
            }
            Err(error) => {
                reply.truncate(start);
                reply.u32(tell(cx, error) as u32);
                post_op(reply, attr.ok());
            }
        }
        patch_mark(reply, mark, 0);
    }
}

pub(super) fn read_link(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
) -> Result<(), Fault> {
    let buffer = request.reply.ahead(WORD_BYTES, LINK_BYTES_MAX);
    let len = cx.vfs.readlink(object.node, buffer)? as usize;
    request.reply.opaque_ahead(len);
    Ok(())
}
