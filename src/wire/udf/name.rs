//! Names in OSTA compressed Unicode: UDF 2.1.1 and 4.2.2. Names that Linux cannot show get a checksum, as on Linux.

use super::crc;

/// Maximum length of an extension (characters), without the dot.
const EXTENSION_LEN_MAX: usize = 5;
/// Length (bytes) of "#" and the checksum.
const CRC_BYTES: usize = 5;
/// Replaces characters that a name cannot have.
const ILLEGAL: char = '_';

/// The characters of a name.
struct Text<'a> {
    units: &'a [u8],
    /// Length of a unit (bytes): 1 or 2.
    unit: usize,
}

impl Text<'_> {
    /// The unit at an offset.
    fn unit(&self, at: usize) -> Option<u32> {
        let [first, second, ..] = *self.units.get(at..at + self.unit)? else {
            return self.units.get(at).copied().map(u32::from);
        };
        Some(u16::from_be_bytes([first, second]).into())
    }

    /// Reads the character at an offset, and moves the offset behind it. `Some(None)`: not a character.
    fn character(&self, at: &mut usize) -> Option<Option<char>> {
        let mut code = self.unit(*at)?;
        *at += self.unit;
        if matches!(code, 0xd800..0xdc00)
            && let Some(low) = self.unit(*at)
        {
            *at += self.unit;
            code = match low {
                0xdc00..0xe000 => 0x1_0000 + ((code & 0x3ff) << 10) + (low & 0x3ff),
                _ => code,
            };
        }
        Some(char::from_u32(code).filter(|letter| !matches!(letter, '\0' | '/')))
    }

    /// Returns the offset of the extension: a dot, and at most four characters after it.
    fn extension(&self) -> Option<usize> {
        let mut at = self.units.len();
        for count in 0..EXTENSION_LEN_MAX {
            at = at.checked_sub(self.unit.max(1))?;
            if self.unit(at) == Some('.'.into()) {
                return (count > 0).then_some(at);
            }
        }
        None
    }
}

/// A name that is written, in UTF-8.
struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// True if the name differs from the stored one.
    is_changed: bool,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn put_checksum(&mut self, units: &[u8]) {
        self.put(b"#");
        for shift in [12, 8, 4, 0] {
            let digit = (crc(units) >> shift & 15) as usize;
            self.put(b"0123456789ABCDEF".get(digit..=digit).unwrap_or_default());
        }
    }

    /// Writes the character at an offset, or one replacement for all illegal characters there. Returns false at the end of the text
    /// or of the output.
    fn add(&mut self, text: &Text<'_>, at: &mut usize) -> bool {
        let mut letter = None;
        loop {
            let before = *at;
            if before < text.units.len() && letter.is_none() && self.len >= self.bytes.len() {
                self.is_changed = true;
                return false;
            }
            match text.character(at) {
                Some(None) => letter = Some(ILLEGAL),
                Some(found) if letter.is_none() => {
                    letter = found;
                    break;
                }
                found => {
                    if found.is_some() {
                        *at = before;
                    }
                    self.is_changed |= letter.is_some();
                    break;
                }
            }
        }
        let Some(letter) = letter else {
            return false;
        };
        let mut buffer = [0; 4];
        let encoded = letter.encode_utf8(&mut buffer).as_bytes();
        if self.len + encoded.len() > self.bytes.len() {
            self.is_changed = true;
            return false;
        }
        self.put(encoded);
        true
    }
}

/// Converts a name, as on Linux: one with characters that no name can have, or too long for `out`, gets a checksum before its
/// extension. Returns the length.
pub fn decode(name: &[u8], out: &mut [u8]) -> usize {
    let (unit, units) = match name {
        [8, units @ ..] => (1, units),
        [16, units @ ..] if units.len().is_multiple_of(2) => (2, units),
        // Linux does not list such a name.
        _ => (0, &[][..]),
    };
    // Most names are ASCII, and need no conversion.
    if unit == 1
        && let Some(plain) = out.get_mut(..units.len())
        && !matches!(units, [] | b"." | b"..")
        && units
            .iter()
            .all(|byte| matches!(byte, 1..128) && *byte != b'/')
    {
        plain.copy_from_slice(units);
        return units.len();
    }
    let text = Text { units, unit };
    let max = out.len();
    let dot = text.extension();
    let mut extension = Output {
        bytes: &mut [0; 31],
        len: 0,
        is_changed: false,
    };
    let mut extension_len = 0;
    if let Some(dot) = dot {
        extension.put(b".");
        let mut at = dot + unit;
        while extension.add(&text, &mut at) {
            if extension.len + CRC_BYTES < max {
                extension_len = extension.len;
            }
        }
    }
    let mut base = Output {
        bytes: out,
        len: 0,
        is_changed: extension.is_changed || unit == 0,
    };
    // Length of the name with space for a checksum and the extension.
    let mut short_len = 0;
    let mut at = 0;
    loop {
        if dot == Some(at) {
            base.is_changed |= base.len + extension.len > max;
            break;
        }
        if !base.add(&text, &mut at) {
            break;
        }
        if base.len + extension.len + CRC_BYTES <= max {
            short_len = base.len;
        }
    }
    let is_reserved = match base.bytes.get(..base.len) {
        Some(b"." | b"..") => true,
        _ => base.len + extension.len == 0,
    };
    if base.is_changed || is_reserved {
        base.len = short_len;
        base.put_checksum(units);
        extension.len = extension_len;
    }
    base.put(extension.bytes.get(..extension.len).unwrap_or_default());
    base.len
}

/// Converts the path components of a symbolic link (ECMA-167 4/14.16.1) to a path, as on Linux. Returns its length; `None`: they are
/// malformed, or the path is too long.
pub fn target(components: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut rest = components;
    let mut path = Output {
        bytes: out,
        len: 0,
        is_changed: false,
    };
    while !rest.is_empty() {
        let ([kind, len, _, _], tail) = rest.split_first_chunk::<4>()?;
        rest = tail;
        let before = path.len;
        let added = match *kind {
            1 if *len > 0 => {
                rest = rest.get(usize::from(*len)..)?;
                continue;
            }
            1 | 2 => {
                path.len = 0;
                path.put(b"/");
                continue;
            }
            3 => b"../",
            4 => &b"./"[..],
            5 => {
                let (name, tail) = rest.split_at_checked((*len).into())?;
                rest = tail;
                path.len += decode(name, path.bytes.get_mut(before..)?);
                b"/"
            }
            _ => continue,
        };
        let end = path.len + added.len();
        path.put(added);
        if path.len != end {
            return None;
        }
    }
    // The "/" after the last component is not part of the path.
    Some(match path.len {
        len @ 0..=1 => len,
        len => len - 1,
    })
}
