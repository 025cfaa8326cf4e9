//! Directory records: ECMA-119 section 9.1.

use super::date::Dates;
use super::{HIGH_SIERRA, JOLIET, NAME_BYTES_MAX, Text, name};

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
    /// True if a part of the name or of the target was dropped because the whole would be too long.
    pub(super) is_cut: [bool; 2],
    /// True if the record does not say where the data is.
    pub malformed: bool,
    /// True for a file whose blocks alternate with those of another, which cannot be read.
    pub interleaved: bool,
    /// True for a file compressed by zisofs.
    pub compressed: bool,
    /// True for "." and "..".
    pub dots: bool,
    /// Length of the record (bytes).
    pub len: u8,
    pub(super) flags: u8,
    /// The name converted from the identifier, then the one from NM fields.
    pub(super) names: Text,
    /// Length of the first of these names.
    pub(super) plain_len: usize,
    /// Offset of the name in `names`.
    start: usize,
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
            is_cut: [false; 2],
            malformed: false,
            interleaved: false,
            compressed: false,
            dots: false,
            len: 0,
            flags: 0,
            names: Text::new(),
            plain_len: 0,
            start: 0,
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

    /// The name. Only after `finish`; then valid as a name on Linux, except those of "." and "..".
    pub fn name(&self) -> &[u8] {
        self.names.bytes().get(self.start..).unwrap_or_default()
    }

    /// The target of a symbolic link. `None`: it has none, or one that is too long.
    pub fn target(&self) -> Option<&[u8]> {
        let [_, is_cut] = self.is_cut;
        let target = self.target.bytes();
        (!is_cut && !target.is_empty()).then_some(target)
    }

    /// Appends to the name, or replaces the end of a name that would be too long.
    pub fn add_suffix(&mut self, suffix: &[u8]) {
        let room = self.start + NAME_BYTES_MAX.saturating_sub(suffix.len());
        self.names.len = self.names.len.min(room);
        for byte in suffix {
            self.names.put(*byte);
        }
    }

    /// Parses the record at the start of `sector`, the rest of its sector. If the previous record is continued, reads only the
    /// extent. The system use fields start after `skip` bytes, except in the very first entry. A `skip` of [`JOLIET`] means a
    /// Joliet name, [`HIGH_SIERRA`] a record of that format. Returns false if there is no record here, or if the record crosses the
    /// end of the sector.
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
        let [.., zone, flags, _, gap, _, _, _, _] = place;
        let (_, date) = place.split_at(16);
        let (mut date, mut flags) = (date, flags);
        if skip == HIGH_SIERRA {
            // The flags take the place of the time zone.
            (date, flags) = (date.get(..6).unwrap_or_default(), zone);
        }
        let goes_on = self.is_continued();
        self.len = *len;
        self.flags = *flags;
        numbers(&mut self.extent, place);
        let [block, _] = &mut self.extent;
        *block = block.saturating_add((*attributes).into());
        self.interleaved = *gap != 0 || goes_on && self.interleaved;
        if goes_on {
            return true;
        }
        self.posix = [0o100_555, 1, 0, 0];
        self.numbers = [0; 2];
        self.times = [Dates::new(date, 0).seconds(); 3];
        self.more = [0; 3];
        (self.skip, self.extended, self.separated) = (0, false, false);
        (self.malformed, self.compressed, self.is_cut) = (false, false, [false; 2]);
        (self.names.len, self.target.len, self.start) = (0, 0, 0);
        self.dots = *id_len == 1 && *first <= 1;
        if self.dots {
            self.names.put(b'.');
            if *first != 0 {
                self.names.put(b'.');
            }
        } else {
            name::read(id, skip == JOLIET, &mut self.names);
        }
        self.plain_len = self.names.len;
        // The fields start at an even offset after the identifier.
        if *id_len & 1 == 0
            && let [_, tail @ ..] = fields
        {
            fields = tail;
        }
        let skip = match fields {
            [b'S', b'P', _, _, 0xbe, 0xef, ..] if skip < JOLIET => 0,
            _ => skip,
        };
        if let Some(fields) = fields.get(skip.into()..) {
            self.read(fields);
        }
        true
    }

    /// Completes the record after all its fields were read.
    pub fn finish(&mut self) {
        // The directory flag decides if this is a directory. If the mode says otherwise, or nothing, only its permissions count.
        let is_directory = self.is_directory();
        let [mode, ..] = &mut self.posix;
        let kind = match (is_directory, *mode >> 12 & 0o17) {
            (true, _) => 0o04,
            (false, kind @ (0o01 | 0o02 | 0o06 | 0o12 | 0o14)) => kind,
            _ => 0o10,
        };
        *mode = kind << 12 | *mode & 0o7777;
        if self.dots {
            return;
        }
        // Without an NM field, or with an empty one, the name is that of the identifier.
        if self.names.len > self.plain_len {
            self.start = self.plain_len;
        }
        name::make_valid(&mut self.names, self.start);
    }
}

/// Reads 32-bit numbers, each of which is stored twice, little-endian and big-endian. Only the first counts: in some images the other
/// is zero or wrong. Returns false if one is missing; it and those after it keep their values.
#[inline(never)] // −40 bytes: four callers.
pub(super) fn numbers(places: &mut [u32], mut field: &[u8]) -> bool {
    for place in places {
        let Some(([a, b, c, d, _, _, _, _], rest)) = field.split_first_chunk() else {
            return false;
        };
        *place = u32::from_le_bytes([*a, *b, *c, *d]);
        field = rest;
    }
    true
}
