//! The table of opens. Opens keep the hash of a file's handle, never a descriptor, so that they outlive the server's process.
//!
//! An open is in the chain that its file's hash selects; free rows are a chain, too. A row is linked and unlinked by one store, so a
//! server that is killed leaves every chain whole; a row that it leaves in none is found by [`Tables::mend_opens`] of the next one. A
//! row counts, by one store, from the time when it is linked until it is to be unlinked.

use super::tables::{Client, Open, Tables, Words as _, client, head, open};
use crate::wire::nfs4::StateId;

/// The share reservation of an open: bits of access, and bits that it denies to others. Bit 0 is reading, bit 1 writing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    pub(super) access: u32,
    pub(super) deny: u32,
}

impl Shares {
    /// The number of the first bit of: the access, the denial, the set of all accesses that were opened, and that of all denials.
    const DENY: u32 = 2;
    const ACCESSES: u32 = 4;
    const DENIALS: u32 = 8;

    pub(super) fn of(row: Open) -> Self {
        let word = row.word(open::SHARES);
        Self {
            access: word & 3,
            deny: word >> Self::DENY & 3,
        }
    }

    /// Returns true if both may be open at the same time.
    pub(super) const fn fits(self, other: Self) -> bool {
        self.access & other.deny | self.deny & other.access == 0
    }

    /// The word of a row whose word was `before`, after another open (`adds`) or a downgrade to these shares.
    const fn word(self, before: u32, adds: bool) -> u32 {
        let opened =
            before | 1 << (Self::ACCESSES + self.access) | 1 << (Self::DENIALS + self.deny);
        let shares = self.access | self.deny << Self::DENY;
        match adds {
            true => opened | shares,
            false => opened & !0xf | shares,
        }
    }

    /// Returns true if the owner of an open has opened with this access, and with this denial, and has all their bits now.
    pub(super) fn were_opened(self, row: Open) -> bool {
        let word = row.word(open::SHARES);
        let is_within = (self.access | self.deny << Self::DENY) & !word == 0;
        let opened = word >> (Self::ACCESSES + self.access) & word >> (Self::DENIALS + self.deny);
        is_within && opened & 1 != 0
    }
}

impl Tables {
    /// The number of a row of opens.
    pub(super) fn index(&self, row: Open) -> u32 {
        let start = self.opens.as_ptr().addr();
        let at = core::ptr::from_ref(row).addr();
        ((at - start) / size_of_val(row)) as u32
    }

    /// The state ID of an open.
    pub(super) fn state_id(&self, row: Open) -> StateId {
        let [instance, _] = self.instance();
        let index = self.index(row);
        StateId([
            row.word(open::SEQUENCE),
            instance,
            row.word(open::SERIAL),
            index,
        ])
    }

    /// The open with this state ID, of any sequence number.
    pub(super) fn open_of(&self, StateId([_, instance, serial, index]): StateId) -> Option<Open> {
        let row = self.opens.get(index as usize)?;
        let is_used = row.word(open::CLIENT) != 0 && row.word(open::SERIAL) == serial;
        (is_used && instance == self.head.word(0)).then_some(row)
    }

    /// The place of the chain of a file.
    pub(super) fn chain(&self, [_, hash]: [u32; 2]) -> usize {
        (hash as usize).checked_rem(self.chains.len()).unwrap_or(0)
    }

    /// The row with this index + 1.
    pub(super) fn linked(&self, link: u32) -> Option<Open> {
        self.opens.get((link as usize).checked_sub(1)?)
    }

    /// The rows of a chain. Never more than there are.
    fn chained(&self, first: u32) -> impl Iterator<Item = Open> {
        let tables = *self;
        let next = move |row: &Open| tables.linked(row.word(open::NEXT));
        core::iter::successors(self.linked(first), next).take(self.opens.len())
    }

    /// The opens of a file, and its lock states.
    pub(super) fn opens_of(&self, file: [u32; 2]) -> impl Iterator<Item = Open> {
        let rows = self.chained(self.chains.word(self.chain(file)));
        rows.filter(move |row| row.pair(open::FILE) == file && row.word(open::CLIENT) != 0)
    }

    /// The rows that were used once.
    pub(super) fn touched(&self) -> impl Iterator<Item = Open> {
        let count = self.head.word(head::OPENS_TOUCHED) as usize;
        self.opens.iter().take(count)
    }

    /// The number of opens, and that of free rows.
    pub(super) fn open_counts(&self) -> [u32; 2] {
        let used = self.head.word(head::OPENS);
        [used, (self.opens.len() as u32).saturating_sub(used)]
    }

