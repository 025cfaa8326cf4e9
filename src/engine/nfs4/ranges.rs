//! The table of locks: ranges of bytes, in a chain for each lock state. A lock state is a row of opens: it stands for a lock owner and
//! a file.
//!
//! A change adds rows before it removes others, each by one store. So a server that is killed amid a change leaves at least the locks
//! that there were, or those that there will be, and the request that is repeated removes the rest.

use super::clients::halves;
use super::tables::{Client, Lock, Open, Tables, Words as _, client, head, lock, open};
use core::sync::atomic::AtomicU32;

/// Locked bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u64,
    pub(super) last: u64,
    /// True if it is locked for writing: no other owner has a lock of these bytes.
    pub(super) is_exclusive: bool,
}

impl Range {
    const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
        is_exclusive: false,
    };

    fn of(row: Lock) -> Self {
        let long = |at| {
            let [high, low] = row.pair(at);
            u64::from(high) << 32 | u64::from(low)
        };
        Self {
            first: long(lock::FIRST),
            last: long(lock::LAST),
            is_exclusive: row.word(lock::EXCLUSIVE) != 0,
        }
    }

    const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Returns true if both cannot be locked by different owners.
    pub(super) const fn conflicts(self, other: Self) -> bool {
        self.overlaps(other) && (self.is_exclusive || other.is_exclusive)
    }

    /// Returns true if both can be one lock.
    const fn joins(self, other: Self) -> bool {
        let touches = self.first <= other.last.saturating_add(1)
            && other.first <= self.last.saturating_add(1);
        touches && self.is_exclusive == other.is_exclusive
    }

    /// The parts of this range before and after another one.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let before = (self.first < other.first).then(|| Self {
            last: other.first - 1,
            ..self
        });
        let after = (self.last > other.last).then(|| Self {
            first: other.last + 1,
            ..self
        });
        before.into_iter().chain(after)
    }

    /// The number of locks that remain of this one after another range is unlocked, if it is cut.
    pub(super) fn count_left(self, other: Self) -> usize {
        match self.overlaps(other) {
            true => self.without(other).count(),
            false => 0,
        }
    }
}

impl Tables {
    /// The row with this index + 1.
    fn lock_at(&self, link: u32) -> Option<Lock> {
        self.locks.get((link as usize).checked_sub(1)?)
    }

    /// The number of a row, + 1.
    fn lock_link(&self, row: Lock) -> u32 {
        let start = self.locks.as_ptr().addr();
        let at = core::ptr::from_ref(row).addr();
        ((at - start) / size_of_val(row)) as u32 + 1
    }

    /// The rows of a lock state.
    fn lock_rows(&self, state: Open) -> impl Iterator<Item = Lock> {
        let tables = *self;
        let next = move |row: &Lock| tables.lock_at(row.word(lock::NEXT));
        let rows = core::iter::successors(self.lock_at(state.word(open::LOCKS)), next);
        let rows = rows.take(self.locks.len());
        rows.filter(|row| row.word(lock::STATE) != 0)
    }

    /// The locks of a lock state.
    pub(super) fn locks_of(&self, state: Open) -> impl Iterator<Item = Range> {
        self.lock_rows(state).map(Range::of)
    }

    /// The number of locks, and that of free rows.
    pub(super) fn lock_counts(&self) -> [u32; 2] {
        let used = self.head.word(head::LOCKS);
        [used, (self.locks.len() as u32).saturating_sub(used)]
    }

    /// Counts a lock of a client (`change` 1), or one less.
    fn count_lock(&self, state: Open, change: u32) {
        self.count(head::LOCKS, change);
        let [instance, _] = self.instance();
        if let Some(client) = self.client([instance, state.word(open::CLIENT)]) {
            client.set(
                client::LOCKS,
                client.word(client::LOCKS).wrapping_add(change),
            );
        }
    }

    /// Adds a lock, at a link of the chain of its state. Does nothing if the table is full.
    fn add_lock(&self, link: &[AtomicU32], state: Open, range: Range) -> Option<Lock> {
        let free = self.lock_at(self.head.word(head::LOCKS_FREE));
        let row = match free {
            Some(row) => {
                self.head.set(head::LOCKS_FREE, row.word(lock::NEXT));
                row
            }
            None => {
                let touched = self.head.word(head::LOCKS_TOUCHED);
                let row = self.locks.get(touched as usize)?;
                self.count(head::LOCKS_TOUCHED, 1);
                row
            }
        };
        let all = [halves(range.first), halves(range.last)];
        row.set_all(lock::FIRST, all.as_flattened());
        row.set(lock::EXCLUSIVE, range.is_exclusive.into());
        row.set(lock::SERIAL, state.word(open::SERIAL));
        self.link_lock(link, row);
        // From this store on, the row counts.
        row.set(lock::STATE, self.index(state) + 1);
        self.count_lock(state, 1);
        Some(row)
    }

