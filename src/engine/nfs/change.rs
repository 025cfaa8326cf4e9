//! SETATTR, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK: attributes and names.
//!
//! Arguments are read to their end before anything is done.

use super::super::Cx;
use super::directory::NAME_BYTES_MAX;
use super::{Fault, Nfs, Object, describe};
use crate::config::{CREATION_COUNT, LINK_BYTES_MAX};
use crate::vfs::{Caller, Change, FileTime, FsError, FsResult, Kind, Make, Name, NewTime, Node};
use crate::wire::nfs3::{
    Attributes, FileType, HANDLE_BYTES_MAX, Procedure, Status, emit_post_op, emit_wcc,
};
use crate::wire::{Malformed, Reader, Writer};

/// Files that were made under a verifier of their maker's, the last ones: who asks for the same again made them.
#[derive(Debug)]
pub(super) struct Creations {
    list: [([u32; 4], [u32; 2]); CREATION_COUNT],
    next: usize,
}

impl Creations {
    pub(super) const fn new() -> Self {
        Self {
            list: [([0; 4], [0; 2]); CREATION_COUNT],
            next: 0,
        }
    }

    fn add(&mut self, file: [u32; 4], verifier: [u32; 2]) {
        if let Some(place) = self.list.get_mut(self.next % CREATION_COUNT) {
            *place = (file, verifier);
        }
        self.next = self.next.wrapping_add(1);
    }
}

/// What was changed beside the object of the request.
#[derive(Default)]
pub(super) struct Effect {
    /// What a name was made for.
    made: Option<Node>,
    /// The directory of the other name.
    other: Option<Object>,
}

impl Effect {
    /// Writes what follows the status: what was made, and what the objects were like before and are now.
    pub(super) fn emit(
        &self,
        procedure: Procedure,
        status: Status,
        cx: &mut Cx<'_>,
        object: Option<&Object>,
        reply: &mut Writer<'_>,
    ) {
        let made = matches!(
            procedure,
            Procedure::Create | Procedure::MkDir | Procedure::SymLink | Procedure::MkNod
        );
        if made && status == Status::Ok {
            let handle = self.made.and_then(|node| cx.vfs.handle(node).ok());
            match &handle {
                Some(handle) => {
                    reply.u32(1);
                    reply.opaque(handle.bytes());
                }
                None => reply.u32(0),
            }
            emit_after(cx, self.made, reply);
        }
        if procedure == Procedure::Link {
            emit_after(cx, object.map(|object| object.node), reply);
        } else {
            emit_both(cx, object, reply);
        }
        if matches!(procedure, Procedure::Link | Procedure::Rename) {
            emit_both(cx, self.other.as_ref(), reply);
        }
    }
}

/// Writes the attributes that an object has now.
fn emit_after(cx: &mut Cx<'_>, node: Option<Node>, reply: &mut Writer<'_>) {
    let object = node.and_then(|node| describe(cx, node).ok());
    emit_post_op(reply, object.as_ref().map(|object| &object.attributes));
}

/// Writes the attributes that an object had, and has now.
fn emit_both(cx: &mut Cx<'_>, object: Option<&Object>, reply: &mut Writer<'_>) {
    let after = object.and_then(|object| describe(cx, object.node).ok());
    emit_wcc(
        reply,
        object.map(|object| &object.attributes),
        after.as_ref().map(|after| &after.attributes),
    );
}

/// The name of something that is there, or of something new: that "." and ".." are there is no news.
fn name<'a>(raw: &'a [u8], new: bool) -> FsResult<Name<'a>> {
    Name::new(raw).map_err(|error| match error {
        FsError::Access if new => FsError::Exists,
        FsError::Access => FsError::Invalid,
        other => other,
    })
}

