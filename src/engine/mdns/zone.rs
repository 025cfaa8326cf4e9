//! The zone: all records that the responder may announce.
//!
//! A name is *unique* (the responder probes for it before it sends its records) or *shared* with other hosts. The rdata of every
//! record type is stored as a prefix of fixed bytes and a target name, either of which may be empty. The prefixes of all records
//! share one buffer; a name is stored as a [`NameId`].

use super::Limits;
use super::family;
use super::link::{LinkId, LinkSet};
use super::names::{NameId, Names, hash};
use super::states::{RecordId, States};
use crate::config::LINK_COUNT_MAX;
use crate::mem::Ends as _;
use crate::mem::{Slots, shift};
use crate::wire::dns::kind;

/// TTL (seconds) of records whose name or rdata contains a host's name or address. RFC 6762 section 10.
pub(super) const HOST_TTL: u32 = 120;
/// TTL (seconds) of all other records. RFC 6762 section 10.
const OTHER_TTL: u32 = 75 * 60;

/// Maximum number of aliases of the host.
pub const ALIAS_COUNT_MAX: usize = 8;
/// Maximum number of interfaces to which services are restricted.
const INTERFACE_COUNT_MAX: usize = LINK_COUNT_MAX;
/// Average memory (bytes) that is reserved per record for rdata prefixes of types other than TXT: SRV needs 6, A 4, AAAA 16, PTR
/// and NSEC 0.
const SHORT_BYTES: usize = 4;

/// A record that the responder may announce.
#[derive(Clone, Copy, Debug)]
pub(super) struct OwnRecord {
    /// Links on which the record is announced: one link, those of its interface, or [`LinkSet::ALL`].
    pub(super) links: LinkSet,
    /// Index of the record in the table.
    id: u16,
    /// Name of the record; the owner name in RFC 1035.
    pub(super) name: NameId,
    /// The unique name that must be ours before this record is sent.
    pub(super) owner: NameId,
    /// The name in the rdata: the target of PTR and SRV. The root: none.
    pub(super) target: NameId,
    pub(super) kind: u16,
    /// Index + 1 of the next record with this name (0: end). Also links the free list.
    next: u16,
    /// Address families in which the record is sent; all records of a unique name have the same families.
    pub(super) families: u8,
    /// True if only this host may have records of this name.
    pub(super) is_unique: bool,
    /// True once the record is withdrawn: its goodbyes are due.
    pub(super) is_goodbye: bool,
    /// True for a record of a static alias that was not added again since [`super::Responder::start_aliases`].
    pub(super) is_stale: bool,
    /// Index + 1 in [`Zone::interfaces`] of the only interface on which the record is announced; 0: on all of [`Self::links`].
    pub(super) interface: u8,
    /// Offset and length (bytes) of the rdata prefix in [`Zone::prefixes`].
    prefix_at: u32,
    prefix_len: u32,
}

impl OwnRecord {
    /// Returns a record of a unique name, with empty rdata.
    pub(super) const fn unique(name: NameId, kind: u16, links: LinkSet) -> Self {
        Self {
            links,
            id: 0,
            name,
            owner: name,
            target: NameId::ROOT,
            kind,
            next: 0,
            families: family::ANY,
            is_unique: true,
            is_goodbye: false,
            is_stale: false,
            interface: 0,
            prefix_at: 0,
            prefix_len: 0,
        }
    }

    /// Returns the index of the record in the table.
    pub(super) fn id(&self) -> RecordId {
        self.id.into()
    }

    /// Returns true if the record is announced on one of these links.
    pub(super) const fn is_on(&self, links: LinkSet) -> bool {
        self.links.meets(links)
    }

    /// Returns true if the record is the address of a static alias, or its reverse mapping.
    pub(super) fn is_static(&self) -> bool {
        self.links == LinkSet::ALL
            && self.is_unique
            && !self.is_goodbye
            && matches!(self.kind, kind::A | kind::AAAA | kind::PTR)
    }

