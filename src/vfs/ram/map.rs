//! An ordered map that allocates all its slots at start and reuses the slots of removed items.
//!
//! A treap: a binary search tree by key, and a heap by rank. Ranks are a MAC with a secret key, so a client cannot choose an order
//! of insertions that degrades the tree. The depth, and so the recursion, is O(log n).

use super::super::handle::{Key, mac};
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Key of an item: the number of its object, then the index of the item within the object.
pub(super) type At = (u32, u64);

/// No slot. Slots are numbered from 1.
const NONE: u32 = 0;

#[derive(Clone, Debug)]
#[repr(C)] // Largest field last: the others have short offsets.
struct MapNode<T> {
    at: At,
    /// Numbers of the left and right child. In a free slot, `behind` is the number of the next free slot.
    before: u32,
    behind: u32,
    /// Heap priority of the treap: a MAC of the slot's number. Not lower than the rank of either child.
    rank: u32,
    item: T,
}

/// The map.
#[derive(Clone, Debug)]
pub(super) struct Map<T> {
    /// Slots that were ever used. Grows on demand, so that unused memory is not touched.
    nodes: Vec<MapNode<T>>,
    count_max: usize,
    used: usize,
    root: u32,
    free: u32,
    key: Key,
}

impl<T: Copy> Map<T> {
    /// Memory per item in bytes.
    pub(super) const SLOT_BYTES: usize = size_of::<MapNode<T>>();

    /// A map of at most `count` items; `key` is the secret for ranks. Call at start only.
    pub(super) fn new(count: usize, key: Key) -> Self {
        Self {
            nodes: Vec::with_capacity(count),
            count_max: count,
            used: 0,
            root: NONE,
            free: NONE,
            key,
        }
    }

    /// Number of items.
    pub(super) const fn used(&self) -> usize {
        self.used
    }

    /// Number of items that can be added.
    pub(super) const fn left(&self) -> usize {
        self.count_max.saturating_sub(self.used)
    }

    /// Sets the number of items that can be added.
    #[cfg(any(test, fuzzing))]
    pub(super) const fn limit_items(&mut self, count: usize) {
        self.count_max = self.used + count;
    }

    /// The item with the key `at`.
    pub(super) fn get(&self, at: At) -> Option<&T> {
        self.node(self.find(at)).map(|node| &node.item)
    }

    /// As [`get`](Self::get), but mutable.
    pub(super) fn get_mut(&mut self, at: At) -> Option<&mut T> {
        let number = self.find(at);
        self.node_mut(number).map(|node| &mut node.item)
    }

    /// The first item whose key is at least `from`.
    pub(super) fn first(&self, from: At) -> Option<(At, &T)> {
        let (mut here, mut found) = (self.root, None);
        while let Some(node) = self.node(here) {
            here = if node.at < from {
                node.behind
            } else {
                found = Some((node.at, &node.item));
                node.before
            };
        }
        found
    }

    /// As [`first`](Self::first), within the object of `from`. Returns the item's index in the object.
    pub(super) fn first_of(&self, from: At) -> Option<(u64, &T)> {
        let (at, item) = self.first(from)?;
        (at.0 == from.0).then_some((at.1, item))
    }

    /// Adds an item. Returns false if the map is full or has the key already.
    pub(super) fn insert(&mut self, at: At, item: T) -> bool {
        if self.left() == 0 || self.find(at) != NONE {
            return false;
        }
        let number = self.fill(at, item);
        let (before, behind) = self.split(self.root, at);
        let before = self.merge(before, number);
        self.root = self.merge(before, behind);
        self.used += 1;
        true
    }

    /// Removes an item, if it exists.
    pub(super) fn remove(&mut self, at: At) {
        let (number, free) = (self.find(at), self.free);
        if number == NONE {
            return;
        }
        self.root = self.without(self.root, at);
        if let Some(node) = self.node_mut(number) {
            node.behind = free;
            self.free = number;
            self.used -= 1;
        }
    }

    /// Stores an item in a free slot, as a tree of its own. Returns the slot's number.
    fn fill(&mut self, at: At, item: T) -> u32 {
        let number = self.free;
        if let Some(node) = self.node_mut(number) {
            let free = node.behind;
            *node = MapNode {
                at,
                before: NONE,
                behind: NONE,
                rank: node.rank,
                item,
            };
            self.free = free;
            return number;
        }
        let number = self.nodes.len() as u32 + 1;
        self.nodes.push(MapNode {
            at,
            before: NONE,
            behind: NONE,
            rank: mac(&self.key, &number.to_le_bytes()) as u32,
            item,
        });
        number
    }

