//! The mDNS browser: queries services, hosts and addresses, caches the responses of other hosts and reports events to its caller.
//! RFC 6762 sections 5, 7 and 10, RFC 6763.
//!
//! Questions and events are derived from the lookups and the cache. A change triggers one pass over both, 10 ms later at the
//! earliest, so that a flood of responses costs no more passes than a single one. Records that no lookup needs cause no wake-up.

mod cache;
mod chains;
mod entry;
mod events;
mod plan;
mod questions;
mod rdata;
mod sending;
#[cfg(test)]
pub(crate) mod tests;

pub use events::{Event, EventKind};

use super::{Destination, Link, LinkId, LinkSet, Meta, NameId, Random, link_count};
use crate::mem::Slots;
use crate::time::{Duration, Instant};
use crate::wire::dns::{Message, Name, PORT, Section};
use cache::{Cache, Reception};
use entry::record_flag;
use questions::{Question, Questions, question_flag};

/// Capacities of the browser's tables. Each count is below 65,535.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of cached records.
    pub records: usize,
    /// Number of labels of all names; a suffix that names share counts once.
    pub names: usize,
    /// Number of active questions: one per name, record type and link.
    pub questions: usize,
    /// Size (bytes) of the arena for rdata other than names, below 256 KiB.
    pub rdata_bytes: usize,
}

impl Limits {
    /// Sized for a network of more than 1000 services: each has at least four records and causes two questions (SRV and TXT).
    pub const DEFAULT: Self = Self {
        records: 8192,
        names: 4096,
        questions: 4096,
        rdata_bytes: 256 << 10,
    };
}

/// Goal of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// Find the instances of a service type or subtype.
    Services,
    /// Find the service types that PTR records of the name enumerate.
    Types,
    /// Find the service types, and the instances of each.
    Everything,
    /// Look up the addresses of a host.
    Host,
    /// Look up the host name of an address. The lookup's name is its reverse name (`in-addr.arpa` or `ip6.arpa`).
    Address,
}

/// A lookup that the caller requests; it runs until [`Browser::stop_lookup`].
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Goal of the lookup.
    pub goal: Goal,
    /// Service type, host or reverse name.
    pub name: Name<'a>,
    /// Links to query.
    pub links: LinkSet,
    /// True if services are resolved to host, addresses, port and TXT.
    pub resolves: bool,
    /// Address families of a host lookup: bit 0 IPv4, bit 1 IPv6.
    pub families: u8,
}

/// A lookup in the browser's table.
#[derive(Clone, Copy, Debug)]
struct ActiveLookup {
    goal: Goal,
    name: NameId,
    links: LinkSet,
    resolves: bool,
    families: u8,
    /// True once the lookup was answered, or its final event (`AllForNow`, `Absent` or `TimedOut`) was reported.
    is_done: bool,
    /// Latest time of the final event.
    deadline: Instant,
}

/// Maximum number of concurrent lookups.
pub const LOOKUP_COUNT_MAX: usize = 16;
/// Delay from the first change in the cache to the pass over it.
const SETTLE: Duration = Duration::from_ms(10);
/// Time without a new service after which `AllForNow` is reported. It includes the responses to the second query, which is sent up
/// to 1.12 s after the lookup starts: the first query may be lost, and a responder does not repeat a record that it multicast less
/// than 1 s before.
const QUIET: Duration = Duration::from_ms(1500);
/// Time after which `AllForNow` is reported even if new services are still being found.
const SEARCH_MAX: Duration = Duration::from_secs(30);
/// Time to wait for the answer to a host, address or service lookup. Same as avahi.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Number of questions in another host's query that are compared with the cache.
const OBSERVED_COUNT_MAX: usize = 8;
/// Value of [`Browser::event_cursor`] while no pass for events runs.
const IDLE: usize = usize::MAX;

