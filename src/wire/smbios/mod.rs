//! SMBIOS tables: finds the entry point and parses manufacturer, product, serial number and UUID. DSP0134.

use super::label::{cut, index_like};
use super::uuid::Uuid;

/// Start of the search for the entry point on a PC without UEFI (physical address).
pub const AREA_START: u64 = 0xf_0000;
/// Length of that search (bytes).
pub const AREA_BYTES: usize = 0x1_0000;

/// The entry point: the location of the structures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryPoint {
    /// Major and minor number of the specification.
    pub version: (u8, u8),
    /// Physical address of the structures.
    pub address: u64,
    /// Length of the structures, or an upper bound (bytes).
    pub len: u32,
}

impl EntryPoint {
    /// Parses the entry point at the start of `bytes`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (len, least) = match bytes {
            [b'_', b'S', b'M', b'3', b'_', _, len, ..] => (*len, 24),
            [b'_', b'S', b'M', b'_', _, len, ..] => (*len, 30),
            _ => return None,
        };
        let bytes = bytes.get(..len.into())?;
        if usize::from(len) < least || !sums_up(bytes) {
            return None;
        }
        let word = |at| {
            let field = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*field))
        };
        if least == 24 {
            let (high, low) = (word(20)?, word(16)?);
            return Some(Self {
                version: (*bytes.get(7)?, *bytes.get(8)?),
                address: u64::from(high) << 32 | u64::from(low),
                len: word(12)?,
            });
        }
        let inner = bytes.get(16..31).or(bytes.get(16..30))?;
        if !inner.starts_with(b"_DMI_") || !sums_up(inner) {
            return None;
        }
        Some(Self {
            version: (*bytes.get(6)?, *bytes.get(7)?),
            address: word(24)?.into(),
            len: word(22)? & 0xffff,
        })
    }

    /// Searches a part of memory for an entry point.
    pub fn find(memory: &[u8]) -> Option<Self> {
        let mut rest = memory;
        while let Some(tail) = rest.get(16..) {
            if let Some(entry) = Self::parse(rest) {
                return Some(entry);
            }
            rest = tail;
        }
        None
    }
}

/// Returns true if the checksum is right: the sum of all bytes is 0.
fn sums_up(bytes: &[u8]) -> bool {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// The hardware.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Hardware<'a> {
    /// Manufacturer, product name and serial number; empty if unknown.
    pub words: [&'a [u8]; 3],
    /// The system's UUID.
    pub uuid: Option<Uuid>,
}

impl<'a> Hardware<'a> {
    /// Parses the structures: type 1 (system), then type 2 (board), then type 3 (chassis) for values that are still missing.
    pub fn parse(structures: &'a [u8], version: (u8, u8)) -> Self {
        let mut hardware = Self::default();
        for wanted in 1..=3 {
            let mut rest = structures;
            while let Some((kind, fields, strings)) = next(&mut rest) {
                if kind != wanted {
                    continue;
                }
                for (word, at) in hardware.words.iter_mut().zip(b"\x04\x05\x07") {
                    // In type 3 this field is the chassis type.
                    if word.is_empty() && (kind, *at) != (3, 5) {
                        *word = string(fields, strings, (*at).into());
                    }
                }
                let bytes = fields.get(8..).and_then(|rest| rest.first_chunk::<16>());
                if let (1, Some(bytes)) = (kind, bytes) {
                    hardware.uuid = uuid(*bytes, version).known();
                }
                break;
            }
        }
        hardware
    }
}

/// Converts a UUID to the byte order of its text form.
fn uuid(mut bytes: [u8; 16], version: (u8, u8)) -> Uuid {
    // Since version 2.6, the first three fields are little-endian.
    if version >= (2, 6) {
        let [a, b, c, d, e, f, g, h, ..] = bytes;
        let [first @ .., _, _, _, _, _, _, _, _] = &mut bytes;
        *first = [d, c, b, a, f, e, h, g];
    }
    Uuid(bytes)
}

/// The next structure: its type, its fields including the header, and its strings. `None`: there is none.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8], &'a [u8])> {
    /// The type of the last structure.
    const END: u8 = 127;
    let [kind @ ..END, len, ..] = *rest else {
        return None;
    };
    let (fields, tail) = rest.split_at_checked((*len).into())?;
    // Two NULs end the strings, also if there are none.
    let end = tail.windows(2).position(|pair| pair == [0, 0])?;
    let (strings, tail) = tail.split_at_checked(end)?;
    *rest = tail.get(2..)?;
    Some((*kind, fields, strings))
}

/// The string whose number is in the field at `at`; empty if there is none, or it is a placeholder.
fn string<'a>(fields: &[u8], strings: &'a [u8], at: usize) -> &'a [u8] {
    let mut left = fields.get(at).copied().unwrap_or(0);
    let (mut string, mut rest) = (&b""[..], strings);
    while left > 0 {
        (string, rest) = cut(rest, 0);
        left -= 1;
    }
    if is_filler(string) { &[] } else { string }
}

/// Placeholders of vendors that did not fill in a string.
const FILLERS: &[u8] = b"To be filled by O.E.M.|O.E.M.|OEM|Default string|Empty|None|N/A|Unknown|Invalid|Undefined|\
    System manufacturer|System Product Name|System Serial Number|Not Specified|Not Applicable|0123456789";

/// Returns true for a placeholder.
pub fn is_filler(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let is_first = |byte: &u8| Some(byte) == text.first();
    // Empty, or one repeated character, such as zeros or dots.
    text.iter().all(is_first) || index_like(FILLERS, b'|', text).is_some()
}

#[cfg(test)]
mod tests;
