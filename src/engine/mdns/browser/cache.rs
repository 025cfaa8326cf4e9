//! Cache of received records, a table of fixed size. RFC 6762 sections 5.2 and 10.
//!
//! Names are stored by number, other rdata in one arena, which is compacted when it is full. A full table compares [`WINDOW`]
//! records and evicts the one that expires first among those that no lookup needs. If none can be evicted, the new record is
//! dropped.

use super::super::{LinkId, NameId, Names};
use super::chains::Chains;
use super::entry::{CacheEntry, GRACE, Role, key, record_flag};
use super::rdata::RdataArena;
use super::{Limits, SETTLE};
use crate::mem::Slots;
use crate::time::{Duration, Instant};
use crate::wire::dns::{Name, Record, UncompressedRdata, kind};

/// Stands for every link in [`Cache::chain_of`].
pub(super) const ANY_LINK: LinkId = LinkId::MAX;
/// Upper limit of a TTL, in seconds.
const TTL_MAX: u32 = 86_400;
/// Maximum number of records per name on a link; shared PTR records do not count.
const COUNT_OF_NAME_MAX: usize = 64;
/// Maximum length of a chain of CNAME records.
const ALIAS_COUNT_MAX: u8 = 4;
/// Number of records that one eviction compares.
const WINDOW: usize = 64;

/// Tables without space for a record.
pub(super) mod full {
    pub(in super::super) const NAMES: u8 = 1;
    pub(in super::super) const RECORDS: u8 = 1 << 1;
    pub(in super::super) const RDATA: u8 = 1 << 2;
}

/// Link, flags and jitter of the records in a received message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reception {
    pub(super) link: LinkId,
    /// [`record_flag::SEEN`] of the message's address family, and [`record_flag::OWN`] if this host sent the message.
    pub(super) flags: u16,
    pub(super) jitter: u8,
}

/// Table of the records that were received on all links.
#[derive(Debug)]
#[repr(C)] // Largest field last: small offsets make short instructions.
pub(super) struct Cache {
    /// Time of the current call.
    pub(super) now: Instant,
    pub(super) entries: Slots<CacheEntry>,
    chains: Chains,
    arena: RdataArena,
    /// Clock hand of the eviction: index of the last record that was compared.
    hand: usize,
    /// True if records changed in a way that may cause an event or a question.
    pub(super) touched: bool,
    /// The tables because of which records were dropped: flags of [`full`].
    pub(super) full: u8,
    pub(super) names: Names,
}

impl Cache {
    pub(super) fn new(limits: &Limits, seed: u32) -> Self {
        Self {
            now: Instant::default(),
            names: Names::new(limits.names, seed),
            entries: Slots::new(limits.records),
            chains: Chains::new(limits.records.next_power_of_two(), limits.records),
            arena: RdataArena::new(limits.rdata_bytes),
            hand: 0,
            touched: false,
            full: 0,
        }
    }

    /// Returns the space (bytes) that rdata occupies in the arena.
    pub(super) const fn rdata_bytes(&self) -> usize {
        self.arena.live()
    }

    pub(super) fn rdata(&self, entry: &CacheEntry) -> &[u8] {
        self.arena.get(entry.rdata)
    }