/// The browser: cache, questions and lookups of all links.
#[derive(Debug)]
#[repr(C)] // Largest field last: small offsets make short instructions.
pub struct Browser {
    cache: Cache,
    /// The links that have been in use.
    links: Slots<Link>,
    /// Time at which the questions that the current [`Browser::plan`] adds are sent.
    due: Instant,
    /// Time of the next pass over lookups and cache.
    settle_at: Instant,
    /// Earliest time at which the questions of other hosts are compared with the cache.
    observe_at: Instant,
    /// Next index of the event pass: first all cache entries, then all lookups. [`IDLE`]: no pass runs.
    event_cursor: usize,
    /// True if each service of a host is reported on one link and in one address family only.
    pub reports_once: bool,
    /// True once [`Browser::take_overflow`] has returned true.
    has_told_overflow: bool,
    /// Time of the next event pass for records that the last one left to be reported later. [`Instant::NEVER`]: it left none.
    report_at: Instant,
    /// Time at which a type or service was last found or resolved.
    last_found_at: Instant,
    /// Link and cache index at which the known answers of a truncated query continue.
    sending: Option<(LinkId, usize)>,
    random: Random,
    questions: Questions,
    lookups: heapless::Vec<ActiveLookup, LOOKUP_COUNT_MAX>,
}

impl Browser {
    /// Creates a browser without links and with an empty cache.
    pub fn new(limits: &Limits, mut random: Random) -> Self {
        Self {
            cache: Cache::new(limits, random.ms(0, u32::MAX)),
            questions: Questions::new(limits.questions),
            lookups: heapless::Vec::new(),
            links: Slots::default(),
            random,
            due: Instant::NEVER,
            settle_at: Instant::NEVER,
            observe_at: Instant::default(),
            event_cursor: IDLE,
            reports_once: false,
            has_told_overflow: false,
            report_at: Instant::NEVER,
            last_found_at: Instant::default(),
            sending: None,
        }
    }

    /// Adds a lookup. Returns false if the table of lookups or of names is full. Results that two lookups share are reported once.
    pub fn start_lookup(&mut self, now: Instant, lookup: &Lookup<'_>) -> bool {
        self.cache.now = now;
        let Some(name) = self.cache.intern(lookup.name) else {
            return false;
        };
        let patience = match lookup.goal {
            Goal::Host | Goal::Address => ANSWER_TIMEOUT,
            _ => SEARCH_MAX,
        };
        let active = ActiveLookup {
            goal: lookup.goal,
            name,
            links: lookup.links,
            resolves: lookup.resolves,
            families: lookup.families,
            is_done: false,
            deadline: now.after(patience),
        };
        (self.settle_at, self.last_found_at) = (now, now);
        self.lookups.push(active).is_ok()
    }

    /// Removes all lookups for `name`.
    pub fn stop_lookup(&mut self, now: Instant, name: Name<'_>) {
        let Some(name) = self.cache.names.find(name) else {
            return;
        };
        let names = &mut self.cache.names;
        self.lookups.retain(|lookup| {
            let is_other = lookup.name != name;
            if !is_other {
                names.remove_use(name);
            }
            is_other
        });
        self.settle_at = now;
    }

