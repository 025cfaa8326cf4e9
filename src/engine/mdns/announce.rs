//! Announcing: unsolicited responses with what has become ours, and with what others would forget too early. RFC 6762
//! sections 8.3 and 6.6.

use super::names::NameId;
use super::on_link::OnLink;
use super::record_state::{MANY, Probe, RecordState, later};
use super::zone::{Entry, Record, Zone};
use crate::time::Instant;

/// Between announcements.
pub(super) const ANNOUNCE_MS: u32 = 1000;
/// Announcements after the first.
const ANNOUNCE_COUNT: u8 = 1;

impl OnLink {
    /// Announces what belongs to names that have just become ours, or points to them.
    pub(super) fn announce_claimed(&mut self, zone: &Zone, now: Instant) {
        for record in zone.records.iter() {
            if record.is_held(self.bit)
                && self.is_news(zone, record)
                && self.holds(zone, record.owner)
            {
                self.announce(record, now);
            }
        }
        for record in zone.records.iter() {
            let probe = &self.of(record).probe;
            probe.set(Probe {
                is_new: false,
                ..probe.get()
            });
        }
    }

    /// Whether a record's owner, or the name that it points to, has just become ours.
    fn is_news(&self, zone: &Zone, record: &Record) -> bool {
        let is_new = |name: NameId| {
            let probe = self.probe(zone, name);
            probe.is_some_and(|state| state.probe.get().is_new)
        };
        is_new(record.owner) || is_new(record.target)
    }

    /// Schedules the announcement of a record, now and once more.
    fn announce(&mut self, record: &Entry, now: Instant) {
        let state = self.of(record);
        state.due.set(now);
        state.announcements_left.set(ANNOUNCE_COUNT);
        state.wanted_by.set(MANY);
        self.answers_at = self.answers_at.min(now);
    }

    /// Schedules the multicast of a record that others would forget too early (RFC 6762 section 10.1).
    pub(super) fn rescue(&mut self, record: &Entry, now: Instant) {
        let state = self.of(record);
        let due = match state.was_multicast_within(ANNOUNCE_MS, now) {
            true => later(state.last_multicast.get(), ANNOUNCE_MS),
            false => now,
        };
        state.due.set(state.due.get().min(due));
        self.answers_at = self.answers_at.min(due);
    }
}

impl RecordState {
    /// The record was multicast.
    pub(super) fn set_multicast(&self, now: Instant) {
        self.settle(now);
        self.bits.set(0);
        if let Some(left) = self.announcements_left.get().checked_sub(1) {
            self.announcements_left.set(left);
            self.due.set(later(now, ANNOUNCE_MS));
        }
    }
}