    /// Puts a lock at a link of the chain of its state.
    fn link_lock(&self, link: &[AtomicU32], row: Lock) {
        row.set(lock::NEXT, link.word(0));
        link.set(0, self.lock_link(row));
    }

    /// Makes a row free that is in no chain.
    fn free_lock(&self, row: Lock) {
        row.set(lock::STATE, 0);
        row.set(lock::NEXT, self.head.word(head::LOCKS_FREE));
        self.head.set(head::LOCKS_FREE, self.lock_link(row));
    }

    /// Unlocks a range of those locks of a state for which `is_meant` returns true. At least two rows must be free.
    fn cut(&self, state: Open, range: Range, is_meant: &dyn Fn(Lock) -> bool) {
        let mut link: &[AtomicU32] = &state[open::LOCKS..];
        // The parts of one lock that remain are passed, too.
        for _ in 0..self.locks.len() + 2 {
            let Some(row) = self.lock_at(link.word(0)) else {
                return;
            };
            let own = Range::of(row);
            if row.word(lock::STATE) == 0 || !own.overlaps(range) || !is_meant(row) {
                link = &row[lock::NEXT..];
                continue;
            }
            for rest in own.without(range) {
                // A server that was killed here may have added it.
                if !self.locks_of(state).any(|lock| lock == rest) {
                    self.add_lock(&row[lock::NEXT..], state, rest);
                }
            }
            self.count_lock(state, u32::MAX);
            // From this store on, the row does not count.
            row.set(lock::STATE, 0);
            link.set(0, row.word(lock::NEXT));
            self.free_lock(row);
        }
    }

    /// Unlocks a range of a lock state. At least two rows must be free.
    pub(super) fn unlock(&self, state: Open, range: Range) {
        self.cut(state, range, &|_| true);
    }

    /// Locks a range, whatever others have. At least three rows must be free.
    pub(super) fn lock(&self, state: Open, range: Range) {
        let mut all = range;
        for own in self.locks_of(state).filter(|own| own.joins(range)) {
            all.first = all.first.min(own.first);
            all.last = all.last.max(own.last);
        }
        let Some(added) = self.add_lock(&state[open::LOCKS..], state, all) else {
            return;
        };
        // Locks of the other kind lose the range; those of this kind are parts of the new one.
        let is_other = |row: Lock| row.word(lock::EXCLUSIVE) != added.word(lock::EXCLUSIVE);
        self.cut(state, range, &is_other);
        self.cut(state, all, &|row| {
            !is_other(row) && !core::ptr::eq(added, row)
        });
    }

    /// Removes all locks of a lock state.
    pub(super) fn end_locks(&self, state: Open) {
        self.unlock(state, Range::ALL);
    }

    /// Removes the rows of a chain for which `is_meant` returns true, with their locks.
    fn end_rows(&self, chain: usize, is_meant: &dyn Fn(Open) -> bool) {
        let mut link = self.chains.get(chain..).unwrap_or_default();
        for _ in 0..self.opens.len() {
            let Some(row) = self.linked(link.word(0)) else {
                return;
            };
            if row.word(open::CLIENT) == 0 || !is_meant(row) {
                link = &row[open::NEXT..];
                continue;
            }
            self.end_locks(row);
            self.count_open(row, u32::MAX);
            // From this store on, the row does not count.
            row.set(open::CLIENT, 0);
            link.set(0, row.word(open::NEXT));
            self.free(row);
        }
    }

    /// Removes an open with its lock states, or a lock state.
    pub(super) fn end_open(&self, row: Open) {
        let [serial, client] = row.pair(open::SERIAL);
        let is_its = |other: Open| {
            core::ptr::eq(other, row)
                || other.word(open::PARENT) == serial && other.word(open::CLIENT) == client
        };
        self.end_rows(self.chain(row.pair(open::FILE)), &is_its);
    }

