//! READ and READLINK.

use super::super::Cx;
use super::super::rpc::{Reply, Request, Unanswered};
use super::{Object, Phase, ProcedureError, check_regular};
use crate::config::{LINK_BYTES_MAX, READ_INLINE_BYTES, REPLY_HEAD_BYTES};
use crate::event;
use crate::text::Text;
use crate::vfs::{self, Access, Patience, Until};

const WORD_BYTES: usize = 4;
/// Length of count, eof and the data's length word, between the attributes and the data (bytes).
const COUNTS_BYTES: usize = 3 * WORD_BYTES;

/// Answers READ, for at most `max` bytes. Up to [`READ_INLINE_BYTES`] are read into the reply; with [`Patience::Now`], a job may
/// have to read them from the disk first. For more bytes, the reply's head announces the length that the file's size allows, and a
/// transfer sends the data. If the file shrinks meanwhile, the connection is closed.
pub(super) fn read(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
    max: u32,
    begun: &mut Option<Phase>,
) -> Result<Reply, ProcedureError> {
    let (offset, count) = (request.args.u64(), request.args.u32());
    request.args.check()?;
    check_regular(object)?;
    let reply = &mut *request.reply;
    let left = object.attr.size.saturating_sub(offset);
    let len = left.min(count.min(max).into()) as u32;
    let is_large = len > READ_INLINE_BYTES;
    let inline = if is_large { 0 } else { len as usize };
    if reply.space().len() < inline + REPLY_HEAD_BYTES / 2 {
        return Err(ProcedureError::Unanswered(Unanswered::Again(Until::Output)));
    }
    let file = cx.vfs.pin(object.node, Some(Access::Read))?;
    if cx.vfs.finds_compressed(object.node) {
        cx.report(event::COMPRESSED, b"", Text::NOTHING);
    }
    if is_large {
        reply.words(&[len, u32::from(u64::from(len) == left), len]);
        let file = Some(file);
        *begun = Some(Phase::Sending { file, offset, len });
        return Ok(Reply::Head(len));
    }
    // Read the data to its final position first, because the count in front of it is not known yet.
    let data = reply.ahead(COUNTS_BYTES, inline);
    let got = match cx.vfs.read_with(&file, offset, data, request.patience) {
        Err(vfs::Stop::Again(until @ Until::Job(_))) if request.patience == Patience::Now => {
            *begun = Some(Phase::Fetching(file));
            return Err(ProcedureError::Unanswered(Unanswered::Again(until)));
        }
        got => got,
    };
    cx.vfs.unpin(file);
    let got = got?;
    // The file shrank meanwhile if fewer bytes were read than its size allowed; then these bytes end at the file's end.
    let is_end = u64::from(len) == left || got < len;
    reply.words(&[got, is_end.into()]);
    reply.opaque_ahead(got as usize);
    Ok(Reply::Whole)
}

pub(super) fn read_link(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
) -> Result<(), ProcedureError> {
    let buffer = request.reply.ahead(WORD_BYTES, LINK_BYTES_MAX);
    let len = cx.vfs.readlink(object.node, buffer)? as usize;
    request.reply.opaque_ahead(len);
    Ok(())
}
