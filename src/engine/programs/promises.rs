//! Replies that promise a durable change: kept beside a note until their sync has ended.
//!
//! The note is the word after the reply. It contains the procedure and its outcome, and is never sent. Its first bit is clear, so it
//! is no record mark: our replies are whole records. RFC 5531 section 11.

use super::Programs;
use crate::engine::Cx;
use crate::engine::nfs::{self, FAILURE_BYTES_MAX, emit_failure};
use crate::engine::rpc::Answer;
use crate::mem::{self, Ends as _};
use crate::stats::{Operation, Outcome};
use crate::vfs::FsResult;
use crate::wire::rpc::{HEAD_BYTES, MARK_BYTES, RecordMark};
use crate::wire::{Reader, Writer};
use crate::wire::{nfs3, nfs4};

/// Length of a note (bytes).
const NOTE_BYTES: usize = 4;
/// The bit of a note that is set if the reply reports an error.
const FAILED: u32 = 1 << 30;

/// Appends the note of the reply to a call of NFS.
pub(super) fn emit_note(reply: &mut Writer<'_>, procedure: u32, answer: &Answer) {
    let failed = if answer.outcome == Outcome::Failed {
        FAILED
    } else {
        0
    };
    let of = match answer.promised {
        0 => procedure,
        promised => COMPOUND | promised,
    };
    reply.u32(of | failed);
}

/// The bit of a note of a COMPOUND, whose first operation with a promise follows.
const COMPOUND: u32 = 1 << 29;

/// The note at the start of `bytes`.
fn note(bytes: &[u8]) -> Option<(u32, Outcome)> {
    let word = u32::from_be_bytes(*bytes.first_chunk()?);
    let outcome = Outcome::of_error(word & FAILED != 0);
    (!RecordMark::is_last(word)).then_some((word & !FAILED, outcome))
}

impl Programs {
    /// Makes the replies to a peer final after the sync that they waited for, whose result is `synced`: removes the notes. If the
    /// sync failed, the replies become errors, and the write verifier changes, so that all clients send unstable data again (RFC
    /// 1813 section 3.3.7). Returns the length of the replies (bytes).
    pub fn settle(&mut self, cx: &mut Cx<'_>, replies: &mut [u8], synced: FsResult<()>) -> usize {
        self.syncs_each = synced.is_err();
        let failure = synced.err().map(|error| {
            self.break_promises();
            nfs::error_status(cx, error)
        });
        let (mut from, mut to) = (0, 0);
        while let Some(mark) = RecordMark::parse(&mut Reader::new(replies.tail(from))) {
            // The data of a READ at the end is sent later.
            let end = replies.len().min(from + MARK_BYTES + mark.len as usize);
            let mut len = end - from;
            replies.copy_within(from..end, to);
            from = end;
            if let Some((procedure, mut outcome)) = note(replies.tail(end)) {
                from += NOTE_BYTES;
                let is_compound = procedure & COMPOUND != 0;
                if (outcome == Outcome::Done || is_compound)
                    && let Some(status) = failure
                {
                    outcome = Outcome::Failed;
                    len = self.fail(cx, replies.tail_mut(to).head_mut(len), procedure, status);
                }
                let operation = match is_compound {
                    true => Operation::rpc(Operation::NFS4, nfs4::COMPOUND),
                    false => Operation::rpc(nfs3::PROGRAM, procedure),
                };
                cx.stats.called(operation, outcome);
            }
            to += len;
        }
        to
    }

    /// Turns a reply to NFS into an error, in the duplicate request cache, too. Returns its length (bytes).
    #[cold]
    fn fail(
        &mut self,
        cx: &Cx<'_>,
        record: &mut [u8],
        procedure: u32,
        status: nfs3::Status,
    ) -> usize {
        if procedure & COMPOUND != 0 {
            let (head, results) = record
                .split_at_mut_checked(MARK_BYTES + HEAD_BYTES)
                .unwrap_or_default();
            let len = self
                .nfs4
                .fail(results, procedure & !COMPOUND, status as u32);
            let mark = RecordMark::whole((HEAD_BYTES + len) as u32);
            mem::copy_into(head, &mark.to_be_bytes());
            return MARK_BYTES + HEAD_BYTES + len;
        }
        let mut bytes = [0; FAILURE_BYTES_MAX];
        let mut failure = Writer::new(&mut bytes);
        emit_failure(&mut failure, procedure, status);
        let failure = failure.since(0);
        let (head, results) = record
            .split_at_mut_checked(MARK_BYTES + HEAD_BYTES)
            .unwrap_or_default();
        let xid = Reader::new(head.tail(MARK_BYTES)).u32();
        self.nfs
            .replace_reply(&cx.peer, [xid, procedure], results, failure);
        let mut reply = Writer::new(record);
        reply.u32(RecordMark::whole((HEAD_BYTES + failure.len()) as u32));
        reply.put_ahead(HEAD_BYTES);
        reply.put(failure);
        reply.position()
    }
}
