//! WRITE and COMMIT. RFC 8881 sections 18.3 and 18.32.

use super::turn::{Done, Turn};
use crate::config::COMPOUND_BYTES_MAX;
use crate::engine::service::Promise;
use crate::vfs::{Access, FsError};
use crate::wire::nfs4::Status;

/// The data may be lost until a COMMIT.
const UNSTABLE: u32 = 0;
/// The data is durable.
const FILE_SYNC: u32 = 2;

/// WRITE.
pub(super) fn write(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    let args = &mut *turn.args;
    let (offset, stable) = (args.u64(), args.u32());
    let data = args.opaque(COMPOUND_BYTES_MAX);
    args.check()?;
    let is_opened = turn.check_state(state, Access::Write)?;
    if stable > FILE_SYNC {
        return Err(Status::INVAL.into());
    }
    let (node, _) = turn.regular()?;
    let file = match is_opened {
        true => turn.cx.vfs.pin_opened(node, Access::Write),
        false => turn.cx.vfs.pin(node, Some(Access::Write)),
    }?;
    let mut done = match offset.saturating_add(data.len() as u64) > i64::MAX as u64 {
        true => Err(FsError::TooLarge),
        false if data.is_empty() => Ok(()),
        false => turn.cx.vfs.write(&file, offset, data),
    };
    let mut committed = UNSTABLE;
    if stable != UNSTABLE && done.is_ok() {
        committed = FILE_SYNC;
        done = turn.cx.vfs.stage(&file);
        turn.promise(Promise::Data);
    }
    turn.cx.vfs.record_change(node);
    turn.cx.vfs.unpin(file);
    done?;
    turn.reply.words(&[data.len() as u32, committed]);
    turn.reply.u64(turn.terms.verifier);
    Ok(())
}

/// COMMIT, of the whole file.
pub(super) fn commit(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    turn.args.take(12);
    turn.args.check()?;
    let (node, _) = turn.regular()?;
    let file = turn.cx.vfs.pin(node, None)?;
    let done = turn.cx.vfs.stage(&file);
    turn.cx.vfs.unpin(file);
    done?;
    turn.promise(Promise::Data);
    turn.reply.u64(turn.terms.verifier);
    Ok(())
}
