//! OPEN, CLOSE and OPEN_DOWNGRADE. RFC 8881 sections 9, 18.2, 18.16 and 18.18.

use super::change::checked;
use super::clients::halves;
use super::locked;
use super::opens::Shares;
use super::tables::{Client, Tables, Words as _, client, open};
use super::turn::{Done, Fault, Turn, check_regular};
use crate::mem::{FNV_START, fnv1a};
use crate::vfs::{Access, Node, SetAttr};
use crate::wire::Writer;
use crate::wire::nfs4::{Bitmap, OPAQUE_BYTES_MAX, StateId, Status, opening};

impl Turn<'_, '_, '_, '_> {
    /// Parses the access and the denial of an open.
    fn parse_shares(&mut self) -> Result<(Shares, u32), Fault> {
        let (asked, deny) = (self.args.u32(), self.args.u32());
        self.args.check()?;
        let access = asked & opening::ACCESS;
        if access == 0 || asked & !opening::ASKED != 0 || deny > opening::ACCESS {
            return Err(Status::INVAL.into());
        }
        Ok((Shares { access, deny }, asked & opening::WANTED))
    }

    /// Checks that the caller may open a file with these shares, by its kind and mode. If `again`, the caller says that it has created
    /// or opened the file before: its owner may open it whatever its mode is.
    fn check_file(&mut self, node: Node, shares: Shares, again: bool) -> Done {
        // Linux opens a FIFO or device that it has not looked up yet, and does that after SYMLINK only; WRONG_TYPE is EIO to it.
        check_regular(self.cx.vfs.attr(node)?.kind).map_err(|status| match status {
            Status::WRONG_TYPE => Status::SYMLINK,
            status => status,
        })?;
        // A caller without the right to write must not deny reading to others.
        for (access, is_needed) in [
            (Access::Read, shares.access & 1 != 0),
            (
                Access::Write,
                shares.access & 2 != 0 || shares.deny & 1 != 0,
            ),
        ] {
            if is_needed {
                self.cx.vfs.check_open(node, access, again)?;
            }
        }
        Ok(())
    }

    /// Makes room for an open or a lock when rows are scarce: no group of addresses has more than rows are free. Ends clients whose
    /// lease has expired before that. `counts` are those of used and free rows; `place` is that of a client's own count.
    pub(super) fn make_room(
        &mut self,
        own: Client,
        counts: fn(&Tables) -> [u32; 2],
        place: usize,
    ) -> Result<(), Status> {
        loop {
            let [used, free] = counts(&self.tables);
            if used <= free {
                return Ok(());
            }
            let mut clients = self.tables.clients.iter();
            let expired = clients.find(|row| row.word(place) != 0 && self.may_end(row));
            if let Some(row) = expired {
                self.tables.end_client(row);
                continue;
            }
            let group = own.word(client::GROUP);
            let clients = self.tables.clients.iter();
            let own = clients.filter(|row| row.word(client::GROUP) == group);
            return match own.map(|row| row.word(place)).sum::<u32>() <= free {
                true => Ok(()),
                false => Err(Status::DELAY),
            };
        }
    }

    /// Opens a file for an owner of the client.
    fn add_open(
        &mut self,
        file: [u32; 2],
        owner: [u32; 2],
        shares: Shares,
    ) -> Result<StateId, Status> {
        let (tables, own) = (self.tables, self.client()?);
        let number = own.word(client::NUMBER);
        let mut found = None;
        while let Some(other) = tables.opens_of(file).find(|row| {
            let is_own = row.word(open::CLIENT) == number
                && row.pair(open::OWNER) == owner
                && row.word(open::PARENT) == 0;
            if is_own {
                found = Some(*row);
            }
            !is_own && !Shares::of(row).fits(shares)
        }) {
            if self.yields(other) {
                continue;
            }
            return Err(match own.word(client::RECLAIMED) {
                // The client reclaims.
                0 | client::RECLAIMED_ONE => Status::RECLAIM_CONFLICT,
                _ => Status::SHARE_DENIED,
            });
        }
        let row = match found {
            Some(row) => {
                tables.share(row, shares, true, self.request());
                row
            }
            None => {
                self.make_room(own, Tables::open_counts, client::OPENS)?;
                let row = tables.add_open(own, owner, file, shares, self.request(), None);
                row.ok_or(Status::DELAY)?
            }
        };
        Ok(tables.state_id(row))
    }

    /// Sets the length of a file that was opened to 0. If that fails, ends the open, unless it is older.
    fn truncate(&mut self, node: Node, state: StateId) -> Done {
        let cut = SetAttr {
            size: Some(0),
            ..SetAttr::default()
        };
        let done = self.cx.vfs.set_attr(node, &cut);
        self.cx.vfs.record_change(node);
        let StateId([sequence, ..]) = state;
        if let (Err(_), 1, Ok(row)) = (done, sequence, self.open_by(state)) {
            locked(self.lock, || self.tables.end_open(row));
        }
        Ok(done?)
    }

