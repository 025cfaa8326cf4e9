//! Chance that can be repeated: a small generator, and the seed that a test prints.

/// SplitMix64: small, seeded, good enough.
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`; 0 when there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.word() % limit.max(1) as u64) as usize
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.word().to_le_bytes())
            .flatten()
            .take(len)
            .collect()
    }
}

/// The seed that STOWAWAY_SEED names, or always the same one. It is printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let given = std::env::var("STOWAWAY_SEED")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = given.unwrap_or(20_261_120);
    eprintln!("seed {seed}; replay with STOWAWAY_SEED={seed}");
    seed
}
