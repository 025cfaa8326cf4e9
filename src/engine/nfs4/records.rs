//! The records of clients in the directory of state: a client that has one may reclaim its opens after a stop and a start of the
//! server. RFC 8881 section 8.4.2.1.
//!
//! The file has a header and then a record for each row. Each of them has 16 bytes: the hash of the client's owner, or the server's
//! identity in the header; the number of a start; a checksum. A record counts if its number is not below that of the header, so one
//! write of the header at the end of a grace period removes the records of all clients that did not return.

use super::clients::halves;
use super::tables::{Client, Record, Tables, Words as _, client, head, record};
use crate::config::LEASE_SECS;
use crate::mem::{FNV_START, fnv1a};
use crate::wire::{Reader, Writer};

/// Length of a record (bytes). No record crosses a sector, so a write of one is never torn.
const BYTES: usize = 16;

/// The bytes of a record in the file.
pub(super) fn emit([first, second]: [u32; 2], start: u32) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    let mut record = Writer::new(&mut bytes);
    record.words(&[first, second, start]);
    let sum = fnv1a(FNV_START, record.since(0));
    record.u32(sum as u32);
    bytes
}

/// Parses a record. `None`: it is free, or damaged.
fn parse(bytes: &[u8; BYTES]) -> Option<([u32; 2], u32)> {
    let mut reader = Reader::new(bytes);
    let (owner, start) = ([reader.u32(), reader.u32()], reader.u32());
    (emit(owner, start) == *bytes).then_some((owner, start))
}

impl Tables {
    /// Reads the records of `server` from the content of the file, and begins the grace period if there are some. Returns their
    /// number; 0 if another server of the tables has read them.
    pub(super) fn load_records(&self, content: &[u8], server: u64, now: u32) -> u32 {
        if self.head.word(head::START) != 0 {
            return 0;
        }
        let server = halves(server);
        let (mut oldest, mut last, mut count) = (u32::MAX, 0, 0);
        for (at, bytes) in content.as_chunks().0.iter().enumerate() {
            let Some((owner, start)) = parse(bytes) else {
                continue;
            };
            last = start.max(last);
            if at == 0 && owner == server {
                oldest = start;
            } else if start >= oldest
                && let Some(row) = self.records.get(at.wrapping_sub(1))
            {
                row.set_all(record::OWNER, &owner);
                row.set(record::START, start);
                count += 1;
            }
        }
        // Without records the period has ended, and the first open writes the header.
        let ends = if count == 0 { 1 } else { now + LEASE_SECS };
        let words = [ends, now + 2 * LEASE_SECS];
        self.head.set_all(head::GRACE_ENDS, &words);
        self.head.set_all(head::SERVER, &server);
        self.head.set(head::START, last.wrapping_add(1));
        count
    }

    /// Returns true if a row has the record of an owner.
    fn is_of(row: Record, owner: [u32; 2]) -> bool {
        row.pair(record::OWNER) == owner && !matches!(row.word(record::START), 0 | record::DROPPED)
    }

    /// Returns true if the client of a record may reclaim: it has not returned since this start.
    fn is_awaited(&self, row: Record) -> bool {
        let start = row.word(record::START);
        start != self.head.word(head::START) && !matches!(start, 0 | record::DROPPED)
    }

    /// Returns true if the grace period runs: a client that has not returned may still reclaim its opens.
    pub(super) fn is_grace(&self, now: u32) -> bool {
        now < self.head.word(head::GRACE_ENDS)
            && self.records.iter().any(|row| self.is_awaited(row))
    }

    /// Returns true if this owner may reclaim in a grace period.
    pub(super) fn may_reclaim(&self, owner: [u32; 2]) -> bool {
        let mut rows = self.records.iter();
        rows.any(|row| Self::is_of(row, owner) && self.is_awaited(row))
    }

    /// A client that has reclaimed opens of a file system, and whose record is of an earlier start. It may never reclaim all.
    pub(super) fn unrecorded(&self) -> Option<Client> {
        let has_record = |owner| self.records.iter().any(|row| Self::is_of(row, owner));
        self.clients.iter().find(|row| {
            row.word(client::STATE) == client::CONFIRMED
                && row.word(client::RECLAIMED) == client::RECLAIMED_ONE
                && row.word(client::OPENS) != 0
                && has_record(row.pair(client::OWNER))
        })
    }

    /// Puts the record of an owner, as of a client that has returned, into a row: the one that it has, a free one, or one that the file
    /// is to lose. Returns the row's number; `None`: there is none.
    pub(super) fn put_record(&self, owner @ [_, hash]: [u32; 2]) -> Option<usize> {
        let count = self.records.len();
        let mut rows = self.records.iter();
        let place = rows.position(|row| Self::is_of(row, owner)).or_else(|| {
            // A row that was freed is not the next one that is used: an earlier write of it may not have ended.
            let mut all = (0..count).map(|at| (at + hash as usize) % count);
            let free = all.clone().find(|at| self.start_of(*at) == 0);
            free.or_else(|| all.find(|at| self.start_of(*at) == record::DROPPED))
        })?;
        if let Some(row) = self.records.get(place) {
            row.set_all(record::OWNER, &owner);
            row.set(record::START, self.head.word(head::START));
        }
        Some(place)
    }

    /// The number of a start in a row of records.
    fn start_of(&self, at: usize) -> u32 {
        self.records
            .get(at)
            .map_or(0, |row| row.word(record::START))
    }

    /// Marks the record of a client that ends: the file is to lose it.
    pub(super) fn drop_records(&self, owner: [u32; 2]) {
        if self.head.word(head::START) == 0 {
            return;
        }
        for row in self.records.iter().filter(|row| Self::is_of(row, owner)) {
            row.set(record::START, record::DROPPED);
            self.head.set(head::DROPPED, 1);
        }
    }

    /// The next write that must be durable before a client opens anything: its place in the file, and the bytes.
    pub(super) fn next_write(&self, now: u32) -> Option<(u32, [u8; BYTES])> {
        let head = self.head;
        if head.word(head::GRACE_ENDS) != 0 && !self.is_grace(now) {
            return Some((0, emit(head.pair(head::SERVER), head.word(head::START))));
        }
        if head.word(head::DROPPED) == 0 {
            return None;
        }
        head.set(head::DROPPED, 0);
        let mut rows = self.records.iter();
        let at = rows.position(|row| row.word(record::START) == record::DROPPED)?;
        head.set(head::DROPPED, 1);
        Some((at as u32 + 1, [0; BYTES]))
    }

    /// Records that the write at a place, of [`Tables::next_write`], has ended.
    pub(super) fn end_write(&self, place: u32) {
        match place.checked_sub(1) {
            None => {
                let awaited = self.records.iter().filter(|row| self.is_awaited(row));
                awaited.for_each(|row| row.set(record::START, 0));
                self.head.set(head::GRACE_ENDS, 0);
            }
            Some(at) if self.start_of(at as usize) == record::DROPPED => {
                if let Some(row) = self.records.get(at as usize) {
                    row.set(record::START, 0);
                }
            }
            Some(_) => {}
        }
    }
}
