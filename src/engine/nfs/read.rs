//! READ and READLINK.

use super::super::rpc::Answer;
use super::super::{Cx, Order};
use super::{attributes, fail_with, object, to_wire};
use crate::config::{LINK_BYTES_MAX, READ_BYTES_MAX, READ_INLINE_BYTES};
use crate::vfs::{Attr, FsError, FsResult, Kind, Node};
use crate::wire::nfs3::{Status, emit_post_op};
use crate::wire::rpc::Reject;
use crate::wire::{Reader, Writer};

/// Bytes of a READ's reply beside the data: status, attributes, count, end of file, length, padding.
const HEAD_BYTES: usize = 256;

/// A small READ is exact: the file is read into the reply. A large one promises what the file's size allows and becomes an
/// order; should the file shrink meanwhile, the connection is closed.
pub(super) fn read(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<Answer, Reject> {
    let node = object(cx, args)?;
    let (offset, count) = (args.u64()?, args.u32()?);
    let (node, attr) = match node.and_then(|node| Ok((node, regular(cx, node)?))) {
        Ok(found) => found,
        Err(error) => {
            fail_with(cx, reply, error, node.ok());
            return Ok(Answer::Done);
        }
    };
    let left = u32::try_from(attr.size.saturating_sub(offset)).unwrap_or(u32::MAX);
    let count = count.min(READ_BYTES_MAX).min(left);
    if count > READ_INLINE_BYTES {
        return Ok(match cx.vfs.pin(node) {
            Ok(file) => {
                emit_head(reply, &attr, count, offset);
                let order = Order::Send {
                    file,
                    offset,
                    len: count,
                };
                Answer::Order(order, count)
            }
            Err(error) => {
                fail_with(cx, reply, error, Some(node));
                Answer::Done
            }
        });
    }
    let wanted = count as usize;
    if reply.room().len() < wanted.saturating_add(HEAD_BYTES) {
        return Ok(Answer::NoRoom);
    }
    let start = reply.position();
    emit_head(reply, &attr, count, offset);
    let got = match count {
        0 => Ok(0),
        _ => cx.vfs.read(
            node,
            offset,
            reply.room().get_mut(..wanted).unwrap_or_default(),
        ),
    };
    match got {
        Ok(got) if got == wanted => {
            reply.advance(got);
            reply.pad(got);
        }
        Ok(got) => {
            // The file has become shorter since its size was asked for: the data is where it must be, the head is not true.
            reply.truncate(start);
            let attr = Attr {
                size: offset.saturating_add(got as u64),
                ..attr
            };
            emit_head(reply, &attr, u32::try_from(got).unwrap_or(count), offset);
            reply.advance(got);
            reply.pad(got);
        }
        Err(error) => {
            reply.truncate(start);
            fail_with(cx, reply, error, Some(node));
        }
    }
    Ok(Answer::Done)
}

fn regular(cx: &mut Cx<'_>, node: Node) -> FsResult<Attr> {
    let attr = cx.vfs.attr(node)?;
    match attr.kind {
        Kind::Regular => Ok(attr),
        Kind::Directory => Err(FsError::IsDirectory),
        _ => Err(FsError::Invalid),
    }
}

/// Everything before the data.
fn emit_head(reply: &mut Writer<'_>, attr: &Attr, count: u32, offset: u64) {
    let end = offset.saturating_add(count.into()) >= attr.size;
    reply.u32(Status::Ok as u32);
    emit_post_op(reply, Some(&to_wire(attr)));
    reply.words(&[count, end.into(), count]);
}

pub(super) fn read_link(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let node = object(cx, args)?;
    let mut target = [0; LINK_BYTES_MAX];
    let result = node.and_then(|node| {
        let len = cx.vfs.readlink(node, &mut target)?;
        Ok((attributes(cx.vfs, node)?, len))
    });
    match result {
        Ok((attributes, len)) => {
            reply.u32(Status::Ok as u32);
            emit_post_op(reply, Some(&attributes));
            reply.opaque(target.get(..len).unwrap_or_default());
        }
        Err(error) => fail_with(cx, reply, error, node.ok()),
    }
    Ok(())
}
