//! STAT, LSTAT, FSTAT, SETSTAT, FSETSTAT, and attributes on their way from the tree to the wire and back.

use super::{Answer, Outcome, Request, Sftp};
use crate::vfs::{Attr, Change, FileTime, FsError, FsResult, NewTime, Opening};
use crate::wire::sftp::{Attributes, Status, kind};

/// The bits of a mode that can be changed.
pub(super) const MODE_MASK: u32 = 0o7777;

/// What the wire tells of an object.
#[inline(never)]
pub(super) fn told(attr: &Attr) -> Attributes {
    // The wire counts from 1970 to 2106: what lies outside is shown at its edge.
    let time = |time: FileTime| time.secs.clamp(0, u32::MAX.into()) as u32;
    Attributes {
        size: Some(attr.size),
        owner: Some((attr.uid, attr.gid)),
        mode: Some(attr.kind.bits() | attr.mode),
        times: Some((time(attr.atime), time(attr.mtime))),
    }
}

/// What a client wants to be changed.
#[inline(never)]
fn change(told: &Attributes) -> FsResult<Change> {
    if told.size.is_some_and(|size| i64::try_from(size).is_err()) {
        return Err(FsError::Invalid);
    }
    // To the host, the last number is nobody's: it means that the owner stays.
    let id = |id: u32| (id != u32::MAX).then_some(id);
    let time = |secs: u32| {
        NewTime::At(FileTime {
            secs: secs.into(),
            nanos: 0,
        })
    };
    let (atime, mtime) = told.times.map_or_else(Default::default, |(read, written)| {
        (time(read), time(written))
    });
    Ok(Change {
        mode: told.mode.map(|mode| mode & MODE_MASK),
        uid: told.owner.and_then(|(user, _)| id(user)),
        gid: told.owner.and_then(|(_, group)| id(group)),
        size: told.size,
        atime,
        mtime,
    })
}

impl Request<'_, '_, '_> {
    fn attributes(&mut self, attr: &Attr) -> Outcome {
        let start = self.reply.begin(kind::ATTRS, self.id);
        told(attr).emit(self.reply);
        self.reply.end(start, 0);
        Ok(Answer::Written)
    }
}

pub(super) fn stat(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let path = request.path();
    request.args.check()?;
    let follow = request.kind == kind::STAT;
    let attr = request.cx.vfs.attr_at(path, follow)?;
    request.attributes(&attr)
}

pub(super) fn stat_open(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handle = request.args.handle();
    request.args.check()?;
    let slot = request.session.handles.find(handle, false)?;
    let (pin, ..) = request.session.handles.get(slot)?;
    let attr = request.cx.vfs.attr(pin.node())?;
    request.attributes(&attr)
}

/// SETSTAT, and lsetstat@openssh.com, which changes a symbolic link itself.
pub(super) fn set(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let follow = request.kind == kind::SETSTAT;
    let path = request.path();
    let told = Attributes::parse(&mut request.args);
    request.args.check()?;
    let change = change(&told)?;
    let vfs = &mut *request.cx.vfs;
    if change.size.is_some() {
        if !follow {
            return Err(Status::BadMessage.into());
        }
        let how = Opening {
            write: true,
            ..Opening::default()
        };
        let pin = vfs.open_at(path, &how)?;
        let changed = vfs.set_attr(pin.node(), &change);
        vfs.unpin(pin);
        changed?;
    } else if change != Change::default() {
        let node = vfs.resolve(path, follow)?;
        vfs.set_attr(node, &change)?;
    }
    Ok(Answer::Ok)
}

pub(super) fn set_open(_: &mut Sftp, request: &mut Request<'_, '_, '_>) -> Outcome {
    let handle = request.args.handle();
    let told = Attributes::parse(&mut request.args);
    request.args.check()?;
    let slot = request.session.handles.find(handle, false)?;
    let change = change(&told)?;
    let (pin, mode, _) = request.session.handles.get(slot)?;
    if change.size.is_some() && !mode.write {
        return Err(FsError::Invalid.into());
    }
    request.cx.vfs.set_attr(pin.node(), &change)?;
    Ok(Answer::Ok)
}
