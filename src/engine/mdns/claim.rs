//! Unique names: chooses the label of a name, and a new label after a conflict. RFC 6762 sections 8.1 and 9.

use super::link_state::LinkState;
use super::names::NameId;
use super::probe::TIE_PAUSE_MS;
use super::record_state::{Probe, Probing, later};
use super::responder::{PROBE_JITTER_MS, Renamed, Responder};
use super::zone::{RenameStyle, Zone};
use crate::event::Line;
use crate::mem::Ends as _;
use crate::time::Instant;
use crate::wire::dns::{LABEL_BYTES_MAX, Message, Record, kind};
use crate::wire::txt::Strings;

/// Period (milliseconds) in which 15 conflicts cause a limit on the rate of probes. RFC 6762 section 8.1.
const CONFLICT_MS: u32 = 10_000;
/// Delay (milliseconds) of each new probing attempt while the rate is limited.
const CONFLICT_PAUSE_MS: u32 = 5000;
/// Period without conflicts (milliseconds) after which the rate limit ends.
const QUIET_MS: u32 = 60_000;
/// Delay (milliseconds) before we probe for a virtual machine that another host has withdrawn: that host may announce it again
/// at once with another TXT record.
const RECLAIM_MS: u32 = 2000;
/// Range of the random number in a new label, large enough that hundreds of hosts rarely draw equal numbers. Two hosts that draw
/// the same number detect the conflict, except once in 10,000 cases on a link that loses 10 % of the messages.
const NUMBER_COUNT: u32 = 1 << 16;

impl Zone {
    /// Adds the unique name `label`.`parent`. Appends a number to the label if another name of ours has it. `None`: a table is
    /// full.
    pub(super) fn claim_name(
        &mut self,
        parent: NameId,
        label: &[u8],
        rename_style: RenameStyle,
    ) -> Option<NameId> {
        let mut numbered;
        let (mut tried, mut renames) = (label, 0u16);
        while self.is_label_used(parent, tried) {
            renames += 1;
            numbered = numbered_label(label, rename_style, (renames + 1).into());
            tried = numbered.bytes();
        }
        let name = self.names.add(parent, tried)?;
        let claim = self.claim_mut(name)?;
        claim.renames = renames;
        claim.requested_len = label.len().min(tried.len()) as u8;
        claim.rename_style = rename_style;
        Some(name)
    }

    /// Returns true if we have a unique name with this label and records that are not withdrawn.
    fn is_label_used(&self, parent: NameId, label: &[u8]) -> bool {
        let name = self.names.child(parent, label);
        let has_records = |name| self.records_of(name).any(|(_, record)| !record.is_goodbye);
        name.is_some_and(|name| self.unique(name).is_some() && has_records(name))
    }

    /// Changes the label of a unique name to the requested label with `number` appended. Returns false if another name in the table
    /// has that label.
    pub(super) fn rename(&mut self, name: NameId, number: u32) -> bool {
        let claim = self.claim(name);
        let requested = self.names.label(name).head(claim.requested_len.into());
        let label = numbered_label(requested, claim.rename_style, number);
        let label = label.bytes();
        if !self.names.relabel(name, label) {
            return false;
        }
        if let Some(claim) = self.claim_mut(name) {
            claim.requested_len = claim.requested_len.min(label.len() as u8);
            claim.renames = claim.renames.saturating_add(1);
        }
        true
    }
}

impl LinkState {
    /// Returns true if `name` is a virtual machine that was given up on this link.
    pub(super) fn has_left(&self, zone: &Zone, name: NameId) -> bool {
        zone.claim(name).rename_style == RenameStyle::Machine
            && self.link.is_up()
            && self.phase(zone, name) == Probing::Idle
    }

    /// Gives a virtual machine up if it is stopped here and `message` is the probe of the host that runs it.
    pub(super) fn yield_machine(&mut self, zone: &Zone, name: NameId, message: &Message<'_>) {
        if zone.compare_machine(name, message) == Some(Match::Runs) {
            self.give_up(zone, name);
        }
    }
}

