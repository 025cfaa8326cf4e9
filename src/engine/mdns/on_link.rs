//! A link, and what is with every record and every name there: when it was told, when it is due, how far it is probed for.

use super::link::{Link, LinkId};
use super::names::NameId;
use super::responder::Limits;
use super::zone::{Record, RecordId};
use super::{HEAD_BYTES, MESSAGE_BYTES};
use crate::sys::heap::Slots;
use crate::wire::dns::kind;

/// Milliseconds since the responder was made, over and over; never 0, which means never.
pub(super) type Tick = u32;
/// No time at all.
pub(super) const NEVER: Tick = 0;

/// Between announcements.
pub(super) const ANNOUNCE_MS: u32 = 1000;
/// Announcements after the first.
const ANNOUNCE_COUNT: u8 = 1;
/// Between messages of which each is full.
pub(super) const PACE_MS: u32 = 10;

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

impl State {
    /// Whether all were told not longer ago.
    pub(super) const fn was_told_within(&self, ms: u32, now: Tick) -> bool {
        self.last != NEVER && now.wrapping_sub(self.last) < ms
    }

    /// All were told.
    pub(super) fn told_now(&mut self, now: Tick) {
        (self.last, self.due, self.wanted_by) = (now, NEVER, MANY);
        self.bits = 0;
        if let Some(again) = self.again.checked_sub(1) {
            self.again = again;
            self.due = later(now, ANNOUNCE_MS);
        }
    }
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
#[repr(C)]
pub(super) struct OnLink {
    pub(super) told: Slots<State>,
    pub(super) probes: Slots<Probe>,
    /// Not later than the first record that is due, or name.
    pub(super) answers_at: Tick,
    pub(super) probes_at: Tick,
    /// Until when answers to us alone are waited for.
    pub(super) unicast_until: Tick,
    /// Among the records between these are all that are asked for.
    pub(super) asked_from: u16,
    pub(super) asked_end: u16,
    /// Its number, and what it is in [`Record::links`].
    pub(super) id: LinkId,
    pub(super) bit: u8,
    // The longest last.
    pub(super) link: Link,
}

impl OnLink {
    /// A link that is not there yet.
    pub(super) fn new(id: usize, limits: &Limits) -> Self {
        Self {
            told: Slots::new(limits.record_count),
            probes: Slots::new(limits.name_count),
            answers_at: NEVER,
            probes_at: NEVER,
            unicast_until: NEVER,
            asked_from: 0,
            asked_end: 0,
            id: id as LinkId,
            bit: 1u8.wrapping_shl(id as u32),
            link: Link::default(),
        }
    }

    /// Bytes of one message.
    pub(super) fn message_bytes(&self) -> usize {
        match self.link.mtu {
            0 => MESSAGE_BYTES,
            mtu => MESSAGE_BYTES.min((mtu as usize).saturating_sub(HEAD_BYTES)),
        }
    }

    /// What is with a record.
    #[inline(never)]
    pub(super) fn told(&mut self, id: RecordId) -> Option<&mut State> {
        while self.told.len() <= id {
            self.told.push(State::default())?;
        }
        self.told.get_mut(id)
    }

    /// What is with a name.
    #[inline(never)]
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
    pub(super) fn tells(&self, record: &Record) -> bool {
        record.is_on(self.bit) && self.holds(record.owner)
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
    pub(super) fn begin_anew(&mut self, name: NameId, now: Tick, ms: u32) {
        let is_held = self.holds(name);
        self.begin(name, now, ms);
        if let Some(probe) = self.probe(name) {
            probe.is_held = is_held;
        }
    }

    /// A name is not ours, and will not be.
    pub(super) fn give_up(&mut self, name: NameId) {
        if let Some(probe) = self.probes.get_mut(name.place()) {
            *probe = Probe::default();
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

    /// Says of a record that it is gone, if it was told here.
    pub(super) fn say_gone(&mut self, id: RecordId, record: &Record, now: Tick) -> bool {
        let tells = self.tells(record) && self.link.is_up();
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
    pub(super) fn forget(&mut self) {
        self.told
            .iter_mut()
            .for_each(|state| *state = State::default());
        self.probes
            .iter_mut()
            .for_each(|probe| *probe = Probe::default());
        (self.answers_at, self.probes_at) = (NEVER, NEVER);
    }
}
