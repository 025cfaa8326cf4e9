//! Responses of other hosts: conflicts with our names, our own records with a TTL that is too low, and duplicate answer
//! suppression. RFC 6762 sections 6.6, 7.4, 8.1 and 9.

use super::link_state::LinkState;
use super::names::NameId;
use super::record_state::Probing;
use super::responder::{Renamed, Responder};
use super::zone::Zone;
use super::{Destination, Meta};
use crate::time::Instant;
use crate::wire::dns::{Message, PORT, Record, Section, kind};
use core::net::IpAddr;

impl Responder {
    /// Handles a response of another host: resolves conflicts with our names, and updates the states of records equal to ours.
    pub(super) fn handle_response(
        &mut self,
        now: Instant,
        meta: &Meta,
        from: &IpAddr,
        message: &Message<'_>,
    ) {
        let link = usize::from(meta.link);
        let Some(link_state) = self.links.get(link) else {
            return;
        };
        // A unicast response is accepted only after a probe that requested one.
        let was_asked = now < link_state.unicast_until;
        let is_heard = meta.cast == Destination::Multicast
            || (link_state.link.covers(from) && (was_asked || meta.cast == Destination::Unknown));
        if meta.from.port() != PORT || !is_heard {
            return;
        }
        for record in message.records() {
            // A damaged record shows no other owner of a name.
            if !record.is_in_class() || !record.is_well_formed() {
                continue;
            }
            let is_answer = record.section == Section::Answer;
            let Some(name) = self.zone.names.find(record.name) else {
                continue;
            };
            let Some(link_state) = self.links.get_mut(link) else {
                return;
            };
            // The first conflict restarts probing for the name. Before its first probe, further records in the message are no
            // conflict.
            if link_state.is_conflict(&self.zone, now, name, is_answer, &record) {
                let rival = self.rival(from);
                self.handle_conflict(now, link, Renamed { name, rival }, message);
            } else if record.ttl == 0 {
                self.reclaim(now, name);
            }
        }
    }
}

impl LinkState {
    /// Returns true if a received record conflicts with our use of `name`. A record equal to one of ours is no conflict. If its TTL
    /// is less than half of ours, our record is multicast again. If its TTL is sufficient and it is in the answer section
    /// (`is_answer`), the scheduled multicast of our record is cancelled.
    fn is_conflict(
        &mut self,
        zone: &Zone,
        now: Instant,
        name: NameId,
        is_answer: bool,
        record: &Record<'_>,
    ) -> bool {
        let (mut has_kind, mut is_ours) = (false, false);
        for (_, ours) in zone.records_of(name) {
            has_kind |= ours.kind == record.kind && ours.is_on(self.only);
            // The records of all our links are compared: a bridge may return our own response through another link.
            if !zone.is_equal(ours, record) {
                continue;
            }
            is_ours = true;
            if ours.is_goodbye || !self.may_send(zone, ours) {
                continue;
            }
            let state = self.state(zone, ours);
            let is_due = state.due.get() != Instant::NEVER;
            let is_announced = state.announcements_left.get() == 0;
            if record.ttl < zone.ttl(ours) / 2 {
                // Other hosts would remove our record from their caches too early.
                if is_announced || !is_due {
                    self.schedule_refresh(zone, ours, now);
                }
            } else if is_answer && is_announced && is_due {
                // Duplicate answer suppression (RFC 6762 section 7.4).
                state.mark_multicast(now);
            }
        }
        if record.ttl == 0 || zone.unique(name).is_none() {
            return false;
        }
        // The TXT record that another host's claim to a virtual machine lacked, even if it is equal to ours.
        if record.kind == kind::TXT && self.is_disputed(zone, name) {
            return true;
        }
        if is_ours {
            return false;
        }
        if self.holds(zone, name) {
            // NSEC alone is no conflict: its sender also has other records of this name, which conflict when they are received.
            return has_kind && record.kind != kind::NSEC;
        }
        self.phase(zone, name) >= Probing::First
    }
}
