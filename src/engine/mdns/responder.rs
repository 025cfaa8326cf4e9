//! The responder: it claims names, announces their records, answers, defends, and says goodbye. RFC 6762 sections 5 to 10.
//!
//! For each link it keeps what was multicast when, and what is due. A name is probed for on each link by itself; a name that is
//! lost on one link is given up on all.

use super::host::{Host, Sent};
use super::link::{LINK_COUNT_MAX, Link, LinkId};
use super::names::NameId;
use super::on_link::OnLink;
use super::record_state::{Probe, later};
use super::truncated::TruncatedQueries;
use super::zone::{Entry, Full, RenameStyle, Zone};
use super::{Limits, Meta, PORT, Random, Transmit};
use crate::mem::Ends as _;
use crate::time::Instant;
use crate::wire::announce::Service;
use crate::wire::dns::Message;
use core::net::IpAddr;

/// Before the first probe: a random delay below this, so that hosts that were switched on together do not all probe at once.
/// RFC 6762 section 8.1.
pub(super) const PROBE_JITTER_MS: u32 = 250;
/// Conflicts that are remembered.
pub(super) const CONFLICT_COUNT: usize = 15;

/// Names that were changed since the caller asked.
const RENAMED_COUNT_MAX: usize = 16;

/// The responder.
#[derive(Debug)]
#[repr(C)] // What is used most first, the longest last.
pub struct Responder {
    pub(super) zone: Zone,
    pub(super) random: Random,
    /// Until when attempts wait.
    pub(super) rate_limited_until: Instant,
    /// Names that were changed or given up, until the caller asks.
    pub(super) renamed: heapless::Vec<NameId, RENAMED_COUNT_MAX>,
    pub(super) is_stopping: bool,
    pub(super) announcer: Host,
    /// When another responder on this host is asked whether it is still there.
    pub(super) ask_at: Instant,
    sent: Sent,
    /// Until when the last conflicts count, the oldest first.
    pub(super) conflicts: [Instant; CONFLICT_COUNT],
    pub(super) truncated_queries: TruncatedQueries,
    pub(super) links: [OnLink; LINK_COUNT_MAX],
}

impl Responder {
    /// A responder that has nothing to say yet.
    pub fn new(limits: Limits, entropy: &[u8; 16]) -> Self {
        let mut random = Random::new(entropy);
        let seed = random.ms(0, u32::MAX);
        Self {
            zone: Zone::new(&limits, seed),
            links: core::array::from_fn(OnLink::new),
            truncated_queries: TruncatedQueries::NONE,
            conflicts: [Instant::default(); CONFLICT_COUNT],
            rate_limited_until: Instant::default(),
            renamed: heapless::Vec::new(),
            random,
            sent: Sent::new(seed),
            announcer: Host::Unknown,
            ask_at: Instant::NEVER,
            is_stopping: false,
        }
    }

    /// What the host is called: one label. To be told first.
    pub fn set_host(&mut self, label: &[u8]) -> Result<(), Full> {
        let zone = &mut self.zone;
        let host = zone.claim_name(zone.local, label, RenameStyle::Host);
        zone.host = host.ok_or(Full)?;
        zone.service_host = zone.host;
        zone.names.keep(zone.host);
        match self.announcer {
            Host::Never => Ok(()),
            _ => {
                let _ = zone.hosts.push(zone.host);
                zone.add_denial(zone.host).ok_or(Full)
            }
        }
    }

    /// Another name, of labels before `.local`: of this host, or, with reverse, of an address. It is never changed: where another
    /// host has it, it is given up. To be told before there are links.
    pub fn add_alias(&mut self, labels: &[u8], address: Option<&IpAddr>) -> Result<NameId, Full> {
        self.zone.add_alias(labels, address).ok_or(Full)
    }

    /// No PTR records lead from addresses to the host. To be told before there are links.
    pub const fn leave_reverse_out(&mut self) {
        self.zone.reverses = false;
    }

    /// Others announce the host, or nobody. To be told first.
    pub const fn leave_host_out(&mut self) {
        self.announcer = Host::Never;
    }

    /// Announces a service as soon as its name is ours.
    pub fn add_service(&mut self, now: Instant, service: &Service<'_>) -> Result<NameId, Full> {
        let name = self.zone.add_service(service).ok_or(Full)?;
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        for on in &mut self.links {
            on.begin_probing(&self.zone, name, now, ms);
        }
        Ok(name)
    }

