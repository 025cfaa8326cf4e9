//! Directory records: ECMA-119 section 9.1.

use super::date::Dates;
use super::{JOLIET, Text, name};

/// What an entry says of itself, in its record and in the fields of Rock Ridge.
#[derive(Debug)]
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub struct Record {
    /// When attributes, content, and last access were, in seconds since 1970.
    pub times: [i64; 3],
    /// The whole mode, names, owner and group.
    pub posix: [u32; 4],
    /// Of a device, as they stand there.
    pub(super) numbers: [u32; 2],
    /// The block in which the extent begins, behind its extended attribute record, and its bytes. Of a directory that had to be
    /// moved, or of the one above it: the block where that really is.
    pub extent: [u32; 2],
    /// Where its fields go on: the block, where in it, and how many bytes; 0: they do not. Like the lengths, whatever stood there.
    pub more: [u32; 3],
    /// Bytes before the fields of all entries but the first.
    pub skip: u8,
    /// A field says that there is Rock Ridge.
    pub extended: bool,
    /// The next component of the target follows a separator.
    pub(super) separated: bool,
    /// The name is what the identifier stands for.
    pub(super) plain: bool,
    /// It contradicts itself, has not the form that it should have, or a name does not fit.
    pub malformed: bool,
    /// It is the directory itself, or the one above.
    pub dots: bool,
    /// Bytes of the record.
    pub len: u8,
    pub(super) flags: u8,
    /// The name.
    pub name: Text,
    /// The symbolic link's target.
    pub target: Text,
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl Record {
    pub(super) const DIRECTORY: u8 = 2;
    pub(super) const ASSOCIATED: u8 = 4;
    const CONTINUED: u8 = 0x80;

    /// Says nothing.
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

    /// Has what is read next be the first record of an entry; while there is none, it is elsewhere.
    pub const fn clear(&mut self) {
        self.flags = Self::ASSOCIATED;
    }

    /// The two numbers of a device. Some programs put both into the second, which Linux takes apart so.
    pub const fn device(&self) -> (u32, u32) {
        match self.numbers {
            [0, both] => (both >> 8, both & 0xff),
            [major, minor] => (major, minor),
        }
    }

    /// Whether it is a directory, which its mode says too in the end.
    pub const fn is_directory(&self) -> bool {
        self.flags & Self::DIRECTORY != 0
    }

    /// Whether it belongs to another file of the same name, or to another directory.
    pub const fn is_elsewhere(&self) -> bool {
        self.flags & Self::ASSOCIATED != 0
    }

    /// Whether the file goes on with the extent of the next record.
    pub const fn is_continued(&self) -> bool {
        self.flags & Self::CONTINUED != 0
    }

    /// Reads the record that `sector` begins with, the rest of its sector; of one that goes on with the last, only where its
    /// extent lies. Its fields begin `skip` bytes behind where they should, unless it is the first of all; [`JOLIET`] tells
    /// of its name. False: it has not the form of a record, or crosses the sector's end.
    #[inline(never)]
    pub fn begin(&mut self, sector: &[u8], skip: u16) -> bool {
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
        // Behind the identifier, at an even place.
        if *id_len & 1 == 0
            && let [_, behind @ ..] = fields
        {
            fields = behind;
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

    /// When all its fields were read.
    pub fn finish(&mut self) {
        // A directory is one, whatever its mode says; nothing else can be.
        let [mode, ..] = &mut self.posix;
        let says_so = *mode >> 12 == 0o04;
        if self.flags & Self::DIRECTORY != 0 {
            *mode = *mode & 0o7777 | 0o040_000;
        } else if says_so {
            self.malformed = true;
        }
    }
}

/// Reads numbers of 32 bits, each of which stands in a field twice, lowest byte first and highest byte first. True: they are
/// not there, or not the same.
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
