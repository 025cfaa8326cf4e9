//! WRITE and COMMIT: store data from the stream in a file and make it durable.
//!
//! A WRITE's data is stored as it arrives. The reply is written when all data is stored; the reply to a stable WRITE is sent after
//! the sync.

use super::super::Cx;
use super::super::rpc::{Answer, RecordCursor, Request};
use super::super::service::{Moved, Next, Transfer, Way};
use super::attributes::WccAttr;
use super::{Nfs, Object, ProcedureError, Promise, error_status, post_op, pre_op, wcc_attr};
use crate::config::{WORKER_WRITE_BYTES_MIN, WRITE_BYTES_MAX};
use crate::stats::Outcome;
use crate::vfs::{Access, FsError, FsResult, ObjectType, Pin, Tree};
use crate::wire::nfs3::{Procedure, Status};
use crate::wire::{Reader, Writer};

/// The durability that the client requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Stability {
    /// COMMIT: all data of the file becomes durable. The call carries no data.
    Commit,
    /// UNSTABLE: the data is written to the file, and is durable only after a COMMIT.
    Unstable,
    /// DATA_SYNC or FILE_SYNC: the data is durable before the reply.
    Stable,
}

/// A WRITE or COMMIT that is not answered yet.
#[derive(Debug)]
pub(in super::super) struct Writing {
    /// The file; `None` while a transfer holds it.
    file: Option<Pin>,
    /// File offset of the next data (bytes).
    offset: u64,
    /// Length of the data that is neither stored nor part of a transfer (bytes).
    left: u32,
    count: u32,
    stability: Stability,
    /// The first error.
    error: Option<FsError>,
    /// The attributes before the WRITE, and the server's count of changes at that time. `None` if another server may have changed
    /// the file meanwhile.
    before: Option<(WccAttr, u32)>,
}

impl Writing {
    /// A WRITE of `left` bytes of data that are yet to come, or a COMMIT.
    pub(in super::super) const fn new(
        file: Pin,
        offset: u64,
        left: u32,
        stability: Stability,
    ) -> Self {
        Self {
            file: Some(file),
            offset,
            left,
            count: left,
            stability,
            error: None,
            before: None,
        }
    }

    /// Length of all data (bytes).
    pub(in super::super) const fn len(&self) -> usize {
        self.count as usize
    }

    /// Writes the next data to the file.
    pub(in super::super) fn put(&mut self, cx: &mut Cx<'_>, bytes: &[u8]) {
        if let Some(file) = &self.file
            && !bytes.is_empty()
        {
            self.error = cx.vfs.write(file, self.offset, bytes).err();
        }
        self.offset += bytes.len() as u64;
        self.left -= bytes.len() as u32;
    }

    /// Stores the data that has arrived. Returns a transfer for data that has not, and for all data of a large WRITE, because the
    /// disk may be slow.
    ///
    /// # Errors
    /// The need for which the WRITE waits.
    pub(in super::super) fn store(
        &mut self,
        record: &mut RecordCursor,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
    ) -> Result<(), Next> {
        while self.left > 0 && self.error.is_none() {
            if record.left == 0 {
                match (!record.last).then(|| record.next_fragment(input)) {
                    Some(Err(Next::Input)) => return Err(Next::Rest),
                    // If the data ends early, the WRITE is answered with a smaller count (RFC 1813 section 3.3.7). It is not
                    // rejected, because a rejected request must not have stored anything. A fragment that exceeds the limit of
                    // fragments is still read if it has data.
                    None | Some(Err(_)) if record.left == 0 => {
                        self.count -= core::mem::take(&mut self.left);
                    }
                    _ => {}
                }
                continue;
            }
            if self.count >= WORKER_WRITE_BYTES_MIN || input.rest().is_empty() {
                return Err(self.move_rest(record));
            }
            let bytes = record.take(input, self.left);
            self.put(cx, bytes);
        }
        Ok(())
    }

    /// Prepares the sync of data that must be durable. Returns the file, and the result of the WRITE.
    pub(in super::super) fn end(&mut self, cx: &mut Cx<'_>) -> Result<(Pin, FsResult<()>), Next> {
        let file = self.file.take().ok_or(Next::Output)?;
        if self.stability != Stability::Unstable && self.error.is_none() {
            self.error = cx.vfs.stage(&file).err();
        }
        Ok((file, self.error.map_or(Ok(()), Err)))
    }

