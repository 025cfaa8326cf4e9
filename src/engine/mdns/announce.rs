//! Announcing: unsolicited responses with newly claimed records, and with records that other hosts would remove from their caches
//! too early. RFC 6762 sections 8.3 and 6.6.

use super::link_state::LinkState;
use super::names::NameId;
use super::record_state::{NO_QUERY, Probe, RecordState, later};
use super::zone::{OwnRecord, Zone};
use crate::time::Instant;

/// Interval (milliseconds) between the announcements of a record.
pub(super) const ANNOUNCE_MS: u32 = 1000;
/// Number of announcements of a record after the first.
const ANNOUNCE_COUNT: u8 = 1;

impl LinkState {
    /// Announces the records of names that have just become ours, and the records that point to such names.
    pub(super) fn announce_claimed(&mut self, zone: &Zone, now: Instant) {
        for record in zone.records.iter() {
            if record.is_active(self.only)
                && self.is_newly_claimed(zone, record)
                && self.holds(zone, record.owner)
            {
                self.announce(zone, record, now);
            }
        }
        for record in zone.records.iter() {
            let probe = &self.state(zone, record).probe;
            probe.set(Probe {
                is_new: false,
                ..probe.get()
            });
        }
    }

    /// Returns true if a record's owner, or the name that the record points to, has just become ours.
    fn is_newly_claimed(&self, zone: &Zone, record: &OwnRecord) -> bool {
        let is_new = |name: NameId| {
            let state = self.name_state(zone, name);
            state.is_some_and(|state| state.probe.get().is_new)
        };
        is_new(record.owner) || is_new(record.target)
    }

    /// Schedules the announcements of a record: one now, [`ANNOUNCE_COUNT`] later.
    fn announce(&mut self, zone: &Zone, record: &OwnRecord, now: Instant) {
        let state = self.state(zone, record);
        state.due.set(now);
        state.announcements_left.set(ANNOUNCE_COUNT);
        state.wanted_by.set(NO_QUERY);
        self.answers_at = self.answers_at.min(now);
    }

    /// Schedules the multicast of a record that other hosts would remove from their caches too early: now, or one second after its
    /// last multicast. RFC 6762 sections 6.6 and 10.1.
    pub(super) fn schedule_refresh(&mut self, zone: &Zone, record: &OwnRecord, now: Instant) {
        let state = self.state(zone, record);
        let due = match state.was_multicast_within(ANNOUNCE_MS, now) {
            true => later(state.last_multicast.get(), ANNOUNCE_MS),
            false => now,
        };
        state.due.set(state.due.get().min(due));
        self.answers_at = self.answers_at.min(due);
    }
}

impl RecordState {
    /// Notes that the record was multicast, and schedules its next announcement if one is left.
    pub(super) fn finish_multicast(&self, now: Instant) {
        self.mark_multicast(now);
        self.bits.set(0);
        if let Some(left) = self.announcements_left.get().checked_sub(1) {
            self.announcements_left.set(left);
            self.due.set(later(now, ANNOUNCE_MS));
        }
    }
}
