//! WRITE and COMMIT. RFC 8881 sections 18.3 and 18.32.

use super::turn::{Done, Fault, Turn};
use crate::config::RECORD_BYTES_MAX;
use crate::engine::nfs::{Stability, Writing};
use crate::engine::service::Promise;
use crate::vfs::{Access, FsError};
use crate::wire::nfs4::Status;
use crate::wire::xdr::padding;

/// The data may be lost until a COMMIT.
const UNSTABLE: u32 = 0;

impl Turn<'_, '_, '_, '_> {
    /// Writes the result of a WRITE whose data is stored.
    pub(super) fn end_write(&mut self, mut writing: Writing) -> Done {
        let Ok((file, done)) = writing.end(self.cx) else {
            return Err(Status::DELAY.into());
        };
        self.cx.vfs.record_change(file.node());
        self.cx.vfs.unpin(file);
        done?;
        let written @ [_, committed] = writing.written();
        if committed != UNSTABLE {
            self.promise(Promise::Data);
        }
        self.reply.words(&written);
        self.reply.u64(self.terms.verifier);
        Ok(())
    }
}

/// WRITE. Data that has not arrived is stored as it arrives; then the COMPOUND goes on.
pub(super) fn write(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    let (offset, stable, len) = (turn.args.u64(), turn.args.u32(), turn.args.u32());
    turn.args.check()?;
    let is_opened = turn.check_state(state, Access::Write)?;
    let stability = match stable {
        UNSTABLE => Stability::Unstable,
        // DATA_SYNC4 and FILE_SYNC4.
        1 | 2 => Stability::Stable,
        _ => return Err(Status::INVAL.into()),
    };
    let (node, _) = turn.regular()?;
    if offset.saturating_add(len.into()) > i64::MAX as u64 {
        return Err(FsError::TooLarge.into());
    }
    let data = len as usize;
    let here = turn.args.rest().len();
    let is_here = here >= data.saturating_add(padding(data));
    if !is_here {
        let follows = turn.follows.unwrap_or(RECORD_BYTES_MAX) as usize;
        if here.saturating_add(follows) < data {
            return Err(Status::BADXDR.into());
        }
        if !turn.may_store() {
            return Err(Status::DELAY.into());
        }
    }
    let file = match is_opened {
        true => turn.cx.vfs.pin_opened(node, Access::Write),
        false => turn.cx.vfs.pin(node, Some(Access::Write)),
    }?;
    let mut writing = Writing::new(file, offset, len, stability);
    if !is_here {
        turn.compound.storing = Some(writing);
        return Err(Fault::Data);
    }
    writing.put(turn.cx, turn.args.take(data));
    turn.args.take(padding(data));
    turn.end_write(writing)
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
