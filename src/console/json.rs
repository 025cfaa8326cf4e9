//! Names and lines as strings of JSON.

use crate::event::Line;
use crate::mem::letters;
use crate::mem::{Ends as _, printable};
use crate::wire::Writer;

/// Writes a JSON string. What an event line escapes, and JSON does not, is escaped as in the line.
pub fn quote(json: &mut Writer<'_>, text: &[u8]) {
    json.put(b"\"");
    for (letter, _) in letters(text) {
        put_json(json, Line::default().escaped(letter).bytes(), Escapes::Json);
    }
    json.put(b"\"");
}

/// The escapes of an event line in a JSON string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// Text: a reader gets the line.
    #[allow(dead_code, reason = "an executable may lack the log")]
    Text,
    /// Escapes that JSON has stand for the same bytes: a reader gets the path.
    Json,
}

/// Writes a text of an event line into a JSON string. A character that the line has cut becomes a question mark.
pub(super) fn put_json(json: &mut Writer<'_>, mut text: &[u8], escapes: Escapes) {
    while !text.is_empty() {
        let len = match text {
            [b'\\', b'\\' | b'b' | b't' | b'n' | b'f' | b'r', ..] if escapes == Escapes::Json => 2,
            [b'"' | b'\\', ..] => {
                json.put(b"\\");
                1
            }
            _ => printable(text),
        };
        json.put(if len == 0 { b"?" } else { text.head(len) });
        text = text.tail(len.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Line;

    #[test]
    fn json_has_the_path_but_no_cut_character() {
        for (escapes, expected) in [
            (Escapes::Text, "ü\\\"\\\\\\\\\\\\n\\\\033?"),
            (Escapes::Json, "ü\\\"\\\\\\n\\\\033?"),
        ] {
            let mut buffer = [0; 64];
            let mut json = Writer::new(&mut buffer);
            let mut line = Line::default();
            line.escaped("ü\"\\\n\x1b".as_bytes()).raw(b"\xc3");
            put_json(&mut json, line.bytes(), escapes);
            assert_eq!(json.since(0), expected.as_bytes());
        }
    }
}