    /// Iterates over the records of a name on a link, or on [`ANY_LINK`], in the chain of `target`. With [`NameId::ROOT`], that
    /// chain has the unique records; otherwise it has the shared PTR records that point to `target`.
    #[inline(never)] // −290 bytes: nine callers.
    pub(super) fn chain_of(&self, name: NameId, target: NameId, link: LinkId) -> ChainOf<'_> {
        ChainOf {
            cache: self,
            name,
            link,
            index: self.chains.first(key(name, target)),
        }
    }

    /// Returns the index of the next unique record of a name on a link, after index `from`. Skips records that are
    /// [`record_flag::GONE`].
    pub(super) fn next_unique(
        &self,
        name: NameId,
        link: LinkId,
        from: Option<usize>,
    ) -> Option<usize> {
        let mut of = self.chain_of(name, NameId::ROOT, link);
        if let Some(from) = from {
            of.index = self.chains.next(from as u16);
        }
        loop {
            let (index, entry) = of.next()?;
            if !entry.is(record_flag::GONE) {
                return Some(index);
            }
        }
    }

    /// Returns the index of an NSEC record which denies that `name` has records of type `kind`. The SRV record of a service cannot
    /// be denied, because each service has one. Its TXT record is denied only if the NSEC record lists SRV: python-zeroconf lists
    /// the types that the name does *not* have.
    pub(super) fn denial(&self, name: NameId, link: LinkId, kind: u16) -> Option<usize> {
        let mut denials = self.valid_of_kind(name, link, kind::NSEC);
        let (index, _) = denials.find(|(_, entry)| {
            let denial = Record::alone(kind::NSEC, self.rdata(entry));
            let is_of_service = matches!(kind, kind::SRV | kind::TXT);
            denial.lists(kind) == Some(false)
                && (!is_of_service || denial.lists(kind::SRV) == Some(true))
        })?;
        Some(index)
    }

    /// Iterates over the valid records of a name and type on a link.
    pub(super) fn valid_of_kind(&self, name: NameId, link: LinkId, kind: u16) -> OfKind<'_> {
        OfKind {
            all: self.chain_of(name, NameId::ROOT, link),
            kind,
        }
    }

    /// Returns the target of a name's CNAME records, or the name if it has none. Follows at most [`ALIAS_COUNT_MAX`] records.
    pub(super) fn canonical(&self, name: NameId, link: LinkId) -> NameId {
        let mut name = name;
        for _ in 0..ALIAS_COUNT_MAX {
            if let Some((_, alias)) = self.valid_of_kind(name, link, kind::CNAME).next() {
                name = alias.target;
            }
        }
        name
    }

    /// Returns the number of a name and increments its use count. Evicts records while the table of names is full.
    pub(super) fn intern(&mut self, name: Name<'_>) -> Option<NameId> {
        let mut tries = 8u8;
        loop {
            if let Some(id) = self.names.intern(name) {
                return Some(id);
            }
            if !self.names.can_hold(name) {
                return None;
            }
            if tries == 0 || !self.evict() {
                self.full |= full::NAMES;
                return None;
            }
            tries -= 1;
        }
    }

    /// Stores one record of a received message.
    pub(super) fn receive(&mut self, reception: &Reception, record: &Record<'_>) {
        let is_whole = match record.kind {
            kind::A => record.rdata().len() == 4,
            kind::AAAA => record.rdata().len() == 16,
            kind::PTR | kind::CNAME | kind::SRV | kind::TXT | kind::NSEC => true,
            // A type that the browser never queries.
            _ => false,
        };
        if !is_whole {
            return;
        }
        let Some(target) = rdata_name(record) else {
            return;
        };
        // A goodbye (TTL 0) must not add its name to the table: only known records can expire.
        let is_gone = record.ttl == 0;
        let mut number = |name| {
            if is_gone {
                self.names.find(name)
            } else {
                self.intern(name)
            }
        };
        let Some(name) = number(record.name) else {
            return;
        };
        let target = number(target);
        if let Some(target) = target {
            self.store(reception, record, name, target);
        }
        if !is_gone {
            self.names.remove_use(name);
            self.names.remove_use(target.unwrap_or(NameId::ROOT));
        }
    }

    /// Returns the index of the cached record with this owner name, type and rdata.
    fn find(
        &self,
        link: LinkId,
        record: &Record<'_>,
        name: NameId,
        target: NameId,
    ) -> Option<usize> {
        // A unique PTR record is in the chain of its name, a shared one in the chain of its name and target.
        let mut list = NameId::ROOT;
        loop {
            for (index, entry) in self.chain_of(name, list, link) {
                if (entry.kind, entry.target) == (record.kind, target)
                    && self.has_rdata_of(entry, record)
                {
                    return Some(index);
                }
            }
            if record.kind != kind::PTR || list == target {
                return None;
            }
            list = target;
        }
    }

    /// Returns the cached record if it would be sent as a known answer.
    pub(super) fn known_answer(
        &mut self,
        link: LinkId,
        record: &Record<'_>,
    ) -> Option<&mut CacheEntry> {
        let name = self.names.find(record.name)?;
        let target = self.names.find(rdata_name(record)?)?;
        let index = self.find(link, record, name, target)?;
        let entry = self.entries.get_mut(index)?;
        entry.is_known_for(self.now).is_some().then_some(entry)
    }

    /// Cache flush (RFC 6762 section 10.2): if the received record has the cache-flush bit, cached records with its name and type
    /// that are older than 1 s expire in [`GRACE`], or at once if the received record needs their space. Returns the number of unique
    /// records of the name.
    fn replace(&mut self, reception: &Reception, record: &Record<'_>, name: NameId) -> usize {
        let (mut next, mut count) = (self.next_unique(name, reception.link, None), 0usize);
        let is_full = self.full_table(record.rdata().len()) != 0;
        while let Some(index) = next {
            count += 1;
            next = self.next_unique(name, reception.link, next);
            if let Some(entry) = self.entries.get_mut(index)
                && record.flushes()
                && record.ttl != 0
                && entry.kind == record.kind
                && !entry.is(record_flag::SHARED)
                && self.now.since(entry.received) > GRACE
            {
                self.touched |= entry.is(record_flag::WANTED);
                entry.expire_soon(self.now);
                if is_full {
                    self.retire(index);
                }
            }
        }
        count
    }

    /// Returns true if `entry` and `record` have the same rdata. The caller has already compared the names in the rdata.
    pub(super) fn has_rdata_of(&self, entry: &CacheEntry, record: &Record<'_>) -> bool {
        let rdata = self.rdata(entry);
        match record.kind {
            kind::PTR | kind::CNAME => true,
            kind::SRV => record.rdata().starts_with(rdata),
            kind::TXT if record.rdata().is_empty() => rdata == [0],
            kind => record
                .uncompressed_rdata()
                .is(UncompressedRdata::of(kind, rdata)),
        }
    }

    fn store(&mut self, reception: &Reception, record: &Record<'_>, name: NameId, target: NameId) {
        let now = self.now;
        // A record that is repeated is refreshed before the cache flush, so that it is not flushed itself.
        let found = self.find(reception.link, record, name, target);
        let ttl = record.ttl.min(TTL_MAX);
        let expires = now.after(Duration::from_secs(ttl));
        if let Some(entry) = found.and_then(|index| self.entries.get_mut(index)) {
            let was_gone = entry.is(record_flag::GONE);
            if record.ttl == 0 {
                if !was_gone {
                    entry.expire_soon(now);
                }
                return;
            }
            // The record is news if it had expired, was about to expire, or arrives over a further address family.
            let is_news = was_gone
                || entry.is(record_flag::ENDING)
                || entry.flags & reception.flags != reception.flags;
            self.touched |= is_news && (was_gone || entry.is(record_flag::WANTED));
            entry.flags &= !(record_flag::GONE | record_flag::ENDING | record_flag::EARLIER);
            entry.flags |= reception.flags;
            (entry.ttl, entry.received, entry.expires) = (ttl, now, expires);
            (entry.step, entry.jitter) = (0, reception.jitter);
            self.replace(reception, record, name);
            return;
        }
        let count = self.replace(reception, record, name);
        let is_shared = record.kind == kind::PTR && !record.flushes();
        if record.ttl == 0 || (count >= COUNT_OF_NAME_MAX && !is_shared) {
            return;
        }
        let mut entry = CacheEntry {
            received: now,
            expires,
            ttl,
            name,
            target,
            kind: record.kind,
            flags: reception.flags | record_flag::USED,
            link: reception.link,
            jitter: reception.jitter,
            rdata: RdataArena::NONE,
            ..CacheEntry::default()
        };
        if is_shared {
            entry.flags |= record_flag::SHARED;
        }
        let len = match record.kind {
            kind::PTR | kind::CNAME => 0,
            kind::SRV => 6,
            // An empty TXT record is the same as one zero byte (RFC 6763 section 6.1).
            kind::TXT => record.rdata().len().max(1),
            _ => record.uncompressed_rdata().emit(&mut []),
        };
        self.add(entry, record, len);
    }

    /// Adds a new record. Evicts others if the table is full.
    fn add(&mut self, entry: CacheEntry, record: &Record<'_>, len: usize) {
        let mut entry = entry;
        let mut tries = u8::MAX;
        loop {
            let full = self.full_table(len);
            if full == 0 {
                break;
            }
            tries -= 1;
            if !self.arena.can_store(len) {
                return;
            }
            if tries == 0 || !self.evict() {
                self.full |= full;
                return;
            }
        }
        let Some(index) = self.chains.allocate(entry.key()) else {
            return;
        };
        if len != 0 {
            let Some((rdata, buffer)) = self.arena.add(&mut self.entries, index, len) else {
                return self.chains.free(entry.key(), index);
            };
            entry.rdata = rdata;
            record.uncompressed_rdata().emit(buffer);
        }
        self.names.add_use(entry.name);
        self.names.add_use(entry.target);
        match self.entries.get_mut(usize::from(index)) {
            Some(slot) => *slot = entry,
            None => _ = self.entries.push(entry),
        }
        self.touched = true;
    }

    /// Returns the table in which a record with rdata of `len` bytes has no space, as a flag of [`full`]; 0: it fits.
    fn full_table(&self, len: usize) -> u8 {
        match () {
            () if !self.chains.has_space() => full::RECORDS,
            () if len != 0 && !self.arena.has_space(len) => full::RDATA,
            () => 0,
        }
    }

    /// Returns true if an eighth of each table is free because of which records were dropped.
    pub(super) fn has_space(&self) -> bool {
        let used = |entry: &&CacheEntry| entry.is(record_flag::USED);
        let count = self.entries.count();
        let is_free = |table, is_free: bool| self.full & table == 0 || is_free;
        is_free(full::NAMES, self.names.has_space(self.names.count() / 8))
            && is_free(
                full::RECORDS,
                self.entries.iter().filter(used).count() <= count - count / 8,
            )
            && is_free(full::RDATA, self.arena.has_eighth())
    }

    /// Evicts one record. Returns true if a slot was freed; false if no record can be evicted, or if its removal must be reported
    /// first.
    fn evict(&mut self) -> bool {
        let (mut best, now) = (None, self.now);
        for _ in 0..WINDOW.min(self.entries.len()) {
            self.hand += 1;
            if self.hand >= self.entries.len() {
                self.hand = 0;
            }
            let Some(entry) = self.entries.get(self.hand) else {
                break;
            };
            if entry.flags & (record_flag::USED | record_flag::GONE) != record_flag::USED {
                continue;
            }
            // Keep records that lookups need, so that a known service is not removed and added again while the table is full. Keep
            // records that are too new to have been in a pass over the cache.
            let is_wanted =
                entry.is(record_flag::WANTED | record_flag::DENIES) && entry.is_valid(now);
            let is_kept = is_wanted || now.since(entry.received) < SETTLE;
            if !is_kept && best.is_none_or(|(other, _)| entry.expires < other) {
                best = Some((entry.expires, self.hand));
            }
        }
        best.is_some_and(|(_, index)| self.retire(index))
    }

    /// Expires a record. Its slot is freed at once (returns true), unless `Removed` must be reported first.
    pub(super) fn retire(&mut self, index: usize) -> bool {
        let Some(entry) = self.entries.get_mut(index) else {
            return false;
        };
        self.touched |= entry.is(record_flag::WANTED);
        entry.flags &= !record_flag::WANTED;
        if entry.is_reported() && entry.role == Role::Service {
            entry.flags |= record_flag::GONE;
            self.touched = true;
            return false;
        }
        self.remove(index);
        true
    }

    pub(super) fn remove(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        let entry = core::mem::take(entry);
        if !entry.is(record_flag::USED) {
            return;
        }
        self.arena.remove(entry.rdata);
        self.chains.free(entry.key(), index as u16);
        self.names.remove_use(entry.name);
        self.names.remove_use(entry.target);
    }
}

