//! What the target `iso` does with an input.

use stowaway::vfs::iso::testing::{FIRST, explore, sample};

/// Looks at all that is inside an image of which some bytes are others: two bytes of the input say which, one what it is.
pub fn inside(input: &[u8]) {
    let mut bytes = sample().0;
    let count = bytes.len() - FIRST;
    for change in input.as_chunks().0 {
        let [low, high, value] = *change;
        bytes[FIRST + usize::from(u16::from_le_bytes([low, high])) % count] = value;
    }
    explore(&bytes);
}
