//! What the caller is told. Nothing waits in a queue: a pass over what is known finds what was not told yet.

use super::super::{LinkId, NameId, Names};
use super::cache::Cache;
use super::entry::{Entry, Role, is};
use super::{ANSWER, Browser, Goal, IDLE};
use crate::time::Instant;
use crate::wire::dns::{Rank, choose, kind};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// There is a type of services.
    Type,
    /// There is a service.
    Added,
    /// It is gone.
    Removed,
    /// Its host, an address, its port and its text are known.
    Resolved,
    /// What was told of it when it was resolved has changed.
    Changed,
    /// It was resolved, and its SRV record has expired: its host is gone. If that comes back, it is resolved again.
    Lost,
    /// It was not resolved in time.
    Unresolved,
    /// A host has an address, or an address a name.
    Found,
    /// It has none: that was said.
    Absent,
    /// There was no answer in time.
    TimedOut,
    /// Every host should have answered by now.
    AllForNow,
}

/// What happened, and of what.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// What happened.
    pub what: What,
    /// Where.
    pub link: LinkId,
    /// By which family it was heard.
    pub is_v6: bool,
    /// It is our own.
    pub is_own: bool,
    /// Of the service, type or host, or the name in reverse of an address. The type of a service is what follows its first
    /// label.
    pub name: NameId,
    /// Where the service is, or which host has the address.
    pub host: NameId,
    /// Of the host: of the family in which it was heard, if there is one.
    pub address: Option<IpAddr>,
    /// Where it listens.
    pub port: u16,
    /// Of a service that is gone: it was resolved until now.
    pub was_resolved: bool,
    /// Of a service that is gone: it was said so.
    pub is_farewell: bool,
    /// The rdata of its TXT record; a single zero where there is none.
    pub txt: &'a [u8],
    cache: &'a Cache,
}

impl<'a> Event<'a> {
    /// The names.
    pub const fn names(&self) -> &'a Names {
        &self.cache.names
    }

    /// Whether it is of this name, or of what that stands for.
    pub fn is_of(&self, name: NameId) -> bool {
        name == self.name || self.cache.canonical(name, self.link) == self.name
    }

    /// All addresses of the host.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'a> {
        self.cache.addresses(self.link, self.host)
    }
}

/// What a TXT record says that is not there. RFC 6763 section 6.1.
const NO_TEXT: &[u8] = &[0];

impl Cache {
    /// The addresses of a host on a link.
    fn addresses(&self, link: LinkId, host: NameId) -> impl Iterator<Item = IpAddr> + use<'_> {
        let host = self.canonical(host, link);
        let held = self.all_of(host, NameId::ROOT, link);
        let held = held.filter(|(_, entry)| entry.holds(self.now));
        held.filter_map(|(_, entry)| self.address(entry))
    }

    /// Whether there is an SRV record of a service, be it one that ends.
    #[inline(never)]
    fn has_server(&self, service: &Entry) -> bool {
        let mut all = self.all_of(service.target, NameId::ROOT, service.link);
        all.any(|(_, entry)| entry.kind == kind::SRV && entry.lives(self.now))
    }

    /// The address in a record.
    fn address(&self, entry: &Entry) -> Option<IpAddr> {
        let rdata = self.rdata(entry);
        match entry.kind {
            kind::A => Some(Ipv4Addr::from(*rdata.first_chunk()?).into()),
            kind::AAAA => Some(Ipv6Addr::from(*rdata.first_chunk()?).into()),
            _ => None,
        }
    }

    /// Priority and weight of an SRV record, and its port.
    fn rank(&self, entry: &Entry) -> Option<(Rank, u16)> {
        let [p0, p1, w0, w1, o0, o1] = *self.rdata(entry).first_chunk()?;
        let word = |high, low| u16::from_be_bytes([high, low]);
        Some(((word(p0, p1), word(w0, w1)), word(o0, o1)))
    }
}

/// The bit of a fact that stands for a family.
const fn of(fact: u16, is_v6: bool) -> u16 {
    if is_v6 { fact << 1 } else { fact }
}

/// The first family that has one fact, and not another.
fn first(facts: u16, has: u16, lacks: u16) -> Option<bool> {
    let is_it = |is_v6| facts & of(has, is_v6) != 0 && facts & of(lacks, is_v6) == 0;
    [false, true].iter().copied().find(|is_v6| is_it(*is_v6))
}

