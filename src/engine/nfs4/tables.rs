//! The tables of clients, sessions, slots and kept replies, in words that servers of the same files may share.
//!
//! All tables grow with one number, the count of clients. A row is an array of words, whose places the modules below name. Rows of
//! clients and sessions have numbers that are not used again: the row's index is the number modulo the count of rows.

use crate::config::{
    COMPOUND_COUNT, COMPOUND_HELD_BYTES, KEPT_REPLY_BYTES, NFS4_CLIENT_COUNT, NFS4_REGION_BYTES,
    SESSION_SLOT_COUNT_MAX,
};
use crate::wire::{Reader, Writer};
use core::sync::atomic::{AtomicU32, Ordering};

/// A client's row.
pub(super) mod client {
    /// The number; the lower half of the client ID.
    pub(in super::super) const NUMBER: usize = 0;
    /// [`FREE`], [`UNCONFIRMED`] or [`CONFIRMED`].
    pub(in super::super) const STATE: usize = 1;
    /// The hash of the owner, two words.
    pub(in super::super) const OWNER: usize = 2;
    /// The verifier, two words.
    pub(in super::super) const VERIFIER: usize = 4;
    /// The UID that made the client.
    pub(in super::super) const USER: usize = 6;
    /// Time of the last renewal (seconds).
    pub(in super::super) const RENEWED: usize = 7;
    /// The sequence number of the next CREATE_SESSION.
    pub(in super::super) const SEQUENCE: usize = 8;
    /// The session that the last CREATE_SESSION made. 0: there was none.
    pub(in super::super) const SESSION: usize = 9;
    /// [`RECLAIMED_ONE`], [`RECORDED`] or [`RECLAIMED_ALL`] after RECLAIM_COMPLETE.
    pub(in super::super) const RECLAIMED: usize = 10;
    /// The group of addresses that its peer belongs to.
    pub(in super::super) const GROUP: usize = 11;
    /// Number of its opens and lock states, and of its locks.
    pub(in super::super) const OPENS: usize = 12;
    pub(in super::super) const LOCKS: usize = 13;
    pub(in super::super) const WORDS: usize = 14;

    pub(in super::super) const FREE: u32 = 0;
    pub(in super::super) const UNCONFIRMED: u32 = 1;
    pub(in super::super) const CONFIRMED: u32 = 2;
    /// The client has reclaimed all opens of a file system.
    pub(in super::super) const RECLAIMED_ONE: u32 = 1;
    /// A client that has reclaimed those of a file system has a record: it has opened something new, or the grace period has ended.
    pub(in super::super) const RECORDED: u32 = 2;
    /// The client has reclaimed all its opens.
    pub(in super::super) const RECLAIMED_ALL: u32 = 3;
}

/// A session's row.
pub(super) mod session {
    use super::{BLOCK_SLOT_COUNT, SESSION_SLOT_COUNT_MAX};

    pub(in super::super) const NUMBER: usize = 0;
    /// The number of its client. 0: the row is free.
    pub(in super::super) const CLIENT: usize = 1;
    /// The limits of the fore channel, in the order of the wire: padding, request, reply, kept reply, operations, slots.
    pub(in super::super) const CHANNEL: usize = 2;
    /// The number of slots that it may use now.
    pub(in super::super) const SLOTS: usize = 8;
    /// The indexes of the blocks of its slots, each + 1. 0: none of these slots was used yet.
    pub(in super::super) const BLOCKS: usize = 9;
    pub(in super::super) const WORDS: usize = BLOCKS + SESSION_SLOT_COUNT_MAX / BLOCK_SLOT_COUNT;
}

/// A slot's row.
pub(super) mod slot {
    /// The sequence number of the last request.
    pub(in super::super) const SEQUENCE: usize = 0;
    /// The hash of that request.
    pub(in super::super) const REQUEST: usize = 1;
    /// The connection whose request is being carried out, two words. It counts only while it is open.
    pub(in super::super) const CONNECTION: usize = 2;
    /// The index + 1 of the kept reply in the upper half; its length (bytes) in the lower one.
    pub(in super::super) const REPLY: usize = 4;
    /// The number of the second operation in the upper half, and its status in the lower one, if the request ended with it.
    pub(in super::super) const FAILED: usize = 5;
    /// The first operation of that request whose change had to be made durable, as `Compound::promised`.
    pub(in super::super) const PROMISED: usize = 6;
    /// While a request is carried out: the operation that begins a change, 1 for the first one, times 2, with 1 added if its name
    /// exists; and the ID of the request.
    pub(in super::super) const BEGUN: usize = 7;
    pub(in super::super) const WORDS: usize = 9;
}

