//! READ and READLINK.

use super::super::rpc::Answer;
use super::super::{Cx, Order};
use super::{Fault, Object, begin};
use crate::config::{LINK_BYTES_MAX, READ_BYTES_MAX, READ_INLINE_BYTES, REPLY_HEAD_BYTES};
use crate::vfs::{FsError, Kind, Right};
use crate::wire::nfs3::ATTRIBUTES_BYTES;
use crate::wire::{Reader, Writer};

const WORD_BYTES: usize = 4;
/// Bytes before the data: status, whether there are attributes, these, and the data's length.
const HEAD_BYTES: usize = 3 * WORD_BYTES + ATTRIBUTES_BYTES;

/// A small READ is exact: the file is read into the reply. A large one promises what the file's size allows and becomes an
/// order; should the file shrink meanwhile, the connection is closed.
pub(super) fn read(
    cx: &mut Cx<'_>,
    object: &Object,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
    order: &mut Option<Order>,
) -> Result<Answer, Fault> {
    let (offset, count) = (args.u64()?, args.u32()?);
    match object.kind {
        Kind::Regular => {}
        Kind::Directory => return Err(FsError::IsDirectory.into()),
        _ => return Err(FsError::Invalid.into()),
    }
    let left = u32::try_from(object.size.saturating_sub(offset)).unwrap_or(u32::MAX);
    let count = count.min(READ_BYTES_MAX).min(left);
    let ends = |count: u32| u32::from(offset.saturating_add(count.into()) >= object.size);
    let wanted = count as usize;
    let large = count > READ_INLINE_BYTES;
    if !large && reply.room().len() < wanted.saturating_add(REPLY_HEAD_BYTES / 2) {
        return Ok(Answer::NoRoom);
    }
    let file = cx.vfs.pin(object.node, Some(Right::Read))?;
    if large {
        begin(reply, object);
        reply.words(&[count, ends(count), count]);
        *order = Some(Order::Send {
            file,
            offset,
            len: count,
        });
        return Ok(Answer::Done);
    }
    // The data first, to where it will stand: how much there is comes before it.
    let room = reply.ahead(HEAD_BYTES + 2 * WORD_BYTES, wanted);
    let got = if wanted > 0 {
        cx.vfs.read(&file, offset, room)
    } else {
        Ok(0)
    };
    cx.vfs.unpin(file);
    let got = got?;
    // Fewer than there should be: the file became shorter meanwhile, and this is its end.
    let end = ends(count) | u32::from(got < wanted);
    begin(reply, object);
    reply.words(&[u32::try_from(got).unwrap_or(0), end]);
    reply.opaque_ahead(got);
    Ok(Answer::Done)
}

pub(super) fn read_link(
    cx: &mut Cx<'_>,
    object: &Object,
    reply: &mut Writer<'_>,
) -> Result<(), FsError> {
    let len = cx
        .vfs
        .readlink(object.node, reply.ahead(HEAD_BYTES, LINK_BYTES_MAX))?;
    begin(reply, object);
    reply.opaque_ahead(len);
    Ok(())
}
