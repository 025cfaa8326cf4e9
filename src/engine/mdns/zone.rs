//! What is announced: records of the names that are ours, and what each is bound to.
//!
//! A name of ours is *unique*, then it is probed for before its records are told, or shared with others. Whatever its kind, a
//! record says some bytes and then perhaps a name: the bytes of all are in one piece of memory, names are known by numbers.

use super::Limits;
use super::family;
use super::link::{LINK_COUNT_MAX, LinkId};
use super::names::{NameId, Names};
use super::record_state::RecordState;
use crate::mem::Ends as _;
use crate::mem::{Slots, shift};
use crate::wire::dns::kind;
use core::ops::Deref;

/// Seconds for which others remember what a host's name or address is part of. RFC 6762 section 10.
pub(super) const HOST_TTL: u32 = 120;
/// Seconds for which others remember everything else.
const OTHER_TTL: u32 = 75 * 60;

/// The place of a record in the table.
pub(super) type RecordId = usize;

/// Of a record that is told on every link.
pub(super) const EVERYWHERE: u8 = u8::MAX;
/// Further names of a host's addresses.
pub const ALIAS_COUNT_MAX: usize = 8;
/// Bytes that a record says which is no text: of few records more, of most none.
const SHORT_BYTES: usize = 4;

/// A record of ours.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Record {
    /// Whose it is.
    pub(super) name: NameId,
    /// The unique name that must be ours before this is told.
    pub(super) owner: NameId,
    /// The name that it points to; the root: to none.
    pub(super) target: NameId,
    pub(super) kind: u16,
    /// The next record of the same name, and 1; 0: there is none. Of free places, too.
    next: u16,
    /// A bit for each link on which it is told: one, or [`EVERYWHERE`]. None: the place is free.
    pub(super) links: u8,
    /// The families in which it is told; the same for all records of a unique name.
    pub(super) families: u8,
    /// No other host has records of this name.
    pub(super) is_unique: bool,
    /// It is withdrawn: its goodbyes are being sent.
    pub(super) is_goodbye: bool,
    /// What it says before the name: so many bytes of the texts.
    at: u32,
    len: u32,
}

impl Record {
    /// One of a unique name, which points nowhere.
    pub(super) const fn unique(name: NameId, kind: u16, links: u8) -> Self {
        Self {
            name,
            owner: name,
            target: NameId::ROOT,
            kind,
            next: 0,
            links,
            families: family::ANY,
            is_unique: true,
            is_goodbye: false,
            at: 0,
            len: 0,
        }
    }

    /// Whether it is told on the link of this bit.
    pub(super) const fn is_on(&self, link: u8) -> bool {
        self.links & link != 0
    }

    /// Whether it says on this link what there is: neither that there is nothing else, nor that it is gone.
    #[inline(never)]
    pub(super) const fn is_held(&self, link: u8) -> bool {
        self.is_on(link) && self.kind != kind::NSEC && !self.is_goodbye
    }

    /// Seconds for which it is remembered.
    #[inline(never)]
    pub(super) const fn ttl(&self) -> u32 {
        if self.is_unique && self.kind != kind::TXT {
            HOST_TTL
        } else {
            OTHER_TTL
        }
    }
}

/// A record in the table, and what is with it on each link; that of the first record of a name, with the name.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) record: Record,
    states: [RecordState; LINK_COUNT_MAX],
}

impl Entry {
    const fn new(record: Record) -> Self {
        Self {
            record,
            states: [const { RecordState::new() }; LINK_COUNT_MAX],
        }
    }

    /// What is with it on a link.
    pub(super) fn on(&self, link: LinkId) -> &RecordState {
        let [first, ..] = &self.states;
        // No link has a higher number, and so the compiler knows it, too.
        let place = usize::from(link) % LINK_COUNT_MAX;
        self.states.get(place).unwrap_or(first)
    }

    /// The same on all links.
    pub(super) fn states(&self) -> core::slice::Iter<'_, RecordState> {
        self.states.iter()
    }
}