/// An open's row: what an owner of a client has opened of a file. Or a lock state's: what a lock owner of a client has locked of a file.
pub(super) mod open {
    /// Another number for each open; part of the state ID.
    pub(in super::super) const SERIAL: usize = 0;
    /// The number of its client. 0: the row is free.
    pub(in super::super) const CLIENT: usize = 1;
    /// The hash of the owner, two words.
    pub(in super::super) const OWNER: usize = 2;
    /// The hash of the file, two words.
    pub(in super::super) const FILE: usize = 4;
    /// The sequence number of the state ID.
    pub(in super::super) const SEQUENCE: usize = 6;
    /// The [`Shares`](super::super::opens::Shares).
    pub(in super::super) const SHARES: usize = 7;
    /// The index + 1 of the next row of the same chain: of files with similar hashes, or of free rows. 0: the last one.
    pub(in super::super) const NEXT: usize = 8;
    /// The ID of the request that changed the open last.
    pub(in super::super) const REQUEST: usize = 9;
    /// The serial number of the open by which a lock state was made. 0: the row is an open.
    pub(in super::super) const PARENT: usize = 10;
    /// The index + 1 of the first lock of a lock state.
    pub(in super::super) const LOCKS: usize = 11;
    pub(in super::super) const WORDS: usize = 12;
}

/// A lock's row.
pub(super) mod lock {
    /// The index + 1 of its lock state, and the serial number of that. 0: the row is free.
    pub(in super::super) const STATE: usize = 0;
    pub(in super::super) const SERIAL: usize = 1;
    /// The first and the last locked byte, two words each.
    pub(in super::super) const FIRST: usize = 2;
    pub(in super::super) const LAST: usize = 4;
    /// 1: it is locked for writing.
    pub(in super::super) const EXCLUSIVE: usize = 6;
    /// The index + 1 of the next lock of the same state, or of the next free row. 0: the last one.
    pub(in super::super) const NEXT: usize = 7;
    pub(in super::super) const WORDS: usize = 8;
}

/// The row of a client's record in the directory of state.
pub(super) mod record {
    /// The hash of the owner, two words.
    pub(in super::super) const OWNER: usize = 0;
    /// The number of the start at which the client took its state. 0: the row is free. [`DROPPED`]: the file still has the record.
    pub(in super::super) const START: usize = 2;
    pub(in super::super) const WORDS: usize = 3;

    pub(in super::super) const DROPPED: u32 = u32::MAX;
}

