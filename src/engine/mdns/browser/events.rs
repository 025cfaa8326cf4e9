//! Events for the caller. They are not queued: a pass over cache and lookups finds what has not been reported yet.

use super::super::{LinkId, NameId, Names};
use super::cache::{ANY_LINK, Cache};
use super::entry::{CacheEntry, Role, record_flag};
use super::{ANSWER_TIMEOUT, Browser, Goal, IDLE, SETTLE};
use crate::time::{Duration, Instant};
use crate::wire::dns::{Rank, choose, kind};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kind of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// A service type was found.
    Type,
    /// A service was found.
    Added,
    /// A service is gone.
    Removed,
    /// Host, address, port and TXT of a service are known.
    Resolved,
    /// Host, address, port or TXT of a resolved service changed.
    Changed,
    /// The SRV record of a resolved service expired. If it is received again, `Resolved` follows.
    Lost,
    /// A service was not resolved in time.
    Unresolved,
    /// An address of the host, or the name of the address, was found.
    Found,
    /// A response denied that the host has an address, or the address a name.
    Absent,
    /// The host or address lookup was not answered in time.
    TimedOut,
    /// Every host should have answered the search by now.
    AllForNow,
}

/// An event and its data. Fields that do not apply are empty.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Kind of the event.
    pub kind: EventKind,
    /// Link on which the records were received.
    pub link: LinkId,
    /// True if the record was received over IPv6, false for IPv4.
    pub is_v6: bool,
    /// True if the record was received from this host.
    pub is_own: bool,
    /// The service, type, host or reverse name. The type of a service is the rest of its name after the first label.
    pub name: NameId,
    /// Host of the service, or the host that has the address.
    pub host: NameId,
    /// An address of the host, if possible of the address family that `is_v6` selects.
    pub address: Option<IpAddr>,
    /// Port of the service.
    pub port: u16,
    /// `Removed`: true if the service was resolved.
    pub was_resolved: bool,
    /// `Removed`: true if a goodbye or a cache flush removed the service, false if it expired.
    pub has_goodbye: bool,
    /// Rdata of the TXT record; a single zero byte if the service has none.
    pub txt: &'a [u8],
    cache: &'a Cache,
}

impl<'a> Event<'a> {
    /// Returns the table of names that has the event's [`NameId`]s.
    pub const fn names(&self) -> &'a Names {
        &self.cache.names
    }

    /// Returns true if the event's name is `name` or the target of its CNAME records.
    pub fn matches_name(&self, name: NameId) -> bool {
        name == self.name || self.cache.canonical(name, self.link) == self.name
    }

    /// Iterates over the known addresses of the host on all links, with the link of each.
    pub fn addresses(&self) -> impl Iterator<Item = (LinkId, IpAddr)> + use<'a> {
        self.cache.addresses(ANY_LINK, self.host)
    }
}

/// Time from the arrival of a service's record to its event, if the service is reported once: the records of the other links and
/// families arrive in it.
const MERGE_TIME: Duration = Duration::SECOND;
/// Rdata of a TXT record for a service without one. RFC 6763 section 6.1.
const NO_TEXT: &[u8] = &[0];

impl Cache {
    /// Iterates over the valid addresses of a host on a link, or on [`ANY_LINK`], with the link of each.
    fn addresses(
        &self,
        link: LinkId,
        host: NameId,
    ) -> impl Iterator<Item = (LinkId, IpAddr)> + use<'_> {
        let host = self.canonical(host, link);
        let held = self.chain_of(host, NameId::ROOT, link);
        let held = held.filter(|(_, entry)| entry.is_valid(self.now));
        held.filter_map(|(_, entry)| Some((entry.link, self.address(entry)?)))
    }

    /// Returns true if the service has an SRV record that has not expired. The record may be about to expire after a goodbye or a
    /// cache flush.
    fn has_server(&self, service: &CacheEntry) -> bool {
        let mut all = self.chain_of(service.target, NameId::ROOT, service.link);
        all.any(|(_, entry)| entry.kind == kind::SRV && entry.is_live(self.now))
    }

    /// Returns the address in an A or AAAA record.
    fn address(&self, entry: &CacheEntry) -> Option<IpAddr> {
        let rdata = self.rdata(entry);
        match entry.kind {
            kind::A => Some(Ipv4Addr::from(*rdata.first_chunk()?).into()),
            kind::AAAA => Some(Ipv6Addr::from(*rdata.first_chunk()?).into()),
            _ => None,
        }
    }

    /// Returns the priority and weight of an SRV record, and its port.
    fn rank(&self, entry: &CacheEntry) -> Option<(Rank, u16)> {
        let [p0, p1, w0, w1, o0, o1] = *self.rdata(entry).first_chunk()?;
        let word = |high, low| u16::from_be_bytes([high, low]);
        Some(((word(p0, p1), word(w0, w1)), word(o0, o1)))
    }
}

