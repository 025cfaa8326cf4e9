//! What others say: conflicts with our names, records of ours that would be forgotten, and answers that spare us ours. RFC 6762
//! sections 6.6, 7.4, 8.1 and 9.

use super::link::LinkId;
use super::names::NameId;
use super::responder::{MANY, NEVER, Phase, Responder, Tick, is_due};
use super::zone::{Manner, RecordId};
use super::{Cast, Meta};
use crate::wire::dns::{Message, PORT, Record, Section, kind};

/// Names that one message can be in conflict with.
const LOST_COUNT: usize = 8;

impl Responder {
    /// Takes a response.
    pub(super) fn response(&mut self, now: Tick, meta: Meta, message: &Message<'_>) {
        let Some(on) = self.links.get(usize::from(meta.link)) else {
            return;
        };
        // What was sent to us alone was asked for, or it is nothing.
        let was_asked = on.unicast_until != NEVER && !is_due(on.unicast_until, now);
        let reaches = on.link.reaches(meta.from.ip());
        let is_heard = match meta.cast {
            Cast::Multicast => true,
            Cast::Unicast => was_asked && reaches,
            Cast::Unknown => reaches,
        };
        if meta.from.port() != PORT || !is_heard {
            return;
        }
        // Who says that we have nothing else may be ourselves, on another link.
        let from_us = self.links.iter().any(|on| on.link.owns(meta.from.ip()));
        let mut lost = heapless::Vec::<NameId, LOST_COUNT>::new();
        for (section, record) in message.records() {
            if !record.is_in_class() || (record.kind == kind::NSEC && from_us) {
                continue;
            }
            let Some(name) = self.zone.names.find(record.name) else {
                continue;
            };
            if self.is_conflict(now, meta.link, name, section, &record) && !lost.contains(&name) {
                let _ = lost.push(name);
            }
        }
        for name in lost {
            self.conflict(now, meta.link, name);
        }
    }

    /// Whether a record says that a name of ours is another's. If it says what we say, that is noted.
    fn is_conflict(
        &mut self,
        now: Tick,
        link: LinkId,
        name: NameId,
        section: Section,
        record: &Record<'_>,
    ) -> bool {
        let Some(on) = self.links.get_mut(usize::from(link)) else {
            return false;
        };
        let mut has_kind = false;
        let mut is_ours = false;
        let mut same: Option<RecordId> = None;
        for (id, own) in self.zone.of(name) {
            has_kind |= own.kind == record.kind && own.is_on(link);
            // On whatever link: it may have come back through another one.
            if self.zone.says(own, record) {
                is_ours = true;
                if own.is_on(link) && !own.leaves {
                    same = Some(id);
                }
            }
        }
        if let Some(id) = same
            && let Some(own) = self.zone.records.get(id)
            && on.tells(own, link)
            && let Some(state) = on.told(id)
        {
            if record.ttl < own.ttl() / 2 {
                // Others would forget it too early.
                if !(state.again > 0 && state.due != NEVER) {
                    on.rescue(id, now);
                }
            } else if section == Section::Answer && state.again == 0 && state.due != NEVER {
                // Somebody has said it for us.
                (state.due, state.wanted_by, state.last) = (NEVER, MANY, now);
            }
        }
        if is_ours || record.ttl == 0 || !self.zone.claim(name).is_unique {
            return false;
        }
        if on.holds(name) {
            // That there is nothing else is no contradiction: he who says so has something there, and says that, too.
            return has_kind && record.kind != kind::NSEC;
        }
        on.phase(name) >= Phase::First
    }

    /// Somebody else has a name. What we have is asked for again; what we only wish is his.
    fn conflict(&mut self, now: Tick, link: LinkId, name: NameId) {
        let is_fixed = self.zone.claim(name).manner == Manner::Fixed;
        let Some(on) = self.links.get(usize::from(link)) else {
            return;
        };
        if on.holds(name) && !is_fixed {
            self.count_conflict(now);
            let ms = self.patience(now);
            if let Some(on) = self.links.get_mut(usize::from(link)) {
                on.begin(name, now, ms);
            }
        } else {
            self.yield_name(now, link, name);
        }
    }
}
