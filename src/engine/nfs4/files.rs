//! Handles, names, access and contents: PUTFH, PUTROOTFH, GETFH, SAVEFH, RESTOREFH, LOOKUP, LOOKUPP, ACCESS, READ, READLINK,
//! SECINFO, SECINFO_NO_NAME. RFC 8881 section 18.

use super::change::checked;
use super::clients::halves;
use super::locked;
use super::turn::{Done, Fault, Place, Turn};
use crate::config::{LINK_BYTES_MAX, READ_INLINE_BYTES};
use crate::engine::nfs::{Phase, rights};
use crate::engine::service::Promise;
use crate::event;
use crate::text::Text;
use crate::vfs::{Access, FsError, Handle, Node, ObjectType, Patience, Stop, Until};
use crate::wire::nfs4::{AUTH_SYS, HANDLE_BYTES_MAX, OPAQUE_BYTES_MAX, StateId, Status};

const WORD_BYTES: usize = 4;
/// Length of eof and the data's length word, before the data of a READ (bytes).
const COUNTS_BYTES: usize = 2 * WORD_BYTES;
/// All bits of ACCESS that the server knows.
const ACCESS_BITS: u32 = 0x3f;

impl Turn<'_, '_, '_, '_> {
    /// Makes a node the current object. Without `has_rights` it was found with the rights of the server, and is opened again; above
    /// the exports there are no rights.
    pub(super) fn put(&mut self, node: Node, has_rights: bool) -> Done {
        let handle = self.cx.vfs.handle(node)?;
        self.compound.current = Some(Place {
            handle,
            node: (has_rights || node.is_above()).then_some(node),
            state: StateId::INVALID,
        });
        Ok(())
    }

    /// Looks up the name in the arguments in the current object. Returns the object, and true if it was found with the caller's rights.
    pub(super) fn named(&mut self) -> Result<(Node, bool), Fault> {
        let raw = self.args.opaque(OPAQUE_BYTES_MAX);
        self.args.check()?;
        let name = checked(raw)?;
        let dir = self.object()?;
        if let Some(top) = self.cx.vfs.lookup_nested(dir, name, &self.cx.peer)? {
            return Ok((top, false));
        }
        let found = self.cx.vfs.lookup_or_enter(dir, name);
        if found == Err(FsError::NotDirectory)
            && self.cx.vfs.attr(dir)?.kind == ObjectType::SymbolicLink
        {
            return Err(Status::SYMLINK.into());
        }
        Ok((found?, !dir.is_above()))
    }

    /// Ends the client's opens of a file that was removed: PUTFH fails, so the client cannot close them. An export that is missing may
    /// return, with its files.
    #[cold]
    fn forget(&mut self, handle: &Handle) -> Done {
        if self.cx.vfs.is_export_open(handle) {
            let client = self.client()?;
            let file = halves(handle.object_hash());
            locked(self.lock, || self.tables.end_opens_of(file, client));
        }
        Ok(())
    }

    /// The parent of the current object.
    fn parent(&mut self) -> Result<Node, Fault> {
        let (dir, attr) = self.object_with_attr()?;
        match attr.kind {
            ObjectType::Directory => {}
            ObjectType::SymbolicLink => return Err(Status::SYMLINK.into()),
            _ => return Err(Status::NOTDIR.into()),
        }
        self.cx.vfs.access(dir, Access::Execute)?;
        let parent = self.cx.vfs.parent_in_all(dir, &self.cx.peer)?;
        Ok(parent.ok_or(Status::NOENT)?)
    }
}

/// PUTFH.
pub(super) fn put_handle(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let bytes = turn.args.opaque(HANDLE_BYTES_MAX);
    turn.args.check()?;
    let handle = Handle::of(bytes).ok_or(Status::BADHANDLE)?;
    let opened = turn
        .cx
        .vfs
        .open(bytes, &turn.compound.caller, &turn.cx.peer);
    if opened == Err(FsError::Stale) {
        turn.forget(&handle)?;
    }
    turn.compound.current = Some(Place {
        handle,
        node: Some(opened?),
        state: StateId::INVALID,
    });
    Ok(())
}

/// PUTROOTFH and PUTPUBFH.
pub(super) fn put_root(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let root = turn.cx.vfs.root_for(&turn.cx.peer)?;
    turn.put(root, false)
}

/// GETFH.
pub(super) fn get_handle(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let current = turn.compound.current.as_ref();
    let current = current.ok_or(Status::NOFILEHANDLE)?;
    turn.reply.opaque(current.handle.padded());
    Ok(())
}

