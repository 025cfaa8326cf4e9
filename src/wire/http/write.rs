//! Names in links, pages and logs.

use crate::mem::Ends as _;
use crate::wire::Writer;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Writes `before`, then a byte as two hexadecimal digits.
fn put_hex(out: &mut Writer<'_>, before: &[u8], byte: u8) {
    out.put(before);
    for digit in [byte >> 4, byte & 0xf] {
        out.put(DIGITS.tail(digit.into()).head(1));
    }
}

/// Writes a name as a segment of a path: bytes that are not unreserved are percent-encoded. RFC 3986 section 2.3.
pub fn encode(out: &mut Writer<'_>, mut name: &[u8]) {
    let is_unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    loop {
        let plain = name.iter().take_while(|byte| is_unreserved(byte)).count();
        out.put(name.head(plain));
        let [byte, rest @ ..] = name.tail(plain) else {
            return;
        };
        put_hex(out, b"%", *byte);
        name = rest;
    }
}

/// Writes a text: printable ASCII but `special` as it is, other characters by `put`. Control characters, and bytes that are not
/// UTF-8, become U+FFFD.
fn characters(
    out: &mut Writer<'_>,
    mut text: &[u8],
    special: &[u8],
    put: fn(&mut Writer<'_>, char),
) {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !special.contains(byte);
    loop {
        let plain = text.iter().take_while(|byte| is_plain(byte)).count();
        out.put(text.head(plain));
        text = text.tail(plain);
        // The longest character has four bytes.
        let Some(chunk) = text.head(text.len().min(4)).utf8_chunks().next() else {
            return;
        };
        let letter = chunk.valid().chars().next();
        text = text.tail(letter.map_or(chunk.invalid().len(), char::len_utf8));
        let letter = letter.filter(|letter| !letter.is_control());
        put(out, letter.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
}

fn put_char(out: &mut Writer<'_>, letter: char) {
    out.put(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Writes a text for HTML, also for an attribute in quotes.
#[inline(never)]
pub fn escape_html(out: &mut Writer<'_>, text: &[u8]) {
    characters(out, text, b"&<>\"", |out, letter| match letter {
        '&' => out.put(b"&amp;"),
        '<' => out.put(b"&lt;"),
        '>' => out.put(b"&gt;"),
        '"' => out.put(b"&quot;"),
        letter => put_char(out, letter),
    });
}

/// Writes a text for a JSON string.
pub fn escape_json(out: &mut Writer<'_>, text: &[u8]) {
    characters(out, text, b"\"\\", |out, letter| {
        if matches!(letter, '"' | '\\') {
            out.put(b"\\");
        }
        put_char(out, letter);
    });
}

/// Writes a text for the combined log format: bytes that are not printable ASCII, `"` and `\` become `\xNN`.
pub fn escape_log(out: &mut Writer<'_>, text: &[u8]) {
    for byte in text {
        match byte {
            b'"' | b'\\' => put_hex(out, b"\\x", *byte),
            b' '..=b'~' => out.put(&[*byte]),
            _ => put_hex(out, b"\\x", *byte),
        }
    }
}