/// Another host's claim to a virtual machine, compared with ours by the TXT records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Match {
    /// The UUIDs differ, or one of the records has none.
    Other,
    /// The UUIDs are equal.
    Same,
    /// The UUIDs are equal, and the machine runs on the other host only.
    Runs,
}

/// String in the TXT record of a virtual machine that runs.
const RUNNING: &[u8] = b"state=running";

/// Returns true if the rdata of a TXT record has this string.
fn has_string(txt: &[u8], string: &[u8]) -> bool {
    Strings(txt).any(|other| other == string)
}

impl Zone {
    /// Compares another host's TXT record for a virtual machine with ours. `None`: the message has none, or the name is no virtual
    /// machine.
    fn compare_machine(&self, name: NameId, message: &Message<'_>) -> Option<Match> {
        if self.claim(name).rename_style != RenameStyle::Machine {
            return None;
        }
        let is_its = |record: &Record<'_>| {
            record.kind == kind::TXT && self.names.find(record.name) == Some(name)
        };
        let theirs = message.records().find(is_its)?.rdata();
        let mut records = self.records_of(name);
        let (_, txt) = records.find(|(_, record)| record.kind == kind::TXT)?;
        let ours = self.rdata_prefix(txt);
        let uuid = Strings(ours).find(|string| string.starts_with(b"uuid="));
        Some(match uuid {
            Some(uuid) if has_string(theirs, uuid) => {
                match has_string(theirs, RUNNING) && !has_string(ours, RUNNING) {
                    true => Match::Runs,
                    false => Match::Same,
                }
            }
            _ => Match::Other,
        })
    }
}

impl Responder {
    /// Handles a conflict: another host claims a name. If we own the name, and it is no reverse mapping, probes for it again.
    /// Otherwise chooses a new name for a host or service, and gives up an alias, a reverse mapping, or a virtual machine that the
    /// other host also has. A virtual machine whose TXT record the other host did not send is probed for once more, then renamed.
    pub(super) fn handle_conflict(
        &mut self,
        now: Instant,
        link: usize,
        Renamed { name, rival }: Renamed,
        message: &Message<'_>,
    ) {
        let mut style = self.zone.claim(name).rename_style;
        let Some(link_state) = self.links.get_mut(link) else {
            return;
        };
        let holds = link_state.holds(&self.zone, name);
        let is_disputed = link_state.is_disputed(&self.zone, name);
        let mut pause_ms = 0;
        if style == RenameStyle::Machine {
            style = match self.zone.compare_machine(name, message) {
                Some(Match::Same | Match::Runs) => RenameStyle::Alias,
                Some(Match::Other) => RenameStyle::Instance,
                None if is_disputed => RenameStyle::Instance,
                // The other host's TXT record may be in another message: probe again, unless it arrives before.
                None => {
                    pause_ms = TIE_PAUSE_MS;
                    style
                }
            };
        }
        // A name that is given up causes no further probes, and a machine that is probed for once more is counted then.
        if holds || !matches!(style, RenameStyle::Alias | RenameStyle::Machine) {
            self.count_conflict(now);
        }
        let spacing_ms = self.attempt_spacing_ms(now);
        let due = self.attempt_at(now, pause_ms + spacing_ms, spacing_ms);
        let Some(link_state) = self.links.get_mut(link) else {
            return;
        };
        if style != RenameStyle::Fixed && holds || style == RenameStyle::Machine {
            let probe = Probe {
                is_disputed: !holds && style == RenameStyle::Machine,
                ..Probe::WAIT
            };
            link_state.set_probe(&self.zone, name, probe, due);
        } else if matches!(style, RenameStyle::Host | RenameStyle::Instance) {
            self.choose_new_name(Renamed { name, rival }, due);
        } else {
            link_state.give_up(&self.zone, name);
            if self.is_alias(name) {
                let _ = self.renamed.push(Renamed { name, rival });
            }
        }
    }

    /// Makes a service a virtual machine, which several hosts may find on shared storage: the service is given up if another host
    /// announces the same UUID under its name.
    pub fn set_machine(&mut self, name: NameId) {
        if let Some(claim) = self.zone.claim_mut(name) {
            claim.rename_style = RenameStyle::Machine;
        }
    }

