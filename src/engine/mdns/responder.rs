//! The responder: claims names, announces their records, answers queries, defends the names and says goodbye. RFC 6762 sections 5
//! to 10.
//!
//! The responder stores per link when each record was last multicast and when the next multicast is due. It probes for a name on
//! each link separately; a host or service name that is lost on one link is changed on all links.

use super::announce::ANNOUNCE_MS;
use super::announcer::{Announcer, SentHashes};
use super::link::{Link, LinkId, LinkSet, link_count};
use super::link_state::LinkState;
use super::names::NameId;
use super::record_state::{Probe, later};
use super::truncated::TruncatedQueries;
use super::zone::{Full, OwnRecord, RenameStyle, Zone};
use super::{Limits, Meta, Outgoing, PORT, Random};
use crate::mem::{Ends as _, Slots};
use crate::time::Instant;
use crate::wire::announce::Service;
use crate::wire::dns::Message;
use core::net::IpAddr;

/// Upper limit of the random delay (milliseconds) before the first probe, so that hosts that start together do not probe at the
/// same time. RFC 6762 section 8.1.
pub(super) const PROBE_JITTER_MS: u32 = 250;
/// Number of conflicts within ten seconds after which the rate of probes is limited. RFC 6762 section 8.1.
pub(super) const CONFLICT_COUNT: usize = 15;

/// Maximum number of changed names that wait until the caller fetches them with [`Responder::pop_renamed`].
const RENAMED_COUNT_MAX: usize = 16;

/// A change of a name, returned by [`Responder::pop_renamed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Renamed {
    /// The name, as it is now.
    pub name: NameId,
    /// The responder because of which it has changed.
    pub rival: Rival,
}

/// The responder that has a name that we requested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rival {
    /// A responder on another host.
    OtherHost,
    /// Another program on this host.
    ThisHost,
}

/// The responder.
#[derive(Debug)]
#[repr(C)] // The most used fields first, the largest last.
pub struct Responder {
    pub(super) zone: Zone,
    pub(super) random: Random,
    /// The rate of probing attempts is limited until this time.
    pub(super) rate_limited_until: Instant,
    /// Time of the first probe of the latest probing attempt.
    pub(super) attempt_at: Instant,
    /// Names that were changed or given up and that the caller has not fetched yet.
    pub(super) renamed: heapless::Vec<Renamed, RENAMED_COUNT_MAX>,
    /// True once the goodbyes are scheduled: the responder ignores all datagrams.
    pub(super) is_stopping: bool,
    pub(super) announcer: Announcer,
    /// When another responder on this host is next asked for the host's names, to check that it still runs.
    pub(super) ask_at: Instant,
    /// Until this time the host is being claimed or announced. Each message before probing has ended sets it.
    claiming_until: Instant,
    sent: SentHashes,
    /// Queries received and conflicts, since the start.
    pub(super) query_count: u64,
    pub(super) conflict_count: u64,
    /// When each of the last conflicts stops counting towards the rate limit, the oldest first.
    pub(super) conflicts: [Instant; CONFLICT_COUNT],
    pub(super) truncated_queries: TruncatedQueries,
    /// The links that have been in use. A link without addresses is down.
    pub(super) links: Slots<LinkState>,
}

impl Responder {
    /// Creates a responder without names and links.
    pub fn new(limits: Limits, entropy: &[u8; 16]) -> Self {
        let mut random = Random::new(entropy);
        let seed = random.ms(0, u32::MAX);
        Self {
            zone: Zone::new(&limits, seed),
            links: Slots::default(),
            truncated_queries: TruncatedQueries::NONE,
            query_count: 0,
            conflict_count: 0,
            conflicts: [Instant::default(); CONFLICT_COUNT],
            rate_limited_until: Instant::default(),
            attempt_at: Instant::default(),
            renamed: heapless::Vec::new(),
            random,
            sent: SentHashes::new(seed),
            announcer: Announcer::Unknown,
            ask_at: Instant::NEVER,
            claiming_until: Instant::default(),
            is_stopping: false,
        }
    }

    /// Sets the requested label of the host's name. Call before adding services and links.
    pub fn set_host(&mut self, label: &[u8]) -> Result<(), Full> {
        let zone = &mut self.zone;
        let host = zone.claim_name(zone.local, label, RenameStyle::Host);
        zone.host = host.ok_or(Full)?;
        zone.service_host = zone.host;
        zone.names.add_use(zone.host);
        match self.announcer {
            Announcer::Disabled => Ok(()),
            _ => {
                let _ = zone.hosts.push(zone.host);
                zone.add_denial(zone.host, LinkSet::ALL).ok_or(Full)
            }
        }
    }

    /// Adds an alias, `labels` with `.local` appended: a further name of this host, or with `address` the name of that address, and
    /// its reverse mapping. If another host has the name, the alias is given up instead of renamed. Call before adding links, or between
    /// [`Self::start_aliases`] and [`Self::finish_aliases`].
    pub fn add_alias(&mut self, labels: &[u8], address: Option<&IpAddr>) -> Result<NameId, Full> {
        self.zone.add_alias(labels, address).ok_or(Full)
    }

