//! Choice of the host's announcer, that is, the responder that announces the host's name, addresses and reverse mapping. If another
//! responder on this host (such as avahi) announces them, we announce services only. Our SRV records then point to that responder's
//! name for the host. RFC 6762 section 15.
//!
//! We detect another responder by its messages: they come from an address of ours and claim the host's name or the reverse mapping
//! of an address. We then keep our host records, but do not send them. When the other responder says goodbye, or does not answer
//! three questions, we probe for the host's names.

use super::announcer::Announcer;
use super::link::LinkSet;
use super::link_state::LinkState;
use super::names::NameId;
use super::record_state::{Probe, Probing, later};
use super::responder::{PROBE_JITTER_MS, Renamed, Responder, Rival};
use super::zone::{HOST_TTL, RenameStyle, Zone};
use crate::time::Instant;
use crate::wire::dns::{Message, Section, kind};

/// Delay (milliseconds) from the other responder's goodbye until we ask whether that responder still runs, because it may be
/// restarting. After a probe of the other responder the delay is twice as long, so that its announcement can arrive first.
const PAUSE_MS: u32 = 1000;
impl Responder {
    /// Handles a message of another program on this host. If that program announces the host, stops announcing the host's records.
    #[inline(never)] // −31 bytes: one caller, whose frame stays small.
    pub(super) fn detect_announcer(
        &mut self,
        now: Instant,
        message: &Message<'_>,
        is_response: bool,
    ) {
        let (zone, mut heard) = (&mut self.zone, None);
        for record in message.records() {
            // Known answers in a query are no claim.
            if is_response == (record.section == Section::Authority) || !record.is_in_class() {
                continue;
            }
            let Some(owner) = zone.names.find(record.name) else {
                continue;
            };
            match record.target(0) {
                _ if owner == zone.service_host => heard = Some((record.name, record.ttl)),
                Some(target) if record.kind == kind::PTR && zone.is_host_name(owner) => {
                    heard = Some((target, record.ttl));
                }
                _ => {}
            }
        }
        let Some((name, ttl)) = heard.filter(|_| self.announcer != Announcer::Disabled) else {
            return;
        };
        let is_known =
            self.announcer == Announcer::Other && zone.names.find(name) == Some(zone.service_host);
        let ms = match ttl {
            0 if !is_known => return,
            0 => PAUSE_MS,
            _ if !is_response => 2 * PAUSE_MS,
            // Ask after 80 % of the TTL, as queriers do. RFC 6762 section 5.2.
            ttl => ttl.min(HOST_TTL) * 800,
        };
        let previous = zone.service_host;
        if !is_known && let Some(host) = zone.names.intern(name) {
            zone.set_service_host(host);
            self.announcer = Announcer::Other;
            let _ = self.renamed.push(Renamed {
                name: host,
                rival: Rival::ThisHost,
            });
        }
        let is_new = zone.service_host != previous;
        self.ask_for_host(now, ms, is_new);
    }

    /// Stops announcing the host because another responder does. Schedules a question to that responder `ms` milliseconds from now,
    /// to check that it still runs. `is_new` is true if its name for the host differs from the previous one.
    pub(super) fn ask_for_host(&mut self, now: Instant, ms: u32, is_new: bool) {
        let zone = &self.zone;
        // Jitter: otherwise two instances of this responder that ask for each other would claim the host at the same time.
        self.ask_at = later(now, ms + self.random.ms(0, PROBE_JITTER_MS));
        let asking = Probe {
            phase: Probing::Ask,
            is_new,
            ..Probe::NEW
        };
        for link_state in self.links.iter_mut() {
            // Goodbyes are sent only if the name changed; otherwise our records in other hosts' caches stay valid.
            for record in zone.records.iter().filter(|_| is_new) {
                if zone.is_host_name(record.name) {
                    link_state.schedule_goodbye(zone, record, now);
                }
            }
            for record in zone.records.iter() {
                if zone.is_host_name(record.name) {
                    link_state.set_probe(zone, record.name, asking, self.ask_at);
                }
            }
            link_state.announce_claimed(zone, now);
            // The names may be due later than before. The next poll computes `probes_at` again.
            link_state.probes_at = now;
        }
    }

    /// Another program on this host has opened port 5353 while we claim the host. It may be a responder that has not sent a probe
    /// yet, and that would rename the host because of our records: asks for the host's names before going on.
    pub fn on_port_taken(&mut self, now: Instant) {
        if self.announcer == Announcer::Ours {
            self.announcer = Announcer::Unknown;
            self.ask_for_host(now, PAUSE_MS, false);
        }
    }

    /// Becomes the announcer once three questions for the host's name got no answer on a link.
    pub(super) fn claim_host(&mut self) {
        let host = self.zone.host;
        let is_free = |link_state: &LinkState| link_state.phase(&self.zone, host) >= Probing::Wait;
        if self.announcer != Announcer::Ours && self.links.iter().any(is_free) {
            self.announcer = Announcer::Ours;
            self.zone.names.add_use(host);
            self.zone.set_service_host(host);
        }
    }
}

impl Zone {
    /// Returns true if a name is the host's, or the reverse mapping of one of the host's addresses.
    pub(super) fn is_host_name(&self, name: NameId) -> bool {
        self.unique(name)
            .is_some_and(|record| match self.claim(name).rename_style {
                RenameStyle::Host => true,
                // Reverse mappings of the host's own addresses are valid on one link; those of aliases with a static address on
                // every link.
                RenameStyle::Fixed => record.links != LinkSet::ALL,
                _ => false,
            })
    }

    /// Makes `host` the target of our services' SRV records. The caller has already incremented the use count of the name.
    fn set_service_host(&mut self, host: NameId) {
        let previous = core::mem::replace(&mut self.service_host, host);
        self.names.remove_use(previous);
    }
}
