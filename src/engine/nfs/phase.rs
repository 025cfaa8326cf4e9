//! READs, WRITEs and COMMITs that are not answered yet.
//!
//! A call's phase is kept between two calls of the engine. The data of a READ above 64 KiB is sent by the driver after the head of
//! its reply; a smaller READ is carried out again once a job has read its data. A WRITE reads its data from the stream.

use super::super::Cx;
use super::super::rpc::{Answer, RecordCursor};
use super::super::service::{Moved, Next, Transfer, Way};
use super::Nfs;
use super::write::Writing;
use crate::stats::Outcome;
use crate::text::text;
use crate::vfs::{Pin, Tree};
use crate::wire::{Reader, Writer};

/// The phase of a call that is not answered yet.
#[derive(Debug)]
pub(in super::super) enum Phase {
    /// A READ's data follows the head of its reply.
    Sending {
        /// The file; `None` while a transfer holds it.
        file: Option<Pin>,
        /// Offset of the data in the file (bytes).
        offset: u64,
        /// Length of the data (bytes).
        len: u32,
    },
    /// A job reads the data of a READ from this file. The call is passed again, and may then wait for the disk.
    Fetching(Pin),
    /// A WRITE or COMMIT.
    Writing(Writing),
}

const SHRUNK: Next = Next::Close(text!("a file was truncated during a read"));

impl Phase {
    /// Returns true if the call is carried out again from its start, and may then wait for the disk.
    pub(in super::super) const fn repeats(&self) -> bool {
        matches!(self, Self::Fetching(_))
    }

    /// Length of the data that follows the head of a READ's reply (bytes); of other calls 0.
    pub(in super::super) const fn len(&self) -> u32 {
        match self {
            Self::Sending { len, .. } => *len,
            _ => 0,
        }
    }

    /// Releases the call's file.
    pub(in super::super) fn release(self, vfs: &mut Tree) {
        match self {
            Self::Writing(writing) => writing.abandon(vfs),
            Self::Fetching(file) => vfs.unpin(file),
            Self::Sending { file, .. } => {
                if let Some(file) = file {
                    vfs.unpin(file);
                }
            }
        }
    }
}

impl Nfs {
    /// Continues a call. Its results are written once it is answered.
    ///
    /// # Errors
    /// The need for which the call waits.
    pub(in super::super) fn go_on(
        &mut self,
        phase: &mut Phase,
        record: &mut RecordCursor,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<Answer, Next> {
        match phase {
            Phase::Writing(writing) => return self.store(writing, record, cx, input, reply),
            Phase::Sending { file, offset, len } => {
                if let Some(file) = file.take() {
                    return Err(Next::Move(Transfer {
                        file,
                        offset: *offset,
                        len: u64::from(*len),
                        way: Way::ToPeer,
                    }));
                }
            }
            Phase::Fetching(_) => {}
        }
        // Not called while a transfer is carried out.
        Err(Next::Output)
    }

    /// Continues a call after its transfer. `None`: the call goes on.
    ///
    /// # Errors
    /// The end of the connection.
    pub(in super::super) fn moved(
        &mut self,
        phase: &mut Phase,
        record: &mut RecordCursor,
        cx: &mut Cx<'_>,
        done: Moved,
        reply: &mut Writer<'_>,
    ) -> Result<Option<Answer>, Next> {
        match phase {
            Phase::Writing(writing) => {
                writing.resume(record, done);
                return Ok(None);
            }
            Phase::Sending { len, .. } => reply.pad(*len as usize),
            Phase::Fetching(_) => {}
        }
        done.transfer.abandon(cx.vfs);
        if done.result.is_err() {
            // The reply's head, with the count, is already sent, so the error can be reported only by closing the connection.
            self.read_failed(cx.now);
            return Err(SHRUNK);
        }
        Ok(Some(Answer::of(Outcome::Done)))
    }
}
