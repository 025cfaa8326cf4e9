//! What people read, packed: a text takes a third of its bytes in the file, and one byte where it is used.
//!
//! A text is written where it is used, `text!("no such file")`, and once more in the [`catalogue`], from which the compiler
//! packs all of them. It refuses a text that is not there. The process unpacks them when it needs the first one.

#![forbid(unsafe_code)]

mod catalogue;
mod packing;
mod parts;

use crate::sys::heap::{self, Once};
use packing::Packed;
pub use parts::{Parts, parts, place_in};

/// The [`Text`] that reads so.
macro_rules! text {
    ($text:expr) => {
        const { $crate::text::Text::of($text) }
    };
}
pub(crate) use text;

/// A text of the catalogue: its number there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text(u8);

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
            Some(place) if place <= u8::MAX as usize => Self(place as u8),
            _ => panic!("a text is to be written into src/text/catalogue.rs, too"),
        }
    }

    /// The text so many places behind this one.
    pub const fn plus(self, count: u8) -> Self {
        Self(self.0.wrapping_add(count))
    }

    /// What distinguishes it from all others.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// As it reads.
    pub fn bytes(self) -> &'static [u8] {
        parts(unpacked(), 0).nth(self.0.into()).unwrap_or_default()
    }
}

const LETTER_COUNT: usize = catalogue::LETTER_COUNT;
// It takes the compiler about a second.
#[allow(long_running_const_eval)]
const PACKED: Packed<LETTER_COUNT> = Packed::new(&catalogue::letters::<LETTER_COUNT>().0);

/// All texts, NUL behind each, before they are packed and after they are unpacked.
fn unpacked() -> &'static [u8; LETTER_COUNT] {
    static PACKED_BYTES: [u8; PACKED.len] = *PACKED.bytes.first_chunk().unwrap();
    static ALL: Once<LETTER_COUNT> = Once::new();
    ALL.get(&|all| {
        if let Some(seen) = heap::bytes(size_of::<packing::Seen>())
            .as_chunks_mut()
            .0
            .first_chunk_mut()
        {
            packing::unpack(&PACKED_BYTES, all, seen);
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

#[cfg(any(test, fuzzing))]
impl core::fmt::Debug for Text {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.known().fmt(out)
    }
}

#[cfg(not(any(test, fuzzing)))]
impl core::fmt::Debug for Text {
    fn fmt(&self, out: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        out.debug_tuple("Text").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_unpacked_as_it_was_written() {
        let mut count = 0;
        for (number, text) in catalogue::all().enumerate() {
            let unpacked = Text(number as u8).bytes();
            assert_eq!(core::str::from_utf8(unpacked), Ok(text));
            count += 1;
        }
        assert!(count > 100 && text!("") == Text::NOTHING);
    }
}
