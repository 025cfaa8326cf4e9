//! What is announced: records of the names that are ours, and what each is bound to.
//!
//! A name of ours is *unique*, then it is probed for before its records are told, or shared with others. What a record says is
//! kept once: texts in one piece of memory, names by their numbers.

use super::MESSAGE_BYTES;
use super::link::LinkId;
use super::names::{NameId, Names};
use super::responder::Limits;
use crate::sys::heap::Slots;
use crate::wire::dns::{self, Head, LABEL_BYTES_MAX, Name, Section, Writer, kind};
use core::net::IpAddr;

/// Seconds for which others remember what a host's name or address is part of. RFC 6762 section 10.
const HOST_TTL: u32 = 120;
/// Seconds for which others remember everything else.
const OTHER_TTL: u32 = 75 * 60;
/// Seconds for which those remember it who do not know what multicast DNS is. RFC 6762 section 6.7.
const LEGACY_TTL: u32 = 10;

/// The place of a record in the table.
pub(super) type RecordId = usize;

/// What a record says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Data {
    /// PTR: a name.
    Pointer(NameId),
    /// PTR: our host, whose address it is.
    Reverse(IpAddr),
    /// SRV: a port of a host.
    Service {
        choice: [u16; 2],
        port: u16,
        host: NameId,
    },
    /// TXT: so many bytes of the texts.
    Text { at: u32, len: u32 },
    /// A or AAAA.
    Address(IpAddr),
    /// NSEC: which kinds of records there are, so that all others are not there.
    Denial,
}

/// A record of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Whose it is; the root: the place is free.
    pub(super) name: NameId,
    /// The unique name that must be ours before this is told.
    pub(super) owner: NameId,
    pub(super) kind: u16,
    /// The one link on which it is told.
    pub(super) link: Option<LinkId>,
    /// Nobody else has records of this name.
    pub(super) is_unique: bool,
    /// It is told for the last time.
    pub(super) leaves: bool,
    pub(super) data: Data,
    /// The next record of the same name, and 1; 0: there is none.
    next: u16,
}

impl Record {
    /// Whether it is told on this link.
    pub(super) fn is_on(&self, link: LinkId) -> bool {
        self.name != NameId::ROOT && self.link.is_none_or(|only| only == link)
    }

    /// Seconds for which it is remembered.
    pub(super) const fn ttl(&self) -> u32 {
        match self.data {
            Data::Service { .. } | Data::Address(_) | Data::Reverse(_) | Data::Denial => HOST_TTL,
            _ => OTHER_TTL,
        }
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
    wished_len: u8,
    pub(super) is_unique: bool,
    /// What the name becomes when others have it.
    pub(super) manner: Manner,
}

/// How another name is chosen.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Manner {
    /// There is no other: it is given up.
    #[default]
    Fixed,
    /// `box-2`.
    Host,
    /// `A box (2)`.
    Instance,
}

/// In which form a record is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As it is announced.
    Told,
    /// It is gone.
    Gone,
    /// In a probe: it replaces nothing.
    Wished,
    /// For those who do not know what multicast DNS is.
    Legacy,
}

/// There is no room for more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

/// A service, as it is announced.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// What people call it: at most 63 bytes.
    pub instance: &'a [u8],
    /// What it is: two labels, in the form that names have in a message.
    pub kind: Name<'a>,
    /// Special kinds of it: labels with their lengths before them.
    pub subtypes: &'a [u8],
    /// The host that it is on, if that is not this one.
    pub host: Option<Name<'a>>,
    /// Where it listens.
    pub port: u16,
    /// Priority and weight, by which one of several is chosen.
    pub choice: [u16; 2],
    /// What else is to be known: strings with their lengths before them. Empty: nothing.
    pub text: &'a [u8],
}

/// All records.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) names: Names,
    pub(super) records: Slots<Record>,
    /// By name.
    claims: Slots<Claim>,
    texts: Slots<u8>,
    texts_len: usize,
    /// Places among the records that are free again.
    free_count: u16,
    pub(super) local: NameId,
    pub(super) host: NameId,
}

impl Zone {
    pub(super) fn new(limits: &Limits, seed: u32) -> Self {
        let mut names = Names::new(limits.name_count, seed);
        let local = names.add(NameId::ROOT, b"local").unwrap_or_default();
        Self {
            names,
            records: Slots::new(limits.record_count),
            claims: Slots::new(limits.name_count),
            texts: Slots::zeroed(limits.text_bytes),
            texts_len: 0,
            free_count: 0,
            local,
            host: NameId::ROOT,
        }
    }

