//! Directory records: ECMA-119 section 9.1.

use super::date::Dates;
use super::{JOLIET, Text, name};

/// The attributes of an entry, from its directory record and its Rock Ridge fields.
#[derive(Debug)]
#[repr(C)] // Most-used fields first, where short instructions reach them.
pub struct DirRecord {
    /// Times of the last change of attributes, modification and access, in seconds since 1970.
    pub times: [i64; 3],
    /// st_mode, link count, UID and GID.
    pub posix: [u32; 4],
    /// For a device: the two numbers of its PN field.
    pub(super) numbers: [u32; 2],
    /// The first block of the data, after the extended attribute record, and the length of the data (bytes). With a CL field, the
    /// block is that of the relocated directory; with a PL field, that of its original parent.
    pub extent: [u32; 2],
    /// The continuation area of the system use fields (CE): block, offset, length. A length of 0: there is no such area. The values
    /// are not checked against the image.
    pub more: [u32; 3],
    /// Bytes to skip before the fields of every entry but the first, from the SP field.
    pub skip: u8,
    /// True if there is an ER field: the image uses an extension such as Rock Ridge.
    pub extended: bool,
    /// True if a "/" precedes the next component of the target.
    pub(super) separated: bool,
    /// True if the name comes from the identifier, not from an NM field.
    pub(super) plain: bool,
    /// True if the record is inconsistent or malformed, or a name is too long.
    pub malformed: bool,
    /// True for "." and "..".
    pub dots: bool,
    /// Length of the record (bytes).
    pub len: u8,
    pub(super) flags: u8,
    /// The name.
    pub name: Text,
    /// The symbolic link's target.
    pub target: Text,
}

impl Default for DirRecord {
    fn default() -> Self {
        Self::new()
    }
}

impl DirRecord {
    pub(super) const DIRECTORY: u8 = 2;
    pub(super) const ASSOCIATED: u8 = 4;
    const CONTINUED: u8 = 0x80;

    /// An empty record.
    pub const fn new() -> Self {
        Self {
            times: [0; 3],
            posix: [0; 4],
            numbers: [0; 2],
            extent: [0; 2],
            more: [0; 3],
            skip: 0,
            extended: false,
            separated: false,
            plain: false,
            malformed: false,
            dots: false,
            len: 0,
            flags: 0,
            name: Text::new(),
            target: Text::new(),
        }
    }

    /// Resets the flags, so that the next record is the first of an entry and not a continuation. Until that record is parsed,
    /// `is_elsewhere` is true.
    pub const fn clear(&mut self) {
        self.flags = Self::ASSOCIATED;
    }

    /// Major and minor number of a device. Some programs store both in the second number; Linux splits them in this way.
    pub const fn device(&self) -> (u32, u32) {
        match self.numbers {
            [0, both] => (both >> 8, both & 0xff),
            [major, minor] => (major, minor),
        }
    }

    /// Returns true for a directory. Only after `finish` does the mode agree.
    pub const fn is_directory(&self) -> bool {
        self.flags & Self::DIRECTORY != 0
    }

    /// Returns true if the record is to be skipped: an associated file, or a directory that was relocated.
    pub const fn is_elsewhere(&self) -> bool {
        self.flags & Self::ASSOCIATED != 0
    }

    /// Returns true if the next record has another extent of this file.
    pub const fn is_continued(&self) -> bool {
        self.flags & Self::CONTINUED != 0
    }

    /// Parses the record at the start of `sector`, the rest of its sector. If the previous record is continued, reads only the
    /// extent. The system use fields start after `skip` bytes, except in the very first entry. A `skip` of [`JOLIET`] means a
    /// Joliet name. Returns false if there is no record here, or if the record crosses the end of the sector.
    #[inline(never)]
    pub fn parse(&mut self, sector: &[u8], skip: u16) -> bool {
        let [len, ..] = sector else {
            return false;
        };
        let Some(record) = sector.get(..(*len).into()) else {
            return false;
        };
        let Some((head, rest)) = record.split_first_chunk::<33>() else {
            return false;
        };
        let [len, attributes, place @ .., id_len] = head;
        let Some((id @ [first, ..], mut fields)) = rest.split_at_checked((*id_len).into()) else {
            return false;
        };
        let (_, date) = place.split_at(16);
        let [.., flags, _, gap, _, _, _, _] = place;
        let goes_on = self.is_continued();
        if !goes_on {
            self.malformed = false;
        }
        self.len = *len;
        self.flags = *flags;
        self.malformed |= numbers(&mut self.extent, place) | (*gap != 0);
        let [block, _] = &mut self.extent;
        *block = block.saturating_add((*attributes).into());
        if goes_on {
            return true;
        }
        self.posix = [0o100_555, 1, 0, 0];
        self.numbers = [0; 2];
        let time = Dates::new(date, 0).seconds();
        let [changed, written, read] = &mut self.times;
        (*changed, *written, *read) = (time, time, time);
        self.more = [0; 3];
        (self.skip, self.extended, self.separated) = (0, false, false);
        (self.name.len, self.target.len) = (0, 0);
        self.plain = true;
        self.dots = *id_len == 1 && *first <= 1;
        if self.dots {
            self.name.put(b'.');
            if *first != 0 {
                self.name.put(b'.');
            }
        } else {
            name::read(id, skip == JOLIET, &mut self.name);
        }
        // The fields start at an even offset after the identifier.
        if *id_len & 1 == 0
            && let [_, tail @ ..] = fields
        {
            fields = tail;
        }
        let skip = match fields {
            [b'S', b'P', ..] => 0,
            _ => skip,
        };
        if let Some(fields) = fields.get(skip.into()..) {
            self.read(fields);
        }
        true
    }

    /// Completes the record after all its fields were read.
    pub fn finish(&mut self) {
        // The directory flag decides if this is a directory. A directory gets the mode of one; any other object with that mode is
        // malformed.
        let [mode, ..] = &mut self.posix;
        let says_so = *mode >> 12 == 0o04;
        if self.flags & Self::DIRECTORY != 0 {
            *mode = *mode & 0o7777 | 0o040_000;
        } else if says_so {
            self.malformed = true;
        }
    }
}

/// Reads 32-bit numbers, each of which is stored twice, little-endian and big-endian. Returns true if they are missing or differ.
#[inline(never)]
pub(super) fn numbers(places: &mut [u32], mut field: &[u8]) -> bool {
    for place in places {
        let Some((twice, rest)) = field.split_first_chunk() else {
            return true;
        };
        let twice = u64::from_le_bytes(*twice);
        *place = twice as u32;
        if place.swap_bytes() != (twice >> 32) as u32 {
            return true;
        }
        field = rest;
    }
    false
}
