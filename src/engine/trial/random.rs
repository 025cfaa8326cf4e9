//! Numbers that look random and follow from a seed, and the seed in the message of whatever fails.

/// A xorshift generator.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds that lie side by side give sequences that do not.
    pub fn new(seed: u64) -> Self {
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        Self((mixed ^ (mixed >> 27)) | 1)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() >> 16) as usize % end.max(1)
    }

    /// One of `list`.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Says how to repeat what fails while it lives.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this alone again: STOWAWAY_SEED={}", self.0);
        }
    }
}

/// Runs `case` for `count` seeds, or, where `STOWAWAY_SEED` is set, for that one.
pub fn for_seeds(count: u64, mut case: impl FnMut(u64)) {
    let seeds = match std::env::var("STOWAWAY_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().expect("STOWAWAY_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..count,
    };
    for seed in seeds {
        let replay = Replay(seed);
        case(seed);
        drop(replay);
    }
}
