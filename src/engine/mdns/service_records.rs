//! Adds the records of services, aliases and addresses to the zone.

use super::family;
use super::link::{ADDRESS_BYTES_MAX, LinkSet, octets};
use super::names::NameId;
use super::zone::{OwnRecord, RenameStyle, Zone};
use crate::wire::announce::Service;
use crate::wire::dns::{Name, REVERSE_BYTES_MAX, kind, reverse};
use core::net::IpAddr;

impl Zone {
    /// Adds the records of a service. Returns its instance name. `None`: a table is full.
    pub(super) fn add_service(&mut self, service: &Service<'_>) -> Option<NameId> {
        let kind = self.names.extend(self.local, service.kind)?;
        let mut buffer = [0; _];
        let host = self.names.label(self.host);
        let instance = service.name_on(host, &mut buffer);
        let name = self.claim_name(kind, instance, RenameStyle::Instance);
        let added = name.and_then(|name| {
            let added = self.add_records_of(service, kind, name);
            if added.is_none() {
                self.remove_all_of(name);
            }
            // The added records have incremented the name's use count, so the increment of this function is undone.
            self.names.remove_use(name);
            added.map(|()| name)
        });
        self.names.remove_use(kind);
        added
    }

    fn add_records_of(&mut self, service: &Service<'_>, kind: NameId, name: NameId) -> Option<()> {
        let mut record = OwnRecord::unique(name, kind::SRV, LinkSet::ALL);
        self.restrict(&mut record, service.interface)?;
        record.target = match service.host {
            None => self.host,
            Some(host) => self.names.extend(NameId::ROOT, host)?,
        };
        record.families = service.families;
        let numbers = [service.priority, service.weight, service.port].map(u16::to_be_bytes);
        let added = self.add(&record, numbers.as_flattened());
        if service.host.is_some() {
            self.names.remove_use(record.target);
        }
        added?;
        (record.kind, record.target) = (kind::TXT, NameId::ROOT);
        let text: &[u8] = match service.txt {
            [] => &[0],
            text => text,
        };
        self.add(&record, text)?;
        record.kind = kind::NSEC;
        self.add(&record, &[])?;
        (record.name, record.target) = (kind, name);
        (record.kind, record.is_unique) = (kind::PTR, false);
        self.add(&record, &[])?;
        let mut subtypes = service.subtypes;
        while let [len, rest @ ..] = subtypes
            && let Some((subtype, behind)) = rest.split_at_checked(usize::from(*len))
        {
            subtypes = behind;
            let below = self.names.extend(kind, b"_sub")?;
            let name = self.names.add(below, subtype);
            self.names.remove_use(below);
            self.add_shared(&mut record, name)?;
        }
        let all = self.names.extend(self.local, b"_services._dns-sd._udp");
        // The type is listed in both address families, because another service of this type may be announced in the other family.
        (record.target, record.families) = (kind, family::ANY);
        self.add_shared(&mut record, all)
    }

    /// Adds the shared PTR record `record` at `name`, unless that name already has a PTR record with the same target. Decrements
    /// the use count of `name`, which the caller has incremented.
    fn add_shared(&mut self, record: &mut OwnRecord, name: Option<NameId>) -> Option<()> {
        record.name = name?;
        let is_equal = |other: &OwnRecord| {
            (other.target, other.interface) == (record.target, record.interface)
                && !other.is_goodbye
        };
        let is_there = self
            .records_of(record.name)
            .any(|(_, other)| is_equal(other));
        let added = match is_there {
            true => Some(()),
            false => self.add(record, &[]),
        };
        self.names.remove_use(record.name);
        added
    }

    /// Adds a name's NSEC record, which denies all record types that the name lacks on these links.
    pub(super) fn add_denial(&mut self, name: NameId, links: LinkSet) -> Option<()> {
        self.add_once(&OwnRecord::unique(name, kind::NSEC, links), &[])
    }

    /// Adds a record, unless its name already has that record on these links. The record is then no longer stale.
    fn add_once(&mut self, record: &OwnRecord, prefix: &[u8]) -> Option<()> {
        let mut others = self.records_of(record.name);
        let other = others.find(|(_, other)| {
            (other.kind, other.links, other.target) == (record.kind, record.links, record.target)
                && !other.is_goodbye
                && self.rdata_prefix(other) == prefix
        });
        let Some((id, _)) = other else {
            return self.add(record, prefix);
        };
        self.records.get_mut(id)?.is_stale = false;
        Some(())
    }

    /// Adds an alias, `labels` with `.local` appended, of this host or of `address`. `None`: a table is full.
    pub(super) fn add_alias(&mut self, labels: &[u8], address: Option<&IpAddr>) -> Option<NameId> {
        let name = self.names.extend(self.local, labels)?;
        if self.unique(name).is_none() {
            self.claim_mut(name)?.rename_style = RenameStyle::Alias;
        }
        self.add_denial(name, LinkSet::ALL)?;
        let added = match address {
            Some(address) => self.add_address(name, LinkSet::ALL, address),
            None => self.hosts.push(name).ok(),
        };
        // The added records have incremented the name's use count, so the increment of this function is undone.
        self.names.remove_use(name);
        added.map(|()| name)
    }

    /// Returns true if a record belongs to this address: its rdata is the address, or its name is the reverse mapping.
    pub(super) fn belongs_to(&self, record: &OwnRecord, address: &IpAddr) -> bool {
        let (mut bytes, mut name) = ([0; ADDRESS_BYTES_MAX], [0; REVERSE_BYTES_MAX]);
        reverse(*address, &mut name);
        self.rdata_prefix(record) == octets(address, &mut bytes)
            || self.names.find(Name::of(&name)) == Some(record.name)
    }

    /// Adds an address record to `host`, unless `host` already has this record on these links. Also adds the reverse mapping of the
    /// address, except for an alias of this host.
    pub(super) fn add_address(
        &mut self,
        host: NameId,
        links: LinkSet,
        address: &IpAddr,
    ) -> Option<()> {
        let mut buffer = [0; ADDRESS_BYTES_MAX];
        let text = octets(address, &mut buffer);
        let kind = match address {
            IpAddr::V4(_) => kind::A,
            IpAddr::V6(_) => kind::AAAA,
        };
        self.add_once(&OwnRecord::unique(host, kind, links), text)?;
        if !self.reverses || (host != self.host && links != LinkSet::ALL) {
            return Some(());
        }
        let mut buffer = [0; REVERSE_BYTES_MAX];
        reverse(*address, &mut buffer);
        let name = self.names.intern(Name::of(&buffer))?;
        let mut record = OwnRecord::unique(name, kind::PTR, links);
        record.target = host;
        let mut added = self.add_once(&record, &[]);
        if added.is_some() {
            added = self.add_denial(name, links);
        }
        self.names.remove_use(name);
        added
    }
}
