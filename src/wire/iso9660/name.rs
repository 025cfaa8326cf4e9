//! Names as Linux shows them: plain ones in lower case, Joliet's in UTF-8, both without the version ";1".

use super::Text;

/// A plain identifier. What follows a NUL is left out, separators that are none become dots.
pub(super) fn plain(id: &[u8], out: &mut Text) {
    let mut rest = id;
    while let [byte @ 1..=255, behind @ ..] = rest {
        if matches!(rest, b".;1" | b";1") {
            return;
        }
        rest = behind;
        out.push(&[match byte {
            b';' | b'/' => b'.',
            byte => byte.to_ascii_lowercase(),
        }]);
    }
}

/// Joliet's: letters of 16 bits, highest byte first. What follows a NUL is left out, as are halves of pairs, a byte too many,
/// and dots at the end, which Windows has none of.
pub(super) fn joliet(id: &[u8], out: &mut Text) {
    for unit in id.as_chunks().0 {
        let letter = u16::from_be_bytes(*unit);
        let tail = 0x80 | letter as u8 & 0x3f;
        let middle = (letter >> 6) as u8;
        match letter {
            0 => break,
            1..0x80 => out.push(&[letter as u8]),
            0x80..0x800 => out.push(&[0xc0 | middle, tail]),
            0xd800..0xe000 => true,
            _ => out.push(&[0xe0 | (letter >> 12) as u8, 0x80 | middle & 0x3f, tail]),
        };
    }
    if let [_, .., b';', b'1'] = out.bytes() {
        out.len = out.len.saturating_sub(2);
    }
    while let [_, .., b'.'] = out.bytes() {
        out.len = out.len.saturating_sub(1);
    }
}
