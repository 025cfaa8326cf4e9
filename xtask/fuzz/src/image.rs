//! The target `iso`: reads a mutated ISO image.

use stowaway::vfs::iso::testing::{FIRST, explore, sample};

/// Reads everything in an image with changed bytes. Three bytes of the input change one: two are its offset, one is its value.
pub fn inside(input: &[u8]) {
    let mut bytes = sample().0;
    let count = bytes.len() - FIRST;
    for change in input.as_chunks().0 {
        let [low, high, value] = *change;
        bytes[FIRST + usize::from(u16::from_le_bytes([low, high])) % count] = value;
    }
    explore(&bytes);
}
