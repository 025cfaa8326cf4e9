//! Untrusted text, made safe for names and terminals: whole UTF-8 characters, no control characters.

use super::Writer;
use crate::mem::{Ends as _, is_control, letter};

/// Maximum length of a DNS label (bytes).
pub const BYTES_MAX: usize = 63;

/// Returns true if the text is UTF-8 without control characters.
pub fn is_clean(text: &[u8]) -> bool {
    let mut rest = text;
    while !rest.is_empty() {
        match rest.get(letter(rest)..) {
            Some(tail) if tail.len() < rest.len() && !is_control(rest) => rest = tail,
            _ => return false,
        }
    }
    true
}

/// Appends a byte.
pub fn put_byte(out: &mut Writer<'_>, byte: u8) {
    out.put(&[byte]);
}

/// Appends bytes as hexadecimal digits.
pub fn put_hex(out: &mut Writer<'_>, bytes: &[u8]) {
    for byte in bytes {
        for &shift in &[4, 0] {
            let digit = byte >> shift & 15;
            let base = if digit < 10 { b'0' } else { b'a' - 10 };
            put_byte(out, base + digit);
        }
    }
}

/// Appends a character in UTF-8.
pub fn put_letter(out: &mut Writer<'_>, letter: char) {
    let number = u32::from(letter);
    let (mut shift, mark): (u32, u8) = match number {
        ..0x80 => (0, 0),
        0x80..0x800 => (6, 0xc0),
        0x800..0x1_0000 => (12, 0xe0),
        _ => (18, 0xf0),
    };
    put_byte(out, mark | (number >> shift) as u8);
    while shift > 0 {
        shift -= 6;
        put_byte(out, 0x80 | (number >> shift) as u8 & 0x3f);
    }
}

/// Splits at the first `separator`. Without one, the second part is empty.
#[inline(never)] // −405 bytes: 28 callers.
pub fn cut(text: &[u8], separator: u8) -> (&[u8], &[u8]) {
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        if *byte == separator {
            let len = text.len() - rest.len();
            return (text.head(len), tail);
        }
        rest = tail;
    }
    (text, rest)
}

/// The text after the prefix `start`, if it has that.
pub const fn strip_prefix<'a>(text: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (mut rest, mut left) = (text, start);
    while let [byte, more @ ..] = left {
        match rest {
            [first, tail @ ..] if *first == *byte => (rest, left) = (tail, more),
            _ => return None,
        }
    }
    Some(rest)
}

/// Returns the text before the first `mark`, and skips both. `None`: `rest` has no `mark`; it is then empty.
pub fn until<'a>(rest: &mut &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let start = *rest;
    while !rest.is_empty() {
        if let Some(tail) = strip_prefix(rest, mark) {
            let len = start.len() - rest.len();
            *rest = tail;
            return Some(start.head(len));
        }
        *rest = rest.tail(1);
    }
    None
}

/// Index of `word` in the list `words`, ignoring ASCII case.
pub fn index_like(words: &[u8], separator: u8, word: &[u8]) -> Option<usize> {
    let (mut rest, mut place) = (words, 0_usize);
    while !rest.is_empty() {
        let (one, tail) = cut(rest, separator);
        rest = tail;
        if is_like(one, word) {
            return Some(place);
        }
        place += 1;
    }
    None
}

/// Removes the dot at the end of a name, if it has one.
pub fn without_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").unwrap_or(name)
}

/// Returns true for the domain of multicast DNS, `local`, with or without a trailing dot.
pub fn is_local(domain: &[u8]) -> bool {
    index_like(b"local local.", b' ', domain).is_some()
}

/// The value of a digit, if it is one in this base.
pub fn digit(byte: u8, base: u32) -> Option<usize> {
    let value = match byte {
        b'0'..=b'9' => byte - b'0',
        // Letters, in upper or lower case.
        b'A'.. => (byte | 0x20) - (b'a' - 10),
        _ => return None,
    };
    (u32::from(value) < base).then_some(value.into())
}

/// Parses a number that consists of digits only.
pub fn number(digits: &[u8], base: u32) -> Option<u32> {
    digits.first()?;
    let mut value = 0_u32;
    for byte in digits {
        let digit = digit(*byte, base)? as u32;
        value = value.checked_mul(base)?.checked_add(digit)?;
    }
    Some(value)
}

