//! UDF file systems, revisions 1.02 to 2.60: descriptors, file entries, names. ECMA-167 (3rd edition), OSTA UDF 2.60.
//!
//! Everything is interpreted as by Linux. A block has 512 to 4,096 bytes; the first 512 are enough for all fields at fixed offsets.

mod file;
mod name;
mod time;
mod volume;

pub use file::{Ad, FileEntry, Form, NameEntry, extent_descriptors, indirect_entry};
pub use name::{decode, target};
pub use volume::{
    MAP_COUNT_MAX, Map, MapKind, Partition, anchor, has_udf, is_sparing_table, logical_volume,
    next_sequence, partition, root_directory, sequence_number, spared,
};

/// Maximum length of a name on Linux (bytes).
pub const NAME_BYTES_MAX: usize = 254;
/// Size of the smallest block (bytes).
pub const BLOCK_BYTES_MIN: usize = 512;
/// Size of the largest block (bytes), as on Linux.
pub const BLOCK_BYTES_MAX: usize = 4096;

/// Kinds of descriptors: the tag identifiers of ECMA-167 3/7.2.1 and 4/7.2.1.
pub mod kind {
    /// Sparing table (UDF 2.2.12).
    pub const SPARING: u16 = 0;
    /// Primary volume descriptor.
    pub const PRIMARY: u16 = 1;
    /// Anchor volume descriptor pointer.
    pub const ANCHOR: u16 = 2;
    /// Volume descriptor pointer.
    pub const POINTER: u16 = 3;
    /// Partition descriptor.
    pub const PARTITION: u16 = 5;
    /// Logical volume descriptor.
    pub const LOGICAL: u16 = 6;
    /// Terminating descriptor.
    pub const END: u16 = 8;
    /// File set descriptor.
    pub const FILE_SET: u16 = 256;
    /// File identifier descriptor.
    pub const NAME: u16 = 257;
    /// Allocation extent descriptor.
    pub const EXTENTS: u16 = 258;
    /// Indirect entry.
    pub const INDIRECT: u16 = 259;
    /// File entry.
    pub const FILE: u16 = 261;
    /// Extended file entry.
    pub const EXTENDED: u16 = 266;
}

/// Position of a block: a block of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Index of the partition's map in the logical volume descriptor.
    pub partition: u16,
    /// Block within the partition.
    pub block: u32,
}

/// The first bytes of a block, with all fields at fixed offsets.
pub type Head = [u8; BLOCK_BYTES_MIN];

/// A little-endian number of 16 bits.
#[inline(always)] // Without a check if the offset is a constant: then a load.
fn u16_at<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u16 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u16::from_le_bytes(*number))
}

/// A little-endian number of 32 bits.
#[inline(always)] // As above.
fn u32_at<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u32 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u32::from_le_bytes(*number))
}

/// A little-endian number of 64 bits.
#[inline(always)] // As above.
fn u64_at<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> u64 {
    let number = bytes.get(at..).and_then(|rest| rest.first_chunk());
    number.map_or(0, |number| u64::from_le_bytes(*number))
}

/// A logical block address (ECMA-167 4/7.1).
#[inline(always)] // As above.
fn place_at<const LEN: usize>(bytes: &[u8; LEN], at: usize) -> Place {
    Place {
        block: u32_at(bytes, at),
        partition: u16_at(bytes, at + 4),
    }
}

/// The checksum of ECMA-167 1/7.2.6: CRC-16 with the polynomial P = x^16 + x^12 + x^5 + 1.
///
/// Words of eight bytes are first reduced modulo P^4 = x^64 + x^48 + x^20 + 1, which has as few terms. This takes a quarter of the
/// time of going byte by byte.
pub fn crc(bytes: &[u8]) -> u16 {
    let (words, rest) = bytes.as_chunks();
    let mut state = 0_u64;
    for word in words {
        let mut quotient = state ^ state >> 16;
        quotient ^= quotient >> 32;
        quotient ^= state >> 44;
        state = quotient << 48 ^ quotient << 20 ^ quotient ^ u64::from_be_bytes(*word);
    }
    let mut sum = 0_u16;
    for byte in state.to_be_bytes().iter().chain(rest) {
        let mut quotient = sum >> 8 ^ u16::from(*byte);
        quotient ^= quotient >> 4;
        sum = sum << 8 ^ quotient << 12 ^ quotient << 5 ^ quotient;
    }
    sum
}

/// Checks the tag of the descriptor at the start of `block`, and its CRC. Returns its kind. `None`: there is no descriptor, it is
/// damaged, or it belongs to another location.
pub fn descriptor(block: &[u8], location: u32) -> Option<u16> {
    let (tag, rest) = block.split_first_chunk::<16>()?;
    let checksum = u16_at(tag, 4) as u8;
    let sum = tag.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    let covered = rest.get(..u16_at(tag, 10).into())?;
    (sum == checksum.wrapping_mul(2)
        && matches!(u16_at(tag, 2), 2 | 3)
        && u32_at(tag, 12) == location
        && u16_at(tag, 8) == crc(covered))
    .then(|| u16_at(tag, 0))
}

/// The fields of a descriptor of this kind, checked by [`descriptor`].
fn head(block: &[u8], location: u32, kind: u16) -> Option<&Head> {
    let found = descriptor(block, location)?;
    (found == kind).then(|| block.first_chunk())?
}
