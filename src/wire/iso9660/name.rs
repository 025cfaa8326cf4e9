//! Names as Linux presents them: plain ones in lower case, Joliet's in UTF-8, both without the version ";1".

use super::Text;

/// Longest name (bytes) that is made by shortening a longer one. A suffix can be added to it.
const SHORTENED_BYTES: usize = 250;

/// Converts an identifier to a name. A plain identifier ends at a NUL; ";" and "/" in it become dots, but the version ";1" is
/// removed with a dot before it. A Joliet identifier is big-endian UTF-16 and ends at a NUL; unpaired surrogates, an odd last byte,
/// the version ";1" and trailing dots are removed.
pub(super) fn read(id: &[u8], joliet: bool, out: &mut Text) {
    if joliet {
        let units = id
            .as_chunks()
            .0
            .iter()
            .map(|unit| u16::from_be_bytes(*unit));
        for letter in char::decode_utf16(units.take_while(|unit| *unit != 0)).flatten() {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                out.put(byte);
            }
        }
        if let [_, .., b';', b'1'] = out.bytes() {
            out.len -= 2;
        }
        while let [_, .., b'.'] = out.bytes() {
            out.len -= 1;
        }
        return;
    }
    let mut rest = id;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        out.put(match (byte, tail) {
            (0, _) | (b';', b"1") | (b'.', b";1") => return,
            (b';' | b'/', _) => b'.',
            (byte, _) => byte.to_ascii_lowercase(),
        });
    }
}

/// Ends the name that begins at `start` at its first NUL.
pub(super) fn end_at_nul(names: &mut Text, start: usize) {
    let name = names.bytes().get(start..).unwrap_or_default();
    if let Some(len) = name.iter().position(|byte| *byte == 0) {
        names.len = start + len;
    }
}

/// Changes the name that begins at `start` so that Linux accepts it: no "/", not empty, not "." or "..", at most 255 bytes.
pub(super) fn make_valid(names: &mut Text, start: usize) {
    let name = names.buffer.get_mut(start..names.len).unwrap_or_default();
    if name.len() > super::NAME_BYTES_MAX {
        // The last character ends before the end, or there.
        let mut len = SHORTENED_BYTES;
        while name.get(len).is_some_and(|byte| byte & 0xc0 == 0x80) {
            len -= 1;
        }
        names.len = start + len;
    }
    for byte in &mut *name {
        if *byte == b'/' {
            *byte = b'.';
        }
    }
    match name {
        [] => names.put(b'_'),
        [first @ b'.'] | [first @ b'.', b'.'] => *first = b'_',
        _ => {}
    }
}