    /// Returns true if a virtual machine was given up on a link, because another host announces it.
    pub fn is_left(&self, name: NameId) -> bool {
        let mut links = self.links.iter();
        links.any(|link_state| link_state.has_left(&self.zone, name))
    }

    /// Probes for a virtual machine again where it was given up: the other host may have stopped announcing it.
    pub fn reclaim(&mut self, now: Instant, name: NameId) {
        let due = self.attempt_at(now, RECLAIM_MS, 0);
        for link_state in self.links.iter_mut() {
            if link_state.has_left(&self.zone, name) {
                link_state.set_probe(&self.zone, name, Probe::WAIT, due);
            }
        }
    }

    /// Counts a conflict. Limits the rate of probes after 15 conflicts within [`CONFLICT_MS`].
    pub(super) fn count_conflict(&mut self, now: Instant) {
        self.conflict_count += 1;
        let mut expiry = later(now, CONFLICT_MS);
        for slot in self.conflicts.iter_mut().rev() {
            expiry = core::mem::replace(slot, expiry);
        }
        let [oldest, ..] = &self.conflicts;
        if now < *oldest || self.is_rate_limited(now) {
            self.rate_limited_until = later(now, QUIET_MS);
        }
    }

    /// Returns true if recent conflicts limit the rate of probes.
    fn is_rate_limited(&self, now: Instant) -> bool {
        now < self.rate_limited_until
    }

    /// Returns the interval (milliseconds) between probing attempts, of whatever names: 0 unless recent conflicts limit their rate.
    fn attempt_spacing_ms(&self, now: Instant) -> u32 {
        match self.is_rate_limited(now) {
            true => CONFLICT_PAUSE_MS,
            false => 0,
        }
    }

    /// Returns the time of the first probe of an attempt that starts `ms` milliseconds from now or later, and `spacing_ms` after other
    /// attempts. Names that are due within [`PROBE_JITTER_MS`], or with a spacing later, share an attempt: their probes share messages.
    pub(super) fn attempt_at(&mut self, now: Instant, ms: u32, spacing_ms: u32) -> Instant {
        let earliest = later(now, ms);
        let is_near = self.attempt_at <= later(earliest, PROBE_JITTER_MS);
        if self.attempt_at <= earliest || !is_near && spacing_ms == 0 {
            let after_other = match spacing_ms {
                0 => earliest,
                _ => earliest.max(later(self.attempt_at, spacing_ms)),
            };
            self.attempt_at = later(after_other, self.random.ms(0, PROBE_JITTER_MS));
        }
        self.attempt_at
    }

    /// Chooses a new label for a name and schedules its first probe.
    fn choose_new_name(&mut self, renamed: Renamed, due: Instant) {
        let name = renamed.name;
        // The first new labels have the numbers 2 to 4, later ones a random number: with consecutive numbers, many hosts that
        // request the same name would conflict at each number.
        let mut number = u32::from(self.zone.claim(name).renames) + 2;
        if number > 4 {
            number = self.random.ms(number, NUMBER_COUNT);
        }
        while !self.zone.rename(name, number) {
            number += 1;
        }
        let _ = self.renamed.push(renamed);
        for link_state in self.links.iter_mut() {
            if link_state.phase(&self.zone, name) != Probing::Idle {
                link_state.set_probe(&self.zone, name, Probe::WAIT, due);
            }
        }
    }
}

/// Returns the requested label with a number appended. A label that would be too long is cut at the end of a UTF-8 character.
fn numbered_label(requested: &[u8], rename_style: RenameStyle, number: u32) -> Line {
    let (open, close) = match rename_style {
        RenameStyle::Instance | RenameStyle::Machine => (" (", ")"),
        _ => ("-", ""),
    };
    let mut suffix = Line::default();
    suffix.text(open).number(number).text(close);
    let mut kept = requested
        .len()
        .min(LABEL_BYTES_MAX.saturating_sub(suffix.bytes().len()));
    // 0b10xxxxxx: a continuation byte of a UTF-8 character.
    while kept > 0 && requested.get(kept).is_some_and(|byte| byte & 0xc0 == 0x80) {
        kept -= 1;
    }
    let mut label = Line::default();
    label.raw(requested.head(kept)).raw(suffix.bytes());
    label
}