/// Slots of a session that are allocated at once.
pub(super) const BLOCK_SLOT_COUNT: usize = 4;
/// Slots of a session when blocks are short.
const SLOT_COUNT_MIN: usize = 8;
/// A block: the number of its session (0: free), then its slots.
const BLOCK_WORDS: usize = 1 + BLOCK_SLOT_COUNT * slot::WORDS;
/// A kept reply: 1 if it is used, then its bytes.
const REPLY_WORDS: usize = 1 + KEPT_REPLY_BYTES / 4;
/// Sessions for each client, on average.
const SESSION_SHARE: usize = 2;
/// Blocks for each client, on average.
const BLOCK_SHARE: usize = 2;
/// Kept replies for each client, on average.
const REPLY_SHARE: usize = 2;
/// Opens for each client, on average.
const OPEN_SHARE: usize = 16;
/// Locks for each client, on average.
const LOCK_SHARE: usize = 16;
/// Chains of opens for each client.
const CHAIN_SHARE: usize = 4;
/// Words before the tables: the instance of the server, the layout of the tables, and the places that the module names.
pub(super) mod head {
    /// The number of free blocks.
    pub(in super::super) const FREE_BLOCKS: usize = 3;
    /// The number of rows for opens that were used once. Later rows are untouched.
    pub(in super::super) const OPENS_TOUCHED: usize = 4;
    /// The chain of free rows among them.
    pub(in super::super) const OPENS_FREE: usize = 5;
    /// The number of the last open.
    pub(in super::super) const SERIAL: usize = 6;
    /// The number of this start, for new records. 0: there are no records.
    pub(in super::super) const START: usize = 7;
    /// The end of the grace period (seconds). 0: the file of records has this end.
    pub(in super::super) const GRACE_ENDS: usize = 8;
    /// Its latest end (seconds).
    pub(in super::super) const GRACE_LIMIT: usize = 9;
    /// 1: the rows of records may have one that the file is to lose.
    pub(in super::super) const DROPPED: usize = 10;
    /// The identity of the server in the header of the file, two words.
    pub(in super::super) const SERVER: usize = 11;
    /// The number of rows for locks that were used once, and the chain of free rows among them.
    pub(in super::super) const LOCKS_TOUCHED: usize = 13;
    pub(in super::super) const LOCKS_FREE: usize = 14;
    /// The numbers of clients, of opens with lock states, of opens that deny something to others, and of locks.
    pub(in super::super) const CLIENTS: usize = 15;
    pub(in super::super) const OPENS: usize = 16;
    pub(in super::super) const DENIALS: usize = 17;
    pub(in super::super) const LOCKS: usize = 18;
    pub(in super::super) const WORDS: usize = 19;
}
/// The number of the layout. A change of the rows' meaning counts it up; their sizes are added.
const LAYOUT: u32 = (9 << 16) + SHARE_WORDS as u32;
/// Words for each client.
const SHARE_WORDS: usize = client::WORDS
    + SESSION_SHARE * session::WORDS
    + BLOCK_SHARE * BLOCK_WORDS
    + REPLY_SHARE * REPLY_WORDS
    + OPEN_SHARE * open::WORDS
    + CHAIN_SHARE
    + record::WORDS
    + LOCK_SHARE * lock::WORDS;

const _: () = assert!(
    word_count(NFS4_CLIENT_COUNT) * 4 + COMPOUND_COUNT * COMPOUND_HELD_BYTES < NFS4_REGION_BYTES
);
const _: () = assert!(SESSION_SLOT_COUNT_MAX.is_multiple_of(BLOCK_SLOT_COUNT));
const _: () = assert!(KEPT_REPLY_BYTES.is_multiple_of(4) && KEPT_REPLY_BYTES < 1 << 16);

/// Number of words of the tables for this count of clients.
pub const fn word_count(client_count: usize) -> usize {
    head::WORDS + client_count * SHARE_WORDS
}

/// The words of a row.
pub(super) type Row<const WORDS: usize> = [AtomicU32; WORDS];
pub(super) type Client = &'static Row<{ client::WORDS }>;
pub(super) type Session = &'static Row<{ session::WORDS }>;
pub(super) type Slot = &'static Row<{ slot::WORDS }>;
pub(super) type Open = &'static Row<{ open::WORDS }>;
pub(super) type Lock = &'static Row<{ lock::WORDS }>;
pub(super) type Record = &'static Row<{ record::WORDS }>;

/// The words of a row, by their places.
pub(super) trait Words {
    fn word(&self, at: usize) -> u32;
    fn set(&self, at: usize, value: u32);

    fn pair(&self, at: usize) -> [u32; 2] {
        [self.word(at), self.word(at + 1)]
    }

    fn set_all(&self, at: usize, values: &[u32]) {
        for (at, value) in (at..).zip(values) {
            self.set(at, *value);
        }
    }
}

