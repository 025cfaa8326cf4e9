//! Who announces the host: its name, its addresses and their reverse mapping. Another responder on this host may, as avahi does;
//! then we announce services alone, which point to the name that it has. RFC 6762 section 15.
//!
//! It is known by what it says from an address of ours: it claims the host's name, or the reverse mapping of an address. Our records
//! of these stay, but are not ours to tell. When it says goodbye, or three questions are not answered, they are probed for.

use super::names::{NameId, hash};
use super::on_link::OnLink;
use super::record_state::{Phase, Probe, later};
use super::responder::{PROBE_JITTER_MS, Responder};
use super::zone::{EVERYWHERE, HOST_TTL, RenameStyle, Zone};
use crate::time::Instant;
use crate::wire::dns::{Message, Section, kind};

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
    #[inline(never)]
    pub(super) fn meet(&mut self, now: Instant, message: &Message<'_>, is_response: bool) {
        let (zone, mut heard) = (&mut self.zone, None);
        for record in message.records() {
            // What a querier knows is no claim of its own.
            if is_response == (record.section == Section::Authority) || !record.is_in_class() {
                continue;
            }
            let Some(owner) = zone.names.find(record.name) else {
                continue;
            };
            match record.target(0) {
                _ if owner == zone.service_host => heard = Some((record.name, record.ttl)),
                Some(target) if record.kind == kind::PTR && zone.is_of_host(owner) => {
                    heard = Some((target, record.ttl));
                }
                _ => {}
            }
        }
        let Some((name, ttl)) = heard.filter(|_| self.announcer != Host::Never) else {
            return;
        };
        let is_known =
            self.announcer == Host::Left && zone.names.find(name) == Some(zone.service_host);
        let ms = match ttl {
            0 if !is_known => return,
            0 => PAUSE_MS,
            _ if !is_response => 2 * PAUSE_MS,
            // Four fifths, as queriers do. RFC 6762 section 5.2.
            ttl => ttl.min(HOST_TTL) * 800,
        };
        let was = zone.service_host;
        if !is_known && let Some(host) = zone.names.intern(name) {
            zone.point_to(host);
            self.announcer = Host::Left;
            let _ = self.renamed.push(host);
        }
        let is_new = zone.service_host != was;
        self.ask_for_host(now, ms, is_new);
    }

    /// Leaves the host to another responder, and asks after so many milliseconds whether that is there. `is_new`: it has another
    /// name for the host.
    #[inline(never)]
    pub(super) fn ask_for_host(&mut self, now: Instant, ms: u32, is_new: bool) {
        let zone = &self.zone;
        // Two of ours that ask for each other do not claim the host at once.
        self.ask_at = later(now, ms + self.random.ms(0, PROBE_JITTER_MS));
        let left = Probe {
            phase: Phase::Ask,
            is_new,
            ..Probe::NEW
        };
        for on in &mut self.links {
            // Under the same name, what others remember stays true.
            for record in zone.records.iter().filter(|_| is_new) {
                if zone.is_of_host(record.name) {
                    on.say_goodbye(zone, record, now);
                }
            }
            for record in zone.records.iter() {
                if zone.is_of_host(record.name) {
                    on.begin(zone, record.name, left, self.ask_at);
                }
            }
            on.announce_claimed(zone, now);
            // They may be due later than they were.
            on.probes_at = now;
        }
    }

    /// Takes the host where nobody has answered who has it.
    pub(super) fn take_host(&mut self) {
        let host = self.zone.host;
        let is_free = |on: &OnLink| on.phase(&self.zone, host) >= Phase::Wait;
        if self.announcer != Host::Ours && self.links.iter().any(is_free) {
            self.announcer = Host::Ours;
            self.zone.names.keep(host);
            self.zone.point_to(host);
        }
    }
}

impl Zone {
    /// Whether a name is the host's, or that of one of its addresses in reverse.
    #[inline(never)]
    pub(super) fn is_of_host(&self, name: NameId) -> bool {
        self.unique(name)
            .is_some_and(|record| match self.claim(name).rename_style {
                RenameStyle::Host => true,
                // Those of addresses elsewhere are the same on every link.
                RenameStyle::Fixed => record.links != EVERYWHERE,
                _ => false,
            })
    }

    /// The host is called so where services of ours point to it; the name was kept for that.
    fn point_to(&mut self, host: NameId) {
        let was = core::mem::replace(&mut self.service_host, host);
        self.names.release(was);
    }
}
