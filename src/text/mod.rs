//! What people read, packed: a text takes a third of its bytes in the file, and a number where it is used.
//!
//! A text is written where it is used, `text!("no such file")`, and once more in the `catalogue`, from which the compiler
//! packs all of them. It refuses a text that is not there. The process unpacks them when it needs the first one.

#![forbid(unsafe_code)]

mod catalogue;
mod packing;

use crate::mem::{self, Made, nth};
use core::num::NonZeroU32;
use packing::Packed;

/// The [`Text`] that reads so.
macro_rules! text {
    ($text:expr) => {
        const { $crate::text::Text::of($text) }
    };
}
pub(crate) use text;

/// The number of a text. Only with all roles there are more than a byte can tell.
#[cfg(all(feature = "nfs", feature = "mdns"))]
type Number = u16;
#[cfg(not(all(feature = "nfs", feature = "mdns")))]
type Number = u8;

/// A text of the catalogue: its number there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text(Number);

impl Text {
    /// The empty one.
    pub const NOTHING: Self = Self(0);

    /// The text that reads so. The compiler asks, and nobody else.
    pub const fn of(text: &str) -> Self {
        Self::row(&[text])
    }

    /// The first of texts that stand in the catalogue one behind the other, for [`Text::plus`].
    #[track_caller]
    pub const fn row(texts: &[&str]) -> Self {
        match catalogue::find(texts) {
            Some(place) if place <= Number::MAX as usize => Self(place as Number),
            Some(_) => panic!("there are more texts than there are numbers"),
            None => panic!("a text is to be written into src/text/catalogue.rs, too"),
        }
    }

    /// The text so many places behind this one.
    pub const fn plus(self, count: u8) -> Self {
        Self(self.0.wrapping_add(count as Number))
    }

    /// As it reads.
    #[inline(never)]
    pub fn bytes(self) -> &'static [u8] {
        let number = self.0.into();
        nth(unpacked(number), 0, number)
    }
}

/// Letters of all texts.
const LETTER_COUNT: usize = catalogue::letter_count(usize::MAX);
/// Letters of those texts that make no one wait for the others.
const FIRST_LETTER_COUNT: usize = catalogue::letter_count(catalogue::FIRST_COUNT);

// It takes the compiler about a second.
#[allow(long_running_const_eval)]
const PACKED: Packed<LETTER_COUNT> = Packed::new(&catalogue::letters::<LETTER_COUNT>());

/// The texts, NUL behind each, at least up to that of this number.
fn unpacked(number: usize) -> &'static [u8] {
    static PACKED_BYTES: [u8; PACKED.len] = *PACKED.bytes.first_chunk().unwrap();
    static TEXTS: Made = Made::new();
    let count = if number < catalogue::FIRST_COUNT {
        const { NonZeroU32::new(FIRST_LETTER_COUNT as u32).unwrap() }
    } else {
        const { NonZeroU32::new(LETTER_COUNT as u32).unwrap() }
    };
    TEXTS.get(count, |texts| {
        if let Some(seen) = mem::bytes(size_of::<packing::Seen>())
            .as_chunks_mut()
            .0
            .first_chunk_mut()
        {
            packing::unpack(&PACKED_BYTES, texts, seen);
        }
    })
}

/// Tests compare texts with what they should read.
#[cfg(any(test, fuzzing))]
impl Text {
    /// As it is written in the catalogue.
    pub fn known(self) -> &'static str {
        catalogue::all().nth(self.0.into()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_unpacked_as_it_was_written() {
        let mut count = 0;
        for (number, text) in catalogue::all().enumerate() {
            let unpacked = Text(number as Number).bytes();
            assert_eq!(core::str::from_utf8(unpacked), Ok(text));
            count += 1;
        }
        assert!(count > 100 && text!("") == Text::NOTHING);
    }
}
