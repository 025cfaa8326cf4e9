//! Attributes on their way from the tree to the wire and back.

use super::Request;
use super::requests::Ask;
use super::status::Outcome;
use crate::vfs::{Attr, Change, FileTime, FsError, FsResult, Kind, NewTime, Opening};
use crate::wire::sftp::Attributes;

/// The bits of a mode that can be changed.
pub(super) const MODE_MASK: u32 = 0o7777;

/// What the wire tells of an object.
#[inline(never)]
pub(super) fn told(attr: &Attr) -> Attributes {
    let kind = match attr.kind {
        Kind::Fifo => 1,
        Kind::CharacterDevice => 2,
        Kind::Directory => 4,
        Kind::BlockDevice => 6,
        Kind::Regular => 8,
        Kind::SymbolicLink => 10,
        Kind::Socket => 12,
    };
    // The wire counts from 1970 to 2106: what lies outside is shown at its edge.
    let time = |time: FileTime| time.secs.clamp(0, u32::MAX.into()) as u32;
    Attributes {
        size: Some(attr.size),
        owner: Some((attr.uid, attr.gid)),
        mode: Some(kind << 12 | attr.mode),
        times: Some((time(attr.atime), time(attr.mtime))),
    }
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

impl Request<'_, '_> {
    #[inline(never)]
    pub(super) fn stat(&mut self, ask: Ask) -> Outcome {
        let attr = if ask == Ask::OpenStat {
            let pin = self.session.handles.pin(self.slot)?;
            self.vfs.attr(pin.node())
        } else {
            self.vfs.attr_at(self.path, ask == Ask::Stat)
        };
        told(&attr?).emit(self.reply);
        Ok(())
    }

    /// SETSTAT, FSETSTAT, and lsetstat@openssh.com, which changes a symbolic link itself, and so has no size to change.
    pub(super) fn set(&mut self, ask: Ask) -> Outcome {
        let change = change(&self.attributes)?;
        let vfs = &mut *self.vfs;
        let sized = change.size.is_some();
        let mut opened = None;
        let node = if ask == Ask::OpenSetStat {
            // Only what may be written is cut.
            let open = self.session.handles.at(self.slot);
            let open = open.filter(|open| open.mode.write || !sized);
            let pin = open.and_then(|open| open.pin.as_ref());
            pin.ok_or(FsError::Invalid)?.node()
        } else if change == Change::default() {
            // As with OpenSSH, nothing is changed of what is not there.
            return Ok(());
        } else if !sized {
            vfs.resolve(self.path, ask == Ask::SetStat)?
        } else if ask == Ask::SetStat {
            let how = Opening {
                write: true,
                ..Opening::default()
            };
            opened.insert(vfs.open_at(self.path, &how)?).node()
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
