//! A link, and when something is due there.

use super::link::{Link, LinkId};
use super::names::NameId;
use super::record_state::{Phase, RecordState};
use super::zone::{Entry, Record, Zone};
use super::{HEAD_BYTES, MESSAGE_BYTES, Transmit};
use crate::time::Instant;

/// Between messages of which each is full.
pub(super) const PACE_MS: u32 = 10;

/// A link, and when something is due there.
#[derive(Debug)]
#[repr(C)]
pub(super) struct OnLink {
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
    pub(super) fn new(id: usize) -> Self {
        Self {
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
    pub(super) fn of<'a>(&self, record: &'a Entry) -> &'a RecordState {
        record.on(self.id)
    }

    /// What is with a name; nothing of one that is not ours.
    pub(super) fn probe<'a>(&self, zone: &'a Zone, name: NameId) -> Option<&'a RecordState> {
        zone.unique(name).map(|record| self.of(record))
    }

    /// How far a name is.
    pub(super) fn phase(&self, zone: &Zone, name: NameId) -> Phase {
        let probe = self.probe(zone, name);
        probe.map_or(Phase::Idle, |state| state.probe.get().phase)
    }

    /// Whether a name is ours: it is answered for, and defended.
    pub(super) fn holds(&self, zone: &Zone, name: NameId) -> bool {
        let probe = self.probe(zone, name);
        probe.is_some_and(|state| state.probe.get().holds())
    }

    /// Whether a record is told here: its owner is ours.
    pub(super) fn tells(&self, zone: &Zone, record: &Record) -> bool {
        record.is_on(self.bit) && self.holds(zone, record.owner)
    }

    /// An envelope of so many bytes to all.
    pub(super) const fn transmit(&self, len: usize, families: u8) -> Transmit {
        Transmit {
            link: self.id,
            len,
            families,
        }
    }

    /// The link is down: nothing was ever told here.
    pub(super) fn forget(&mut self, zone: &mut Zone) {
        zone.forget_link(self.id);
        (self.answers_at, self.probes_at) = (Instant::NEVER, Instant::NEVER);
    }
}