    /// What is known of a name; nothing of one that is not ours.
    pub(super) fn claim(&self, name: NameId) -> Claim {
        self.claims.get(name.place()).copied().unwrap_or_default()
    }

    pub(super) fn claim_mut(&mut self, name: NameId) -> Option<&mut Claim> {
        while self.claims.len() <= name.place() {
            self.claims.push(Claim::default())?;
        }
        self.claims.get_mut(name.place())
    }

    /// The records of a name.
    pub(super) fn of(&self, name: NameId) -> impl Iterator<Item = (RecordId, &Record)> {
        let mut next = self.claim(name).first;
        core::iter::from_fn(move || {
            let id = usize::from(next.checked_sub(1)?);
            let record = self.records.get(id)?;
            next = record.next;
            Some((id, record))
        })
    }

    /// Makes a name unique: it begins with `label`, or is called a little different where that is one of ours already.
    pub(super) fn claim_name(
        &mut self,
        parent: NameId,
        label: &[u8],
        manner: Manner,
    ) -> Result<NameId, Full> {
        let mut room = [0; LABEL_BYTES_MAX];
        let (mut tried, mut renames) = (label, 0u16);
        while self.is_ours(parent, tried) {
            renames = renames.wrapping_add(1);
            tried = other_label(&mut room, label, manner, renames.wrapping_add(1).into());
        }
        let name = self.names.add(parent, tried).ok_or(Full)?;
        let claim = self.claim_mut(name).ok_or(Full)?;
        *claim = Claim {
            renames,
            wished_len: label.len().min(tried.len()) as u8,
            is_unique: true,
            manner,
            ..*claim
        };
        Ok(name)
    }

    fn is_ours(&self, parent: NameId, label: &[u8]) -> bool {
        let name = self.names.child(parent, label);
        let has_records = |name| self.of(name).any(|(_, record)| !record.leaves);
        name.is_some_and(|name| self.claim(name).is_unique && has_records(name))
    }

    /// Gives a unique name another label, the one of this number.
    pub(super) fn rename(&mut self, name: NameId, number: u32) -> bool {
        let claim = self.claim(name);
        let mut room = [0; LABEL_BYTES_MAX];
        let wished = self.names.label(name);
        let wished = wished.get(..claim.wished_len.into()).unwrap_or(wished);
        let label = other_label(&mut room, wished, claim.manner, number);
        let kept = label.len().min(claim.wished_len.into());
        if !self.names.relabel(name, label) {
            return false;
        }
        if let Some(claim) = self.claim_mut(name) {
            claim.wished_len = kept as u8;
            claim.renames = claim.renames.saturating_add(1);
        }
        true
    }

    /// Adds a record.
    pub(super) fn add(&mut self, record: Record) -> Result<RecordId, Full> {
        let mut free = None;
        if self.free_count > 0 {
            let is_free = |record: &Record| record.name == NameId::ROOT;
            free = self.records.iter().position(is_free);
        }
        let next = self.claim_mut(record.name).ok_or(Full)?.first;
        let record = Record { next, ..record };
        let id = match free.and_then(|free| Some((free, self.records.get_mut(free)?))) {
            Some((free, place)) => {
                *place = record;
                self.free_count = self.free_count.wrapping_sub(1);
                free
            }
            None => self.records.push(record).ok_or(Full)?,
        };
        self.names.keep(record.name);
        if let Data::Pointer(name) | Data::Service { host: name, .. } = record.data {
            self.names.keep(name);
        }
        if let Some(claim) = self.claim_mut(record.name) {
            claim.first = (id as u16).wrapping_add(1);
        }
        Ok(id)
    }

    /// Takes a record away.
    pub(super) fn remove(&mut self, id: RecordId) {
        let Some(record) = self.records.get_mut(id) else {
            return;
        };
        if record.name == NameId::ROOT {
            return;
        }
        let gone = *record;
        record.name = NameId::ROOT;
        self.free_count = self.free_count.wrapping_add(1);
        let number = (id as u16).wrapping_add(1);
        let mut before = None;
        let mut at = self.claim(gone.name).first;
        while at != number
            && let Some(record) = self.records.get(usize::from(at.wrapping_sub(1)))
        {
            before = Some(usize::from(at.wrapping_sub(1)));
            at = record.next;
        }
        match before.and_then(|before| self.records.get_mut(before)) {
            Some(before) => before.next = gone.next,
            None => {
                if let Some(claim) = self.claim_mut(gone.name) {
                    claim.first = gone.next;
                    if gone.next == 0 {
                        *claim = Claim::default();
                    }
                }
            }
        }
        match gone.data {
            Data::Pointer(name) | Data::Service { host: name, .. } => self.names.release(name),
            Data::Text { at, len } => self.forget(at, len),
            Data::Address(_) | Data::Reverse(_) | Data::Denial => {}
        }
        self.names.release(gone.name);
    }

