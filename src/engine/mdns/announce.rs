//! Announcing: unsolicited responses with what has become ours, and with what others would forget too early. RFC 6762
//! sections 8.3 and 6.6.

use super::names::NameId;
use super::on_link::{MANY, OnLink, RecordState, later};
use super::zone::{Record, RecordId, Zone};
use crate::time::Instant;

/// Between announcements.
pub(super) const ANNOUNCE_MS: u32 = 1000;
/// Announcements after the first.
const ANNOUNCE_COUNT: u8 = 1;

impl OnLink {
    /// Announces what belongs to names that have just become ours, or points to them.
    pub(super) fn announce_claimed(&mut self, zone: &Zone, now: Instant) {
        for (id, record) in zone.records.iter().enumerate() {
            if record.is_held(self.bit) && self.is_news(record) && self.holds(record.owner) {
                self.announce(id, now);
            }
        }
        self.probes
            .iter_mut()
            .for_each(|probe| probe.is_new = false);
    }

    /// Whether a record's owner, or the name that it points to, has just become ours.
    pub(super) fn is_news(&self, record: &Record) -> bool {
        let is_new = |name: NameId| {
            let probe = self.probes.get(name.place());
            probe.is_some_and(|probe| probe.is_new)
        };
        is_new(record.owner) || is_new(record.target)
    }

    /// Schedules the announcement of a record, now and once more.
    pub(super) fn announce(&mut self, id: RecordId, now: Instant) {
        if let Some(state) = self.record(id) {
            state.due = now;
            state.announcements_left = ANNOUNCE_COUNT;
            state.wanted_by = MANY;
            self.answers_at = self.answers_at.min(now);
        }
    }

    /// Schedules the multicast of a record that others would forget too early (RFC 6762 section 10.1).
    pub(super) fn rescue(&mut self, id: RecordId, now: Instant) {
        if let Some(state) = self.record(id) {
            let due = match state.was_multicast_within(ANNOUNCE_MS, now) {
                true => later(state.last_multicast, ANNOUNCE_MS),
                false => now,
            };
            state.due = state.due.min(due);
            self.answers_at = self.answers_at.min(due);
        }
    }
}

impl RecordState {
    /// The record was multicast.
    pub(super) fn set_multicast(&mut self, now: Instant) {
        (self.last_multicast, self.due, self.wanted_by) = (now, Instant::NEVER, MANY);
        self.bits = 0;
        if let Some(announcements_left) = self.announcements_left.checked_sub(1) {
            self.announcements_left = announcements_left;
            self.due = later(now, ANNOUNCE_MS);
        }
    }
}
