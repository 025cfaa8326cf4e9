//! The responder: claims names, announces what is theirs, answers, defends, and takes leave. RFC 6762 sections 5 to 10.
//!
//! For each link there is what was told when, and what is due. A name is probed for on each link by itself; a name that is
//! lost on one is given up on all.

use super::link::{ADDRESS_BYTES_MAX, LINK_COUNT_MAX, Link, LinkId, octets};
use super::names::NameId;
use super::on_link::{OnLink, Phase, RecordState, later};
use super::query::TruncatedQuery;
use super::service_records::Service;
use super::zone::{Full, RecordId, RenameStyle, Zone};
use super::{Meta, Random, Transmit};
use crate::time::Instant;
use crate::wire::dns::{Message, Name, REVERSE_BYTES_MAX, reverse};
use core::net::IpAddr;

/// Before the first probe: 0 to so many, so that hosts that were switched on together do not all speak at once.
const PROBE_JITTER_MS: u32 = 250;
/// So many conflicts …
const CONFLICT_COUNT: usize = 15;
/// … in such a time …
const CONFLICT_MS: u32 = 10_000;
/// … and each further probe waits so long.
const CONFLICT_PAUSE_MS: u32 = 5000;
/// Until there were none for so long.
const PEACE_MS: u32 = 60_000;
/// Who sends his known answers in several messages at once, at most.
const TRUNCATED_QUERY_COUNT: usize = 8;

/// Numbers from which one is chosen. Two who choose the same one notice that, but for one time in ten thousand where a tenth of
/// all messages is lost: so of hundreds, hardly any two should.
const NUMBER_COUNT: u32 = 1 << 16;

/// How much a responder can keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names, each label that names have in common counted once.
    pub name_count: usize,
    /// Records: about five for a service.
    pub record_count: usize,
    /// Bytes of all TXT records.
    pub text_bytes: usize,
}

/// The responder.
#[derive(Debug)]
#[repr(C)]
pub struct Responder {
    pub(super) random: Random,
    /// Until when attempts wait.
    rate_limited_until: Instant,
    /// The last name that was changed, until somebody asks.
    renamed: Option<NameId>,
    is_stopping: bool,
    /// The host's address, if it is not on all links what we have there; and whether it leads back to the host.
    elsewhere: Option<(IpAddr, bool)>,
    /// When the last conflicts were, the oldest first.
    conflicts: [Instant; CONFLICT_COUNT],
    pub(super) truncated_queries: [TruncatedQuery; TRUNCATED_QUERY_COUNT],
    // The longest last.
    pub(super) zone: Zone,
    pub(super) links: [OnLink; LINK_COUNT_MAX],
}

impl Responder {
    /// A responder that has nothing to say yet.
    pub fn new(limits: Limits, entropy: &[u8; 16]) -> Self {
        let mut random = Random::new(entropy);
        Self {
            zone: Zone::new(&limits, random.ms(0, u32::MAX)),
            links: core::array::from_fn(|id| OnLink::new(id, &limits)),
            truncated_queries: [TruncatedQuery::NONE; TRUNCATED_QUERY_COUNT],
            random,
            conflicts: [Instant::NEVER; CONFLICT_COUNT],
            rate_limited_until: Instant::default(),
            renamed: None,
            elsewhere: None,
            is_stopping: false,
        }
    }

    /// What the host is called: one label. To be told first.
    pub fn set_host(&mut self, label: &[u8]) -> Result<(), Full> {
        let zone = &mut self.zone;
        let host = zone.claim_name(zone.local, label, RenameStyle::Host);
        zone.host = host.ok_or(Full)?;
        zone.add_denial_of_host().ok_or(Full)
    }

    /// The host has this address and no other, wherever that is; `reverses`: who asks for it in reverse is told the host. To be
    /// told before there are links.
    pub const fn set_address(&mut self, address: IpAddr, reverses: bool) {
        self.elsewhere = Some((address, reverses));
    }

