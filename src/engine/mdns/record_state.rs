//! What is with every record and every name on a link: when it was told, when it is due, how far it is probed for.
//!
//! The states of a record on all links lie side by side in the zone, so that few pages hold them. They are cells: what is due
//! changes while records are gone through.

use crate::time::{Duration, Instant};
use core::cell::Cell;

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
#[derive(Debug)]
pub(super) struct RecordState {
    /// When it was multicast last; [`Instant::NEVER`]: never.
    pub(super) last_multicast: Cell<Instant>,
    /// When it is to be multicast.
    pub(super) due: Cell<Instant>,
    pub(super) bits: Cell<u8>,
    /// Announcements that are still to follow.
    pub(super) announcements_left: Cell<u8>,
    /// Whose further known answers may make it unnecessary: the number of the truncated query, or [`MANY`].
    pub(super) wanted_by: Cell<u8>,
    /// Of the first record of a unique name: how far that is, and when it goes on.
    pub(super) probe: Cell<Probe>,
    pub(super) probe_due: Cell<Instant>,
}

impl RecordState {
    /// It was never multicast.
    pub(super) const fn new() -> Self {
        Self {
            last_multicast: Cell::new(Instant::NEVER),
            due: Cell::new(Instant::NEVER),
            bits: Cell::new(0),
            announcements_left: Cell::new(0),
            wanted_by: Cell::new(MANY),
            probe: Cell::new(Probe::NEW),
            probe_due: Cell::new(Instant::NEVER),
        }
    }

    /// It was multicast now, by us or by another.
    pub(super) fn settle(&self, now: Instant) {
        self.last_multicast.set(now);
        self.cancel();
    }

    /// It need not be multicast.
    pub(super) fn cancel(&self) {
        self.due.set(Instant::NEVER);
        self.wanted_by.set(MANY);
    }

    /// Whether one of these bits is set.
    pub(super) fn has(&self, bits: u8) -> bool {
        self.bits.get() & bits != 0
    }

    pub(super) fn set(&self, bits: u8) {
        self.bits.set(self.bits.get() | bits);
    }

    pub(super) fn clear(&self, bits: u8) {
        self.bits.set(self.bits.get() & !bits);
    }

    /// Whether it was multicast at most `ms` ago.
    pub(super) fn was_multicast_within(&self, ms: u32, now: Instant) -> bool {
        let last = self.last_multicast.get();
        last != Instant::NEVER && now < later(last, ms)
    }
}

/// How far a name is on a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
#[repr(u8)]
pub(super) enum Phase {
    /// It has no records there, or was given up.
    #[default]
    Idle,
    /// It is asked for three times: another responder on this host may have it.
    Ask,
    AskAgain,
    AskLast,
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
    /// After one more question or probe, or when the last was not answered.
    pub(super) fn next(self) -> Self {
        const NEXT: [Phase; 8] = [
            Phase::Idle,
            Phase::AskAgain,
            Phase::AskLast,
            Phase::Wait,
            Phase::First,
            Phase::Second,
            Phase::Third,
            Phase::Done,
        ];
        *NEXT.get(self as usize).unwrap_or(&self)
    }
}

/// What is with a name on a link.
#[derive(Clone, Copy, Debug)]
#[repr(align(4))] // Copied as one word.
pub(super) struct Probe {
    pub(super) phase: Phase,
    /// It is ours, though it is probed for again.
    pub(super) is_held: bool,
    /// It has become ours, and is not announced yet.
    pub(super) is_new: bool,
}

impl Probe {
    /// There is nothing to be probed for.
    pub(super) const NEW: Self = Self {
        phase: Phase::Idle,
        is_held: false,
        is_new: false,
    };

    /// It will be probed for.
    pub(super) const WAIT: Self = Self {
        phase: Phase::Wait,
        ..Self::NEW
    };

    /// Whether the name is ours.
    pub(super) const fn holds(&self) -> bool {
        self.is_held || matches!(self.phase, Phase::Done)
    }
}
