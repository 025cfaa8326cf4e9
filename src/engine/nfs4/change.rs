//! Changes of attributes and names: SETATTR, CREATE, REMOVE, RENAME, LINK. RFC 8881 sections 18.4, 18.9, 18.25, 18.26 and 18.30.
//!
//! A change takes the lock of changes, so that the attributes before and after it are those of this change alone. Before it is made,
//! the slot records which operation makes it, and if its name existed: a server that carries out the request of a killed one finds
//! out if that had made the change.

use super::attributes::change;
use super::tables::{Words as _, slot};
use super::turn::{Done, Fault, Turn};
use crate::config::LINK_BYTES_MAX;
use crate::engine::service::Promise;
use crate::vfs::{Access, CreateWhat, FsError, Kind, Name, Node, ObjectType, Target};
use crate::wire::nfs4::{OPAQUE_BYTES_MAX, Status};

/// Longest result of a change (bytes), that of OPEN.
const RESULT_BYTES: usize = 96;

/// The attribute change of a directory before and after an operation.
pub(super) type Changes = [u64; 2];

impl Turn<'_, '_, '_, '_> {
    /// Carries out an operation that changes something. The reply waits for a sync, even if it reports an error.
    ///
    /// # Errors
    /// Those of the operation; before it, that of a reply that is too long.
    pub(super) fn change(&mut self, carry_out: fn(&mut Self) -> Done) -> Done {
        match self.check_length(RESULT_BYTES) {
            Status::OK => {}
            status => return Err(status.into()),
        }
        if let Some(lock) = self.lock {
            lock.acquire();
        }
        let done = carry_out(self);
        if let Some(lock) = self.lock {
            lock.release();
        }
        if !matches!(done, Err(Fault::Again(_))) {
            self.promise(Promise::Names);
        }
        done
    }

    /// Makes the reply wait for a sync. If that fails, the first operation with a promise has failed.
    pub(super) fn promise(&mut self, promise: Promise) {
        let compound = &mut *self.compound;
        if compound.promise == Promise::Nothing {
            let at = self.at - self.start;
            compound.promised = (compound.done << 18) | (at as u32 / 4);
        }
        compound.promise = compound.promise.max(promise);
    }

    /// Records that this operation begins a change, with what tells afterwards if it was made. Returns true if a killed server made
    /// it.
    pub(super) fn is_done(&mut self, is_there: impl FnOnce(&mut Self) -> bool) -> bool {
        // Another server may go on with the request, or the client repeats it: a part of it has not arrived, and may never do.
        let goes_on = self.is_kept || self.compound.is_amid || self.follows != Some(0);
        let Some(held) = self.compound.held.filter(|_| goes_on) else {
            return false;
        };
        let is_there = is_there(self);
        let at = self.compound.done + 1;
        let [begun, by] = held.slot.pair(slot::BEGUN);
        if by == held.id() && begun >> 1 >= at {
            // A later operation has begun, or the name has come or gone.
            return begun >> 1 > at || (begun & 1 != 0) != is_there;
        }
        held.slot.set(slot::BEGUN + 1, 0);
        held.slot.set(slot::BEGUN, at << 1 | u32::from(is_there));
        held.slot.set(slot::BEGUN + 1, held.id());
        false
    }

    /// As [`Turn::is_done`], for a change that makes or removes a name.
    pub(super) fn is_name_done(&mut self, dir: Node, name: Name<'_>) -> bool {
        self.is_done(|turn| turn.cx.vfs.has_name(dir, name))
    }

    /// The attribute change of an object.
    pub(super) fn change_of(&mut self, node: Node) -> Result<u64, Fault> {
        let attr = self.cx.vfs.attr(node)?;
        let handle = self.cx.vfs.handle(node)?;
        Ok(change(&attr, self.cx.vfs.recent.sum(&handle)))
    }

    /// The attribute change of a directory after a change, before which it was `before`.
    pub(super) fn changed(&mut self, dir: Node, before: u64) -> Result<Changes, Fault> {
        self.cx.vfs.record_change(dir);
        Ok([before, self.change_of(dir)?])
    }

    /// Writes the attribute change of a directory before and after a change, which is of this operation alone.
    #[doc(alias = "change_info4")]
    pub(super) fn emit_changes(&mut self, [before, after]: Changes) {
        self.reply.u32(1);
        self.reply.u64(before);
        self.reply.u64(after);
    }

