//! Goodbyes: a record that goes is announced once more with a TTL of 0. RFC 6762 section 10.1.

use super::names::NameId;
use super::on_link::{OnLink, RecordState, bit};
use super::responder::Responder;
use super::zone::{Record, RecordId, Zone};
use crate::time::Instant;
use crate::wire::dns::kind;

impl Responder {
    /// Schedules goodbyes for all records. When nothing is due any more, all of them were sent.
    pub fn goodbye(&mut self, now: Instant) {
        self.is_stopping = true;
        for on in &mut self.links {
            for (id, record) in self.zone.records.iter().enumerate() {
                on.say_goodbye(id, record, now);
            }
            on.probes_at = Instant::NEVER;
            on.probes
                .iter_mut()
                .for_each(|probe| probe.due = Instant::NEVER);
        }
    }

    /// Withdraws a service.
    pub fn remove_service(&mut self, now: Instant, name: NameId) {
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            if record.is_some_and(|record| record.owner == name) && !self.zone.pass_on(id) {
                self.withdraw(id, now);
            }
        }
    }

    /// Schedules the goodbye of a record on the links where it was announced; then it is removed.
    pub(super) fn withdraw(&mut self, id: RecordId, now: Instant) {
        let Some(record) = self.zone.records.get_mut(id) else {
            return;
        };
        record.is_goodbye = true;
        let record = *record;
        let mut was_told = false;
        for on in &mut self.links {
            was_told |= on.say_goodbye(id, &record, now);
        }
        if !was_told {
            self.remove(id);
        }
    }

    /// Removes records whose goodbyes were sent.
    pub(super) fn remove_withdrawn(&mut self) {
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            let is_due = |on: &OnLink| {
                on.records
                    .get(id)
                    .is_some_and(|state| state.due != Instant::NEVER)
            };
            if record.is_some_and(|record| record.is_goodbye) && !self.links.iter().any(is_due) {
                self.remove(id);
            }
        }
    }

    /// Removes a record.
    pub(super) fn remove(&mut self, id: RecordId) {
        for on in &mut self.links {
            if let Some(state) = on.records.get_mut(id) {
                *state = RecordState::NEW;
            }
        }
        let Some(name) = self.zone.records.get(id).map(|record| record.name) else {
            return;
        };
        self.zone.remove(id);
        if !self.zone.claim(name).is_unique {
            for on in &mut self.links {
                on.give_up(name);
            }
        }
    }
}

impl OnLink {
    /// Schedules the goodbye of a record, if it was announced on this link; whether it was.
    pub(super) fn say_goodbye(&mut self, id: RecordId, record: &Record, now: Instant) -> bool {
        let tells = self.tells(record) && self.link.is_up();
        let Some(state) = self.record(id) else {
            return false;
        };
        let was_told = tells && state.last_multicast != Instant::NEVER && record.kind != kind::NSEC;
        *state = RecordState {
            due: if was_told { now } else { Instant::NEVER },
            bits: bit::GOODBYE,
            ..*state
        };
        if was_told {
            self.answers_at = self.answers_at.min(now);
        }
        was_told
    }
}

impl Zone {
    /// The PTR record that lists a service type belongs to one service of the type; when that one goes, to another. Whether there
    /// is another.
    pub(super) fn pass_on(&mut self, id: RecordId) -> bool {
        let Some(record) = self.records.get(id) else {
            return false;
        };
        let mut others = self.of(record.target).map(|(_, other)| other);
        let other = others
            .find(|other| !other.is_unique && !other.is_goodbye && other.owner != record.owner)
            .map(|other| other.owner);
        match (other, self.records.get_mut(id)) {
            (Some(other), Some(record)) => record.owner = other,
            _ => return false,
        }
        true
    }
}
