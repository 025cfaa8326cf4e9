//! UTF-8 of untrusted texts: characters, and which of them a terminal, a log or a label can have as they are.

use super::Ends as _;

/// True if a role prints names of files for people, in a command or a page.
pub const HAS_UTF8: bool = cfg!(any(feature = "utf8", test, fuzzing));

/// The first character of `text` and its length (bytes). `None` if `text` is empty or does not begin with valid UTF-8.
fn decode(text: &[u8]) -> Option<(usize, char)> {
    let (first, rest) = text.split_first()?;
    let (more, least) = match first {
        ..=0x7f => (0_usize, 0),
        0xc2..=0xdf => (1, 0x80),
        0xe0..=0xef => (2, 0x800),
        0xf0..=0xf4 => (3, 0x1_0000),
        _ => return None,
    };
    let mut number = u32::from(*first) & (0x7f >> more);
    for at in 0..more {
        let byte = rest.get(at).filter(|byte| **byte & 0xc0 == 0x80)?;
        number = number << 6 | u32::from(byte & 0x3f);
    }
    let letter = char::from_u32(number).filter(|_| number >= least)?;
    Some((1 + more, letter))
}

/// Length of the first character of `text` (bytes); 0 if `text` is empty or does not begin with valid UTF-8.
pub fn letter(text: &[u8]) -> usize {
    decode(text).map_or(0, |(len, _)| len)
}

/// Returns true if `text` is UTF-8.
pub fn is_utf8(mut text: &[u8]) -> bool {
    let mut len = letter(text);
    while len > 0 {
        text = text.tail(len);
        len = letter(text);
    }
    text.is_empty()
}

/// Returns true if the first character of `text` is a control character.
pub const fn is_control(text: &[u8]) -> bool {
    matches!(text, [..0x20 | 0x7f, ..] | [0xc2, 0x80..0xa0, ..])
}

/// Returns the length (bytes) of the first UTF-8 character of a text if it can be printed unchanged. 0: invalid UTF-8, a control
/// character, or an invisible, line-breaking or direction-changing (bidi) character. The joiners of Persian and of emojis are no
/// danger. The log of an `sftp-server` alone is that of OpenSSH's, which has printable ASCII only.
pub fn printable(text: &[u8]) -> usize {
    if !HAS_UTF8 {
        return matches!(text, [b' '..=b'~', ..]).into();
    }
    match decode(text) {
        None
        | Some((
            _,
            ..'\x20'
            | '\x7f'..'\u{a0}'
            | '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}',
        )) => 0,
        Some((len, _)) => len,
    }
}

/// Splits a text into characters that can be printed, each with true, and single other bytes.
pub const fn letters(text: &[u8]) -> Letters<'_> {
    Letters(text)
}

/// Iterator of [`letters`].
#[derive(Debug)]
pub struct Letters<'a>(&'a [u8]);

impl<'a> Iterator for Letters<'a> {
    type Item = (&'a [u8], bool);

    #[cfg_attr(feature = "nfs", inline(never))]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0;
        let len = printable(text);
        self.0 = text.tail(len.max(1));
        (!text.is_empty()).then(|| (text.head(len.max(1)), len > 0))
    }
}
