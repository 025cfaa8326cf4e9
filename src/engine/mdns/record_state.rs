//! The state of a record or name on a link: when it was last multicast, when it is due, and its probing phase.
//!
//! The fields are cells, so that the responder can change due times while it iterates over the records.

use crate::time::{Duration, Instant};
use core::cell::Cell;

/// Returns the instant `ms` milliseconds after `now`.
pub(super) const fn later(now: Instant, ms: u32) -> Instant {
    now.after(Duration::from_ms(ms))
}

/// Bits of [`RecordState::bits`]. All but `GOODBYE` are valid only while one query is handled.
pub(super) mod bit {
    /// A QM question of the query asks for the record.
    pub(in super::super) const ASKED: u8 = 1;
    /// A QU question, or a query sent to us by unicast, asks for the record.
    pub(in super::super) const ASKED_UNICAST: u8 = 2;
    /// The querier already knows the record.
    pub(in super::super) const KNOWN: u8 = 4;
    /// The record is part of the unicast reply that is being written.
    pub(in super::super) const REPLY: u8 = 8;
    /// The record is withdrawn: the next multicast is its goodbye.
    pub(in super::super) const GOODBYE: u8 = 16;
}

/// Value in place of a truncated query's number if no truncated query waits for the record, or several queries do. Later known
/// answers then do not cancel the record's multicast.
pub(super) const NO_QUERY: u8 = 0;

/// State of a record on a link.
#[derive(Debug)]
pub(super) struct RecordState {
    /// When the record was last multicast; [`Instant::NEVER`]: not yet.
    pub(super) last_multicast: Cell<Instant>,
    /// When the record is to be multicast; [`Instant::NEVER`]: it is not due.
    pub(super) due: Cell<Instant>,
    /// Flags from [`bit`].
    pub(super) bits: Cell<u8>,
    /// Number of announcements left after the next one.
    pub(super) announcements_left: Cell<u8>,
    /// Number of the truncated query, if it is the only query that waits for the record; otherwise [`NO_QUERY`]. Further known
    /// answers of that query may cancel the multicast.
    pub(super) wanted_by: Cell<u8>,
    /// Probing state of the name. Valid in the first record of a unique name only.
    pub(super) probe: Cell<Probe>,
    /// When the name's next probe or question is due, or its first announcement; [`Instant::NEVER`]: nothing is due.
    pub(super) probe_due: Cell<Instant>,
}

impl RecordState {
    /// Returns the state of a record that was never multicast.
    pub(super) const fn new() -> Self {
        Self {
            last_multicast: Cell::new(Instant::NEVER),
            due: Cell::new(Instant::NEVER),
            bits: Cell::new(0),
            announcements_left: Cell::new(0),
            wanted_by: Cell::new(NO_QUERY),
            probe: Cell::new(Probe::NEW),
            probe_due: Cell::new(Instant::NEVER),
        }
    }

    /// Resets the state to that of a record that was never multicast.
    pub(super) fn reset(&self) {
        let Self {
            last_multicast,
            due,
            bits,
            announcements_left,
            wanted_by,
            probe,
            probe_due,
        } = Self::new();
        self.last_multicast.swap(&last_multicast);
        self.due.swap(&due);
        self.bits.swap(&bits);
        self.announcements_left.swap(&announcements_left);
        self.wanted_by.swap(&wanted_by);
        self.probe.swap(&probe);
        self.probe_due.swap(&probe_due);
    }

    /// Notes that the record was multicast at `now`, by us or by another host, and is no longer due.
    pub(super) fn mark_multicast(&self, now: Instant) {
        self.last_multicast.set(now);
        self.cancel();
    }

    /// Cancels the multicast that is due.
    pub(super) fn cancel(&self) {
        self.due.set(Instant::NEVER);
        self.wanted_by.set(NO_QUERY);
    }

    /// Returns true if one of these bits is set.
    pub(super) fn has(&self, bits: u8) -> bool {
        self.bits.get() & bits != 0
    }

    pub(super) fn set(&self, bits: u8) {
        self.bits.set(self.bits.get() | bits);
    }

    pub(super) fn clear(&self, bits: u8) {
        self.bits.set(self.bits.get() & !bits);
    }

    /// Returns true if the record was multicast less than `ms` milliseconds ago.
    pub(super) fn was_multicast_within(&self, ms: u32, now: Instant) -> bool {
        let last = self.last_multicast.get();
        last != Instant::NEVER && now < later(last, ms)
    }
}

/// Probing phase of a name on a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
#[repr(u8)]
pub(super) enum Probing {
    /// The name has no records on the link, or was given up.
    #[default]
    Idle,
    /// The first of three questions for the name is due: another responder on this host may have the name.
    Ask,
    /// The second question is due.
    AskAgain,
    /// The third question is due.
    AskLast,
    /// The first probe is due.
    Wait,
    /// One probe was sent.
    First,
    /// Two probes were sent.
    Second,
    /// Three probes were sent.
    Third,
    /// The name is ours.
    Done,
}

impl Probing {
    /// Returns the phase that follows when a question or a probe was sent, or when the last probe got no answer.
    pub(super) fn next(self) -> Self {
        const NEXT: [Probing; 8] = [
            Probing::Idle,
            Probing::AskAgain,
            Probing::AskLast,
            Probing::Wait,
            Probing::First,
            Probing::Second,
            Probing::Third,
            Probing::Done,
        ];
        *NEXT.get(self as usize).unwrap_or(&self)
    }
}

/// Probing state of a name on a link.
#[derive(Clone, Copy, Debug)]
#[repr(align(4))] // Copied as one word.
pub(super) struct Probe {
    pub(super) phase: Probing,
    /// True if the name is ours and stays so while it is probed for again.
    pub(super) is_held: bool,
    /// True if the name has become ours and is not announced yet.
    pub(super) is_new: bool,
    /// True if another host has answered a probe for this virtual machine without its TXT record.
    pub(super) is_disputed: bool,
}

impl Probe {
    /// State of a name that is not probed for.
    pub(super) const NEW: Self = Self {
        phase: Probing::Idle,
        is_held: false,
        is_new: false,
        is_disputed: false,
    };

    /// State of a name whose first probe is due.
    pub(super) const WAIT: Self = Self {
        phase: Probing::Wait,
        ..Self::NEW
    };

    /// State of a name for which three probes got no response: it is ours, but not announced yet.
    pub(super) const CLAIMED: Self = Self {
        phase: Probing::Done,
        is_new: true,
        ..Self::NEW
    };

    /// Returns the state after a question or a probe was sent.
    pub(super) fn next(self) -> Self {
        Self {
            phase: self.phase.next(),
            ..self
        }
    }

    /// Returns true if the name is ours.
    pub(super) const fn holds(&self) -> bool {
        self.is_held || matches!(self.phase, Probing::Done)
    }
}
