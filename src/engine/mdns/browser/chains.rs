//! Lists of places in a table: each place that is in use is in one, those that are free are in one, too.

use crate::mem::Slots;

/// What follows the last place: no table has so many.
pub(super) const END: u16 = u16::MAX;

#[derive(Debug)]
pub(super) struct Chains {
    /// The first place of each list.
    firsts: Slots<u16>,
    /// Of each place that was ever used: the next in its list.
    nexts: Slots<u16>,
    free: u16,
}

impl Chains {
    /// Lists, a power of two of them, of places up to this many.
    pub(super) fn new(list_count: usize, place_count: usize) -> Self {
        let mut firsts = Slots::new(list_count);
        while firsts.push(END).is_some() {}
        Self {
            firsts,
            nexts: Slots::new(place_count),
            free: END,
        }
    }

    fn list(&self, key: usize) -> usize {
        key & (self.firsts.len() - 1)
    }

    /// The first place of the list that `key` is in; others are in it, too.
    pub(super) fn first(&self, key: usize) -> u16 {
        let list = self.list(key);
        self.firsts.get(list).copied().unwrap_or(END)
    }

    /// The place that follows another.
    pub(super) fn next(&self, at: u16) -> u16 {
        self.nexts.get(usize::from(at)).copied().unwrap_or(END)
    }

    /// A free place, from now on in the list of `key`; none where all are taken.
    #[inline(never)]
    pub(super) fn take(&mut self, key: usize) -> Option<u16> {
        let first = self.first(key);
        let mut at = self.free;
        match self.nexts.get_mut(usize::from(at)) {
            Some(next) => self.free = core::mem::replace(next, first),
            None => at = self.nexts.push(first)? as u16,
        }
        let list = self.list(key);
        if let Some(place) = self.firsts.get_mut(list) {
            *place = at;
        }
        Some(at)
    }

    /// Whether there is a free place.
    pub(super) const fn has_space(&self) -> bool {
        self.free != END || !self.nexts.is_full()
    }

    /// Frees a place in the list of `key`.
    #[inline(never)]
    pub(super) fn give(&mut self, key: usize, at: u16) {
        let (list, behind, free) = (self.list(key), self.next(at), self.free);
        let mut place = self.firsts.get_mut(list);
        while let Some(next) = place {
            if *next == at {
                *next = behind;
                break;
            }
            let before = usize::from(*next);
            place = self.nexts.get_mut(before);
        }
        if let Some(next) = self.nexts.get_mut(usize::from(at)) {
            *next = free;
            self.free = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_in_one_list_until_they_are_free() {
        let mut chains = Chains::new(4, 3);
        let list = |chains: &Chains, key| {
            let mut at = chains.first(key);
            core::iter::from_fn(|| {
                let here = at;
                at = chains.next(at);
                (here != END).then_some(here)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!([chains.take(1), chains.take(5)], [Some(0), Some(1)]);
        assert!(chains.has_space());
        assert_eq!([chains.take(2), chains.take(2)], [Some(2), None]);
        assert!(!chains.has_space());
        assert_eq!((list(&chains, 1), list(&chains, 2)), (vec![1, 0], vec![2]));
        chains.give(5, 0);
        assert_eq!(list(&chains, 1), [1]);
        assert_eq!((chains.take(3), chains.take(3)), (Some(0), None));
        assert_eq!(list(&chains, 3), [0]);
        chains.give(9, 1);
        chains.give(2, 2);
        assert_eq!((list(&chains, 1), list(&chains, 2)), (vec![], vec![]));
        assert_eq!([chains.take(0), chains.take(0)], [Some(2), Some(1)]);
    }
}
