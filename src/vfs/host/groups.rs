//! Groups by UID that replace those of a credential (`--manage-gids`). The table is built from passwd(5) and group(5) at the start
//! and at a reload; a request makes a binary search in memory.

use super::super::{Caller, Rules};
use crate::mem::Slots;
use core::cell::Cell;

/// A user and one of the user's groups: UID in the high 32 bits, GID in the low ones.
pub const fn membership(uid: u32, gid: u32) -> u64 {
    (uid as u64) << 32 | gid as u64
}

/// The groups of all users; at first of none.
#[derive(Default)]
pub struct GroupTable {
    /// Memberships, sorted.
    entries: Cell<Slots<u64>>,
    /// Number of replacements.
    version: Cell<u32>,
}

impl core::fmt::Debug for GroupTable {
    fn fmt(&self, to: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        to.write_str("GroupTable")
    }
}

impl GroupTable {
    /// Replaces all memberships, which must be sorted; returns the former ones.
    pub fn replace(&self, entries: Slots<u64>) -> Slots<u64> {
        self.version.set(self.version.get().wrapping_add(1));
        self.entries.replace(entries)
    }

    /// Writes the groups of a user to `out`, each as `rules` squash it. A UID that is not in the table has none.
    fn write(&self, uid: u32, rules: &Rules, out: &mut Slots<u32>) {
        out.clear();
        let entries = self.entries.take();
        let first = entries.partition_point(|entry| *entry < membership(uid, 0));
        let of_user = entries.iter().skip(first);
        let of_user = of_user.take_while(|entry| (**entry >> 32) as u32 == uid);
        for entry in of_user {
            let group = rules.squash_group(*entry as u32);
            if group.is_some() && group.as_ref() != out.last() {
                out.push(group.unwrap_or_default());
            }
        }
        self.entries.set(entries);
    }
}

/// The groups of the current caller.
#[derive(Debug)]
pub(super) struct Managed {
    table: &'static GroupTable,
    /// The groups, squashed.
    pub(super) groups: Slots<u32>,
    /// The caller, rules and version of the table to which the groups belong.
    key: [u32; 6],
}

impl Managed {
    /// `count`: most groups of a user.
    pub(super) fn new(table: &'static GroupTable, count: usize) -> Self {
        Self {
            table,
            groups: Slots::new(count),
            key: [0; 6],
        }
    }

    /// As [`Rules::squash`], with the groups of the table.
    pub(super) fn squash(&mut self, caller: &Caller, rules: &Rules, into: &mut Caller) -> bool {
        let flags = u32::from(rules.has(Rules::SQUASHES_ALL)) << 1
            | u32::from(rules.has(Rules::SQUASHES_ROOT));
        let (user, group) = rules.anonymous;
        let version = self.table.version.get();
        let key = [caller.uid, caller.gid, user, group, flags, version];
        let sent = Caller {
            uid: caller.uid,
            gid: caller.gid,
            ..Caller::default()
        };
        if !rules.squash(&sent, into) && key == self.key {
            return false;
        }
        self.key = key;
        self.table.write(caller.uid, rules, &mut self.groups);
        true
    }

    /// Removes the groups: the server itself has none.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.key = [0; 6];
    }
}

/// Sorts (heapsort: it needs no memory, and its worst case is its usual one).
pub fn sort(entries: &mut [u64]) {
    for start in (0..entries.len() / 2).rev() {
        sift(entries, start);
    }
    let mut rest = entries;
    while let [_, .., _] = rest {
        let end = rest.len() - 1;
        rest.swap(0, end);
        let Some(heap) = rest.get_mut(..end) else {
            return;
        };
        sift(heap, 0);
        rest = heap;
    }
}

/// Moves the entry at `at` down to its place in the heap.
fn sift(heap: &mut [u64], mut at: usize) {
    loop {
        let child = 2 * at + 1;
        let other = heap.get(child + 1);
        let child = child + usize::from(other.is_some() && other > heap.get(child));
        if child >= heap.len() || heap.get(at) >= heap.get(child) {
            return;
        }
        heap.swap(at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(memberships: &[(u32, u32)]) -> &'static GroupTable {
        let mut entries = Slots::new(memberships.len());
        for (uid, gid) in memberships {
            entries.push(membership(*uid, *gid));
        }
        sort(&mut entries);
        let table = crate::mem::leak(GroupTable::default());
        table.replace(entries);
        table
    }

    #[test]
    fn sorting_orders_all_lengths() {
        for len in 0..40_u64 {
            let mut entries: Vec<u64> = (0..len).map(|i| i * 7919 % 17).collect();
            let mut expect = entries.clone();
            expect.sort_unstable();
            sort(&mut entries);
            assert_eq!(entries, expect);
        }
    }

    #[test]
    fn groups_of_table_replace_sent_ones() {
        let mut members: Vec<_> = (100..140).map(|gid| (1000, gid)).collect();
        members.extend([(1000, 0), (1000, 120), (7, 5), (1001, 3)]);
        let mut managed = Managed::new(table(&members), 64);
        let mut into = Caller::default();
        let mut groups = |uid, rules: &Rules| {
            let caller = Caller {
                uid,
                gid: 50,
                groups: [9].into_iter().collect(),
            };
            let is_changed = managed.squash(&caller, rules, &mut into);
            (is_changed, managed.groups.to_vec())
        };
        let mut expect: Vec<u32> = (100..140).collect();
        expect.insert(0, 65534);
        let rules = Rules::DEFAULT;
        assert_eq!(groups(1000, &rules), (true, expect.clone()));
        assert_eq!(groups(1000, &rules), (false, expect));
        assert_eq!(groups(7, &rules), (true, vec![5]));
        assert_eq!(groups(8, &rules), (true, vec![]));
        let all = rules.with(Rules::SQUASHES_ALL);
        assert_eq!(groups(1000, &all).1, []);
    }
}
