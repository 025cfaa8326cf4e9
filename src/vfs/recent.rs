//! The last changes that servers of the same files have made, for the attribute change of NFS 4.
//!
//! Before Linux 6.13 two changes of a file within one tick of the kernel's clock leave the same ctime, and user space cannot read
//! the kernel's own counter. The number of the server's last change of a file is added to its ctime.

use super::Handle;
use super::handle::changed_part;
use crate::mem::fx_words;
use core::sync::atomic::{AtomicU32, Ordering};

/// Entries in one set. A file is in the set that its hash selects, in the place of the one that was changed longest ago.
const WAY_COUNT: usize = 4;
const SET_BITS: u32 = 6;
/// The words: the number of changes, then for each entry the hash of a file, never 0, and the number of its last change.
const ENTRY_WORDS: usize = 2;
/// Number of words of [`Recent`].
pub const WORD_COUNT: usize = 1 + (WAY_COUNT << SET_BITS) * ENTRY_WORDS;
/// Largest sum that is added to a ctime (nanoseconds): less than a tick of any kernel.
const SUM_MASK: u32 = (1 << 19) - 1;

/// The changes, in [`WORD_COUNT`] words that servers share; without words, nothing is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recent(pub &'static [AtomicU32]);

/// An entry: hash and number.
type Entry = [AtomicU32; ENTRY_WORDS];

impl Recent {
    /// The entries of the set of this hash.
    fn set(self, hash: u32) -> &'static [Entry] {
        let entries = self.0.get(1..).unwrap_or_default();
        let sets = entries.as_chunks().0.as_chunks::<WAY_COUNT>().0;
        let set = sets.get((hash >> (u32::BITS - SET_BITS)) as usize);
        set.map_or(&[], |set| set)
    }

    /// Records a change of a file, after it was made. Servers may do so at the same time.
    pub(super) fn add(self, handle: &Handle) {
        let Some(count) = self.0.first() else {
            return;
        };
        let number = count.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let hash = hash(handle);
        let age = |[other, last]: &&Entry| match other.load(Ordering::Relaxed) == hash {
            true => u32::MAX,
            false => number.wrapping_sub(last.load(Ordering::Relaxed)) >> 1,
        };
        if let Some([other, last]) = self.set(hash).iter().max_by_key(age) {
            last.store(number, Ordering::Relaxed);
            other.store(hash, Ordering::Relaxed);
        }
    }

    /// The number to add to the ctime of a file (nanoseconds): another one after each change. 0: no change is recorded.
    pub fn sum(self, handle: &Handle) -> u32 {
        let hash = hash(handle);
        let mut entries = self.set(hash).iter();
        let found = entries.find(|[other, _]| other.load(Ordering::Relaxed) == hash);
        found.map_or(0, |[_, last]| last.load(Ordering::Relaxed) & SUM_MASK)
    }
}

/// A hash of a file's handle, never 0.
fn hash(handle: &Handle) -> u32 {
    fx_words(0, changed_part(handle)) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::words;

    fn handle(number: u32) -> Handle {
        Handle::of(&[&[9; 8][..], &number.to_le_bytes()].concat()).unwrap()
    }

    #[test]
    fn each_change_has_another_number_for_all_servers() {
        let memory = words(WORD_COUNT);
        let (one, other) = (Recent(memory), Recent(memory));
        assert_eq!(other.sum(&handle(0)), 0);
        let mut seen = Vec::new();
        for round in 0..100 {
            one.add(&handle(0));
            // Other files, fewer than a set has entries.
            other.add(&handle(1 + round % 3));
            assert_ne!(other.sum(&handle(0)), other.sum(&handle(1 + round % 3)));
            seen.push(other.sum(&handle(0)));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 100);
    }

    #[test]
    fn most_files_of_256_are_kept_and_old_ones_are_evicted() {
        let recent = Recent(words(WORD_COUNT));
        (0..256).for_each(|number| recent.add(&handle(number)));
        let kept = (0..256).filter(|number| recent.sum(&handle(*number)) != 0);
        assert!(kept.count() > 180);
        (256..5000).for_each(|number| recent.add(&handle(number)));
        assert_eq!(
            (0..256).map(|number| recent.sum(&handle(number))).max(),
            Some(0)
        );
        assert_eq!(Recent::default().sum(&handle(0)), 0);
        Recent::default().add(&handle(0));
    }
}
