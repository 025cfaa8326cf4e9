//! Repeatable random numbers: generated from a seed, which is printed when a test fails.

use std::env;

/// A pseudo-random number generator.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// Creates a generator. Generators with the same seed return the same numbers.
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Mixes the seed, because the first numbers of adjacent seeds would be too similar.
        random.seed(random.clone().u64(..) ^ seed);
        Self(random)
    }

    /// Returns a random number of 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Returns a random number below `end`; 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }

    /// Returns true with a probability of `percent` in 100.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Returns a random element of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Returns `len` random bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        bytes
    }
}

/// Returns the value of the environment variable `STOWAWAY_SEED`.
fn given() -> Option<u64> {
    let seed = env::var("STOWAWAY_SEED").ok()?;
    Some(seed.parse().expect("STOWAWAY_SEED is a number"))
}

/// The seed in `STOWAWAY_SEED`, or else a fixed one. Prints the seed, so that a failure can be replayed.
pub fn seed() -> u64 {
    let seed = given().unwrap_or(20_261_120);
    eprintln!("seed {seed}; replay with STOWAWAY_SEED={seed}");
    seed
}

/// Prints how to replay the seed if the thread panics before this is dropped.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("replay this case alone with STOWAWAY_SEED={}", self.0);
        }
    }
}

/// Runs `case` for the seeds 0 to `count` - 1 or, if `STOWAWAY_SEED` is set, for that seed alone.
pub fn for_seeds(count: u64, mut case: impl FnMut(u64)) {
    let seeds = given().map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let _replay = Replay(seed);
        case(seed);
    }
}
