//! WRITE and COMMIT: data on its way from the stream to a file, and onto the disk.
//!
//! A WRITE's data is stored as it comes, so its reply is written when the last of it is there, or on disk.

use super::super::rpc::{Record, Request, patch_mark};
use super::super::{Cx, Order, State};
use super::{Fault, Nfs, Object, Outcome, Promise, mark_promise, post_op, pre_op, tell};
use crate::config::{WORKER_WRITE_BYTES_MIN, WRITE_BYTES_MAX};
use crate::vfs::{Access, Attr, FsError, FsResult, Pin, Tree};
use crate::wire::nfs3::{Procedure, Status};
use crate::wire::rpc::emit_reply;
use crate::wire::{Reader, Writer};
use core::net::Ipv6Addr;

/// What a caller wants of its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// That all that is in the file is on disk: it brings no data.
    Commit,
    /// To be in the file.
    Unstable,
    /// To be on disk.
    Stable,
}

/// A WRITE or COMMIT that is not answered yet.
#[derive(Debug)]
#[repr(C)]
pub(in super::super) struct Writing {
    /// The file; `None` while an order has it.
    file: Option<Pin>,
    /// Where the next of the data goes, in bytes from the start of the file.
    offset: u64,
    /// Bytes that are neither stored nor ordered to be.
    left: u32,
    xid: u32,
    count: u32,
    how: How,
    /// What went wrong first.
    error: Option<FsError>,
}

impl Writing {
    /// Whether it waits for more of its data.
    pub(in super::super) const fn holds_file(&self) -> bool {
        self.file.is_some()
    }

    /// Writes the data that is in `input`.
    pub(in super::super) fn write_here(
        &mut self,
        record: &mut Record,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
    ) {
        let bytes = record.take(input, self.left);
        if let Some(file) = &self.file
            && !bytes.is_empty()
            && self.error.is_none()
        {
            self.error = cx.vfs.write(file, self.offset, bytes).err();
        }
        self.offset += bytes.len() as u64;
        self.left -= bytes.len() as u32;
    }

    /// Orders the next bytes of the data, up to the end of the fragment.
    fn order_rest(&mut self, record: &mut Record) -> State {
        let Some(file) = self.file.take() else {
            return State::NeedOutput;
        };
        let len = self.left.min(record.left);
        self.left -= len;
        record.left -= len;
        let offset = self.offset;
        State::Order(Order::Store { file, offset, len })
    }

    /// Restores the file, the offset and the unstored length after an [`Order::Store`] with this result.
    pub(in super::super) fn resume(
        &mut self,
        record: &mut Record,
        (file, offset, len): (Pin, u64, u32),
        result: FsResult<()>,
    ) {
        self.file = Some(file);
        self.offset = offset;
        self.error = result.err();
        record.left += len;
    }

    /// Its connection is gone.
    pub(in super::super) fn abandon(self, vfs: &mut Tree) {
        if let Some(file) = self.file {
            vfs.unpin(file);
        }
    }
}

/// The attributes of a file before a WRITE, and which WRITE. RFC 1813 section 2.6.
#[derive(Debug)]
pub(super) struct WccAttr {
    attr: Attr,
    xid: u32,
    peer: Ipv6Addr,
}

impl Nfs {
    /// Begins a WRITE, of whose arguments the data is left unread, or a COMMIT.
    pub(super) fn write(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
    ) -> Result<Outcome, Fault> {
        let args = &mut request.args;
        let (offset, count) = (args.u64(), args.u32());
        let (mut left, mut how, mut access) = (0, How::Commit, None);
        if procedure == Procedure::Write {
            let stable = args.u32();
            left = args.u32();
            let here = args.rest().len() as u32;
            let follows = request.follows.unwrap_or(left);
            if stable > 2 || left != count || here.saturating_add(follows) < left {
                args.refuse();
            }
            how = if stable == 0 {
                How::Unstable
            } else {
                How::Stable
            };
            access = Some(Access::Write);
        }
        args.check()?;
        // Whether anything may be written there at all comes first.
        let file = cx.vfs.pin(object.node, access)?;
        let refused = if left > WRITE_BYTES_MAX {
            Some(FsError::Invalid)
        } else if how != How::Commit && offset.saturating_add(left.into()) > i64::MAX as u64 {
            Some(FsError::TooLarge)
        } else {
            None
        };
        if let Some(error) = refused {
            cx.vfs.unpin(file);
            return Err(error.into());
        }
        let (attr, xid, peer) = (object.attr, request.call.xid, cx.peer);
        // Beside other servers nobody knows that nothing else has changed.
        let is_alone = self.turns().is_none();
        self.wcc_attr = is_alone.then_some(WccAttr { attr, xid, peer });
        self.begun = Some(Writing {
            file: Some(file),
            offset,
            left,
            xid,
            count,
            how,
            error: None,
        });
        Ok(Outcome::Write)
    }

