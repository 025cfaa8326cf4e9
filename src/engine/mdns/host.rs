//! Who announces the host: its name, its addresses and their reverse mapping. Another responder on this host may, as avahi does;
//! then we announce services alone, which point to the name that it has. RFC 6762 section 15.
//!
//! It is known by what it says from an address of ours: it claims the host's name, or the reverse mapping of an address. When it
//! says goodbye, or does not answer any more, the host is ours.

use super::link::LINK_COUNT_MAX;
use super::names::{NameId, hash};
use super::record_state::later;
use super::responder::Responder;
use super::zone::{EVERYWHERE, HOST_TTL, RenameStyle};
use super::{Transmit, family};
use crate::time::Instant;
use crate::wire::dns::{self, Message, Name, REVERSE_BYTES_MAX, Section, Writer, kind, reverse};

/// Unanswered questions after which the other is gone.
const ASK_COUNT: u8 = 3;
/// Between questions: at least this, and a random time below it, as two of ours may ask each other.
const ASK_MS: u32 = 250;
/// After a goodbye the other may come back, after a probe it announces: until we ask.
const PAUSE_MS: u32 = 1000;
/// Messages of ours that may still come back.
const SENT_COUNT: usize = 32;

/// Who announces the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Host {
    /// Another program has our port: it is asked first, as a probe could make it change its name.
    Unknown,
    Ours,
    /// Another responder here.
    Left,
    /// Not us, whatever others do.
    Never,
}

/// What is sent comes back, as to all programs on this host: the hashes of the last messages.
#[derive(Debug)]
pub(super) struct Sent {
    hashes: [u32; SENT_COUNT],
    next: usize,
    seed: u32,
}

impl Sent {
    pub(super) const fn new(seed: u32) -> Self {
        Self {
            hashes: [0; SENT_COUNT],
            next: 0,
            seed,
        }
    }

    pub(super) fn add(&mut self, message: &[u8]) {
        if let Some(place) = self.hashes.get_mut(self.next % SENT_COUNT) {
            *place = hash(self.seed, message);
        }
        self.next = (self.next + 1) % SENT_COUNT;
    }

    pub(super) fn has(&self, message: &[u8]) -> bool {
        self.hashes.contains(&hash(self.seed, message))
    }
}

impl Responder {
    /// Handles what another program on this host says: whether that announces the host.
    pub(super) fn meet(&mut self, now: Instant, message: &Message<'_>, is_response: bool) {
        if self.elsewhere.is_some() || self.announcer == Host::Never {
            return;
        }
        for record in message.records() {
            // What a querier knows is no claim of its own.
            if is_response == (record.section == Section::Authority) || !record.is_in_class() {
                continue;
            }
            let is_host = |name| self.zone.names.find(name) == Some(self.zone.service_host);
            let name = match record.target(0) {
                _ if is_host(record.name) => record.name,
                Some(target) if record.kind == kind::PTR && self.is_reverse(record.name) => target,
                _ => continue,
            };
            let is_known = self.announcer == Host::Left && is_host(name);
            let ms = match record.ttl {
                0 if !is_known => continue,
                0 => PAUSE_MS,
                _ if !is_response => 2 * PAUSE_MS,
                // Four fifths, as queriers do. RFC 6762 section 5.2.
                ttl => ttl.min(HOST_TTL) * 800,
            };
            if !is_known && let Some(host) = self.zone.names.intern(name) {
                self.leave_host(now, host);
                self.announcer = Host::Left;
                let _ = self.renamed.push(host);
            }
            (self.asked_count, self.ask_at) = (0, later(now, ms));
        }
    }

    /// Whether a name is that of an address of ours in reverse.
    fn is_reverse(&self, name: Name<'_>) -> bool {
        let mut addresses = self.links.iter().flat_map(|on| &on.link.addresses);
        addresses.any(|(address, _)| {
            let mut buffer = [0; REVERSE_BYTES_MAX];
            reverse(*address, &mut buffer);
            name.is(Name::of(&buffer))
        })
    }

    /// Leaves the host to another responder, which calls it so; the name was kept for that.
    #[inline(never)]
    fn leave_host(&mut self, now: Instant, host: NameId) {
        let was = self.zone.service_host;
        for id in 0..self.zone.records.len() {
            let Some(record) = self.zone.records.get(id) else {
                return;
            };
            // Those of other hosts that are announced for them are the same on every link.
            let is_address = record.links != EVERYWHERE
                && self.zone.claim(record.name).rename_style == RenameStyle::Fixed;
            if record.is_unique && (is_address || record.owner == self.zone.host) {
                match host == was {
                    // What others remember stays true.
                    true => self.zone.remove(id),
                    false => self.withdraw(id, now),
                }
            }
        }
        self.zone.point_to(host);
        if host != was {
            for on in &mut self.links {
                on.announce_all_to(&self.zone, host, now);
            }
        }
    }

    /// Asks whether another responder announces the host before we do.
    pub(super) fn ask_first(&mut self, now: Instant) {
        let host = self.zone.service_host;
        self.zone.names.keep(host);
        self.leave_host(now, host);
        (self.asked_count, self.ask_at) = (1, now);
    }

    /// Asks whether another responder still announces the host; nobody does: we do.
    pub(super) fn ask_for_host(&mut self, now: Instant) {
        if self.asked_count < ASK_COUNT {
            self.asked_count += 1;
            self.ask_links = EVERYWHERE;
            self.ask_at = later(now, self.random.ms(ASK_MS, ASK_MS));
            return;
        }
        (self.asked_count, self.ask_at) = (0, Instant::NEVER);
        self.announcer = Host::Ours;
        let own = self.zone.host;
        self.zone.names.keep(own);
        self.zone.point_to(own);
        let _ = self.zone.add_denial(own);
        for id in 0..LINK_COUNT_MAX {
            let on = self.links.get(id);
            if let Some(link) = on.map(|on| on.link.clone()) {
                // There was space for these records before.
                let _ = self.set_link(now, id as u8, &link);
            }
        }
    }

    /// Writes the question who has the host's name on a link, and who its addresses.
    pub(super) fn write_host_question(&self, link: usize, out: &mut [u8]) -> Option<Transmit> {
        let on = self.links.get(link)?;
        if !on.link.is_up() {
            return None;
        }
        let mut writer = Writer::new(out.get_mut(..on.message_bytes())?, 0, 0);
        let mut host = self.zone.names.labels(self.zone.service_host);
        writer.question(&mut host, kind::ANY, dns::CLASS_IN);
        for (address, _) in &on.link.addresses {
            let mut buffer = [0; REVERSE_BYTES_MAX];
            reverse(*address, &mut buffer);
            let name = Name::of(&buffer);
            writer.question(&mut name.unnumbered(), kind::PTR, dns::CLASS_IN);
        }
        Some(on.transmit(writer.finish(), family::ANY))
    }
}