    /// Removes the opens of a file by a client, with their lock states.
    pub(super) fn end_opens_of(&self, file: [u32; 2], client: Client) {
        let number = client.word(client::NUMBER);
        let is_its = |row: Open| row.word(open::CLIENT) == number && row.pair(open::FILE) == file;
        self.end_rows(self.chain(file), &is_its);
    }

    /// Removes the opens of a client.
    pub(super) fn end_opens(&self, client: Client) {
        let number = client.word(client::NUMBER);
        for chain in 0..self.chains.len() {
            if client.word(client::OPENS) == 0 {
                break;
            }
            self.end_rows(chain, &|row| row.word(open::CLIENT) == number);
        }
    }

    /// Makes all chains and counts of opens and locks from the rows.
    pub(super) fn mend(&self) {
        // The tables of a first start stay untouched.
        if self.head.pair(head::CLIENTS) != [0; 2] || self.head.word(head::OPENS_TOUCHED) != 0 {
            self.mend_opens();
            self.mend_locks();
            let orphan = |row: &Open| row.word(open::CLIENT) != 0 && self.parent(row).is_none();
            for row in self.touched().filter(orphan) {
                self.end_open(row);
            }
        }
    }

    /// Makes all chains and counts of locks from the rows. The rows of opens are mended.
    fn mend_locks(&self) {
        for place in [head::LOCKS, head::LOCKS_FREE] {
            self.head.set(place, 0);
        }
        for row in self.clients {
            row.set(client::LOCKS, 0);
        }
        for state in self.touched() {
            state.set(open::LOCKS, 0);
        }
        let touched = self.head.word(head::LOCKS_TOUCHED) as usize;
        for row in self.locks.iter().take(touched) {
            let state = self.linked(row.word(lock::STATE));
            let is_its = |state: &Open| {
                state.word(open::SERIAL) == row.word(lock::SERIAL)
                    && state.word(open::CLIENT) != 0
                    && state.word(open::PARENT) != 0
            };
            match state.filter(is_its) {
                Some(state) => {
                    self.link_lock(&state[open::LOCKS..], row);
                    self.count_lock(state, 1);
                }
                None => self.free_lock(row),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::opens::Shares;
    use super::super::tables::{kills, word_count};
    use super::*;
    use crate::mem::words;
    use core::sync::atomic::Ordering::Relaxed;

    const CLIENTS: usize = 4;
    const BYTES: usize = 24;
    const STATES: usize = 3;

    /// The bytes from which a place of the model stands: the last one for all from there to the end.
    fn range(first: usize, last: usize, is_exclusive: bool) -> Range {
        Range {
            first: first as u64,
            last: if last == BYTES - 1 {
                u64::MAX
            } else {
                last as u64
            },
            is_exclusive,
        }
    }

    /// Checks that the locks of each state are those of the model, none of which overlap or touch.
    fn check(tables: &Tables, states: &[Open], model: &[[Option<bool>; BYTES]]) {
        let mut count = 0;
        for (state, model) in states.iter().zip(model) {
            let mut seen = [None; BYTES];
            let mut all: Vec<Range> = tables.locks_of(state).collect();
            all.sort_by_key(|lock| lock.first);
            for pair in all.windows(2) {
                assert!(
                    !pair[0].overlaps(pair[1]) && !pair[0].joins(pair[1]),
                    "{all:?}"
                );
            }
            for lock in &all {
                let last = lock.last.min(BYTES as u64 - 1) as usize;
                assert!(lock.last == u64::MAX || last < BYTES - 1);
                seen[lock.first as usize..=last].fill(Some(lock.is_exclusive));
            }
            assert_eq!(seen, *model);
            count += all.len() as u32;
        }
        assert_eq!(tables.lock_counts(), [count, 16 * CLIENTS as u32 - count]);
        assert_eq!(tables.clients[0].word(client::LOCKS), count);
    }

    /// Locks and unlocks at random, against a model. Then links and counts are overwritten, and made from the rows.
    #[test]
    fn locks_are_those_of_a_model() {
        let tables = Tables::new(words(word_count(CLIENTS)), [5, 6]);
        let own = &tables.clients[0];
        own.set_all(client::NUMBER, &[4, client::CONFIRMED]);
        let none = Shares { access: 0, deny: 0 };
        let add = |owner, parent| tables.add_open(own, [owner, 0], [0, 7], none, 1, parent);
        let parent = add(0, None);
        let states: [Open; STATES] = core::array::from_fn(|at| add(at as u32 + 1, parent).unwrap());
        let mut model = [[None; BYTES]; STATES];
        let mut seed = 1_u32;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % below
        };
        for step in 0..5000 {
            let (at, is_exclusive) = (random(STATES), random(2) == 0);
            let (one, other) = (random(BYTES), random(BYTES));
            let (first, last) = (one.min(other), one.max(other));
            let of = range(first, last, is_exclusive);
            match random(3) {
                0 => {
                    tables.unlock(states[at], of);
                    model[at][first..=last].fill(None);
                }
                _ => {
                    tables.lock(states[at], of);
                    model[at][first..=last].fill(Some(is_exclusive));
                }
            }
            if step % 100 == 99 {
                for row in tables.locks {
                    row.set(lock::NEXT, random(70) as u32);
                }
                states
                    .iter()
                    .for_each(|state| state.set(open::LOCKS, random(70) as u32));
                tables.head.set_all(head::LOCKS, &[9]);
                tables.mend();
            }
            check(&tables, &states, &model);
        }
        tables.end_open(parent.unwrap());
        assert_eq!((tables.lock_counts()[0], tables.open_counts()[0]), (0, 0));
    }

    /// The strongest lock of each byte. 0: none; 1: for reading; 2: for writing.
    fn strengths(tables: &Tables, state: Open) -> [u8; BYTES] {
        let mut all = [0; BYTES];
        for lock in tables.locks_of(state) {
            let last = lock.last.min(BYTES as u64 - 1) as usize;
            for byte in &mut all[lock.first as usize..=last] {
                *byte = 1.max(*byte).max(u8::from(lock.is_exclusive) * 2);
            }
        }
        all
    }

    /// A server is killed after each store of a change. Neither other servers nor the next one see fewer locks than before or after the
    /// change, and the repeated change is complete.
    #[test]
    fn locks_outlive_kills_between_two_stores() {
        let memory = words(word_count(1));
        let tables = Tables::new(memory, [5, 6]);
        let own = &tables.clients[0];
        own.set_all(client::NUMBER, &[1, client::CONFIRMED]);
        let none = Shares { access: 0, deny: 0 };
        let add = |owner, parent| tables.add_open(own, [owner, 0], [0, 7], none, 1, parent);
        let parent = add(0, None).unwrap();
        let states = [1, 2].map(|owner| add(owner, Some(parent)).unwrap());
        let mut seed = 1_u32;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) as usize % below
        };
        let see = || {
            let counts = [tables.lock_counts(), tables.open_counts()];
            (states.map(|state| strengths(&tables, state)), counts)
        };
        let mut kills = 0;
        for step in 0..300 {
            let (one, other, kind) = (random(BYTES), random(BYTES), random(3));
            let of = range(one.min(other), one.max(other), kind == 1);
            let change = || match kind {
                0 | 1 if tables.lock_counts()[1] >= 3 => tables.lock(states[step % 2], of),
                _ if step % 40 == 0 => tables.end_locks(states[0]),
                _ => tables.unlock(states[step % 2], of),
            };
            let load = || memory.iter().map(|word| word.load(Relaxed));
            let saved: Vec<u32> = load().collect();
            let (before, _) = see();
            change();
            let after = see();
            for stores in 0.. {
                memory.set_all(0, &saved);
                if kills::ends_within(stores, change) {
                    break;
                }
                kills += 1;
                for is_mended in [false, true] {
                    if is_mended {
                        tables.mend();
                    }
                    let (seen, _) = see();
                    for at in 0..2 {
                        for byte in 0..BYTES {
                            let least = before[at][byte].min(after.0[at][byte]);
                            assert!(seen[at][byte] >= least, "{step} {stores} {is_mended}");
                        }
                    }
                }
                change();
                assert_eq!(see(), after, "{step} {stores}");
            }
        }
        assert!(kills > 2000, "{kills}");
        // The open ends with its lock states, also if another server repeats the CLOSE before the next one mends the tables.
        let saved: Vec<u32> = memory.iter().map(|word| word.load(Relaxed)).collect();
        for is_mended in [false, true] {
            for stores in 0.. {
                memory.set_all(0, &saved);
                if kills::ends_within(stores, || tables.end_open(parent)) {
                    break;
                }
                if is_mended {
                    tables.mend();
                }
                tables.end_open(parent);
                tables.mend();
                let left = [tables.lock_counts()[0], tables.open_counts()[0]];
                let links = tables.opens_of([0, 7]).count();
                assert_eq!((left, links), ([0, 0], 0), "{is_mended} {stores}");
            }
        }
    }
}
