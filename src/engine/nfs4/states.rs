//! State IDs: how an operation uses the open that it names, TEST_STATEID and FREE_STATEID. RFC 8881 sections 8.2, 18.38 and 18.48.
//!
//! A state ID has the instance of the tables in it, so one of an earlier start is BAD_STATEID, never STALE_STATEID.

use super::opens::Shares;
use super::slots::Held;
use super::tables::{Open, Words as _, head, open, session};
use super::turn::{Done, Fault, Turn};
use super::{clients::halves, locked};
use crate::vfs::Access;
use crate::wire::nfs4::{StateId, Status};

/// The bits of a share for an access. A file that is open for writing may be read, too, since clients read the rest of a page that
/// they write.
const fn allowed(access: Access) -> u32 {
    match access {
        Access::Write => 2,
        _ => 3,
    }
}

impl Turn<'_, '_, '_, '_> {
    /// The hash of the current object.
    pub(super) fn file(&self) -> Result<[u32; 2], Status> {
        let current = self.compound.current.as_ref();
        let current = current.ok_or(Status::NOFILEHANDLE)?;
        Ok(halves(current.handle.object_hash()))
    }

    /// Parses a state ID. That of the current object stands for itself.
    pub(super) fn parse_state(&mut self) -> Result<StateId, Fault> {
        let state = StateId::parse(self.args);
        self.args.check()?;
        let current = self.compound.current.as_ref();
        Ok(match (state, current) {
            (StateId::CURRENT, Some(current)) => current.state,
            (state, _) => state,
        })
    }

    /// The ID of the operation in its request.
    pub(super) fn request(&self) -> u32 {
        let id = self.compound.held.as_ref().map_or(0, Held::id);
        id.wrapping_add(self.compound.done)
    }

    /// The open of the caller's client with this state ID.
    ///
    /// # Errors
    /// `BAD_STATEID`; `OLD_STATEID`: the open has changed since.
    pub(super) fn open_by(&self, state: StateId) -> Result<Open, Status> {
        let row = self.tables.open_of(state).ok_or(Status::BAD_STATEID)?;
        let session = self.compound.session.ok_or(Status::BADSESSION)?;
        if row.word(open::CLIENT) != session.word(session::CLIENT) {
            return Err(Status::BAD_STATEID);
        }
        let StateId([sequence, ..]) = state;
        // RFC 8881 section 8.2.2: 0 is the most recent one.
        match sequence
            .wrapping_sub(row.word(open::SEQUENCE))
            .cast_signed()
        {
            _ if sequence == 0 => Ok(row),
            0 => Ok(row),
            // The operation has changed it, before it waited, or before its server was killed.
            -1 if row.word(open::REQUEST) == self.request() => Ok(row),
            ..0 => Err(Status::OLD_STATEID),
            _ => Err(Status::BAD_STATEID),
        }
    }

    /// The open with this state ID, which must be of the current object.
    pub(super) fn open_of_object(&self, state: StateId) -> Result<Open, Status> {
        let row = self.open_by(state)?;
        match row.pair(open::FILE) == self.file()? {
            true => Ok(row),
            false => Err(Status::BAD_STATEID),
        }
    }

    /// The open with this state ID, which must be of the current object, and no lock state.
    pub(super) fn open_row(&self, state: StateId) -> Result<Open, Status> {
        let row = self.open_of_object(state)?;
        match row.word(open::PARENT) {
            0 => Ok(row),
            _ => Err(Status::BAD_STATEID),
        }
    }

    /// Checks that an open is for this access.
    pub(super) fn check_access(&self, row: Open, access: Access) -> Result<(), Status> {
        match Shares::of(row).access & allowed(access) {
            0 => Err(Status::OPENMODE),
            _ => Ok(()),
        }
    }

    /// Checks that a state ID allows an access of the current object. Returns true if an open does, whatever the mode of the file.
    ///
    /// # Errors
    /// `OPENMODE`: the open is not for this access; `LOCKED`: another open denies it to anonymous requests; the event that must come
    /// first.
    pub(super) fn check_state(&mut self, state: StateId, access: Access) -> Result<bool, Fault> {
        if !matches!(state, StateId::ANONYMOUS | StateId::BYPASS) {
            let row = self.open_of_object(state)?;
            let open = match row.word(open::PARENT) {
                0 => Some(row),
                // Other servers change the chain.
                _ => locked(self.lock, || self.tables.parent(row)),
            };
            self.check_access(open.ok_or(Status::BAD_STATEID)?, access)?;
            return Ok(true);
        }
        self.check_grace()?;
        let asked = Shares {
            access: if access == Access::Write { 2 } else { 1 },
            deny: 0,
        };
        let bypasses = state == StateId::BYPASS && access == Access::Read;
        if self.tables.head.word(head::DENIALS) != 0 && !bypasses {
            let file = self.file()?;
            let denies = |row: &Open| !Shares::of(row).fits(asked);
            locked(self.lock, || {
                while let Some(other) = self.tables.opens_of(file).find(denies) {
                    if !self.yields(other) {
                        return Err(Status::LOCKED);
                    }
                }
                Ok(())
            })?;
        }
        // The record of a client that ended here is lost before the file changes.
        self.flush_records()?;
        Ok(false)
    }
}

/// TEST_STATEID.
pub(super) fn test_states(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let count = turn.args.u32();
    turn.reply.u32(count);
    for _ in 0..count {
        let state = turn.parse_state()?;
        let status = turn.open_by(state).err().unwrap_or(Status::OK);
        turn.reply.u32(status.0.into());
    }
    Ok(())
}

/// FREE_STATEID, of a lock state without locks. An open ends by CLOSE only.
pub(super) fn free_state(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let state = turn.parse_state()?;
    if !turn.is_done(|turn| turn.open_by(state).is_ok()) {
        let row = turn.open_by(state)?;
        if row.word(open::PARENT) == 0 || row.word(open::LOCKS) != 0 {
            return Err(Status::LOCKS_HELD.into());
        }
        turn.tables.end_open(row);
    }
    Ok(())
}
