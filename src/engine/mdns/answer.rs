//! Answering queries: which records answer, which are suppressed as known answers, and whether and when the response is multicast.
//! RFC 6762 sections 6 and 7.

use super::family;
use super::link_state::LinkState;
use super::record_state::{NO_QUERY, RecordState, bit, later};
use super::responder::Responder;
use super::zone::Zone;
use super::{Destination, Meta};
use crate::time::Instant;
use crate::wire::dns::{Message, PORT, Section, kind};
use core::net::IpAddr;

/// Shortest delay (milliseconds) of an answer with a shared record, which other hosts may also send. RFC 6762 section 6.
const SHARED_MS: u32 = 20;
/// Range (milliseconds) of the random time that is added to [`SHARED_MS`].
const SHARED_RANGE_MS: u32 = 100;
/// Shortest delay (milliseconds) of the answer to a truncated query. RFC 6762 section 7.2.
const TRUNCATED_MS: u32 = 400;
/// Range (milliseconds) of the random time that is added to [`TRUNCATED_MS`].
const TRUNCATED_RANGE_MS: u32 = 100;
/// Longest delay (milliseconds) of the answer to a truncated query, however many messages with known answers follow.
const TRUNCATED_MS_MAX: u32 = 2000;

/// Shortest interval (milliseconds) between two multicasts of a record. RFC 6762 section 6.
pub(super) const HOLD_OFF_MS: u32 = 1000;
/// Shortest interval (milliseconds) between two multicasts of a record if the second one answers a probe.
const HOLD_OFF_PROBE_MS: u32 = 250;

/// Time and destination of the answers to a query.
#[derive(Clone, Copy)]
struct AnswerTiming {
    /// True if the response is unicast.
    is_direct: bool,
    /// True if the query proposes records.
    is_probe: bool,
    /// True if the querier announces further messages with known answers (TC bit).
    is_truncated: bool,
    /// Delay (milliseconds) if all answers are unique records.
    delay: u32,
    /// Delay (milliseconds) if one answer is a shared record.
    shared_delay: u32,
    /// Shortest interval (milliseconds) from the last multicast of a record to the next.
    hold_off: u32,
    /// Number of the query if it is truncated; otherwise [`NO_QUERY`].
    wanted_by: u8,
}

impl Responder {
    /// Handles a query. Returns the length of the unicast reply, if any.
    pub(super) fn handle_query(
        &mut self,
        now: Instant,
        meta: &Meta,
        from: &IpAddr,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let is_legacy = meta.from.port() != PORT;
        let is_direct = is_legacy || meta.cast == Destination::Unicast;
        let number = self.truncated_queries.number(meta, from);
        let (zone, link) = (&self.zone, usize::from(meta.link));
        let link_state = self.links.get_mut(link)?;
        // A querier outside the link's prefixes gets no unicast answer: its address may be forged, and the answer is larger than
        // the query (RFC 6762 section 5.5).
        if (is_direct || meta.cast == Destination::Unknown) && !link_state.link.covers(from) {
            return None;
        }
        let is_probe = message.has(Section::Authority);
        if is_probe && !is_direct {
            // The query may probe for names that we probe for, too.
            for question in message.questions() {
                if let Some(name) = zone.names.find(question.name)
                    && zone.unique(name).is_some()
                {
                    link_state.yield_machine(zone, name, message);
                    link_state.break_tie(zone, now, name, message);
                }
            }
        }
        let family = family::of(from);
        link_state.mark_asked(zone, message, is_direct, family);
        if link_state.asked_from < link_state.asked_end || number != NO_QUERY {
            link_state.suppress_known_answers(zone, message, number);
        }
        let is_truncated = message.is_truncated();
        if !message.has_questions() {
            if is_truncated {
                self.postpone_answers(now, number);
            }
            return None;
        }
        if link_state.asked_from >= link_state.asked_end {
            return None;
        }
        let mut timing = AnswerTiming {
            is_direct,
            is_probe,
            is_truncated: is_truncated && !is_direct,
            delay: 0,
            shared_delay: self.random.ms(SHARED_MS, SHARED_RANGE_MS),
            hold_off: if is_probe {
                HOLD_OFF_PROBE_MS
            } else {
                HOLD_OFF_MS
            },
            wanted_by: NO_QUERY,
        };
        if timing.is_truncated {
            timing.delay = self.random.ms(TRUNCATED_MS, TRUNCATED_RANGE_MS);
            timing.wanted_by = self.accumulate(now, meta, from, number);
        }
        let link_state = self.links.get_mut(link)?;
        if !link_state.schedule_answers(&self.zone, now, &timing) {
            return None;
        }
        link_state.write_reply(&self.zone, now, message, is_legacy, family, out)
    }

    /// Waits for further known answers of a querier. `known` is the number of its truncated query, or [`NO_QUERY`] if it is a new
    /// one. Returns the number of the truncated query, or [`NO_QUERY`] if the table is full.
    fn accumulate(&mut self, now: Instant, meta: &Meta, from: &IpAddr, known: u8) -> u8 {
        let deadline = later(now, TRUNCATED_MS_MAX);
        let number = self
            .truncated_queries
            .accumulate(now, meta, from, known, deadline);
        if number != NO_QUERY {
            // The number is reused: records with this number from an earlier query no longer depend on its querier.
            for state in self.zone.states.iter() {
                if state.wanted_by.get() == number {
                    state.wanted_by.set(NO_QUERY);
                }
            }
        }
        number
    }

