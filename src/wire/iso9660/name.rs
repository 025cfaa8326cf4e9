//! Names as Linux presents them: plain ones in lower case, Joliet's in UTF-8, both without the version ";1".

use super::Text;

/// Converts an identifier to a name. A plain identifier ends at a NUL; ";" and "/" in it become dots, but the version ";1" is
/// removed with the dots before it. A Joliet identifier is big-endian UCS-2 and ends at a NUL; surrogates, an odd last byte, the
/// version ";1" and trailing dots are removed.
pub(super) fn read(id: &[u8], joliet: bool, out: &mut Text) {
    if joliet {
        for unit in id.as_chunks().0 {
            let letter: u32 = u16::from_be_bytes(*unit).into();
            let (mut shift, mark): (u32, u8) = match letter {
                0 => break,
                1..0x80 => (0, 0),
                0x80..0x800 => (6, 0xc0),
                0xd800..0xe000 => continue,
                _ => (12, 0xe0),
            };
            out.put(mark | (letter >> shift) as u8);
            while shift > 0 {
                shift -= 6;
                out.put(0x80 | (letter >> shift) as u8 & 0x3f);
            }
        }
        if let [_, .., b';', b'1'] = out.bytes() {
            out.len -= 2;
        }
    } else {
        let mut rest = id;
        loop {
            let [byte, tail @ ..] = rest else {
                return;
            };
            rest = tail;
            out.put(match byte {
                0 => return,
                b';' if matches!(rest, b"1") => break,
                b';' | b'/' => b'.',
                byte => byte.to_ascii_lowercase(),
            });
        }
    }
    while let [_, .., b'.'] = out.bytes() {
        out.len -= 1;
    }
}
