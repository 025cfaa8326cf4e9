//! WRITE and COMMIT: data on its way from the stream to a file, and onto the disk.
//!
//! A WRITE's data is stored as it comes, so its reply is written when the last of it is there, or on disk.

use super::super::Cx;
use super::super::rpc::Request;
use super::{Fault, Nfs, Object, post_op, pre_op, tell};
use crate::config::WRITE_BYTES_MAX;
use crate::vfs::{Access, Attr, FsError, Pin};
use crate::wire::Writer;
use crate::wire::nfs3::{Procedure, Status};

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
    /// Bytes that are neither stored nor ordered to be.
    pub(in super::super) left: u32,
    pub(in super::super) xid: u32,
    /// Where the next of the data goes, in bytes from the start of the file.
    pub(in super::super) offset: u64,
    count: u32,
    how: How,
    /// What went wrong first.
    pub(in super::super) error: Option<FsError>,
}

impl Writing {
    pub(in super::super) const NONE: Self = Self {
        left: 0,
        xid: 0,
        offset: 0,
        count: 0,
        how: How::Commit,
        error: None,
    };

    /// Whether its reply has to wait for the disk.
    pub(in super::super) fn must_last(&self) -> bool {
        self.how != How::Unstable && self.error.is_none()
    }
}

/// The attributes of a file before a WRITE, and which WRITE. RFC 1813 section 2.6.
#[derive(Debug)]
pub(super) struct WccAttr {
    attr: Attr,
    xid: u32,
}

impl Nfs {
    /// Begins a WRITE, of whose arguments the data is left unread, or a COMMIT.
    #[inline(never)]
    pub(super) fn write(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
    ) -> Result<(), Fault> {
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
        let xid = request.call.xid;
        let writing = Writing {
            left,
            xid,
            offset,
            count,
            how,
            error: None,
        };
        request.session.begin(writing, file);
        let attr = object.attr;
        self.wcc_attr = Some(WccAttr { attr, xid });
        Ok(())
    }

    /// Writes the results of a WRITE or COMMIT whose data is where it was to go, or is not.
    pub(in super::super) fn written(
        &mut self,
        writing: &Writing,
        file: &Pin,
        cx: &mut Cx<'_>,
        reply: &mut Writer<'_>,
    ) {
        let status = writing.error.map_or(Status::Ok, |error| tell(cx, error));
        reply.u32(status as u32);
        let before = match &self.wcc_attr {
            Some(wcc_attr) if wcc_attr.xid == writing.xid => Some(&wcc_attr.attr),
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
        reply.put(&self.verifier);
    }

    /// Others may change files before the WRITE in hand has ended.
    pub(in super::super) fn forget_wcc_attr(&mut self) {
        self.wcc_attr = None;
    }

    /// What was promised of unstable data no longer holds: whoever waits to commit some has to write it again.
    pub(in super::super) fn break_promises(&mut self) {
        for byte in &mut self.verifier {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
    }
}