/// Returns the bit of a flag that exists per address family: `flag` for IPv4, the next higher bit for IPv6.
const fn family_bit(flag: u16, is_v6: bool) -> u16 {
    if is_v6 { flag << 1 } else { flag }
}

/// Returns the first address family for which flag `has` is set and flag `lacks` is not: false for IPv4, true for IPv6.
fn first_family(flags: u16, has: u16, lacks: u16) -> Option<bool> {
    let is_match =
        |is_v6| flags & family_bit(has, is_v6) != 0 && flags & family_bit(lacks, is_v6) == 0;
    [false, true].iter().copied().find(|is_v6| is_match(*is_v6))
}

/// Adds bytes to an FNV-1 hash.
#[inline(never)] // −31 bytes: three callers.
fn extend_hash(hash: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(hash, |hash, byte| {
        hash.wrapping_mul(0x0100_0193) ^ u32::from(*byte)
    })
}

/// Data of a resolved service.
#[derive(Clone, Copy, Debug)]
struct Resolution<'a> {
    host: NameId,
    port: u16,
    txt: &'a [u8],
    address: IpAddr,
    /// Hash of the SRV, TXT and address records. If it changes, `Changed` is reported. Never 0.
    hash: u32,
}

impl Browser {
    /// Selects an SRV record of the service that a PTR record points to. RFC 2782.
    pub(super) fn server(&self, entry: &CacheEntry) -> Option<&CacheEntry> {
        let cache = &self.cache;
        let mut servers = cache.valid_of_kind(entry.target, entry.link, kind::SRV);
        let mut left = servers.clone();
        let mut ranks = || Some(cache.rank(left.next()?.1)?.0);
        // The service is the seed: each service always gets the same host, and different services get different hosts.
        let random = (entry.target.index() as u32).wrapping_mul(0x9e37_79b9);
        let chosen = choose(&mut ranks, random)?;
        let (_, server) = servers.nth(chosen)?;
        Some(server)
    }