    /// Starts adding all aliases with an address again. [`Self::finish_aliases`] withdraws those that were not added.
    pub fn start_aliases(&mut self) {
        for entry in self.zone.records.iter_mut() {
            entry.is_stale = entry.is_static();
        }
    }

    /// Withdraws the aliases with an address that were not added again, and probes for those that are new.
    pub fn finish_aliases(&mut self, now: Instant) {
        let due = later(now, self.random.ms(0, PROBE_JITTER_MS));
        for id in 0..self.zone.records.len() {
            let Some(record) = self.zone.records.get(id).filter(|entry| entry.is_static()) else {
                continue;
            };
            let name = record.name;
            if record.is_stale {
                self.withdraw(id, now);
                self.withdraw_denial(name, now);
                continue;
            }
            for link_state in self.links.iter_mut() {
                let state = link_state.state(&self.zone, record);
                if [state.last_multicast.get(), state.due.get()] == [Instant::NEVER; 2] {
                    let is_held = link_state.holds(&self.zone, name);
                    let probe = Probe {
                        is_held,
                        ..Probe::WAIT
                    };
                    link_state.set_probe(&self.zone, name, probe, due);
                }
            }
        }
    }

    /// Omits the PTR records that map addresses to names. Call before adding links.
    pub const fn exclude_reverse(&mut self) {
        self.zone.reverses = false;
    }

    /// Never announces the host's name and addresses, even if no other responder does. Call before [`Self::set_host`].
    pub const fn exclude_host(&mut self) {
        self.announcer = Announcer::Disabled;
    }

    /// Adds a service: probes for its instance name, then announces its records. Returns the name.
    pub fn add_service(&mut self, now: Instant, service: &Service<'_>) -> Result<NameId, Full> {
        let name = self.zone.add_service(service).ok_or(Full)?;
        let due = self.attempt_at(now, 0, 0);
        for link_state in self.links.iter_mut() {
            link_state.set_probe(&self.zone, name, Probe::WAIT, due);
        }
        Ok(name)
    }

    /// Sets the interface of a link. Call before [`Self::set_link`].
    pub fn set_interface(&mut self, id: LinkId, interface: &[u8]) {
        self.zone.set_interface(id, interface);
    }