impl Nfs {
    #[inline(never)]
    pub(super) fn change(
        &mut self,
        procedure: Procedure,
        cx: &mut Cx<'_>,
        object: &Object,
        caller: &Caller,
        args: &mut Reader<'_>,
        effect: &mut Effect,
    ) -> Result<(), Fault> {
        if procedure == Procedure::SetAttr {
            return set_attr(cx, object, args);
        }
        if procedure == Procedure::Link {
            let dir = args.opaque(HANDLE_BYTES_MAX)?;
            let raw = args.opaque(NAME_BYTES_MAX)?;
            let dir = open_other(cx, dir, caller, effect)?;
            return Ok(cx.vfs.link(object.node, dir, name(raw, true)?)?);
        }
        let raw = args.opaque(NAME_BYTES_MAX)?;
        match procedure {
            Procedure::Remove | Procedure::RmDir => {
                let directory = procedure == Procedure::RmDir;
                cx.vfs.remove(object.node, name(raw, false)?, directory)?;
            }
            Procedure::Rename => {
                let dir = args.opaque(HANDLE_BYTES_MAX)?;
                let new_raw = args.opaque(NAME_BYTES_MAX)?;
                let dir = open_other(cx, dir, caller, effect)?;
                cx.vfs
                    .rename(object.node, name(raw, false)?, dir, name(new_raw, false)?)?;
            }
            Procedure::Create => effect.made = Some(self.create(cx, object, raw, args)?),
            _ => {
                let (make, change) = made(procedure, args)?;
                let new = name(raw, true)?;
                effect.made = Some(cx.vfs.create(object.node, new, make, &change)?);
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        cx: &mut Cx<'_>,
        dir: &Object,
        raw: &[u8],
        args: &mut Reader<'_>,
    ) -> Result<Node, Fault> {
        const UNCHECKED: u32 = 0;
        const EXCLUSIVE: u32 = 2;
        let how = args.u32()?;
        let mut verifier = [0; 2];
        let change = match how {
            0 | 1 => change(args)?,
            EXCLUSIVE => {
                // Times that every file system can keep, as others do it too.
                verifier = [args.u32()? & 0x7fff_ffff, args.u32()? & 0x7fff_ffff];
                let [atime, mtime] = verifier.map(|secs| {
                    let secs = secs.into();
                    NewTime::At(FileTime { secs, nanos: 0 })
                });
                Change {
                    mode: Some(0o600),
                    atime,
                    mtime,
                    ..Change::default()
                }
            }
            _ => return Err(Fault::Malformed),
        };
        let name = name(raw, true)?;
        let made = cx.vfs.create(dir.node, name, Make::File, &change);
        if made != Err(FsError::Exists) || how != UNCHECKED && how != EXCLUSIVE {
            let made = made?;
            if how == EXCLUSIVE {
                let attributes = describe(cx, made)?.attributes;
                self.creations.add(attributes.identity(), verifier);
            }
            return Ok(made);
        }
        let node = match cx.vfs.lookup(dir.node, name) {
            // Removed since.
            Err(FsError::NoEntry) => return Err(FsError::TryLater.into()),
            found => found?,
        };
        let there = describe(cx, node)?;
        if there.kind != Kind::Regular {
            return Err(FsError::Exists.into());
        }
        if how == EXCLUSIVE {
            let known = (there.attributes.identity(), verifier);
            let its_own = there.size == 0 && there.attributes.seconds() == verifier;
            if !its_own && !self.creations.list.contains(&known) {
                return Err(FsError::Exists.into());
            }
        } else if change.size.is_some() {
            let change = Change {
                size: change.size,
                ..Change::default()
            };
            cx.vfs.set_attr(node, &change)?;
        }
        Ok(node)
    }
}

/// Opens the directory of the other name.
fn open_other(
    cx: &mut Cx<'_>,
    handle: &[u8],
    caller: &Caller,
    effect: &mut Effect,
) -> FsResult<Node> {
    let node = cx.vfs.open(handle, caller)?;
    effect.other = Some(describe(cx, node)?);
    Ok(node)
}

fn set_attr(cx: &mut Cx<'_>, object: &Object, args: &mut Reader<'_>) -> Result<(), Fault> {
    let change = change(args)?;
    if flag(args)? && object.attributes.changed() != [args.u32()?, args.u32()?] {
        return Err(Fault::Status(Status::NotSynchronous));
    }
    if change != Change::default() {
        cx.vfs.set_attr(object.node, &change)?;
    }
    Ok(())
}

/// What MKDIR, SYMLINK or MKNOD makes.
fn made<'a>(procedure: Procedure, args: &mut Reader<'a>) -> Result<(Make<'a>, Change), Fault> {
    if procedure == Procedure::MkDir {
        return Ok((Make::Directory, change(args)?));
    }
    if procedure == Procedure::SymLink {
        let change = change(args)?;
        // One more than there may be, so that it can be said what is wrong.
        let target = args.opaque(LINK_BYTES_MAX as u32 + 1)?;
        // Links have no mode of their own.
        return Ok((
            Make::Link(target),
            Change {
                mode: None,
                ..change
            },
        ));
    }
    const DEVICES: [(FileType, Kind); 2] = [
        (FileType::BlockDevice, Kind::BlockDevice),
        (FileType::CharacterDevice, Kind::CharacterDevice),
    ];
    let wanted = args.u32()?;
    for (number, kind) in DEVICES {
        if wanted == number as u32 {
            let change = change(args)?;
            let number = (args.u32()?, args.u32()?);
            return Ok((Make::Special(kind, number), change));
        }
    }
    let kind = match wanted {
        number if number == FileType::Socket as u32 => Kind::Socket,
        number if number == FileType::Fifo as u32 => Kind::Fifo,
        1..=7 => return Err(Fault::Status(Status::BadType)),
        _ => return Err(Fault::Malformed),
    };
    Ok((Make::Special(kind, (0, 0)), change(args)?))
}

fn flag(args: &mut Reader<'_>) -> Result<bool, Malformed> {
    match args.u32()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::Range),
    }
}

/// Reads what is to change.
#[doc(alias = "sattr3")]
#[inline(never)]
fn change(args: &mut Reader<'_>) -> Result<Change, Fault> {
    let word = |args: &mut Reader<'_>| -> Result<Option<u32>, Malformed> {
        flag(args)?.then(|| args.u32()).transpose()
    };
    let mode = word(args)?.map(|mode| mode & 0o7777);
    // To the host this number means "no change", and so it does here.
    let [uid, gid] = [word(args)?, word(args)?].map(|id| id.filter(|id| *id != Caller::NOBODY));
    let size = flag(args)?.then(|| args.u64()).transpose()?;
    Ok(Change {
        mode,
        uid,
        gid,
        size,
        atime: new_time(args)?,
        mtime: new_time(args)?,
    })
}

fn new_time(args: &mut Reader<'_>) -> Result<NewTime, Fault> {
    match args.u32()? {
        0 => Ok(NewTime::Keep),
        1 => Ok(NewTime::Now),
        2 => {
            let (secs, nanos) = (args.u32()?.into(), args.u32()?);
            if nanos >= 1_000_000_000 {
                return Err(FsError::Invalid.into());
            }
            Ok(NewTime::At(FileTime { secs, nanos }))
        }
        _ => Err(Fault::Malformed),
    }
}

const _: () = assert!(size_of::<Attributes>() == 84);
