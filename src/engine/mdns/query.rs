//! Answers: what of ours is asked for, who knows it already, when it is told, and to whom. RFC 6762 sections 6 and 7.

use super::content::Form;
use super::link::LinkId;
use super::responder::{
    Deferral, MANY, NEVER, OnLink, Probe, Responder, State, Tick, bit, earlier, is_due, later,
};
use super::zone::RecordId;
use super::{Cast, Meta, NameId, To, Transmit};
use crate::wire::dns::{self, Label, Message, PORT, Section, Writer, flag, kind};

/// What others may answer, too, waits so long at least, and less than …
const SHARED_MS: u32 = 20;
/// … so much longer.
const SHARED_RANGE_MS: u32 = 100;
/// The same where who asks has more known answers to send.
const TRUNCATED_MS: u32 = 400;
const TRUNCATED_RANGE_MS: u32 = 100;
/// However many there are, he is answered within this.
const TRUNCATED_MS_MAX: u32 = 2000;
/// Nothing is told to all twice within this …
const HOLD_OFF_MS: u32 = 1000;
/// … but to who probes for it.
const HOLD_OFF_PROBE_MS: u32 = 250;
/// Records in one message whose further ones are added.
const WRITTEN_COUNT: usize = 96;
/// Names of which further records are added.
const FURTHER_NAME_COUNT: usize = 24;

/// How a record that is asked for is told.
#[derive(Clone, Copy)]
struct Manner {
    /// Only to the one who asks.
    is_direct: bool,
    /// Who asks has more known answers.
    is_truncated: bool,
    delay: u32,
    hold_off: u32,
    wanted_by: u8,
}

