//! ACCESS, FSSTAT, FSINFO, PATHCONF: access rights, properties and limits of an object and its file system.

use super::super::Cx;
use super::super::rpc::Request;
use super::groups::report_refusal;
use super::{Object, ProcedureError};
use crate::config::{DIRECTORY_BYTES_MAX, READ_BYTES_MAX, WRITE_BYTES_MAX};
use crate::vfs::{Access, Attr, FsError, FsResult, Node, ObjectType};
use crate::wire::Writer;
use crate::wire::nfs3::{PROPERTIES, Procedure, access as bits};
use crate::wire::rpc::Call;

/// Maximum number of hard links, for PATHCONF. The host does not report it; this is the limit of its strictest common file system.
pub(in super::super) const LINK_COUNT_MAX: u32 = 32_000;
/// Suggested multiple (bytes) of READ and WRITE sizes: rtmult and wtmult.
const BLOCK_BYTES: u32 = 4096;

/// Answers ACCESS with the caller's own rights. Although READ and WRITE always succeed for the owner, ACCESS grants only what the
/// mode allows; otherwise the client would allow the owner to open the file against its mode.
pub(super) fn access(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
) -> Result<(), ProcedureError> {
    let asked = request.args.u32();
    request.args.check()?;
    let granted = rights(cx, &request.call, object.node, &object.attr, asked)?;
    request.reply.u32(granted);
    Ok(())
}

/// Returns the access bits that the caller has, of those `asked`.
pub(in super::super) fn rights(
    cx: &mut Cx<'_>,
    call: &Call<'_>,
    node: Node,
    attr: &Attr,
    asked: u32,
) -> FsResult<u32> {
    let is_dir = attr.kind == ObjectType::Directory;
    let (execute, write) = if is_dir {
        (bits::LOOKUP, bits::MODIFY | bits::EXTEND | bits::DELETE)
    } else {
        (bits::EXECUTE, bits::MODIFY | bits::EXTEND)
    };
    let mut granted = 0;
    for (bits, access) in &[
        (bits::READ, Access::Read),
        (execute, Access::Execute),
        (write, Access::Write),
    ] {
        if asked & bits == 0 {
            continue;
        }
        let mut may = cx.vfs.access(node, *access);
        // Changing names in a directory also needs search permission.
        if is_dir && *access == Access::Write && may.is_ok() {
            may = cx.vfs.access(node, Access::Execute);
        }
        match may {
            Ok(()) => granted |= asked & bits,
            Err(FsError::Access) => report_refusal(cx, call, attr),
            Err(error) => return Err(error),
        }
    }
    Ok(granted)
}

/// Answers FSSTAT and PATHCONF.
pub(super) fn statfs(
    procedure: Procedure,
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
) -> Result<(), ProcedureError> {
    let stat = cx.vfs.statfs(object.node)?;
    let reply = &mut *request.reply;
    if procedure == Procedure::PathConf {
        // no_trunc, chown_restricted; case_insensitive is false, case_preserving is true.
        reply.words(&[LINK_COUNT_MAX, stat.name_bytes_max, 1, 1, 0, 1]);
        return Ok(());
    }
    reply.u64(stat.total_bytes);
    reply.u64(stat.free_bytes);
    reply.u64(stat.available_bytes);
    reply.u64(stat.total_files);
    reply.u64(stat.free_files);
    reply.u64(stat.free_files);
    reply.u32(0); // invarsec: the values may change at any time.
    Ok(())
}

pub(super) fn fs_info(reply: &mut Writer<'_>) {
    reply.words(&[
        // rtmax, rtpref, rtmult; wtmax, wtpref, wtmult; dtpref.
        READ_BYTES_MAX,
        READ_BYTES_MAX,
        BLOCK_BYTES,
        WRITE_BYTES_MAX,
        WRITE_BYTES_MAX,
        BLOCK_BYTES,
        DIRECTORY_BYTES_MAX,
        // maxfilesize: 2^63 - 1 bytes.
        i32::MAX as u32,
        u32::MAX,
        // time_delta: 1 ns.
        0,
        1,
        PROPERTIES,
    ]);
}
