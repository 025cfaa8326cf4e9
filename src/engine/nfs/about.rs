//! GETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF: what an object and its file system are like.

use super::super::Cx;
use super::{attributes, fail, fail_with, object};
use crate::config::{DIRECTORY_BYTES_MAX, READ_BYTES_MAX, WRITE_BYTES_MAX};
use crate::vfs::{FsResult, Kind, Right};
use crate::wire::nfs3::{PROPERTIES, Status, access as bits, emit_post_op};
use crate::wire::rpc::Reject;
use crate::wire::{Reader, Writer};

/// Links that an object may have. The host does not tell; this is what the strictest of its usual file systems allows.
const LINK_COUNT_MAX: u32 = 32_000;
/// What READ and WRITE should be a multiple of, in bytes.
const BLOCK_BYTES: u32 = 4096;

pub(super) fn get_attr(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    match object(cx, args)?.and_then(|node| attributes(cx.vfs, node)) {
        Ok(attributes) => {
            reply.u32(Status::Ok as u32);
            attributes.emit(reply);
        }
        Err(error) => fail(cx, reply, error),
    }
    Ok(())
}

/// Everybody acts as the user who started the server, so that is whose rights are told. Nobody may write.
pub(super) fn access(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let node = object(cx, args)?;
    let asked = args.u32()?;
    let granted = node.and_then(|node| {
        let attr = cx.vfs.attr(node)?;
        let [reads, runs] = if attr.kind == Kind::Directory {
            [bits::READ, bits::LOOKUP]
        } else {
            [bits::READ, bits::EXECUTE]
        };
        let mut granted = 0;
        for (bit, right) in [(reads, Right::Read), (runs, Right::Execute)] {
            if asked & bit != 0 && cx.vfs.allows(node, right)? {
                granted |= bit;
            }
        }
        Ok((super::to_wire(&attr), granted))
    });
    match granted {
        Ok((attributes, granted)) => {
            reply.u32(Status::Ok as u32);
            emit_post_op(reply, Some(&attributes));
            reply.u32(granted);
        }
        Err(error) => fail_with(cx, reply, error, None),
    }
    Ok(())
}

pub(super) fn fs_stat(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let node = object(cx, args)?;
    match node.and_then(|node| Ok((attributes(cx.vfs, node)?, cx.vfs.space(node)?))) {
        Ok((attributes, space)) => {
            reply.u32(Status::Ok as u32);
            emit_post_op(reply, Some(&attributes));
            for count in [
                space.total_bytes,
                space.free_bytes,
                space.available_bytes,
                space.total_files,
                space.free_files,
                space.free_files,
            ] {
                reply.u64(count);
            }
            reply.u32(0); // Seconds for which this is expected to hold.
        }
        Err(error) => fail_with(cx, reply, error, None),
    }
    Ok(())
}

pub(super) fn fs_info(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    match object(cx, args)?.and_then(|node| attributes(cx.vfs, node)) {
        Ok(attributes) => {
            reply.u32(Status::Ok as u32);
            emit_post_op(reply, Some(&attributes));
            // Largest, preferred and unit of READ, then of WRITE; preferred page of a directory.
            reply.words(&[READ_BYTES_MAX, READ_BYTES_MAX, BLOCK_BYTES]);
            reply.words(&[WRITE_BYTES_MAX, WRITE_BYTES_MAX, BLOCK_BYTES]);
            reply.u32(DIRECTORY_BYTES_MAX);
            reply.u64(i64::MAX as u64); // Largest file.
            reply.words(&[0, 1]); // Times are kept to the nanosecond.
            reply.u32(PROPERTIES);
        }
        Err(error) => fail_with(cx, reply, error, None),
    }
    Ok(())
}

pub(super) fn path_conf(
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let node = object(cx, args)?;
    let about: FsResult<_> =
        node.and_then(|node| Ok((attributes(cx.vfs, node)?, cx.vfs.space(node)?)));
    match about {
        Ok((attributes, space)) => {
            reply.u32(Status::Ok as u32);
            emit_post_op(reply, Some(&attributes));
            // Names are never cut, owners cannot give files away, case matters and is kept.
            reply.words(&[LINK_COUNT_MAX, space.name_bytes_max, 1, 1, 0, 1]);
        }
        Err(error) => fail_with(cx, reply, error, None),
    }
    Ok(())
}