    /// Adds to a number of the head.
    pub(super) fn count(&self, what: usize, change: u32) {
        self.head
            .set(what, self.head.word(what).wrapping_add(change));
    }

    /// Counts an open of a client (`change` 1), or one less.
    pub(super) fn count_open(&self, row: Open, change: u32) {
        self.count(head::OPENS, change);
        if Shares::of(row).deny != 0 {
            self.count(head::DENIALS, change);
        }
        let [instance, _] = self.instance();
        if let Some(client) = self.client([instance, row.word(open::CLIENT)]) {
            let count = client.word(client::OPENS).wrapping_add(change);
            client.set(client::OPENS, count);
        }
    }

    /// Adds an open, or the lock state of an open (`parent`). `None`: the table is full.
    pub(super) fn add_open(
        &self,
        client: Client,
        owner: [u32; 2],
        file: [u32; 2],
        shares: Shares,
        request: u32,
        parent: Option<Open>,
    ) -> Option<Open> {
        let row = match self.linked(self.head.word(head::OPENS_FREE)) {
            Some(row) => {
                self.head.set(head::OPENS_FREE, row.word(open::NEXT));
                row
            }
            None => {
                let row = self
                    .opens
                    .get(self.head.word(head::OPENS_TOUCHED) as usize)?;
                self.count(head::OPENS_TOUCHED, 1);
                row
            }
        };
        // 0 stands for no open.
        let serial = self.head.word(head::SERIAL).wrapping_add(1).max(1);
        self.head.set(head::SERIAL, serial);
        let words = [[serial, 0], owner, file, [1, shares.word(0, true)]];
        row.set_all(open::SERIAL, words.as_flattened());
        let parent = parent.map_or(0, |parent| parent.word(open::SERIAL));
        row.set_all(open::REQUEST, &[request, parent, 0]);
        self.link(row);
        // From this store on, the row counts.
        row.set(open::CLIENT, client.word(client::NUMBER));
        self.count_open(row, 1);
        Some(row)
    }

    /// Puts an open in front of its chain.
    fn link(&self, row: Open) {
        let chain = self.chain(row.pair(open::FILE));
        row.set(open::NEXT, self.chains.word(chain));
        self.chains.set(chain, self.index(row) + 1);
    }

    /// Changes the shares of an open: adds these, or leaves only these. Does nothing if the same request has done so.
    pub(super) fn share(&self, row: Open, shares: Shares, adds: bool, request: u32) {
        if row.word(open::REQUEST) == request {
            return;
        }
        self.count_open(row, u32::MAX);
        row.set(open::SHARES, shares.word(row.word(open::SHARES), adds));
        self.count_open(row, 1);
        self.renew(row, request);
    }

    /// Counts up the sequence number of a state ID, once for each request.
    pub(super) fn renew(&self, row: Open, request: u32) {
        if row.word(open::REQUEST) == request {
            return;
        }
        // RFC 8881 section 8.2.2: 0 is no sequence number.
        let next = row.word(open::SEQUENCE).wrapping_add(1).max(1);
        // In this order: after a kill between both, the repeated request leaves the number.
        row.set(open::REQUEST, request);
        row.set(open::SEQUENCE, next);
    }

    /// The open of a lock state; an open's own row.
    pub(super) fn parent(&self, row: Open) -> Option<Open> {
        let parent = row.word(open::PARENT);
        if parent == 0 {
            return Some(row);
        }
        let own = [parent, row.word(open::CLIENT)];
        let mut rows = self.opens_of(row.pair(open::FILE));
        rows.find(|open| open.pair(open::SERIAL) == own)
    }

    /// Makes a row free that is in no chain.
    pub(super) fn free(&self, row: Open) {
        row.set(open::CLIENT, 0);
        row.set(open::NEXT, self.head.word(head::OPENS_FREE));
        self.head.set(head::OPENS_FREE, self.index(row) + 1);
    }

