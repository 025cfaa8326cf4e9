//! What is printed of names, addresses and texts that came from the network: nothing in it that a terminal might obey.

use super::print;
use crate::engine::mdns::{NameId, Names};
use crate::event::Line;
use crate::mem;
use crate::mem::Ends as _;
#[cfg(feature = "browse")]
use crate::wire::dns::escape::decimal;
use crate::wire::dns::escape::{LABEL_TEXT_BYTES_MAX, escape};
#[cfg(feature = "browse")]
use crate::wire::label::{is_control, letter};
use core::net::IpAddr;

/// Bytes of the longest line: of a TXT record in the longest message, every byte may become six.
const OUT_BYTES: usize = 64 << 10;

/// What is being printed. What does not fit is left out.
pub(super) struct Out {
    len: usize,
    /// What is printed is in JSON, where a backslash stands for what follows it.
    pub(super) is_json: bool,
    bytes: &'static mut [u8],
}

impl Out {
    /// A buffer for one thing after the other. Called at start only.
    pub(super) fn new() -> Self {
        Self {
            len: 0,
            is_json: false,
            bytes: mem::bytes(OUT_BYTES),
        }
    }

    #[inline(never)]
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.head(self.len)
    }

    /// Begins again.
    pub(super) const fn begin(&mut self) -> &mut Self {
        self.len = 0;
        self
    }

    #[inline(never)]
    pub(super) fn byte(&mut self, byte: u8) -> &mut Self {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
        self
    }

    #[inline(never)]
    pub(super) fn put(&mut self, bytes: &[u8]) -> &mut Self {
        bytes.iter().for_each(|byte| _ = self.byte(*byte));
        self
    }

    /// A label as avahi prints it: letters, digits, and numbers for all that they are not.
    #[inline(never)]
    pub(super) fn label(&mut self, label: &[u8]) -> &mut Self {
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

    /// The labels of a name, as many of them as there are up to `count`, with dots between them.
    #[inline(never)]
    pub(super) fn labels(&mut self, names: &Names, name: NameId, count: usize) -> &mut Self {
        for (at, label) in names.labels(name).take(count).enumerate() {
            if at > 0 {
                self.byte(b'.');
            }
            self.label(label.bytes);
        }
        self
    }

    /// A name whose labels have dots between them.
    #[inline(never)]
    pub(super) fn name(&mut self, names: &Names, name: NameId) -> &mut Self {
        self.labels(names, name, usize::MAX)
    }

    #[inline(never)]
    pub(super) fn address(&mut self, address: Option<IpAddr>) -> &mut Self {
        let mut line = Line::default();
        let text = match address {
            None => return self,
            Some(IpAddr::V4(address)) => line.address(address.to_ipv6_mapped()),
            Some(IpAddr::V6(address)) => line.address(address),
        };
        self.put(text.bytes())
    }

    /// Prints it.
    pub(super) fn end(&mut self) {
        self.len = self.len.min(OUT_BYTES - 1);
        self.byte(b'\n');
        print(self.bytes());
    }
}

