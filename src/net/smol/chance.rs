//! Random numbers for delays and identifiers, different on each host and at each start; not for secrets.

/// Marsaglia's xorshift of 64 bits.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// Creates a generator.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// Returns the next random number.
    #[inline(never)] // −254 bytes: eight callers.
    pub(super) const fn number(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }
}