    /// Number of bytes that are written, and the durability of the data as on the wire: UNSTABLE or FILE_SYNC.
    pub(in super::super) const fn written(&self) -> [u32; 2] {
        const FILE_SYNC: u32 = 2;
        let committed = match self.stability {
            Stability::Unstable => 0,
            Stability::Commit | Stability::Stable => FILE_SYNC,
        };
        [self.count, committed]
    }

    /// Returns a transfer for the next data, up to the end of the fragment.
    fn move_rest(&mut self, record: &mut RecordCursor) -> Next {
        let Some(file) = self.file.take() else {
            return Next::Output;
        };
        let len = self.left.min(record.left);
        self.left -= len;
        record.left -= len;
        Next::Move(Transfer {
            file,
            offset: self.offset,
            len: len.into(),
            way: Way::ToFile,
        })
    }

    /// Continues after the transfer. Takes back its file and its offset after the last data.
    pub(in super::super) fn resume(&mut self, record: &mut RecordCursor, done: Moved) {
        self.file = Some(done.transfer.file);
        self.offset = done.transfer.offset;
        self.error = done.result.err();
        record.put_back(done.transfer.len as usize);
    }

    /// Unpins the file, after the connection has closed.
    pub(in super::super) fn abandon(self, vfs: &mut Tree) {
        if let Some(file) = self.file {
            vfs.unpin(file);
        }
    }
}

impl Nfs {
    /// Begins a WRITE, whose data is left unread, or a COMMIT.
    pub(super) fn write(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
    ) -> Result<Writing, ProcedureError> {
        let args = &mut request.args;
        let (offset, count) = (args.u64(), args.u32());
        let (mut left, mut stability, mut access) = (0, Stability::Commit, None);
        if procedure == Procedure::Write {
            let stable = args.u32();
            left = args.u32();
            let here = args.rest().len() as u32;
            let follows = request.follows.unwrap_or(left);
            if stable > 2 || left != count || here.saturating_add(follows) < left {
                args.refuse();
            }
            stability = if stable == 0 {
                Stability::Unstable
            } else {
                Stability::Stable
            };
            access = Some(Access::Write);
        }
        args.check()?;
        // Errors of the file come before errors of the range. Without an access a directory can be pinned, too.
        if object.attr.kind == ObjectType::Directory {
            return Err(FsError::IsDirectory.into());
        }
        let file = cx.vfs.pin(object.node, access)?;
        let refused = if left > WRITE_BYTES_MAX {
            Some(FsError::Invalid)
        } else if stability != Stability::Commit
            && offset.saturating_add(left.into()) > i64::MAX as u64
        {
            Some(FsError::TooLarge)
        } else {
            None
        };
        if let Some(error) = refused {
            cx.vfs.unpin(file);
            return Err(error.into());
        }
        let before = (wcc_attr(&object.attr), self.change_count);
        Ok(Writing {
            // If other servers run, this one cannot know if the file changed meanwhile.
            before: self.lock().is_none().then_some(before),
            ..Writing::new(file, offset, left, stability)
        })
    }

    /// Continues a WRITE or COMMIT. Writes the results after the last data.
    ///
    /// # Errors
    /// The need for which the WRITE waits.
    pub(in super::super) fn store(
        &mut self,
        writing: &mut Writing,
        record: &mut RecordCursor,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<Answer, Next> {
        writing.store(record, cx, input)?;
        let (file, _) = writing.end(cx)?;
        self.emit_results(writing, &file, cx, reply);
        cx.vfs.unpin(file);
        Ok(Answer {
            promise: match writing.stability {
                Stability::Unstable => Promise::Nothing,
                Stability::Commit | Stability::Stable => Promise::Data,
            },
            ..Answer::of(Outcome::of_error(writing.error.is_some()))
        })
    }

    fn emit_results(
        &mut self,
        writing: &Writing,
        file: &Pin,
        cx: &mut Cx<'_>,
        reply: &mut Writer<'_>,
    ) {
        let status = writing
            .error
            .map_or(Status::Ok, |error| error_status(cx, error));
        reply.u32(status as u32);
        let before = writing.before;
        let before = before.filter(|(_, count)| *count == self.change_count);
        pre_op(reply, before.map(|(attr, _)| attr));
        if writing.stability != Stability::Commit {
            cx.vfs.record_change(file.node());
        }
        post_op(reply, cx.vfs.attr(file.node()).as_ref().ok());
        if status != Status::Ok {
            return;
        }
        if writing.stability != Stability::Commit {
            reply.words(&writing.written());
        }
        reply.u64(self.verifier());
    }
}
