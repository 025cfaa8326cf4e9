//! Compressed messages: a text takes less than half of its length in the binary. Code that uses a text contains only its number.
//!
//! A text is written where it is used: `text!("no such file")`. The build collects all texts from the source and compresses them
//! with a static dictionary (linker/pack.rs). Each text is decoded on its own, into a buffer of the caller.

#![forbid(unsafe_code)]

mod packed {
    include!(concat!(env!("OUT_DIR"), "/texts.rs"));
}

use crate::mem::Ends as _;
use packed::{COUNTS, END, LETTERS, Number, PAIR_BITS, PLACE_EVERY, PLACES, SORTED, TEXTS};

/// Makes the [`Text`] of a string constant.
macro_rules! text {
    ($text:expr) => {
        const { $crate::text::Text::row(&[$text]) }
    };
}
pub(crate) use text;

/// Defines an enum with a text for each value, or a function that returns a text for each value of an existing enum, in its order.
///
/// ```ignore
/// texts! {
///     /// Why a connection ends.
///     pub(super) enum CloseReason {
///         /// The file of a READ is shorter than it was.
///         Short => "a file was truncated during a read",
///     }
/// }
/// ```
macro_rules! texts {
    ($(#[$of_all:meta])* $scope:vis enum $name:ident {
        $($(#[doc = $doc:literal])* $(#[cfg($when:meta)])? $value:ident => $text:expr),+ $(,)?
    }) => {
        $(#[$of_all])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        $scope enum $name {
            $($(#[doc = $doc])* $(#[cfg($when)])? $value),+
        }

        impl $name {
            /// Returns the text of this value.
            $scope fn text(self) -> $crate::text::Text {
                const FIRST: $crate::text::Text =
                    $crate::text::Text::row(&[$($(#[cfg($when)])? $text),+]);
                match self {
                    $($(#[cfg($when)])? Self::$value if const { $text.is_empty() } => {
                        $crate::text::Text::NOTHING
                    })+
                    _ => FIRST.plus(self as u8),
                }
            }
        }
    };
    ($(#[$of_all:meta])* $scope:vis fn $name:ident($of:ident) {
        $($value:ident => $text:expr),+ $(,)?
    }) => {
        $(#[$of_all])*
        $scope const fn $name(of: $of) -> $crate::text::Text {
            enum Row { $($value),+ }
            // The rows must have the order of the enum.
            match of {
                $($of::$value => const { assert!($of::$value as u8 == Row::$value as u8) }),+
            }
            const { $crate::text::Text::row(&[$($text),+]) }.plus(of as u8)
        }
    };
}
pub(crate) use texts;

/// A compressed text, identified by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text(Number);

impl Text {
    /// The empty text.
    pub const NOTHING: Self = Self(0);

    /// Returns the first of several texts, which have consecutive numbers. Evaluated at compile time only. A text of code that
    /// the features leave out becomes [`Self::NOTHING`].
    ///
    /// Searches by halves: the compiler takes 20 ms to compare a text with all others, and there are 800 searches.
    #[expect(clippy::indexing_slicing, reason = "done by the compiler")]
    pub const fn row(texts: &[&str]) -> Self {
        let [head, ..] = texts else {
            return Self::NOTHING;
        };
        let (mut at, mut end) = (0, SORTED.len());
        while at < end {
            let middle = usize::midpoint(at, end);
            if is_before(SORTED[middle].0, head) {
                at = middle + 1;
            } else {
                end = middle;
            }
        }
        // Rows that begin with the same text.
        while at < SORTED.len() && equal(SORTED[at].0, head) {
            let first = SORTED[at].1;
            let mut same = 1;
            while same < texts.len()
                && first + same < TEXTS.len()
                && equal(TEXTS[first + same], texts[same])
            {
                same += 1;
            }
            if same == texts.len() {
                assert!(first <= Number::MAX as usize);
                return Self(first as Number);
            }
            at += 1;
        }
        let mut absent = 0;
        while absent < packed::ABSENT.len() {
            if equal(packed::ABSENT[absent], head) {
                return Self::NOTHING;
            }
            absent += 1;
        }
        panic!("the build did not find this text: see linker/texts.rs")
    }

    /// Returns the text whose number is `count` higher; both must be in one row of [`Self::row`].
    pub const fn plus(self, count: u8) -> Self {
        Self(self.0 + count as Number)
    }

    /// Decodes the text to the start of `buffer`, cut at its end, and returns the decoded part.
    pub fn decode(self, buffer: &mut [u8]) -> &mut [u8] {
        static EVERY: [u32; PLACES.len()] = PLACES;
        let mut passed = usize::from(self.0) % PLACE_EVERY;
        let place = EVERY.get(usize::from(self.0) / PLACE_EVERY);
        let (mut bit, mut len) = (place.copied().unwrap_or_default(), 0);
        loop {
            match next_symbol(&mut bit) {
                END if passed == 0 => return buffer.head_mut(len),
                END => passed -= 1,
                symbol if passed == 0 => put_symbol(symbol, buffer, &mut len),
                _ => {}
            }
        }
    }
}

/// Decodes the symbol at bit offset `bit` and advances it. A symbol below `LETTERS.len()` is a letter; any other is
/// a pair of symbols, which `put_symbol` expands.
fn next_symbol(bit: &mut u32) -> usize {
    // A canonical Huffman code: the codes of one length are consecutive numbers.
    let (mut code, mut symbols) = (0, [0, LETTERS.len()]);
    static LENGTHS: [[u16; 2]; COUNTS.len()] = COUNTS;
    for counts in &LENGTHS {
        code = code * 2 + bits(*bit, 1);
        *bit += 1;
        for (symbol, count) in symbols.iter_mut().zip(counts) {
            *symbol += code;
            let count = usize::from(*count);
            let Some(excess) = code.checked_sub(count) else {
                return *symbol;
            };
            *symbol = *symbol - code + count;
            code = excess;
        }
    }
    END
}

/// Appends the letters of a symbol to `buffer`. Symbol `LETTERS.len()` + N is entry N of the table of pairs: two symbols, each of
/// them a letter or another entry.
fn put_symbol(symbol: usize, buffer: &mut [u8], len: &mut usize) {
    static LETTER: [u8; LETTERS.len()] = LETTERS;
    let Some(pair) = symbol.checked_sub(LETTERS.len()) else {
        if let (Some(free), Some(letter)) = (buffer.get_mut(*len), LETTER.get(symbol)) {
            *free = *letter;
            *len += 1;
        }
        return;
    };
    let offset = pair as u32 * 2 * PAIR_BITS;
    put_symbol(bits(offset, PAIR_BITS), buffer, len);
    put_symbol(bits(offset + PAIR_BITS, PAIR_BITS), buffer, len);
}

/// Returns `count` bits, at most 25, at bit `offset` of the packed data: the table of pairs, then the codes of all texts.
#[inline(never)] // −27 bytes: three callers.
fn bits(offset: u32, count: u32) -> usize {
    let four = packed::BITS.tail((offset / 8) as usize).first_chunk();
    let four = u32::from_be_bytes(four.copied().unwrap_or_default());
    (four << (offset % 8) >> (u32::BITS - count)) as usize
}

/// Returns true if `left` is before `right` in the order of [`SORTED`].
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn is_before(left: &str, right: &str) -> bool {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut index = 0;
    while index < left.len() && index < right.len() && left[index] == right[index] {
        index += 1;
    }
    index < right.len() && (index == left.len() || left[index] < right[index])
}

const fn equal(left: &str, right: &str) -> bool {
    left.len() == right.len() && !is_before(left, right) && !is_before(right, left)
}

#[cfg(any(test, fuzzing))]
impl Text {
    /// Returns the text as written in the source, for tests.
    pub fn known(self) -> &'static str {
        TEXTS[usize::from(self.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_decodes_to_its_source() {
        let mut buffer = [0; 16 << 10];
        for (number, text) in TEXTS.iter().enumerate() {
            let decoded = Text(number as Number).decode(&mut buffer);
            assert_eq!(decoded, text.as_bytes());
        }
        assert!(TEXTS.len() > 100 && text!("") == Text::NOTHING);
        // A text longer than the buffer is cut.
        assert_eq!(text!("stopping").decode(&mut [0; 4]), b"stop");
    }
}
