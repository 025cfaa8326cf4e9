//! READ and READLINK.

use super::super::rpc::Answer;
use super::super::{Cx, Order};
use super::{Fault, Object, begin};
use crate::config::{LINK_BYTES_MAX, READ_BYTES_MAX, READ_INLINE_BYTES, REPLY_HEAD_BYTES};
use crate::vfs::{FsError, Kind};
use crate::wire::{Reader, Writer};

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
    if count > READ_INLINE_BYTES {
        let file = cx.vfs.pin(object.node)?;
        begin(reply, object);
        reply.words(&[count, ends(count), count]);
        *order = Some(Order::Send {
            file,
            offset,
            len: count,
        });
        return Ok(Answer::Done);
    }
    if reply.room().len() < (count as usize).saturating_add(REPLY_HEAD_BYTES / 2) {
        return Ok(Answer::NoRoom);
    }
    begin(reply, object);
    let head = reply.position();
    reply.words(&[0, 0, 0]);
    let got = match reply.room().get_mut(..count as usize) {
        Some(room) if count > 0 => cx.vfs.read(object.node, offset, room)?,
        _ => 0,
    };
    reply.advance(got);
    reply.pad(got);
    // Fewer than there should be: the file became shorter meanwhile, and this is its end.
    let short = got < count as usize;
    let got = u32::try_from(got).unwrap_or(count);
    for (word, value) in [got, u32::from(short) | ends(got), got]
        .into_iter()
        .enumerate()
    {
        reply.patch(head.saturating_add(word.saturating_mul(4)), value);
    }
    Ok(Answer::Done)
}

pub(super) fn read_link(
    cx: &mut Cx<'_>,
    object: &Object,
    reply: &mut Writer<'_>,
) -> Result<(), FsError> {
    begin(reply, object);
    let head = reply.position();
    reply.u32(0);
    let len = cx.vfs.readlink(
        object.node,
        reply.room().get_mut(..LINK_BYTES_MAX).unwrap_or_default(),
    )?;
    reply.patch(head, u32::try_from(len).unwrap_or(0));
    reply.advance(len);
    reply.pad(len);
    Ok(())
}
