//! File entries, allocation descriptors and directory entries: ECMA-167 part 4.

use super::{Head, Place, descriptor, head, kind, place_at, time, u16_at, u32_at, u64_at};

/// How the content of a file is described.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    /// By extents of the partition in which the ICB is.
    #[default]
    Short,
    /// By extents of any partition.
    Long,
    /// By extents with an additional length.
    Extended,
    /// The content is in place of the descriptors.
    Embedded,
}

/// A file entry or an extended file entry. IDs, modes and times are as on Linux.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileEntry {
    /// Times of the last change of attributes, modification and access: seconds since 1970, and nanoseconds.
    pub times: [(i64, u32); 3],
    /// Length of the content (bytes).
    pub size: u64,
    /// Blocks of the content that are stored.
    pub block_count: u64,
    /// st_mode.
    pub mode: u32,
    /// Number of hard links.
    pub links: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Offset in the block, and length, of the allocation descriptors.
    pub descriptors: (u32, u32),
    /// How the content is described.
    pub form: Form,
    /// True for strategy 4096: an indirect entry in the next block may refer to a newer file entry.
    pub is_old: bool,
    /// True if it can be the file entry of a VAT.
    pub is_table: bool,
}

/// UID or GID of a file without owner or group.
const NO_OWNER: u32 = u32::MAX;
/// Shown in place of [`NO_OWNER`], as on Linux.
const OVERFLOW_ID: u32 = 65_534;

/// File types of an ICB (ECMA-167 4/14.6.6), from 4, as the S_IFMT bits of a mode; 0: no such file.
static TYPES: [u8; 9] = [0o04, 0o10, 0o06, 0o02, 0, 0o01, 0o14, 0, 0o12];
const REAL_TIME: u8 = 249;
const VAT: u8 = 248;

impl FileEntry {
    /// Reads a file entry. `None`: not a valid one.
    #[inline(never)] // −155 bytes: one caller, whose frame stays small.
    pub fn parse(block: &[u8], location: u32) -> Option<Self> {
        // The fields after the size are further back in an extended file entry.
        let (late, later) = match descriptor(block, location)? {
            kind::FILE => (0, 0),
            kind::EXTENDED => (8, 40),
            _ => return None,
        };
        let head: &Head = block.first_chunk()?;
        let file_type = (u16_at(head, 26) >> 8) as u8;
        let flags = u16_at(head, 34);
        let permissions = u32_at(head, 44);
        let mut entry = Self {
            size: u64_at(head, 56),
            block_count: u64_at(head, 64 + late),
            links: u16_at(head, 48).into(),
            uid: id(u32_at(head, 36)),
            gid: id(u32_at(head, 40)),
            is_old: u16_at(head, 20) == 4096,
            is_table: matches!(file_type, 0 | VAT),
            ..Self::default()
        };
        let at = [96 + late / 2 * 5, 84 + late, 72 + late];
        for (time, at) in entry.times.iter_mut().zip(at) {
            *time = time::seconds(head.get(at..)?.first_chunk()?);
        }
        if !entry.is_old && u16_at(head, 20) != 4 {
            return None;
        }
        entry.form = match flags & 7 {
            0 => Form::Short,
            1 => Form::Long,
            2 => Form::Extended,
            3 => Form::Embedded,
            _ => return None,
        };
        let kind = match file_type {
            0 | VAT | REAL_TIME => 0o10,
            // Metadata files, which no directory lists.
            250..=252 => 0,
            number => match TYPES.get(usize::from(number).checked_sub(4)?)? {
                0 => return None,
                kind => *kind,
            },
        };
        // A group of permissions has five bits: delete, change attributes, read, write, execute.
        let groups = permissions & 0o7 | permissions >> 2 & 0o70 | permissions >> 4 & 0o700;
        let special = u32::from(flags >> 6 & 7);
        let special = (special & 1) << 11 | (special & 2) << 9 | (special & 4) << 7;
        entry.mode = kind_bits(kind) | groups | special;
        if kind == 0o12 {
            entry.mode = kind_bits(kind) | 0o777;
        }
        let attributes = u32_at(head, 168 + later);
        let len = u32_at(head, 172 + later);
        let start = (176 + later) as u32;
        let at = start.checked_add(attributes)?;
        if at.checked_add(len)? as usize > block.len() {
            return None;
        }
        entry.descriptors = (at, len);
        if entry.form == Form::Embedded && entry.size != len.into() {
            return None;
        }
        if matches!(kind, 0o02 | 0o06) {
            entry.device = device(block.get(start as usize..at as usize)?)?;
        }
        Some(entry)
    }
}

const fn kind_bits(kind: u8) -> u32 {
    (kind as u32) << 12
}

const fn id(stored: u32) -> u32 {
    match stored {
        NO_OWNER => OVERFLOW_ID,
        id => id,
    }
}

