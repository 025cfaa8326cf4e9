//! Writes response messages: unicast replies, and multicast responses with the records that are due. RFC 6762 section 6.

use super::answer::HOLD_OFF_MS;
use super::link_state::{LinkState, PACE_MS};
use super::rdata::Form;
use super::record_state::{bit, later};
use super::zone::{Zone, bit_of};
use super::{NameId, Outgoing};
use crate::time::Instant;
use crate::wire::dns::{self, Message, Section, Writer, flag, kind};

/// Maximum number of records in one message.
const WRITTEN_COUNT: usize = 96;
/// Maximum number of names whose records are considered as additional records of one message.
const ADDITIONAL_NAME_COUNT: usize = 24;

/// Indices of the records in a message.
type Written = heapless::Vec<u16, WRITTEN_COUNT>;

/// Header flags of a response.
const FLAGS: u16 = flag::RESPONSE | flag::AUTHORITATIVE;

impl LinkState {
    /// Writes the unicast reply to a querier that uses this address family. Returns its length, or `None` if no record fits.
    pub(super) fn write_reply(
        &mut self,
        zone: &Zone,
        now: Instant,
        message: &Message<'_>,
        is_legacy: bool,
        family: u8,
        out: &mut [u8],
    ) -> Option<usize> {
        let buffer = out.get_mut(..self.message_bytes())?;
        let (id, form) = match is_legacy {
            true => (message.id(), Form::Legacy),
            false => (0, Form::Regular),
        };
        let mut writer = Writer::new(buffer, id, FLAGS);
        if is_legacy {
            for question in message.questions() {
                let labels = &mut question.name.unnumbered();
                writer.question(labels, question.kind, question.class & !dns::TOP_BIT);
            }
        }
        let mut written = Written::new();
        for id in self.asked_from..self.asked_end {
            let Some(record) = zone.records.get(usize::from(id)) else {
                continue;
            };
            let state = self.state(zone, record);
            if !state.has(bit::REPLY) {
                continue;
            }
            state.clear(bit::REPLY);
            if !written.is_full()
                && zone.write(&mut writer, Section::Answer, record, self.only, form)
            {
                let _ = written.push(id);
            } else if is_legacy {
                writer.flag(flag::TRUNCATED);
            } else {
                // The record does not fit into the reply: multicast it now.
                state.due.set(state.due.get().min(now));
                self.answers_at = self.answers_at.min(now);
            }
        }
        if written.is_empty() {
            return None;
        }
        self.add_additional(zone, &mut writer, &mut written, now, form, family);
        Some(writer.finish())
    }

    /// Writes a multicast response with the records that are due. Also returns true if it contains a goodbye. With `alone`, writes
    /// only the first record that is due: it exceeds the MTU, so the message is sent in fragments. The records in one message have
    /// the same address families; the others follow in further messages.
    pub(super) fn send_multicast(
        &mut self,
        zone: &Zone,
        now: Instant,
        out: &mut [u8],
        alone: bool,
    ) -> (Option<Outgoing>, bool) {
        let mut has_goodbye = false;
        let mut bytes = self.message_bytes();
        if alone {
            bytes = out.len();
        }
        let Some(buffer) = out.get_mut(..bytes) else {
            return (None, false);
        };
        if self.answers_at > now {
            return (None, false);
        }
        let mut writer = Writer::new(buffer, 0, FLAGS);
        let mut written = Written::new();
        let (mut next, mut is_full, mut families) = (Instant::NEVER, false, 0);
        for (id, record) in zone.records.iter().enumerate() {
            let state = self.state(zone, record);
            let is_same_family = written.is_empty() || families == record.families;
            if state.due.get() <= now && !is_full && is_same_family {
                let is_goodbye = state.has(bit::GOODBYE);
                let form = if is_goodbye {
                    Form::Goodbye
                } else {
                    Form::Regular
                };
                if !is_goodbye && !self.holds(zone, record.owner) {
                    // We lost the record's owner name, so the record is not sent.
                    state.due.set(Instant::NEVER);
                } else if !written.is_full()
                    && zone.write(&mut writer, Section::Answer, record, self.only, form)
                {
                    let _ = written.push(id as u16);
                    families = record.families;
                    state.finish_multicast(now);
                    has_goodbye |= is_goodbye;
                    is_full = alone;
                } else if written.is_empty() {
                    if !alone {
                        return self.send_multicast(zone, now, out, true);
                    }
                    // The record exceeds the largest message: drop it.
                    state.due.set(Instant::NEVER);
                } else {
                    is_full = true;
                }
            }
            next = next.min(state.due.get());
        }
        // Full messages are sent at intervals because receive buffers are small. Only goodbyes are sent without a pause.
        self.answers_at = if is_full && !has_goodbye {
            later(now, PACE_MS)
        } else {
            next
        };
        if written.is_empty() {
            return (None, false);
        }
        if !has_goodbye && !alone {
            let form = Form::Regular;
            self.add_additional(zone, &mut writer, &mut written, now, form, families);
        }
        (Some(self.transmit(writer.finish(), families)), has_goodbye)
    }

    /// Writes the additional records that may be sent in these address families: SRV and TXT of a PTR's target, the addresses of an
    /// SRV's target, the host's other addresses. RFC 6763 section 12.
    fn add_additional(
        &self,
        zone: &Zone,
        writer: &mut Writer<'_>,
        written: &mut Written,
        now: Instant,
        form: Form,
        families: u8,
    ) {
        let mut names = heapless::Vec::<NameId, ADDITIONAL_NAME_COUNT>::new();
        let push_once = |names: &mut heapless::Vec<_, ADDITIONAL_NAME_COUNT>, name| {
            if !names.contains(&name) {
                let _ = names.push(name);
            }
        };
        for id in written.iter() {
            if let Some(record) = zone.records.get(usize::from(*id)) {
                let is_address = matches!(record.kind, kind::A | kind::AAAA);
                push_once(
                    &mut names,
                    if is_address {
                        record.name
                    } else {
                        record.target
                    },
                );
            }
        }
        let mut index = 0;
        while let Some(name) = names.get(index).copied() {
            index += 1;
            // NSEC is added only if the name has addresses of one family: the record denies the other family.
            let kinds = zone.kinds(name, self.only);
            let has_one = (kinds & bit_of(kind::A) != 0) != (kinds & bit_of(kind::AAAA) != 0);
            for (id, record) in zone.records_of(name) {
                if (record.kind == kind::NSEC && !has_one)
                    || !record.is_unique
                    || record.is_goodbye
                    || families & !record.families != 0
                    || !self.may_send(zone, record)
                {
                    continue;
                }
                push_once(&mut names, record.target);
                let state = self.state(zone, record);
                let is_early =
                    form == Form::Regular && state.was_multicast_within(HOLD_OFF_MS, now);
                if !is_early
                    && !written.is_full()
                    && written.iter().all(|other| usize::from(*other) != id)
                    && zone.write(writer, Section::Additional, record, self.only, form)
                {
                    let _ = written.push(id as u16);
                }
            }
        }
    }
}