    /// Returns the number of the slot with the key `at`, or [`NONE`].
    fn find(&self, at: At) -> u32 {
        let mut here = self.root;
        while let Some(node) = self.node(here) {
            here = match at.cmp(&node.at) {
                Ordering::Less => node.before,
                Ordering::Greater => node.behind,
                Ordering::Equal => break,
            };
        }
        here
    }

    /// Splits the subtree `here` into keys less than `at`, and the others.
    fn split(&mut self, here: u32, at: At) -> (u32, u32) {
        let Some(node) = self.node(here) else {
            return (NONE, NONE);
        };
        if node.at < at {
            let (before, behind) = self.split(node.behind, at);
            self.set_behind(here, before);
            (here, behind)
        } else {
            let (before, behind) = self.split(node.before, at);
            self.set_before(here, behind);
            (before, here)
        }
    }

    /// Merges two subtrees; all keys of `before` are less than those of `behind`.
    fn merge(&mut self, before: u32, behind: u32) -> u32 {
        let (Some(one), Some(other)) = (self.node(before), self.node(behind)) else {
            // At least one of the subtrees is empty: `NONE`, which is 0.
            return before | behind;
        };
        if one.rank >= other.rank {
            let beneath = self.merge(one.behind, behind);
            self.set_behind(before, beneath);
            before
        } else {
            let beneath = self.merge(before, other.before);
            self.set_before(behind, beneath);
            behind
        }
    }

    /// Removes the key `at` from the subtree `here`. Returns the new root.
    fn without(&mut self, here: u32, at: At) -> u32 {
        let Some(&MapNode {
            at: known,
            before,
            behind,
            ..
        }) = self.node(here)
        else {
            return NONE;
        };
        match at.cmp(&known) {
            Ordering::Less => {
                let beneath = self.without(before, at);
                self.set_before(here, beneath);
            }
            Ordering::Greater => {
                let beneath = self.without(behind, at);
                self.set_behind(here, beneath);
            }
            Ordering::Equal => return self.merge(before, behind),
        }
        here
    }

    fn set_before(&mut self, number: u32, before: u32) {
        if let Some(node) = self.node_mut(number) {
            node.before = before;
        }
    }

    fn set_behind(&mut self, number: u32, behind: u32) {
        if let Some(node) = self.node_mut(number) {
            node.behind = behind;
        }
    }

    fn node(&self, number: u32) -> Option<&MapNode<T>> {
        self.nodes.get((number as usize).checked_sub(1)?)
    }

    fn node_mut(&mut self, number: u32) -> Option<&mut MapNode<T>> {
        self.nodes.get_mut((number as usize).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// The depth of the subtree `here`.
    fn depth(map: &Map<u64>, here: u32) -> usize {
        map.node(here).map_or(0, |node| {
            1 + depth(map, node.before).max(depth(map, node.behind))
        })
    }

    fn all(map: &Map<u64>) -> Vec<(At, u64)> {
        let (mut all, mut from) = (Vec::new(), (0, 0));
        while let Some((at, item)) = map.first(from) {
            all.push((at, *item));
            from = (at.0, at.1 + 1);
        }
        all
    }

    #[test]
    fn map_matches_btreemap() {
        let (mut map, mut model) = (Map::new(50, [7; 16]), BTreeMap::new());
        let mut random = 1u64;
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            let at = ((random >> 33) as u32 % 3, (random >> 40) % 40);
            if random >> 63 == 0 {
                let fits = model.len() < 50 && !model.contains_key(&at);
                assert_eq!(map.insert(at, step), fits);
                if fits {
                    model.insert(at, step);
                }
            } else {
                map.remove(at);
                model.remove(&at);
            }
            assert_eq!((map.used(), map.left()), (model.len(), 50 - model.len()));
            assert_eq!(map.get(at), model.get(&at));
            let next = model.range(at..).next();
            assert_eq!(map.first(at), next.map(|(at, item)| (*at, item)));
            assert!(map.nodes.len() <= 50);
        }
        let model: Vec<_> = model.into_iter().collect();
        assert_eq!(all(&map), model);
    }

    #[test]
    fn depth_is_bounded_for_any_insertion_order() {
        for order in [|at| at, |at: u64| u64::MAX - at, |at| at ^ 0x5555] {
            let mut map = Map::new(1 << 16, [7; 16]);
            for at in 0..1 << 16 {
                assert!(map.insert((1, order(at)), at));
            }
            assert!(depth(&map, map.root) < 60);
        }
    }
}
