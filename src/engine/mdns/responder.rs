//! The responder: claims names, announces what is theirs, answers, defends, and takes leave. RFC 6762 sections 5 to 10.
//!
//! For each link there is what was told when, and what is due. A name is probed for on each link by itself; a name that is
//! lost on one is given up on all.

use super::announced::Service;
use super::link::{ADDRESS_BYTES_MAX, LINK_COUNT_MAX, Link, LinkId, octets};
use super::names::NameId;
use super::zone::{Full, Manner, Record, RecordId, Zone};
use super::{HEAD_BYTES, MESSAGE_BYTES, Meta, Random, Transmit};
use crate::sys::heap::Slots;
use crate::time::{Duration, Instant};
use crate::wire::dns::{Message, Name, REVERSE_BYTES_MAX, kind, reverse};
use core::net::IpAddr;

/// Milliseconds since the responder was made, over and over; never 0, which means never.
pub(super) type Tick = u32;
/// No time at all.
pub(super) const NEVER: Tick = 0;

/// Before the first probe: 0 to so many, so that hosts that were switched on together do not all speak at once.
const PROBE_JITTER_MS: u32 = 250;
/// Between announcements.
pub(super) const ANNOUNCE_MS: u32 = 1000;
/// Announcements after the first.
const ANNOUNCE_COUNT: u8 = 1;
/// So many conflicts …
const CONFLICT_COUNT: usize = 15;
/// … in such a time …
const CONFLICT_MS: u32 = 10_000;
/// … and each further probe waits so long.
const CONFLICT_PAUSE_MS: u32 = 5000;
/// Until there were none for so long.
const PEACE_MS: u32 = 60_000;
/// Who sends his known answers in several messages at once, at most.
const DEFERRAL_COUNT: usize = 8;

/// Whether `due` has come.
pub(super) const fn is_due(due: Tick, now: Tick) -> bool {
    due != NEVER && now.wrapping_sub(due) < 1 << 31
}

/// The earlier one of both.
pub(super) const fn earlier(one: Tick, two: Tick) -> Tick {
    if one == NEVER || is_due(two, one) {
        two
    } else {
        one
    }
}

/// So many milliseconds later.
pub(super) const fn later(now: Tick, ms: u32) -> Tick {
    match now.wrapping_add(ms) {
        NEVER => 1,
        tick => tick,
    }
}

/// Bits of [`State::bits`]: it is asked for, by those who wait for an answer to all or would take one to themselves; who asks
/// knows it; it is for the reply that is being written; it is told for the last time.
pub(super) mod bit {
    pub(in super::super) const ASKED: u8 = 1;
    pub(in super::super) const ASKED_UNICAST: u8 = 2;
    pub(in super::super) const KNOWN: u8 = 4;
    pub(in super::super) const REPLY: u8 = 8;
    pub(in super::super) const GONE: u8 = 16;
}

/// More than one waits for it.
pub(super) const MANY: u8 = 0;

/// What is with a record on a link.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct State {
    /// When all were told last.
    pub(super) last: Tick,
    /// When all are to be told.
    pub(super) due: Tick,
    pub(super) bits: u8,
    /// How often it is announced yet, after it was.
    pub(super) again: u8,
    /// Whose further known answers may make it unnecessary: the number of his deferral, or [`MANY`].
    pub(super) wanted_by: u8,
}

/// How far a name is on a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// It has no records there, or was given up.
    #[default]
    Idle,
    /// It will be probed for.
    Wait,
    /// So many probes were sent.
    First,
    Second,
    Third,
    /// It is ours.
    Done,
}

impl Phase {
    /// After one more probe.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Wait => Self::First,
            Self::First => Self::Second,
            Self::Second => Self::Third,
            other => other,
        }
    }
}

/// What is with a name on a link.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Probe {
    pub(super) phase: Phase,
    /// It is ours, though it is probed for anew.
    pub(super) is_held: bool,
    /// It has become ours, and nobody was told yet.
    pub(super) is_new: bool,
    pub(super) due: Tick,
}

impl Probe {
    /// Whether the name is ours.
    pub(super) fn holds(&self) -> bool {
        self.is_held || self.phase == Phase::Done
    }
}

/// A link, and what is with all records and names there.
#[derive(Debug)]
pub(super) struct OnLink {
    pub(super) link: Link,
    pub(super) told: Slots<State>,
    pub(super) probes: Slots<Probe>,
    /// Not later than the first record that is due, or name.
    pub(super) answers_at: Tick,
    pub(super) probes_at: Tick,
    /// Until when answers to us alone are waited for.
    pub(super) unicast_until: Tick,
}

