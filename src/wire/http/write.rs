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
pub fn encode(out: &mut Writer<'_>, name: &[u8]) {
    for byte in name {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.put(&[*byte])
            }
            _ => put_hex(out, b"%", *byte),
        }
    }
}

/// Calls `put` with the characters of a text. Control characters, and bytes that are not UTF-8, become U+FFFD.
fn characters(text: &[u8], put: &mut dyn FnMut(char)) {
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            put(if letter.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                letter
            });
        }
        if !chunk.invalid().is_empty() {
            put(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// Writes a text for HTML, also for an attribute in quotes.
pub fn escape_html(out: &mut Writer<'_>, text: &[u8]) {
    characters(text, &mut |letter| match letter {
        '&' => out.put(b"&amp;"),
        '<' => out.put(b"&lt;"),
        '>' => out.put(b"&gt;"),
        '"' => out.put(b"&quot;"),
        letter => out.put(letter.encode_utf8(&mut [0; 4]).as_bytes()),
    });
}

/// Writes a text for a JSON string.
pub fn escape_json(out: &mut Writer<'_>, text: &[u8]) {
    characters(text, &mut |letter| {
        if matches!(letter, '"' | '\\') {
            out.put(b"\\");
        }
        out.put(letter.encode_utf8(&mut [0; 4]).as_bytes());
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
