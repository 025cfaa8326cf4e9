//! Probing: asks three times whether anybody has the names that we wish. RFC 6762 section 8.

use super::link::LinkId;
use super::names::NameId;
use super::responder::{NEVER, Phase, Probe, Responder, Tick, earlier, is_due, later};
use super::{To, Transmit};
use crate::wire::dns::{self, Flat, Message, Section, Writer, kind};
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
const TIE_RECORD_COUNT: usize = 20;
/// Bytes of what they say.
const TIE_BYTES: usize = 2048;

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
        let mut theirs = heapless::Vec::<dns::Record<'_>, TIE_RECORD_COUNT>::new();
        let mut are_ours = true;
        for (section, record) in message.records() {
            if section == Section::Authority
                && record.is_in_class()
                && self.zone.names.find(record.name) == Some(name)
            {
                let mut own = self.zone.of(name);
                // On whatever link: it may have come back through another one.
                are_ours &= own.any(|(_, own)| self.zone.says(own, &record));
                let _ = theirs.push(record);
            }
        }
        if are_ours || self.compare(link, name, &theirs) != Ordering::Less {
            return;
        }
        if let Some(on) = self.links.get_mut(usize::from(link)) {
            on.begin(name, now, TIE_PAUSE_MS);
        }
    }

    /// Compares our records of a name with theirs, each in order.
    fn compare(&self, link: LinkId, name: NameId, theirs: &[dns::Record<'_>]) -> Ordering {
        let mut room = [0; TIE_BYTES];
        let mut ends = heapless::Vec::<(u16, usize), TIE_RECORD_COUNT>::new();
        let mut writer = Writer::new(&mut room, 0, 0);
        for (_, record) in self.zone.of(name) {
            if record.is_on(link) && record.kind != kind::NSEC && !record.leaves {
                self.zone.write_data(&mut writer, record, link, false);
                let _ = ends.push((record.kind, writer.len()));
            }
        }
        writer.finish();
        let mut begin = dns::HEADER_BYTES;
        let mut ours = heapless::Vec::<(u16, Flat<'_>), TIE_RECORD_COUNT>::new();
        for (kind, end) in ends {
            let data = room.get(begin..end).unwrap_or_default();
            let _ = ours.push((kind, Flat::of(kind, data)));
            begin = end;
        }
        let (mut our_last, mut their_last) = (None, None);
        loop {
            our_last = smallest(ours.iter().cloned(), our_last);
            let all = theirs.iter().map(|record| (record.kind, record.flat()));
            their_last = smallest(all, their_last);
            match (&our_last, &their_last) {
                (None, None) => return Ordering::Equal,
                (None, _) => return Ordering::Less,
                (_, None) => return Ordering::Greater,
                (Some(own), Some(other)) => match order(own, other) {
                    Ordering::Equal => {}
                    different => return different,
                },
            }
        }
    }
}

/// A kind, and what is said.
type Said<'a> = (u16, Flat<'a>);

fn order(one: &Said<'_>, two: &Said<'_>) -> Ordering {
    let kinds = one.0.cmp(&two.0);
    kinds.then_with(|| one.1.clone().cmp(two.1.clone()))
}

/// The smallest that is larger than `last`. Nobody says the same twice.
fn smallest<'a>(all: impl Iterator<Item = Said<'a>>, last: Option<Said<'_>>) -> Option<Said<'a>> {
    let mut found: Option<Said<'a>> = None;
    for said in all {
        let is_left = last
            .as_ref()
            .is_none_or(|last| order(&said, last) == Ordering::Greater);
        let is_smaller = found
            .as_ref()
            .is_none_or(|found| order(&said, found) == Ordering::Less);
        if is_left && is_smaller {
            found = Some(said);
        }
    }
    found
}