/// Iterator over the records of one name on one link or on all, with their indices.
#[derive(Clone, Debug)]
pub(super) struct ChainOf<'a> {
    cache: &'a Cache,
    name: NameId,
    link: LinkId,
    index: u16,
}

impl<'a> Iterator for ChainOf<'a> {
    type Item = (usize, &'a CacheEntry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let index = usize::from(self.index);
            let entry = self.cache.entries.get(index)?;
            self.index = self.cache.chains.next(self.index);
            let is_match = self.link == ANY_LINK || self.link == entry.link;
            if is_match && entry.name == self.name && entry.is(record_flag::USED) {
                return Some((index, entry));
            }
        }
    }
}

/// Iterator over the valid records of one name and type on one link.
#[derive(Clone, Debug)]
pub(super) struct OfKind<'a> {
    all: ChainOf<'a>,
    kind: u16,
}

impl<'a> Iterator for OfKind<'a> {
    type Item = (usize, &'a CacheEntry);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, now) = (self.kind, self.all.cache.now);
        self.all
            .find(|(_, entry)| entry.kind == kind && entry.is_valid(now))
    }
}

/// Returns the name in a record's rdata; the root for types without one. `None` if the rdata is malformed.
fn rdata_name<'a>(record: &Record<'a>) -> Option<Name<'a>> {
    match record.kind {
        kind::PTR | kind::CNAME => record.target(0),
        kind::SRV => record.target(6),
        _ => Some(Name::ROOT),
    }
}
