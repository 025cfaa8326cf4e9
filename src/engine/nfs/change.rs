//! SETATTR, CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME, LINK: attributes and names.
//!
//! All arguments are parsed before the first change.

use super::super::Cx;
use super::super::rpc::Request;
use super::super::rpc::drc::NewCall;
use super::super::rpc::regions::CreateVerifier;
use super::attributes::{kind_of, to_wire};
use super::directory::NAME_BYTES_MAX;
use super::{Nfs, Object, ProcedureError, open, post_op, pre_op, wcc_attr};
use crate::config::{CREATE_VERIFIER_BYTES, CREATE_VERIFIER_COUNT, LINK_BYTES_MAX};
use crate::mem::fx_words;
use crate::vfs::{
    Caller, CreateWhat, FileTime, FsError, FsResult, Kind, Name, NewTime, Node, ObjectType,
    SetAttr, Target,
};
use crate::wire::nfs3::{HANDLE_BYTES_MAX, Procedure, Status};
use crate::wire::{Malformed, Reader, Writer};

/// Maximum length of a link's target on the wire (bytes): one more than allowed, so that a longer one gets the file system's error
/// instead of GARBAGE_ARGS.
const TARGET_BYTES_MAX: u32 = LINK_BYTES_MAX as u32 + 1;

/// CREATE's mode GUARDED: an existing file is an error. In mode UNCHECKED (0) an existing file is accepted.
const GUARDED: u32 = 1;
/// CREATE's mode EXCLUSIVE: an existing file is an error unless it was created with the same verifier.
const EXCLUSIVE: u32 = 2;

/// The verifiers of the last exclusive CREATEs: a repeated request with the same verifier succeeds. RFC 1813 section 3.3.8.
///
/// The memory is shared by all servers, which access it in turn, and may outlive them. A verifier that a killed server has stored
/// in part has a wrong checksum.
#[derive(Debug)]
pub(super) struct CreateVerifiers {
    list: &'static mut [CreateVerifier],
    /// Number of verifiers added, modulo 256. Modulo [`CREATE_VERIFIER_COUNT`] it is the index of the last.
    next: &'static mut [u8],
}

impl CreateVerifiers {
    /// Opens the list in `memory` of [`CREATED_BYTES`](crate::config::CREATED_BYTES). Zeros are an empty list.
    pub(super) const fn new(memory: &'static mut [u8]) -> Self {
        let (list, next) = memory.as_chunks_mut();
        Self { list, next }
    }

    fn add(&mut self, verifier: CreateVerifier) {
        if let Some(next) = self.next.first_mut() {
            *next = next.wrapping_add(1);
            let at = usize::from(*next) % CREATE_VERIFIER_COUNT;
            if let Some(place) = self.list.get_mut(at) {
                *place = verifier;
            }
        }
    }
}

/// State of one request that changes attributes or names: the procedure, and the objects it affects besides its first argument.
pub(super) struct WccData<'a> {
    procedure: Procedure,
    /// The call's place in the duplicate request cache.
    call: Option<&'a NewCall>,
    /// The handle of the first argument.
    handle: &'a [u8],
    /// The created object. `None` if the call failed or creates none.
    made: Option<Node>,
    pub(super) caller: Caller,
    /// For RENAME and LINK: the second directory, or the error of its handle.
    other: FsResult<Object>,
}

impl<'a> WccData<'a> {
    pub(super) fn new(procedure: Procedure, handle: &'a [u8], call: Option<&'a NewCall>) -> Self {
        Self {
            procedure,
            call,
            handle,
            made: None,
            caller: Caller::default(),
            other: Err(FsError::Stale),
        }
    }

    /// Writes the results after the status: the created object's handle and attributes, then the attributes of each object before
    /// and after.
    pub(super) fn emit(&self, cx: &mut Cx<'_>, object: Option<&Object>, reply: &mut Writer<'_>) {
        if let Some(node) = self.made {
            let handle = cx.vfs.handle(node);
            reply.u32(handle.is_ok().into());
            if let Ok(handle) = &handle {
                reply.opaque(handle.padded());
            }
            emit_after(cx, self.made, reply);
        }
        if self.procedure != Procedure::Link {
            pre_op(reply, object.map(|object| wcc_attr(&object.attr)));
        }
        emit_after(cx, object.map(|object| object.node), reply);
        if matches!(self.procedure, Procedure::Link | Procedure::Rename) {
            let other = self.other.as_ref().ok();
            pre_op(reply, other.map(|object| wcc_attr(&object.attr)));
            emit_after(cx, other.map(|object| object.node), reply);
        }
    }
}