/// Adds bytes to what stands for those before them. FNV-1.
#[inline(never)]
fn add(sum: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(sum, |sum, byte| {
        sum.wrapping_mul(0x0100_0193) ^ u32::from(*byte)
    })
}

/// What is known of a service.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    host: NameId,
    port: u16,
    txt: &'a [u8],
    address: IpAddr,
    /// Stands for what is told as changed if it changes; never 0.
    sum: u32,
}

impl Browser {
    /// The SRV record to be used of a service that a PTR record leads to.
    pub(super) fn server(&self, entry: &Entry) -> Option<&Entry> {
        let cache = &self.cache;
        let mut servers = cache.of_kind(entry.target, entry.link, kind::SRV);
        let mut left = servers.clone();
        let mut ranks = || Some(cache.rank(left.next()?.1)?.0);
        // Always the same for one service, and not for all.
        let random = (entry.target.place() as u32).wrapping_mul(0x9e37_79b9);
        let chosen = choose(&mut ranks, random)?;
        let (_, server) = servers.nth(chosen)?;
        Some(server)
    }

    /// What is known of a service, once that is all that is wanted.
    fn place(&self, entry: &Entry, is_v6: bool) -> Option<Place<'_>> {
        let cache = &self.cache;
        let server = self.server(entry)?;
        let mut texts = cache.of_kind(entry.target, entry.link, kind::TXT);
        let txt = match texts.next() {
            Some((_, text)) => cache.rdata(text),
            None => {
                cache.denial(entry.target, entry.link, kind::TXT)?;
                NO_TEXT
            }
        };
        // One of the family, and one that says by itself where it is. Among equals that which came first.
        let (mut address, mut best) = (None, 0);
        for other in cache.addresses(entry.link, server.target) {
            let is_local = matches!(other, IpAddr::V6(other) if other.is_unicast_link_local());
            let rank = u8::from(other.is_ipv6() == is_v6) << 1 | u8::from(!is_local);
            if rank >= best {
                (address, best) = (Some(other), rank);
            }
        }
        let address = address?;
        let sum = add(server.target.place() as u32, cache.rdata(server));
        let sum = add(sum, txt);
        let sum = match address {
            IpAddr::V4(address) => add(sum, &address.octets()),
            IpAddr::V6(address) => add(sum, &address.octets()),
        };
        Some(Place {
            host: server.target,
            port: cache.rank(server)?.1,
            txt,
            address,
            sum: sum.max(1),
        })
    }

    /// The next that is to be told. To be called until there is none.
    pub fn next_event(&mut self, now: Instant) -> Option<Event<'_>> {
        self.cache.now = now;
        if self.event_cursor == IDLE {
            self.advance(now);
        }
        while self.event_cursor != IDLE {
            let at = self.event_cursor;
            let wish = at.checked_sub(self.cache.entries.len());
            let told = match wish {
                None => self
                    .record_event(now, at)
                    .map(|(what, is_v6)| (what, is_v6, at)),
                Some(wish) => {
                    if wish >= self.wishes.len() {
                        self.event_cursor = IDLE;
                        break;
                    }
                    self.wish_event(now, wish).map(|what| (what, false, IDLE))
                }
            };
            if let Some((what, is_v6, of)) = told {
                return Some(self.event(what, is_v6, of, wish));
            }
            self.event_cursor = at + 1;
        }
        None
    }

    /// What is to be told of a record, and by which family it was heard.
    #[inline(never)]
    fn record_event(&mut self, now: Instant, at: usize) -> Option<(What, bool)> {
        let entry = *self.cache.entries.get(at)?;
        let (mut facts, mut reported) = (entry.facts, entry.reported);
        let what = 'what: {
            if entry.is(is::GONE) {
                let Some(is_v6) = first(facts, is::REPORTED, 0) else {
                    self.cache.remove(at);
                    return None;
                };
                facts &= !of(is::REPORTED, is_v6);
                break 'what (What::Removed, is_v6);
            }
            if !entry.lives(now) {
                return None;
            }
            let new = match entry.role {
                Role::Service => What::Added,
                Role::Nothing => return None,
                _ if entry.is_reported() => return None,
                Role::Type => What::Type,
                Role::Answer => What::Found,
            };
            if let Some(is_v6) = first(facts, is::SEEN, is::REPORTED) {
                facts |= of(is::REPORTED, is_v6);
                break 'what (new, is_v6);
            }
            if !entry.is(is::RESOLVES) {
                return None;
            }
            // Each family by itself: what is news in one need not be in the other.
            for (&is_v6, reported) in [false, true].iter().zip(&mut reported) {
                if facts & of(is::REPORTED, is_v6) == 0 {
                    continue;
                }
                let tried = of(is::TRIED, is_v6);
                let Some(place) = self.place(&entry, is_v6) else {
                    if facts & tried == 0 {
                        if self.news_at.after(ANSWER) <= now {
                            facts |= tried;
                            break 'what (What::Unresolved, is_v6);
                        }
                        self.is_resolving = true;
                    }
                    // What is only being exchanged for something else is still there.
                    let is_there = entry.is(is::ENDING) || self.cache.has_server(&entry);
                    if !is_there && core::mem::take(reported) != 0 {
                        break 'what (What::Lost, is_v6);
                    }
                    continue;
                };
                facts |= tried;
                let before = core::mem::replace(reported, place.sum);
                if before != place.sum {
                    let is_first = before == 0;
                    break 'what (
                        if is_first {
                            What::Resolved
                        } else {
                            What::Changed
                        },
                        is_v6,
                    );
                }
            }
            return None;
        };
        if matches!(what.0, What::Type | What::Added | What::Resolved) {
            self.news_at = now;
        }
        let entry = self.cache.entries.get_mut(at)?;
        (entry.facts, entry.reported) = (facts, reported);
        Some(what)
    }

    /// What is to be told of a wish.
    #[inline(never)]
    fn wish_event(&mut self, now: Instant, at: usize) -> Option<What> {
        let wish = *self.wishes.get(at)?;
        if wish.is_done {
            return None;
        }
        let is_over = wish.deadline <= now;
        let what = match wish.goal {
            Goal::Host | Goal::Address => {
                let mut links = self.reached(wish.links);
                let is_answered = self.cache.entries.iter().any(|entry| {
                    entry.role == Role::Answer
                        && entry.is_reported()
                        && entry.lives(now)
                        && self.cache.canonical(wish.name, entry.link) == entry.name
                });
                let cache = &self.cache;
                if is_answered {
                    None
                } else if links.any(|link| {
                    let denies = |kind| {
                        let name = cache.canonical(wish.name, link);
                        cache.denial(name, link, kind).is_some()
                    };
                    match wish.goal {
                        Goal::Host => [(1, kind::A), (2, kind::AAAA)]
                            .iter()
                            .all(|(bit, kind)| wish.families & bit == 0 || denies(*kind)),
                        _ => denies(kind::PTR),
                    }
                }) {
                    Some(What::Absent)
                } else if is_over {
                    Some(What::TimedOut)
                } else {
                    return None;
                }
            }
            goal if is_over || self.quiet_at(goal) <= now => Some(What::AllForNow),
            _ => return None,
        };
        self.wishes.get_mut(at)?.is_done = true;
        what
    }

    /// An event of a record, or of a wish.
    #[inline(never)]
    fn event(&self, what: What, is_v6: bool, at: usize, wish: Option<usize>) -> Event<'_> {
        let cache = &self.cache;
        let wish = wish.and_then(|wish| self.wishes.get(wish));
        let mut event = Event {
            what,
            link: 0,
            is_v6,
            is_own: false,
            name: wish.map_or(NameId::ROOT, |wish| wish.name),
            host: NameId::ROOT,
            address: None,
            port: 0,
            was_resolved: false,
            is_farewell: false,
            txt: &[],
            cache,
        };
        let Some(entry) = cache.entries.get(at) else {
            return event;
        };
        event.link = entry.link;
        event.is_own = entry.is(is::OWN);
        event.is_farewell = entry.is(is::ENDING);
        event.was_resolved = entry
            .reported
            .get(usize::from(is_v6))
            .is_some_and(|reported| *reported != 0);
        (event.name, event.host) = match what {
            What::Found if entry.kind == kind::PTR => (entry.name, entry.target),
            What::Found => (entry.name, entry.name),
            _ => (entry.target, NameId::ROOT),
        };
        event.address = cache.address(entry);
        if matches!(what, What::Resolved | What::Changed)
            && let Some(place) = self.place(entry, is_v6)
        {
            (event.host, event.port, event.txt) = (place.host, place.port, place.txt);
            event.address = Some(place.address);
        }
        event
    }
}
