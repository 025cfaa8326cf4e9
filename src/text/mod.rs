//! What people read, packed: a text takes less than half of its bytes in the file, and a number where it is used.
//!
//! A text stands where it is used, `text!("no such file")`, and nowhere else: the build collects all of them from the source and
//! packs them by a static dictionary (linker/pack.rs), so that each is decoded by itself, into a buffer of the caller.

#![forbid(unsafe_code)]

mod packed {
    include!(concat!(env!("OUT_DIR"), "/texts.rs"));
}

use crate::mem::Ends as _;
use packed::{COUNTS, END, LETTERS, PAIR_BITS, PLACE_EVERY, PLACES, TEXTS};

/// The [`Text`] that reads so.
macro_rules! text {
    ($text:expr) => {
        const { $crate::text::Text::row(&[$text]) }
    };
}
pub(crate) use text;

/// An enum, each of whose values has a text; or a function that has one for each value of another enum, in its order.
///
/// ```ignore
/// texts! {
///     /// Why a connection ends.
///     pub(super) enum CloseReason {
///         /// The file of a READ is shorter than it was.
///         Short => "a file became shorter while it was read",
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
            /// What a person reads.
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
            // All values, and in this order.
            match of {
                $($of::$value => const { assert!($of::$value as u8 == Row::$value as u8) }),+
            }
            const { $crate::text::Text::row(&[$($text),+]) }.plus(of as u8)
        }
    };
}
pub(crate) use texts;

/// The number of a text. Only with all roles there are more than a byte can tell.
#[cfg(all(feature = "nfs", feature = "mdns"))]
type Number = u16;
#[cfg(not(all(feature = "nfs", feature = "mdns")))]
type Number = u8;

/// A text: its number among all of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text(Number);

impl Text {
    /// The empty one.
    pub const NOTHING: Self = Self(0);

    /// The first of texts that the build found in one row. The compiler asks, and nobody else. Of what is left out of this file
    /// nothing is ever told.
    #[expect(clippy::indexing_slicing, reason = "done by the compiler")]
    pub const fn row(texts: &[&str]) -> Self {
        let mut first = 0;
        while first + texts.len() <= TEXTS.len() {
            let mut same = 0;
            while same < texts.len() && equal(TEXTS[first + same], texts[same]) {
                same += 1;
            }
            if same == texts.len() {
                assert!(first <= Number::MAX as usize);
                return Self(first as Number);
            }
            first += 1;
        }
        let mut absent = 0;
        while absent < packed::ABSENT.len() {
            if equal(packed::ABSENT[absent], texts[0]) {
                return Self::NOTHING;
            }
            absent += 1;
        }
        panic!("the build did not find this text: see linker/texts.rs")
    }

    /// The text so many places behind this one in its row.
    pub const fn plus(self, count: u8) -> Self {
        Self(self.0 + count as Number)
    }

    /// Writes it to the beginning of `buffer`; what was written. What does not fit is cut.
    #[inline(never)]
    pub fn decode(self, buffer: &mut [u8]) -> &mut [u8] {
        static EVERY: [u32; PLACES.len()] = PLACES;
        let mut passed = usize::from(self.0) % PLACE_EVERY;
        let place = EVERY.get(usize::from(self.0) / PLACE_EVERY);
        let (mut at, mut len) = (place.copied().unwrap_or_default(), 0);
        loop {
            match next(&mut at) {
                END if passed == 0 => return buffer.head_mut(len),
                END => passed -= 1,
                symbol if passed == 0 => spell(symbol, buffer, &mut len),
                _ => {}
            }
        }
    }
}

/// Takes the next symbol of a text: a letter or, by a number behind those of all letters, a pair.
fn next(at: &mut u32) -> usize {
    // In a canonical code, those of one length follow each other.
    let (mut code, mut symbols) = (0, [0, LETTERS.len()]);
    static LENGTHS: [[u16; 2]; COUNTS.len()] = COUNTS;
    for counts in &LENGTHS {
        code = code * 2 + bits(*at, 1);
        *at += 1;
        for (symbol, count) in symbols.iter_mut().zip(counts) {
            *symbol += code;
            let count = usize::from(*count);
            let Some(behind) = code.checked_sub(count) else {
                return *symbol;
            };
            *symbol = *symbol - code + count;
            code = behind;
        }
    }
    END
}

/// Writes the letters of a symbol.
#[inline(never)]
fn spell(symbol: usize, buffer: &mut [u8], len: &mut usize) {
    static LETTER: [u8; LETTERS.len()] = LETTERS;
    let Some(pair) = symbol.checked_sub(LETTERS.len()) else {
        if let (Some(place), Some(letter)) = (buffer.get_mut(*len), LETTER.get(symbol)) {
            *place = *letter;
            *len += 1;
        }
        return;
    };
    let at = pair as u32 * 2 * PAIR_BITS;
    spell(bits(at, PAIR_BITS), buffer, len);
    spell(bits(at + PAIR_BITS, PAIR_BITS), buffer, len);
}

/// Some bits, at most 25, from the bit `at` on: first those of all pairs, then those of all texts.
#[inline(never)]
fn bits(at: u32, count: u32) -> usize {
    static BITS: [u8; packed::BITS.len()] = packed::BITS;
    let four = BITS.tail((at / 8) as usize).first_chunk();
    let four = u32::from_be_bytes(four.copied().unwrap_or_default());
    (four << (at % 8) >> (u32::BITS - count)) as usize
}

#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
const fn equal(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Tests compare texts with what they should read.
#[cfg(any(test, fuzzing))]
impl Text {
    /// As it stands in the source.
    pub fn known(self) -> &'static str {
        TEXTS[usize::from(self.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_decoded_as_it_was_written() {
        let mut buffer = [0; 4096];
        for (number, text) in TEXTS.iter().enumerate() {
            let decoded = Text(number as Number).decode(&mut buffer);
            assert_eq!(decoded, text.as_bytes());
        }
        assert!(TEXTS.len() > 100 && text!("") == Text::NOTHING);
        // What does not fit is cut.
        assert_eq!(text!("stopping").decode(&mut [0; 4]), b"stop");
    }
}
