//! LOCK, LOCKT and LOCKU. RFC 8881 sections 9.1 to 9.6 and 18.10 to 18.12.
//!
//! A lock that cannot be had is denied at once, also for clients that would wait: they ask again. Locks hold among the clients of
//! NFS 4.1.

use super::clients::halves;
use super::locked;
use super::opens::Shares;
use super::ranges::Range;
use super::tables::{Client, Open, Tables, Words as _, client, open};
use super::turn::{Done, Fault, Turn, check_regular};
use crate::mem::{FNV_START, fnv1a};
use crate::wire::nfs4::{OPAQUE_BYTES_MAX, StateId, Status, locking};

/// The largest number of rows that a change adds before it frees others.
const ROWS_ADDED: u32 = 3;

impl Turn<'_, '_, '_, '_> {
    /// Parses the kind of a lock. Returns true if it is exclusive.
    fn parse_kind(&mut self) -> Result<bool, Fault> {
        match self.args.u32() {
            locking::READ | locking::READ_WAITING => Ok(false),
            locking::WRITE | locking::WRITE_WAITING => Ok(true),
            _ => Err(Status::BADXDR.into()),
        }
    }

    /// Parses the offset and the length of a range.
    fn parse_range(&mut self, is_exclusive: bool) -> Result<Range, Fault> {
        let (first, len) = (self.args.u64(), self.args.u64());
        self.args.check()?;
        let last = match len {
            0 => None,
            u64::MAX => Some(u64::MAX),
            // RFC 8881 section 18.10.3: the sum of both has 64 bits.
            _ => first.checked_add(len).map(|end| end - 1),
        };
        let last = last.ok_or(Status::INVAL)?;
        Ok(Range {
            first,
            last,
            is_exclusive,
        })
    }

    /// Parses a lock owner, whose client is that of the session.
    fn parse_owner(&mut self) -> Result<[u32; 2], Fault> {
        self.args.take(8);
        let owner = fnv1a(FNV_START, self.args.opaque(OPAQUE_BYTES_MAX));
        self.args.check()?;
        Ok(halves(owner))
    }

    /// Fails unless the current object is a regular file.
    fn check_lockable(&mut self) -> Done {
        let (_, attr) = self.object_with_attr()?;
        match check_regular(attr.kind) {
            Ok(()) | Err(Status::ISDIR) => Ok(check_regular(attr.kind)?),
            Err(_) => Err(Status::INVAL.into()),
        }
    }

    /// Finds a lock of another owner that conflicts with a range, and its owner's state. The locks of clients whose lease has expired
    /// end.
    fn find_conflict(
        &self,
        file: [u32; 2],
        own: Client,
        owner: [u32; 2],
        range: Range,
    ) -> Option<(Open, Range)> {
        let tables = self.tables;
        let number = own.word(client::NUMBER);
        let is_own = |row: Open| row.word(open::CLIENT) == number && row.pair(open::OWNER) == owner;
        loop {
            let mut others = tables.opens_of(file).filter(|row| !is_own(row));
            let found = others.find_map(|row| {
                let mut locks = tables.locks_of(row);
                Some((row, locks.find(|lock| lock.conflicts(range))?))
            });
            let (row, _) = found?;
            if !self.yields(row) {
                return found;
            }
        }
    }

    /// Writes the conflicting lock. The owner is named by the hash of its name.
    #[doc(alias = "LOCK4denied")]
    fn deny(&mut self, (row, range): (Open, Range)) -> Fault {
        let len = match range.last {
            u64::MAX => u64::MAX,
            last => last - range.first + 1,
        };
        let reply = &mut *self.reply;
        reply.u64(range.first);
        reply.u64(len);
        reply.u32(match range.is_exclusive {
            true => locking::WRITE,
            false => locking::READ,
        });
        let [instance, _] = self.tables.instance();
        reply.words(&[instance, row.word(open::CLIENT)]);
        let [first, second] = row.pair(open::OWNER);
        reply.words(&[8, first, second]);
        Fault::Denied
    }

    /// The lock state of a lock owner for the file of an open: the one that there is, or a new one, which ends with that open.
    fn lock_state(&mut self, parent: Open, owner: [u32; 2], own: Client) -> Result<Open, Status> {
        let (tables, file) = (self.tables, parent.pair(open::FILE));
        let number = own.word(client::NUMBER);
        let found = tables.opens_of(file).find(|row| {
            row.word(open::PARENT) != 0
                && row.word(open::CLIENT) == number
                && row.pair(open::OWNER) == owner
        });
        if let Some(row) = found {
            return Ok(row);
        }
        self.make_room(own, Tables::open_counts, client::OPENS)?;
        let row = tables.add_open(own, owner, file, NONE, self.request(), Some(parent));
        row.ok_or(Status::DELAY)
    }