    /// That there are services of a kind is told by one of them; when that one goes, by another. Whether there is one.
    pub(super) fn pass_on(&mut self, id: RecordId) -> bool {
        let Some(record) = self.records.get(id).copied() else {
            return false;
        };
        let Data::Pointer(kind) = record.data else {
            return false;
        };
        let is_other =
            |other: &Record| !other.is_unique && !other.leaves && other.owner != record.owner;
        let other = self.of(kind).find(|(_, other)| is_other(other));
        let other = other.map(|(_, other)| other.owner);
        match (other, self.records.get_mut(id)) {
            (Some(other), Some(record)) => record.owner = other,
            _ => return false,
        }
        true
    }

    /// Keeps a text.
    pub(super) fn remember(&mut self, text: &[u8]) -> Result<Data, Full> {
        let (at, end) = (self.texts_len, self.texts_len.wrapping_add(text.len()));
        let room = self.texts.get_mut(at..end).ok_or(Full)?;
        room.copy_from_slice(text);
        self.texts_len = end;
        Ok(Data::Text {
            at: at as u32,
            len: text.len() as u32,
        })
    }

    /// Forgets a text; those behind it move to its place.
    fn forget(&mut self, at: u32, len: u32) {
        let behind = at.wrapping_add(len) as usize;
        if behind <= self.texts_len {
            self.texts.copy_within(behind..self.texts_len, at as usize);
            self.texts_len = self.texts_len.wrapping_sub(len as usize);
        }
        for record in self.records.iter_mut() {
            if let Data::Text { at: other, .. } = &mut record.data
                && *other > at
            {
                *other = other.wrapping_sub(len);
            }
        }
    }

    fn text(&self, at: u32, len: u32) -> &[u8] {
        let (at, len) = (at as usize, len as usize);
        self.texts.get(at..at.wrapping_add(len)).unwrap_or_default()
    }

    /// Adds what a service consists of; its name.
    pub(super) fn add_service(&mut self, service: &Service<'_>) -> Result<NameId, Full> {
        let kind = self.kind(service)?;
        let name = self.claim_name(kind, service.instance, Manner::Instance);
        let added = name.and_then(|name| {
            let added = self.add_records_of(service, kind, name);
            if added.is_err() {
                for id in 0..self.records.len() {
                    if self
                        .records
                        .get(id)
                        .is_some_and(|record| record.owner == name)
                    {
                        self.remove(id);
                    }
                }
            }
            // From now on it is its records that use it.
            self.names.release(name);
            added.map(|()| name)
        });
        self.names.release(kind);
        added
    }

    /// The name of all services of a kind, which is used once more.
    fn kind(&mut self, service: &Service<'_>) -> Result<NameId, Full> {
        let mut labels = service.kind.labels();
        let (first, second) = (labels.next(), labels.next());
        let labels = [second.unwrap_or_default(), first.unwrap_or_default()];
        self.names.extend(self.local, &labels).ok_or(Full)
    }

    fn add_records_of(
        &mut self,
        service: &Service<'_>,
        kind: NameId,
        name: NameId,
    ) -> Result<(), Full> {
        let host = match service.host {
            Some(host) => self.names.intern(host).ok_or(Full)?,
            None => self.host,
        };
        let unique = Record {
            name,
            owner: name,
            kind: kind::SRV,
            link: None,
            is_unique: true,
            leaves: false,
            data: Data::Service {
                choice: service.choice,
                port: service.port,
                host,
            },
            next: 0,
        };
        let added = self.add(unique);
        if service.host.is_some() {
            self.names.release(host);
        }
        added?;
        let text: &[u8] = match service.text {
            [] => &[0],
            text => text,
        };
        let text = self.remember(text)?;
        self.add(Record {
            kind: kind::TXT,
            data: text,
            ..unique
        })?;
        self.add(Record {
            kind: kind::NSEC,
            data: Data::Denial,
            ..unique
        })?;
        let shared = Record {
            name: kind,
            kind: kind::PTR,
            is_unique: false,
            data: Data::Pointer(name),
            ..unique
        };
        self.add(shared)?;
        let mut subtypes = service.subtypes;
        while let [len, rest @ ..] = subtypes
            && let Some((subtype, behind)) = rest.split_at_checked(usize::from(*len))
        {
            subtypes = behind;
            let below = self.names.extend(kind, &[b"_sub", subtype]).ok_or(Full)?;
            let added = self.add(Record {
                name: below,
                ..shared
            });
            self.names.release(below);
            added?;
        }
        let all = [&b"_udp"[..], b"_dns-sd", b"_services"];
        let all = self.names.extend(self.local, &all).ok_or(Full)?;
        let is_it = |(_, record): (RecordId, &Record)| matches!(record.data, Data::Pointer(other) if other == kind);
        let listed = self.of(all).any(is_it);
        let added = match listed {
            true => Ok(0),
            false => self.add(Record {
                name: all,
                data: Data::Pointer(kind),
                ..shared
            }),
        };
        self.names.release(all);
        added.map(drop)
    }

