//! ISO 9660 images: volume descriptors, directory records, Rock Ridge, Joliet. ECMA-119, SUSP 1.12, RRIP 1.12.
//!
//! Names and times are interpreted as by Linux; discs of the older format High Sierra are read, too. Of a number in both byte orders
//! only the little-endian half counts, because some writers leave the other empty. A damaged field is treated like a missing one,
//! unless it says where the data is. Interleaved files are rejected, and compressed ones are not decompressed.

mod date;
mod name;
mod record;
mod rock;

pub use record::DirRecord;

/// Size of a sector (bytes).
pub const SECTOR_BYTES: u32 = 2048;
/// Sector of the first volume descriptor.
pub const DESCRIPTORS_START: u64 = 16;
/// Volume descriptors are searched up to here (sectors), as on Linux.
pub const DESCRIPTORS_END: u64 = 100;
/// Maximum length of a name (bytes).
pub const NAME_BYTES_MAX: usize = 255;
/// Maximum length of a symbolic link's target on Linux (bytes).
pub const TARGET_BYTES_MAX: usize = 4095;
/// Value of `skip` for Joliet names. It is larger than any record, because Joliet records have no Rock Ridge fields.
pub const JOLIET: u16 = 256;
/// Value of `skip` for the records of High Sierra, which have no Rock Ridge fields and no time zone.
pub const HIGH_SIERRA: u16 = 257;

/// A volume descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descriptor {
    /// The primary tree, with plain names or Rock Ridge.
    Primary(Volume),
    /// The tree with Joliet names.
    Joliet(Volume),
    /// The tree of a High Sierra disc.
    HighSierra(Volume),
    /// The end of the descriptors.
    End,
    /// The image also has a UDF file system. May come after `End`.
    Udf,
    /// Anything else, including a primary tree with an unknown block size.
    Other,
}

/// The position of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Volume {
    /// The first block of the root directory's records, after the extended attribute record.
    pub root: u32,
    /// Base-2 logarithm of the block size: 9, 10 or 11; 0: unknown.
    pub block_bits: u8,
    /// Length of the volume in blocks.
    pub block_count: u32,
}

impl Descriptor {
    /// Parses the volume descriptor in a sector.
    pub fn parse(sector: &[u8; SECTOR_BYTES as usize]) -> Self {
        let [kind, a, b, c, d, last, ..] = sector;
        match (u32::from_le_bytes([*a, *b, *c, *d]), *last) {
            (NSR0, b'2' | b'3') => return Self::Udf,
            (CD00, b'1') => {}
            _ if sector.get(8..14) == Some(b"\x01CDROM") => {
                return match Volume::parse(sector, 136, 180) {
                    Volume { block_bits: 0, .. } => Self::Other,
                    volume => Self::HighSierra(volume),
                };
            }
            _ => return Self::Other,
        }
        let escape = sector.get(88..).and_then(|rest| rest.first_chunk());
        let escape = escape.map_or(0, |escape| u32::from_le_bytes(*escape)) & 0xff_ffff;
        let volume = Volume::parse(sector, 128, 156);
        match (*kind, escape) {
            (255, _) => Self::End,
            (1, _) if volume.block_bits != 0 => Self::Primary(volume),
            (2, UCS_2_1 | UCS_2_2 | UCS_2_3) => Self::Joliet(volume),
            _ => Self::Other,
        }
    }
}

impl Volume {
    /// Reads the block size and the root directory's record at these offsets of a descriptor. Nothing else of that record counts:
    /// some have a wrong length.
    fn parse(sector: &[u8], size_at: usize, root_at: usize) -> Self {
        let size = sector.get(size_at..).and_then(|rest| rest.first_chunk());
        let block_bits = match size.map_or(0, |size| u16::from_le_bytes(*size)) {
            512 => 9,
            1024 => 10,
            2048 => 11,
            _ => 0,
        };
        let mut root = 0;
        if let Some([_, attributes, block @ ..]) = sector.get(root_at..) {
            record::numbers(core::slice::from_mut(&mut root), block);
            root = root.saturating_add((*attributes).into());
        }
        let mut block_count = 0;
        let count = sector.get(size_at - 48..).unwrap_or_default();
        record::numbers(core::slice::from_mut(&mut block_count), count);
        Self {
            root,
            block_bits,
            block_count,
        }
    }
}

const CD00: u32 = u32::from_le_bytes(*b"CD00");
const UCS_2_1: u32 = u32::from_le_bytes(*b"%/@\0");
const UCS_2_2: u32 = u32::from_le_bytes(*b"%/C\0");
const UCS_2_3: u32 = u32::from_le_bytes(*b"%/E\0");
const NSR0: u32 = u32::from_le_bytes(*b"NSR0");

/// A byte string with a fixed capacity.
#[derive(Clone, Debug)]
#[repr(C)] // −16 bytes.
pub struct Text {
    len: usize,
    buffer: [u8; TARGET_BYTES_MAX + 1],
}

impl Text {
    const fn new() -> Self {
        Self {
            len: 0,
            buffer: [0; TARGET_BYTES_MAX + 1],
        }
    }

    /// Length (bytes).
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns true if it is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        let len = self.len.min(self.buffer.len());
        self.buffer.get(..len).unwrap_or_default()
    }

    /// Appends all bytes or none. Returns true if the total would exceed `max`.
    fn add(&mut self, bytes: &[u8], max: usize) -> bool {
        let over = self.len + bytes.len() > max;
        if !over {
            for byte in bytes {
                self.put(*byte);
            }
        }
        over
    }

    #[inline(never)] // −134 bytes: nine callers.
    fn put(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests;
