//! Goodbyes: a withdrawn record is announced once more with a TTL of 0. RFC 6762 section 10.1.

use super::link::LinkSet;
use super::link_state::LinkState;
use super::names::NameId;
use super::record_state::bit;
use super::responder::Responder;
use super::states::RecordId;
use super::zone::{OwnRecord, Zone};
use crate::time::Instant;
use crate::wire::dns::kind;

impl Responder {
    /// Schedules goodbyes for all records. All goodbyes have been sent when `poll_at` returns [`Instant::NEVER`].
    pub fn goodbye(&mut self, now: Instant) {
        self.is_stopping = true;
        for link_state in self.links.iter_mut() {
            for record in self.zone.records.iter() {
                link_state.schedule_goodbye(&self.zone, record, now);
            }
            // Stop probing.
            link_state.probes_at = Instant::NEVER;
        }
    }

    /// Withdraws the service with this instance name: schedules goodbyes for its records.
    pub fn remove_service(&mut self, now: Instant, name: NameId) {
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            if record.is_some_and(|record| record.owner == name) && !self.zone.reassign_owner(id) {
                self.withdraw(id, now);
            }
        }
    }

    /// Withdraws the NSEC records of a name that has no other records. An alias of this host keeps its NSEC record, because its
    /// addresses come and go with the links.
    pub(super) fn withdraw_denial(&mut self, name: NameId, now: Instant) {
        let mut is_kept = self.zone.kinds(name, LinkSet::ALL) != 0;
        for host in &self.zone.hosts {
            is_kept |= *host == name;
        }
        if is_kept {
            return;
        }
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            if record.is_some_and(|record| record.name == name && record.kind == kind::NSEC) {
                self.withdraw(id, now);
            }
        }
    }

    /// Schedules the goodbye of a record on the links where it was multicast. A record that was multicast nowhere is removed at
    /// once; otherwise [`Self::remove_withdrawn`] removes it.
    pub(super) fn withdraw(&mut self, id: RecordId, now: Instant) {
        if let Some(entry) = self.zone.records.get_mut(id) {
            entry.is_goodbye = true;
        }
        let Some(record) = self.zone.records.get(id) else {
            return;
        };
        let mut was_multicast = false;
        for link_state in self.links.iter_mut() {
            was_multicast |= link_state.schedule_goodbye(&self.zone, record, now);
        }
        if !was_multicast {
            self.zone.remove(id);
        }
    }

    /// Removes withdrawn records whose goodbyes have been sent on all links.
    pub(super) fn remove_withdrawn(&mut self) {
        for id in 0..self.zone.records.len() {
            let record = self.zone.records.get(id);
            let was_sent = |record: &OwnRecord| {
                let mut states = self.zone.states.of(record.id()).iter();
                record.is_goodbye && states.all(|state| state.due.get() == Instant::NEVER)
            };
            if record.is_some_and(was_sent) {
                self.zone.remove(id);
            }
        }
    }
}

impl LinkState {
    /// Schedules the goodbye of a record if the record was multicast on this link and is no NSEC record; otherwise cancels its
    /// multicast. Returns true if a goodbye is scheduled.
    pub(super) fn schedule_goodbye(
        &mut self,
        zone: &Zone,
        record: &OwnRecord,
        now: Instant,
    ) -> bool {
        let state = self.state(zone, record);
        let is_known = state.last_multicast.get() != Instant::NEVER && record.kind != kind::NSEC;
        let was_multicast = is_known && self.may_send(zone, record) && self.link.is_up();
        state.bits.set(bit::GOODBYE);
        state.due.set(Instant::NEVER);
        if was_multicast {
            state.due.set(now);
            self.answers_at = self.answers_at.min(now);
        }
        was_multicast
    }
}

impl Zone {
    /// Keeps the PTR record that lists a service type (RFC 6763 section 9) when the service that owns it is withdrawn: assigns the
    /// record to another service of this type. Returns false if there is no other service of this type, or if `id` is another kind
    /// of record.
    pub(super) fn reassign_owner(&mut self, id: RecordId) -> bool {
        let Some(record) = self.records.get(id) else {
            return false;
        };
        let mut services = self.records_of(record.target).map(|(_, other)| other);
        let new_owner = services
            .find(|other| {
                !other.is_unique
                    && !other.is_goodbye
                    && other.owner != record.owner
                    && other.interface == record.interface
            })
            .map(|other| other.owner);
        match (new_owner, self.records.get_mut(id)) {
            (Some(owner), Some(entry)) => entry.owner = owner,
            _ => return false,
        }
        true
    }
}