    /// Announces a service as soon as its name is ours.
    pub fn add_service(&mut self, now: Instant, service: &Service<'_>) -> Result<NameId, Full> {
        let name = self.zone.add_service(service).ok_or(Full)?;
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        for on in &mut self.links {
            on.begin_probing(name, now, ms);
        }
        Ok(name)
    }

    /// Takes leave of a service.
    pub fn remove_service(&mut self, now: Instant, name: NameId) {
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            if record.is_some_and(|record| record.owner == name) && !self.zone.pass_on(id) {
                self.withdraw(id, now);
            }
        }
    }

    /// Says of a record that it is gone, where it was told; then it is.
    fn withdraw(&mut self, id: RecordId, now: Instant) {
        let Some(record) = self.zone.records.get_mut(id) else {
            return;
        };
        record.is_goodbye = true;
        let record = *record;
        let mut was_told = false;
        for on in &mut self.links {
            was_told |= on.say_goodbye(id, &record, now);
        }
        if !was_told {
            self.remove(id);
        }
    }

    /// Forgets a record.
    pub(super) fn remove(&mut self, id: RecordId) {
        for on in &mut self.links {
            if let Some(state) = on.records.get_mut(id) {
                *state = RecordState::NEW;
            }
        }
        let Some(name) = self.zone.records.get(id).map(|record| record.name) else {
            return;
        };
        self.zone.remove(id);
        if !self.zone.claim(name).is_unique {
            for on in &mut self.links {
                on.give_up(name);
            }
        }
    }

    /// A link has these addresses from now on, and others than before. Everything is probed for anew there; what is ours is
    /// defended meanwhile.
    pub fn set_link(&mut self, now: Instant, id: LinkId, link: &Link) -> Result<(), Full> {
        let Some(on) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        let was = core::mem::replace(&mut on.link, link.clone());
        let bit = on.bit;
        for (address, _) in &was.addresses {
            if !link.has(address) {
                self.remove_address(bit, address, now);
            }
        }
        match self.elsewhere {
            Some((address, reverses)) => self.zone.add_address(bit, &address, reverses),
            None => link
                .addresses
                .iter()
                .try_for_each(|(address, _)| self.zone.add_address(bit, address, true)),
        }
        .ok_or(Full)?;
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        let Some(on) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        if !link.is_up() {
            on.forget();
        }
        for record in self.zone.records.iter() {
            if record.is_on(bit) && record.is_unique && !record.is_goodbye {
                on.reprobe(record.name, now, ms);
            }
        }
        Ok(())
    }

    /// An address has left a link.
    fn remove_address(&mut self, links: u8, address: &IpAddr, now: Instant) {
        let mut room = [0; REVERSE_BYTES_MAX];
        reverse(*address, &mut room);
        let reverse = self.zone.names.find(Name::of(&room));
        let mut room = [0; ADDRESS_BYTES_MAX];
        let text = octets(address, &mut room);
        for id in 0..self.zone.records.len() {
            let Some(record) = self.zone.records.get(id) else {
                return;
            };
            if record.links == links
                && (reverse == Some(record.name) || self.zone.text(record) == text)
            {
                self.withdraw(id, now);
            }
        }
    }

    /// Says of everything that it is gone. When nothing is due any more, all that could be said has been.
    pub fn goodbye(&mut self, now: Instant) {
        self.is_stopping = true;
        for on in &mut self.links {
            for (id, record) in self.zone.records.iter().enumerate() {
                on.say_goodbye(id, record, now);
            }
            on.probes_at = Instant::NEVER;
            on.probes
                .iter_mut()
                .for_each(|probe| probe.due = Instant::NEVER);
        }
    }

    /// Takes what came. The bytes of a reply to its sender alone, if there is one, are in `out`: how many.
    pub fn handle(
        &mut self,
        now: Instant,
        meta: Meta,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let message = Message::parse(datagram).ok()?;
        let on = self.links.get(usize::from(meta.link))?;
        if meta.from.port() == 0 || self.is_stopping || !on.link.is_up() {
            return None;
        }
        let from = meta.from.ip();
        if message.is_response()? {
            self.response(now, &meta, &from, &message);
            None
        } else {
            self.query(now, &meta, &from, &message, out)
        }
    }

    /// What is to be sent to a link now, if there is anything.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        for link in 0..LINK_COUNT_MAX {
            let on = self.links.get_mut(link)?;
            let mut sent = on.send_probes(&self.zone, now, out);
            if sent.is_none() {
                let (len, are_gone) = on.send_multicast(&self.zone, now, out, false);
                sent = len;
                if are_gone {
                    self.remove_withdrawn();
                }
            }
            if let Some(len) = sent {
                return Some(Transmit {
                    link: link as LinkId,
                    len,
                });
            }
        }
        None
    }

    /// Forgets records that were told for the last time.
    fn remove_withdrawn(&mut self) {
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            let is_due = |on: &OnLink| {
                on.records
                    .get(id)
                    .is_some_and(|state| state.due != Instant::NEVER)
            };
            if record.is_some_and(|record| record.is_goodbye) && !self.links.iter().any(is_due) {
                self.remove(id);
            }
        }
    }

    /// When there is something to send again.
    pub fn poll_at(&self) -> Instant {
        let mut first = Instant::NEVER;
        for on in &self.links {
            first = first.min(on.answers_at).min(on.probes_at);
        }
        first
    }

    /// The last name that others had, and that was changed; told once.
    pub fn renamed(&mut self) -> Option<NameId> {
        self.renamed.take()
    }

    /// The first label of a name of ours.
    pub fn label(&self, name: NameId) -> &[u8] {
        self.zone.names.label(name)
    }

    /// Whether all names are ours wherever there is a link.
    pub fn is_settled(&self) -> bool {
        self.links.iter().all(|on| on.probes_at == Instant::NEVER)
    }

    /// The name of the host.
    pub const fn host(&self) -> NameId {
        self.zone.host
    }

    /// All unique names of ours but those of addresses, as they are written.
    #[cfg(test)]
    pub(super) fn own_names(&self) -> Vec<String> {
        let records = self.zone.records.iter();
        let own = records.filter(|record| {
            record.kind == crate::wire::dns::kind::NSEC
                && self.zone.claim(record.name).rename_style != RenameStyle::Fixed
        });
        own.map(|record| {
            let labels = self.zone.names.labels(record.name);
            let labels = labels.map(|label| String::from_utf8_lossy(label.bytes).into_owned());
            labels.collect::<Vec<_>>().join(".")
        })
        .collect()
    }

    /// One more conflict.
    pub(super) fn count_conflict(&mut self, now: Instant) {
        let mut later_one = now;
        for place in self.conflicts.iter_mut().rev() {
            later_one = core::mem::replace(place, later_one);
        }
        let [oldest, ..] = &self.conflicts;
        let are_many = *oldest != Instant::NEVER && now < later(*oldest, CONFLICT_MS);
        if are_many || self.is_rate_limited(now) {
            self.rate_limited_until = later(now, PEACE_MS);
        }
    }

    /// Whether there were many conflicts lately.
    fn is_rate_limited(&self, now: Instant) -> bool {
        now < self.rate_limited_until
    }

    /// How long the next attempt waits.
    pub(super) fn probe_delay_ms(&mut self, now: Instant) -> u32 {
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        if self.is_rate_limited(now) {
            return ms + CONFLICT_PAUSE_MS;
        }
        ms
    }

    /// Somebody else has a name: chooses another one, and probes for that.
    pub(super) fn choose_other_name(&mut self, now: Instant, name: NameId, ms: u32) {
        // After a few, chance: many who wish the same name would come upon each other with every further one.
        let mut number = u32::from(self.zone.claim(name).renames) + 2;
        if number > 4 {
            number = self.random.ms(number, NUMBER_COUNT);
        }
        while !self.zone.rename(name, number) {
            number += 1;
        }
        self.renamed = Some(name);
        for on in &mut self.links {
            if on.phase(name) != Phase::Idle {
                on.begin_probing(name, now, ms);
            }
        }
    }
}
