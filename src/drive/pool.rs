//! Blocks of one size, a bounded number of them, touched only as they are needed.

use alloc::vec::Vec;

/// The number of a block.
pub(super) type Block = u16;

/// The pool, and which connection holds each block.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: Vec<u8>,
    block_bytes: usize,
    holders: Vec<Option<u16>>,
    free: Vec<Block>,
}

impl Pool {
    /// A pool of `count` blocks of `block_bytes` bytes.
    pub(super) fn new(count: usize, block_bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(count * block_bytes),
            block_bytes,
            holders: Vec::with_capacity(count),
            free: Vec::with_capacity(count),
        }
    }

    /// A block for `holder`, the one given back last first; `None` when all are held.
    pub(super) fn take(&mut self, holder: u16) -> Option<Block> {
        if let Some(block) = self.free.pop() {
            *self.holders.get_mut(usize::from(block))? = Some(holder);
            return Some(block);
        }
        if self.holders.len() == self.holders.capacity() {
            return None;
        }
        self.bytes.resize(self.bytes.len() + self.block_bytes, 0);
        self.holders.push(Some(holder));
        Block::try_from(self.holders.len() - 1).ok()
    }

    /// Gives a block back.
    pub(super) fn give(&mut self, block: Block) {
        if let Some(holder) = self
            .holders
            .get_mut(usize::from(block))
            .filter(|holder| holder.is_some())
        {
            *holder = None;
            self.free.push(block);
        }
    }

    /// The bytes of a block.
    pub(super) fn get(&mut self, block: Block) -> &mut [u8] {
        let start = usize::from(block) * self.block_bytes;
        self.bytes
            .get_mut(start..start + self.block_bytes)
            .unwrap_or_default()
    }

    /// Who holds blocks.
    pub(super) fn holders(&self) -> impl Iterator<Item = u16> {
        self.holders.iter().filter_map(|holder| *holder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_apart_bounded_and_used_again() {
        let mut pool = Pool::new(2, 16);
        let (first, second) = (pool.take(7).unwrap(), pool.take(8).unwrap());
        pool.get(first).fill(1);
        pool.get(second).fill(2);
        assert_eq!(pool.get(first), [1; 16]);
        assert_eq!(pool.take(9), None);
        assert_eq!(pool.holders().collect::<Vec<_>>(), [7, 8]);
        pool.give(first);
        pool.give(first);
        assert_eq!(pool.take(9), Some(first));
        assert_eq!(pool.take(9), None);
    }
}