    /// Sets the addresses of a link when they change. All names are probed for again on the link; names that are already ours stay
    /// defended meanwhile.
    pub fn set_link(&mut self, now: Instant, id: LinkId, link: &Link) -> Result<(), Full> {
        let link_state = self.link_mut(id).ok_or(Full)?;
        link_state.link.clone_from(link);
        let only = link_state.only;
        for record_id in 0..self.zone.records.len() {
            let is_gone = |record: &OwnRecord| {
                let mut addresses = link.addresses.iter();
                (record.links, record.interface) == (only, 0)
                    && !addresses.any(|(address, _)| self.zone.belongs_to(record, address))
            };
            if self.zone.records.get(record_id).is_some_and(is_gone) {
                self.withdraw(record_id, now);
            }
        }
        let is_first = self.announcer == Announcer::Unknown && self.ask_at == Instant::NEVER;
        if is_first && link.is_up() && !link.shares_port {
            self.announcer = Announcer::Ours;
        }
        let (zone, mut outcome) = (&mut self.zone, Ok(()));
        for (address, _) in &link.addresses {
            let mut index = 0;
            while let Some(name) = zone.hosts.get(index) {
                if zone.add_address(*name, only, address).is_none() {
                    outcome = Err(Full);
                }
                index += 1;
            }
        }
        let Some(link_state) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        if !link.is_up() {
            link_state.reset(zone);
        }
        let due = later(now, self.random.ms(0, PROBE_JITTER_MS));
        for record in zone.records.iter() {
            let is_held = link_state.holds(zone, record.name);
            if record.is_on(only) && record.is_unique && !record.is_goodbye {
                link_state.set_probe(
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
        // Another responder on this host may have started or ended with the change.
        if link.is_up() && self.announcer != Announcer::Ours {
            self.ask_for_host(now, 0, false);
        }
        outcome
    }

    /// Returns a link, which comes into use if it is new. `None`: a table is full.
    fn link_mut(&mut self, id: LinkId) -> Option<&mut LinkState> {
        while self.links.len() <= usize::from(id) {
            let new = self.links.len();
            if new >= link_count() {
                return None;
            }
            self.zone.states.add_link()?;
            let new = LinkState::new(new as LinkId);
            self.links.push_up_to(link_count(), new)?;
        }
        self.links.get_mut(usize::from(id))
    }

    /// The records announced now, and the queries received and conflicts since the start.
    pub fn figures(&self) -> [u64; 3] {
        let record_count = self.zone.records.len() as u64;
        [record_count, self.query_count, self.conflict_count]
    }

    /// Handles a received datagram. Returns the length of a unicast reply to its sender, which is written to `out`, or `None`.
    pub fn handle(
        &mut self,
        now: Instant,
        meta: Meta,
        datagram: &[u8],
        out: &mut [u8],
    ) -> Option<usize> {
        let message = Message::parse(datagram).ok()?;
        let link_state = self.links.get(usize::from(meta.link))?;
        if meta.from.port() == 0 || self.is_stopping || !link_state.link.is_up() {
            return None;
        }
        let from = meta.from.ip();
        let is_response = message.is_response()?;
        if meta.from.port() == PORT && self.rival(&from) == Rival::ThisHost {
            if self.sent.has(datagram) {
                return None;
            }
            self.detect_announcer(now, &message, is_response);
        }
        if is_response {
            self.handle_response(now, &meta, &from, &message);
            None
        } else {
            self.query_count += 1;
            self.handle_query(now, &meta, &from, &message, out)
        }
    }

    /// Returns where the responder runs whose messages come from the address `from`.
    pub(super) fn rival(&self, from: &IpAddr) -> Rival {
        let mut links = self.links.iter();
        match links.any(|link_state| link_state.link.has_address(from)) {
            true => Rival::ThisHost,
            false => Rival::OtherHost,
        }
    }

    /// Writes the next multicast message that is due to `out`. `None` if none is due.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Outgoing> {
        self.claim_host();
        if !self.is_settled() {
            // Until after the second announcement.
            self.claiming_until = later(now, 2 * ANNOUNCE_MS);
        }
        for link in 0..self.links.len() {
            let link_state = self.links.get_mut(link)?;
            let mut sent = link_state.send_probes(&self.zone, now, out);
            if sent.is_none() {
                let has_goodbye;
                (sent, has_goodbye) = link_state.send_multicast(&self.zone, now, out, false);
                if has_goodbye {
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

    /// Returns when the next message is due; [`Instant::NEVER`]: no message is due.
    pub fn poll_at(&self) -> Instant {
        let mut due = Instant::NEVER;
        for link_state in self.links.iter() {
            due = due.min(link_state.answers_at).min(link_state.probes_at);
        }
        due
    }

    /// Returns a name that has changed: renamed after a conflict, given up (an alias), or the name under which another responder on
    /// this host announces the host. Each change is returned once. Virtual machines left to other hosts are not returned: see
    /// [`Self::is_left`].
    pub fn pop_renamed(&mut self) -> Option<Renamed> {
        self.renamed.pop()
    }

    /// Returns true if a name is an alias, which is given up after a conflict instead of renamed.
    pub fn is_alias(&self, name: NameId) -> bool {
        self.zone.claim(name).rename_style == RenameStyle::Alias
    }

    /// Returns the first label of one of our names.
    pub fn label(&self, name: NameId) -> &[u8] {
        self.zone.names.label(name)
    }

    /// Returns true if probing has ended on all links and the host's announcer is known.
    pub fn is_settled(&self) -> bool {
        // The check whether another responder on this host still runs is not part of probing.
        let is_done = |link_state: &LinkState| {
            link_state.probes_at == Instant::NEVER || link_state.probes_at == self.ask_at
        };
        self.announcer != Announcer::Unknown && self.links.iter().all(is_done)
    }

    /// Returns true while the host is being claimed or announced.
    pub fn is_claiming(&self, now: Instant) -> bool {
        now < self.claiming_until || !self.is_settled()
    }

    /// Returns the host's name, as this responder claims it.
    pub const fn host(&self) -> NameId {
        self.zone.host
    }

    /// Sets the TTL (seconds) of the records of services; 0: as RFC 6762 section 10 recommends. Called before a link is up.
    pub const fn set_service_ttl(&mut self, secs: u32) {
        self.zone.service_ttl = secs;
    }

    /// Returns true after [`Self::exclude_host`].
    pub fn is_host_excluded(&self) -> bool {
        self.announcer == Announcer::Disabled
    }

    /// Returns the host's name as another responder on this host announces it, or `None` if no other responder does.
    pub fn other_host(&self) -> Option<NameId> {
        (self.announcer == Announcer::Other).then_some(self.zone.service_host)
    }

    /// Returns all our unique names as text, except those of reverse mappings.
    #[cfg(test)]
    pub(super) fn own_names(&self) -> Vec<String> {
        let records = self.zone.records.iter();
        let ours = records.filter(|record| {
            record.kind == crate::wire::dns::kind::NSEC
                && self.zone.claim(record.name).rename_style != RenameStyle::Fixed
        });
        ours.map(|record| {
            let labels = self.zone.names.labels(record.name);
            let labels = labels.map(|label| String::from_utf8_lossy(label.bytes).into_owned());
            labels.collect::<Vec<_>>().join(".")
        })
        .collect()
    }
}