    /// Goes on with a WRITE or COMMIT. Data of a small WRITE that is in `input` is stored; the driver stores the rest, and all of a
    /// large WRITE, for which the disk may have to be waited for. After the last of it the reply is written.
    ///
    /// # Errors
    /// Why it is not answered yet.
    #[inline(never)]
    pub(in super::super) fn store(
        &mut self,
        writing: &mut Writing,
        record: &mut Record,
        cx: &mut Cx<'_>,
        input: &mut Reader<'_>,
        reply: &mut Writer<'_>,
    ) -> Result<(), State> {
        while writing.left > 0 && writing.error.is_none() {
            if record.left == 0 {
                match (!record.last).then(|| record.next_fragment(input)) {
                    Some(Err(State::NeedInput)) => {
                        self.forget_wcc_attr();
                        return Err(State::NeedInput);
                    }
                    // Nothing is stored of a request that is refused, so one that has begun is not. Fragments beyond the limit
                    // are read while they bring data; where that ends early, it is a shorter WRITE (RFC 1813 section 3.3.7).
                    None | Some(Err(_)) if record.left == 0 => {
                        writing.count -= core::mem::take(&mut writing.left);
                    }
                    _ => {}
                }
                continue;
            }
            if writing.count >= WORKER_WRITE_BYTES_MIN || input.rest().is_empty() {
                return Err(writing.order_rest(record));
            }
            writing.write_here(record, cx, input);
        }
        let Some(file) = writing.file.take() else {
            return Err(State::NeedOutput);
        };
        if writing.how != How::Unstable && writing.error.is_none() {
            writing.error = cx.vfs.stage(&file).err();
        }
        self.finish(writing, file, cx, reply);
        Ok(())
    }

    /// Writes the reply to a WRITE or COMMIT whose data is stored, or could not be.
    #[inline(never)]
    fn finish(&mut self, writing: &Writing, file: Pin, cx: &mut Cx<'_>, reply: &mut Writer<'_>) {
        let mark = reply.position();
        reply.u32(0);
        emit_reply(reply, writing.xid, Ok(()));
        self.emit_results(writing, &file, cx, reply);
        patch_mark(reply, mark, 0);
        if writing.how != How::Unstable {
            let procedure = match writing.how {
                How::Commit => Procedure::Commit,
                _ => Procedure::Write,
            };
            mark_promise(reply, mark, procedure);
            self.promise = Promise::Data;
        }
        cx.vfs.unpin(file);
    }

    fn emit_results(
        &mut self,
        writing: &Writing,
        file: &Pin,
        cx: &mut Cx<'_>,
        reply: &mut Writer<'_>,
    ) {
        let status = writing.error.map_or(Status::Ok, |error| tell(cx, error));
        reply.u32(status as u32);
        let before = match &self.wcc_attr {
            Some(wcc_attr) if (wcc_attr.xid, wcc_attr.peer) == (writing.xid, cx.peer) => {
                Some(&wcc_attr.attr)
            }
            _ => None,
        };
        pre_op(reply, before);
        self.wcc_attr = None;
        post_op(reply, cx.vfs.attr(file.node()).as_ref().ok());
        if status != Status::Ok {
            return;
        }
        if writing.how != How::Commit {
            const UNSTABLE: u32 = 0;
            const FILE_SYNC: u32 = 2;
            let committed = if writing.how == How::Stable {
                FILE_SYNC
            } else {
                UNSTABLE
            };
            reply.words(&[writing.count, committed]);
        }
        reply.u64(self.verifier());
    }

    /// Others may change files before the WRITE in hand has ended.
    pub(in super::super) fn forget_wcc_attr(&mut self) {
        self.wcc_attr = None;
    }
}
