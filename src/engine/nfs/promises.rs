//! Promises: replies that say that a change is durable, and that therefore wait for a sync.
//!
//! Until the sync has ended, the record mark of such a reply carries its procedure in bits 24 to 30, which no reply is long enough to
//! need. [`settle`] clears them before the reply is sent, or makes an error of the reply if the sync failed.

use crate::mem::Ends as _;
use crate::vfs::FsError;
use crate::wire::nfs3::{Procedure, Status};
use crate::wire::rpc::MARK_BYTES;
use crate::wire::{Reader, Writer};

/// Bits of a mark below the procedure.
const LEN_BITS: u32 = 24;
/// Bytes of a reply from its mark to its status: xid, REPLY, MSG_ACCEPTED, an empty verifier, SUCCESS.
const HEAD_BYTES: usize = MARK_BYTES + 24;
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

/// Makes replies final: whole records, of which some promise something. After `error` these are rewritten, and `failed` is called with
/// the procedure and the reply of each, without its mark. Returns the bytes of all.
pub(in super::super) fn settle(
    replies: &mut [u8],
    error: Option<FsError>,
    failed: &mut dyn FnMut(u32, &[u8]),
) -> usize {
    let (mut from, mut to) = (0, 0);
    while from < replies.len() {
        let mark = Reader::new(replies.tail(from)).u32();
        let procedure = mark >> LEN_BITS & 0x7f;
        // The data of a READ at the end follows later.
        let end = replies
            .len()
            .min(from + MARK_BYTES + (mark & ((1 << LEN_BITS) - 1)) as usize);
        let mut len = end - from;
        if from != to {
            replies.copy_within(from..end, to);
        }
        from = end;
        let reply = replies.tail_mut(to).head_mut(len);
        if procedure > 0 {
            if let Some(error) = error
                && Reader::new(reply.tail(HEAD_BYTES)).u32() == Status::Ok as u32
            {
                len = rewrite(reply, procedure, error);
                failed(procedure, reply.head(len).tail(MARK_BYTES));
            } else {
                Writer::new(reply).u32(mark & !(0x7f << LEN_BITS));
            }
        }
        to += len;
    }
    to
}

/// Makes an error of a reply; its bytes. SETATTR, REMOVE, RMDIR, RENAME and LINK return the same after success and failure.
fn rewrite(reply: &mut [u8], procedure: u32, error: FsError) -> usize {
    let (_, results) = reply.split_at_mut(HEAD_BYTES.min(reply.len()));
    let has_data = matches!(
        Procedure::new(procedure),
        Some(
            Procedure::Write
                | Procedure::Commit
                | Procedure::Create
                | Procedure::MkDir
                | Procedure::SymLink
                | Procedure::MkNod
        )
    );
    let mut result_bytes = results.len();
    if has_data {
        // No attributes before and after: the sync may have lost what they say.
        Writer::new(results).words(&[0, 0, 0]);
        result_bytes = 12;
    }
    Writer::new(results).u32(Status::from(error) as u32);
    let len = HEAD_BYTES + result_bytes;
    Writer::new(reply).u32(1 << 31 | (len - MARK_BYTES) as u32);
    len
}
