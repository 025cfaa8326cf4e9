//! OPEN without creation, CLOSE and OPEN_DOWNGRADE. RFC 8881 sections 9, 18.2, 18.16 and 18.18.

use super::attributes::change;
use super::clients::halves;
use super::locked;
use super::opens::Shares;
use super::tables::{Client, Words as _, client, open};
use super::turn::{Done, Fault, Turn};
use crate::mem::{FNV_START, fnv1a};
use crate::vfs::{Access, Node, ObjectType};
use crate::wire::nfs4::{OPAQUE_BYTES_MAX, StateId, Status, opening};

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

    /// The client of the session.
    fn client(&self) -> Result<Client, Status> {
        let session = self.compound.session.ok_or(Status::BADSESSION)?;
        self.tables.client_of(session).ok_or(Status::BADSESSION)
    }

    /// Checks that the caller may open a file with these shares, by its kind and mode.
    fn check_file(&mut self, node: Node, shares: Shares) -> Done {
        match self.cx.vfs.attr(node)?.kind {
            ObjectType::Regular => {}
            ObjectType::Directory => return Err(Status::ISDIR.into()),
            ObjectType::SymbolicLink => return Err(Status::SYMLINK.into()),
            _ => return Err(Status::WRONG_TYPE.into()),
        }
        // Who may only read a file must not deny that to others.
        for (access, is_needed) in [
            (Access::Read, shares.access & 1 != 0),
            (
                Access::Write,
                shares.access & 2 != 0 || shares.deny & 1 != 0,
            ),
        ] {
            if is_needed {
                self.cx.vfs.check_open(node, access)?;
            }
        }
        Ok(())
    }

    /// Makes room for an open when rows are scarce: no group of addresses has more opens than rows are free. Ends clients whose
    /// lease has expired before that.
    fn make_room(&mut self, own: Client) -> Result<(), Status> {
        loop {
            let [used, free] = self.tables.open_counts();
            if used <= free {
                return Ok(());
            }
            let mut clients = self.tables.clients.iter();
            let expired = clients.find(|row| row.word(client::OPENS) != 0 && self.may_end(row));
            if let Some(row) = expired {
                self.tables.end_client(row);
                continue;
            }
            let group = own.word(client::GROUP);
            let clients = self.tables.clients.iter();
            let own = clients.filter(|row| row.word(client::GROUP) == group);
            return match own.map(|row| row.word(client::OPENS)).sum::<u32>() <= free {
                true => Ok(()),
                false => Err(Status::DELAY),
            };
        }
    }

    /// Returns true if others may have what a client holds: its lease has expired.
    fn may_end(&self, row: Client) -> bool {
        self.is_expired(row) && !self.is_busy(self.tables.sessions_of(row), None)
    }

    /// Opens a file for an owner of the client.
    fn add_open(
        &mut self,
        file: [u32; 2],
        owner: [u32; 2],
        shares: Shares,
    ) -> Result<StateId, Status> {
        let (tables, own) = (self.tables, self.client()?);
        // RFC 8881 section 18.51.3: before RECLAIM_COMPLETE, "the server ... MUST return NFS4ERR_GRACE".
        if own.word(client::RECLAIMED) == 0 {
            return Err(Status::GRACE);
        }
        let number = own.word(client::NUMBER);
        let mut found = None;
        while let Some(other) = tables.opens_of(file).find(|row| {
            let is_own = row.word(open::CLIENT) == number && row.pair(open::OWNER) == owner;
            if is_own {
                found = Some(*row);
            }
            !is_own && !Shares::of(row).fits(shares)
        }) {
            let [instance, _] = tables.instance();
            match tables.client([instance, other.word(open::CLIENT)]) {
                Some(client) if self.may_end(client) => tables.end_client(client),
                _ => return Err(Status::SHARE_DENIED),
            }
        }
        let row = match found {
            Some(row) => {
                tables.share(row, shares, true);
                row
            }
            None => {
                self.make_room(own)?;
                let row = tables.add_open(own, owner, file, shares);
                row.ok_or(Status::DELAY)?
            }
        };
        Ok(tables.state_id(row))
    }

    /// Stores the state ID that an operation returns, and writes it.
    fn put_state(&mut self, state: StateId) {
        if let Some(current) = &mut self.compound.current {
            current.state = state;
        }
        self.reply.words(&state.0);
    }

    /// The attribute change of the current object.
    fn change(&mut self) -> Result<u64, Fault> {
        let (_, attr) = self.object_with_attr()?;
        let current = self.compound.current.as_ref();
        let current = current.ok_or(Status::NOFILEHANDLE)?;
        Ok(change(&attr, self.cx.vfs.recent.sum(&current.handle)))
    }
}

/// OPEN. The sequence number and the client ID of the owner are of version 4.0.
pub(super) fn open(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let _sequence = turn.args.u32();
    let (shares, wanted) = turn.parse_shares()?;
    let args = &mut *turn.args;
    args.take(8);
    let owner = halves(fnv1a(FNV_START, args.opaque(OPAQUE_BYTES_MAX)));
    let creates = args.flag();
    let claim = args.u32();
    args.check()?;
    if creates {
        return Err(Status::NOTSUPP.into());
    }
    let mut cinfo = [0; 2];
    match claim {
        opening::CLAIM_NULL => {
            cinfo = [turn.change()?; 2];
            let (dir, node) = turn.named()?;
            turn.check_file(node, shares)?;
            turn.put(node, !dir.is_above())?;
        }
        opening::CLAIM_FH => {
            let node = turn.object()?;
            turn.check_file(node, shares)?;
        }
        opening::CLAIM_PREVIOUS => return Err(Status::NO_GRACE.into()),
        0..=opening::CLAIM_MAX => return Err(Status::NOTSUPP.into()),
        _ => return Err(Status::BADXDR.into()),
    }
    let file = turn.file()?;
    let state = locked(turn.lock, || turn.add_open(file, owner, shares))?;
    turn.put_state(state);
    let reply = &mut *turn.reply;
    // Nothing has changed in the directory meanwhile.
    reply.u32(1);
    cinfo.iter().for_each(|change| reply.u64(*change));
    reply.words(&[opening::RESULT_LOCKTYPE_POSIX, 0]);
    match wanted {
        0 => reply.u32(opening::DELEGATE_NONE),
        opening::WANT_NO_DELEG => {
            reply.words(&[opening::DELEGATE_NONE_EXT, opening::NOT_WANTED]);
        }
        _ => reply.words(&[opening::DELEGATE_NONE_EXT, opening::RESOURCE, 0]),
    }
    Ok(())
}

/// CLOSE.
pub(super) fn close(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let _sequence = turn.args.u32();
    let state = turn.parse_state()?;
    let row = turn.open_of_object(state)?;
    turn.tables.end_open(row);
    turn.put_state(StateId::INVALID);
    Ok(())
}

/// OPEN_DOWNGRADE.
pub(super) fn downgrade(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    let _sequence = turn.args.u32();
    let (shares, _) = turn.parse_shares()?;
    let row = turn.open_of_object(state)?;
    // RFC 8881 section 18.18.3: "the server MUST return NFS4ERR_INVAL" unless an earlier OPEN had these.
    if !shares.were_opened(row) {
        return Err(Status::INVAL.into());
    }
    turn.tables.share(row, shares, false);
    turn.put_state(turn.tables.state_id(row));
    Ok(())
}