impl OnLink {
    /// Bytes of one message.
    pub(super) fn message_bytes(&self) -> usize {
        match self.link.mtu {
            0 => MESSAGE_BYTES,
            mtu => MESSAGE_BYTES.min((mtu as usize).saturating_sub(HEAD_BYTES)),
        }
    }

    /// What is with a record.
    pub(super) fn told(&mut self, id: RecordId) -> Option<&mut State> {
        while self.told.len() <= id {
            self.told.push(State::default())?;
        }
        self.told.get_mut(id)
    }

    /// What is with a name.
    pub(super) fn probe(&mut self, name: NameId) -> Option<&mut Probe> {
        while self.probes.len() <= name.place() {
            self.probes.push(Probe::default())?;
        }
        self.probes.get_mut(name.place())
    }

    /// How far a name is.
    pub(super) fn phase(&self, name: NameId) -> Phase {
        let probe = self.probes.get(name.place());
        probe.map_or(Phase::Idle, |probe| probe.phase)
    }

    /// Whether a name is ours: it is answered for, and defended.
    pub(super) fn holds(&self, name: NameId) -> bool {
        self.probes.get(name.place()).is_some_and(Probe::holds)
    }

    /// Whether a record is told here: its owner is ours.
    pub(super) fn tells(&self, record: &Record, link: LinkId) -> bool {
        record.is_on(link) && self.holds(record.owner)
    }

    /// Begins to probe for a name after so many milliseconds.
    pub(super) fn begin(&mut self, name: NameId, now: Tick, ms: u32) {
        if !self.link.is_up() {
            return;
        }
        let due = later(now, ms);
        if let Some(probe) = self.probe(name) {
            *probe = Probe {
                phase: Phase::Wait,
                due,
                ..Probe::default()
            };
            self.probes_at = earlier(self.probes_at, due);
        }
    }

    /// The same where what is ours stays so meanwhile.
    fn begin_anew(&mut self, name: NameId, now: Tick, ms: u32) {
        let is_held = self.holds(name);
        self.begin(name, now, ms);
        if let Some(probe) = self.probe(name) {
            probe.is_held = is_held;
        }
    }

    /// Whether what a record says has become ours to say.
    pub(super) fn is_news(&self, record: &Record) -> bool {
        let is_new = |name: NameId| {
            let probe = self.probes.get(name.place());
            probe.is_some_and(|probe| probe.is_new)
        };
        is_new(record.owner) || is_new(record.target)
    }

    /// All are to be told of a record before they forget it.
    pub(super) fn rescue(&mut self, id: RecordId, now: Tick) {
        if let Some(state) = self.told(id) {
            let free = later(state.last, ANNOUNCE_MS);
            let due = if is_due(free, now) { now } else { free };
            state.due = earlier(state.due, due);
            self.answers_at = earlier(self.answers_at, due);
        }
    }

    /// All are to be told of a record, now and once more.
    pub(super) fn announce(&mut self, id: RecordId, now: Tick) {
        if let Some(state) = self.told(id) {
            state.due = now;
            state.again = ANNOUNCE_COUNT;
            state.wanted_by = MANY;
            self.answers_at = earlier(self.answers_at, now);
        }
    }
}

/// One who sends his known answers in several messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferral {
    pub(super) from: core::net::SocketAddr,
    pub(super) link: LinkId,
    /// When he is answered at the latest.
    pub(super) end: Tick,
}

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
pub struct Responder {
    pub(super) zone: Zone,
    pub(super) links: [OnLink; LINK_COUNT_MAX],
    pub(super) deferrals: heapless::Vec<Deferral, DEFERRAL_COUNT>,
    pub(super) random: Random,
    /// When the last conflicts were, the latest where `conflict_count` leads.
    conflicts: [Tick; CONFLICT_COUNT],
    conflict_count: usize,
    /// Until when attempts wait.
    pauses_until: Tick,
    /// The last name that was changed, until somebody asks.
    renamed: Option<NameId>,
    /// The host's address, if it is not on all links what we have there; and whether it leads back to the host.
    elsewhere: Option<(IpAddr, bool)>,
    leaves: bool,
    epoch: Instant,
    now: Instant,
}