/// SAVEFH. The node stays valid only with the rights of the current export.
pub(super) fn save(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    turn.compound.saved = turn.compound.current.map(|current| Place {
        node: None,
        ..current
    });
    Ok(())
}

/// RESTOREFH.
pub(super) fn restore(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let saved = turn.compound.saved.ok_or(Status::NOFILEHANDLE)?;
    turn.compound.current = Some(saved);
    Ok(())
}

/// LOOKUP.
pub(super) fn look_up(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let (node, has_rights) = turn.named()?;
    turn.put(node, has_rights)
}

/// LOOKUPP.
pub(super) fn look_up_parent(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let parent = turn.parent()?;
    turn.put(parent, false)
}

/// SECINFO. Leaves no current object: RFC 8881 section 2.6.3.1.1.8.
pub(super) fn security(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    // RFC 8881 section 18.29.3: without the right for LOOKUP, "SECINFO MUST behave the same way and return NFS4ERR_ACCESS".
    turn.named()?;
    offer_security(turn);
    Ok(())
}

/// SECINFO_NO_NAME.
pub(super) fn security_without_name(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let style = turn.args.u32();
    turn.args.check()?;
    match style {
        0 => {}
        1 => _ = turn.parent()?,
        _ => return Err(Status::BADXDR.into()),
    }
    offer_security(turn);
    Ok(())
}

fn offer_security(turn: &mut Turn<'_, '_, '_, '_>) {
    turn.compound.current = None;
    turn.reply.words(&[1, AUTH_SYS]);
}

/// ACCESS.
pub(super) fn access(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let asked = turn.args.u32();
    turn.args.check()?;
    let (node, attr) = turn.object_with_attr()?;
    let known = asked & ACCESS_BITS;
    let granted = rights(turn.cx, turn.call, node, &attr, known)?;
    turn.reply.words(&[known, granted]);
    Ok(())
}

/// READLINK.
pub(super) fn read_link(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let (node, attr) = turn.object_with_attr()?;
    if attr.kind != ObjectType::SymbolicLink {
        return Err(Status::INVAL.into());
    }
    let buffer = turn.reply.ahead(WORD_BYTES, LINK_BYTES_MAX);
    let len = turn.cx.vfs.readlink(node, buffer)? as usize;
    turn.reply.opaque_ahead(len);
    Ok(())
}

/// READ. Of more than [`READ_INLINE_BYTES`] only at the end of the COMPOUND: a transfer sends the data then.
pub(super) fn read(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    let (offset, count) = (turn.args.u64(), turn.args.u32());
    turn.args.check()?;
    let is_opened = turn.check_state(state, Access::Read)?;
    let (node, attr) = turn.regular()?;
    // A reply whose data follows later cannot wait for a sync.
    let ends = turn.compound.done + 1 == turn.compound.count;
    let max = match ends && turn.compound.promise == Promise::Nothing {
        true => turn.terms.read_bytes_max,
        false => READ_INLINE_BYTES,
    };
    let left = attr.size.saturating_sub(offset);
    let len = left.min(count.min(max).into()) as u32;
    let is_large = len > READ_INLINE_BYTES;
    let inline = if is_large { 0 } else { len as usize };
    turn.need_space(inline + COUNTS_BYTES + WORD_BYTES)?;
    let file = match is_opened {
        true => turn.cx.vfs.pin_opened(node, Access::Read),
        false => turn.cx.vfs.pin(node, Some(Access::Read)),
    }?;
    if turn.cx.vfs.finds_compressed(node) {
        turn.cx.report(event::COMPRESSED, b"", Text::NOTHING);
    }
    if is_large {
        turn.reply.words(&[(u64::from(len) == left).into(), len]);
        let file = Some(file);
        *turn.sending = Some(Phase::Sending { file, offset, len });
        return Ok(());
    }
    // Read the data to its final position first, because eof and the count in front of it are not known yet.
    let data = turn.reply.ahead(COUNTS_BYTES, inline);
    if data.len() < inline {
        turn.cx.vfs.unpin(file);
        return Err(Status::REP_TOO_BIG.into());
    }
    let got = match turn.cx.vfs.read_with(&file, offset, data, turn.patience) {
        Err(Stop::Again(Until::Job(id))) if turn.patience == Patience::Now => {
            turn.compound.fetched = Some(file);
            return Err(Fault::Again(Until::Job(id)));
        }
        got => got,
    };
    turn.cx.vfs.unpin(file);
    let got = got?;
    let is_end = u64::from(len) == left || got < len;
    turn.reply.u32(is_end.into());
    turn.reply.opaque_ahead(got as usize);
    Ok(())
}
