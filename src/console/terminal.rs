//! Output of names, addresses and texts from the network, escaped so that no terminal interprets control characters in them.

use super::print;
use crate::event::Line;
use crate::mem::{self, Ends as _, printable};
use crate::wire::dns::escape::{LABEL_TEXT_BYTES_MAX, decimal, escape};
use core::net::IpAddr;

/// Longest output (bytes): each byte of a TXT record in the longest message can become six, `\u00ff`.
const OUT_BYTES: usize = 64 << 10;

/// A buffer for one piece of output. Bytes that do not fit are dropped.
pub struct Out {
    len: usize,
    /// True for JSON output, in which a backslash must be doubled.
    pub is_json: bool,
    /// True if link-local addresses are followed by their interface, as in `fe80::1%eth0`.
    pub has_scopes: bool,
    bytes: &'static mut [u8],
}

impl Out {
    /// Allocates the buffer, which is never freed. Called at start only.
    pub fn allocate() -> Self {
        Self {
            len: 0,
            is_json: false,
            has_scopes: false,
            bytes: mem::bytes(OUT_BYTES),
        }
    }

    /// The text in the buffer.
    #[inline(never)] // −64 bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.head(self.len)
    }

    /// Empties the buffer.
    pub const fn clear(&mut self) -> &mut Self {
        self.len = 0;
        self
    }

    /// Appends a byte.
    #[inline(never)] // −875 bytes: 51 callers.
    pub fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
        self
    }

    /// Appends bytes.
    pub fn put(&mut self, bytes: &[u8]) -> &mut Self {
        bytes.iter().for_each(|byte| _ = self.byte(*byte));
        self
    }

    /// Appends a label escaped as by avahi: letters and digits unchanged, other bytes as `\DDD`.
    pub fn label(&mut self, label: &[u8]) -> &mut Self {
        let mut buffer = [0; LABEL_TEXT_BYTES_MAX];
        let len = escape(label, &mut buffer);
        for byte in buffer.head(len) {
            if self.is_json && *byte == b'\\' {
                self.byte(b'\\');
            }
            self.byte(*byte);
        }
        self
    }

    /// Appends labels, separated by dots.
    pub fn labels(&mut self, labels: &mut dyn Iterator<Item = &[u8]>) -> &mut Self {
        for (index, label) in labels.enumerate() {
            if index > 0 {
                self.byte(b'.');
            }
            self.label(label);
        }
        self
    }

    /// Appends an IP address, if there is one.
    pub fn address(&mut self, address: Option<IpAddr>) -> &mut Self {
        let mut line = Line::default();
        let text = match address {
            None => return self,
            Some(IpAddr::V4(address)) => line.address(address.to_ipv6_mapped()),
            Some(IpAddr::V6(address)) => line.address(address),
        };
        self.put(text.bytes())
    }

    /// Appends a decimal number.
    pub fn number(&mut self, number: u32) -> &mut Self {
        self.put(Line::default().number(number).bytes())
    }

    /// Appends a byte as `\DDD`.
    pub fn coded(&mut self, byte: u8) -> &mut Self {
        self.byte(b'\\').put(&decimal(byte))
    }

    /// Appends a text from the network: printable UTF-8 characters unchanged, all other bytes as `\DDD`. If `is_quoted`, also
    /// escapes quotation marks and backslashes.
    fn put_safe(&mut self, text: &[u8], is_quoted: bool) -> &mut Self {
        let mut remaining = text;
        while let Some(first) = remaining.first() {
            let mut len = printable(remaining);
            if len == 0 {
                len = 1;
                self.coded(*first);
            } else {
                if is_quoted && matches!(first, b'"' | b'\\') {
                    self.byte(b'\\');
                }
                self.put(remaining.head(len));
            }
            remaining = remaining.tail(len);
        }
        self
    }

    /// Appends the non-empty strings of a TXT record, each in quotation marks.
    pub fn texts(&mut self, txt: &[u8]) -> &mut Self {
        for (index, text) in strings(txt).enumerate() {
            self.put(if index == 0 { b"\"" } else { b" \"" })
                .put_safe(text, true)
                .byte(b'"');
        }
        self
    }

    /// Prints the buffer and a newline on standard output.
    pub fn print_line(&mut self) {
        self.len = self.len.min(OUT_BYTES - 1);
        self.byte(b'\n');
        print(self.bytes());
    }
}

/// Functions used by `browse` only.
impl Out {
    /// Removes all but the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Pads the text from offset `start` with spaces to `columns` UTF-8 characters.
    pub fn pad(&mut self, start: usize, columns: usize) -> &mut Self {
        let letters = self.bytes().tail(start).iter();
        let count = letters.filter(|byte| **byte & 0xc0 != 0x80).count();
        for _ in count..columns {
            self.byte(b' ');
        }
        self
    }