impl Words for [AtomicU32] {
    fn word(&self, at: usize) -> u32 {
        self.get(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(&self, at: usize, value: u32) {
        #[cfg(test)]
        kills::count_store();
        if let Some(word) = self.get(at) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// Kills of a server between two stores, for tests.
#[cfg(test)]
pub(super) mod kills {
    use core::cell::Cell;
    use core::panic::AssertUnwindSafe;
    use std::panic::{catch_unwind, resume_unwind};

    std::thread_local! {
        static LEFT: Cell<u32> = const { Cell::new(u32::MAX) };
    }

    /// Ends the work of a server that has no store left.
    pub(super) fn count_store() {
        match LEFT.get() {
            u32::MAX => {}
            0 => resume_unwind(Box::new(())),
            left => LEFT.set(left - 1),
        }
    }

    /// Works until the server is killed, after this number of stores. Returns true if the work has ended before.
    pub(in super::super) fn ends_within(stores: u32, work: impl FnOnce()) -> bool {
        LEFT.set(stores);
        let ended = catch_unwind(AssertUnwindSafe(work));
        LEFT.set(u32::MAX);
        ended.is_ok()
    }
}

/// The tables.
#[derive(Clone, Copy, Default)]
pub(super) struct Tables {
    pub(super) head: &'static [AtomicU32],
    pub(super) clients: &'static [Row<{ client::WORDS }>],
    pub(super) sessions: &'static [Row<{ session::WORDS }>],
    blocks: &'static [Row<BLOCK_WORDS>],
    replies: &'static [Row<REPLY_WORDS>],
    pub(super) opens: &'static [Row<{ open::WORDS }>],
    /// The index + 1 of the first open of each chain. The hash of a file selects its chain.
    pub(super) chains: &'static [AtomicU32],
    pub(super) records: &'static [Row<{ record::WORDS }>],
    pub(super) locks: &'static [Row<{ lock::WORDS }>],
}

/// Cuts `count` rows off the front of `words`.
fn cut<const WORDS: usize>(
    words: &mut &'static [AtomicU32],
    count: usize,
) -> &'static [Row<WORDS>] {
    let (rows, rest) = words.split_at_checked(count * WORDS).unwrap_or_default();
    *words = rest;
    rows.as_chunks().0
}

/// Makes a number for a row: the next one with this index, after the number that the row had.
pub(super) const fn next_number(before: u32, index: usize, count: usize) -> u32 {
    match before {
        // 0 is no number.
        0 => (index + count) as u32,
        before => before.wrapping_add(count as u32),
    }
}

/// The slots of a block.
fn slots_in(block: &'static Row<BLOCK_WORDS>) -> &'static [Row<{ slot::WORDS }>] {
    let [_session, slots @ ..] = block;
    slots.as_chunks().0
}

/// The place in a session's row of the block of a slot.
const fn block_at(number: u32) -> usize {
    session::BLOCKS + number as usize / BLOCK_SLOT_COUNT
}

/// The row with this number.
fn numbered<const WORDS: usize>(
    rows: &'static [Row<WORDS>],
    number: u32,
) -> Option<&'static Row<WORDS>> {
    let row = rows.get((number as usize).checked_rem(rows.len())?)?;
    // Both kinds of rows begin with their number.
    (row.word(client::NUMBER) == number).then_some(row)
}

impl Tables {
    /// The tables in [`word_count`] words: zeros, or those of an earlier server. `instance` is new for each start.
    pub(super) fn new(mut words: &'static [AtomicU32], instance: [u32; 2]) -> Self {
        let count = words.len() / SHARE_WORDS;
        if words.word(2) != LAYOUT {
            // After an upgrade. Words of the first start are zeros, and stay untouched.
            if words.word(2) != 0 {
                words
                    .iter()
                    .for_each(|word| word.store(0, Ordering::Relaxed));
            }
            words.set(2, LAYOUT);
        }
        let all = &mut words;
        let tables = Self {
            head: cut::<{ head::WORDS }>(all, 1).as_flattened(),
            clients: cut(all, count),
            sessions: cut(all, count * SESSION_SHARE),
            blocks: cut(all, count * BLOCK_SHARE),
            replies: cut(all, count * REPLY_SHARE),
            opens: cut(all, count * OPEN_SHARE),
            chains: cut::<CHAIN_SHARE>(all, count).as_flattened(),
            records: cut(all, count),
            locks: cut(all, count * LOCK_SHARE),
        };
        if tables.instance() == [0; 2] {
            tables.head.set_all(0, &instance);
            tables.count_blocks();
        }
        tables
    }

    /// The words from which figures are read: [`head::CLIENTS`] and those after it.
    pub(super) fn counts(&self) -> &'static [AtomicU32] {
        self.head.get(head::CLIENTS..).unwrap_or_default()
    }

    /// Two words that differ for each new set of tables.
    pub(super) fn instance(&self) -> [u32; 2] {
        self.head.pair(0)
    }

    /// The client with this ID.
    pub(super) fn client(&self, [instance, number]: [u32; 2]) -> Option<Client> {
        let row = numbered(self.clients, number)?;
        let is_used = row.word(client::STATE) != client::FREE;
        (is_used && self.head.word(0) == instance).then_some(row)
    }

    /// The ID of a client.
    pub(super) fn client_id(&self, row: Client) -> [u32; 2] {
        [self.head.word(0), row.word(client::NUMBER)]
    }

    /// The session with this ID.
    pub(super) fn session(&self, id: &[u8]) -> Option<Session> {
        let mut id = Reader::new(id);
        let instance = [id.u32(), id.u32()];
        let number = id.u32();
        let row = numbered(self.sessions, number)?;
        let is_used = row.word(session::CLIENT) == id.u32() && row.word(session::CLIENT) != 0;
        (is_used && instance == self.instance()).then_some(row)
    }

    /// Writes the ID of a session.
    pub(super) fn emit_session_id(&self, number: u32, client: u32, reply: &mut Writer<'_>) {
        let [first, second] = self.instance();
        reply.words(&[first, second, number, client]);
    }

    /// The sessions of a client.
    pub(super) fn sessions_of(&self, client: Client) -> impl Iterator<Item = Session> {
        let number = client.word(client::NUMBER);
        let sessions = self.sessions.iter();
        sessions.filter(move |row| row.word(session::CLIENT) == number)
    }

    /// The slots of a session that were used, from the block of the slot `number` on.
    pub(super) fn slots_from(&self, row: Session, number: u32) -> impl Iterator<Item = Slot> {
        let blocks = *self;
        let used = (block_at(number)..session::WORDS).filter_map(move |at| blocks.block(row, at));
        used.flat_map(slots_in)
    }

    /// The client of a session. RFC 8881 section 18.46.4: "The server MUST maintain a mapping of session ID to client ID".
    pub(super) fn client_of(&self, row: Session) -> Option<Client> {
        self.client([self.head.word(0), row.word(session::CLIENT)])
    }

    /// The number of slots that a session should use: fewer when blocks run short.
    pub(super) fn slot_count_left(&self) -> u32 {
        let free = self.head.word(head::FREE_BLOCKS) as usize;
        free.clamp(SLOT_COUNT_MIN, SESSION_SLOT_COUNT_MAX) as u32
    }

    /// Counts the free blocks.
    fn count_blocks(&self) {
        let free = self.blocks.iter().filter(|block| block.word(0) == 0);
        self.head.set(head::FREE_BLOCKS, free.count() as u32);
    }

    /// The block at a place of a session's row. A server that was killed may have left one there that is not the session's any more.
    fn block(&self, row: Session, at: usize) -> Option<&'static Row<BLOCK_WORDS>> {
        let block = self.blocks.get((row.word(at) as usize).checked_sub(1)?)?;
        (block.word(0) == row.word(session::NUMBER)).then_some(block)
    }

    /// A slot of a session, whose number is below the session's count. `None`: no space is left for it now.
    pub(super) fn slot(&self, row: Session, number: u32) -> Option<Slot> {
        let at = block_at(number);
        let mut block = self.block(row, at);
        if block.is_none() {
            let index = self.blocks.iter().position(|block| block.word(0) == 0)?;
            block = self.blocks.get(index);
            block?.set(0, row.word(session::NUMBER));
            row.set(at, index as u32 + 1);
            self.count_blocks();
        }
        slots_in(block?).get(number as usize % BLOCK_SLOT_COUNT)
    }

    /// Number of the blocks of a session.
    pub(super) fn block_count(row: Session) -> u32 {
        let blocks = (session::BLOCKS..session::WORDS).filter(|at| row.word(*at) != 0);
        blocks.count() as u32
    }

    /// Ends a session, and forgets its replies.
    pub(super) fn end_session(&self, row: Session) {
        self.free_slots(row, 0);
        row.set(session::CLIENT, 0);
    }

    /// Sets the number of slots that a session may use, a multiple of those in a block. Forgets the others, with their replies.
    pub(super) fn free_slots(&self, row: Session, count: u32) {
        row.set(session::SLOTS, count);
        for slot in self.slots_from(row, count) {
            self.drop_reply(slot);
            slot.set_all(0, &[0; slot::WORDS]);
        }
        for at in block_at(count)..session::WORDS {
            if let Some(block) = self.block(row, at) {
                block.set(0, 0);
            }
            row.set(at, 0);
        }
        self.count_blocks();
    }

    /// Ends a client and its sessions.
    pub(super) fn end_client(&self, row: Client) {
        for session in self.sessions_of(row) {
            self.end_session(session);
        }
        self.end_opens(row);
        if row.word(client::STATE) != client::FREE {
            self.count(head::CLIENTS, u32::MAX);
        }
        if row.word(client::STATE) == client::CONFIRMED {
            self.drop_records(row.pair(client::OWNER));
        }
        row.set(client::STATE, client::FREE);
    }

    /// Forgets the reply of a slot.
    pub(super) fn drop_reply(&self, row: Slot) {
        let kept = row.word(slot::REPLY);
        // In this order: after a kill between both, no other slot has the space, too.
        row.set(slot::REPLY, 0);
        if let Some(reply) = self.reply(kept) {
            reply.set(0, 0);
        }
    }

    fn reply(&self, kept: u32) -> Option<&'static Row<REPLY_WORDS>> {
        self.replies.get(((kept >> 16) as usize).checked_sub(1)?)
    }

