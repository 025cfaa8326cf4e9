//! Random numbers that cannot be derived from earlier ones: IDs of questions, and the sockets that send them.

use sha2::block_api::compress256;

/// SHA-256 of a secret and a counter.
#[derive(Debug)]
pub(super) struct Chance {
    block: [u8; 64],
    count: u32,
}

impl Chance {
    /// Numbers from 16 random bytes.
    pub(super) fn new(seed: [u8; 16]) -> Self {
        let mut block = [0; 64];
        crate::mem::copy_into(&mut block, &seed);
        Self { block, count: 0 }
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u32 {
        self.count = self.count.wrapping_add(1);
        let [.., a, b, c, d] = &mut self.block;
        [*a, *b, *c, *d] = self.count.to_be_bytes();
        // The block is shorter than a message and has no padding, so any start value serves.
        let mut words = [0x6a09_e667; 8];
        compress256(&mut words, &[self.block]);
        let [first, ..] = words;
        first
    }
}