impl Responder {
    /// A responder that has nothing to say yet.
    pub fn new(limits: Limits, entropy: &[u8; 16], now: Instant) -> Self {
        let mut random = Random::new(entropy);
        Self {
            zone: Zone::new(&limits, random.ms(0, u32::MAX)),
            links: core::array::from_fn(|_| OnLink {
                link: Link::default(),
                told: Slots::new(limits.record_count),
                probes: Slots::new(limits.name_count),
                answers_at: NEVER,
                probes_at: NEVER,
                unicast_until: NEVER,
            }),
            deferrals: heapless::Vec::new(),
            random,
            conflicts: [NEVER; CONFLICT_COUNT],
            conflict_count: 0,
            pauses_until: NEVER,
            renamed: None,
            elsewhere: None,
            leaves: false,
            epoch: now,
            now,
        }
    }

    /// The time, as it is kept here.
    pub(super) fn tick(&mut self, now: Instant) -> Tick {
        self.now = now;
        later(now.since(self.epoch).as_ms() as u32, 0)
    }

    /// What the host is called: one label. To be told first.
    pub fn set_host(&mut self, label: &[u8]) -> Result<(), Full> {
        let zone = &mut self.zone;
        let host = zone.claim_name(zone.local, label, Manner::Host);
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
        let now = self.tick(now);
        let name = self.zone.add_service(service).ok_or(Full)?;
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        for on in &mut self.links {
            on.begin(name, now, ms);
        }
        Ok(name)
    }

