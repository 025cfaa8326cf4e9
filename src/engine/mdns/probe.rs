//! Probing: three queries that ask whether another host uses the names that we claim; tie-breaking between hosts that probe for
//! the same name. RFC 6762 sections 8.1 and 8.2.

use super::link_state::{LinkState, PACE_MS};
use super::names::NameId;
use super::rdata::Form;
use super::record_state::{Probe, Probing, later};
use super::zone::Zone;
use super::{MESSAGE_BYTES, Outgoing};
use crate::log;
use crate::mem::Ends as _;
use crate::time::Instant;
use crate::wire::dns::{self, Message, Section, Writer, kind};
use core::cmp::Ordering;

/// Interval (milliseconds) between probes, and from the third probe to the announcement.
const PROBE_MS: u32 = 250;
/// Delay (milliseconds) before the loser of a tie probes again.
pub(super) const TIE_PAUSE_MS: u32 = 1000;
/// Period (milliseconds) after a probe with the QU bit in which unicast responses are accepted.
const UNICAST_MS: u32 = 2000;
/// Maximum number of names in one probe message.
const PROBE_NAME_COUNT: usize = 32;
/// Maximum number of records compared to break a tie: ours and the peer's together.
const TIE_RECORD_COUNT: usize = 40;
/// Size (bytes) of the buffer for the types and rdata of the records that are compared.
const TIE_BYTES: usize = 4096;

impl LinkState {
    /// Writes a probe message for the names that are due. A name for which three probes got no response becomes ours and is
    /// announced.
    pub(super) fn send_probes(
        &mut self,
        zone: &Zone,
        now: Instant,
        out: &mut [u8],
    ) -> Option<Outgoing> {
        if self.probes_at > now {
            return None;
        }
        let bytes = self.message_bytes();
        let mut writer = Writer::new(out.get_mut(..bytes)?, 0, 0);
        let mut buffer = [0; MESSAGE_BYTES];
        let mut sample = Writer::new(buffer.get_mut(..bytes)?, 0, 0);
        let mut asked = heapless::Vec::<NameId, PROBE_NAME_COUNT>::new();
        let class = self.probe_class();
        let (mut has_claimed, mut is_full) = (false, false);
        let (mut next, mut families) = (Instant::NEVER, 0);
        // A name has several records but only one state. Once its question is written, the state is no longer due, so the name's
        // other records add no question.
        for record in zone.records.iter() {
            let Some(state) = self.name_state(zone, record.name) else {
                continue;
            };
            if !record.is_on(self.only) {
                continue;
            }
            if state.probe_due.get() <= now {
                let name = record.name;
                if state.probe.get().phase == Probing::Third {
                    state.probe.set(Probe::CLAIMED);
                    state.probe_due.set(Instant::NEVER);
                    has_claimed = true;
                    continue;
                }
                is_full |= asked.is_full() || !asked.is_empty() && families != record.families;
                let fits = !is_full && zone.fits_probe(&mut sample, name, self.only);
                is_full |= !fits;
                // A name that does not fit waits for the next message, as do all further ones, unless it is the first.
                if fits || asked.is_empty() {
                    families = record.families;
                    if writer.question(&mut zone.names.labels(name), kind::ANY, class) {
                        let _ = asked.push(name);
                    }
                    state.probe.set(state.probe.get().next());
                    state.probe_due.set(later(now, PROBE_MS));
                }
            }
            next = next.min(state.probe_due.get());
        }
        self.probes_at = if is_full { later(now, PACE_MS) } else { next };
        if has_claimed {
            self.announce_claimed(zone, now);
        }
        if asked.is_empty() {
            return None;
        }
        for name in &asked {
            // Names in a phase before `First` are only asked for: their questions have no proposed records in the authority
            // section.
            if self.phase(zone, *name) >= Probing::First {
                zone.write_tentative(&mut writer, *name, self.only, Form::Tentative);
            }
        }
        if !self.link.shares_port {
            self.unicast_until = later(now, UNICAST_MS);
        }
        Some(self.transmit(writer.finish(), families))
    }