    /// Returns true if the record is positive data on one of these links: neither NSEC nor withdrawn.
    #[inline(never)] // −31 bytes: four callers.
    pub(super) const fn is_active(&self, links: LinkSet) -> bool {
        self.is_on(links) && self.kind != kind::NSEC && !self.is_goodbye
    }
}

/// Claim of one of our names: its records, and how it changes after a conflict.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Claim {
    /// Index + 1 of the first record with this name; 0: none.
    first: u16,
    /// Number of times that the label was changed, after conflicts or because another name of ours has it.
    pub(super) renames: u16,
    /// Length (bytes) of the requested label, a prefix of the current one.
    pub(super) requested_len: u8,
    /// How the name changes after a conflict.
    pub(super) rename_style: RenameStyle,
}

impl Claim {
    /// The claim of a name that is not ours.
    const NONE: Self = Self {
        first: 0,
        renames: 0,
        requested_len: 0,
        rename_style: RenameStyle::Fixed,
    };
}

/// Change of a name after a conflict with another host.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum RenameStyle {
    /// The name is given up (reverse mappings).
    #[default]
    Fixed,
    /// The host's name: gets a number, e.g. `box` is renamed to `box-2`.
    Host,
    /// The name of a service instance: gets a number, e.g. `A box` is renamed to `A box (2)`.
    Instance,
    /// The name of a virtual machine: as `Instance`, but given up and reported if the other host announces the same UUID.
    Machine,
    /// An alias: given up and reported by [`Responder::pop_renamed`](super::Responder::pop_renamed).
    Alias,
}

/// Error: a table is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// The table of all records.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) records: Slots<OwnRecord>,
    /// The states of all records on the links. The first record of a name also holds the name's probing states.
    pub(super) states: States,
    /// Claims, indexed by [`NameId::index`].
    claims: Slots<Claim>,
    /// The rdata prefixes of all records, one after another.
    prefixes: Slots<u8>,
    prefixes_len: usize,
    /// Index + 1 of the first free slot among the records; 0: none.
    free: u16,
    /// The domain `local`.
    pub(super) local: NameId,
    /// The host's name, as this responder claims it.
    pub(super) host: NameId,
    /// Name of the host in the rdata of our records. Differs from `host` if another responder on this host announces the host under
    /// another name.
    pub(super) service_host: NameId,
    /// Names with the host's addresses: the host's name, unless it is excluded, and the aliases.
    pub(super) hosts: heapless::Vec<NameId, { 1 + ALIAS_COUNT_MAX }>,
    /// Interfaces to which services are restricted, as hashes of their names; 0: unused.
    interfaces: [u32; INTERFACE_COUNT_MAX],
    /// Interface of each link, as the hash of its name. Also set while the link is down.
    link_interfaces: [u32; LINK_COUNT_MAX],
    /// TTL (seconds) of the records of services; 0: as RFC 6762 section 10 recommends.
    pub(super) service_ttl: u32,
    /// True if PTR records that map the host's addresses to names are added.
    pub(super) reverses: bool,
    // The largest field is last.
    pub(super) names: Names,
}

impl Zone {
    /// Returns the TTL (seconds) of a record.
    pub(super) const fn ttl(&self, record: &OwnRecord) -> u32 {
        let is_of_service = !record.is_unique || matches!(record.kind, kind::SRV | kind::TXT);
        if is_of_service && self.service_ttl != 0 {
            return self.service_ttl;
        }
        if record.is_unique && record.kind != kind::TXT {
            HOST_TTL
        } else {
            OTHER_TTL
        }
    }

    pub(super) fn new(limits: &Limits, seed: u32) -> Self {
        let mut names = Names::new(limits.name_count, seed);
        let local = names.add(NameId::ROOT, b"local").unwrap_or_default();
        let short_bytes = limits.record_count.saturating_mul(SHORT_BYTES);
        Self {
            records: Slots::new(limits.record_count),
            states: States::new(limits.record_count),
            claims: Slots::new(limits.name_count),
            prefixes: Slots::zeroed(limits.rdata_bytes.saturating_add(short_bytes)),
            prefixes_len: 0,
            free: 0,
            local,
            host: NameId::ROOT,
            service_host: NameId::ROOT,
            hosts: heapless::Vec::new(),
            interfaces: [0; INTERFACE_COUNT_MAX],
            link_interfaces: [0; LINK_COUNT_MAX],
            service_ttl: 0,
            reverses: true,
            names,
        }
    }

