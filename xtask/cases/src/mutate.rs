//! Mutates messages: flips bits, inserts, removes and repeats bytes, overwrites lengths, inserts parts of other messages.

use crate::random::Random;

/// Boundary values for words that are overwritten: around the protocols' limits, and the limits of signed and unsigned numbers.
#[rustfmt::skip] // A table.
const EDGES: [u32; 43] = [
    0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 63, 64, 65, 255, 256, 257, 400, 401, 1024, 1025, 4095, 4096, 8192, 32_768, 65_536,
    65_537, 100_000, 100_003, 100_005, 261_120, 261_121, 262_144, 262_145, 1 << 20, (1 << 20) + 1,
    0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffc, 0xffff_fffd, 0xffff_fffe, 0xffff_ffff,
];

/// Mutates `bytes` once. May insert parts of the message `other`. Words that are overwritten begin at multiples of `align`.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], align: usize) {
    let start = random.below(bytes.len());
    let end = (start + random.below(40)).min(bytes.len());
    match random.below(12) {
        0 | 1 if !bytes.is_empty() => bytes[start] ^= 1 << random.below(8),
        2 => bytes.truncate(start),
        3 => drop(bytes.drain(start..end)),
        4 => {
            let repeated = bytes[start..end].to_vec();
            bytes.splice(start..start, repeated);
        }
        5 => {
            let len = random.below(24);
            bytes.splice(start..start, random.bytes(len));
        }
        6 => {
            let from = random.below(other.len());
            let to = (from + random.below(60)).min(other.len());
            bytes.splice(start..end, other[from..to].iter().copied());
        }
        // Overwrites a word: with the message's length or a value close to it, a random value, or a boundary value.
        kind => {
            let len = bytes.len() as u32;
            let near = [len.saturating_sub(9), len.saturating_sub(4), len, len + 1];
            let value = match kind {
                7 => *random.pick(&near),
                8 => random.number() as u32,
                _ => *random.pick(&EDGES),
            };
            let start = start / align * align;
            if let Some(word) = bytes.get_mut(start..start + 4) {
                word.copy_from_slice(&value.to_be_bytes());
            }
        }
    }
}

/// Returns a copy of `message` with one to three mutations. See [`mutate`] for `align`.
pub fn mutated(random: &mut Random, message: &[u8], align: usize) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..1 + random.below(3) {
        mutate(random, &mut bytes, message, align);
    }
    bytes
}
