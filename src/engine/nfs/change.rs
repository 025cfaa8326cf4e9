//! What changes files. Nothing is exported for writing, so all of it is refused, and COMMIT has nothing to wait for.

use super::super::Cx;
use super::{attributes, fail, object};
use crate::vfs::FsError;
use crate::wire::nfs3::{Procedure, Status, VERIFIER_BYTES, emit_post_op, emit_wcc};
use crate::wire::rpc::Reject;
use crate::wire::{Reader, Writer};

/// Refuses a change: a file system that is read-only, if the handle is one of ours at all.
pub(super) fn refuse(
    procedure: Procedure,
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let of_object = object(cx, args)?.and_then(|node| attributes(cx.vfs, node));
    match of_object {
        Ok(_) => reply.u32(Status::ReadOnly as u32),
        Err(error) => fail(cx, reply, error),
    }
    let of_object = of_object.ok();
    match procedure {
        // The file's attributes, then those around the directory, which did not change.
        Procedure::Link => {
            emit_post_op(reply, of_object.as_ref());
            emit_wcc(reply, None);
        }
        // The attributes around both directories.
        Procedure::Rename => {
            emit_wcc(reply, of_object.as_ref());
            emit_wcc(reply, None);
        }
        _ => emit_wcc(reply, of_object.as_ref()),
    }
    Ok(())
}

/// Nothing was written through this server, so everything that was is durable.
pub(super) fn commit(
    verifier: [u8; VERIFIER_BYTES],
    cx: &mut Cx<'_>,
    args: &mut Reader<'_>,
    reply: &mut Writer<'_>,
) -> Result<(), Reject> {
    let node = object(cx, args)?;
    let (_offset, _count) = (args.u64()?, args.u32()?);
    let committed = node
        .and_then(|node| attributes(cx.vfs, node))
        .and_then(|attributes| match attributes.kind {
            crate::wire::nfs3::FileType::Regular => Ok(attributes),
            _ => Err(FsError::Invalid),
        });
    match committed {
        Ok(attributes) => {
            reply.u32(Status::Ok as u32);
            emit_wcc(reply, Some(&attributes));
            reply.put(&verifier);
        }
        Err(error) => {
            fail(cx, reply, error);
            emit_wcc(reply, None);
        }
    }
    Ok(())
}
