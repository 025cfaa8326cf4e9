//! What others said: their records, in a table that is cut at start. RFC 6762 sections 5.2 and 10.
//!
//! Names within records are kept as numbers; other rdata lies in one arena, which is compacted when it is full. When the table is full,
//! what is over goes first, then what has the least time left; what is wanted stays, and what is new is not kept.

use super::super::{LinkId, NameId, Names};
use super::chains::Chains;
use super::entry::{Entry, GRACE, Role, is, key};
use super::rdata::RdataArena;
use super::{Limits, SETTLE};
use crate::mem::Slots;
use crate::time::{Duration, Instant};
use crate::wire::dns::{Name, Record, UncompressedRdata, kind};

/// Longer than this nothing is kept unheard.
const TTL_MAX: u32 = 86_400;
/// Records of one name, but for those that are many by nature.
const COUNT_OF_NAME_MAX: usize = 64;
/// Names that stand for others, one after the other.
const ALIAS_COUNT_MAX: u8 = 4;
/// Places that are looked at for one that is to be freed.
const WINDOW: usize = 64;

/// What there is to know of a record besides the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) link: LinkId,
    /// [`is::OWN`] and [`is::SEEN`].
    pub(super) facts: u16,
    pub(super) jitter: u8,
}

/// Everything that is known.
#[derive(Debug)]
#[repr(C)] // The longest last.
pub(super) struct Cache {
    /// When what is done now is done.
    pub(super) now: Instant,
    pub(super) entries: Slots<Entry>,
    chains: Chains,
    arena: RdataArena,
    /// Where the next place to be freed is looked for.
    hand: usize,
    /// Something changed that may have to be reported.
    pub(super) touched: bool,
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
        }
    }

    /// Bytes of rdata in use.
    pub(super) const fn rdata_bytes(&self) -> usize {
        self.arena.live()
    }

    #[inline(never)]
    pub(super) fn rdata(&self, entry: &Entry) -> &[u8] {
        self.arena.get(entry.rdata)
    }

    /// The records of a name on a link that are in the list of a target.
    #[inline(never)]
    pub(super) fn all_of(&self, name: NameId, target: NameId, link: LinkId) -> Of<'_> {
        Of {
            cache: self,
            name,
            link,
            at: self.chains.first(key(name, target)),
        }
    }

    /// The records of a name on a link one after another, but for those that are many by nature, and those that are gone.
    #[inline(never)]
    pub(super) fn step(&self, name: NameId, link: LinkId, from: Option<usize>) -> Option<usize> {
        let mut of = self.all_of(name, NameId::ROOT, link);
        if let Some(from) = from {
            of.at = self.chains.next(from as u16);
        }
        loop {
            let (at, entry) = of.next()?;
            if !entry.is(is::GONE) {
                return Some(at);
            }
        }
    }

    /// Where it is said that a name has no records of this kind. Of a service only that it has no text is believed, of one that
    /// has a place: there is none without SRV, and python-zeroconf lists the kinds that it has *not*.
    #[inline(never)]
    pub(super) fn denial(&self, name: NameId, link: LinkId, kind: u16) -> Option<usize> {
        let mut denials = self.of_kind(name, link, kind::NSEC);
        let (at, _) = denials.find(|(_, entry)| {
            let denial = Record::alone(kind::NSEC, self.rdata(entry));
            let is_of_service = matches!(kind, kind::SRV | kind::TXT);
            denial.lists(kind) == Some(false)
                && (!is_of_service || denial.lists(kind::SRV) == Some(true))
        })?;
        Some(at)
    }

    /// The records of a name and kind that hold.
    pub(super) fn of_kind(&self, name: NameId, link: LinkId, kind: u16) -> OfKind<'_> {
        OfKind {
            all: self.all_of(name, NameId::ROOT, link),
            kind,
        }
    }

    /// The name that another stands for, a few steps on at most.
    pub(super) fn canonical(&self, name: NameId, link: LinkId) -> NameId {
        let mut name = name;
        for _ in 0..ALIAS_COUNT_MAX {
            if let Some((_, alias)) = self.of_kind(name, link, kind::CNAME).next() {
                name = alias.target;
            }
        }
        name
    }

    /// The number of a name. Records are evicted for it if the table is full.
    #[inline(never)]
    pub(super) fn intern(&mut self, name: Name<'_>) -> Option<NameId> {
        let mut tries = 8u8;
        loop {
            if let Some(id) = self.names.intern(name) {
                return Some(id);
            }
            tries = tries.checked_sub(1)?;
            if !self.names.takes(name) || !self.evict() {
                return None;
            }
        }
    }

    /// Takes what a message says of a record.
    pub(super) fn hear(&mut self, heard: &Heard, record: &Record<'_>) {
        let is_whole = match record.kind {
            kind::A => record.rdata().len() == 4,
            kind::AAAA => record.rdata().len() == 16,
            kind::PTR | kind::CNAME | kind::SRV | kind::TXT | kind::NSEC => true,
            // It is never asked for.
            _ => false,
        };
        if !is_whole {
            return;
        }
        let Some(target) = pointed(record) else {
            return;
        };
        // What is gone need not be known by name.
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
            self.take(heard, record, name, target);
        }
        if !is_gone {
            self.names.release(name);
            self.names.release(target.unwrap_or(NameId::ROOT));
        }
    }

    /// Where this record is.
    fn find(
        &self,
        link: LinkId,
        record: &Record<'_>,
        name: NameId,
        target: NameId,
    ) -> Option<usize> {
        // PTR may be in either list.
        let mut list = NameId::ROOT;
        loop {
            for (at, entry) in self.all_of(name, list, link) {
                if (entry.kind, entry.target) == (record.kind, target) && self.says(entry, record) {
                    return Some(at);
                }
            }
            if record.kind != kind::PTR || list == target {
                return None;
            }
            list = target;
        }
    }

    /// Whether we know what a message says, and would say so ourselves.
    pub(super) fn knows(&self, link: LinkId, record: &Record<'_>) -> bool {
        let known = || {
            let name = self.names.find(record.name)?;
            let target = self.names.find(pointed(record)?)?;
            let at = self.find(link, record, name, target)?;
            self.entries.get(at)?.is_known_for(self.now)
        };
        known().is_some()
    }

    /// A record takes the place of others of its name and kind; how many there are of its name.
    fn replace(&mut self, heard: &Heard, record: &Record<'_>, name: NameId) -> usize {
        let (mut at, mut count) = (self.step(name, heard.link, None), 0usize);
        while let Some(here) = at {
            count += 1;
            at = self.step(name, heard.link, Some(here));
            if let Some(entry) = self.entries.get_mut(here)
                && record.flushes()
                && record.ttl != 0
                && entry.kind == record.kind
                && !entry.is(is::SHARED)
                && self.now.since(entry.received) > GRACE
            {
                self.touched |= entry.is(is::WANTED);
                entry.end(self.now);
            }
        }
        count
    }

    /// Whether both have the same rdata; the name in it is the same.
    pub(super) fn says(&self, entry: &Entry, record: &Record<'_>) -> bool {
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

    fn take(&mut self, heard: &Heard, record: &Record<'_>, name: NameId, target: NameId) {
        let now = self.now;
        // What is said again is as new before the others are looked at.
        let found = self.find(heard.link, record, name, target);
        let ttl = record.ttl.min(TTL_MAX);
        let expires = now.after(Duration::from_secs(ttl));
        if let Some(entry) = found.and_then(|at| self.entries.get_mut(at)) {
            let was_gone = entry.is(is::GONE);
            if record.ttl == 0 {
                if !was_gone {
                    entry.end(now);
                }
                return;
            }
            // What was gone is back.
            let is_news =
                was_gone || entry.is(is::ENDING) || entry.facts & heard.facts != heard.facts;
            self.touched |= is_news && (was_gone || entry.is(is::WANTED));
            entry.facts &= !(is::GONE | is::ENDING | is::EARLIER);
            entry.facts |= heard.facts;
            (entry.ttl, entry.received, entry.expires) = (ttl, now, expires);
            (entry.step, entry.jitter) = (0, heard.jitter);
            self.replace(heard, record, name);
            return;
        }
        let count = self.replace(heard, record, name);
        let is_shared = record.kind == kind::PTR && !record.flushes();
        if record.ttl == 0 || (count >= COUNT_OF_NAME_MAX && !is_shared) {
            return;
        }
        let mut entry = Entry {
            received: now,
            expires,
            ttl,
            name,
            target,
            kind: record.kind,
            facts: heard.facts | is::USED,
            link: heard.link,
            jitter: heard.jitter,
            rdata: RdataArena::NONE,
            ..Entry::default()
        };
        if is_shared {
            entry.facts |= is::SHARED;
        }
        let len = match record.kind {
            kind::PTR | kind::CNAME => 0,
            kind::SRV => 6,
            _ => record.uncompressed_rdata().emit(&mut []),
        };
        self.add(entry, record, len);
    }

    /// Adds a record that was not known; others are evicted for it if the table is full.
    fn add(&mut self, entry: Entry, record: &Record<'_>, len: usize) {
        let mut entry = entry;
        let mut tries = u8::MAX;
        while !self.chains.has_space() || !self.arena.has_space(len) {
            tries -= 1;
            if tries == 0 || !self.arena.takes(len) || !self.evict() {
                return;
            }
        }
        let Some(at) = self.chains.take(entry.key()) else {
            return;
        };
        // Of TXT, no byte says the same as a zero.
        let len = if entry.kind == kind::TXT {
            len.max(1)
        } else {
            len
        };
        if len != 0 {
            let Some((rdata, buffer)) = self.arena.add(&mut self.entries, at, len) else {
                return self.chains.give(entry.key(), at);
            };
            entry.rdata = rdata;
            record.uncompressed_rdata().emit(buffer);
        }
        self.names.keep(entry.name);
        self.names.keep(entry.target);
        match self.entries.get_mut(usize::from(at)) {
            Some(place) => *place = entry,
            None => _ = self.entries.push(entry),
        }
        self.touched = true;
    }

    /// Frees a place, unless it is still to be told that its record is gone. Whether it is free.
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
            if entry.facts & (is::USED | is::GONE) != is::USED {
                continue;
            }
            // What is wanted stays: a known service does not come and go because there are too many.
            // So does, until it is looked at, what came just now.
            let is_wanted = entry.is(is::WANTED | is::DENIES) && entry.holds(now);
            let is_kept = is_wanted || now.since(entry.received) < SETTLE;
            if !is_kept && best.is_none_or(|(other, _)| entry.expires < other) {
                best = Some((entry.expires, self.hand));
            }
        }
        best.is_some_and(|(_, at)| self.retire(at))
    }

    /// The record has expired. It is removed, unless that is still to be reported. Whether it was.
    #[inline(never)]
    pub(super) fn retire(&mut self, at: usize) -> bool {
        let Some(entry) = self.entries.get_mut(at) else {
            return false;
        };
        self.touched |= entry.is(is::WANTED);
        entry.facts &= !is::WANTED;
        if entry.is_reported() && entry.role == Role::Service {
            entry.facts |= is::GONE;
            self.touched = true;
            return false;
        }
        self.remove(at);
        true
    }

    pub(super) fn remove(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at) else {
            return;
        };
        let entry = core::mem::take(entry);
        if !entry.is(is::USED) {
            return;
        }
        self.arena.remove(entry.rdata);
        self.chains.give(entry.key(), at as u16);
        self.names.release(entry.name);
        self.names.release(entry.target);
    }
}