impl Responder {
    /// Takes a query; the reply to its sender alone.
    pub(super) fn query(
        &mut self,
        now: Tick,
        meta: Meta,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Option<usize> {
        let is_legacy = meta.from.port() != PORT;
        let is_direct = is_legacy || meta.cast == Cast::Unicast;
        let on = self.links.get(usize::from(meta.link))?;
        // Nobody beyond the link is answered by a larger message than he sent, and perhaps to somebody else.
        if (is_direct || meta.cast == Cast::Unknown) && !on.link.reaches(meta.from.ip()) {
            return None;
        }
        let is_probe = message.has(Section::Authority);
        if is_probe && !is_direct {
            self.ties(now, meta.link, message);
        }
        let (from, end) = self.ask(meta.link, message, is_direct);
        let deferral = self.deferral(meta);
        if from < end || deferral.is_some() {
            self.take_known(meta.link, message, deferral);
        }
        if !message.has_questions() {
            if let Some(number) = deferral
                && message.is_truncated()
            {
                self.defer_further(now, number);
            }
            return None;
        }
        if from >= end {
            return None;
        }
        let mut manner = Manner {
            is_direct,
            is_truncated: message.is_truncated() && !is_direct,
            delay: 0,
            hold_off: if is_probe {
                HOLD_OFF_PROBE_MS
            } else {
                HOLD_OFF_MS
            },
            wanted_by: MANY,
        };
        if manner.is_truncated {
            manner.delay = self.random.ms(TRUNCATED_MS, TRUNCATED_RANGE_MS);
            manner.wanted_by = self.defer(now, meta);
        } else if self.asks_for_shared(meta.link, from, end) {
            manner.delay = self.random.ms(SHARED_MS, SHARED_RANGE_MS);
        }
        let has_reply = self.decide(now, meta.link, from, end, manner);
        if !has_reply {
            return None;
        }
        self.reply(now, meta.link, message, is_legacy, (from, end), out)
    }

    /// Looks at who wishes names that we wish.
    fn ties(&mut self, now: Tick, link: LinkId, message: &Message<'_>) {
        for question in message.questions() {
            if let Some(name) = self.zone.names.find(question.name)
                && self.zone.claim(name).is_unique
            {
                self.tie(now, link, name, message);
            }
        }
    }

    /// Marks what is asked for; where in the table that is.
    fn ask(
        &mut self,
        link: LinkId,
        message: &Message<'_>,
        is_direct: bool,
    ) -> (RecordId, RecordId) {
        let (mut from, mut end) = (usize::MAX, 0);
        let Some(on) = self.links.get_mut(usize::from(link)) else {
            return (from, end);
        };
        for question in message.questions() {
            if !question.asks_in_class() {
                continue;
            }
            let Some(name) = self.zone.names.find(question.name) else {
                continue;
            };
            let bit = if is_direct || question.wants_unicast() {
                bit::ASKED_UNICAST
            } else {
                bit::ASKED
            };
            let mut mark = |on: &mut OnLink, id: RecordId| {
                if let Some(state) = on.told(id) {
                    state.bits |= bit;
                }
                from = from.min(id);
                end = end.max(id.wrapping_add(1));
            };
            let (mut has_kind, mut denial) = (false, None);
            for (id, record) in self.zone.of(name) {
                if record.leaves || !on.tells(record, link) {
                    continue;
                }
                if record.kind == kind::NSEC {
                    denial = Some(id);
                } else if question.asks_for(record.kind) {
                    has_kind = true;
                    mark(on, id);
                }
            }
            if let Some(denial) = denial
                && !has_kind
            {
                mark(on, denial);
            }
        }
        (from, end)
    }

    /// Marks what who asks knows already; what he alone waits for, and knows, is not told to all.
    fn take_known(&mut self, link: LinkId, message: &Message<'_>, deferral: Option<usize>) {
        let Some(on) = self.links.get_mut(usize::from(link)) else {
            return;
        };
        let number = deferral.map_or(MANY, |place| (place as u8).wrapping_add(1));
        for (section, record) in message.records() {
            if section != Section::Answer || !record.is_in_class() {
                continue;
            }
            let Some(name) = self.zone.names.find(record.name) else {
                continue;
            };
            for (id, own) in self.zone.of(name) {
                if record.ttl < own.ttl() / 2 || !self.zone.says(own, &record) {
                    continue;
                }
                if let Some(state) = on.told(id) {
                    state.bits |= bit::KNOWN;
                    if number != MANY && state.wanted_by == number {
                        (state.due, state.wanted_by) = (NEVER, MANY);
                    }
                    // Where it is not asked for, it is no matter.
                    if state.bits & (bit::ASKED | bit::ASKED_UNICAST) == 0 {
                        state.bits &= !bit::KNOWN;
                    }
                }
            }
        }
    }

    fn asks_for_shared(&self, link: LinkId, from: RecordId, end: RecordId) -> bool {
        let Some(on) = self.links.get(usize::from(link)) else {
            return false;
        };
        let states = on.told.iter().zip(self.zone.records.iter());
        let mut asked = states.take(end).skip(from);
        asked.any(|(state, record)| {
            !record.is_unique
                && state.bits & (bit::ASKED | bit::ASKED_UNICAST) != 0
                && state.bits & bit::KNOWN == 0
        })
    }

    /// Decides of what is asked for when it is told, and to whom; whether there is something for the one who asks alone.
    fn decide(
        &mut self,
        now: Tick,
        link: LinkId,
        from: RecordId,
        end: RecordId,
        manner: Manner,
    ) -> bool {
        let mut has_reply = false;
        let Some(on) = self.links.get_mut(usize::from(link)) else {
            return false;
        };
        // Of several that replace one another, all are told or none.
        for id in from..end {
            if let Some(record) = self.zone.records.get(id)
                && record.is_unique
                && on.is_asked(id) == Some(false)
            {
                for (other, also) in self.zone.of(record.name) {
                    if also.kind == record.kind
                        && let Some(state) = on.told(other)
                    {
                        state.bits &= !bit::KNOWN;
                    }
                }
            }
        }
        for id in from..end {
            let Some(record) = self.zone.records.get(id) else {
                continue;
            };
            let Some(state) = on.told(id) else {
                continue;
            };
            let bits = state.bits;
            state.bits &= bit::GONE;
            let asked = bits & (bit::ASKED | bit::ASKED_UNICAST);
            if asked == 0 || bits & bit::KNOWN != 0 {
                continue;
            }
            // Who wants it for himself gets it so only if all the others have been told lately.
            let age_ms = record.ttl().wrapping_mul(1000) / 4;
            let is_recent = state.last != NEVER && now.wrapping_sub(state.last) < age_ms;
            let alone = asked == bit::ASKED_UNICAST && is_recent && !manner.is_truncated;
            if manner.is_direct || alone {
                state.bits |= bit::REPLY;
                has_reply = true;
                continue;
            }
            state.schedule(now, manner);
            let due = state.due;
            on.answers_at = earlier(on.answers_at, due);
        }
        has_reply
    }

    /// Writes the reply to the one who asks.
    fn reply(
        &mut self,
        now: Tick,
        link: LinkId,
        message: &Message<'_>,
        is_legacy: bool,
        range: (RecordId, RecordId),
        out: &mut [u8],
    ) -> Option<usize> {
        let on = self.links.get_mut(usize::from(link))?;
        let room = out.get_mut(..on.message_bytes())?;
        let id = if is_legacy { message.id() } else { 0 };
        let mut writer = Writer::new(room, id, flag::RESPONSE | flag::AUTHORITATIVE);
        let form = if is_legacy { Form::Legacy } else { Form::Told };
        if is_legacy {
            for question in message.questions() {
                let labels = question.name.labels();
                let mut labels = labels.map(|bytes| Label { bytes, number: 0 });
                writer.question(&mut labels, question.kind, question.class & !dns::TOP_BIT);
            }
        }
        let mut written = heapless::Vec::<u16, WRITTEN_COUNT>::new();
        for id in range.0..range.1 {
            let (Some(record), Some(state)) = (self.zone.records.get(id), on.told(id)) else {
                continue;
            };
            if state.bits & bit::REPLY == 0 {
                continue;
            }
            state.bits &= !bit::REPLY;
            let zone = &self.zone;
            if !written.is_full() && zone.write(&mut writer, Section::Answer, record, link, form) {
                let _ = written.push(id as u16);
            } else if !is_legacy {
                // There is no room: then for all.
                let due = later(now, 0);
                state.due = earlier(state.due, due);
                on.answers_at = earlier(on.answers_at, due);
            } else {
                writer.flag(flag::TRUNCATED);
            }
        }
        if written.is_empty() {
            return None;
        }
        self.add_further(&mut writer, &mut written, now, link, form);
        Some(writer.finish())
    }

    /// Sends what is due to all.
    pub(super) fn send_due(&mut self, now: Tick, link: LinkId, out: &mut [u8]) -> Option<Transmit> {
        let on = self.links.get_mut(usize::from(link))?;
        if !is_due(on.answers_at, now) {
            return None;
        }
        let len = on.message_bytes();
        let mut writer = Writer::new(out.get_mut(..len)?, 0, flag::RESPONSE | flag::AUTHORITATIVE);
        let mut written = heapless::Vec::<u16, WRITTEN_COUNT>::new();
        let (mut next, mut is_full, mut are_gone) = (NEVER, false, false);
        for id in 0..self.zone.records.len() {
            let (Some(record), Some(state)) = (self.zone.records.get(id), on.told.get_mut(id))
            else {
                break;
            };
            if !is_due(state.due, now) || is_full {
                next = earlier(next, state.due);
                continue;
            }
            let is_gone = state.bits & bit::GONE != 0;
            let form = if is_gone { Form::Gone } else { Form::Told };
            let zone = &self.zone;
            let probe = on.probes.get(record.owner.place());
            if !is_gone && !probe.is_some_and(Probe::holds) {
                // It is no longer ours to tell.
                state.due = NEVER;
                continue;
            }
            if written.is_full() || !zone.write(&mut writer, Section::Answer, record, link, form) {
                if written.is_empty() {
                    // Nothing could ever carry it.
                    state.due = NEVER;
                    continue;
                }
                (is_full, next) = (true, now);
                continue;
            }
            let _ = written.push(id as u16);
            state.told_now(now);
            are_gone |= is_gone;
            next = earlier(next, state.due);
        }
        on.answers_at = next;
        if written.is_empty() {
            return None;
        }
        if are_gone {
            self.sweep();
        } else {
            self.add_further(&mut writer, &mut written, now, link, Form::Told);
        }
        Some(Transmit {
            link,
            to: To::Everybody,
            len: writer.finish(),
        })
    }

    /// Forgets records that were told for the last time.
    fn sweep(&mut self) {
        for id in 0..self.zone.records.len() {
            let leaves = self
                .zone
                .records
                .get(id)
                .is_some_and(|record| record.leaves);
            let is_due = |on: &OnLink| on.told.get(id).is_some_and(|state| state.due != NEVER);
            if leaves && !self.links.iter().any(is_due) {
                self.remove(id);
            }
        }
    }

    /// Adds what who asks will ask next: what is at the end of a pointer, and where that is. RFC 6763 section 12.
    fn add_further(
        &mut self,
        writer: &mut Writer<'_>,
        written: &mut heapless::Vec<u16, WRITTEN_COUNT>,
        now: Tick,
        link: LinkId,
        form: Form,
    ) {
        let mut names = heapless::Vec::<NameId, FURTHER_NAME_COUNT>::new();
        for id in written.iter() {
            if let Some(record) = self.zone.records.get(usize::from(*id)) {
                let name = match record.kind {
                    kind::A | kind::AAAA => record.name,
                    _ => record.target,
                };
                if !names.contains(&name) {
                    let _ = names.push(name);
                }
            }
        }
        let Some(on) = self.links.get_mut(usize::from(link)) else {
            return;
        };
        let mut at = 0;
        while let Some(name) = names.get(at).copied() {
            at = at.wrapping_add(1);
            let (mut has_v4, mut has_v6) = (false, false);
            for (_, record) in self.zone.of(name) {
                has_v4 |= record.kind == kind::A && record.is_on(link);
                has_v6 |= record.kind == kind::AAAA && record.is_on(link);
            }
            for (id, record) in self.zone.of(name) {
                // That there is no address of a family is worth telling; that a service has no address is not.
                let is_denial = record.kind == kind::NSEC;
                if (is_denial && has_v4 == has_v6)
                    || !record.is_unique
                    || record.leaves
                    || !on.tells(record, link)
                {
                    continue;
                }
                if !names.contains(&record.target) {
                    let _ = names.push(record.target);
                }
                let Some(state) = on.told(id) else {
                    continue;
                };
                let is_all = form == Form::Told;
                let is_early = state.last != NEVER && now.wrapping_sub(state.last) < HOLD_OFF_MS;
                if written.is_full() || written.contains(&(id as u16)) || (is_all && is_early) {
                    continue;
                }
                let zone = &self.zone;
                if zone.write(writer, Section::Additional, record, link, form) {
                    let _ = written.push(id as u16);
                }
            }
        }
    }

    /// The number of who sends known answers in several messages.
    fn deferral(&self, meta: Meta) -> Option<usize> {
        let is_his = |other: &Deferral| other.from == meta.from && other.link == meta.link;
        self.deferrals.iter().position(is_his)
    }

    /// Waits for more known answers of this one; what his questions are marked with.
    fn defer(&mut self, now: Tick, meta: Meta) -> u8 {
        // Who was answered is forgotten.
        let mut place = self.deferral(meta);
        if place.is_none() {
            place = self
                .deferrals
                .iter()
                .position(|other| is_due(other.end, now));
        }
        let deferral = Deferral {
            from: meta.from,
            link: meta.link,
            end: later(now, TRUNCATED_MS_MAX),
        };
        let place = match place {
            Some(place) => {
                // What was still waited for, is waited for by nobody in special.
                let number = (place as u8).wrapping_add(1);
                for state in self.links.iter_mut().flat_map(|on| on.told.iter_mut()) {
                    if state.wanted_by == number {
                        state.wanted_by = MANY;
                    }
                }
                if let Some(other) = self.deferrals.get_mut(place) {
                    *other = deferral;
                }
                place
            }
            None => {
                let place = self.deferrals.len();
                match self.deferrals.push(deferral) {
                    Ok(()) => place,
                    Err(_) => return MANY,
                }
            }
        };
        (place as u8).wrapping_add(1)
    }

    /// Even more known answers follow: waits for them, but not for ever.
    fn defer_further(&mut self, now: Tick, place: usize) {
        let Some(deferral) = self.deferrals.get(place) else {
            return;
        };
        let (link, end) = (deferral.link, deferral.end);
        let due = later(now, self.random.ms(TRUNCATED_MS, TRUNCATED_RANGE_MS));
        if is_due(end, due) {
            return;
        }
        let number = (place as u8).wrapping_add(1);
        if let Some(on) = self.links.get_mut(usize::from(link)) {
            for state in on.told.iter_mut() {
                if state.wanted_by == number && state.due != NEVER {
                    state.due = due;
                }
            }
        }
    }
}

impl State {
    /// Is told to all after a while.
    fn schedule(&mut self, now: Tick, manner: Manner) {
        let mut due = later(now, manner.delay);
        if self.last != NEVER && now.wrapping_sub(self.last) < HOLD_OFF_MS {
            let free = later(self.last, manner.hold_off);
            // Not before it may be told again.
            if is_due(due, free) {
                due = free;
            }
        }
        if self.due == NEVER {
            self.wanted_by = manner.wanted_by;
        } else if self.wanted_by != manner.wanted_by {
            self.wanted_by = MANY;
        }
        self.due = earlier(self.due, due);
    }

    /// All were told.
    fn told_now(&mut self, now: Tick) {
        (self.last, self.due, self.wanted_by) = (now, NEVER, MANY);
        self.bits = 0;
        if let Some(again) = self.again.checked_sub(1) {
            self.again = again;
            self.due = later(now, super::responder::ANNOUNCE_MS);
        }
    }
}

impl OnLink {
    /// Whether a record that is asked for is known to who asks; `None`: it is not asked for.
    fn is_asked(&mut self, id: RecordId) -> Option<bool> {
        let bits = self.told(id)?.bits;
        (bits & (bit::ASKED | bit::ASKED_UNICAST) != 0).then_some(bits & bit::KNOWN != 0)
    }
}
