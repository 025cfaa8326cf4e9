//! The targets `iso` and `udf`: read a mutated image.

use stowaway::vfs::iso::testing::{FIRST, explore, sample};
use stowaway::vfs::udf::testing as udf;

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

/// Reads everything in a UDF image with changed bytes. The first byte selects the kind of volume; then three bytes change one, as
/// above. Checksums are corrected, because few changes would be read otherwise.
pub fn inside_udf(input: &[u8]) {
    let Some((kind, changes)) = input.split_first() else {
        return;
    };
    let image = udf::sample(udf::KINDS[usize::from(*kind) % udf::KINDS.len()]).bytes;
    let blocks = image.chunks_exact(udf::BLOCK).enumerate();
    // Blocks that contain something.
    let used: Vec<_> = blocks
        .filter(|(_, block)| block.iter().any(|byte| *byte != 0))
        .collect();
    let changes = changes.as_chunks().0.iter().map(|[low, high, value]| {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (used.len() * udf::BLOCK);
        let (block, _) = used[at / udf::BLOCK];
        (block * udf::BLOCK + at % udf::BLOCK, *value)
    });
    udf::explore(&udf::changed(&image, &changes.collect::<Vec<_>>()));
}
