//! ACCESS, FSSTAT, FSINFO, PATHCONF: what an object and its file system are like.

use super::super::Cx;
use super::super::rpc::Request;
use super::{Fault, Object};
use crate::config::{DIRECTORY_BYTES_MAX, READ_BYTES_MAX, WRITE_BYTES_MAX};
use crate::vfs::{Access, FsError, Kind};
use crate::wire::Writer;
use crate::wire::nfs3::{PROPERTIES, Procedure, access as bits};

/// Links that an object may have. The host does not tell; this is what the strictest of its usual file systems allows.
const LINK_COUNT_MAX: u32 = 32_000;
/// What READ and WRITE should be a multiple of, in bytes.
const BLOCK_BYTES: u32 = 4096;

/// What the caller itself may do; that an owner may always read and write is not told: a client would let it open its file.
pub(super) fn access(
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
) -> Result<(), Fault> {
    let asked = request.args.u32();
    request.args.check()?;
    let is_dir = object.attr.kind == Kind::Directory;
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
        let mut may = cx.vfs.access(object.node, *access);
        // Names can only be changed where they can be looked up.
        if is_dir && *access == Access::Write && may.is_ok() {
            may = cx.vfs.access(object.node, Access::Execute);
        }
        match may {
            Ok(()) => granted |= asked & bits,
            Err(FsError::Access) => {}
            Err(error) => return Err(error.into()),
        }
    }
    request.reply.u32(granted);
    Ok(())
}

/// FSSTAT and PATHCONF.
pub(super) fn statfs(
    procedure: Procedure,
    cx: &mut Cx<'_>,
    request: &mut Request<'_, '_>,
    object: &Object,
) -> Result<(), Fault> {
    let stat = cx.vfs.statfs(object.node)?;
    let reply = &mut *request.reply;
    if procedure == Procedure::PathConf {
        // Names are never cut, owners cannot give files away, case matters and is kept.
        reply.words(&[LINK_COUNT_MAX, stat.name_bytes_max, 1, 1, 0, 1]);
        return Ok(());
    }
    reply.u64(stat.total_bytes);
    reply.u64(stat.free_bytes);
    reply.u64(stat.available_bytes);
    reply.u64(stat.total_files);
    reply.u64(stat.free_files);
    reply.u64(stat.free_files);
    reply.u32(0); // Seconds for which this is expected to hold.
    Ok(())
}

pub(super) fn fs_info(reply: &mut Writer<'_>) {
    reply.words(&[
        // Largest, preferred and unit of READ, then of WRITE; preferred page of a directory.
        READ_BYTES_MAX,
        READ_BYTES_MAX,
        BLOCK_BYTES,
        WRITE_BYTES_MAX,
        WRITE_BYTES_MAX,
        BLOCK_BYTES,
        DIRECTORY_BYTES_MAX,
        // Largest file: 2^63 - 1 bytes.
        i32::MAX as u32,
        u32::MAX,
        // Times are kept to the nanosecond.
        0,
        1,
        PROPERTIES,
    ]);
}
