//! The simulated disk of tests: content of files with unsynced writes.

use super::bytes::{BLOCK_BYTES, Block};
use std::collections::BTreeMap;

/// On-disk content of files that differ in memory: length and blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Unsynced(pub(super) BTreeMap<u32, (u64, BTreeMap<u64, Block>)>);

impl Unsynced {
    /// Removes the on-disk content of an object that was freed.
    pub(super) fn forget(&mut self, number: u32) {
        self.0.remove(&number);
    }

    /// Sets the on-disk length.
    pub(super) fn resize(&mut self, number: u32, size: u64) {
        let Some((was, blocks)) = self.0.get_mut(&number) else {
            return;
        };
        *was = size;
        let (last, end) = (size / BLOCK_BYTES as u64, size as usize % BLOCK_BYTES);
        blocks.retain(|block, _| *block < last || *block == last && end > 0);
        if let Some(block) = blocks.get_mut(&last) {
            block[end..].fill(0);
        }
    }
}
