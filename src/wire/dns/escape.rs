//! Names in text form: labels separated by dots, with escapes after a backslash. RFC 1035 section 5.1.

use super::LABEL_BYTES_MAX;

/// Maximum length of a label as text (bytes): each byte may become a backslash and three digits.
pub const LABEL_TEXT_BYTES_MAX: usize = 4 * LABEL_BYTES_MAX;

/// Writes a label as avahi prints it, with `\032` for a space. Returns the length of the text. What does not fit is dropped.
pub fn escape(label: &[u8], buffer: &mut [u8]) -> usize {
    let mut len = 0usize;
    for byte in label {
        let [hundreds, tens, ones] = decimal(*byte);
        let coded = [b'\\', hundreds, tens, ones];
        let text = match byte {
            b'.' | b'\\' => &[b'\\', *byte],
            b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => core::slice::from_ref(byte),
            _ => &coded[..],
        };
        let end = len + text.len();
        let Some(place) = buffer.get_mut(len..end) else {
            break;
        };
        place.copy_from_slice(text);
        len = end;
    }
    len
}

/// The three digits of a number.
pub fn decimal(number: u8) -> [u8; 3] {
    [
        (number / 100) | b'0',
        (number / 10 % 10) | b'0',
        (number % 10) | b'0',
    ]
}

/// The first byte of a text, unescaped, and the rest. `None`: an invalid escape sequence.
pub fn byte(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = text.split_first()?;
    if *first != b'\\' {
        return Some((*first, rest));
    }
    let (next, tail) = rest.split_first()?;
    if !next.is_ascii_digit() {
        return Some((*next, tail));
    }
    let (digits, tail) = rest.split_first_chunk::<3>()?;
    let mut number = 0;
    for digit in digits {
        number = number * 10 + char::from(*digit).to_digit(10)?;
    }
    Some((u8::try_from(number).ok()?, tail))
}

/// Parses one label, up to a dot or the end, into `buffer`. Returns its length and the text after the dot. `None`: the label is
/// empty, too long or has an invalid escape sequence.
pub fn unescape<'a>(text: &'a [u8], buffer: &mut [u8]) -> Option<(usize, &'a [u8])> {
    let (mut len, mut rest) = (0usize, text);
    while let [first, tail @ ..] = rest {
        if *first == b'.' {
            rest = tail;
            break;
        }
        let (byte, tail) = byte(rest)?;
        *buffer.get_mut(..LABEL_BYTES_MAX)?.get_mut(len)? = byte;
        (len, rest) = (len + 1, tail);
    }
    (len != 0).then_some((len, rest))
}

/// Parses a name into `buffer`, in wire format without pointers. Returns its length. A trailing dot is ignored. `None`: a label is
/// invalid, or the name does not fit.
pub fn parse(text: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let (mut at, mut rest) = (0usize, text);
    while !rest.is_empty() {
        let mut label = [0; LABEL_BYTES_MAX];
        let (len, tail) = unescape(rest, &mut label)?;
        let (head, to) = buffer.get_mut(at..)?.split_first_mut()?;
        *head = len as u8;
        to.get_mut(..len)?.copy_from_slice(label.get(..len)?);
        (at, rest) = (at + 1 + len, tail);
    }
    *buffer.get_mut(at)? = 0;
    Some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(label: &[u8]) -> String {
        let mut buffer = [0; LABEL_TEXT_BYTES_MAX];
        let len = escape(label, &mut buffer);
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    fn read(text: &str) -> Option<Vec<u8>> {
        let mut buffer = [0; 256];
        parse(text.as_bytes(), &mut buffer).map(|len| buffer[..len].to_vec())
    }

    /// CVE-2015-7987: text beyond the buffer is not written.
    /// RFC 6763 section 4.3: "appropriate precautions MUST be taken to ensure that DNS label boundaries are properly preserved"
    #[test]
    fn escaped_labels_round_trip() {
        assert_eq!(text(b"my box"), r"my\032box");
        assert_eq!(text(b"a.b\\c"), r"a\.b\\c");
        assert_eq!(text("é_-9Z".as_bytes()), r"\195\169_-9Z");
        for byte in 0..=255 {
            let label = [byte; LABEL_BYTES_MAX];
            let text = text(&label);
            let mut buffer = [0; LABEL_BYTES_MAX];
            assert_eq!(unescape(text.as_bytes(), &mut buffer), Some((63, &b""[..])));
            assert_eq!(buffer, label);
        }
        // An escape sequence that does not fit is dropped as a whole.
        let mut buffer = [0; 6];
        assert_eq!(escape(b"ab c", &mut buffer), 6);
        assert_eq!(escape(b"abc d", &mut buffer), 3);
    }

    #[test]
    fn names_are_read_label_by_label() {
        assert_eq!(read("Box.local"), Some(b"\x03Box\x05local\0".to_vec()));
        assert_eq!(read("Box.local."), Some(b"\x03Box\x05local\0".to_vec()));
        assert_eq!(
            read(r"a\.b\032c.local"),
            Some(b"\x05a.b c\x05local\0".to_vec())
        );
        assert_eq!(read(""), Some(b"\0".to_vec()));
        assert_eq!(read("é"), Some("\u{2}é\0".as_bytes().to_vec()));
    }

    /// CVE-2021-3468, CVE-2021-3502, CVE-2023-38470, avahi #965: names that end in an escape, names with empty labels,
    /// and labels that exceed the limit once decoded.
    #[test]
    fn invalid_names_are_refused() {
        let long = "a".repeat(64);
        let coded = r"\097".repeat(64);
        let many = "a.".repeat(128);
        for text in [
            ".", ".a", "a..b", ".b.c", "a.b..", "..", r"a\", r"\", r"a.\", r"\1", r"\12", r"\256",
            r"\999", &long, &coded, &many,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let label = "a".repeat(63);
        assert!(read(&label).is_some() && read(&r"\097".repeat(63)).is_some());
        assert_eq!(read(&"a.".repeat(127)).map(|name| name.len()), Some(255));
    }
}
