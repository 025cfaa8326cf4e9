//! A fixed number of blocks of equal size. Memory of a block is untouched until its first use.

use crate::config::{REPLY_BLOCK_COUNT, REQUEST_BLOCK_COUNT};
use crate::mem::Ends as _;
use crate::mem::Slots;

/// A block in use, by its index. Its holder returns it with [`Pool::release`].
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Block(u8);

const _: () = assert!(REQUEST_BLOCK_COUNT < 256 && REPLY_BLOCK_COUNT < 256);

/// A pool of buffers (blocks) of equal size, for requests or for replies.
#[derive(Debug)]
pub(in super::super) struct Pool {
    bytes: Slots<u8>,
    block_bytes: usize,
    free: Slots<Block>,
    /// Count of blocks that were ever used; the others are untouched.
    touched: u8,
}

impl Pool {
    /// A pool of `count` blocks of `block_bytes` bytes.
    pub(super) fn new(count: usize, block_bytes: usize) -> Self {
        Self {
            bytes: Slots::zeroed(count * block_bytes),
            block_bytes,
            free: Slots::new(count),
            touched: 0,
        }
    }

    /// Returns a free block, the last returned one first; `None` if all are in use.
    pub(super) fn allocate(&mut self) -> Option<Block> {
        match self.free.pop() {
            None if !self.is_used_up() => {
                let block = Block(self.touched);
                self.touched += 1;
                Some(block)
            }
            free => free,
        }
    }

    /// Returns true if all blocks are in use.
    pub(super) fn is_used_up(&self) -> bool {
        self.free.is_empty() && usize::from(self.touched) * self.block_bytes == self.bytes.len()
    }

    /// Returns a block to the pool.
    #[inline(never)] // −123 bytes: six callers.
    pub(super) fn release(&mut self, block: Block) {
        self.free.push(block);
    }

    /// The bytes of a block.
    pub(super) fn get(&mut self, block: &Block) -> &mut [u8] {
        let from = usize::from(block.0) * self.block_bytes;
        let rest = self.bytes.tail_mut(from);
        rest.head_mut(self.block_bytes)
    }

    /// Returns one item per block in use. The items are not block indexes.
    #[cfg(test)]
    pub(in super::super) fn holders(&self) -> impl Iterator<Item = usize> {
        0..usize::from(self.touched) - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_distinct_limited_and_reused() {
        let mut pool = Pool::new(2, 16);
        let (first, second) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        pool.get(&first).fill(1);
        pool.get(&second).fill(2);
        assert_eq!(pool.get(&first), [1; 16]);
        assert_eq!(pool.get(&second), [2; 16]);
        assert_eq!(pool.allocate(), None);
        pool.release(first);
        assert_eq!(pool.holders().count(), 1);
        let again = pool.allocate().unwrap();
        assert_eq!(pool.get(&again), [1; 16]);
        assert_eq!(pool.allocate(), None);
    }
}