    /// A link has these addresses from now on, and others than before. Everything is probed for again there; what is ours is
    /// defended meanwhile.
    pub fn set_link(&mut self, now: Instant, id: LinkId, link: &Link) -> Result<(), Full> {
        let Some(on) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        on.link.clone_from(link);
        let bit = on.bit;
        for at in 0..self.zone.records.len() {
            let is_gone = |record: &Entry| {
                let mut addresses = link.addresses.iter();
                record.links == bit && !addresses.any(|(own, _)| self.zone.is_of(record, own))
            };
            if self.zone.records.get(at).is_some_and(is_gone) {
                self.withdraw(at, now);
            }
        }
        let is_first = self.announcer == Host::Unknown && self.ask_at == Instant::NEVER;
        if is_first && link.is_up() && !link.shares_port {
            self.announcer = Host::Ours;
        }
        let zone = &mut self.zone;
        for (address, _) in &link.addresses {
            let mut at = 0;
            while let Some(name) = zone.hosts.get(at) {
                zone.add_address(*name, bit, address).ok_or(Full)?;
                at += 1;
            }
        }
        let Some(on) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        if !link.is_up() {
            on.forget(zone);
        }
        let due = later(now, self.random.ms(0, PROBE_JITTER_MS));
        for record in zone.records.iter() {
            let is_held = on.holds(zone, record.name);
            if record.is_on(bit) && record.is_unique && !record.is_goodbye {
                on.begin(
                    zone,
                    record.name,
                    Probe {
                        is_held,
                        ..Probe::WAIT
                    },
                    due,
                );
            }
        }
        // Whoever has it may have come or gone.
        if link.is_up() && self.announcer != Host::Ours {
            self.ask_for_host(now, 0, false);
        }
        Ok(())
    }

    /// Takes what came. The bytes of a reply to its sender alone, if there is one, are in `out`: how many.
    pub fn handle(
        &mut self,
        now: Instant,
        meta: Meta,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let message = Message::parse(datagram).ok()?;
        let on = self.links.get(usize::from(meta.link))?;
        if meta.from.port() == 0 || self.is_stopping || !on.link.is_up() {
            return None;
        }
        let from = meta.from.ip();
        let is_response = message.is_response()?;
        if meta.from.port() == PORT && self.links.iter().any(|on| on.link.has(&from)) {
            if self.sent.has(datagram) {
                return None;
            }
            self.meet(now, &message, is_response);
        }
        if is_response {
            self.response(now, &meta, &from, &message);
            None
        } else {
            self.query(now, &meta, &from, &message, out)
        }
    }

    /// What is to be sent to a link now, if there is anything.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        self.take_host();
        for link in 0..LINK_COUNT_MAX {
            let on = self.links.get_mut(link)?;
            let mut sent = on.send_probes(&self.zone, now, out);
            if sent.is_none() {
                let are_gone;
                (sent, are_gone) = on.send_multicast(&self.zone, now, out, false);
                if are_gone {
                    self.remove_withdrawn();
                }
            }
            if let Some(transmit) = &sent {
                self.sent.add(out.head(transmit.len));
                return sent;
            }
        }
        None
    }

    /// When there is something to send again.
    pub fn poll_at(&self) -> Instant {
        let mut first = Instant::NEVER;
        for on in &self.links {
            first = first.min(on.answers_at).min(on.probes_at);
        }
        first
    }

    /// A name that others had, and that was changed or, if it is an alias, given up; told once.
    pub fn renamed(&mut self) -> Option<NameId> {
        self.renamed.pop()
    }

    /// Whether a name is never changed.
    pub fn is_alias(&self, name: NameId) -> bool {
        self.zone.claim(name).rename_style == RenameStyle::Alias
    }

    /// The first label of a name of ours.
    pub fn label(&self, name: NameId) -> &[u8] {
        self.zone.names.label(name)
    }

    /// Whether all names are ours wherever there is a link.
    pub fn is_settled(&self) -> bool {
        // That the host is asked for later is no matter.
        let is_done = |on: &OnLink| on.probes_at == Instant::NEVER || on.probes_at == self.ask_at;
        self.announcer != Host::Unknown && self.links.iter().all(is_done)
    }

    /// The name of the host.
    pub const fn host(&self) -> NameId {
        self.zone.host
    }

    /// The name that another responder on this host has for it, if it announces the host instead of us.
    pub fn other_host(&self) -> Option<NameId> {
        (self.announcer == Host::Left).then_some(self.zone.service_host)
    }

    /// All unique names of ours but those of addresses, as they are written.
    #[cfg(test)]
    pub(super) fn own_names(&self) -> Vec<String> {
        let records = self.zone.records.iter();
        let own = records.filter(|record| {
            record.kind == crate::wire::dns::kind::NSEC
                && self.zone.claim(record.name).rename_style != RenameStyle::Fixed
        });
        own.map(|record| {
            let labels = self.zone.names.labels(record.name);
            let labels = labels.map(|label| String::from_utf8_lossy(label.bytes).into_owned());
            labels.collect::<Vec<_>>().join(".")
        })
        .collect()
    }
}
