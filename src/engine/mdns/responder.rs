//! The responder: it claims names, announces their records, answers, defends, and says goodbye. RFC 6762 sections 5 to 10.
//!
//! For each link it keeps what was multicast when, and what is due. A name is probed for on each link by itself; a name that is
//! lost on one link is given up on all.

use super::link::{ADDRESS_BYTES_MAX, LINK_COUNT_MAX, Link, LinkId, octets};
use super::names::NameId;
use super::on_link::OnLink;
use super::service_records::Service;
use super::truncated::TruncatedQueries;
use super::zone::{Full, RenameStyle, Zone};
use super::{Limits, Meta, Random, Transmit};
use crate::time::Instant;
use crate::wire::dns::{Message, Name, REVERSE_BYTES_MAX, reverse};
use core::net::IpAddr;

/// Before the first probe: a random delay below this, so that hosts that were switched on together do not all probe at once.
/// RFC 6762 section 8.1.
pub(super) const PROBE_JITTER_MS: u32 = 250;
/// Conflicts of which the times are kept.
pub(super) const CONFLICT_COUNT: usize = 15;

/// The responder.
#[derive(Debug)]
#[repr(C)] // What is used most first, the longest last.
pub struct Responder {
    pub(super) zone: Zone,
    pub(super) random: Random,
    /// Until when attempts wait.
    pub(super) rate_limited_until: Instant,
    /// The last name that was changed, until the caller asks.
    pub(super) renamed: Option<NameId>,
    pub(super) is_stopping: bool,
    /// The host's address, if it is not on all links what we have there; and whether it leads back to the host.
    elsewhere: Option<(IpAddr, bool)>,
    /// When the last conflicts were, the oldest first.
    pub(super) conflicts: [Instant; CONFLICT_COUNT],
    pub(super) truncated_queries: TruncatedQueries,
    pub(super) links: [OnLink; LINK_COUNT_MAX],
}

impl Responder {
    /// A responder that has nothing to say yet.
    pub fn new(limits: Limits, entropy: &[u8; 16]) -> Self {
        let mut random = Random::new(entropy);
        Self {
            zone: Zone::new(&limits, random.ms(0, u32::MAX)),
            links: core::array::from_fn(OnLink::new),
            truncated_queries: TruncatedQueries::NONE,
            random,
            conflicts: [Instant::NEVER; CONFLICT_COUNT],
            rate_limited_until: Instant::default(),
            renamed: None,
            elsewhere: None,
            is_stopping: false,
        }
    }

    /// What the host is called: one label. To be told first.
    pub fn set_host(&mut self, label: &[u8]) -> Result<(), Full> {
        let zone = &mut self.zone;
        let host = zone.claim_name(zone.local, label, RenameStyle::Host);
        zone.host = host.ok_or(Full)?;
        zone.add_denial_of_host().ok_or(Full)
    }

    /// The host has this address and no other, wherever that is; `reverses`: a PTR record leads from it to the host. To be
    /// told before there are links.
    pub const fn set_address(&mut self, address: IpAddr, reverses: bool) {
        self.elsewhere = Some((address, reverses));
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
        let was = core::mem::replace(&mut on.link, link.clone());
        let bit = on.bit;
        for (address, _) in &was.addresses {
            if !link.has(address) {
                self.remove_address(bit, address, now);
            }
        }
        match self.elsewhere {
            Some((address, reverses)) => self.zone.add_address(bit, &address, reverses),
            None => link
                .addresses
                .iter()
                .try_for_each(|(address, _)| self.zone.add_address(bit, address, true)),
        }
        .ok_or(Full)?;
        let ms = self.random.ms(0, PROBE_JITTER_MS);
        let Some(on) = self.links.get_mut(usize::from(id)) else {
            return Err(Full);
        };
        if !link.is_up() {
            on.forget(&mut self.zone);
        }
        for record in self.zone.records.iter() {
            if record.is_on(bit) && record.is_unique && !record.is_goodbye {
                on.reprobe(&self.zone, record.name, now, ms);
            }
        }
        Ok(())
    }

    /// An address has left a link.
    fn remove_address(&mut self, links: u8, address: &IpAddr, now: Instant) {
        let mut buffer = [0; REVERSE_BYTES_MAX];
        reverse(*address, &mut buffer);
        let reverse = self.zone.names.find(Name::of(&buffer));
        let mut buffer = [0; ADDRESS_BYTES_MAX];
        let text = octets(address, &mut buffer);
        for id in 0..self.zone.records.len() {
            let Some(record) = self.zone.records.get(id) else {
                return;
            };
            if record.links == links
                && (reverse == Some(record.name) || self.zone.text(record) == text)
            {
                self.withdraw(id, now);
            }
        }
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
        if message.is_response()? {
            self.response(now, &meta, &from, &message);
            None
        } else {
            self.query(now, &meta, &from, &message, out)
        }
    }

    /// What is to be sent to a link now, if there is anything.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut [u8]) -> Option<Transmit> {
        for link in 0..LINK_COUNT_MAX {
            let on = self.links.get_mut(link)?;
            let mut sent = on.send_probes(&self.zone, now, out);
            if sent.is_none() {
                let (len, are_gone) = on.send_multicast(&self.zone, now, out, false);
                sent = len;
                if are_gone {
                    self.remove_withdrawn();
                }
            }
            if let Some(len) = sent {
                return Some(Transmit {
                    link: link as LinkId,
                    len,
                });
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

    /// The last name that others had, and that was changed; told once.
    pub fn renamed(&mut self) -> Option<NameId> {
        self.renamed.take()
    }

    /// The first label of a name of ours.
    pub fn label(&self, name: NameId) -> &[u8] {
        self.zone.names.label(name)
    }

    /// Whether all names are ours wherever there is a link.
    pub fn is_settled(&self) -> bool {
        self.links.iter().all(|on| on.probes_at == Instant::NEVER)
    }

    /// The name of the host.
    pub const fn host(&self) -> NameId {
        self.zone.host
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
