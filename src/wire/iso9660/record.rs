//! Directory records: ECMA-119 section 9.1.

use super::{Text, date, name};

/// Where the fields of an entry go on: within one block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Area {
    /// The block.
    pub block: u32,
    /// Where in it; like the length, whatever stood there.
    pub offset: u32,
    /// How many bytes; 0: they do not go on.
    pub len: u32,
}

/// What an entry says of itself, in its record and in the fields of Rock Ridge.
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    /// The whole mode, names, owner and group.
    pub posix: [u32; 4],
    /// The block in which the extent begins, behind its extended attribute record. Of a directory that had to be moved, or of
    /// the one above it: where that really is.
    pub block: u32,
    /// Bytes of the extent.
    pub size: u32,
    /// When attributes, content, and last access were, in seconds since 1970.
    pub times: [i64; 3],
    /// Where its fields go on.
    pub more: Area,
    /// Bytes of the record.
    pub len: u8,
    flags: u8,
    /// Bytes before the fields of all entries but the first.
    pub skip: u8,
    /// Somebody says that there is Rock Ridge.
    pub extended: bool,
    /// It contradicts itself, has not the form that it should have, or there is no room for a name.
    pub malformed: bool,
    /// It is the directory itself, or the one above.
    pub dots: bool,
    /// The next component of the target follows a separator.
    pub(super) separated: bool,
    /// The name.
    pub name: Text,
    /// The symbolic link's target.
    pub target: Text,
}

const DIRECTORY: u8 = 2;
const ASSOCIATED: u8 = 4;
const CONTINUED: u8 = 0x80;

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

impl Record {
    /// Says nothing.
    pub const fn new() -> Self {
        Self {
            posix: [0; 4],
            block: 0,
            size: 0,
            times: [0; 3],
            more: Area {
                block: 0,
                offset: 0,
                len: 0,
            },
            len: 0,
            flags: 0,
            skip: 0,
            extended: false,
            malformed: false,
            dots: false,
            separated: false,
            name: Text::new(),
            target: Text::new(),
        }
    }

    /// Whether it is a directory, which its mode says too in the end.
    pub const fn is_directory(&self) -> bool {
        self.flags & DIRECTORY != 0
    }

    /// Whether it belongs to another file of the same name, or to another directory.
    pub const fn is_elsewhere(&self) -> bool {
        self.flags & ASSOCIATED != 0
    }

    /// Whether the file goes on with the extent of the next record.
    pub const fn is_continued(&self) -> bool {
        self.flags & CONTINUED != 0
    }

    /// Reads where the extent lies from the record that `sector` begins with, the rest of its sector. False: that has not the
    /// form of a record, or crosses the sector's end.
    #[inline(never)]
    pub fn extent(&mut self, sector: &[u8]) -> bool {
        let Some([len, attributes, rest @ ..]) = sector.first_chunk::<33>() else {
            return false;
        };
        let [.., flags, _, gap, _, _, _, _, id_len] = rest;
        self.len = *len;
        self.flags = *flags;
        self.block = self.number(rest, 0);
        self.block = self.block.wrapping_add((*attributes).into());
        self.size = self.number(rest, 8);
        self.malformed |= *gap != 0;
        let end = usize::from(*id_len).wrapping_add(33);
        *id_len > 0 && end <= usize::from(*len) && usize::from(*len) <= sector.len()
    }

    /// Reads the whole record. Its fields begin `skip` bytes behind where they should, unless it is the first of all.
    #[inline(never)]
    pub fn begin(&mut self, sector: &[u8], skip: u8) -> bool {
        self.malformed = false;
        if !self.extent(sector) {
            return false;
        }
        let kind = if self.is_directory() {
            0o040_555
        } else {
            0o100_555
        };
        self.posix = [kind, 1, 0, 0];
        self.times = [date::seconds(sector.get(18..25).unwrap_or_default()); 3];
        self.more.len = 0;
        (self.skip, self.extended, self.separated) = (0, false, false);
        (self.name.len, self.target.len) = (0, 0);
        let fields = sector.get(..self.len.into()).unwrap_or_default();
        // Behind the identifier, at an even place.
        let id_len = sector.get(32).map_or(0, |len| len | 1);
        let mut at = usize::from(id_len).wrapping_add(33);
        if !fields.get(at..).unwrap_or_default().starts_with(b"SP") {
            at = at.wrapping_add(skip.into());
        }
        self.read(fields.get(at..).unwrap_or_default());
        true
    }

    /// When all its fields were read: has the name be what the identifier of the record stands for, unless another was found.
    pub fn finish(&mut self, sector: &[u8], joliet: bool) {
        let id_len = sector.get(32).copied().unwrap_or_default();
        let id = sector.get(33..).unwrap_or_default();
        let mut id = id.get(..id_len.into()).unwrap_or_default();
        // A directory is one, whatever its mode says; nothing else can be.
        let [mode, ..] = &mut self.posix;
        let says_so = *mode >> 12 == 0o04;
        if self.flags & DIRECTORY != 0 {
            *mode = *mode & 0o7777 | 0o040_000;
        } else if says_so {
            self.malformed = true;
        }
        self.dots = true;
        match id {
            [0] => id = b".",
            [1] => id = b"..",
            _ => self.dots = false,
        }
        if self.dots {
            self.name.len = 0;
        }
        if self.name.len == 0 {
            if joliet && !self.dots {
                name::joliet(id, &mut self.name);
            } else {
                name::plain(id, &mut self.name);
            }
        }
    }

    pub(super) const fn move_to(&mut self, block: u32) {
        self.block = block;
        self.flags |= DIRECTORY;
    }

    pub(super) const fn hide(&mut self) {
        self.flags |= ASSOCIATED;
    }

    /// A number of 32 bits that stands in a field twice, lowest byte first and highest byte first.
    #[inline(never)]
    pub(super) fn number(&mut self, field: &[u8], at: usize) -> u32 {
        if let Some(bytes) = field.get(at..).and_then(|rest| rest.first_chunk()) {
            let twice = u64::from_le_bytes(*bytes);
            let value = twice as u32;
            if value.swap_bytes() == (twice >> 32) as u32 {
                return value;
            }
        }
        self.malformed = true;
        0
    }
}