    /// Appends a text from the network: printable UTF-8 characters unchanged, all other bytes as `\DDD`.
    #[inline(never)] // −16 bytes.
    pub fn safe(&mut self, text: &[u8]) -> &mut Self {
        self.put_safe(text, false)
    }

    /// Appends a JSON string. Bytes that are not valid UTF-8 are read as Latin-1.
    pub fn quoted(&mut self, text: &[u8]) -> &mut Self {
        self.byte(b'"');
        let mut remaining = text;
        while let Some(first) = remaining.first() {
            let mut len = printable(remaining);
            if len == 0 {
                len = mem::letter(remaining).max(1);
                let continuation = remaining.head(len).tail(1);
                let high = u32::from(first & if len > 1 { 0xff >> len } else { 0xff });
                let number = continuation
                    .iter()
                    .fold(high, |number, byte| number << 6 | u32::from(byte & 0x3f));
                self.put(b"\\u");
                for &shift in &[12, 8, 4, 0] {
                    let digit = (number >> shift) as usize & 15;
                    self.put(b"0123456789abcdef".tail(digit).head(1));
                }
            } else {
                if matches!(first, b'"' | b'\\') {
                    self.byte(b'\\');
                }
                self.put(remaining.head(len));
            }
            remaining = remaining.tail(len);
        }
        self.byte(b'"')
    }
}

/// Returns the non-empty strings of a TXT record.
pub fn strings(txt: &[u8]) -> impl Iterator<Item = &[u8]> {
    crate::wire::txt::Strings(txt).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(write: impl Fn(&mut Out)) -> String {
        let mut out = Out::allocate();
        write(&mut out);
        String::from_utf8(out.bytes().to_vec()).unwrap()
    }

    /// Texts with control sequences, invalid UTF-8, and characters that are invisible or reorder a line.
    const HOSTILE: [&[u8]; 14] = [
        b"\x1b[2J",
        b"\x07\x08\r\n\t\0\x7f",
        b"\xc2\x9b2J",
        b"\x9b2J",
        b"\xff\xfe",
        b"\xc0\x9b",
        b"\xe2\x80",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        "\u{202e}txt.exe".as_bytes(),
        "\u{2066}a\u{2069}".as_bytes(),
        "\u{200b}\u{200f}\u{61c}\u{feff}".as_bytes(),
        "\u{2028}\u{2029}".as_bytes(),
        b"\xc2\x80\xc2\x9f\xc2\x85",
    ];

    #[test]
    fn control_characters_never_reach_a_terminal() {
        for bytes in HOSTILE {
            for shown in [
                output(|out| _ = out.label(bytes)),
                output(|out| _ = out.safe(bytes)),
                output(|out| _ = out.quoted(bytes)),
                output(|out| _ = out.texts(&[&[bytes.len() as u8], bytes].concat())),
            ] {
                assert!(
                    shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn printable_unicode_is_unchanged() {
        let letters = "Größe ✓ 日本 😀";
        assert_eq!(output(|out| _ = out.safe(letters.as_bytes())), letters);
        assert_eq!(
            output(|out| _ = out.quoted(letters.as_bytes())),
            format!("\"{letters}\"")
        );
        assert_eq!(
            output(|out| _ = out.label("ö;".as_bytes())),
            r"\195\182\059"
        );
        assert_eq!(output(|out| _ = out.safe(b"a\"\\\x01")), r#"a"\\001"#);
        let texts = output(|out| _ = out.texts(b"\x04a\"\\\x01"));
        assert_eq!(texts, r#""a\"\\\001""#);
        assert_eq!(output(|out| _ = out.safe("ö".as_bytes()).pad(0, 3)), "ö  ");
    }

    #[test]
    fn json_strings_decode_to_the_original() {
        for bytes in HOSTILE {
            let shown = output(|out| _ = out.quoted(bytes));
            let mut read = String::new();
            let mut remaining = &shown[1..shown.len() - 1];
            while let Some(first) = remaining.chars().next() {
                if let Some(coded) = remaining.strip_prefix("\\u") {
                    let number = u32::from_str_radix(&coded[..4], 16).unwrap();
                    read.push(char::from_u32(number).unwrap());
                    remaining = &coded[4..];
                } else {
                    read.push(first);
                    remaining = &remaining[first.len_utf8()..];
                }
            }
            match core::str::from_utf8(bytes) {
                Ok(text) => assert_eq!(read, text),
                // Invalid UTF-8 is read as Latin-1.
                Err(_) => assert_eq!(
                    read,
                    bytes
                        .iter()
                        .map(|byte| char::from(*byte))
                        .collect::<String>()
                ),
            }
        }
        assert_eq!(output(|out| _ = out.quoted(b"a\"\\")), r#""a\"\\""#);
    }

    #[test]
    fn longest_text_fits_the_buffer() {
        let bytes = [0x1b; crate::wire::dns::MESSAGE_BYTES_MAX];
        assert!(output(|out| _ = out.quoted(&bytes)).ends_with("\\u001b\""));
    }
}
