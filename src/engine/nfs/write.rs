//! WRITE and COMMIT: data on its way from the stream to a file, and onto the disk.
//!
//! A WRITE's data is stored as it comes, so its reply is written when the last of it is there, or on disk.

use super::super::Cx;
use super::super::rpc::Answer;
use super::{Fault, Nfs, Object, describe, tell};
use crate::config::WRITE_BYTES_MAX;
use crate::vfs::{FsError, Kind, Pin, Right};
use crate::wire::Reader;
use crate::wire::Writer;
use crate::wire::nfs3::{Attributes, Procedure, Status, emit_wcc};

/// What a caller wants of its data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// To be in the file.
    Unstable,
    /// To be on disk.
    Stable,
    /// That all that is in the file is on disk: it brings no data.
    Commit,
}

/// A WRITE or COMMIT that is not answered yet.
#[derive(PartialEq, Eq, Debug)]
pub(in super::super) struct Writing {
    pub(in super::super) xid: u32,
    /// Bytes that are neither stored nor ordered to be.
    pub(in super::super) left: u32,
    /// What went wrong first.
    pub(in super::super) error: Option<FsError>,
    how: How,
    count: u32,
}

impl Writing {
    /// Whether its reply has to wait for the disk.
    pub(in super::super) fn must_last(&self) -> bool {
        self.how != How::Unstable && self.error.is_none()
    }
}

/// What a file was like before a WRITE; of whose WRITE.
#[derive(Debug)]
pub(super) struct Before {
    xid: u32,
    attributes: Attributes,
}

impl Nfs {
    /// Begins a WRITE, of whose arguments the data is left in `args`, or a COMMIT.
    pub(super) fn write(
        &mut self,
        procedure: Procedure,
        xid: u32,
        cx: &mut Cx<'_>,
        object: &Object,
        args: &mut Reader<'_>,
        follows: Option<u32>,
    ) -> Result<Answer, Fault> {
        let (offset, count) = (args.u64()?, args.u32()?);
        let mut writing = Writing {
            xid,
            left: 0,
            error: None,
            how: How::Commit,
            count,
        };
        let mut right = None;
        if procedure == Procedure::Write {
            let (stable, len) = (args.u32()?, args.u32()?);
            let here = u32::try_from(args.rest().len()).unwrap_or(u32::MAX);
            let whole = follows.is_none_or(|follows| here.saturating_add(follows) >= len);
            if stable > 2 || len != count || !whole {
                return Err(Fault::Malformed);
            }
            match object.kind {
                Kind::Regular => {}
                Kind::Directory => return Err(FsError::IsDirectory.into()),
                _ => return Err(FsError::Invalid.into()),
            }
            if len > WRITE_BYTES_MAX {
                return Err(FsError::Invalid.into());
            }
            if offset.saturating_add(len.into()) > i64::MAX as u64 {
                return Err(FsError::TooLarge.into());
            }
            writing.how = if stable == 0 {
                How::Unstable
            } else {
                How::Stable
            };
            writing.left = len;
            right = Some(Right::Write);
        }
        let file = cx.vfs.pin(object.node, right)?;
        self.before = Some(Before {
            xid,
            attributes: object.attributes,
        });
        Ok(Answer::Writing(writing, file, offset))
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
        let before = self
            .before
            .take()
            .filter(|before| before.xid == writing.xid);
        let after = describe(cx, file.node()).ok();
        emit_wcc(
            reply,
            before.as_ref().map(|before| &before.attributes),
            after.as_ref().map(|after| &after.attributes),
        );
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
    pub(in super::super) fn forget_before(&mut self) {
        self.before = None;
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
