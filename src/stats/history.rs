//! The work of the last minute: samples of a sheet's counters, taken when its loop runs. A loop that is idle has no work.

use super::{Family, Figure, HISTORY_AT, Operation, Sheet};

/// Interval of samples (seconds).
pub(super) const INTERVAL_SECS: u64 = 4;
/// Samples that are kept: of a minute, and the one before.
const SAMPLE_COUNT: usize = 16;
/// Words of a sample: the time (seconds of the monotonic clock), calls, and bytes received and sent.
const SAMPLE_WORDS: usize = 3;
pub(super) const WORDS: usize = SAMPLE_COUNT * SAMPLE_WORDS;

impl Sheet {
    /// The time, the calls, and the bytes received and sent.
    #[inline(never)] // Two callers.
    fn work(self, secs: u64) -> [u64; SAMPLE_WORDS] {
        let calls = Operation::all().map(|operation| self.calls(operation).0.iter().sum::<u64>());
        let moved = |figure| Family::ALL.map(|protocol| self.figure(protocol, figure));
        let bytes = [Figure::Received, Figure::Sent].map(|figure| moved(figure).iter().sum());
        [secs, calls.sum(), bytes.iter().sum()]
    }

    /// Keeps a sample.
    pub(super) fn sample(self, secs: u64) {
        let number = secs / INTERVAL_SECS % SAMPLE_COUNT as u64;
        let first = HISTORY_AT + number as usize * SAMPLE_WORDS;
        for (at, value) in (first..).zip(self.work(secs)) {
            self.write(at, value);
        }
    }

    /// The calls and the bytes of the last minute, per ten seconds.
    #[inline(never)] // Two callers.
    pub fn rates(self, secs: u64) -> [u64; 2] {
        const MINUTE: u64 = 60;
        let now = self.work(secs);
        let (mut oldest, mut has_older) = (now, false);
        for number in 0..SAMPLE_COUNT {
            let first = HISTORY_AT + number * SAMPLE_WORDS;
            let sample = core::array::from_fn(|word| self.read(first + word));
            match secs.saturating_sub(sample[0]) {
                _ if sample[0] == 0 => {}
                0..=64 => oldest = oldest.min(sample),
                _ => has_older = true,
            }
        }
        // Nothing was done between the samples before the minute and the first one in it.
        let age = secs - oldest[0];
        let span = if has_older {
            age.max(MINUTE)
        } else {
            age.max(1)
        };
        let rate = |word: usize| now[word].saturating_sub(oldest[word]) * 10 / span;
        [rate(1), rate(2)]
    }
}