    /// Makes all chains and counts of opens from the rows.
    pub(super) fn mend_opens(&self) {
        let used = |row: &Client| row.word(client::STATE) != client::FREE;
        let client_count = self.clients.iter().filter(used).count();
        self.head
            .set_all(head::CLIENTS, &[client_count as u32, 0, 0]);
        self.head.set(head::OPENS_FREE, 0);
        for at in 0..self.chains.len() {
            self.chains.set(at, 0);
        }
        self.clients
            .iter()
            .for_each(|row| row.set(client::OPENS, 0));
        let [instance, _] = self.instance();
        for row in self.touched() {
            match self.client([instance, row.word(open::CLIENT)]) {
                Some(_) => {
                    self.link(row);
                    self.count_open(row, 1);
                }
                None => self.free(row),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tables::word_count;
    use super::*;
    use crate::mem::words;
    use std::collections::BTreeMap;

    const CLIENTS: usize = 4;

    /// Opens and closes at random, against a model. Then links and counts are overwritten, and made from the rows.
    #[test]
    fn chains_and_counts_are_those_of_the_rows() {
        let tables = Tables::new(words(word_count(CLIENTS)), [5, 6]);
        for (number, row) in (CLIENTS as u32..).zip(tables.clients) {
            row.set(client::NUMBER, number);
            row.set(client::STATE, client::CONFIRMED);
        }
        let mut seed = 1_u32;
        let mut random = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % below
        };
        let mut model = BTreeMap::new();
        let check = |model: &BTreeMap<[u32; 3], u32>| {
            let denials = model.values().filter(|deny| **deny != 0).count();
            assert_eq!(
                tables.open_counts(),
                [model.len() as u32, 64 - model.len() as u32]
            );
            assert_eq!(tables.head.word(head::DENIALS) as usize, denials);
            for (number, row) in (0..).zip(tables.clients) {
                let own = model.keys().filter(|[client, ..]| *client == number);
                assert_eq!(row.word(client::OPENS) as usize, own.count());
            }
            for file in 0..8 {
                let all = tables.opens_of([0, file]).map(|row| {
                    let client = row.word(open::CLIENT) - CLIENTS as u32;
                    ([client, row.word(open::OWNER), file], Shares::of(row).deny)
                });
                let expect = model.iter().filter(|([.., of], _)| *of == file);
                assert!(all.collect::<BTreeMap<_, _>>().iter().eq(expect));
            }
        };
        for step in 0..5000 {
            let key @ [number, owner, file] = [random(4), random(5), random(8)];
            let shares = Shares {
                access: 1 + random(3),
                deny: random(4),
            };
            let row = tables
                .opens_of([0, file])
                .find(|row| row.word(open::CLIENT) == number + 4 && row.word(open::OWNER) == owner);
            assert_eq!(row.is_some(), model.contains_key(&key));
            let own = &tables.clients[number as usize];
            match row {
                Some(row) if step % 3 == 0 => {
                    tables.share(row, shares, false, step + 1);
                    model.insert(key, shares.deny);
                }
                Some(row) => {
                    let state = tables.state_id(row);
                    tables.end_open(row);
                    assert!(tables.open_of(state).is_none());
                    model.remove(&key);
                }
                None => match tables.add_open(own, [owner, 0], [0, file], shares, step + 1, None) {
                    Some(row) => {
                        assert!(tables.open_of(tables.state_id(row)).is_some());
                        model.insert(key, shares.deny);
                    }
                    None => assert_eq!(model.len(), 64),
                },
            }
            if step % 100 == 99 {
                for at in 0..tables.chains.len() {
                    tables.chains.set(at, random(70));
                }
                for row in tables.opens {
                    row.set(open::NEXT, random(70));
                }
                tables.head.set(head::OPENS_FREE, random(70));
                tables.head.set_all(head::CLIENTS, &[9, 1, 2]);
                tables.mend_opens();
            }
            if step % 700 == 699 {
                tables.end_opens(own);
                model.retain(|[client, ..], _| *client != number);
            }
            check(&model);
        }
    }

    /// Serial numbers of opens start again after the last one: none of them is that of no open, and an open that has the number of
    /// another client's ends without its lock states.
    #[test]
    fn serial_numbers_start_again() {
        let tables = Tables::new(words(word_count(CLIENTS)), [5, 6]);
        let [own, other] = [0, 1].map(|at| &tables.clients[at]);
        for (number, row) in [(4, own), (5, other)] {
            row.set_all(client::NUMBER, &[number, client::CONFIRMED]);
        }
        let shares = Shares { access: 1, deny: 0 };
        let add = |client, owner, parent| {
            let row = tables.add_open(client, [owner, 0], [0, 7], shares, 1, parent);
            row.unwrap()
        };
        let parent = add(other, 1, None);
        let state = add(other, 2, Some(parent));
        tables.head.set(head::SERIAL, u32::MAX - 1);
        let all = [1, 2, 3, 4].map(|owner| add(own, owner, None));
        for (left, row) in (2..6).rev().zip(all) {
            tables.end_open(row);
            assert_eq!(tables.opens_of([0, 7]).count(), left);
        }
        assert!(core::ptr::eq(tables.parent(state).unwrap(), parent));
    }
}
