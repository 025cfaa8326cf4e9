//! UTF-8 of untrusted texts: characters, and which of them a terminal, a log or a label can have as they are.

use super::Ends as _;

/// Length of the first character of `text` (bytes); 0 if `text` is empty or does not begin with valid UTF-8.
pub fn letter(text: &[u8]) -> usize {
    let [first, rest @ ..] = text else {
        return 0;
    };
    let (more, least) = match first {
        ..=0x7f => return 1,
        0xc2..=0xdf => (1, 0x80),
        0xe0..=0xef => (2, 0x800),
        0xf0..=0xf4 => (3, 0x1_0000),
        _ => return 0,
    };
    let mut number = u32::from(*first) & (0x3f_u32 >> more);
    let mut len = 1_usize;
    for byte in rest.iter().take(more as usize) {
        if byte & 0xc0 != 0x80 {
            return 0;
        }
        number = number << 6 | u32::from(byte & 0x3f);
        len += 1;
    }
    if len <= more as usize || number < least || char::from_u32(number).is_none() {
        return 0;
    }
    len
}

/// Returns true if the first character of `text` is a control character.
pub const fn is_control(text: &[u8]) -> bool {
    matches!(text, [..0x20 | 0x7f, ..] | [0xc2, 0x80..0xa0, ..])
}

/// Returns the length (bytes) of the first UTF-8 character of a text if it can be printed unchanged. 0: invalid UTF-8, a control
/// character, or an invisible, line-breaking or direction-changing (bidi) character. The joiners of Persian and of emojis are no
/// danger.
pub fn printable(text: &[u8]) -> usize {
    let is_unseen = matches!(
        text,
        [0xe2, 0x80, 0x8b | 0x8e | 0x8f | 0xa8..=0xae, ..]
            | [0xe2, 0x81, 0xa0..=0xaf, ..]
            | [0xd8, 0x9c, ..]
            | [0xef, 0xbb, 0xbf, ..]
    );
    if is_unseen || is_control(text) {
        return 0;
    }
    letter(text)
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

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0;
        let len = printable(text);
        self.0 = text.tail(len.max(1));
        (!text.is_empty()).then(|| (text.head(len.max(1)), len > 0))
    }
}
