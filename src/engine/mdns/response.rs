//! Response messages: unicast replies, and what is due by multicast. RFC 6762 section 6.

use super::answer::HOLD_OFF_MS;
use super::on_link::{OnLink, PACE_MS};
use super::rdata::Form;
use super::record_state::{bit, later};
use super::zone::{Zone, bit_of};
use super::{NameId, Transmit};
use crate::time::Instant;
use crate::wire::dns::{self, Message, Section, Writer, flag, kind};

/// Records in one message whose further ones are added.
const WRITTEN_COUNT: usize = 96;
/// Names of which further records are added.
const ADDITIONAL_NAME_COUNT: usize = 24;

/// The records in a message.
type Written = heapless::Vec<u16, WRITTEN_COUNT>;

/// What a response says of itself.
const FLAGS: u16 = flag::RESPONSE | flag::AUTHORITATIVE;

impl OnLink {
    /// Writes a unicast reply to a querier of this family.
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
            let state = self.of(record);
            if !state.has(bit::REPLY) {
                continue;
            }
            state.clear(bit::REPLY);
            if !written.is_full()
                && zone.write(&mut writer, Section::Answer, record, self.bit, form)
            {
                let _ = written.push(id);
            } else if is_legacy {
                writer.flag(flag::TRUNCATED);
            } else {
                // It does not fit: it is multicast.
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

    /// Writes what is due to all, or, `alone`, the first of that, which no packet may carry as a whole; whether some of it is
    /// gone. What is told in other families than the first follows in a message of its own.
    #[inline(never)]
    pub(super) fn send_multicast(
        &mut self,
        zone: &Zone,
        now: Instant,
        out: &mut [u8],
        alone: bool,
    ) -> (Option<Transmit>, bool) {
        let mut are_gone = false;
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
            let state = self.of(record);
            let is_meant = written.is_empty() || families == record.families;
            if state.due.get() <= now && !is_full && is_meant {
                let is_gone = state.has(bit::GOODBYE);
                let form = if is_gone {
                    Form::Goodbye
                } else {
                    Form::Regular
                };
                if !is_gone && !self.holds(zone, record.owner) {
                    // It is no longer ours to tell.
                    state.due.set(Instant::NEVER);
                } else if !written.is_full()
                    && zone.write(&mut writer, Section::Answer, record, self.bit, form)
                {
                    let _ = written.push(id as u16);
                    families = record.families;
                    state.set_multicast(now);
                    are_gone |= is_gone;
                    is_full = alone;
                } else if written.is_empty() {
                    if !alone {
                        return self.send_multicast(zone, now, out, true);
                    }
                    // Nothing could ever carry it.
                    state.due.set(Instant::NEVER);
                } else {
                    is_full = true;
                }
            }
            next = next.min(state.due.get());
        }
        // Full messages are sent at a limited pace, as receive buffers are small. Only goodbyes do not wait.
        self.answers_at = if is_full && !are_gone {
            later(now, PACE_MS)
        } else {
            next
        };
        if written.is_empty() {
            return (None, false);
        }
        if !are_gone && !alone {
            self.add_additional(
                zone,
                &mut writer,
                &mut written,
                now,
                Form::Regular,
                families,
            );
        }
        (Some(self.transmit(writer.finish(), families)), are_gone)
    }

    /// Adds additional records that are told in these families: SRV and TXT of what a PTR points to, the addresses of SRV's
    /// target. RFC 6763 section 12.
    #[inline(never)]
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
        let add = |names: &mut heapless::Vec<_, ADDITIONAL_NAME_COUNT>, name| {
            if !names.contains(&name) {
                let _ = names.push(name);
            }
        };
        for id in written.iter() {
            if let Some(record) = zone.records.get(usize::from(*id)) {
                let is_address = matches!(record.kind, kind::A | kind::AAAA);
                add(
                    &mut names,
                    if is_address {
                        record.name
                    } else {
                        record.target
                    },
                );
            }
        }
        let mut at = 0;
        while let Some(name) = names.get(at).copied() {
            at += 1;
            // That there is no address of a family is worth telling; that a service has no address is not.
            let kinds = zone.kinds(name, self.bit);
            let has_one = (kinds & bit_of(kind::A) != 0) != (kinds & bit_of(kind::AAAA) != 0);
            for (id, record) in zone.of(name) {
                if (record.kind == kind::NSEC && !has_one)
                    || !record.is_unique
                    || record.is_goodbye
                    || families & !record.families != 0
                    || !self.tells(zone, record)
                {
                    continue;
                }
                add(&mut names, record.target);
                let state = self.of(record);
                let is_early =
                    form == Form::Regular && state.was_multicast_within(HOLD_OFF_MS, now);
                if !is_early
                    && !written.is_full()
                    && written.iter().all(|other| usize::from(*other) != id)
                    && zone.write(writer, Section::Additional, record, self.bit, form)
                {
                    let _ = written.push(id as u16);
                }
            }
        }
    }
}
