//! Probing: asks three times whether anybody has the names that we wish. RFC 6762 section 8.

use super::link::LinkId;
use super::names::NameId;
use super::responder::{NEVER, Phase, Probe, Responder, Tick, earlier, is_due, later};
use super::{To, Transmit};
use crate::text::Ends as _;
use crate::wire::dns::{self, Message, Section, Writer, kind};
use core::cmp::Ordering;

/// Between probes, and after the last.
const PROBE_MS: u32 = 250;
/// For how long the loser of a tie waits.
const TIE_PAUSE_MS: u32 = 1000;
/// For how long answers to us alone are taken after we asked for them.
const UNICAST_MS: u32 = 2000;
/// Names in one probe.
const PROBE_NAME_COUNT: usize = 32;
/// Records of one name that are compared: all that are ours, and as many of others.
const TIE_RECORD_COUNT: usize = 40;
/// Bytes of what they say.
const TIE_BYTES: usize = 4096;

impl Responder {
    /// Sends a probe for the names whose time has come; those that nobody has claimed after three are ours.
    pub(super) fn send_probes(
        &mut self,
        now: Tick,
        link: LinkId,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let on = self.links.get_mut(usize::from(link))?;
        if !is_due(on.probes_at, now) {
            return None;
        }
        let mut is_full = false;
        let mut asked = heapless::Vec::<NameId, PROBE_NAME_COUNT>::new();
        let class = if on.link.shares_port {
            dns::CLASS_IN
        } else {
            dns::CLASS_IN | dns::TOP_BIT
        };
        let mut left = on.message_bytes();
        let room = out.get_mut(..left)?;
        let mut writer = Writer::new(room, 0, 0);
        let mut is_settled = false;
        let mut next = NEVER;
        for id in 0..self.zone.records.len() {
            let Some(record) = self.zone.records.get(id).copied() else {
                break;
            };
            let on = self.links.get_mut(usize::from(link))?;
            let Some(probe) = on.probe(record.name).copied() else {
                break;
            };
            // Each name once, by the first of its records.
            if !record.is_unique || !record.is_on(link) || probe.due == NEVER {
                continue;
            }
            if !is_due(probe.due, now) {
                next = earlier(next, probe.due);
                continue;
            }
            if asked.contains(&record.name) {
                continue;
            }
            if probe.phase == Phase::Third {
                if let Some(probe) = on.probe(record.name) {
                    *probe = Probe {
                        phase: Phase::Done,
                        is_new: true,
                        ..Probe::default()
                    };
                }
                is_settled = true;
                continue;
            }
            let size = self.zone.wish_bytes(record.name, link);
            if is_full || asked.is_full() || (size > left && !asked.is_empty()) {
                (is_full, next) = (true, now);
                continue;
            }
            left = left.saturating_sub(size);
            if writer.question(&mut self.zone.names.labels(record.name), kind::ANY, class) {
                let _ = asked.push(record.name);
            }
            let due = later(now, PROBE_MS);
            next = earlier(next, due);
            if let Some(probe) = on.probe(record.name) {
                (probe.phase, probe.due) = (probe.phase.next(), due);
            }
        }
        let on = self.links.get_mut(usize::from(link))?;
        on.probes_at = next;
        if is_settled {
            self.announce_settled(now, link);
        }
        if asked.is_empty() {
            return None;
        }
        for name in &asked {
            self.zone.write_wish(&mut writer, *name, link);
        }
        let on = self.links.get_mut(usize::from(link))?;
        if !on.link.shares_port {
            on.unicast_until = later(now, UNICAST_MS);
        }
        Some(Transmit {
            link,
            to: To::Everybody,
            len: writer.finish(),
        })
    }

    /// Announces what belongs to names that have just become ours, or points to them.
    fn announce_settled(&mut self, now: Tick, link: LinkId) {
        let Some(on) = self.links.get_mut(usize::from(link)) else {
            return;
        };
        for (id, record) in self.zone.records.iter().enumerate() {
            if record.kind != kind::NSEC
                && !record.leaves
                && on.is_news(record)
                && on.tells(record, link)
            {
                on.announce(id, now);
            }
        }
        on.probes.iter_mut().for_each(|probe| probe.is_new = false);
    }

    /// Another one probes for a name as we do: who is lexicographically later has it. The other waits, and asks again. RFC 6762
    /// section 8.2.
    pub(super) fn tie(&mut self, now: Tick, link: LinkId, name: NameId, message: &Message<'_>) {
        let Some(on) = self.links.get(usize::from(link)) else {
            return;
        };
        // What is ours is defended.
        if on.holds(name) || on.phase(name) < Phase::First {
            return;
        }
        let mut room = [0; TIE_BYTES];
        let mut writer = Writer::new(&mut room, 0, 0);
        let mut said = Said::new();
        for (_, own) in self.zone.of(name) {
            if own.is_held(link) {
                let begin = writer.len();
                writer.word(own.kind);
                self.zone.write_data(&mut writer, own, link, false);
                let _ = said.push((true, begin, writer.len()));
            }
        }
        let mut are_ours = true;
        for (section, record) in message.records() {
            if section == Section::Authority
                && record.is_in_class()
                && self.zone.names.find(record.name) == Some(name)
            {
                let mut own = self.zone.of(name);
                // On whatever link: it may have come back through another one.
                are_ours &= own.any(|(_, own)| self.zone.says(own, &record));
                let begin = writer.len();
                writer.word(record.kind);
                record.flat().for_each(|piece| writer.put(piece));
                let _ = said.push((false, begin, writer.len()));
            }
        }
        writer.finish();
        if are_ours || compare(&room, &said) != Ordering::Less {
            return;
        }
        if let Some(on) = self.links.get_mut(usize::from(link)) {
            on.begin(name, now, TIE_PAUSE_MS);
        }
    }
}

/// Whether it is ours, and from where to where it stands: a kind, and what is said.
type Said = heapless::Vec<(bool, usize, usize), TIE_RECORD_COUNT>;

/// Compares our records with theirs, each in order.
fn compare(bytes: &[u8], said: &Said) -> Ordering {
    let (mut our_last, mut their_last) = (None, None);
    loop {
        our_last = next(bytes, said, true, our_last);
        their_last = next(bytes, said, false, their_last);
        match our_last.cmp(&their_last) {
            Ordering::Equal if our_last.is_some() => {}
            order => return order,
        }
    }
}

/// The smallest that is larger than `last`. Nobody says the same twice.
fn next<'a>(bytes: &'a [u8], said: &Said, are_ours: bool, last: Option<&[u8]>) -> Option<&'a [u8]> {
    let all = said.iter().filter(|(is_ours, ..)| *is_ours == are_ours);
    let all = all.map(|(_, begin, end)| bytes.head(*end).tail(*begin));
    all.filter(|one| Some(*one) > last).min()
}
