//! Chance that can be repeated: numbers that follow from a seed, and the seed in the message of whatever fails.

use std::env;

/// A generator of numbers that look random.
#[derive(Clone, Debug)]
pub struct Random(fastrand::Rng);

impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        // Of seeds that lie side by side, the first numbers are too much alike.
        random.seed(random.clone().u64(..) ^ seed);
        Self(random)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
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
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        bytes
    }
}

/// The seed that `STOWAWAY_SEED` names.
fn given() -> Option<u64> {
    let seed = env::var("STOWAWAY_SEED").ok()?;
    Some(seed.parse().expect("STOWAWAY_SEED is a number"))
}

/// The seed that `STOWAWAY_SEED` names, or always the same one. It is printed, so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = given().unwrap_or(20_261_120);
    eprintln!("seed {seed}; replay with STOWAWAY_SEED={seed}");
    seed
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
    let seeds = given().map_or(0..count, |seed| seed..seed + 1);
    for seed in seeds {
        let _replay = Replay(seed);
        case(seed);
    }
}
