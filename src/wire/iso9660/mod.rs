//! Images of disks: volume descriptors, directory records, Rock Ridge, Joliet. ECMA-119, SUSP 1.12, RRIP 1.12.
//!
//! Names and times are what Linux makes of them. Numbers that stand in both byte orders must agree. Blocks have 2,048 bytes,
//! as those of all disks have. Interleaved files are refused, and what is compressed stays so.

mod date;
mod name;
mod record;
mod rock;

pub use record::Record;

/// Bytes of a sector, and of a block.
pub const SECTOR_BYTES: u32 = 2048;
/// The first volume descriptor lies in this sector.
pub const DESCRIPTORS_START: u64 = 16;
/// Volume descriptors are looked for before this sector, as on Linux.
pub const DESCRIPTORS_END: u64 = 100;
/// Bytes of the longest name.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of the longest target of a symbolic link on Linux.
pub const TARGET_BYTES_MAX: usize = 4095;
/// Bytes to skip where names are Joliet's, whose records have no fields.
pub const JOLIET: u16 = 256;
/// Where in a descriptor the record of the tree's top is.
pub const ROOT_OFFSET: u64 = 156;

/// What lies in one of the first sectors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Descriptor {
    /// It has the record of the tree's top, with plain names or with Rock Ridge, at [`ROOT_OFFSET`].
    Primary,
    /// The same of the tree with Joliet's names.
    Joliet,
    /// The last of them.
    End,
    /// There is a UDF file system too. This may stand behind the last.
    Udf,
    /// Anything else, and trees with blocks of other sizes.
    Other,
}

impl Descriptor {
    /// Tells what a sector is.
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

/// A few bytes that are put together one after the other.
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

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What there is so far.
    #[inline(never)]
    pub fn bytes(&self) -> &[u8] {
        let len = self.len.min(self.buffer.len());
        self.buffer.get(..len).unwrap_or_default()
    }

    /// Appends bytes, all or none. True: there would be more than `max`.
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
