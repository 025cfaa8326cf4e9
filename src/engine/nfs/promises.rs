//! Promises: replies that report a durable change and therefore wait for a sync.
//!
//! Until the sync has ended, the record mark of such a reply carries its procedure in bits 24 to 30: no reply is long enough to
//! need them. [`settle`] clears them before the reply is sent; if the sync failed, [`fail`] first turns the reply into an error.

use super::super::rpc::patch_mark;
use crate::mem::{self, Ends as _};
use crate::wire::nfs3::{Procedure, Status};
use crate::wire::rpc::MARK_BYTES;
use crate::wire::{Reader, Writer};

/// Number of low bits of a record mark that contain the reply's length; the procedure is in the bits above.
const LEN_BITS: u32 = 24;
/// Length of a reply before its status (bytes): xid, REPLY, MSG_ACCEPTED, verifier (AUTH_NONE, empty), SUCCESS.
const HEAD_BYTES: usize = 24;
/// Length of the longest error (bytes): after the head the status and up to four absent attributes.
const ERROR_BYTES_MAX: usize = HEAD_BYTES + 5 * 4;
const RENAME: u32 = Procedure::Rename as u32;
const LINK: u32 = Procedure::Link as u32;
/// The last-fragment bit of a record mark. RFC 5531 section 11.
const LAST_FRAGMENT: u32 = 1 << 31;
const _: () = assert!(crate::config::REPLY_BYTES < 1 << LEN_BITS);

/// Stores in the mark at `mark` the procedure whose change the reply promises to be durable.
pub(in super::super) fn mark_promise(reply: &mut Writer<'_>, mark: usize, procedure: Procedure) {
    let len = Reader::new(reply.since(mark)).u32();
    reply.patch(mark, len | (procedure as u32) << LEN_BITS);
}

/// Clears the procedure in the record mark of each reply. Calls `settled` with each procedure and the status of its reply.
pub(in super::super) fn settle(replies: &mut [u8], settled: &mut dyn FnMut(u32, u32)) {
    let mut rest = replies;
    while let Some((bytes, reply)) = rest.split_first_chunk_mut() {
        let mark = ReplyMark::of(u32::from_be_bytes(*bytes));
        *bytes = (LAST_FRAGMENT | mark.len).to_be_bytes();
        if mark.procedure > 0 {
            let status = Reader::new(reply.tail(HEAD_BYTES)).u32();
            settled(mark.procedure, status);
        }
        // The data of a READ at the end is sent later.
        rest = reply.tail_mut(mark.len as usize);
    }
}

/// Receives the xid and procedure of a reply that has become an error, its results, and those of the error.
type Failed<'a> = &'a mut dyn FnMut([u32; 2], &[u8], &[u8]);

/// Turns each reply whose record mark carries a procedure into an error with this status, and calls `failed`. Returns the
/// length of all replies (bytes).
#[cold]
pub(in super::super) fn fail(replies: &mut [u8], status: Status, failed: Failed<'_>) -> usize {
    let (mut at, mut end) = (0, replies.len());
    while at < end {
        let record = replies.head_mut(end).tail_mut(at);
        let mut head = Reader::new(record);
        let mark = ReplyMark::of(head.u32());
        let _until_status = head.take(HEAD_BYTES);
        at += MARK_BYTES + mark.len as usize;
        if mark.procedure > 0 && head.u32() == Status::Ok as u32 {
            let old = record.tail(MARK_BYTES).head(mark.len as usize);
            let mut bytes = [0; ERROR_BYTES_MAX];
            let mut error = Writer::new(&mut bytes);
            error.put(old.head(HEAD_BYTES));
            error.u32(status as u32);
            // Attributes before and after, all absent (FALSE): after the failed sync they may be wrong.
            let word_count = match mark.procedure {
                RENAME => 4,
                LINK => 3,
                _ => 2,
            };
            for _ in 0..word_count {
                error.u32(0);
            }
            let call = [Reader::new(old).u32(), mark.procedure];
            failed(call, old.tail(HEAD_BYTES), error.since(HEAD_BYTES));
            let len = error.position();
            let mut reply = Writer::new(record);
            reply.put_ahead(MARK_BYTES);
            reply.put(bytes.head(len));
            patch_mark(&mut reply, 0, 0);
            let cut = MARK_BYTES + mark.len as usize - reply.position();
            mem::shift(reply.space(), cut);
            (at, end) = (at - cut, end - cut);
        }
    }
    end
}

/// The length and procedure in a record mark.
struct ReplyMark {
    len: u32,
    procedure: u32,
}

impl ReplyMark {
    const fn of(word: u32) -> Self {
        Self {
            len: word & ((1 << LEN_BITS) - 1),
            procedure: word >> LEN_BITS & 0x7f,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_without_a_promise_are_not_settled() {
        let mut replies = Vec::new();
        for (procedure, status) in [(7u32, 28u32), (0, 5)] {
            let len = HEAD_BYTES as u32 + 4;
            replies.extend((LAST_FRAGMENT | procedure << LEN_BITS | len).to_be_bytes());
            replies.extend([0; HEAD_BYTES]);
            replies.extend(status.to_be_bytes());
        }
        let mut settled = Vec::new();
        settle(&mut replies, &mut |procedure, status| {
            settled.push((procedure, status));
        });
        assert_eq!(settled, [(7, 28)]);
        let mark = (LAST_FRAGMENT | (HEAD_BYTES as u32 + 4)).to_be_bytes();
        assert!(replies.starts_with(&mark) && replies[replies.len() / 2..].starts_with(&mark));
    }
}
