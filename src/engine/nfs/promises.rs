//! Promises: replies that say that a change is durable, and that therefore wait for a sync.
//!
//! Until the sync has ended, the record mark of such a reply carries its procedure in bits 24 to 30, which no reply is long enough to
//! need. [`settle`] clears them before the reply is sent, or makes an error of the reply if the sync failed.

use crate::mem::{self, Ends as _};
use crate::vfs::FsError;
use crate::wire::nfs3::{Procedure, Status};
use crate::wire::rpc::MARK_BYTES;
use crate::wire::{Reader, Writer};

/// Bits of a mark below the procedure.
const LEN_BITS: u32 = 24;
/// Bytes of a reply from its mark to its status: xid, REPLY, MSG_ACCEPTED, an empty verifier, SUCCESS.
const HEAD_BYTES: usize = MARK_BYTES + 24;
const STATUS_BYTES: usize = 4;
/// Bytes of a failed WRITE or CREATE with its mark: after the status, no attributes from before and after (FALSE, FALSE).
const FAILED_BYTES: usize = HEAD_BYTES + STATUS_BYTES + 8;
/// RFC 5531 section 11.
const LAST_FRAGMENT: u32 = 1 << 31;
const _: () = assert!(crate::config::REPLY_BYTES < 1 << LEN_BITS);

/// What replies promise to be durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Promise {
    /// Nothing.
    Nothing,
    /// Names or attributes.
    Names,
    /// Data: more of it may have arrived, and can share the sync.
    Data,
}

/// Adds to a reply, whose mark is at `mark`, the procedure whose promise it makes.
pub(in super::super) fn mark_promise(reply: &mut Writer<'_>, mark: usize, procedure: Procedure) {
    let len = Reader::new(reply.since(mark)).u32();
    reply.patch(mark, len | (procedure as u32) << LEN_BITS);
}

/// Makes replies final: whole records, of which some promise something. After `error` these become errors, and `failed` is called with
/// the procedure and the reply of each, without its mark. Returns the bytes of all.
#[inline(never)]
pub(in super::super) fn settle(
    replies: &mut [u8],
    error: Option<FsError>,
    failed: &mut dyn FnMut(u32, &[u8]),
) -> usize {
    const LEN_MASK: u32 = (1 << LEN_BITS) - 1;
    let (mut at, mut end) = (0, replies.len());
    while at < end {
        let rest = replies.head_mut(end).tail_mut(at);
        let mark = Reader::new(rest).u32();
        let mut len = MARK_BYTES + (mark & LEN_MASK) as usize;
        let procedure = mark >> LEN_BITS & 0x7f;
        if procedure > 0 {
            Writer::new(rest).u32(LAST_FRAGMENT | mark & LEN_MASK);
            if let Some(error) = error
                && Reader::new(rest.tail(HEAD_BYTES)).u32() == Status::Ok as u32
            {
                let before = len;
                len = fail(rest, len, procedure, error);
                end -= before - len;
                failed(procedure, rest.head(len).tail(MARK_BYTES));
            }
        }
        at += len;
    }
    end
}

/// Makes an error of the first reply, which has `len` bytes; its bytes then.
#[cold]
#[inline(never)]
fn fail(replies: &mut [u8], len: usize, procedure: u32, error: FsError) -> usize {
    Writer::new(replies.tail_mut(HEAD_BYTES)).u32(Status::from(error) as u32);
    const SET_ATTR: u32 = Procedure::SetAttr as u32;
    const REMOVE: u32 = Procedure::Remove as u32;
    // SETATTR, REMOVE, RMDIR, RENAME and LINK return the same after success and after failure.
    if procedure == SET_ATTR || (REMOVE..=Procedure::Link as u32).contains(&procedure) {
        return len;
    }
    // The others return no attributes from before and after: the sync may have lost what they say.
    Writer::new(replies.tail_mut(HEAD_BYTES + STATUS_BYTES)).u64(0);
    Writer::new(replies).u32(LAST_FRAGMENT | (FAILED_BYTES - MARK_BYTES) as u32);
    mem::shift(replies.tail_mut(FAILED_BYTES), len - FAILED_BYTES);
    FAILED_BYTES
}