    /// Returns true if two names are of the same object.
    fn is_same(&mut self, names: [(Node, Name<'_>); 2]) -> bool {
        let [first, second] = names.map(|(dir, name)| {
            let node = self.cx.vfs.lookup(dir, name).ok()?;
            let attr = self.cx.vfs.attr(node).ok()?;
            Some((attr.fsid, attr.inode))
        });
        first.is_some() && first == second
    }

    /// The saved and the current object, both opened with the rights of the caller.
    fn both(&mut self) -> Result<[Node; 2], Fault> {
        let saved = self.compound.saved.ok_or(Status::NOFILEHANDLE)?;
        let (caller, peer) = (&self.compound.caller, &self.cx.peer);
        let saved = self.cx.vfs.open(saved.handle.bytes(), caller, peer)?;
        if let Some(current) = &mut self.compound.current {
            current.node = None;
        }
        Ok([saved, self.object()?])
    }
}

/// SETATTR.
pub(super) fn set_attributes(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    let (mut change, given) = turn.parse_attributes()?;
    if change.size.is_some() {
        turn.check_state(state, Access::Write)?;
    }
    let (node, attr) = turn.object_with_attr()?;
    match (attr.kind, change.size) {
        (ObjectType::Directory, Some(_)) => return Err(Status::ISDIR.into()),
        // As in version 3: a mode of a link is ignored.
        (ObjectType::SymbolicLink, None) => change.mode = None,
        (ObjectType::Regular, _) | (_, None) => {}
        (_, Some(_)) => return Err(Status::INVAL.into()),
    }
    let done = turn.cx.vfs.set_attr(node, &change);
    turn.cx.vfs.record_change(node);
    done?;
    given.emit(turn.reply);
    Ok(())
}

/// CREATE, of anything but a regular file.
pub(super) fn create(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let number = turn.args.u32();
    let kind = crate::engine::nfs::kind_of(number);
    let (mut link, mut device) = (&[][..], (0, 0));
    match kind {
        Some(ObjectType::SymbolicLink) => link = turn.args.opaque(LINK_BYTES_MAX as u32 + 1),
        Some(ObjectType::BlockDevice | ObjectType::CharacterDevice) => {
            device = (turn.args.u32(), turn.args.u32());
        }
        Some(_) | None => {}
    }
    let name = turn.args.opaque(OPAQUE_BYTES_MAX);
    let (mut change, given) = turn.parse_attributes()?;
    let what = match kind {
        Some(ObjectType::Directory) => CreateWhat::Directory,
        Some(ObjectType::SymbolicLink) => {
            change.mode = None;
            CreateWhat::Link(link)
        }
        None | Some(ObjectType::Regular) => return Err(Status::BADTYPE.into()),
        Some(kind) => CreateWhat::Special(kind, device),
    };
    let name = checked(name)?;
    let dir = turn.object()?;
    let before = turn.change_of(dir)?;
    let made = match turn.is_name_done(dir, name) {
        true => turn.cx.vfs.lookup(dir, name),
        false => Err(FsError::NoEntry),
    };
    let made = match made {
        // A later operation of the killed server has removed the object, and removes the new one.
        Err(FsError::NoEntry) => turn.cx.vfs.create(dir, name, what, &change),
        made => made,
    }?;
    let changes = turn.changed(dir, before)?;
    turn.put(made, !dir.is_above())?;
    turn.emit_changes(changes);
    given.emit(turn.reply);
    Ok(())
}

/// Checks a name.
pub(super) fn checked(raw: &[u8]) -> Result<Name<'_>, Status> {
    Name::new(raw).map_err(|error| match error {
        // Empty.
        FsError::Access => Status::INVAL,
        FsError::Exists => Status::BADNAME,
        FsError::Invalid => Status::BADCHAR,
        _ => Status::NAMETOOLONG,
    })
}

/// REMOVE, of a directory, too.
pub(super) fn remove(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let raw = turn.args.opaque(OPAQUE_BYTES_MAX);
    turn.args.check()?;
    let name = checked(raw)?;
    turn.check_grace()?;
    let dir = turn.object()?;
    let before = turn.change_of(dir)?;
    if !turn.is_name_done(dir, name) {
        match turn.cx.vfs.remove(dir, name, Kind::Other) {
            Err(FsError::IsDirectory) => turn.cx.vfs.remove(dir, name, Kind::Directory),
            done => done,
        }?;
    }
    let changes = turn.changed(dir, before)?;
    turn.emit_changes(changes);
    Ok(())
}

/// RENAME.
pub(super) fn rename(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let args = &mut *turn.args;
    let [old, new] = [args.opaque(OPAQUE_BYTES_MAX), args.opaque(OPAQUE_BYTES_MAX)];
    args.check()?;
    let (old, new) = (checked(old)?, checked(new)?);
    turn.check_grace()?;
    let [from, to] = turn.both()?;
    let befores = [turn.change_of(from)?, turn.change_of(to)?];
    let is_done = turn.is_name_done(from, old);
    if !is_done && turn.is_same([(from, old), (to, new)]) {
        befores
            .iter()
            .for_each(|before| turn.emit_changes([*before; 2]));
        return Ok(());
    }
    if !is_done {
        let renamed = turn.cx.vfs.rename(from, old, to, new, Target::Replace);
        // RFC 8881 section 18.26.3: a file does not replace a directory.
        renamed.map_err(|error| match error {
            FsError::IsDirectory => FsError::Exists,
            error => error,
        })?;
    }
    // Both may be one directory, whose attribute after the change is the same in both results.
    turn.cx.vfs.record_change(from);
    turn.cx.vfs.record_change(to);
    for (dir, before) in [from, to].into_iter().zip(befores) {
        let after = turn.change_of(dir)?;
        turn.emit_changes([before, after]);
    }
    Ok(())
}

/// LINK.
pub(super) fn link(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let raw = turn.args.opaque(OPAQUE_BYTES_MAX);
    turn.args.check()?;
    let name = checked(raw)?;
    let [node, dir] = turn.both()?;
    let before = turn.change_of(dir)?;
    if !turn.is_name_done(dir, name) {
        turn.cx.vfs.link(node, dir, name)?;
    }
    turn.cx.vfs.record_change(node);
    let changes = turn.changed(dir, before)?;
    turn.emit_changes(changes);
    Ok(())
}
