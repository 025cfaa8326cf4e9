//! READ and READLINK.

use super::super::Cx;
use super::super::rpc::Request;
use super::{Fault, Object, Phase, check_regular};
use crate::config::{LINK_BYTES_MAX, READ_INLINE_BYTES, REPLY_HEAD_BYTES};
use crate::vfs::{Access, FsError};

const WORD_BYTES: usize = 4;

/// A small READ is exact: the file is read into the reply. A large one, or one that has to wait for the disk, promises what the file's
/// size allows and becomes an order; should the file shrink meanwhile, the connection is closed. None is longer than `max`.
pub(super) fn read(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
    max: u32,
    phase: &mut Phase,
) -> Result<(), Fault> {
    let (offset, count) = (request.args.u64(), request.args.u32());
    request.args.check()?;
    check_regular(object)?;
    let reply = &mut *request.reply;
    let left = object.attr.size.saturating_sub(offset);
    let wanted = left.min(count.min(max).into());
    let end = u32::from(wanted == left);
    let len = wanted as u32;
    let large = len > READ_INLINE_BYTES;
    let here = if large { 0 } else { len as usize };
    if reply.space().len() < here + REPLY_HEAD_BYTES / 2 {
        return Err(Fault::NeedOutput);
    }
    let file = cx.vfs.pin(object.node, Some(Access::Read))?;
    // The data first, to where it will stand: how much there is comes before it.
    let got = if large {
        Err(FsError::TryLater)
    } else {
        let data = reply.ahead(3 * WORD_BYTES, here);
        cx.vfs.read_cached(&file, offset, data)
    };
    if got == Err(FsError::TryLater) {
        reply.words(&[len, end, len]);
        *phase = Phase::Send(file, offset, len);
        return Ok(());
    }
    cx.vfs.unpin(file);
    let got = got?;
    // Fewer than there should be: the file became shorter meanwhile, and this is its end.
    let end = end | u32::from((got as usize) < here);
    reply.words(&[got, end]);
    reply.opaque_ahead(got as usize);
    Ok(())
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