    /// Stores the state ID that an operation returns, and writes it.
    pub(super) fn put_state(&mut self, state: StateId) {
        if let Some(current) = &mut self.compound.current {
            current.state = state;
        }
        self.reply.words(&state.0);
    }
}

/// OPEN, under the lock of changes if it may create the file.
pub(super) fn open(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let mut args = turn.args.clone();
    args.take(20);
    args.opaque(OPAQUE_BYTES_MAX);
    let before = turn.compound.current;
    let done = match args.u32() {
        0 => open_file(turn),
        _ => turn.change(open_file),
    };
    // An OPEN that waits for a record has found its file: it begins with the directory again.
    if matches!(done, Err(Fault::Again(_))) {
        turn.compound.current = before;
    }
    done
}

/// OPEN. Ignores the sequence number and the client ID of the owner, which version 4.0 used.
fn open_file(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let _sequence = turn.args.u32();
    let (shares, wanted) = turn.parse_shares()?;
    turn.args.take(8);
    let owner = halves(fnv1a(FNV_START, turn.args.opaque(OPAQUE_BYTES_MAX)));
    let how = match turn.args.flag() {
        true => Some(turn.parse_how()?),
        false => None,
    };
    let claim = turn.args.u32();
    turn.args.check()?;
    let reclaims = claim == opening::CLAIM_PREVIOUS;
    turn.check_reclaim(reclaims)?;
    if reclaims {
        // A delegation is reclaimed as none.
        let _delegation = turn.args.u32();
        turn.args.check()?;
    }
    let (mut changes, mut made) = ([0; 2], None);
    match claim {
        opening::CLAIM_NULL => {
            let dir = turn.object()?;
            let before = turn.change_of(dir)?;
            changes = [before; 2];
            if let Some(how) = &how {
                let raw = turn.args.opaque(OPAQUE_BYTES_MAX);
                turn.args.check()?;
                let file = turn.create_file(dir, checked(raw)?, how)?;
                if file.is_found {
                    turn.check_file(file.node, shares, file.is_new)?;
                }
                if file.is_new {
                    changes = turn.changed(dir, before)?;
                }
                if file.truncates && shares.access & 2 == 0 {
                    return Err(Status::INVAL.into());
                }
                turn.put(file.node, !dir.is_above())?;
                made = Some(file);
            } else {
                let (node, has_rights) = turn.named()?;
                turn.check_file(node, shares, false)?;
                turn.put(node, has_rights)?;
            }
        }
        _ if how.is_some() => return Err(Status::INVAL.into()),
        opening::CLAIM_FH | opening::CLAIM_PREVIOUS => {
            let node = turn.object()?;
            turn.check_file(node, shares, reclaims)?;
        }
        _ if claim <= opening::CLAIM_MAX => return Err(Status::NOTSUPP.into()),
        _ => return Err(Status::BADXDR.into()),
    }
    let file = turn.file()?;
    let state = locked(turn.lock, || turn.add_open(file, owner, shares))?;
    if made.as_ref().is_none_or(|made| made.is_found) {
        turn.flush_records()?;
    }
    if let Some(made) = made.as_ref().filter(|made| made.truncates) {
        turn.truncate(made.node, state)?;
    }
    turn.put_state(state);
    turn.emit_changes(changes);
    let given = made.map_or(Bitmap::default(), |made| made.given);
    turn.reply.u32(opening::RESULT_LOCKTYPE_POSIX);
    given.emit(turn.reply);
    emit_delegation(turn.reply, wanted);
    Ok(())
}

/// Writes that there is no delegation, as the client has `wanted`.
fn emit_delegation(reply: &mut Writer<'_>, wanted: u32) {
    match wanted {
        0 => reply.u32(opening::DELEGATE_NONE),
        opening::WANT_NO_DELEG => {
            reply.words(&[opening::DELEGATE_NONE_EXT, opening::NOT_WANTED]);
        }
        _ => reply.words(&[opening::DELEGATE_NONE_EXT, opening::RESOURCE, 0]),
    }
}

/// CLOSE.
pub(super) fn close(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let _sequence = turn.args.u32();
    let state = turn.parse_state()?;
    if !turn.is_done(|turn| turn.open_by(state).is_ok()) {
        let row = turn.open_row(state)?;
        turn.tables.end_open(row);
    }
    turn.put_state(StateId::INVALID);
    Ok(())
}

/// OPEN_DOWNGRADE.
pub(super) fn downgrade(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    let _sequence = turn.args.u32();
    let (shares, _) = turn.parse_shares()?;
    let row = turn.open_row(state)?;
    // An earlier OPEN must have had these.
    if !shares.were_opened(row) {
        return Err(Status::INVAL.into());
    }
    turn.tables.share(row, shares, false, turn.request());
    turn.put_state(turn.tables.state_id(row));
    Ok(())
}