/// Records of one name on one link.
#[derive(Clone, Debug)]
pub(super) struct Of<'a> {
    cache: &'a Cache,
    name: NameId,
    link: LinkId,
    at: u16,
}

impl<'a> Iterator for Of<'a> {
    type Item = (usize, &'a Entry);

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let here = usize::from(self.at);
            let entry = self.cache.entries.get(here)?;
            self.at = self.cache.chains.next(self.at);
            let is_it = (entry.name, entry.link) == (self.name, self.link);
            if is_it && entry.is(is::USED) {
                return Some((here, entry));
            }
        }
    }
}

/// Those of one kind that hold.
#[derive(Clone, Debug)]
pub(super) struct OfKind<'a> {
    all: Of<'a>,
    kind: u16,
}

impl<'a> Iterator for OfKind<'a> {
    type Item = (usize, &'a Entry);

    #[inline(never)]
    fn next(&mut self) -> Option<Self::Item> {
        let (kind, now) = (self.kind, self.all.cache.now);
        self.all
            .find(|(_, entry)| entry.kind == kind && entry.holds(now))
    }
}

/// The name in a record's rdata, which must be there; where there is none by its kind, that without labels.
#[inline(never)]
fn pointed<'a>(record: &Record<'a>) -> Option<Name<'a>> {
    match record.kind {
        kind::PTR | kind::CNAME => record.target(0),
        kind::SRV => record.target(6),
        _ => Some(Name::ROOT),
    }
}
