//! Attributes on their way from the tree to the wire and back.

use super::handles::WRITE;
use super::requests::Ask;
use super::status::{Fault, Outcome};
use super::{Request, Sftp};
use crate::vfs::{Attr, Change, FileTime, FsError, FsResult, NewTime, Opening, Vfs as _};
use crate::wire::Writer;
use crate::wire::sftp::Attributes;

/// The bits of a mode that can be changed.
pub(super) const MODE_MASK: u32 = 0o7777;

/// Appends what the wire tells of an object.
#[inline(never)]
pub(super) fn put(reply: &mut Writer<'_>, attr: &Attr) {
    // The wire counts from 1970 to 2106: what lies outside is shown at its edge.
    let time = |time: FileTime| time.secs.clamp(0, u32::MAX.into()) as u32;
    let told = Attributes {
        size: Some(attr.size),
        owner: Some((attr.uid, attr.gid)),
        mode: Some(attr.kind.bits() | attr.mode),
        times: Some((time(attr.atime), time(attr.mtime))),
    };
    told.emit(reply);
}

/// What a client wants to be changed.
fn change(told: &Attributes) -> FsResult<Change> {
    let mut change = Change {
        mode: told.mode.map(|mode| mode & MODE_MASK),
        size: told.size,
        ..Change::default()
    };
    if told.size > Some(i64::MAX as u64) {
        return Err(FsError::Invalid);
    }
    if let Some((user, group)) = told.owner {
        // To the host, the last number is nobody's: it means that the owner stays.
        change.uid = Some(user).filter(|id| *id != u32::MAX);
        change.gid = Some(group).filter(|id| *id != u32::MAX);
    }
    if let Some((read, written)) = told.times {
        let time = |secs: u32| {
            NewTime::At(FileTime {
                secs: secs.into(),
                nanos: 0,
            })
        };
        (change.atime, change.mtime) = (time(read), time(written));
    }
    Ok(change)
}

impl Sftp {
    #[inline(never)]
    pub(super) fn stat(&mut self, request: &mut Request<'_, '_>, ask: Ask) -> Outcome {
        let attr = if ask == Ask::OpenStat {
            let pin = request.session.handles.pin(request.slot);
            request.vfs.attr(pin.ok_or(Fault::Failure)?.node())
        } else {
            request.vfs.attr_at(request.path, ask == Ask::Stat)
        };
        match &attr {
            Ok(attr) => put(request.reply, attr),
            Err(error) => return Err((*error).into()),
        }
        Ok(())
    }

    /// SETSTAT, FSETSTAT, and lsetstat@openssh.com, which changes a symbolic link itself, and so has no size to change.
    #[inline(never)]
    pub(super) fn set(&mut self, request: &mut Request<'_, '_>, ask: Ask) -> Outcome {
        let change = change(&request.attributes)?;
        let vfs = &mut *request.vfs;
        let sized = change.size.is_some();
        let mut opened = None;
        let node = if ask == Ask::OpenSetStat {
            // Only what may be written is cut.
            let open = request.session.handles.at(request.slot);
            let open = open.filter(|open| open.mode & WRITE > 0 || !sized);
            let pin = open.and_then(|open| open.pin.as_ref());
            pin.ok_or(FsError::Invalid)?.node()
        } else if !(sized
            || change.mode.is_some()
            || change.uid.is_some()
            || change.gid.is_some()
            || change.atime != NewTime::Keep)
        {
            // As with OpenSSH, nothing is changed of what is not there.
            return Ok(());
        } else if !sized {
            vfs.resolve(request.path, ask == Ask::SetStat)?
        } else if ask == Ask::SetStat {
            let how = Opening {
                write: true,
                ..Opening::default()
            };
            opened.insert(vfs.open_at(request.path, &how)?).node()
        } else {
            return Err(FsError::Invalid.into());
        };
        let changed = vfs.set_attr(node, &change);
        if let Some(pin) = opened {
            vfs.unpin(pin);
        }
        Ok(changed?)
    }
}
