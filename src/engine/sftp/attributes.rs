//! Attributes: conversion between the wire and the tree; STAT and SETSTAT.

use super::handles::WRITE;
use super::requests::Ask;
use super::status::{Fault, Outcome, done};
use super::{Request, Turn};
use crate::vfs::{Attr, FileTime, FsError, NewTime, OpenFlags};
use crate::wire::Writer;
use crate::wire::sftp::attribute;

/// The bits of a mode that can be changed.
pub(super) const MODE_MASK: u32 = 0o7777;

/// Appends the ATTRS of an object.
pub(super) fn put(reply: &mut Writer<'_>, attr: &Attr) {
    // ATTRS hold times from 1970 to 2106; others become the first or last of these.
    let time = |time: FileTime| time.secs.clamp(0, u32::MAX.into()) as u32;
    let mode = attr.kind.bits() | attr.mode;
    reply.u32(attribute::SIZE | attribute::OWNER | attribute::MODE | attribute::TIMES);
    reply.u64(attr.size);
    reply.words(&[attr.uid, attr.gid, mode, time(attr.atime), time(attr.mtime)]);
}

/// Parses the attributes that a client wants to change.
#[inline(never)] // −36 bytes: one caller, whose frame stays small.
pub(super) fn read(request: &mut Request<'_>) {
    let (args, change) = (&mut request.args, &mut request.set_attr);
    let told = args.u32();
    request.attributes_told = told;
    let [size, mode, mtime, uid, gid] = &mut request.numbers;
    if told & attribute::SIZE != 0 {
        *size = args.u64();
        change.size = Some(*size);
    }
    if told & attribute::OWNER != 0 {
        // chown(2) takes -1 as "no change".
        let id = |id: u32| Some(id).filter(|id| *id != u32::MAX);
        let (user, group) = (args.u32(), args.u32());
        (*uid, *gid) = (user.into(), group.into());
        (change.uid, change.gid) = (id(user), id(group));
    }
    if told & attribute::MODE != 0 {
        let bits = args.u32();
        *mode = bits.into();
        change.mode = Some(bits & MODE_MASK);
    }
    if told & attribute::TIMES != 0 {
        let time = |secs: u32| {
            NewTime::At(FileTime {
                secs: secs.into(),
                nanos: 0,
            })
        };
        let (accessed, modified) = (args.u32(), args.u32());
        *mtime = modified.into();
        (change.atime, change.mtime) = (time(accessed), time(modified));
    }
    args.extended_attributes(told);
}

impl Turn<'_> {
    pub(super) fn stat(&mut self) -> Outcome {
        let attr = match self.request.ask {
            Ask::OpenStat => self.vfs.attr(self.request.node),
            ask => self.vfs.attr_at(self.request.path, ask == Ask::Stat),
        };
        match &attr {
            Ok(attr) => put(&mut self.reply, attr),
            Err(error) => return Err((*error).into()),
        }
        Ok(())
    }

    /// SETSTAT, FSETSTAT, and lsetstat@openssh.com, which changes a symbolic link itself and therefore cannot set a size.
    pub(super) fn set(&mut self) -> Outcome {
        if self.request.set_attr.size > Some(i64::MAX as u64) {
            return Err(FsError::Invalid.into());
        }
        let sized = self.request.attributes_told & attribute::SIZE != 0;
        if self.request.ask == Ask::OpenSetStat {
            // Setting the size needs a handle that is open for writing.
            if sized && self.request.mode & WRITE == 0 {
                return Err(FsError::Invalid.into());
            }
        } else if self.request.attributes_told & attribute::ALL == 0 {
            // As with OpenSSH, a SETSTAT without attributes succeeds even if the path does not exist.
            return Err(Fault::Done);
        } else if !sized {
            self.resolve(self.request.path, self.request.ask == Ask::SetStat)?;
        } else if self.request.ask == Ask::SetStat {
            let how = OpenFlags {
                bits: WRITE,
                create: None,
            };
            let pin = self.vfs.open_at(self.request.path, &how)?;
            let changed = self.vfs.set_attr(pin.node(), &self.request.set_attr);
            self.vfs.unpin(pin);
            return done(changed);
        } else {
            return Err(FsError::Invalid.into());
        }
        done(self.vfs.set_attr(self.request.node, &self.request.set_attr))
    }
}