    /// Restricts a record to an interface, unless its name is empty. `None`: there are too many.
    pub(super) fn restrict(&mut self, record: &mut OwnRecord, interface: &[u8]) -> Option<()> {
        if interface.is_empty() {
            return Some(());
        }
        let hash = hash(0, interface);
        let mut places = self.interfaces.iter_mut().zip(1..);
        let (entry, place) = places.find(|(other, _)| [0, hash].contains(*other))?;
        *entry = hash;
        record.interface = place;
        record.links = self.links_of(hash);
        Some(())
    }

    /// Returns an interface's links.
    fn links_of(&self, interface: u32) -> LinkSet {
        let mut links = LinkSet::default();
        for (other, id) in self.link_interfaces.iter().zip(0..) {
            if *other == interface {
                links.add(LinkSet::of(id));
            }
        }
        links
    }

    /// Sets the interface of a link, and updates the records that are restricted to an interface.
    pub(super) fn set_interface(&mut self, link: LinkId, interface: &[u8]) {
        if let Some(place) = self.link_interfaces.get_mut(usize::from(link)) {
            *place = hash(0, interface);
        }
        for id in 0..self.records.len() {
            let place = self.records.get(id).map_or(0, |entry| entry.interface);
            let interface = self.interfaces.get(usize::from(place).wrapping_sub(1));
            if let Some(interface) = interface
                && let links = self.links_of(*interface)
                && let Some(entry) = self.records.get_mut(id)
            {
                entry.links = links;
            }
        }
    }

    /// Returns the claim of a name, or [`Claim::NONE`] for a name that is not ours.
    pub(super) fn claim(&self, name: NameId) -> &Claim {
        self.claims.get(name.index()).unwrap_or(&Claim::NONE)
    }

    /// Returns the claim of a name and creates it if necessary. `None`: the table is full.
    pub(super) fn claim_mut(&mut self, name: NameId) -> Option<&mut Claim> {
        while self.claims.len() <= name.index() {
            self.claims.push(Claim::default())?;
        }
        self.claims.get_mut(name.index())
    }

    /// Returns the type bit map for a name's NSEC record on these links, without the NSEC bit. The most significant bit is type 0; the
    /// responder has no types above 63.
    pub(super) fn kinds(&self, name: NameId, links: LinkSet) -> u64 {
        let held = self
            .records_of(name)
            .filter(|(_, record)| record.is_active(links));
        held.fold(0, |kinds, (_, record)| kinds | bit_of(record.kind))
    }