    /// Stores the new state of a link. If the link is down, its records are removed.
    pub fn link_changed(&mut self, now: Instant, link: LinkId, state: &Link) {
        self.cache.now = now;
        let count = link_count();
        while self.links.len() <= usize::from(link)
            && self.links.push_up_to(count, Link::default()).is_some()
        {}
        let Some(known) = self.links.get_mut(usize::from(link)) else {
            return;
        };
        *known = state.clone();
        // The link may now reach other hosts.
        self.restart_questions(|of| of == link);
        for index in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(index) else {
                break;
            };
            if entry.link != link || !entry.is(record_flag::USED) {
                continue;
            }
            // Do not send records from before the change as known answers: in an address family that is new on the link, the known
            // answer would suppress the response.
            entry.flags |= record_flag::EARLIER;
            if !state.is_up() {
                self.cache.retire(index);
            }
        }
        self.settle_at = now;
    }

    /// Asks the questions of these links again, as often as new ones.
    fn restart_questions(&mut self, is_it: impl Fn(LinkId) -> bool) {
        let due = self.random_query_time();
        for question in self.questions.all.iter_mut() {
            if is_it(question.link) {
                question.restart(due);
            }
        }
    }

    /// Returns true once if services, or their data, are missing from the events because a table is full.
    pub fn take_overflow(&mut self) -> bool {
        let is_new = self.cache.full != 0 && !self.has_told_overflow;
        self.has_told_overflow |= is_new;
        is_new
    }

    /// After records were dropped: asks for them again as soon as there is space.
    fn use_freed_space(&mut self) {
        if self.cache.full != 0 && self.cache.has_space() {
            self.cache.full = 0;
            self.restart_questions(|_| true);
        }
    }

    /// Processes a received datagram.
    pub fn handle(&mut self, now: Instant, meta: &Meta, datagram: &[u8]) {
        self.cache.now = now;
        let Some(link) = self.links.get(usize::from(meta.link)) else {
            return;
        };
        let Ok(message) = Message::parse(datagram) else {
            return;
        };
        let from = meta.from.ip().to_canonical();
        if meta.from.port() != PORT || !link.is_up() {
            return;
        }
        let (is_near, is_own) = (link.is_on_link(from), link.is_own_address(from));
        let Some(is_response) = message.is_response() else {
            return;
        };
        let is_for_all =
            meta.cast == Destination::Multicast || (meta.cast == Destination::Unknown && is_near);
        if !is_response {
            // Skip our own queries, which multicast loops back.
            if is_for_all && !is_own {
                self.handle_questions(meta.link, &message);
            }
            return;
        }
        let is_accepted = is_for_all || (is_near && self.is_expected(meta.link, &message));
        if !is_accepted {
            return;
        }
        let mut flags = record_flag::SEEN;
        if from.is_ipv6() {
            flags <<= 1;
        }
        if is_own {
            flags |= record_flag::OWN;
        }
        let reception = Reception {
            link: meta.link,
            flags,
            jitter: self.random.ms(0, 20) as u8,
        };
        for record in message.records() {
            if record.section != Section::Authority && record.is_in_class() {
                self.cache.receive(&reception, &record);
            }
        }
        if core::mem::take(&mut self.cache.touched) {
            self.settle_at = self.settle_at.min(now.after(SETTLE));
        }
    }

    /// Returns true if a unicast response answers a question that asked for a unicast response within the last 2 s.
    fn is_expected(&self, link: LinkId, message: &Message<'_>) -> bool {
        message.records().any(|record| {
            let name = self.cache.names.find(record.name);
            record.section == Section::Answer
                && name
                    .is_some_and(|name| self.questions.accept_unicast(self.cache.now, name, link))
        })
    }

    /// Handles the questions of another host, which are multicast.
    ///
    /// Duplicate question suppression (RFC 6762 section 7.3): such a question counts as sent by us, unless the query lists a known
    /// answer that our cache does not have. Passive observation of failures (section 10.5): cached records that should have answered
    /// two such questions are reconfirmed.
    fn handle_questions(&mut self, link: LinkId, message: &Message<'_>) {
        // A truncated query does not count: the known answers in its next message may be unknown to our cache.
        if message.is_truncated() {
            return;
        }
        let now = self.cache.now;
        for record in message.records() {
            if record.section != Section::Answer {
                continue;
            }
            if let Some(entry) = self.cache.known_answer(link, &record) {
                // The other host has the record, so no response to this query is missing.
                entry.asked = now;
            } else if let Some(question) = self.own_question(link, record.name, record.kind) {
                question.flags |= question_flag::OTHERS;
            }
        }
        // One query in 10 ms is compared with the cache: a flood of queries must not cost a pass over the cache for each.
        let observed = if self.observe_at <= now {
            self.observe_at = now.after(SETTLE);
            OBSERVED_COUNT_MAX
        } else {
            0
        };
        for (index, asked) in message.questions().enumerate() {
            if asked.wants_unicast() || !asked.asks_in_class() {
                continue;
            }
            if let Some(question) = self.own_question(link, asked.name, asked.kind)
                && !question.is(question_flag::OTHERS)
            {
                question.count_query(now);
            }
            let Some(name) = self
                .cache
                .names
                .find(asked.name)
                .filter(|_| index < observed)
            else {
                continue;
            };
            for entry in self.cache.entries.iter_mut() {
                let of = (entry.name, entry.kind, entry.link);
                if of == (name, asked.kind, link) && entry.is_valid(now) {
                    entry.count_question(now);
                }
            }
        }
        for question in self.questions.all.iter_mut() {
            question.flags &= !question_flag::OTHERS;
        }
    }

    /// Returns our active question with this name and type on `link`.
    fn own_question(&mut self, link: LinkId, name: Name<'_>, kind: u16) -> Option<&mut Question> {
        let name = self.cache.names.find(name)?;
        self.questions.find(name, kind, link)
    }

    /// Returns a random time 20 to 120 ms from now. If another host sends the same question before that time, ours is suppressed.
    /// RFC 6762 section 5.2.
    pub(super) fn random_query_time(&mut self) -> Instant {
        self.cache
            .now
            .after(Duration::from_ms(self.random.ms(20, 100)))
    }

    /// Expires or refreshes the records that are due. Starts a pass over lookups and cache if changes have settled.
    fn advance(&mut self, now: Instant) {
        self.cache.now = now;
        for index in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(index) else {
                break;
            };
            if entry.due() > now {
                continue;
            }
            if entry.expires <= now {
                self.cache.retire(index);
                continue;
            }
            entry.count_query(now);
            let (name, kind, link) = (entry.name, entry.kind, entry.link);
            self.refresh(name, kind, link);
        }
        if core::mem::take(&mut self.cache.touched) {
            self.settle_at = now;
        }
        if self.settle_at <= now {
            self.settle_at = Instant::NEVER;
            self.plan();
            self.event_cursor = 0;
        }
        if self.event_cursor == IDLE && self.next_timeout_at() <= now {
            self.event_cursor = 0;
        }
        if self.event_cursor == 0 {
            self.report_at = Instant::NEVER;
        }
    }

    /// Returns the links of the set `links` that are up.
    fn up_links(&self, links: LinkSet) -> impl Iterator<Item = LinkId> + use<> {
        let mut up = LinkSet::default();
        for (link, known) in (0..).zip(self.links.iter()) {
            if known.is_up() && links.has(link) {
                up.add(LinkSet::of(link));
            }
        }
        (0..self.links.len() as LinkId).filter(move |link| up.has(*link))
    }

    /// Returns when the next event is due that no response causes: `AllForNow`, `TimedOut`, `Unresolved`, or one that waits until
    /// [`Self::report_at`].
    fn next_timeout_at(&self) -> Instant {
        let lookups = self.lookups.iter().filter(|lookup| !lookup.is_done);
        let all = lookups.map(|lookup| lookup.deadline.min(self.quiet_at(lookup.goal)));
        all.fold(self.report_at, Instant::min)
    }

    /// Returns when a search for services or types is complete if no more are found. NEVER for lookups of one host or address.
    /// NEVER while an event is left to be reported later.
    fn quiet_at(&self, goal: Goal) -> Instant {
        let is_one = matches!(goal, Goal::Host | Goal::Address);
        if is_one || self.report_at != Instant::NEVER {
            return Instant::NEVER;
        }
        self.last_found_at.after(QUIET)
    }

    /// Returns when the browser must be polled again. Valid once [`Browser::poll_transmit`] has returned `None`. Ignores events
    /// that [`Browser::next_event`] has not returned yet, because the caller decides when to fetch them.
    pub fn poll_at(&self) -> Instant {
        let records = self.cache.entries.iter().map(|entry| entry.due());
        let questions = self.questions.all.iter().map(|question| question.next());
        // While a pass for events runs, the caller decides when to fetch the next event.
        let is_idle = self.event_cursor == IDLE;
        let over = is_idle.then(|| self.next_timeout_at());
        let all = records.chain(questions).chain(over);
        all.fold(self.settle_at, Instant::min)
    }

    /// Returns the number of cached records, and the space (bytes) that their rdata occupies.
    pub fn weight(&self) -> (usize, usize) {
        let records = self
            .cache
            .entries
            .iter()
            .filter(|entry| entry.is(record_flag::USED));
        (records.count(), self.cache.rdata_bytes())
    }
}