/// What only `browse` prints.
#[cfg(feature = "browse")]
impl Out {
    /// Where what follows begins.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Takes back what stands behind the first `len` bytes.
    pub(super) fn cut(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Blanks up to so many letters behind the first `begun` bytes.
    #[inline(never)]
    pub(super) fn fill(&mut self, begun: usize, columns: usize) -> &mut Self {
        let letters = self.bytes().tail(begun).iter();
        let count = letters.filter(|byte| **byte & 0xc0 != 0x80).count();
        for _ in count..columns {
            self.byte(b' ');
        }
        self
    }

    pub(super) fn number(&mut self, number: u32) -> &mut Self {
        self.put(Line::default().number(number).bytes())
    }

    /// A byte as its number.
    pub(super) fn coded(&mut self, byte: u8) -> &mut Self {
        self.byte(b'\\').put(&decimal(byte))
    }

    /// A text from the network: letters are themselves, and all that a terminal might obey is numbers.
    #[inline(never)]
    pub(super) fn safe(&mut self, text: &[u8]) -> &mut Self {
        self.put_safe(text, false)
    }

    /// The same between quotation marks, if it stands there.
    #[inline(never)]
    fn put_safe(&mut self, text: &[u8], is_quoted: bool) -> &mut Self {
        let mut rest = text;
        while let Some(first) = rest.first() {
            let mut len = plain_letter(rest);
            if len == 0 {
                len = 1;
                self.coded(*first);
            } else {
                if is_quoted && matches!(first, b'"' | b'\\') {
                    self.byte(b'\\');
                }
                self.put(rest.head(len));
            }
            rest = rest.tail(len);
        }
        self
    }

    /// The strings of a TXT record that say something.
    pub(super) fn texts(&mut self, txt: &[u8]) -> &mut Self {
        for (at, text) in strings(txt).enumerate() {
            self.put(if at == 0 { b"\"" } else { b" \"" })
                .put_safe(text, true)
                .byte(b'"');
        }
        self
    }

    /// A text in JSON. What is no UTF-8 counts as Latin-1.
    #[inline(never)]
    pub(super) fn quoted(&mut self, text: &[u8]) -> &mut Self {
        self.byte(b'"');
        let mut rest = text;
        while let Some(first) = rest.first() {
            let mut len = plain_letter(rest);
            if len == 0 {
                len = letter(rest).max(1);
                let behind = rest.head(len).tail(1);
                let high = u32::from(first & if len > 1 { 0xff >> len } else { 0xff });
                let number = behind
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
                self.put(rest.head(len));
            }
            rest = rest.tail(len);
        }
        self.byte(b'"')
    }
}

/// The strings of a TXT record that say something.
#[cfg(feature = "browse")]
pub(super) fn strings(txt: &[u8]) -> impl Iterator<Item = &[u8]> {
    crate::wire::txt::Strings(txt).filter(|text| !text.is_empty())
}

/// Bytes of the letter that a text begins with, if it is one that only stands there: neither a control character nor one that
/// turns the order of others round, breaks a line, or cannot be seen.
#[cfg(feature = "browse")]
#[inline(never)]
fn plain_letter(text: &[u8]) -> usize {
    let is_unseen = matches!(
        text,
        [0xe2, 0x80, 0x8b..=0x8f | 0xa8..=0xae, ..]
            | [0xe2, 0x81, 0xa0..=0xaf, ..]
            | [0xd8, 0x9c, ..]
            | [0xef, 0xbb, 0xbf, ..]
    );
    if is_unseen || is_control(text) {
        return 0;
    }
    letter(text)
}

#[cfg(all(test, feature = "browse"))]
mod tests {
    use super::*;

    fn text(write: impl Fn(&mut Out)) -> String {
        let mut out = Out::new();
        write(&mut out);
        String::from_utf8(out.bytes().to_vec()).unwrap()
    }

    /// What a terminal obeys, or what makes it show something else than what is there.
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
    fn nothing_reaches_a_terminal_that_it_might_obey() {
        for bytes in HOSTILE {
            for shown in [
                text(|out| _ = out.label(bytes)),
                text(|out| _ = out.safe(bytes)),
                text(|out| _ = out.quoted(bytes)),
                text(|out| _ = out.texts(&[&[bytes.len() as u8], bytes].concat())),
            ] {
                assert!(
                    shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn letters_of_all_scripts_are_themselves_in_texts() {
        let letters = "Größe ✓ 日本 😀";
        assert_eq!(text(|out| _ = out.safe(letters.as_bytes())), letters);
        assert_eq!(
            text(|out| _ = out.quoted(letters.as_bytes())),
            format!("\"{letters}\"")
        );
        assert_eq!(text(|out| _ = out.label("ö;".as_bytes())), r"\195\182\059");
        assert_eq!(text(|out| _ = out.safe(b"a\"\\\x01")), r#"a"\\001"#);
        let texts = text(|out| _ = out.texts(b"\x04a\"\\\x01"));
        assert_eq!(texts, r#""a\"\\\001""#);
        assert_eq!(text(|out| _ = out.safe("ö".as_bytes()).fill(0, 3)), "ö  ");
    }

    #[test]
    fn what_is_json_is_read_as_what_it_was() {
        for bytes in HOSTILE {
            let shown = text(|out| _ = out.quoted(bytes));
            let mut read = String::new();
            let mut rest = &shown[1..shown.len() - 1];
            while let Some(first) = rest.chars().next() {
                if let Some(coded) = rest.strip_prefix("\\u") {
                    let number = u32::from_str_radix(&coded[..4], 16).unwrap();
                    read.push(char::from_u32(number).unwrap());
                    rest = &coded[4..];
                } else {
                    read.push(first);
                    rest = &rest[first.len_utf8()..];
                }
            }
            match core::str::from_utf8(bytes) {
                Ok(text) => assert_eq!(read, text),
                // Latin-1, where it is no UTF-8.
                Err(_) => assert_eq!(
                    read,
                    bytes
                        .iter()
                        .map(|byte| char::from(*byte))
                        .collect::<String>()
                ),
            }
        }
        assert_eq!(text(|out| _ = out.quoted(b"a\"\\")), r#""a\"\\""#);
    }

    #[test]
    fn the_longest_text_has_room() {
        let bytes = [0x1b; crate::wire::dns::MESSAGE_BYTES_MAX];
        assert!(text(|out| _ = out.quoted(&bytes)).ends_with("\\u001b\""));
    }
}