    /// Returns the data of a service that is resolved; `None` while a record is missing.
    fn resolution(&self, entry: &CacheEntry, is_v6: bool) -> Option<Resolution<'_>> {
        let cache = &self.cache;
        let server = self.server(entry)?;
        let mut texts = cache.valid_of_kind(entry.target, entry.link, kind::TXT);
        let txt = match texts.next() {
            Some((_, text)) => cache.rdata(text),
            None => {
                cache.denial(entry.target, entry.link, kind::TXT)?;
                NO_TEXT
            }
        };
        // Prefer the family of `is_v6`, then an address that is not link-local (which would need a scope). Among equals the
        // oldest record wins, which comes last.
        let (mut address, mut best) = (None, 0);
        for (_, other) in cache.addresses(entry.link, server.target) {
            let is_local = matches!(other, IpAddr::V6(other) if other.is_unicast_link_local());
            let rank = u8::from(other.is_ipv6() == is_v6) << 1 | u8::from(!is_local);
            if rank >= best {
                (address, best) = (Some(other), rank);
            }
        }
        let address = address?;
        let hash = extend_hash(server.target.index() as u32, cache.rdata(server));
        let hash = extend_hash(hash, txt);
        let hash = match address {
            IpAddr::V4(address) => extend_hash(hash, &address.octets()),
            IpAddr::V6(address) => extend_hash(hash, &address.octets()),
        };
        Some(Resolution {
            host: server.target,
            port: cache.rank(server)?.1,
            txt,
            address,
            hash: hash.max(1),
        })
    }

    /// Returns the next event. The caller calls it until it returns `None`.
    pub fn next_event(&mut self, now: Instant) -> Option<Event<'_>> {
        self.cache.now = now;
        if self.event_cursor == IDLE {
            self.advance(now);
        }
        while self.event_cursor != IDLE {
            let index = self.event_cursor;
            let lookup = index.checked_sub(self.cache.entries.len());
            let found = match lookup {
                None => self
                    .record_event(now, index)
                    .map(|(event_kind, is_v6)| (event_kind, is_v6, index)),
                Some(lookup) => {
                    if lookup >= self.lookups.len() {
                        self.event_cursor = IDLE;
                        self.use_freed_space();
                        break;
                    }
                    self.lookup_event(now, lookup)
                        .map(|event_kind| (event_kind, false, IDLE))
                }
            };
            if let Some((event_kind, is_v6, of)) = found {
                return Some(self.event(event_kind, is_v6, of, lookup));
            }
            self.event_cursor = index + 1;
        }
        None
    }

    /// Returns the next event that a record causes, and true if the event is for IPv6, false for IPv4. Marks the event as reported.
    fn record_event(&mut self, now: Instant, index: usize) -> Option<(EventKind, bool)> {
        let entry = *self.cache.entries.get(index)?;
        let (mut flags, mut reported) = (entry.flags, entry.reported);
        let event_kind = 'event_kind: {
            if entry.is(record_flag::GONE) {
                let Some(is_v6) = first_family(flags, record_flag::REPORTED, 0) else {
                    self.cache.remove(index);
                    return None;
                };
                flags &= !family_bit(record_flag::REPORTED, is_v6);
                if self.reports_once {
                    // Another link may have the service.
                    self.settle_at = now.after(SETTLE);
                }
                break 'event_kind (EventKind::Removed, is_v6);
            }
            if !entry.is_live(now) {
                return None;
            }
            let new = match entry.role {
                Role::Service => EventKind::Added,
                Role::Nothing => return None,
                _ if entry.is_reported() => return None,
                Role::Type => EventKind::Type,
                Role::Answer => EventKind::Found,
            };
            if let Some(is_v6) = first_family(flags, record_flag::SEEN, record_flag::REPORTED)
                && !(self.reports_once && entry.is_reported())
            {
                if self.reports_once && !self.is_chosen(now, &entry) {
                    return None;
                }
                flags |= family_bit(record_flag::REPORTED, is_v6);
                break 'event_kind (new, is_v6);
            }
            if !entry.is(record_flag::RESOLVES) {
                return None;
            }
            self.resolution_event(now, &entry, &mut flags, &mut reported)?
        };
        if matches!(
            event_kind.0,
            EventKind::Type | EventKind::Added | EventKind::Resolved
        ) {
            self.last_found_at = now;
        }
        let entry = self.cache.entries.get_mut(index)?;
        (entry.flags, entry.reported) = (flags, reported);
        Some(event_kind)
    }

    /// Returns the next event about the data of a reported service: known, changed, expired, or not found in time. `flags` and
    /// `reported` are those of the record; marks the event as reported there.
    fn resolution_event(
        &mut self,
        now: Instant,
        entry: &CacheEntry,
        flags: &mut u16,
        reported: &mut [u32; 2],
    ) -> Option<(EventKind, bool)> {
        // Check each family separately: only one of them may have changed.
        for (&is_v6, reported) in [false, true].iter().zip(reported) {
            if *flags & family_bit(record_flag::REPORTED, is_v6) == 0 {
                continue;
            }
            let tried = family_bit(record_flag::TRIED, is_v6);
            let Some(resolution) = self.resolution(entry, is_v6) else {
                if *flags & tried == 0 {
                    let fails_at = self.last_found_at.after(ANSWER_TIMEOUT);
                    if fails_at <= now {
                        *flags |= tried;
                        return Some((EventKind::Unresolved, is_v6));
                    }
                    self.report_at = self.report_at.min(fails_at);
                }
                // `Lost` is not reported while a goodbye removes the service or a cache flush replaces its SRV record.
                let is_there = entry.is(record_flag::ENDING) || self.cache.has_server(entry);
                if !is_there && core::mem::take(reported) != 0 {
                    if self.reports_once {
                        // Another link may have the service.
                        *flags &=
                            !(record_flag::BOTH * (record_flag::REPORTED | record_flag::TRIED));
                        self.settle_at = now.after(SETTLE);
                    }
                    return Some((EventKind::Lost, is_v6));
                }
                continue;
            };
            *flags |= tried;
            let before = core::mem::replace(reported, resolution.hash);
            if before != resolution.hash {
                let event_kind = match before {
                    0 => EventKind::Resolved,
                    _ => EventKind::Changed,
                };
                return Some((event_kind, is_v6));
            }
        }
        None
    }

    /// With [`Browser::reports_once`]: returns true if this record's link is to report the service. No other link has reported it for
    /// the same host, its data is known if it is to be resolved, and the records of the other links had [`MERGE_TIME`] to arrive.
    fn is_chosen(&mut self, now: Instant, entry: &CacheEntry) -> bool {
        let host_of = |entry: &CacheEntry| {
            let resolution = self.resolution(entry, false);
            resolution.map(|resolution| resolution.host)
        };
        let resolves = entry.is(record_flag::RESOLVES);
        let host = host_of(entry).filter(|_| resolves);
        let is_same = |other| !resolves || host_of(other).is_none_or(|other| Some(other) == host);
        let mut all = self.cache.chain_of(entry.name, entry.target, ANY_LINK);
        if !entry.is_valid(now) || all.any(|(_, other)| other.is_reported() && is_same(other)) {
            return false;
        }
        let is_known = host.is_some() || !resolves;
        let waits_until = if is_known {
            entry.received.after(MERGE_TIME)
        } else {
            self.last_found_at.after(ANSWER_TIMEOUT)
        };
        if waits_until <= now {
            return is_known;
        }
        self.report_at = self.report_at.min(waits_until);
        false
    }

    /// Returns the final event of a lookup and marks the lookup as done. `None` if the event is not due or the lookup was answered.
    #[inline(never)] // −128 bytes: one caller, whose frame stays small.
    fn lookup_event(&mut self, now: Instant, index: usize) -> Option<EventKind> {
        let lookup = *self.lookups.get(index)?;
        if lookup.is_done {
            return None;
        }
        let is_over = lookup.deadline <= now;
        let event_kind = match lookup.goal {
            Goal::Host | Goal::Address => {
                let is_answered = self.cache.entries.iter().any(|entry| {
                    entry.role == Role::Answer
                        && entry.is_reported()
                        && entry.is_live(now)
                        && self.cache.canonical(lookup.name, entry.link) == entry.name
                });
                let cache = &self.cache;
                let denies_on = |link: LinkId| {
                    let denies = |kind| {
                        let name = cache.canonical(lookup.name, link);
                        cache.denial(name, link, kind).is_some()
                    };
                    match lookup.goal {
                        Goal::Host => [(1, kind::A), (2, kind::AAAA)]
                            .iter()
                            .all(|(bit, kind)| lookup.families & bit == 0 || denies(*kind)),
                        _ => denies(kind::PTR),
                    }
                };
                // A denial holds for its link alone (RFC 6762 section 14): the host may have the record on another.
                let links = || self.up_links(lookup.links);
                let denials = links().filter(|link| denies_on(*link)).count();
                let is_denied = denials > 0 && (is_over || denials == links().count());
                if is_answered {
                    None
                } else if is_denied {
                    Some(EventKind::Absent)
                } else if is_over {
                    Some(EventKind::TimedOut)
                } else {
                    return None;
                }
            }
            goal if is_over || self.quiet_at(goal) <= now => Some(EventKind::AllForNow),
            _ => return None,
        };
        self.lookups.get_mut(index)?.is_done = true;
        event_kind
    }

    /// Builds the event of the cached record at `index`. If `lookup` is set, builds the event of that lookup instead.
    #[inline(never)] // −221 bytes: two callers.
    fn event(
        &self,
        event_kind: EventKind,
        is_v6: bool,
        index: usize,
        lookup: Option<usize>,
    ) -> Event<'_> {
        let cache = &self.cache;
        let lookup = lookup.and_then(|lookup| self.lookups.get(lookup));
        let mut event = Event {
            kind: event_kind,
            link: 0,
            is_v6,
            is_own: false,
            name: lookup.map_or(NameId::ROOT, |lookup| lookup.name),
            host: NameId::ROOT,
            address: None,
            port: 0,
            was_resolved: false,
            has_goodbye: false,
            txt: &[],
            cache,
        };
        let Some(entry) = cache.entries.get(index) else {
            return event;
        };
        event.link = entry.link;
        event.is_own = entry.is(record_flag::OWN);
        event.has_goodbye = entry.is(record_flag::ENDING);
        event.was_resolved = entry
            .reported
            .get(usize::from(is_v6))
            .is_some_and(|reported| *reported != 0);
        (event.name, event.host) = match event_kind {
            EventKind::Found if entry.kind == kind::PTR => (entry.name, entry.target),
            EventKind::Found => (entry.name, entry.name),
            _ => (entry.target, NameId::ROOT),
        };
        event.address = cache.address(entry);
        if matches!(event_kind, EventKind::Resolved | EventKind::Changed)
            && let Some(resolution) = self.resolution(entry, is_v6)
        {
            (event.host, event.port, event.txt) =
                (resolution.host, resolution.port, resolution.txt);
            event.address = Some(resolution.address);
        }
        event
    }
}
