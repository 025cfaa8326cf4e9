//! Hash chains over the slots of a table. Each slot in use is in one chain; free slots form a list of their own.

use crate::mem::Slots;

/// End of a chain. No table has that many slots.
pub(super) const END: u16 = u16::MAX;

#[derive(Debug)]
pub(super) struct Chains {
    /// First slot of each chain.
    heads: Slots<u16>,
    /// Successor of each slot that was ever used: the next slot in its chain or in the free list.
    links: Slots<u16>,
    first_free: u16,
}

impl Chains {
    /// Creates `list_count` empty chains (a power of two) for at most `place_count` slots.
    pub(super) fn new(list_count: usize, place_count: usize) -> Self {
        let mut heads = Slots::new(list_count);
        while heads.push(END).is_some() {}
        Self {
            heads,
            links: Slots::new(place_count),
            first_free: END,
        }
    }

    fn list(&self, key: usize) -> usize {
        key & (self.heads.len() - 1)
    }

    /// Returns the first slot of the chain of `key`. Other keys may share the chain.
    pub(super) fn first(&self, key: usize) -> u16 {
        let list = self.list(key);
        self.heads.get(list).copied().unwrap_or(END)
    }

    /// Returns the slot after `index` in its chain.
    pub(super) fn next(&self, index: u16) -> u16 {
        self.links.get(usize::from(index)).copied().unwrap_or(END)
    }

    /// Allocates a free slot and puts it at the front of the chain of `key`. `None` if the table is full.
    pub(super) fn allocate(&mut self, key: usize) -> Option<u16> {
        let first = self.first(key);
        let mut index = self.first_free;
        match self.links.get_mut(usize::from(index)) {
            Some(next) => self.first_free = core::mem::replace(next, first),
            None => index = self.links.push(first)? as u16,
        }
        let list = self.list(key);
        if let Some(head) = self.heads.get_mut(list) {
            *head = index;
        }
        Some(index)
    }

    /// Returns true if a slot is free.
    pub(super) const fn has_space(&self) -> bool {
        self.first_free != END || !self.links.is_full()
    }

    /// Frees a slot that is in the chain of `key`.
    pub(super) fn free(&mut self, key: usize, index: u16) {
        let (list, after, free) = (self.list(key), self.next(index), self.first_free);
        let mut link = self.heads.get_mut(list);
        while let Some(next) = link {
            if *next == index {
                *next = after;
                break;
            }
            let before = usize::from(*next);
            link = self.links.get_mut(before);
        }
        if let Some(next) = self.links.get_mut(usize::from(index)) {
            *next = free;
            self.first_free = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_stays_in_its_chain_until_freed() {
        let mut chains = Chains::new(4, 3);
        let list = |chains: &Chains, key| {
            let mut index = chains.first(key);
            core::iter::from_fn(|| {
                let current = index;
                index = chains.next(index);
                (current != END).then_some(current)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!([chains.allocate(1), chains.allocate(5)], [Some(0), Some(1)]);
        assert!(chains.has_space());
        assert_eq!([chains.allocate(2), chains.allocate(2)], [Some(2), None]);
        assert!(!chains.has_space());
        assert_eq!((list(&chains, 1), list(&chains, 2)), (vec![1, 0], vec![2]));
        chains.free(5, 0);
        assert_eq!(list(&chains, 1), [1]);
        assert_eq!((chains.allocate(3), chains.allocate(3)), (Some(0), None));
        assert_eq!(list(&chains, 3), [0]);
        chains.free(9, 1);
        chains.free(2, 2);
        assert_eq!((list(&chains, 1), list(&chains, 2)), (vec![], vec![]));
        assert_eq!([chains.allocate(0), chains.allocate(0)], [Some(2), Some(1)]);
    }
}
