//! Answering queries: which records answer, which are suppressed as known answers, and whether and when the response is multicast.
//! RFC 6762 sections 6 and 7.

use super::family;
use super::on_link::OnLink;
use super::record_state::{MANY, RecordState, bit, later};
use super::responder::Responder;
use super::zone::{Entry, Zone};
use super::{Cast, Meta};
use crate::time::Instant;
use crate::wire::dns::{Message, PORT, Section, kind};
use core::net::IpAddr;

/// An answer that others may give too (a shared record) is delayed by at least this. RFC 6762 section 6.
const SHARED_MS: u32 = 20;
/// A random time below this is added.
const SHARED_RANGE_MS: u32 = 100;
/// The delay of the answer to a truncated query. RFC 6762 section 7.2.
const TRUNCATED_MS: u32 = 400;
const TRUNCATED_RANGE_MS: u32 = 100;
/// A truncated query is answered within this, however many known answers follow.
const TRUNCATED_MS_MAX: u32 = 2000;

/// A record is not multicast twice within this. RFC 6762 section 6.
pub(super) const HOLD_OFF_MS: u32 = 1000;
/// The same for the answer to a probe.
const HOLD_OFF_PROBE_MS: u32 = 250;

/// How and when a record that is asked for is sent.
#[derive(Clone, Copy)]
struct AnswerTiming {
    /// The response is unicast.
    is_direct: bool,
    /// More known answers follow.
    is_truncated: bool,
    delay: u32,
    /// The same, if one of them is shared with others.
    shared_delay: u32,
    hold_off: u32,
    wanted_by: u8,
}

impl Responder {
    /// Handles a query. Length of the unicast reply, if there is one.
    pub(super) fn query(
        &mut self,
        now: Instant,
        meta: &Meta,
        from: &IpAddr,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let is_legacy = meta.from.port() != PORT;
        let is_direct = is_legacy || meta.cast == Cast::Unicast;
        let number = self.truncated_queries.number(meta, from);
        let (zone, link) = (&self.zone, usize::from(meta.link));
        let on = self.links.get_mut(link)?;
        // A querier beyond the link is not answered by unicast: its address may be forged, and the answer is larger than the query
        // (RFC 6762 section 5.5).
        if (is_direct || meta.cast == Cast::Unknown) && !on.link.leads_to(from) {
            return None;
        }
        let is_probe = message.has(Section::Authority);
        if is_probe && !is_direct {
            // Another host may probe for the names that we probe for.
            for question in message.questions() {
                if let Some(name) = zone.names.find(question.name)
                    && zone.unique(name).is_some()
                {
                    on.break_tie(zone, now, name, message);
                }
            }
        }
        let family = family::of(from);
        on.mark_asked(zone, message, is_direct, family);
        if on.asked_from < on.asked_end || number != MANY {
            on.suppress_known_answers(zone, message, number);
        }
        let is_truncated = message.is_truncated();
        if !message.has_questions() {
            if is_truncated {
                self.accumulate_further(now, number);
            }
            return None;
        }
        if on.asked_from >= on.asked_end {
            return None;
        }
        let mut timing = AnswerTiming {
            is_direct,
            is_truncated: is_truncated && !is_direct,
            delay: 0,
            shared_delay: self.random.ms(SHARED_MS, SHARED_RANGE_MS),
            hold_off: if is_probe {
                HOLD_OFF_PROBE_MS
            } else {
                HOLD_OFF_MS
            },
            wanted_by: MANY,
        };
        if timing.is_truncated {
            timing.delay = self.random.ms(TRUNCATED_MS, TRUNCATED_RANGE_MS);
            timing.wanted_by = self.accumulate(now, meta, from, number);
        }
        let on = self.links.get_mut(link)?;
        if !on.schedule_answers(&self.zone, now, &timing) {
            return None;
        }
        on.write_reply(&self.zone, now, message, is_legacy, family, out)
    }

    /// Waits for more known answers of a querier; what its questions are marked with.
    fn accumulate(&mut self, now: Instant, meta: &Meta, from: &IpAddr, known: u8) -> u8 {
        let end = later(now, TRUNCATED_MS_MAX);
        let number = self
            .truncated_queries
            .accumulate(now, meta, from, known, end);
        if number != MANY {
            // What still has this number belongs to no querier in particular.
            for state in self.zone.records.iter().flat_map(Entry::states) {
                if state.wanted_by.get() == number {
                    state.wanted_by.set(MANY);
                }
            }
        }
        number
    }

    /// Even more known answers follow: waits for them, but not for ever.
    fn accumulate_further(&mut self, now: Instant, number: u8) {
        let Some((link, end)) = self.truncated_queries.waits(number) else {
            return;
        };
        let due = later(now, self.random.ms(TRUNCATED_MS, TRUNCATED_RANGE_MS));
        if end <= due {
            return;
        }
        for record in self.zone.records.iter() {
            let state = record.on(link);
            if state.wanted_by.get() == number && state.due.get() != Instant::NEVER {
                state.due.set(due);
            }
        }
    }
}