impl Deref for Entry {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

/// What is known of a name of ours.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Claim {
    /// The first record of this name, and 1.
    first: u16,
    /// How often another name was chosen.
    pub(super) renames: u16,
    /// Bytes of the label that was wished.
    pub(super) wished_len: u8,
    /// What the name becomes when others have it.
    pub(super) rename_style: RenameStyle,
}

impl Claim {
    /// Of a name that is not ours.
    const NONE: Self = Self {
        first: 0,
        renames: 0,
        wished_len: 0,
        rename_style: RenameStyle::Fixed,
    };
}

/// How another name is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum RenameStyle {
    /// There is no other: it is given up.
    #[default]
    Fixed,
    /// `box-2`.
    Host,
    /// `A box (2)`.
    Instance,
    /// There is no other: it is given up, and that is told.
    Alias,
}

/// A table is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// All records.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Zone {
    pub(super) records: Slots<Entry>,
    /// By name.
    claims: Slots<Claim>,
    texts: Slots<u8>,
    texts_len: usize,
    /// The first free place among the records, and 1.
    free: u16,
    pub(super) local: NameId,
    /// What the host is called, and what it is called where records of ours point to it: another responder on it may have another
    /// name for it.
    pub(super) host: NameId,
    pub(super) service_host: NameId,
    /// Names of the host's addresses: the host's, if we are to announce it, and aliases.
    pub(super) hosts: heapless::Vec<NameId, { 1 + ALIAS_COUNT_MAX }>,
    /// Addresses lead back to the host.
    pub(super) reverses: bool,
    // The longest last.
    pub(super) names: Names,
}

impl Zone {
    pub(super) fn new(limits: &Limits, seed: u32) -> Self {
        let mut names = Names::new(limits.name_count, seed);
        let local = names.add(NameId::ROOT, b"local").unwrap_or_default();
        let short_bytes = limits.record_count.saturating_mul(SHORT_BYTES);
        Self {
            records: Slots::new(limits.record_count),
            claims: Slots::new(limits.name_count),
            texts: Slots::zeroed(limits.text_bytes.saturating_add(short_bytes)),
            texts_len: 0,
            free: 0,
            local,
            host: NameId::ROOT,
            service_host: NameId::ROOT,
            hosts: heapless::Vec::new(),
            reverses: true,
            names,
        }
    }

    /// What is known of a name; nothing of one that is not ours.
    pub(super) fn claim(&self, name: NameId) -> &Claim {
        self.claims.get(name.place()).unwrap_or(&Claim::NONE)
    }

    #[inline(never)]
    pub(super) fn claim_mut(&mut self, name: NameId) -> Option<&mut Claim> {
        while self.claims.len() <= name.place() {
            self.claims.push(Claim::default())?;
        }
        self.claims.get_mut(name.place())
    }

    /// Which kinds of records a name has on a link, but for what says so: a bit for each, the first one for kind 0. None of ours
    /// is above 63.
    #[inline(never)]
    pub(super) fn kinds(&self, name: NameId, link: u8) -> u64 {
        let held = self.of(name).filter(|(_, record)| record.is_held(link));
        held.fold(0, |kinds, (_, record)| kinds | bit_of(record.kind))
    }