    /// Takes leave of a service.
    pub fn remove_service(&mut self, now: Instant, name: NameId) {
        let now = self.tick(now);
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            if record.is_some_and(|record| record.owner == name) && !self.zone.pass_on(id) {
                self.retire(id, now);
            }
        }
    }

    /// Says of a record that it is gone, where it was told; then it is.
    fn retire(&mut self, id: RecordId, now: Tick) {
        let Some(record) = self.zone.records.get_mut(id) else {
            return;
        };
        record.leaves = true;
        let record = *record;
        let mut was_told = false;
        for (number, on) in self.links.iter_mut().enumerate() {
            was_told |= on.say_gone(id, &record, number as LinkId, now);
        }
        if !was_told {
            self.remove(id);
        }
    }

    /// Forgets a record.
    pub(super) fn remove(&mut self, id: RecordId) {
        for on in &mut self.links {
            if let Some(state) = on.told.get_mut(id) {
                *state = State::default();
            }
        }
        let Some(name) = self.zone.records.get(id).map(|record| record.name) else {
            return;
        };
        self.zone.remove(id);
        if !self.zone.claim(name).is_unique {
            for on in &mut self.links {
                if let Some(probe) = on.probes.get_mut(name.place()) {
                    *probe = Probe::default();
                }
            }
        }
    }

    /// A link has these addresses from now on. Everything is probed for anew there; what is ours is defended
    /// meanwhile.
    pub fn set_link(&mut self, now: Instant, id: LinkId, link: &Link) -> Result<(), Full> {
        let now = self.tick(now);
        let Some(on) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        if on.link == *link {
            return Ok(());
        }
        let was = core::mem::replace(&mut on.link, link.clone());
        for (address, _) in was.addresses {
            if !link.owns(address) {
                self.remove_address(id, address, now);
            }
        }
        match self.elsewhere {
            Some((address, reverses)) => self.zone.add_address(id, &address, reverses),
            None => link
                .addresses
                .iter()
                .try_for_each(|(address, _)| self.zone.add_address(id, address, true)),
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
            if record.is_on(id) && record.is_unique && !record.leaves {
                on.begin_anew(record.name, now, ms);
            }
        }
        Ok(())
    }

    /// An address has left a link.
    fn remove_address(&mut self, link: LinkId, address: IpAddr, now: Tick) {
        let mut room = [0; REVERSE_BYTES_MAX];
        reverse(address, &mut room);
        let reverse = self.zone.names.find(Name::of(&room));
        let mut room = [0; ADDRESS_BYTES_MAX];
        let text = octets(&address, &mut room);
        for id in 0..self.zone.records.len() {
            let Some(record) = self.zone.records.get(id) else {
                return;
            };
            if record.link == link
                && (reverse == Some(record.name) || self.zone.text(record) == text)
            {
                self.retire(id, now);
            }
        }
    }

    /// Says of everything that it is gone. When nothing is due any more, all that could be said has been.
    pub fn leave(&mut self, now: Instant) {
        let now = self.tick(now);
        self.leaves = true;
        for (number, on) in self.links.iter_mut().enumerate() {
            for (id, record) in self.zone.records.iter().enumerate() {
                on.say_gone(id, record, number as LinkId, now);
            }
            on.probes_at = NEVER;
            on.probes.iter_mut().for_each(|probe| probe.due = NEVER);
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
        let now = self.tick(now);
        let message = Message::parse(datagram).ok()?;
        let is_up = |on: &OnLink| on.link.is_up();
        if meta.from.port() == 0
            || self.leaves
            || !self.links.get(usize::from(meta.link)).is_some_and(is_up)
        {
            return None;
        }
        if message.is_response()? {
            self.response(now, meta, &message);
            None
        } else {
            self.query(now, meta, &message, out)
        }
    }

    /// What is to be sent to a link now, if there is anything.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        let now = self.tick(now);
        for link in 0..LINK_COUNT_MAX as LinkId {
            let sent = self
                .send_probes(now, link, out)
                .or_else(|| self.send_due(now, link, out));
            if sent.is_some() {
                return sent;
            }
        }
        None
    }

    /// When there is something to send again.
    pub fn poll_at(&self) -> Instant {
        let now = later(self.now.since(self.epoch).as_ms() as u32, 0);
        let mut first = NEVER;
        for on in &self.links {
            first = earlier(earlier(first, on.answers_at), on.probes_at);
        }
        match first {
            NEVER => Instant::NEVER,
            due if is_due(due, now) => self.now,
            due => self.now.after(Duration::from_ms(due.wrapping_sub(now))),
        }
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
        self.links.iter().all(|on| on.probes_at == NEVER)
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
            record.kind == kind::NSEC && self.zone.claim(record.name).manner != Manner::Fixed
        });
        own.map(|record| {
            let labels = self.zone.names.labels(record.name);
            let labels = labels.map(|label| String::from_utf8_lossy(label.bytes).into_owned());
            labels.collect::<Vec<_>>().join(".")
        })
        .collect()
    }

    /// One more conflict.
    pub(super) fn count_conflict(&mut self, now: Tick) {
        let at = self.conflict_count;
        self.conflict_count = at.wrapping_add(1) % CONFLICT_COUNT;
        if let Some(place) = self.conflicts.get_mut(at) {
            *place = now;
        }
        // What is there now is the oldest.
        let oldest = self.conflicts.get(self.conflict_count).copied();
        let are_many = |oldest: Tick| oldest != NEVER && now.wrapping_sub(oldest) < CONFLICT_MS;
        let pauses = self.pauses_until != NEVER && !is_due(self.pauses_until, now);
        if pauses || oldest.is_some_and(are_many) {
            self.pauses_until = later(now, PEACE_MS);
        }
    }

    /// How long the next attempt waits.
    pub(super) fn patience(&mut self, now: Tick) -> u32 {
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        if self.pauses_until != NEVER && !is_due(self.pauses_until, now) {
            return ms.wrapping_add(CONFLICT_PAUSE_MS);
        }
        ms
    }

    /// Somebody else has a name: chooses another one, and probes for that.
    pub(super) fn yield_name(&mut self, now: Tick, link: LinkId, name: NameId) {
        self.count_conflict(now);
        let claim = self.zone.claim(name);
        if claim.manner == Manner::Fixed {
            if let Some(on) = self.links.get_mut(usize::from(link))
                && let Some(probe) = on.probe(name)
            {
                *probe = Probe::default();
            }
            return;
        }
        // After a few, chance: many who wish the same name would come upon each other with every further one.
        let mut number = u32::from(claim.renames).wrapping_add(2);
        if number > 4 {
            let range = 4u32.wrapping_shl(number.min(12));
            number = self.random.ms(number, range);
        }
        while !self.zone.rename(name, number) {
            number = number.wrapping_add(1);
        }
        self.renamed = Some(name);
        let ms = self.patience(now);
        for on in &mut self.links {
            if on.phase(name) != Phase::Idle {
                on.begin(name, now, ms);
            }
        }
    }
}

impl OnLink {
    /// Says of a record that it is gone, if it was told here.
    fn say_gone(&mut self, id: RecordId, record: &Record, link: LinkId, now: Tick) -> bool {
        let tells = self.tells(record, link) && self.link.is_up();
        let Some(state) = self.told(id) else {
            return false;
        };
        let was_told = tells && state.last != NEVER && record.kind != kind::NSEC;
        *state = State {
            due: if was_told { now } else { NEVER },
            bits: bit::GONE,
            ..*state
        };
        if was_told {
            self.answers_at = earlier(self.answers_at, now);
        }
        was_told
    }

    /// The link is down: nothing was ever told here.
    fn forget(&mut self) {
        self.told
            .iter_mut()
            .for_each(|state| *state = State::default());
        self.probes
            .iter_mut()
            .for_each(|probe| *probe = Probe::default());
        (self.answers_at, self.probes_at) = (NEVER, NEVER);
    }
}