    /// Postpones the answers to a truncated query, because another message with known answers follows. Does nothing if the new
    /// delay would exceed the query's deadline.
    fn postpone_answers(&mut self, now: Instant, number: u8) {
        let Some((link, deadline)) = self.truncated_queries.pending(number) else {
            return;
        };
        let due = later(now, self.random.ms(TRUNCATED_MS, TRUNCATED_RANGE_MS));
        if deadline <= due {
            return;
        }
        for record in self.zone.records.iter() {
            let state = self.zone.states.get(record.id(), link);
            if state.wanted_by.get() == number && state.due.get() != Instant::NEVER {
                state.due.set(due);
            }
        }
    }
}

impl LinkState {
    /// Marks the records that a query in this family asks for, and sets the range of their indices.
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
            // The first pass marks matching records; the second marks the NSEC record if none matched.
            for &is_denial in &[false, true] {
                for (id, record) in zone.records_of(name) {
                    let is_match = if is_denial {
                        !has_any
                    } else {
                        question.asks_for(record.kind)
                    };
                    if is_match
                        && (record.kind == kind::NSEC) == is_denial
                        && !record.is_goodbye
                        && record.families & family != 0
                        && self.may_send(zone, record)
                    {
                        self.state(zone, record).set(bit);
                        self.asked_from = self.asked_from.min(id as u16);
                        self.asked_end = self.asked_end.max(id as u16 + 1);
                        has_any |= !is_denial;
                    }
                }
            }
        }
    }

    /// Known-answer suppression (RFC 6762 section 7.1): marks the requested records that the query already contains, as known
    /// answers or as the proposed records of a probe (our own probe, looped back). Cancels multicasts for which only this querier
    /// waits.
    fn suppress_known_answers(&self, zone: &Zone, message: &Message<'_>, number: u8) {
        for record in message.records() {
            if record.section == Section::Additional || !record.is_in_class() {
                continue;
            }
            let Some(name) = zone.names.find(record.name) else {
                continue;
            };
            for (_, ours) in zone.records_of(name) {
                if record.ttl < zone.ttl(ours) / 2 || !zone.is_equal(ours, &record) {
                    continue;
                }
                let state = self.state(zone, ours);
                if number != NO_QUERY && state.wanted_by.get() == number {
                    state.cancel();
                }
                // Mark only records that the query asks for, because only their marks are cleared afterwards.
                if state.is_asked() {
                    state.set(bit::KNOWN);
                }
            }
        }
    }

    /// Returns the index range of the records that the query asks for.
    fn asked_range(&self) -> core::ops::Range<usize> {
        self.asked_from.into()..self.asked_end.into()
    }

    /// Schedules each requested record for multicast or marks it for the unicast reply. Returns true if there is a unicast reply.
    fn schedule_answers(&mut self, zone: &Zone, now: Instant, timing: &AnswerTiming) -> bool {
        let (mut has_reply, mut delay) = (false, timing.delay);
        for id in self.asked_range() {
            if let Some(record) = zone.records.get(id)
                && self.state(zone, record).is_wanted()
            {
                if !record.is_unique {
                    delay = delay.max(timing.shared_delay);
                    continue;
                }
                // All records of a unique name and type are sent together or not at all (cache-flush, RFC 6762 section 10.2). If
                // another host probes for the name, its proposed records are no known answers: all types are sent.
                for (_, member) in zone.records_of(record.name) {
                    if member.kind == record.kind || timing.is_probe {
                        self.state(zone, member).clear(bit::KNOWN);
                    }
                }
            }
        }
        for id in self.asked_range() {
            let Some(record) = zone.records.get(id) else {
                continue;
            };
            let state = self.state(zone, record);
            let (is_wanted, bits) = (state.is_wanted(), state.bits.get());
            state.clear(!bit::GOODBYE);
            if !is_wanted {
                continue;
            }
            // A QU question is answered by unicast only if the record was multicast within a quarter of its TTL (RFC 6762 section
            // 5.4).
            let age_ms = zone.ttl(record) * 1000 / 4;
            let is_recent = state.was_multicast_within(age_ms, now);
            let is_unicast = bits & bit::ASKED == 0 && is_recent && !timing.is_truncated;
            if timing.is_direct || is_unicast {
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
    /// Returns true if the current query asks for the record.
    fn is_asked(&self) -> bool {
        self.has(bit::ASKED | bit::ASKED_UNICAST)
    }

    /// Returns true if the current query asks for the record and the querier does not know it.
    fn is_wanted(&self) -> bool {
        self.is_asked() && !self.has(bit::KNOWN)
    }

    /// Schedules the multicast of a record `delay` milliseconds from now, or when the hold-off ends if that is later.
    fn schedule(&self, now: Instant, delay: u32, timing: &AnswerTiming) {
        let mut due = later(now, delay);
        if self.was_multicast_within(HOLD_OFF_MS, now) {
            let hold_off_end = later(self.last_multicast.get(), timing.hold_off);
            // Wait for the end of the hold-off.
            if due <= hold_off_end {
                due = hold_off_end;
            }
        }
        if self.due.get() == Instant::NEVER {
            self.wanted_by.set(timing.wanted_by);
        } else if self.wanted_by.get() != timing.wanted_by {
            self.wanted_by.set(NO_QUERY);
        }
        self.due.set(self.due.get().min(due));
    }
}
