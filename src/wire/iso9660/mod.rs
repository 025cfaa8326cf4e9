//! Images of disks: volume descriptors, directory records, Rock Ridge, Joliet. ECMA-119, SUSP 1.12, RRIP 1.12.
//!
//! Names and times are what Linux makes of them. Numbers that stand in both byte orders must agree. Blocks have 2,048 bytes,
//! as those of all disks have. Interleaved files are refused, and what is compressed stays so.

mod date;
mod name;
mod record;
mod rock;

pub use record::{Area, Record};

/// Bytes of a sector, and of a block.
pub const SECTOR_BYTES: u32 = 2048;
/// The first volume descriptor lies in this sector …
pub const DESCRIPTORS_START: u32 = 16;
/// … and none is looked for in this one or behind it, as on Linux.
pub const DESCRIPTORS_END: u32 = 100;
/// Bytes of a descriptor that are looked at.
pub const DESCRIPTOR_BYTES: usize = 190;
/// Bytes of the longest directory record.
pub const RECORD_BYTES_MAX: usize = 255;
/// Bytes of the longest name.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of the longest target of a symbolic link on Linux.
pub const TARGET_BYTES_MAX: usize = 4095;

/// What lies in one of the first sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptor {
    /// It tells where the tree's top is, with plain names or with Rock Ridge: [`top`].
    Primary,
    /// The same of the tree with Joliet's names.
    Joliet,
    /// The last of them.
    End,
    /// There is a UDF file system too. This may stand behind the last.
    Udf,
    /// Anything else.
    Other,
}

impl Descriptor {
    /// Reads the beginning of a sector.
    pub fn parse(bytes: &[u8; DESCRIPTOR_BYTES]) -> Self {
        let head = bytes
            .first_chunk()
            .map_or(0, |head| u64::from_le_bytes(*head));
        match (head >> 8 & 0xff_ffff_ffff, head as u8) {
            (CD001, 1) => Self::Primary,
            (CD001, 2) => match bytes.get(88..91) {
                Some([b'%', b'/', b'@' | b'C' | b'E']) => Self::Joliet,
                _ => Self::Other,
            },
            (CD001, 255) => Self::End,
            (NSR02 | NSR03, _) => Self::Udf,
            _ => Self::Other,
        }
    }
}

const CD001: u64 = u64::from_le_bytes(*b"CD001\0\0\0");
const NSR02: u64 = u64::from_le_bytes(*b"NSR02\0\0\0");
const NSR03: u64 = u64::from_le_bytes(*b"NSR03\0\0\0");

/// The block in which a descriptor's tree has its top. `None`: it contradicts itself, or has other blocks.
pub fn top(descriptor: &[u8; DESCRIPTOR_BYTES], record: &mut Record) -> Option<u32> {
    record.malformed = false;
    let (head, root) = descriptor.split_at_checked(156)?;
    let fits = head.get(128..132)? == [0, 8, 8, 0] && record.extent(root) && !record.malformed;
    fits.then_some(record.block)
}

/// A few bytes that are put together one after the other.
#[derive(Clone, Debug)]
pub struct Text {
    len: usize,
    room: [u8; TARGET_BYTES_MAX],
}

impl Text {
    const fn new() -> Self {
        Self {
            len: 0,
            room: [0; TARGET_BYTES_MAX],
        }
    }

    /// What there is so far.
    #[inline(never)]
    pub fn bytes(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    /// Appends bytes, all or none; whether there was room.
    #[inline(never)]
    fn push(&mut self, bytes: &[u8]) -> bool {
        let place = self.room.get_mut(self.len..).unwrap_or_default();
        let Some(place) = place.get_mut(..bytes.len()) else {
            return false;
        };
        place.copy_from_slice(bytes);
        self.len = self.len.wrapping_add(bytes.len());
        true
    }
}

#[cfg(test)]
mod tests;