/// Returns true if two texts are equal, ignoring ASCII case. Compares bytes one by one: the library's version, for 16 at a time, is
/// larger.
pub fn is_like(one: &[u8], other: &[u8]) -> bool {
    let same = |(one, other): (&u8, &u8)| one.eq_ignore_ascii_case(other);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The characters 0x80 to 0x9f of windows-1252; a space: none.
static WINDOWS: [u16; 32] = [
    0x20ac, 0x20, 0x201a, 0x192, 0x201e, 0x2026, 0x2020, 0x2021, 0x2c6, 0x2030, 0x160, 0x2039,
    0x152, 0x20, 0x17d, 0x20, 0x20, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x2dc,
    0x2122, 0x161, 0x203a, 0x153, 0x20, 0x17e, 0x178,
];

/// Appends text in a form that is safe to display, trimmed and truncated to [`BYTES_MAX`]. Invalid UTF-8 is read as windows-1252;
/// control characters become spaces.
pub fn put(out: &mut Writer<'_>, text: &[u8]) {
    let start = out.position();
    let mut end = start;
    let mut rest = text;
    while let [first, ..] = rest {
        let len = letter(rest);
        let Some((head, tail)) = rest.split_at_checked(len.max(1)) else {
            break;
        };
        rest = tail;
        let place = usize::from(first.wrapping_sub(0x80));
        let number = *WINDOWS.get(place).unwrap_or(&u16::from(*first));
        if is_control(head) || head == b" " || len == 0 && number == 0x20 {
            if end > start {
                out.put(b" ");
            }
            continue;
        }
        let before = out.position();
        if len > 0 {
            out.put(head);
        } else {
            put_letter(out, char::from_u32(number.into()).unwrap_or(' '));
        }
        if out.position() - start > BYTES_MAX {
            out.truncate(before);
            break;
        }
        end = out.position();
    }
    out.truncate(end);
}

/// A text of at most [`BYTES_MAX`] bytes, as written by [`put`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Word {
    len: u8,
    bytes: [u8; BYTES_MAX],
}

impl Default for Word {
    fn default() -> Self {
        Self {
            len: 0,
            bytes: [0; BYTES_MAX],
        }
    }
}

impl Word {
    /// The text.
    #[inline(never)] // −40 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.head(self.len.into())
    }

    /// Returns true if the text is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces the text.
    pub fn set(&mut self, text: &[u8]) {
        let mut out = Writer::new(&mut self.bytes);
        put(&mut out, text);
        self.len = out.position() as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 300];
        let mut out = Writer::new(&mut buffer);
        out.put(b"*");
        put(&mut out, text);
        out.since(1).to_vec()
    }

    #[test]
    fn letters_match_the_standard_library() {
        // All sequences of four bytes from the boundary values of UTF-8.
        let bytes = [
            0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0,
            0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff,
        ];
        for a in bytes {
            for b in bytes {
                for c in bytes {
                    for d in bytes {
                        let text = [a, b, c, d];
                        for len in 0..=4 {
                            let expect = match core::str::from_utf8(&text[..len]) {
                                Ok(text) => text.chars().next().map_or(0, char::len_utf8),
                                Err(error) => {
                                    let good = &text[..error.valid_up_to()];
                                    let good = core::str::from_utf8(good).unwrap();
                                    good.chars().next().map_or(0, char::len_utf8)
                                }
                            };
                            assert_eq!(letter(&text[..len]), expect, "{text:x?} {len}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn control_characters_are_not_clean() {
        for text in ["", "a", "Büro im 1. Stock", "\u{a0}", "日本", "😀"] {
            assert!(is_clean(text.as_bytes()), "{text}");
        }
        for text in ["\0", "a\n", "\x7f", "a\u{80}", "\u{9f}b", "a\x1b[2J"] {
            assert!(!is_clean(text.as_bytes()), "{text:?}");
        }
        for text in [&b"\xff"[..], b"a\xc3", b"\xc3\x28", b"\xed\xa0\x80"] {
            assert!(!is_clean(text), "{text:x?}");
        }
    }

    #[test]
    fn displayed_text_is_trimmed_cut_and_cleaned() {
        for (text, expect) in [
            (&b""[..], ""),
            (b" \t\r\n ", ""),
            (b"  Dell Inc.  ", "Dell Inc."),
            (b"a\tb\x07\x9dc", "a b  c"),
            (b"5 \x80, \x93a\x94\x99", "5 €, “a”™"),
            ("a\u{80}b\u{9f}".as_bytes(), "a b"),
            (b"B\xfcro", "Büro"),
            ("Büro".as_bytes(), "Büro"),
        ] {
            assert_eq!(shown(text), expect.as_bytes());
        }
        let long = "ä".repeat(40);
        assert_eq!(shown(long.as_bytes()), "ä".repeat(31).as_bytes());
        assert_eq!(shown(&[b'x'; 200]), [b'x'; 63]);
        assert_eq!(shown(&[0xe4; 200]), "ä".repeat(31).as_bytes());
        let ends_blank = [&[b'x'; 60][..], b"    y"].concat();
        assert_eq!(shown(&ends_blank), [b'x'; 60]);
    }

    #[test]
    fn full_buffer_never_splits_a_character() {
        for room_len in 0..6 {
            let mut buffer = vec![0; room_len];
            let mut out = Writer::new(&mut buffer);
            put(&mut out, "äöü".as_bytes());
            assert!(out.written().is_some());
            assert!(core::str::from_utf8(out.since(0)).is_ok());
        }
    }
}