    /// The class of a probe's questions. The QU bit requests unicast responses, which another program could receive if the port is
    /// shared.
    const fn probe_class(&self) -> u16 {
        if self.link.shares_port {
            dns::CLASS_IN
        } else {
            dns::CLASS_IN | dns::TOP_BIT
        }
    }

    /// Sets the probing state of a name, and when its next probe is due. Does nothing while the link is down.
    pub(super) fn set_probe(&mut self, zone: &Zone, name: NameId, probe: Probe, due: Instant) {
        if self.link.is_up()
            && let Some(state) = self.name_state(zone, name)
        {
            state.probe.set(probe);
            state.probe_due.set(due);
            self.probes_at = self.probes_at.min(due);
        }
    }

    /// Gives a name up: this link neither probes for the name nor answers for it.
    pub(super) fn give_up(&mut self, zone: &Zone, name: NameId) {
        self.set_probe(zone, name, Probe::NEW, Instant::NEVER);
    }

    /// Breaks the tie with another host that probes for the same name: the lexicographically later records win. If we lose, we wait
    /// for [`TIE_PAUSE_MS`] and probe again. RFC 6762 section 8.2.
    pub(super) fn break_tie(
        &mut self,
        zone: &Zone,
        now: Instant,
        name: NameId,
        message: &Message<'_>,
    ) {
        // There is no tie if the name is ours, because we then answer the probe, or if we have not sent a probe yet.
        if self.holds(zone, name) || self.phase(zone, name) < Probing::First {
            return;
        }
        let mut buffer = [0; TIE_BYTES];
        let mut writer = Writer::new(&mut buffer, 0, 0);
        let mut records = TieRecords::new();
        for (_, ours) in zone.records_of(name) {
            if ours.is_active(self.only) {
                let start = writer.len() as u16;
                writer.word(ours.kind);
                zone.write_rdata(&mut writer, ours, self.only, false);
                let _ = records.push((true, start, writer.len() as u16));
            }
        }
        let mut are_ours = true;
        for record in message.records() {
            if record.section == Section::Authority
                && record.is_in_class()
                && record.is_well_formed()
                && zone.names.find(record.name) == Some(name)
            {
                // The records of all our links are compared: a bridge may return our own probe through another link.
                are_ours &= zone
                    .records_of(name)
                    .any(|(_, ours)| zone.is_equal(ours, &record));
                let start = writer.len() as u16;
                writer.word(record.kind);
                record
                    .uncompressed_rdata()
                    .for_each(|piece| writer.put(piece));
                let _ = records.push((false, start, writer.len() as u16));
            }
        }
        writer.finish();
        if !are_ours && is_less(&buffer, &records) {
            log::debug!("probe of name {=usize} lost", name.index());
            self.set_probe(zone, name, Probe::WAIT, later(now, TIE_PAUSE_MS));
        }
    }
}

/// Records in the tie buffer, each as: true if it is ours, start offset and end offset of its type and rdata.
type TieRecords = heapless::Vec<(bool, u16, u16), TIE_RECORD_COUNT>;

/// Returns true if our records, sorted, are lexicographically earlier than the peer's.
fn is_less(bytes: &[u8], records: &TieRecords) -> bool {
    let (mut ours, mut theirs): (&[u8], &[u8]) = (&[], &[]);
    loop {
        ours = next_record(bytes, records, true, ours);
        theirs = next_record(bytes, records, false, theirs);
        match ours.cmp(theirs) {
            Ordering::Equal if !ours.is_empty() => {}
            order => return order == Ordering::Less,
        }
    }
}

/// Returns the next record of one host in sorted order: the smallest that is larger than `last`. Empty after the last. Equal
/// records of one host count once.
fn next_record<'a>(bytes: &'a [u8], records: &TieRecords, are_ours: bool, last: &[u8]) -> &'a [u8] {
    let mut found: &[u8] = &[];
    for (is_ours, start, end) in records {
        let candidate = bytes.head((*end).into()).tail((*start).into());
        if *is_ours == are_ours
            && candidate.cmp(last) == Ordering::Greater
            && (found.is_empty() || candidate.cmp(found) == Ordering::Less)
        {
            found = candidate;
        }
    }
    found
}
