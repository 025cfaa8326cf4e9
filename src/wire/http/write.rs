//! Names in links, pages and logs.

use crate::mem::{Ends as _, is_control, letter};
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

/// A character that needs an escape, and the escape.
type Sign = (u8, &'static [u8]);

/// Writes a text with the escapes of `signs`. Control characters, and bytes that are not UTF-8, become U+FFFD.
fn escape(out: &mut Writer<'_>, mut text: &[u8], signs: &[Sign]) {
    let sign = |byte: &u8| signs.iter().find(|(sign, _)| sign == byte);
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && sign(byte).is_none();
    loop {
        let plain = text.iter().take_while(|byte| is_plain(byte)).count();
        out.put(text.head(plain));
        text = text.tail(plain);
        let Some(byte) = text.first() else {
            return;
        };
        let len = letter(text);
        out.put(match sign(byte) {
            Some((_, instead)) => instead,
            None if len == 0 || is_control(text) => "\u{fffd}".as_bytes(),
            None => text.head(len),
        });
        text = text.tail(len.max(1));
    }
}

/// Writes a text for HTML, also for an attribute in quotes.
#[inline(never)]
pub fn escape_html(out: &mut Writer<'_>, text: &[u8]) {
    const SIGNS: [Sign; 4] = [
        (b'&', b"&amp;"),
        (b'<', b"&lt;"),
        (b'>', b"&gt;"),
        (b'"', b"&quot;"),
    ];
    escape(out, text, &SIGNS);
}

/// Writes a text for a JSON string.
pub fn escape_json(out: &mut Writer<'_>, text: &[u8]) {
    escape(out, text, &[(b'"', b"\\\""), (b'\\', b"\\\\")]);
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
