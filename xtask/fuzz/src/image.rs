//! The targets `iso` and `udf`: read a mutated image.

use std::sync::LazyLock;

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

/// The sample of a kind of volume, and the blocks of it that contain something.
struct Sample {
    bytes: Vec<u8>,
    used: Vec<usize>,
}

/// A sample of each kind of volume.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let sample = |kind| {
        let bytes = udf::sample(kind).bytes;
        let blocks = bytes.chunks_exact(udf::BLOCK).enumerate();
        let used = blocks.filter(|(_, block)| block.iter().any(|byte| *byte != 0));
        let used = used.map(|(number, _)| number).collect();
        Sample { bytes, used }
    };
    udf::KINDS.into_iter().map(sample).collect()
});

/// Reads everything in a UDF image with changed bytes. The first byte selects the kind of volume; then three bytes change one, as
/// above. Checksums are corrected, because few changes would be read otherwise.
pub fn inside_udf(input: &[u8]) {
    let Some((kind, changes)) = input.split_first() else {
        return;
    };
    let Sample { bytes, used } = &SAMPLES[usize::from(*kind) % SAMPLES.len()];
    let changes = changes.as_chunks().0.iter().map(|[low, high, value]| {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (used.len() * udf::BLOCK);
        (used[at / udf::BLOCK] * udf::BLOCK + at % udf::BLOCK, *value)
    });
    udf::explore(&udf::changed(bytes, &changes.collect::<Vec<_>>()));
}