/// Writes the current attributes of an object that was to be changed.
fn emit_after(cx: &mut Cx<'_>, node: Option<Node>, reply: &mut Writer<'_>) {
    if let Some(node) = node {
        cx.vfs.record_change(node);
    }
    let attr = node.and_then(|node| cx.vfs.attr(node).ok());
    post_op(reply, attr.as_ref());
}

/// Checks a name. "." and ".." exist: with `new` they return `Exists`, otherwise `Invalid`.
fn name<'a>(raw: &'a [u8], new: bool) -> FsResult<Name<'a>> {
    Name::new(raw).map_err(|error| match error {
        FsError::Exists if !new => FsError::Invalid,
        other => other,
    })
}

impl Nfs {
    pub(super) fn change(
        &mut self,
        cx: &mut Cx<'_>,
        request: &mut Request<'_, '_>,
        object: &Object,
        wcc_data: &mut WccData<'_>,
    ) -> Result<(), ProcedureError> {
        let args = &mut request.args;
        match wcc_data.procedure {
            Procedure::SetAttr => self.set_attr(cx, object, args, wcc_data),
            Procedure::Remove | Procedure::RmDir => self.remove(cx, object.node, args, wcc_data),
            Procedure::Rename | Procedure::Link => self.rename(cx, object.node, args, wcc_data),
            _ => self.make(cx, object.node, args, wcc_data),
        }
    }

    /// Carries out SETATTR. If an earlier server already did, the guard (ctime) no longer matches; `is_done` recognises that.
    fn set_attr(
        &mut self,
        cx: &mut Cx<'_>,
        object: &Object,
        args: &mut Reader<'_>,
        wcc_data: &WccData<'_>,
    ) -> Result<(), ProcedureError> {
        let mut change = no_change();
        read_change(args, &mut change)?;
        let guarded = args.flag();
        let known = guarded.then(|| (args.u32(), args.u32()));
        args.check()?;
        if let Some(known) = known {
            let is_same = known == to_wire(object.attr.ctime);
            if self.is_done(cx, wcc_data, |_| is_same) {
                return Ok(());
            }
            if !is_same {
                return Err(ProcedureError::Status(Status::NotSynchronous));
            }
        }
        if object.attr.kind == ObjectType::SymbolicLink {
            // BSD and macOS send the mode of a link. Linux cannot change it, and its server ignores it.
            change.mode = None;
        }
        cx.vfs.set_attr(object.node, &change)?;
        Ok(())
    }

