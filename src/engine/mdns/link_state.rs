//! The responder's state of a link: its addresses, when the next message is due, and which records a query asks for.

use super::link::{Link, LinkId, LinkSet};
use super::names::NameId;
use super::record_state::{Probing, RecordState};
use super::zone::{OwnRecord, Zone};
use super::{HEAD_BYTES, MESSAGE_BYTES, Outgoing};
use crate::time::Instant;

/// Interval (milliseconds) between messages while each of them is full.
pub(super) const PACE_MS: u32 = 10;

/// A link with its timers and the range of the records that the current query asks for.
#[derive(Debug)]
#[repr(C)] // −304 bytes.
pub(super) struct LinkState {
    /// When a record is next due for multicast, or an earlier instant. [`LinkState::send_multicast`] recomputes it.
    pub(super) answers_at: Instant,
    /// When a name is next due for a probe, or an earlier instant. [`LinkState::send_probes`] recomputes it.
    pub(super) probes_at: Instant,
    /// Unicast responses are accepted until this time. Each probe with the QU bit sets it.
    pub(super) unicast_until: Instant,
    /// Range of indices that contains all records which the current query asks for, and possibly others.
    pub(super) asked_from: u16,
    pub(super) asked_end: u16,
    /// Index of the link.
    pub(super) id: LinkId,
    /// The set of this link alone.
    pub(super) only: LinkSet,
    // The largest field is last.
    pub(super) link: Link,
}

impl LinkState {
    /// Creates the state of a link that is down.
    pub(super) fn new(id: LinkId) -> Self {
        Self {
            answers_at: Instant::NEVER,
            probes_at: Instant::NEVER,
            unicast_until: Instant::default(),
            asked_from: 0,
            asked_end: 0,
            id,
            only: LinkSet::of(id),
            link: Link::default(),
        }
    }

    /// Returns the length (bytes) of the longest message that fits the link's MTU.
    #[inline(never)] // −37 bytes: three callers.
    pub(super) fn message_bytes(&self) -> usize {
        match self.link.mtu {
            0 => MESSAGE_BYTES,
            mtu => MESSAGE_BYTES.min((mtu as usize).saturating_sub(HEAD_BYTES)),
        }
    }

    /// Returns the state of a record on this link.
    #[inline(never)] // −51 bytes: 14 callers.
    pub(super) fn state<'a>(&self, zone: &'a Zone, record: &OwnRecord) -> &'a RecordState {
        zone.states.get(record.id(), self.id)
    }

    /// Returns the state of a name on this link: that of its first record. `None` if none of our unique records has this name.
    pub(super) fn name_state<'a>(&self, zone: &'a Zone, name: NameId) -> Option<&'a RecordState> {
        zone.unique(name).map(|record| self.state(zone, record))
    }

    /// Returns true if another host has answered a probe for a virtual machine on this link without its TXT record.
    pub(super) fn is_disputed(&self, zone: &Zone, name: NameId) -> bool {
        let state = self.name_state(zone, name);
        state.is_some_and(|state| state.probe.get().is_disputed)
    }

    /// Returns the probing phase of a name on this link.
    pub(super) fn phase(&self, zone: &Zone, name: NameId) -> Probing {
        let state = self.name_state(zone, name);
        state.map_or(Probing::Idle, |state| state.probe.get().phase)
    }

    /// Returns true if we own a name on this link: we answer queries for the name and defend it.
    pub(super) fn holds(&self, zone: &Zone, name: NameId) -> bool {
        let state = self.name_state(zone, name);
        state.is_some_and(|state| state.probe.get().holds())
    }

    /// Returns true if the record may be sent on this link: the record is for this link and we own its owner name.
    pub(super) fn may_send(&self, zone: &Zone, record: &OwnRecord) -> bool {
        record.is_on(self.only) && self.holds(zone, record.owner)
    }

    /// Returns the envelope of a multicast message of `len` bytes.
    pub(super) const fn transmit(&self, len: usize, families: u8) -> Outgoing {
        Outgoing {
            link: self.id,
            len,
            families,
        }
    }

    /// Resets timers and record states because the link is down.
    pub(super) fn reset(&mut self, zone: &mut Zone) {
        zone.reset_link(self.id);
        (self.answers_at, self.probes_at) = (Instant::NEVER, Instant::NEVER);
    }
}