/// The major and minor number in a device specification (ECMA-167 4/14.10.7) among extended attributes.
fn device(attributes: &[u8]) -> Option<(u32, u32)> {
    let (_, mut rest) = attributes.split_first_chunk::<24>()?;
    loop {
        let head = rest.first_chunk::<12>()?;
        let (attribute, tail) = rest.split_at_checked(u32_at(head, 8).max(12) as usize)?;
        rest = tail;
        if u32_at(head, 0) == 12
            && u32_at(head, 4) as u8 == 1
            && let Some(attribute) = attribute.first_chunk::<24>()
        {
            return Some((u32_at(attribute, 16), u32_at(attribute, 20)));
        }
    }
}

/// The place of the newer ICB that an indirect entry refers to.
pub fn indirect_entry(block: &[u8], location: u32) -> Option<Place> {
    let head = head(block, location, kind::INDIRECT)?;
    (u32_at(head, 36) != 0).then(|| place_at(head, 40))
}

/// Offset of the allocation descriptors in an allocation extent descriptor, and their length (bytes). As on Linux, neither its tag
/// nor its CRC is checked.
pub fn extent_descriptors(block: &[u8]) -> Option<(u32, u32)> {
    let (head, descriptors) = block.split_first_chunk::<24>()?;
    let len = u32_at(head, 20);
    (len as usize <= descriptors.len()).then_some((24, len))
}

/// An allocation descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ad {
    /// 0: stored. 1 and 2: not stored, and read as zeros. 3: more allocation descriptors.
    pub kind: u8,
    /// Bytes.
    pub len: u32,
    /// First block.
    pub place: Place,
}

impl Ad {
    /// Length (bytes) of a descriptor of this form.
    pub const fn bytes(form: Form) -> u32 {
        match form {
            Form::Short => 8,
            Form::Long => 16,
            Form::Extended | Form::Embedded => 20,
        }
    }

    /// Reads an allocation descriptor. `partition` is that of the ICB. `None`: the end.
    pub fn parse(bytes: &[u8], form: Form, partition: u16) -> Option<Self> {
        let head = bytes.first_chunk::<8>()?;
        let place = match form {
            Form::Short => Place {
                partition,
                block: u32_at(head, 4),
            },
            Form::Long => place_at(bytes.first_chunk::<16>()?, 4),
            _ => place_at(bytes.first_chunk::<20>()?, 12),
        };
        let len = u32_at(head, 0);
        (len != 0).then_some(Self {
            kind: (len >> 30) as u8,
            len: len & 0x3fff_ffff,
            place,
        })
    }
}

/// A file identifier descriptor: a directory entry.
#[derive(Clone, Copy, Debug)]
pub struct NameEntry<'a> {
    /// Place of the ICB.
    pub icb: Place,
    /// True if it is the entry of the parent directory.
    pub is_parent: bool,
    /// True if it is a directory's.
    pub is_directory: bool,
    /// True if it is deleted or hidden.
    pub is_absent: bool,
    /// The name, as OSTA compressed Unicode.
    pub name: &'a [u8],
}

impl<'a> NameEntry<'a> {
    /// Length (bytes) of the fields at fixed offsets.
    pub const BYTES_MIN: usize = 38;

    /// Length (bytes) of the entry at the start of `bytes`; [`Self::BYTES_MIN`] if there are fewer bytes.
    pub fn len(bytes: &[u8]) -> usize {
        let Some(head) = bytes.first_chunk::<38>() else {
            return Self::BYTES_MIN;
        };
        let name_len = usize::from(u16_at(head, 18) >> 8);
        (Self::BYTES_MIN + usize::from(u16_at(head, 36)) + name_len).next_multiple_of(4)
    }

    /// Returns true if `bytes` begin with an entry whose tag and CRC are right.
    pub fn is_intact(bytes: &[u8]) -> bool {
        let location = bytes.first_chunk::<16>().map_or(0, |tag| u32_at(tag, 12));
        descriptor(bytes, location) == Some(kind::NAME)
    }

    /// Reads the entry at the start of `bytes`. `None`: not an entry. As on Linux, the tag's checksum and the CRC are not checked,
    /// but its length.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let len = Self::len(bytes);
        let (head, rest) = bytes.get(..len)?.split_first_chunk::<38>()?;
        let [marks, name_len] = u16_at(head, 18).to_le_bytes();
        let name = rest.get(u16_at(head, 36).into()..)?;
        let is_entry = u16_at(head, 0) == kind::NAME && usize::from(u16_at(head, 10)) + 16 == len;
        is_entry.then_some(Self {
            icb: place_at(head, 24),
            is_parent: marks & 8 != 0,
            is_directory: marks & 2 != 0,
            is_absent: marks & 5 != 0,
            name: name.get(..name_len.into())?,
        })
    }
}
