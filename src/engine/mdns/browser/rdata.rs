//! Arena of the records' rdata, filled from the start. When the end is reached, compaction reclaims the space of removed rdata.

use super::entry::CacheEntry;
use crate::mem::{self, Ends as _, Slots};

/// Size (bytes) of the header before each rdata: the index of the cache entry that owns the rdata (u16), and the length (u16).
const HEADER_BYTES: usize = 4;
/// Unit (bytes) of positions in the arena. The space that each rdata occupies is a multiple of it.
const UNIT: usize = 4;
/// Value of the owner in the header of removed rdata.
const REMOVED: u16 = u16::MAX;

/// Returns the space (bytes) that rdata of `len` bytes occupies in the arena.
const fn stored_bytes(len: usize) -> usize {
    (HEADER_BYTES + len).next_multiple_of(UNIT)
}

/// Longest rdata (bytes) of an address or an SRV record, without the name.
const SHORT_BYTES: usize = 16;

#[derive(Debug)]
pub(super) struct RdataArena {
    bytes: Slots<u8>,
    /// Offset after the last rdata.
    end: usize,
    /// Space (bytes) that all rdata in use occupies.
    live: usize,
}

impl RdataArena {
    /// Position of empty rdata.
    pub(super) const NONE: u16 = u16::MAX;

    /// Creates an arena of at most 256 KiB.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            bytes: Slots::zeroed(bytes.min(usize::from(Self::NONE) * UNIT)),
            end: 0,
            live: 0,
        }
    }

    pub(super) const fn live(&self) -> usize {
        self.live
    }

    fn header(&self, offset: usize) -> Option<(u16, usize)> {
        let [o0, o1, l0, l1] = *self.bytes.get(offset..)?.first_chunk()?;
        let len = u16::from_le_bytes([l0, l1]);
        Some((u16::from_le_bytes([o0, o1]), len.into()))
    }

    fn set_header(&mut self, offset: usize, owner: u16, len: usize) {
        let header = self.bytes.get_mut(offset..);
        if let Some(header) = header.and_then(|rest| rest.first_chunk_mut()) {
            let [o0, o1] = owner.to_le_bytes();
            let [l0, l1] = (len as u16).to_le_bytes();
            *header = [o0, o1, l0, l1];
        }
    }

    /// Returns the rdata at a position.
    pub(super) fn get(&self, position: u16) -> &[u8] {
        let offset = usize::from(position) * UNIT;
        let Some((_, len)) = self.header(offset) else {
            return &[];
        };
        let start = offset + HEADER_BYTES;
        let rdata = self.bytes.get(start..start + len);
        rdata.unwrap_or_default()
    }

    /// Returns true if rdata of `len` bytes is small enough to be stored: less than a quarter of the arena.
    pub(super) fn can_store(&self, len: usize) -> bool {
        len < self.bytes.len() >> 2
    }

    /// Returns true if rdata of `len` bytes fits. 1/32 of the arena stays free, so that not each new rdata causes a compaction; a
    /// further 1/32 is for short rdata, because no service is resolved without its host's address.
    pub(super) fn has_space(&self, len: usize) -> bool {
        let reserve = self.bytes.len() >> if len > SHORT_BYTES { 4 } else { 5 };
        self.live + stored_bytes(len) + reserve < self.bytes.len()
    }

    /// Returns true if an eighth of the arena is free beside the space that [`Self::has_space`] reserves.
    pub(super) fn has_eighth(&self) -> bool {
        let whole = self.bytes.len();
        self.live < whole - (whole >> 3) - (whole >> 4)
    }

    /// Allocates `len` zeroed bytes for the entry with index `owner`. Returns their position and the buffer.
    pub(super) fn add(
        &mut self,
        entries: &mut [CacheEntry],
        owner: u16,
        len: usize,
    ) -> Option<(u16, &mut [u8])> {
        let whole = stored_bytes(len);
        if self.end + whole >= self.bytes.len() {
            self.pack(entries);
        }
        let offset = self.end;
        let end = offset + whole;
        if end >= self.bytes.len() {
            return None;
        }
        self.set_header(offset, owner, len);
        (self.end, self.live) = (end, self.live + whole);
        let buffer = self
            .bytes
            .get_mut(offset + HEADER_BYTES..end)?
            .head_mut(len);
        buffer.fill(0);
        Some(((offset / UNIT) as u16, buffer))
    }

    /// Marks the rdata at a position as removed.
    pub(super) fn remove(&mut self, position: u16) {
        let offset = usize::from(position) * UNIT;
        if let Some((_, len)) = self.header(offset).filter(|_| offset < self.end) {
            self.set_header(offset, REMOVED, len);
            self.live -= stored_bytes(len);
        }
    }

    /// Compacts the arena: moves all rdata in use to the front and updates the positions in `entries`.
    fn pack(&mut self, entries: &mut [CacheEntry]) {
        let (mut from, mut to) = (0usize, 0usize);
        while from < self.end
            && let Some((owner, len)) = self.header(from)
        {
            let end = from + stored_bytes(len);
            if owner != REMOVED {
                if end > self.bytes.len() {
                    break;
                }
                mem::shift(self.bytes.head_mut(end).tail_mut(to), from - to);
                if let Some(entry) = entries.get_mut(usize::from(owner)) {
                    entry.rdata = (to / UNIT) as u16;
                }
                to += end - from;
            }
            from = end;
        }
        self.end = to;
    }
}
