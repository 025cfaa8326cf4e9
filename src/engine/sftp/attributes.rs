//! Attributes: conversion between the wire and the tree; STAT and SETSTAT.

use super::Exchange;
use super::handles::WRITE;
use super::requests::Operation;
use super::status::{Fault, Outcome, done};
use crate::vfs::{Attr, FileTime, FsError, NewTime, OpenFlags, SetAttr};
use crate::wire::Writer;
use crate::wire::sftp::{Attributes, attribute};

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

/// The change that these attributes request.
fn change(attributes: &Attributes) -> SetAttr {
    let time = |secs: u32| {
        NewTime::At(FileTime {
            secs: secs.into(),
            nanos: 0,
        })
    };
    // chown(2) takes -1 as "no change".
    let id = |id: u32| Some(id).filter(|id| *id != u32::MAX);
    let mut change = SetAttr {
        size: attributes.size,
        mode: attributes.mode.map(|mode| mode & MODE_MASK),
        ..SetAttr::default()
    };
    if let Some((user, group)) = attributes.owner {
        (change.uid, change.gid) = (id(user), id(group));
    }
    if let Some((accessed, modified)) = attributes.times {
        (change.atime, change.mtime) = (time(accessed), time(modified));
    }
    change
}

impl Exchange<'_> {
    pub(super) fn stat(&mut self) -> Outcome {
        let attr = match self.request.operation {
            Operation::OpenStat => self.vfs.attr(self.request.node),
            operation => self
                .vfs
                .attr_at(self.request.path, operation == Operation::Stat),
        };
        match &attr {
            Ok(attr) => put(&mut self.reply, attr),
            Err(error) => return Err((*error).into()),
        }
        Ok(())
    }

    /// SETSTAT, FSETSTAT, and lsetstat@openssh.com, which changes a symbolic link itself and therefore cannot set a size.
    pub(super) fn set(&mut self) -> Outcome {
        let attributes = &self.request.attributes;
        if attributes.size > Some(i64::MAX as u64) {
            return Err(FsError::Invalid.into());
        }
        let (sized, change) = (attributes.size.is_some(), change(attributes));
        if self.request.operation == Operation::OpenSetStat {
            // Setting the size needs a handle that is open for writing.
            if sized && self.request.mode & WRITE == 0 {
                return Err(FsError::Invalid.into());
            }
        } else if *attributes == Attributes::default() {
            // As with OpenSSH, a SETSTAT without attributes succeeds even if the path does not exist.
            return Err(Fault::Done);
        } else if !sized {
            self.resolve(
                self.request.path,
                self.request.operation == Operation::SetStat,
            )?;
        } else if self.request.operation == Operation::SetStat {
            let how = OpenFlags {
                bits: WRITE,
                create: None,
            };
            let pin = self.vfs.open_at(self.request.path, &how)?;
            let changed = self.vfs.set_attr(pin.node(), &change);
            self.vfs.unpin(pin);
            return done(changed);
        } else {
            return Err(FsError::Invalid.into());
        }
        done(self.vfs.set_attr(self.request.node, &change))
    }
}
