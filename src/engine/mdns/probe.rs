//! Probing: three queries whether another host has the names that we claim, and tie-breaking. RFC 6762 sections 8.1 and 8.2.

use super::Transmit;
use super::names::NameId;
use super::on_link::{OnLink, PACE_MS};
use super::record_state::{Phase, Probe, later};
use super::zone::Zone;
use crate::mem::Ends as _;
use crate::time::Instant;
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

impl OnLink {
    /// Writes a probe for the names whose time has come; names without an answer after three probes are ours.
    pub(super) fn send_probes(
        &mut self,
        zone: &Zone,
        now: Instant,
        out: &mut [u8],
    ) -> Option<Transmit> {
        if self.probes_at > now {
            return None;
        }
        let mut left = self.message_bytes();
        let mut writer = Writer::new(out.get_mut(..left)?, 0, 0);
        let mut asked = heapless::Vec::<NameId, PROBE_NAME_COUNT>::new();
        let class = if self.link.shares_port {
            dns::CLASS_IN
        } else {
            dns::CLASS_IN | dns::TOP_BIT
        };
        let (mut has_claimed, mut next, mut families) = (false, Instant::NEVER, 0);
        // Each name once, by the first of its records.
        for record in zone.records.iter() {
            let Some(state) = self.probe(zone, record.name) else {
                continue;
            };
            if !record.is_on(self.bit) {
                continue;
            }
            if state.probe_due.get() <= now {
                let phase = state.probe.get().phase;
                let size = zone.probe_bytes(record.name, self.bit);
                if phase == Phase::Third {
                    state.probe.set(Probe {
                        phase: Phase::Done,
                        is_new: true,
                        is_held: false,
                    });
                    state.probe_due.set(Instant::NEVER);
                    has_claimed = true;
                } else if asked.is_full()
                    || (size > left || families != record.families) && !asked.is_empty()
                {
                    // For all others, too.
                    left = 0;
                } else {
                    left = left.saturating_sub(size);
                    families = record.families;
                    let labels = &mut zone.names.labels(record.name);
                    if writer.question(labels, kind::ANY, class) {
                        let _ = asked.push(record.name);
                    }
                    state.probe.set(Probe {
                        phase: phase.next(),
                        ..state.probe.get()
                    });
                    state.probe_due.set(later(now, PROBE_MS));
                }
            }
            next = next.min(state.probe_due.get());
        }
        let is_full = left == 0;
        self.probes_at = if is_full { later(now, PACE_MS) } else { next };
        if has_claimed {
            self.announce_claimed(zone, now);
        }
        if asked.is_empty() {
            return None;
        }
        for name in &asked {
            // What is only asked for is not proposed.
            if self.phase(zone, *name) >= Phase::First {
                zone.write_tentative(&mut writer, *name, self.bit);
            }
        }
        if !self.link.shares_port {
            self.unicast_until = later(now, UNICAST_MS);
        }
        Some(self.transmit(writer.finish(), families))
    }

    /// Begins to probe for a name after so many milliseconds.
    pub(super) fn begin_probing(&mut self, zone: &Zone, name: NameId, now: Instant, ms: u32) {
        self.begin(zone, name, Probe::WAIT, later(now, ms));
    }

    /// Begins with a name where the link is there.
    #[inline(never)]
    pub(super) fn begin(&mut self, zone: &Zone, name: NameId, probe: Probe, due: Instant) {
        if self.link.is_up()
            && let Some(state) = self.probe(zone, name)
        {
            state.probe.set(probe);
            state.probe_due.set(due);
            self.probes_at = self.probes_at.min(due);
        }
    }

    /// A name is not ours, and will not be.
    pub(super) fn give_up(&mut self, zone: &Zone, name: NameId) {
        self.begin(zone, name, Probe::NEW, Instant::NEVER);
    }

    /// Breaks the tie with another host that probes for the same name: the lexicographically later rdata wins. The loser waits, and
    /// probes again. RFC 6762 section 8.2.
    #[inline(never)]
    pub(super) fn break_tie(
        &mut self,
        zone: &Zone,
        now: Instant,
        name: NameId,
        message: &Message<'_>,
    ) {
        // What is ours is defended.
        if self.holds(zone, name) || self.phase(zone, name) < Phase::First {
            return;
        }
        let mut buffer = [0; TIE_BYTES];
        let mut writer = Writer::new(&mut buffer, 0, 0);
        let mut records = TieRecords::new();
        for (_, own) in zone.of(name) {
            if own.is_held(self.bit) {
                let begin = writer.len() as u16;
                writer.word(own.kind);
                zone.write_rdata(&mut writer, own, self.bit, false);
                let _ = records.push((true, begin, writer.len() as u16));
            }
        }
        let mut are_ours = true;
        for record in message.records() {
            if record.section == Section::Authority
                && record.is_in_class()
                && zone.names.find(record.name) == Some(name)
            {
                // On whatever link: it may have come back through another one.
                are_ours &= zone.of(name).any(|(_, own)| zone.says(own, &record));
                let begin = writer.len() as u16;
                writer.word(record.kind);
                record
                    .uncompressed_rdata()
                    .for_each(|piece| writer.put(piece));
                let _ = records.push((false, begin, writer.len() as u16));
            }
        }
        writer.finish();
        if !are_ours && is_less(&buffer, &records) {
            self.begin_probing(zone, name, now, TIE_PAUSE_MS);
        }
    }
}

/// Whether it is ours, and from where to where it stands: a kind, and what is records.
type TieRecords = heapless::Vec<(bool, u16, u16), TIE_RECORD_COUNT>;

/// Whether what we say is lexicographically earlier than what they say, each in order.
fn is_less(bytes: &[u8], records: &TieRecords) -> bool {
    let (mut ours, mut theirs): (&[u8], &[u8]) = (&[], &[]);
    loop {
        ours = next(bytes, records, true, ours);
        theirs = next(bytes, records, false, theirs);
        match ours.cmp(theirs) {
            Ordering::Equal if !ours.is_empty() => {}
            order => return order == Ordering::Less,
        }
    }
}

/// The smallest that is larger than `last`, or nothing. No host has the same record twice.
#[inline(never)]
fn next<'a>(bytes: &'a [u8], records: &TieRecords, are_ours: bool, last: &[u8]) -> &'a [u8] {
    let mut found: &[u8] = &[];
    for (is_ours, begin, end) in records {
        let one = bytes.head((*end).into()).tail((*begin).into());
        if *is_ours == are_ours
            && one.cmp(last) == Ordering::Greater
            && (found.is_empty() || one.cmp(found) == Ordering::Less)
        {
            found = one;
        }
    }
    found
}