    /// Iterates over the records of a name.
    pub(super) fn records_of(&self, name: NameId) -> RecordsOf<'_> {
        RecordsOf {
            records: &self.records,
            next: self.claim(name).first,
        }
    }

    /// Adds a record with `prefix` as its rdata prefix. `None`: a table is full.
    pub(super) fn add(&mut self, record: &OwnRecord, prefix: &[u8]) -> Option<()> {
        let first = self.claim_mut(record.name)?.first;
        let (at, end) = (self.prefixes_len, self.prefixes_len + prefix.len());
        self.prefixes.get_mut(at..end)?.copy_from_slice(prefix);
        let mut record = OwnRecord {
            next: first,
            prefix_at: at as u32,
            prefix_len: prefix.len() as u32,
            ..*record
        };
        let id = match self.free.checked_sub(1) {
            Some(free) => {
                record.id = free;
                let entry = self.records.get_mut(usize::from(free))?;
                self.free = core::mem::replace(entry, record).next;
                free
            }
            None => {
                record.id = self.records.len() as u16;
                if self.records.is_full() {
                    return None;
                }
                self.states.add_record()?;
                self.records.push(record)? as u16
            }
        };
        self.prefixes_len = end;
        self.names.add_use(record.name);
        self.names.add_use(record.target);
        self.claim_mut(record.name)?.first = id + 1;
        self.move_probing_state(first, id + 1);
        Some(())
    }

    /// Copies the probing state of a name from its first record to another record, which becomes the first. The arguments are index
    /// + 1. Does nothing if one of them is 0.
    fn move_probing_state(&self, from: u16, to: u16) {
        let id = |number: u16| number.checked_sub(1).map(usize::from);
        if let (Some(from), Some(to)) = (id(from), id(to)) {
            for (from, to) in self.states.of(from).iter().zip(self.states.of(to)) {
                to.probe.set(from.probe.get());
                to.probe_due.set(from.probe_due.get());
            }
        }
    }

    /// Returns the first record of a unique name. `None` for a shared name, and for a name without records.
    pub(super) fn unique(&self, name: NameId) -> Option<&OwnRecord> {
        let (_, first) = self.records_of(name).next()?;
        first.is_unique.then_some(first)
    }

    /// Resets the states of all records and names on a link.
    pub(super) fn reset_link(&mut self, link: LinkId) {
        for record in self.records.iter() {
            self.states.get(record.id(), link).reset();
        }
    }

    /// Removes a record. Does nothing if the slot is free.
    pub(super) fn remove(&mut self, id: RecordId) {
        let number = id as u16 + 1;
        let Some(gone) = self.records.get(id).copied() else {
            return;
        };
        // The slot is free.
        if gone.name == NameId::ROOT {
            return;
        }
        self.move_probing_state(number, gone.next);
        let Some(entry) = self.records.get_mut(id) else {
            return;
        };
        *entry = OwnRecord {
            id: gone.id,
            next: self.free,
            ..OwnRecord::unique(NameId::ROOT, 0, LinkSet::default())
        };
        for state in self.states.of(id) {
            state.reset();
        }
        self.free = number;
        // Unlinks the record from the list of its name.
        if let Some(claim) = self.claim_mut(gone.name) {
            let mut cursor = claim.first;
            if cursor == number {
                claim.first = gone.next;
                if gone.next == 0 {
                    *claim = Claim::default();
                }
            } else {
                while let Some(index) = cursor.checked_sub(1)
                    && let Some(before) = self.records.get_mut(usize::from(index))
                {
                    cursor = before.next;
                    if cursor == number {
                        before.next = gone.next;
                    }
                }
            }
        }
        self.names.remove_use(gone.target);
        self.remove_prefix(gone.prefix_at, gone.prefix_len);
        self.names.remove_use(gone.name);
    }

    /// Removes all records whose owner is this name.
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

    /// Removes an rdata prefix; the prefixes after it move up.
    fn remove_prefix(&mut self, at: u32, len: u32) {
        if len == 0 {
            return;
        }
        let all = self.prefixes.head_mut(self.prefixes_len);
        let left = shift(all.tail_mut(at as usize), len as usize);
        self.prefixes_len = at as usize + left;
        for entry in self.records.iter_mut() {
            if entry.prefix_at > at {
                entry.prefix_at -= len;
            }
        }
    }

    /// Returns the name in a record's rdata. Instead of the host's name, returns [`Zone::service_host`].
    pub(super) fn target(&self, record: &OwnRecord) -> NameId {
        match record.target {
            target if target == self.host => self.service_host,
            target => target,
        }
    }

    /// Returns the rdata prefix of a record.
    #[inline(never)] // −16 bytes: five callers.
    pub(super) fn rdata_prefix(&self, record: &OwnRecord) -> &[u8] {
        self.prefixes
            .tail(record.prefix_at as usize)
            .head(record.prefix_len as usize)
    }
}

/// Returns the bit of a record type in [`Zone::kinds`].
pub(super) const fn bit_of(kind: u16) -> u64 {
    1 << 63 >> kind
}

/// Iterator over the records of a name, with their indices.
pub(super) struct RecordsOf<'a> {
    records: &'a [OwnRecord],
    next: u16,
}

impl<'a> Iterator for RecordsOf<'a> {
    type Item = (RecordId, &'a OwnRecord);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let id = usize::from(self.next.checked_sub(1)?);
        let record = self.records.get(id)?;
        self.next = record.next;
        Some((id, record))
    }
}
