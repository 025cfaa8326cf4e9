//! Promises: replies that say that a change is durable, and that therefore wait for a sync.
//!
//! Until the sync has ended, the record mark of such a reply carries its procedure in bits 24 to 30, which no reply is long enough to
//! need. [`settle`] clears them before the reply is sent; if the sync failed, [`fail`] makes an error of it first.

use super::super::rpc::patch_mark;
use crate::mem::{self, Ends as _};
use crate::wire::nfs3::{Procedure, Status};
use crate::wire::rpc::MARK_BYTES;
use crate::wire::{Reader, Writer};

/// Bits of a mark below the procedure.
const LEN_BITS: u32 = 24;
/// Length of a reply before its status (bytes): xid, REPLY, MSG_ACCEPTED, an empty verifier, SUCCESS.
const HEAD_BYTES: usize = 24;
const RENAME: u32 = Procedure::Rename as u32;
const LINK: u32 = Procedure::Link as u32;
/// RFC 5531 section 11.
const LAST_FRAGMENT: u32 = 1 << 31;
const _: () = assert!(crate::config::REPLY_BYTES < 1 << LEN_BITS);

/// The changes that replies promise to be durable.
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

/// Makes replies final: whole records, of which some promise something.
#[inline(never)]
pub(in super::super) fn settle(replies: &mut [u8]) {
    let mut rest = replies;
    while let Some((bytes, reply)) = rest.split_first_chunk_mut() {
        let mark = Mark::of(u32::from_be_bytes(*bytes));
        *bytes = (LAST_FRAGMENT | mark.len).to_be_bytes();
        // The data of a READ at the end follows later.
        rest = reply.tail_mut(mark.len as usize);
    }
}

/// Makes the replies that promise something errors of this status, and calls `failed` with the procedure and the reply of each. Returns the bytes
/// of all replies.
#[cold]
#[inline(never)]
pub(in super::super) fn fail(
    replies: &mut [u8],
    status: Status,
    failed: &mut dyn FnMut(u32, &[u8]),
) -> usize {
    let (mut at, mut end) = (0, replies.len());
    while at < end {
        let record = replies.head_mut(end).tail_mut(at);
        let mut head = Reader::new(record);
        let mark = Mark::of(head.u32());
        let _until_status = head.take(HEAD_BYTES);
        at += MARK_BYTES + mark.len as usize;
        if mark.procedure > 0 && head.u32() == Status::Ok as u32 {
            let mut error = Writer::new(record);
            error.put_ahead(MARK_BYTES + HEAD_BYTES);
            error.u32(status as u32);
            // Attributes before and after, each FALSE: the sync may have lost what they say.
            let word_count = match mark.procedure {
                RENAME => 4,
                LINK => 3,
                _ => 2,
            };
            for _ in 0..word_count {
                error.u32(0);
            }
            failed(mark.procedure, error.since(MARK_BYTES));
            patch_mark(&mut error, 0, 0);
            let cut = MARK_BYTES + mark.len as usize - error.position();
            mem::shift(error.space(), cut);
            (at, end) = (at - cut, end - cut);
        }
    }
    end
}

/// A record mark with its procedure.
struct Mark {
    len: u32,
    procedure: u32,
}

impl Mark {
    const fn of(word: u32) -> Self {
        Self {
            len: word & ((1 << LEN_BITS) - 1),
            procedure: word >> LEN_BITS & 0x7f,
        }
    }
}
