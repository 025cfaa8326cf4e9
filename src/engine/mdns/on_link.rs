//! A link, and what is with every record and every name there: when it was told, when it is due, how far it is probed for.

use super::Limits;
use super::link::{Link, LinkId};
use super::names::NameId;
use super::zone::{Record, RecordId};
use super::{HEAD_BYTES, MESSAGE_BYTES};
use crate::mem::Slots;
use crate::time::{Duration, Instant};

/// Between messages of which each is full.
pub(super) const PACE_MS: u32 = 10;

/// So many milliseconds later.
pub(super) const fn later(now: Instant, ms: u32) -> Instant {
    now.after(Duration::from_ms(ms))
}

/// Bits of [`RecordState::bits`]: it is asked for, by a QM or by a QU question; it is a known answer; it is part of the unicast reply
/// that is being written; its goodbye is due.
pub(super) mod bit {
    pub(in super::super) const ASKED: u8 = 1;
    pub(in super::super) const ASKED_UNICAST: u8 = 2;
    pub(in super::super) const KNOWN: u8 = 4;
    pub(in super::super) const REPLY: u8 = 8;
    pub(in super::super) const GOODBYE: u8 = 16;
}

/// More than one waits for it.
pub(super) const MANY: u8 = 0;

/// What is with a record on a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordState {
    /// When it was multicast last; [`Instant::NEVER`]: never.
    pub(super) last_multicast: Instant,
    /// When it is to be multicast.
    pub(super) due: Instant,
    pub(super) bits: u8,
    /// Announcements that are still to follow.
    pub(super) announcements_left: u8,
    /// Whose further known answers may make it unnecessary: the number of the truncated query, or [`MANY`].
    pub(super) wanted_by: u8,
}

impl RecordState {
    /// It was never multicast.
    pub(super) const NEW: Self = Self {
        last_multicast: Instant::NEVER,
        due: Instant::NEVER,
        bits: 0,
        announcements_left: 0,
        wanted_by: MANY,
    };

    /// Whether it was multicast at most `ms` ago.
    pub(super) fn was_multicast_within(&self, ms: u32, now: Instant) -> bool {
        self.last_multicast != Instant::NEVER && now < later(self.last_multicast, ms)
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe {
    pub(super) phase: Phase,
    /// It is ours, though it is probed for again.
    pub(super) is_held: bool,
    /// It has become ours, and is not announced yet.
    pub(super) is_new: bool,
    pub(super) due: Instant,
}

impl Probe {
    /// There is nothing to be probed for.
    pub(super) const NEW: Self = Self {
        phase: Phase::Idle,
        is_held: false,
        is_new: false,
        due: Instant::NEVER,
    };

    /// Whether the name is ours.
    pub(super) fn holds(&self) -> bool {
        self.is_held || self.phase == Phase::Done
    }
}

/// A link, and what is with all records and names there.
#[derive(Debug)]
#[repr(C)]
pub(super) struct OnLink {
    pub(super) records: Slots<RecordState>,
    pub(super) probes: Slots<Probe>,
    /// Not later than the first record that is due, or name.
    pub(super) answers_at: Instant,
    pub(super) probes_at: Instant,
    /// Until when answers to us alone are waited for.
    pub(super) unicast_until: Instant,
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
            records: Slots::new(limits.record_count),
            probes: Slots::new(limits.name_count),
            answers_at: Instant::NEVER,
            probes_at: Instant::NEVER,
            unicast_until: Instant::default(),
            asked_from: 0,
            asked_end: 0,
            id: id as LinkId,
            bit: 1 << id,
            link: Link::default(),
        }
    }

    /// Bytes of one message.
    #[inline(never)]
    pub(super) fn message_bytes(&self) -> usize {
        match self.link.mtu {
            0 => MESSAGE_BYTES,
            mtu => MESSAGE_BYTES.min((mtu as usize).saturating_sub(HEAD_BYTES)),
        }
    }

    /// What is with a record.
    #[inline(never)]
    pub(super) fn record(&mut self, id: RecordId) -> Option<&mut RecordState> {
        while self.records.len() <= id {
            self.records.push(RecordState::NEW)?;
        }
        self.records.get_mut(id)
    }

    /// What is with a name.
    #[inline(never)]
    pub(super) fn probe(&mut self, name: NameId) -> Option<&mut Probe> {
        while self.probes.len() <= name.place() {
            self.probes.push(Probe::NEW)?;
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

    /// The link is down: nothing was ever told here.
    pub(super) fn forget(&mut self) {
        self.records
            .iter_mut()
            .for_each(|state| *state = RecordState::NEW);
        self.probes.iter_mut().for_each(|probe| *probe = Probe::NEW);
        (self.answers_at, self.probes_at) = (Instant::NEVER, Instant::NEVER);
    }
}