    /// Fails unless the current object's lock state with this state ID, of this sequence number, may be changed.
    fn lock_state_by(&self, state: StateId) -> Result<Open, Status> {
        let row = self.open_of_object(state)?;
        match row.word(open::PARENT) {
            0 => Err(Status::BAD_STATEID),
            _ => Ok(row),
        }
    }

    /// Makes room for a change that ends with more rows than before.
    fn make_lock_room(&mut self, own: Client) -> Result<(), Status> {
        self.make_room(own, Tables::lock_counts, client::LOCKS)?;
        self.check_lock_rows()
    }

    /// Fails unless the rows are free that a change adds before it removes others.
    fn check_lock_rows(&self) -> Result<(), Status> {
        let [_, free] = self.tables.lock_counts();
        match free < ROWS_ADDED {
            true => Err(Status::DELAY),
            false => Ok(()),
        }
    }

    /// Writes the state ID of a lock state that has changed.
    fn put_lock_state(&mut self, row: Open) {
        self.tables.renew(row, self.request());
        self.put_state(self.tables.state_id(row));
    }
}

/// The shares of a lock state: those of its open count.
const NONE: Shares = Shares { access: 0, deny: 0 };

/// LOCK. Ignores the sequence numbers of owners, which version 4.0 used.
pub(super) fn lock(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let is_exclusive = turn.parse_kind()?;
    let reclaims = turn.args.flag();
    let range = turn.parse_range(is_exclusive);
    let is_new = turn.args.flag();
    if is_new {
        turn.args.u32();
    }
    let state = turn.parse_state()?;
    turn.args.u32();
    let named = match is_new {
        true => Some(turn.parse_owner()?),
        false => None,
    };
    turn.args.check()?;
    let range = range?;
    turn.check_lockable()?;
    turn.check_reclaim(reclaims)?;
    locked(turn.lock, || {
        let own = turn.client()?;
        let row = match named {
            Some(_) => turn.open_row(state)?,
            None => turn.lock_state_by(state)?,
        };
        let owner = named.unwrap_or_else(|| row.pair(open::OWNER));
        let parent = turn.tables.parent(row).ok_or(Status::BAD_STATEID)?;
        let access = if is_exclusive { 2 } else { 1 };
        if Shares::of(parent).access & access == 0 {
            return Err(Status::OPENMODE.into());
        }
        if let Some(found) = turn.find_conflict(row.pair(open::FILE), own, owner, range) {
            return Err(turn.deny(found));
        }
        turn.make_lock_room(own)?;
        let row = match named {
            Some(owner) => turn.lock_state(parent, owner, own)?,
            None => row,
        };
        turn.tables.lock(row, range);
        turn.put_lock_state(row);
        Ok(())
    })?;
    if turn.may_wait() {
        return turn.flush_records();
    }
    // DELAY would have the client ask again, with the state ID that it had before.
    turn.begin_flush();
    Ok(())
}

/// LOCKT.
pub(super) fn test_lock(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let is_exclusive = turn.parse_kind()?;
    let range = turn.parse_range(is_exclusive);
    let owner = turn.parse_owner()?;
    let range = range?;
    turn.check_lockable()?;
    turn.check_grace()?;
    locked(turn.lock, || {
        let (file, own) = (turn.file()?, turn.client()?);
        match turn.find_conflict(file, own, owner, range) {
            Some(found) => Err(turn.deny(found)),
            None => Ok(()),
        }
    })
}

/// LOCKU.
pub(super) fn unlock(turn: &mut Turn<'_, '_, '_, '_>) -> Done {
    let is_exclusive = turn.parse_kind()?;
    let _sequence = turn.args.u32();
    let state = turn.parse_state()?;
    let range = turn.parse_range(is_exclusive)?;
    let row = turn.lock_state_by(state)?;
    let locks = turn.tables.locks_of(row);
    let left = locks.map(|lock| lock.count_left(range)).max();
    match left {
        // Two locks take the place of one.
        Some(2) => turn.make_lock_room(turn.client()?)?,
        Some(1) => turn.check_lock_rows()?,
        // The whole locks of an owner can always be ended.
        _ => {}
    }
    turn.tables.unlock(row, range);
    turn.put_lock_state(row);
    Ok(())
}
