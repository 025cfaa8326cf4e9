//! Damage to messages: bits, bytes, lengths, and parts of other messages.

use crate::random::Random;

/// Words that lie at an edge of something: of a protocol's limits, of numbers with and without a sign.
#[rustfmt::skip] // A table.
const EDGES: [u32; 43] = [
    0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 63, 64, 65, 255, 256, 257, 400, 401, 1024, 1025, 4095, 4096, 8192, 32_768, 65_536,
    65_537, 100_000, 100_003, 100_005, 261_120, 261_121, 262_144, 262_145, 1 << 20, (1 << 20) + 1,
    0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_fffd, 0xffff_fffe, 0xffff_ffff,
];

/// Damages `bytes` once. `other` is a message whose parts may get into this one; words lie at multiples of `align`.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], align: usize) {
    let at = random.below(bytes.len());
    let end = (at + random.below(40)).min(bytes.len());
    match random.below(12) {
        0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        5 => {
            let len = random.below(24);
            bytes.splice(at..at, random.bytes(len));
        }
        6 => {
            let from = random.below(other.len());
            let to = (from + random.below(60)).min(other.len());
            bytes.splice(at..end, other[from..to].iter().copied());
        }
        // The tempting values of a word, lengths above all.
        kind => {
            let len = bytes.len() as u32;
            let near = [len.saturating_sub(9), len.saturating_sub(4), len, len + 1];
            let value = match kind {
                7 => *random.pick(&near),
                8 => random.number() as u32,
                _ => *random.pick(&EDGES),
            };
            let at = at / align * align;
            if let Some(word) = bytes.get_mut(at..at + 4) {
                word.copy_from_slice(&value.to_be_bytes());
            }
        }
    }
}

/// A copy that is damaged once, twice or three times.
pub fn mutated(random: &mut Random, message: &[u8], align: usize) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..1 + random.below(3) {
        mutate(random, &mut bytes, message, align);
    }
    bytes
}