impl OnLink {
    /// Marks what is asked for in this family, and where in the table that is.
    #[inline(never)]
    fn mark_asked(&mut self, zone: &Zone, message: &Message<'_>, is_direct: bool, family: u8) {
        (self.asked_from, self.asked_end) = (u16::MAX, 0);
        for question in message.questions() {
            let Some(name) = zone.names.find(question.name) else {
                continue;
            };
            if !question.asks_in_class() {
                continue;
            }
            let bit = if is_direct || question.wants_unicast() {
                bit::ASKED_UNICAST
            } else {
                bit::ASKED
            };
            let mut has_any = false;
            // The denial, where there is nothing else.
            for &is_denial in &[false, true] {
                for (id, record) in zone.of(name) {
                    let is_meant = if is_denial {
                        !has_any
                    } else {
                        question.asks_for(record.kind)
                    };
                    if is_meant
                        && (record.kind == kind::NSEC) == is_denial
                        && !record.is_goodbye
                        && record.families & family != 0
                        && self.tells(zone, record)
                    {
                        self.of(record).set(bit);
                        self.asked_from = self.asked_from.min(id as u16);
                        self.asked_end = self.asked_end.max(id as u16 + 1);
                        has_any |= !is_denial;
                    }
                }
            }
        }
    }

    /// Known-answer suppression (RFC 6762 section 7.1): marks records that the query lists as known, or proposes as we have them, as
    /// our own probes do. What only this querier waits for, and knows, is not multicast.
    fn suppress_known_answers(&self, zone: &Zone, message: &Message<'_>, number: u8) {
        for record in message.records() {
            if record.section == Section::Additional || !record.is_in_class() {
                continue;
            }
            let Some(name) = zone.names.find(record.name) else {
                continue;
            };
            for (_, own) in zone.of(name) {
                if record.ttl < own.ttl() / 2 || !zone.says(own, &record) {
                    continue;
                }
                let state = self.of(own);
                if number != MANY && state.wanted_by.get() == number {
                    state.cancel();
                }
                // Where it is not asked for, it is no matter.
                if state.is_asked() {
                    state.set(bit::KNOWN);
                }
            }
        }
    }

    /// Where what is asked for lies in the table.
    fn asked(&self) -> core::ops::Range<usize> {
        self.asked_from.into()..self.asked_end.into()
    }

    /// Decides for each record that is asked for when it is sent, and whether by multicast. Whether there is a unicast reply.
    fn schedule_answers(&mut self, zone: &Zone, now: Instant, timing: &AnswerTiming) -> bool {
        let (mut has_reply, mut delay) = (false, timing.delay);
        for id in self.asked() {
            if let Some(record) = zone.records.get(id)
                && self.of(record).is_wanted()
            {
                if !record.is_unique {
                    delay = delay.max(timing.shared_delay);
                    continue;
                }
                // Of several that replace one another, all are told or none.
                for (_, also) in zone.of(record.name) {
                    if also.kind == record.kind {
                        self.of(also).clear(bit::KNOWN);
                    }
                }
            }
        }
        for id in self.asked() {
            let Some(record) = zone.records.get(id) else {
                continue;
            };
            let state = self.of(record);
            let (is_wanted, bits) = (state.is_wanted(), state.bits.get());
            state.clear(!bit::GOODBYE);
            if !is_wanted {
                continue;
            }
            // A question with the QU bit is answered by unicast only if the record was multicast lately (RFC 6762 section 5.4).
            let age_ms = record.ttl() * 1000 / 4;
            let is_recent = state.was_multicast_within(age_ms, now);
            let alone = bits & bit::ASKED == 0 && is_recent && !timing.is_truncated;
            if timing.is_direct || alone {
                state.set(bit::REPLY);
                has_reply = true;
                continue;
            }
            state.schedule(now, delay, timing);
            self.answers_at = self.answers_at.min(state.due.get());
        }
        has_reply
    }
}

impl RecordState {
    /// Whether it is asked for.
    fn is_asked(&self) -> bool {
        self.has(bit::ASKED | bit::ASKED_UNICAST)
    }

    /// Whether it is asked for, and is no known answer.
    fn is_wanted(&self) -> bool {
        self.is_asked() && !self.has(bit::KNOWN)
    }

    /// Schedules the multicast of a record.
    fn schedule(&self, now: Instant, delay: u32, timing: &AnswerTiming) {
        let mut due = later(now, delay);
        if self.was_multicast_within(HOLD_OFF_MS, now) {
            let free = later(self.last_multicast.get(), timing.hold_off);
            // Not before it may be told again.
            if due <= free {
                due = free;
            }
        }
        if self.due.get() == Instant::NEVER {
            self.wanted_by.set(timing.wanted_by);
        } else if self.wanted_by.get() != timing.wanted_by {
            self.wanted_by.set(MANY);
        }
        self.due.set(self.due.get().min(due));
    }
}
