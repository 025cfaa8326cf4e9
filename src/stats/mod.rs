//! Figures of a server: calls, durations, bytes, connections, clients.
//!
//! A process counts in its *sheet*, words that it alone writes and that all processes of a server may read: a figure that only grows
//! does so over the restart of its process. A word is written without a locked instruction. The driver tells a [`Meter`] which
//! client it serves and since when; engines name the calls.

#![forbid(unsafe_code)]

#[allow(dead_code, reason = "an executable may count nothing")]
mod clients;
#[cfg(any(feature = "figures", test, fuzzing))]
pub mod forms;
#[allow(dead_code, reason = "an executable may count nothing")]
mod history;
#[cfg_attr(not(any(feature = "boot", test, fuzzing)), path = "no_machines.rs")]
mod machines;
#[cfg_attr(not(any(feature = "figures", test, fuzzing)), path = "no_meter.rs")]
mod meter;
mod names;
#[cfg(test)]
mod tests;

pub use clients::{CLIENT_COUNT_MAX, CLIENT_NONE, Client};
pub use machines::MACHINE_WORDS;
pub use meter::Meter;
pub use names::{Family, Figure, Operation};

use crate::mem::copy_into;
use core::sync::atomic::{AtomicU64, Ordering};
use names::{FIGURE_COUNT, OPERATION_COUNT, PROTOCOL_COUNT};

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// True if the program counts: `nfs` alone does not, because no role of it shows figures.
pub const IS_ON: bool = cfg!(any(feature = "figures", test, fuzzing));

/// The result of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The call was carried out.
    Done,
    /// The reply is an error.
    Failed,
}

impl Outcome {
    /// The outcome of a call whose reply is an error, or not.
    pub const fn of_error(is_error: bool) -> Self {
        if is_error { Self::Failed } else { Self::Done }
    }
}

/// Upper limits (µs) of the durations of calls in the buckets of a histogram; the last bucket has none.
pub const LIMITS_US: [u64; 10] = [
    10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000, 1_000_000, 10_000_000,
];
/// Buckets of a histogram.
pub const BUCKET_COUNT: usize = LIMITS_US.len() + 1;

/// Words of an operation: its buckets, the sum of the durations (µs), and the calls that were answered by an error.
const OPERATION_WORDS: usize = BUCKET_COUNT + 2;
const SUM: usize = BUCKET_COUNT;
const ERRORS: usize = BUCKET_COUNT + 1;

/// Words at the start of a sheet: PID, time of the start (seconds since 1970), number of starts, the role's name, the memory in use
/// (bytes) and, in the next word, the number of open descriptors; 0 where that is unknown.
const PID: usize = 0;
const STARTED: usize = 1;
const STARTS: usize = 2;
const ROLE: usize = 3;
const RESIDENT: usize = 4;
const FIGURES_AT: usize = 6;
const OPERATIONS_AT: usize = FIGURES_AT + PROTOCOL_COUNT * FIGURE_COUNT;
const HISTORY_AT: usize = OPERATIONS_AT + OPERATION_COUNT * OPERATION_WORDS;
const CLIENTS_AT: usize = HISTORY_AT + history::WORDS;

/// Number of words of a sheet with `client_count` clients.
pub const fn word_count(client_count: usize) -> usize {
    CLIENTS_AT + client_count * clients::WORDS
}

/// The figures of one process.
#[derive(Clone, Copy, Debug)]
pub struct Sheet(&'static [AtomicU64]);

impl Sheet {
    /// No figures.
    pub const NONE: Self = Self(&[]);

    /// The sheet in these words, [`word_count`] of them.
    pub const fn of(words: &'static [AtomicU64]) -> Self {
        Self(words)
    }

    fn word(self, at: usize) -> Option<&'static AtomicU64> {
        if IS_ON { self.0.get(at) } else { None }
    }

    fn read(self, at: usize) -> u64 {
        self.word(at).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Adds to a word that only this process writes.
    fn add(self, at: usize, count: u64) {
        if let Some(word) = self.word(at) {
            let sum = word.load(Ordering::Relaxed).wrapping_add(count);
            word.store(sum, Ordering::Relaxed);
        }
    }

    fn write(self, at: usize, value: u64) {
        if let Some(word) = self.word(at) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Records the start of a process whose figures follow. Those that tell a present state begin at 0. Of the name of its `role`,
    /// the first eight bytes are kept.
    pub fn begin(self, role: &str, pid: u32, wall_secs: i64) {
        let mut name = [0; 8];
        copy_into(&mut name, role.as_bytes());
        self.write(ROLE, u64::from_be_bytes(name));
        self.write(PID, pid.into());
        self.write(STARTED, wall_secs.unsigned_abs());
        self.add(STARTS, 1);
        self.measure([0; 2]);
        for protocol in Family::ALL {
            for figure in Figure::ALL {
                if figure.is_state() {
                    self.write(figure.at(protocol), 0);
                }
            }
        }
        self.forget_connections();
        self.forget_machines();
    }

    /// Records the memory in use (bytes) and the number of open descriptors.
    fn measure(self, sizes: [u64; 2]) {
        for (at, size) in (RESIDENT..).zip(sizes) {
            self.write(at, size);
        }
    }

    /// The process, 0: none has counted here yet.
    pub fn pid(self) -> u64 {
        self.read(PID)
    }

    /// The name of the role, filled up with zeros.
    pub fn role(self) -> [u8; 8] {
        self.read(ROLE).to_be_bytes()
    }

    /// Time at which the process was started (seconds since 1970).
    pub fn started(self) -> u64 {
        self.read(STARTED)
    }

    /// Number of times that the process was started again.
    pub fn restarts(self) -> u64 {
        self.read(STARTS).saturating_sub(1)
    }

    /// The value of a figure.
    pub fn figure(self, protocol: Family, figure: Figure) -> u64 {
        self.read(figure.at(protocol))
    }

    /// The calls of an operation: for each bucket, the sum of their durations (µs), and those answered by an error.
    pub fn calls(self, operation: Operation) -> ([u64; BUCKET_COUNT], u64, u64) {
        let at = operation.at();
        let buckets = core::array::from_fn(|bucket| self.read(at + bucket));
        (buckets, self.read(at + SUM), self.read(at + ERRORS))
    }
}
