//! The rdata of records, one behind the other. What is left of those that are gone is used when the end is reached.

use super::entry::Entry;
use crate::mem::{self, Ends as _, Slots};

/// Bytes before each rdata: whose it is, and how many bytes there are.
const HEAD: usize = 4;
/// Every rdata takes a multiple of so many bytes: its place is told as one of these.
const UNIT: usize = 4;
/// The owner of what is not used.
const NOBODY: u16 = u16::MAX;

/// Bytes that rdata of so many takes.
const fn taken(len: usize) -> usize {
    (HEAD + len).next_multiple_of(UNIT)
}

#[derive(Debug)]
pub(super) struct RdataArena {
    bytes: Slots<u8>,
    /// Where what is used ends.
    end: usize,
    /// Bytes in use.
    live: usize,
}

impl RdataArena {
    /// The place of what is empty.
    pub(super) const NONE: u16 = u16::MAX;

    /// At most 256 KiB.
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

    fn head(&self, at: usize) -> Option<(u16, usize)> {
        let [o0, o1, l0, l1] = *self.bytes.get(at..)?.first_chunk()?;
        let len = u16::from_le_bytes([l0, l1]);
        Some((u16::from_le_bytes([o0, o1]), len.into()))
    }

    fn set_head(&mut self, at: usize, owner: u16, len: usize) {
        let place = self.bytes.get_mut(at..);
        if let Some(place) = place.and_then(|rest| rest.first_chunk_mut()) {
            let [o0, o1] = owner.to_le_bytes();
            let [l0, l1] = (len as u16).to_le_bytes();
            *place = [o0, o1, l0, l1];
        }
    }

    /// The rdata at a place.
    pub(super) fn get(&self, at: u16) -> &[u8] {
        let at = usize::from(at) * UNIT;
        let Some((_, len)) = self.head(at) else {
            return &[];
        };
        let begin = at + HEAD;
        let rdata = self.bytes.get(begin..begin + len);
        rdata.unwrap_or_default()
    }

    /// Whether so many bytes could ever fit.
    pub(super) fn takes(&self, len: usize) -> bool {
        len < self.bytes.len() >> 2
    }

    /// Whether so many bytes fit, perhaps after packing, which is worth its while.
    pub(super) fn has_space(&self, len: usize) -> bool {
        let whole = self.bytes.len();
        let end = self.end + taken(len);
        let packed = self.live + taken(len);
        end < whole || packed < whole - (whole >> 3)
    }

    /// A buffer of so many bytes, and its place.
    pub(super) fn add(
        &mut self,
        entries: &mut [Entry],
        owner: u16,
        len: usize,
    ) -> Option<(u16, &mut [u8])> {
        let whole = taken(len);
        if self.end + whole >= self.bytes.len() {
            self.pack(entries);
        }
        let at = self.end;
        let end = at + whole;
        if end >= self.bytes.len() {
            return None;
        }
        self.set_head(at, owner, len);
        (self.end, self.live) = (end, self.live + whole);
        let buffer = self.bytes.get_mut(at + HEAD..end)?.head_mut(len);
        buffer.fill(0);
        Some(((at / UNIT) as u16, buffer))
    }

    /// The rdata at a place is not needed any more.
    pub(super) fn remove(&mut self, at: u16) {
        let at = usize::from(at) * UNIT;
        if let Some((_, len)) = self.head(at).filter(|_| at < self.end) {
            self.set_head(at, NOBODY, len);
            self.live -= taken(len);
        }
    }

    /// Compacts: moves all that is in use to the beginning.
    fn pack(&mut self, entries: &mut [Entry]) {
        let (mut from, mut to) = (0usize, 0usize);
        while from < self.end
            && let Some((owner, len)) = self.head(from)
        {
            let end = from + taken(len);
            if owner != NOBODY {
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