    /// The records of a name.
    #[inline(never)]
    pub(super) fn of(&self, name: NameId) -> Of<'_> {
        Of {
            records: &self.records,
            next: self.claim(name).first,
        }
    }

    /// Adds a record, which says `text` before the name that it points to. `None`: a table is full.
    #[inline(never)]
    pub(super) fn add(&mut self, record: &Record, text: &[u8]) -> Option<()> {
        let first = self.claim_mut(record.name)?.first;
        let (at, end) = (self.texts_len, self.texts_len + text.len());
        self.texts.get_mut(at..end)?.copy_from_slice(text);
        let record = Record {
            next: first,
            at: at as u32,
            len: text.len() as u32,
            ..*record
        };
        let id = match self.free.checked_sub(1) {
            Some(free) => {
                let place = self.records.get_mut(usize::from(free))?;
                self.free = core::mem::replace(&mut place.record, record).next;
                free
            }
            None => self.records.push(Entry::new(record))? as u16,
        };
        self.texts_len = end;
        self.names.keep(record.name);
        self.names.keep(record.target);
        self.claim_mut(record.name)?.first = id + 1;
        self.hand_over(first, id + 1);
        Some(())
    }

    /// Another record of a name becomes the first: what is with the name goes to that.
    #[inline(never)]
    fn hand_over(&self, from: u16, to: u16) {
        let entry = |number: u16| self.records.get(usize::from(number.checked_sub(1)?));
        if let (Some(from), Some(to)) = (entry(from), entry(to)) {
            for (from, to) in from.states.iter().zip(&to.states) {
                to.probe.set(from.probe.get());
                to.probe_due.set(from.probe_due.get());
            }
        }
    }

    /// The first record of a unique name.
    #[inline(never)]
    pub(super) fn unique(&self, name: NameId) -> Option<&Entry> {
        let (_, first) = self.of(name).next()?;
        first.is_unique.then_some(first)
    }

    /// Forgets what is with records and names on a link.
    pub(super) fn forget_link(&mut self, link: LinkId) {
        for entry in self.records.iter_mut() {
            if let Some(state) = entry.states.get_mut(usize::from(link)) {
                *state = RecordState::new();
            }
        }
    }

    /// Takes a record away.
    #[inline(never)]
    pub(super) fn remove(&mut self, id: RecordId) {
        let number = id as u16 + 1;
        let Some(gone) = self.records.get(id).map(|entry| entry.record) else {
            return;
        };
        if gone.links == 0 {
            return;
        }
        self.hand_over(number, gone.next);
        let Some(entry) = self.records.get_mut(id) else {
            return;
        };
        *entry = Entry::new(Record {
            next: self.free,
            ..Record::unique(NameId::ROOT, 0, 0)
        });
        self.free = number;
        // What led to it leads to what follows it.
        if let Some(claim) = self.claim_mut(gone.name) {
            let mut at = claim.first;
            if at == number {
                claim.first = gone.next;
                if gone.next == 0 {
                    *claim = Claim::default();
                }
            } else {
                while let Some(place) = at.checked_sub(1)
                    && let Some(before) = self.records.get_mut(usize::from(place))
                {
                    at = before.next;
                    if at == number {
                        before.record.next = gone.next;
                    }
                }
            }
        }
        self.names.release(gone.target);
        self.forget(gone.at, gone.len);
        self.names.release(gone.name);
    }

    /// Takes all records away that depend on a name.
    pub(super) fn remove_all_of(&mut self, owner: NameId) {
        for id in 0..self.records.len() {
            if self
                .records
                .get(id)
                .is_some_and(|record| record.owner == owner)
            {
                self.remove(id);
            }
        }
    }

    /// Forgets a text; those behind it move to its place.
    fn forget(&mut self, at: u32, len: u32) {
        if len == 0 {
            return;
        }
        let all = self.texts.head_mut(self.texts_len);
        let left = shift(all.tail_mut(at as usize), len as usize);
        self.texts_len = at as usize + left;
        for entry in self.records.iter_mut() {
            if entry.at > at {
                entry.record.at -= len;
            }
        }
    }

    /// The name that a record points to.
    pub(super) fn target(&self, record: &Record) -> NameId {
        match record.target {
            target if target == self.host => self.service_host,
            target => target,
        }
    }

    /// What a record says before the name that it points to.
    pub(super) fn text(&self, record: &Record) -> &[u8] {
        self.texts
            .tail(record.at as usize)
            .head(record.len as usize)
    }
}

/// The bit of a kind in [`Zone::kinds`].
pub(super) const fn bit_of(kind: u16) -> u64 {
    1 << 63 >> kind
}

/// Records of one name.
pub(super) struct Of<'a> {
    records: &'a [Entry],
    next: u16,
}

impl<'a> Iterator for Of<'a> {
    type Item = (RecordId, &'a Entry);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let id = usize::from(self.next.checked_sub(1)?);
        let record = self.records.get(id)?;
        self.next = record.next;
        Some((id, record))
    }
}