    /// Adds that the host has no other records than those there are.
    pub(super) fn add_denial_of_host(&mut self) -> Result<(), Full> {
        let denial = Record {
            name: self.host,
            owner: self.host,
            kind: kind::NSEC,
            link: None,
            is_unique: true,
            leaves: false,
            data: Data::Denial,
            next: 0,
        };
        self.add(denial).map(drop)
    }

    /// Adds what an address of the host consists of; `reverses`: also its name in reverse.
    pub(super) fn add_address(
        &mut self,
        link: LinkId,
        address: IpAddr,
        reverses: bool,
    ) -> Result<(), Full> {
        let own = Record {
            name: self.host,
            owner: self.host,
            kind: match address {
                IpAddr::V4(_) => kind::A,
                IpAddr::V6(_) => kind::AAAA,
            },
            link: Some(link),
            is_unique: true,
            leaves: false,
            data: Data::Address(address),
            next: 0,
        };
        self.add(own)?;
        if !reverses {
            return Ok(());
        }
        let reverse = self.reverse(address).ok_or(Full)?;
        if let Some(claim) = self.claim_mut(reverse) {
            claim.is_unique = true;
        }
        let pointer = Record {
            name: reverse,
            owner: reverse,
            kind: kind::PTR,
            data: Data::Reverse(address),
            ..own
        };
        let denial = Record {
            kind: kind::NSEC,
            data: Data::Denial,
            ..pointer
        };
        let added = self.add(pointer).and_then(|_| self.add(denial));
        self.names.release(reverse);
        added.map(drop)
    }

    /// The name by which an address is asked for, which is used once more.
    fn reverse(&mut self, address: IpAddr) -> Option<NameId> {
        let arpa = self.names.add(NameId::ROOT, b"arpa")?;
        let begun = match address {
            IpAddr::V4(_) => self.names.extend(arpa, &[b"in-addr"]),
            IpAddr::V6(_) => self.names.extend(arpa, &[b"ip6"]),
        };
        self.names.release(arpa);
        let mut name = begun?;
        let mut put = |label: &[u8]| {
            let longer = self.names.add(name, label);
            self.names.release(name);
            name = longer?;
            Some(())
        };
        match address {
            IpAddr::V4(address) => {
                for byte in address.octets() {
                    let digits = [byte / 100, byte / 10 % 10, byte % 10].map(|digit| digit | b'0');
                    let skip = usize::from(byte < 10).wrapping_add(usize::from(byte < 100));
                    put(digits.get(skip..).unwrap_or_default())?;
                }
            }
            IpAddr::V6(address) => {
                for byte in address.octets() {
                    for digit in [byte >> 4, byte & 15] {
                        let from = usize::from(digit);
                        put(b"0123456789abcdef".get(from..=from).unwrap_or_default())?;
                    }
                }
            }
        }
        Some(name)
    }

    /// Whether a record that came says the same as one of ours.
    pub(super) fn says(&self, own: &Record, other: &dns::Record<'_>) -> bool {
        if own.kind != other.kind {
            return false;
        }
        let points_to = |skip, name| {
            let target = other.target(skip);
            target.is_some_and(|target| self.names.find(target) == Some(name))
        };
        match own.data {
            Data::Pointer(name) => points_to(0, name),
            Data::Reverse(_) => points_to(0, self.host),
            Data::Service { choice, port, host } => {
                let [a, b] = choice.map(u16::to_be_bytes);
                let numbers = [a, b, port.to_be_bytes()];
                other.data().starts_with(numbers.as_flattened()) && points_to(6, host)
            }
            Data::Text { at, len } => other.data() == self.text(at, len),
            Data::Address(IpAddr::V4(address)) => other.data() == address.octets(),
            Data::Address(IpAddr::V6(address)) => other.data() == address.octets(),
            Data::Denial => false,
        }
    }