    /// Returns true if an earlier server carried out the call. `is_there`: see [`DuplicateRequestCache::is_done`].
    ///
    /// [`DuplicateRequestCache::is_done`]: super::DuplicateRequestCache::is_done
    fn is_done(
        &mut self,
        cx: &mut Cx<'_>,
        wcc_data: &WccData<'_>,
        is_there: impl FnOnce(&mut Cx<'_>) -> bool,
    ) -> bool {
        // Asks the files before the tables: they may wait.
        let call = wcc_data.call.filter(|_| self.drc.is_kept());
        let call = call.map(|call| (call, is_there(cx)));
        let is_done = call.is_some_and(|(call, is_there)| {
            self.with_tables(|nfs| nfs.drc.is_done(call, || is_there))
        });
        if is_done {
            // The earlier server may not have synced the change.
            cx.vfs.stage_export(wcc_data.handle);
        }
        is_done
    }

    /// Returns true if an earlier server made or removed this name for the call.
    fn is_name_done(
        &mut self,
        cx: &mut Cx<'_>,
        wcc_data: &WccData<'_>,
        dir: Node,
        name: Name<'_>,
    ) -> bool {
        self.is_done(cx, wcc_data, |cx| cx.vfs.has_name(dir, name))
    }

    /// Carries out CREATE, MKDIR, SYMLINK and MKNOD.
    fn make(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Node,
        args: &mut Reader<'_>,
        wcc_data: &mut WccData<'_>,
    ) -> Result<(), ProcedureError> {
        let raw = args.opaque(NAME_BYTES_MAX);
        let mut change = no_change();
        let mut make = CreateWhat::File;
        // All procedures but CREATE fail if the name exists.
        let mut how = GUARDED;
        let mut verifier = [0; 2];
        if wcc_data.procedure == Procedure::Create {
            how = read_how(args, &mut change, &mut verifier)?;
        } else {
            make = read_make(wcc_data.procedure, args, &mut change)?;
        }
        args.check()?;
        let name = name(raw, true)?;
        if self.is_name_done(cx, wcc_data, dir, name) {
            // The killed server created the object with its mode. Clients set other attributes by a SETATTR of their own.
            wcc_data.made = Some(cx.vfs.lookup(dir, name)?);
            return Ok(());
        }
        let mut made = cx.vfs.create(dir, name, make, &change);
        let there = made == Err(FsError::Exists) && how != GUARDED;
        if there {
            made = cx.vfs.lookup(dir, name);
            if made == Err(FsError::NoEntry) {
                // The object was removed between `create` and `lookup`.
                made = Err(FsError::TryLater);
            }
        }
        let node = made?;
        if there || how == EXCLUSIVE {
            let attr = cx.vfs.attr(node);
            let attr = attr.as_ref().map_err(|error| *error)?;
            if there && attr.kind != ObjectType::Regular {
                return Err(FsError::Exists.into());
            }
            let mut made_under = [0; CREATE_VERIFIER_BYTES];
            let mut writer = Writer::new(&mut made_under);
            let [first, second] = verifier;
            for word in [attr.fsid, attr.inode, first as u64, second as u64] {
                writer.u64(word);
            }
            writer.u32(fx_words(1, writer.since(0)));
            if !there {
                self.with_tables(|nfs| nfs.create_verifiers.add(made_under));
            } else {
                let its_own = attr.size == 0 && [attr.atime.secs, attr.mtime.secs] == verifier;
                if how == EXCLUSIVE
                    && !its_own
                    && !self.with_tables(|nfs| nfs.create_verifiers.list.contains(&made_under))
                {
                    return Err(FsError::Exists.into());
                }
                // The CREATE that made the file may not have been answered, so file and name may not be durable yet. `set_attr`
                // stages both for the sync that this reply waits for.
                let mut cut = no_change();
                cut.size = change.size;
                cx.vfs.set_attr(node, &cut)?;
                cx.vfs.set_attr(dir, &no_change())?;
            }
        }
        wcc_data.made = Some(node);
        Ok(())
    }

    /// Carries out REMOVE and RMDIR.
    fn remove(
        &mut self,
        cx: &mut Cx<'_>,
        dir: Node,
        args: &mut Reader<'_>,
        wcc_data: &WccData<'_>,
    ) -> Result<(), ProcedureError> {
        let raw = args.opaque(NAME_BYTES_MAX);
        args.check()?;
        let name = name(raw, false)?;
        if !self.is_name_done(cx, wcc_data, dir, name) {
            let kind = match wcc_data.procedure {
                Procedure::RmDir => Kind::Directory,
                _ => Kind::Other,
            };
            cx.vfs.remove(dir, name, kind)?;
        }
        Ok(())
    }

    /// Carries out RENAME and LINK.
    fn rename(
        &mut self,
        cx: &mut Cx<'_>,
        object: Node,
        args: &mut Reader<'_>,
        wcc_data: &mut WccData<'_>,
    ) -> Result<(), ProcedureError> {
        let mut raw: &[u8] = b"";
        if wcc_data.procedure == Procedure::Rename {
            raw = args.opaque(NAME_BYTES_MAX);
        }
        let dir = args.opaque(HANDLE_BYTES_MAX);
        let new_raw = args.opaque(NAME_BYTES_MAX);
        args.check()?;
        wcc_data.other = open(cx, dir, &wcc_data.caller);
        let dir = wcc_data.other.as_ref().map_err(|error| *error)?.node;
        if wcc_data.procedure == Procedure::Rename {
            let (old, new) = (name(raw, false)?, name(new_raw, false)?);
            if !self.is_name_done(cx, wcc_data, object, old) {
                cx.vfs.rename(object, old, dir, new, Target::Replace)?;
            }
        } else {
            let new = name(new_raw, true)?;
            if !self.is_name_done(cx, wcc_data, dir, new) {
                cx.vfs.link(object, dir, new)?;
            }
        }
        Ok(())
    }
}

#[inline(never)] // −47 bytes: four callers.
fn no_change() -> SetAttr {
    SetAttr::default()
}

/// Parses CREATE's mode and the attributes of the file. With EXCLUSIVE, also sets `verifier`.
#[doc(alias = "createhow3")]
fn read_how(
    args: &mut Reader<'_>,
    change: &mut SetAttr,
    verifier: &mut [i64; 2],
) -> Result<u32, ProcedureError> {
    let how = args.u32();
    if how == EXCLUSIVE {
        // The verifier is stored in atime and mtime, as other servers do; 31 bits fit every file system.
        for secs in &mut *verifier {
            *secs = (args.u32() & 0x7fff_ffff).into();
        }
        let [atime, mtime] = *verifier;
        change.mode = Some(0o600);
        change.atime = NewTime::At(FileTime {
            secs: atime,
            nanos: 0,
        });
        change.mtime = NewTime::At(FileTime {
            secs: mtime,
            nanos: 0,
        });
    } else {
        read_change(args, change)?;
    }
    if how > EXCLUSIVE {
        args.refuse();
    }
    Ok(how)
}

/// Parses the arguments of MKDIR, SYMLINK or MKNOD after the name.
fn read_make<'a>(
    procedure: Procedure,
    args: &mut Reader<'a>,
    change: &mut SetAttr,
) -> Result<CreateWhat<'a>, ProcedureError> {
    let mut kind = ObjectType::Directory;
    if procedure == Procedure::MkNod {
        kind = kind_of(args.u32()).ok_or(Malformed)?;
        if matches!(
            kind,
            ObjectType::Regular | ObjectType::Directory | ObjectType::SymbolicLink
        ) {
            return Err(ProcedureError::Status(Status::BadType));
        }
    }
    read_change(args, change)?;
    Ok(match kind {
        _ if procedure == Procedure::MkDir => CreateWhat::Directory,
        _ if procedure == Procedure::SymLink => {
            // Symbolic links have no mode.
            change.mode = None;
            CreateWhat::Link(args.opaque(TARGET_BYTES_MAX))
        }
        ObjectType::BlockDevice | ObjectType::CharacterDevice => {
            CreateWhat::Special(kind, (args.u32(), args.u32()))
        }
        _ => CreateWhat::Special(kind, (0, 0)),
    })
}

/// Parses new attributes.
#[doc(alias = "sattr3")]
fn read_change(args: &mut Reader<'_>, change: &mut SetAttr) -> Result<(), ProcedureError> {
    change.mode = word(args).map(|mode| mode & 0o7777);
    // -1 means "no change", as in chown(2).
    change.uid = word(args).filter(|uid| *uid != Caller::NOBODY);
    change.gid = word(args).filter(|gid| *gid != Caller::NOBODY);
    change.size = args.flag().then(|| args.u64());
    for time in [&mut change.atime, &mut change.mtime] {
        *time = match args.u32() {
            0 => NewTime::Keep,
            1 => NewTime::Now,
            2 => {
                let (secs, nanos) = (args.u32().into(), args.u32());
                args.check()?;
                if nanos >= 1_000_000_000 {
                    return Err(FsError::Invalid.into());
                }
                NewTime::At(FileTime { secs, nanos })
            }
            _ => return Err(Malformed.into()),
        }
    }
    Ok(args.check()?)
}

/// Parses an optional word.
fn word(args: &mut Reader<'_>) -> Option<u32> {
    args.flag().then(|| args.u32())
}
