//! Room in the tables: requests that hold slots, and clients that lose their place.

use super::slots::Held;
use super::tables::{
    BLOCK_SLOT_COUNT, Client, Session, Slot, Tables, Words as _, client, session, slot,
};
use super::turn::Turn;
use crate::engine::rpc::connections::Connection;
use crate::mem::{FNV_START, fnv1a};
use crate::vfs::share;
use crate::wire::nfs4::Status;

/// Groups of addresses whose clients are counted when a table is full.
const GROUP_COUNT: usize = 64;

/// The kind of row that a full table lacks.
pub(super) enum Wanted {
    /// A client, in this state if there is one.
    Clients(Option<u32>),
    /// A session, or what sessions have: a function counts it.
    Sessions(fn(Session) -> u32),
}

impl Turn<'_, '_, '_, '_> {
    /// Returns true if a request of these sessions is being carried out, other than that of the slot `own`.
    pub(super) fn is_busy(
        &self,
        mut sessions: impl Iterator<Item = Session>,
        own: Option<&Held>,
    ) -> bool {
        sessions.any(|row| {
            self.tables.slots_from(row, 0).any(|slot| {
                !own.is_some_and(|own| core::ptr::eq(own.slot, slot)) && self.is_held(slot)
            })
        })
    }

    /// Fits the number of slots that a session may use to the free blocks. Returns that number, and the one that the client should
    /// use. Slots above `highest`, the last one in use, are freed when blocks run short; the first request of one that is granted
    /// again has the number 1.
    pub(super) fn resize(&self, row: Session, highest: u32) -> [u32; 2] {
        let tables = self.tables;
        let target = row.word(session::CHANNEL + 5).min(tables.slot_count_left());
        let mut count = row.word(session::SLOTS);
        if target >= count {
            count = target;
            row.set(session::SLOTS, count);
        } else {
            let used = target.max(highest.min(count - 1) + 1);
            let kept = used.next_multiple_of(BLOCK_SLOT_COUNT as u32);
            if kept < count && !tables.slots_from(row, kept).any(|slot| self.is_held(slot)) {
                tables.free_slots(row, kept);
                count = kept;
            }
        }
        [count, target]
    }

    pub(super) fn is_held(&self, row: Slot) -> bool {
        let connection = Connection::from_words(row.pair(slot::CONNECTION));
        self.connections.is_open(connection)
    }

    /// The group of addresses to which the peer belongs.
    pub(super) fn group(&self) -> u32 {
        let hash = fnv1a(FNV_START, &share(self.cx.peer.address).to_ne_bytes());
        ((hash >> 32) as u32 ^ hash as u32) % GROUP_COUNT as u32
    }

    /// Makes room in a full table: ends the client that was silent for longest, of the group of addresses that has the most rows of the
    /// `wanted` kind. Never the client `own`.
    pub(super) fn evict(&mut self, wanted: &Wanted, own: Option<Client>) -> Result<Client, Status> {
        let tables = self.tables;
        let has = |row: Client| match wanted {
            Wanted::Clients(state) => {
                let found = row.word(client::STATE);
                found != client::FREE && state.is_none_or(|state| state == found)
            }
            Wanted::Sessions(weigh) => tables.sessions_of(row).any(|row| weigh(row) > 0),
        };
        let mut counts = [0_u32; GROUP_COUNT];
        let mut add = |row: Client, count: u32| {
            if let Some(sum) = counts.get_mut(row.word(client::GROUP) as usize) {
                *sum += count;
            }
        };
        match wanted {
            Wanted::Clients(_) => tables
                .clients
                .iter()
                .filter(|row| has(row))
                .for_each(|row| add(row, 1)),
            Wanted::Sessions(weigh) => {
                for row in tables.sessions {
                    if let Some(client) = tables.client_of(row) {
                        add(client, weigh(row));
                    }
                }
            }
        }
        let fullest = (0..).zip(counts).max_by_key(|(_, count)| *count);
        let (fullest, _) = fullest.unwrap_or_default();
        // If several clients were renewed in the same second, the one that was made first is older.
        let age = |row: Client| [client::RENEWED, client::NUMBER].map(|at| row.word(at));
        let mut oldest: Option<Client> = None;
        for row in tables.clients {
            // The cheap questions first: few rows are older than all before.
            let may_be = row.word(client::GROUP) == fullest
                && oldest.is_none_or(|old| age(row) < age(old))
                && !own.is_some_and(|own| core::ptr::eq(own, row));
            if may_be && has(row) && !self.is_busy(tables.sessions_of(row), None) {
                oldest = Some(row);
            }
        }
        let oldest = oldest.ok_or(Status::DELAY)?;
        tables.end_client(oldest);
        Ok(oldest)
    }

    /// Takes a place in a table for a session. If none is free, another client that has many loses its own.
    pub(super) fn place<T>(
        &mut self,
        row: Session,
        take: impl Fn(&Tables) -> Option<T>,
    ) -> Result<T, Status> {
        let tables = self.tables;
        if let Some(place) = take(&tables) {
            return Ok(place);
        }
        self.evict(
            &Wanted::Sessions(Tables::block_count),
            tables.client_of(row),
        )?;
        take(&tables).ok_or(Status::DELAY)
    }
}
