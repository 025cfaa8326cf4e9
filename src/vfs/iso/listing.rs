//! Directories: listing, and lookup by name.
//!
//! Conversion can give two entries the same name ("A.;1" and "A;1", or Joliet names with unpaired surrogates). A listing shows the
//! second as "a~2", and a lookup finds it by that name. The first in the directory keeps its name.

use super::super::volume::Block;
use super::super::walk::{front, put};
use super::super::{FsError, FsResult};
use super::{Image, IsoEntry, NOWHERE};
use crate::config::{IMAGE_LOOK_COUNT_MAX, IMAGE_NAME_COUNT};
use crate::mem::Slots;
use crate::wire::iso9660::NAME_BYTES_MAX;

/// The names of the directory that is listed, as far as it was read: hashes, so that a name that was there before is noticed.
/// A listing that is continued where it stopped continues with them; any other begins at the start of the directory again.
pub(super) struct Names {
    /// Each hash is stored at an index that it determines, instead of the one before.
    hashes: Slots<u32>,
    /// ID of the directory.
    dir: u64,
    /// Start and end offset of the entry read last. Its hash is `last`, and stored when the next is read, because the caller may
    /// read the same entry again.
    range: [u64; 2],
    last: u32,
}

impl Names {
    /// No names.
    pub(super) fn new() -> Self {
        let mut hashes = Slots::new(IMAGE_NAME_COUNT);
        while !hashes.is_full() {
            hashes.push(0);
        }
        Self {
            hashes,
            dir: NOWHERE,
            range: [0; 2],
            last: 0,
        }
    }

    /// Forgets the directory.
    pub(super) const fn clear(&mut self) {
        self.dir = NOWHERE;
    }

    fn store_last(&mut self) {
        let last = self.last;
        if let Some(place) = self.hashes.get_mut(last as usize % IMAGE_NAME_COUNT) {
            *place = last;
        }
    }

    /// Sets the entry read last. Returns true if an earlier one probably has the same name.
    fn set_last(&mut self, name: &[u8], range: [u64; 2]) -> bool {
        let mix = |sum: u32, byte: &u8| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        self.last = name.iter().fold(0x811c_9dc5, mix);
        self.range = range;
        self.hashes.get(self.last as usize % IMAGE_NAME_COUNT) == Some(&self.last)
    }
}

impl<B: Block> Image<B> {
    /// Begins to list a directory after the cookie `from` (0: from the start). `dir` is from [`entry`](Self::entry).
    pub fn list(&mut self, from: u64, dir: &IsoEntry) -> FsResult<()> {
        if !dir.record.is_directory() {
            return Err(FsError::NotDirectory);
        }
        self.dir = dir.id;
        self.from = dir.id.saturating_add(from);
        self.end = dir.id + dir.size;
        // Where records may begin is known only from the ones before: a made-up cookie is no such place, and a record may cross the
        // end of a sector.
        self.next = dir.id;
        let [start, end] = self.names.range;
        self.resumes = self.names.dir == dir.id && (self.from == start || self.from == end);
        if self.resumes {
            self.next = self.from;
        }
        Ok(())
    }

    /// Reads the next entry of the listing; "." and ".." are included.
    ///
    /// # Errors
    /// `NoEntry`: the end.
    pub fn next(&mut self, out: &mut IsoEntry) -> FsResult<()> {
        if !self.resumes {
            self.names.hashes.fill(0);
            self.names.dir = self.dir;
            self.names.range = [NOWHERE; 2];
            self.resumes = true;
        }
        loop {
            let at = self.next;
            let [_, last_end] = self.names.range;
            if at == last_end {
                self.names.store_last();
            }
            let read = self.advance(out);
            if read.is_err() {
                // The cookie stays that of the last entry.
                self.next = at;
            }
            read?;
            let is_known = self.names.set_last(out.name(), [at, self.next]);
            if self.next > self.from {
                // The first half of the budget is for this: a directory of nothing but equal names stays readable.
                if is_known && self.looks_left > IMAGE_LOOK_COUNT_MAX / 2 {
                    self.number(out)?;
                }
                return Ok(());
            }
        }
    }

    /// Cookie of the entry read last.
    pub const fn cookie(&self) -> u64 {
        self.next - self.dir
    }

    /// Reads the entry with this name in the directory that is listed.
    ///
    /// # Errors
    /// `NoEntry`: no such entry.
    pub fn lookup(&mut self, name: &[u8], out: &mut IsoEntry) -> FsResult<()> {
        let found = self.find(name, 1, NAME_BYTES_MAX, out);
        match numbered(name) {
            Some((base, number)) if found == Err(FsError::NoEntry) => {
                self.next = self.dir;
                let room = NAME_BYTES_MAX - (name.len() - base.len());
                self.find(base, number, room, out)
            }
            _ => found,
        }
    }

    /// Returns true if the directory that is listed has another entry than ".", ".." and `name`.
    pub(super) fn has_other(&mut self, name: &[u8], out: &mut IsoEntry) -> bool {
        while self.advance(out).is_ok() {
            if !out.is_dots() && out.name() != name {
                return true;
            }
        }
        false
    }

    /// Reads the next entry that is not hidden.
    fn advance(&mut self, out: &mut IsoEntry) -> FsResult<()> {
        while self.next < self.end {
            self.read(self.next, 0, out)?;
            self.next = out.next;
            if !out.record.is_elsewhere() {
                return Ok(());
            }
        }
        Err(FsError::NoEntry)
    }

    /// Reads the `count`th of the next entries whose names, cut to `room` bytes, are `name`.
    fn find(&mut self, name: &[u8], count: u32, room: usize, out: &mut IsoEntry) -> FsResult<()> {
        let mut left = count;
        while left > 0 {
            self.advance(out)?;
            let found = out.name();
            left -= u32::from(found.get(..room).unwrap_or(found) == name);
        }
        Ok(())
    }

    /// Adds a number to the name of the entry read last if earlier entries of the directory have the same name.
    fn number(&mut self, out: &mut IsoEntry) -> FsResult<()> {
        let mut name = [0; NAME_BYTES_MAX];
        let len = put(&mut name, 0, out.name());
        let ([_, end], mut number) = (self.names.range, 0);
        self.next = self.dir;
        while self.next < end {
            // Earlier entries, then this one again.
            self.advance(out)?;
            number += u32::from(front(&name, len) == out.name());
        }
        if number > 1 && !out.is_dots() {
            let mut suffix = [0; 11];
            let mut at = suffix.len();
            let mut put = |byte| {
                at -= 1;
                if let Some(place) = suffix.get_mut(at) {
                    *place = byte;
                }
            };
            while number > 0 {
                put(b'0' + (number % 10) as u8);
                number /= 10;
            }
            put(b'~');
            out.record.add_suffix(suffix.get(at..).unwrap_or_default());
        }
        Ok(())
    }
}

/// Splits a name that [`Image::number`] may have made.
fn numbered(name: &[u8]) -> Option<(&[u8], u32)> {
    let at = name.iter().rposition(|byte| *byte == b'~')?;
    let (base, suffix) = name.split_at(at);
    let [_, digits @ ..] = suffix else {
        return None;
    };
    let mut number = 0_u32;
    for digit in digits {
        if !digit.is_ascii_digit() || number == 0 && *digit == b'0' {
            return None;
        }
        number = number.checked_mul(10)?.checked_add((digit - b'0').into())?;
    }
    (number > 1).then_some((base, number))
}