    /// Writes a record; whether there was room.
    #[inline(never)]
    pub(super) fn write(
        &self,
        writer: &mut Writer<'_>,
        section: Section,
        record: &Record,
        link: LinkId,
        form: Form,
    ) -> bool {
        let ttl = match form {
            Form::Gone => 0,
            Form::Legacy => LEGACY_TTL,
            _ => record.ttl(),
        };
        let flushes = record.is_unique && matches!(form, Form::Told | Form::Gone);
        let class = if flushes {
            dns::CLASS_IN | dns::TOP_BIT
        } else {
            dns::CLASS_IN
        };
        let head = Head {
            kind: record.kind,
            class,
            ttl,
        };
        let labels = &mut self.names.labels(record.name);
        writer.record(section, labels, head, &mut |writer| {
            self.write_data(writer, record, link, form != Form::Legacy);
        })
    }

    /// Writes what a name is wished for.
    pub(super) fn write_wish(&self, writer: &mut Writer<'_>, name: NameId, link: LinkId) {
        for (_, record) in self.of(name) {
            if record.is_on(link) && record.kind != kind::NSEC && !record.leaves {
                self.write(writer, Section::Authority, record, link, Form::Wished);
            }
        }
    }

    /// Bytes that a probe for a name takes at most.
    pub(super) fn wish_bytes(&self, name: NameId, link: LinkId) -> usize {
        let mut room = [0; MESSAGE_BYTES];
        let mut writer = Writer::new(&mut room, 0, 0);
        writer.question(&mut self.names.labels(name), kind::ANY, 0);
        self.write_wish(&mut writer, name, link);
        writer.finish()
    }

    /// Writes what a record says.
    pub(super) fn write_data(
        &self,
        writer: &mut Writer<'_>,
        record: &Record,
        link: LinkId,
        shortens: bool,
    ) {
        let name = |writer: &mut Writer<'_>, name, shortens| {
            writer.name(&mut self.names.labels(name), shortens);
        };
        match record.data {
            Data::Pointer(target) => name(writer, target, shortens),
            Data::Reverse(_) => name(writer, self.host, shortens),
            Data::Service { choice, port, host } => {
                let [priority, weight] = choice;
                for number in [priority, weight, port] {
                    writer.word(number);
                }
                name(writer, host, shortens);
            }
            Data::Text { at, len } => writer.put(self.text(at, len)),
            Data::Address(IpAddr::V4(address)) => writer.put(&address.octets()),
            Data::Address(IpAddr::V6(address)) => writer.put(&address.octets()),
            Data::Denial => {
                name(writer, record.name, shortens);
                let mut map = [0u8; 32];
                let mut len = 0u8;
                for (_, other) in self.of(record.name) {
                    // The last octet of a window is one with a bit in it. None of ours is above 255, nor is this one told.
                    if other.is_on(link) && other.kind != kind::NSEC && !other.leaves {
                        let place = (other.kind >> 3) as u8;
                        if let Some(byte) = map.get_mut(usize::from(place)) {
                            *byte |= 0x80u8.wrapping_shr((other.kind & 7).into());
                            len = len.max(place.wrapping_add(1));
                        }
                    }
                }
                writer.put(&[0, len]);
                writer.put(map.get(..len.into()).unwrap_or_default());
            }
        }
    }
}

/// Another label than the one that is wished, with a number.
fn other_label<'a>(
    room: &'a mut [u8; LABEL_BYTES_MAX],
    wished: &[u8],
    manner: Manner,
    number: u32,
) -> &'a [u8] {
    let (open, close): (&[u8], &[u8]) = match manner {
        Manner::Instance => (b" (", b")"),
        _ => (b"-", b""),
    };
    // From its end: the closing, the digits, the opening; then as much of what was wished as there is room for.
    let mut end = [0u8; 16];
    let mut at = end.len();
    let mut put = |byte: u8| {
        at = at.wrapping_sub(1);
        if let Some(place) = end.get_mut(at) {
            *place = byte;
        }
    };
    close.iter().rev().for_each(|byte| put(*byte));
    let mut left = number;
    loop {
        put(b'0' | (left % 10) as u8);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    open.iter().rev().for_each(|byte| put(*byte));
    let end = end.get(at..).unwrap_or_default();
    let mut kept = wished.len().min(LABEL_BYTES_MAX.saturating_sub(end.len()));
    // Not in the middle of a letter.
    while kept > 0 && wished.get(kept).is_some_and(|byte| byte & 0xc0 == 0x80) {
        kept = kept.wrapping_sub(1);
    }
    let bytes = wished.iter().take(kept).chain(end);
    let len = kept.wrapping_add(end.len());
    room.iter_mut()
        .zip(bytes)
        .for_each(|(room, byte)| *room = *byte);
    room.get(..len).unwrap_or_default()
}
