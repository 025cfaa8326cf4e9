//! ISO 9660 images: volume descriptors, directory records, Rock Ridge, Joliet. ECMA-119, SUSP 1.12, RRIP 1.12.
//!
//! Names and times are interpreted as by Linux. Numbers in both byte orders must agree. Blocks have 2,048 bytes, as on all known
//! disks. Interleaved files are rejected, and compressed ones are not decompressed.

mod date;
mod name;
mod record;
mod rock;

pub use record::DirRecord;

/// Size of a sector, and of a block (bytes).
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
/// Offset of the root directory's record in a descriptor (bytes).
pub const ROOT_OFFSET: u64 = 156;

/// The kind of a volume descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Descriptor {
    /// The primary tree, with plain names or Rock Ridge. Its root record is at [`ROOT_OFFSET`].
    Primary,
    /// The tree with Joliet names. Its root record is at [`ROOT_OFFSET`].
    Joliet,
    /// The end of the descriptors.
    End,
    /// The image also has a UDF file system. May come after `End`.
    Udf,
    /// Anything else, including trees with another block size.
    Other,
}

impl Descriptor {
    /// Returns the kind of the volume descriptor in a sector.
    pub fn parse(sector: &[u8; SECTOR_BYTES as usize]) -> Self {
        let [kind, a, b, c, d, last, ..] = sector;
        match (u32::from_le_bytes([*a, *b, *c, *d]), *last) {
            (NSR0, b'2' | b'3') => return Self::Udf,
            (CD00, b'1') => {}
            _ => return Self::Other,
        }
        if *kind == 255 {
            return Self::End;
        }
        if sector.get(128..132) != Some(&[0, 8, 8, 0]) {
            return Self::Other;
        }
        let escape = sector.get(88..).and_then(|rest| rest.first_chunk());
        let escape = escape.map_or(0, |escape| u32::from_le_bytes(*escape)) & 0xff_ffff;
        match (*kind, escape) {
            (1, _) => Self::Primary,
            (2, UCS_2_1 | UCS_2_2 | UCS_2_3) => Self::Joliet,
            _ => Self::Other,
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
#[repr(C)]
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
    #[inline(never)]
    pub fn bytes(&self) -> &[u8] {
        let len = self.len.min(self.buffer.len());
        self.buffer.get(..len).unwrap_or_default()
    }

    /// Appends all bytes or none. Returns true if the total would exceed `max`.
    #[inline(never)]
    fn add(&mut self, bytes: &[u8], max: usize) -> bool {
        let over = self.len + bytes.len() > max;
        if !over {
            for byte in bytes {
                self.put(*byte);
            }
        }
        over
    }

    #[inline(never)]
    fn put(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }
}

#[cfg(test)]
mod tests;