    /// Returns true if a slot can keep a reply. The space is the slot's from now on.
    pub(super) fn reserve_reply(&self, row: Slot) -> bool {
        if row.word(slot::REPLY) != 0 {
            return true;
        }
        let mut replies = (1..).zip(self.replies);
        let free = replies.find(|(_, reply)| reply.word(0) == 0);
        // In this order, as above.
        let number: Option<u32> = free.map(|(number, reply)| {
            reply.set(0, 1);
            number
        });
        row.set(slot::REPLY, number.unwrap_or(0) << 16);
        number.is_some()
    }

    /// Stores the reply of a slot that has reserved its space. It is XDR, of at most [`KEPT_REPLY_BYTES`].
    pub(super) fn keep_reply(&self, row: Slot, bytes: &[u8]) {
        let kept = row.word(slot::REPLY);
        if let Some(reply) = self.reply(kept) {
            for (at, word) in (1..).zip(bytes.as_chunks().0) {
                reply.set(at, u32::from_be_bytes(*word));
            }
            row.set(slot::REPLY, kept & !0xffff | bytes.len() as u32);
        }
    }

    /// Writes the kept reply of a slot. Returns false if there is none.
    pub(super) fn emit_reply(&self, row: Slot, out: &mut Writer<'_>) -> bool {
        let kept = row.word(slot::REPLY);
        let count = (kept & 0xffff) as usize / 4;
        if let Some(reply) = self.reply(kept).filter(|_| count > 0) {
            for at in 1..=count {
                out.u32(reply.word(at));
            }
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::words;

    /// A server is killed while it takes or frees the space of a reply, and the request is repeated: no other slot has the same space.
    #[test]
    fn kept_replies_outlive_kills_between_two_stores() {
        let memory = words(word_count(1));
        let tables = Tables::new(memory, [5, 6]);
        let row = &tables.sessions[0];
        row.set_all(session::NUMBER, &[2, 1]);
        let slots = [0, 1, 2].map(|number| tables.slot(row, number).unwrap());
        for frees in [false, true] {
            if frees {
                slots.iter().for_each(|slot| tables.drop_reply(slot));
                assert!(tables.reserve_reply(slots[0]));
            }
            let saved: Vec<u32> = memory
                .iter()
                .map(|word| word.load(Ordering::Relaxed))
                .collect();
            for stores in 0.. {
                memory.set_all(0, &saved);
                let change = || match frees {
                    true => tables.drop_reply(slots[0]),
                    false => drop(tables.reserve_reply(slots[0])),
                };
                let ended = kills::ends_within(stores, change);
                tables.reserve_reply(slots[1]);
                change();
                tables.reserve_reply(slots[2]);
                let mut all = slots.map(|slot| slot.word(slot::REPLY)).to_vec();
                all.retain(|reply| *reply != 0);
                all.sort_unstable();
                let count = all.len();
                all.dedup();
                assert_eq!(all.len(), count, "{frees} {stores}");
                if ended {
                    break;
                }
            }
        }
    }
}
