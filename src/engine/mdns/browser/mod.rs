//! The browser: it asks for services, hosts and addresses, remembers what others say, and tells what came of it.
//! RFC 6762 sections 5, 7 and 10, RFC 6763.
//!
//! All that is asked and told follows from what is wished and what the cache holds: after a change both are looked through,
//! not sooner than 10 ms after it, so that a flood costs the same as a murmur. What is only cached causes no wake-up.

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

pub use events::{Event, What};

use super::{Cast, LINK_COUNT_MAX, Link, LinkId, Meta, NameId, Random};
use crate::mem::Slots;
use crate::time::{Duration, Instant};
use crate::wire::dns::{Message, Name, PORT, Section, kind};
use cache::{Cache, Heard};
use entry::is;
use questions::{Question, Questions, why};

/// How much is remembered at most. Each count is below 65,535.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Labels of names, those in common counted once.
    pub names: usize,
    /// Questions that are asked, each on one link.
    pub questions: usize,
    /// Bytes of what records hold besides names, below 256 KiB.
    pub rdata_bytes: usize,
}

impl Limits {
    /// Those of a network of more than a thousand services: each has four records and more, and two are asked for.
    pub const USUAL: Self = Self {
        records: 8192,
        names: 4096,
        questions: 4096,
        rdata_bytes: 256 << 10,
    };
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// The services of a type or subtype.
    Services,
    /// The types that there are, listed under the name.
    Types,
    /// The types that there are, and the services of each.
    Everything,
    /// The addresses of a host.
    Host,
    /// The name of an address, whose name in reverse this is.
    Address,
}

/// Something that the caller wants to know, until it calls [`Browser::forget`].
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What.
    pub goal: Goal,
    /// Of which name.
    pub name: Name<'a>,
    /// A bit for each link.
    pub links: u8,
    /// Whether services are resolved: host, addresses, port and text.
    pub resolves: bool,
    /// Of a host, whether addresses of IPv4 (bit 0) and of IPv6 (bit 1) are looked for.
    pub families: u8,
}

/// A wish that is kept.
#[derive(Clone, Copy, Debug)]
struct Wished {
    goal: Goal,
    name: NameId,
    links: u8,
    resolves: bool,
    families: u8,
    /// What there was to be told by [`Wished::deadline`] is told.
    is_done: bool,
    /// When it is over, whatever else comes.
    deadline: Instant,
}

// A wish has a bit for each link.
const _: () = assert!(LINK_COUNT_MAX <= u8::BITS as usize);

/// Wishes at a time.
pub const WISH_COUNT_MAX: usize = 16;
/// How long changes are gathered before they are looked at.
const SETTLE: Duration = Duration::from_ms(10);
/// Until every host should have answered, to the second query at the latest: the first may have been lost, or its answer held
/// back because it was multicast just before. The question waits for 120 ms, and for a second. A slow host has this long from
/// each service to its next one.
const ALL: Duration = Duration::from_ms(1500);
/// The same at the very longest, while services keep coming.
const ALL_MAX: Duration = Duration::from_secs(30);
/// Until a host should have answered. After avahi.
const ANSWER: Duration = Duration::from_secs(5);
/// No pass over what is to be told is under way.
const IDLE: usize = usize::MAX;

/// The browser.
#[derive(Debug)]
#[repr(C)] // The longest last.
pub struct Browser {
    cache: Cache,
    links: Slots<Link>,
    /// When questions are asked that were found to be missing.
    due: Instant,
    /// When changes are looked at.
    settle_at: Instant,
    /// How far the pass over what is to be told came.
    event_cursor: usize,
    /// Services that are yet to be resolved were seen, as far as it came.
    is_resolving: bool,
    /// When a service was found or resolved last.
    news_at: Instant,
    /// Where known answers are still to be sent, and which is the next.
    sending: Option<(LinkId, usize)>,
    random: Random,
    questions: Questions,
    wishes: heapless::Vec<Wished, WISH_COUNT_MAX>,
}

impl Browser {
    /// One that knows nothing, and of no link.
    pub fn new(limits: &Limits, mut random: Random) -> Self {
        Self {
            cache: Cache::new(limits, random.ms(0, u32::MAX)),
            questions: Questions::new(limits.questions),
            wishes: heapless::Vec::new(),
            links: Slots::defaults(LINK_COUNT_MAX),
            random,
            due: Instant::NEVER,
            settle_at: Instant::NEVER,
            event_cursor: IDLE,
            is_resolving: false,
            news_at: Instant::default(),
            sending: None,
        }
    }

    /// Looks for something from now on. False: too much is looked for already. What is looked for twice is told once.
    pub fn wish(&mut self, now: Instant, wish: &Wish<'_>) -> bool {
        self.cache.now = now;
        let Some(name) = self.cache.intern(wish.name) else {
            return false;
        };
        let patience = match wish.goal {
            Goal::Host | Goal::Address => ANSWER,
            _ => ALL_MAX,
        };
        let wished = Wished {
            goal: wish.goal,
            name,
            links: wish.links,
            resolves: wish.resolves,
            families: wish.families,
            is_done: false,
            deadline: now.after(patience),
        };
        (self.settle_at, self.news_at) = (now, now);
        self.wishes.push(wished).is_ok()
    }

    /// Looks for nothing of this name any more.
    pub fn forget(&mut self, now: Instant, name: Name<'_>) {
        let Some(name) = self.cache.names.find(name) else {
            return;
        };
        let names = &mut self.cache.names;
        self.wishes.retain(|wish| {
            let is_other = wish.name != name;
            if !is_other {
                names.release(name);
            }
            is_other
        });
        self.settle_at = now;
    }

    /// A link came, went, or changed. What was heard on one that went is gone.
    pub fn link_changed(&mut self, now: Instant, link: LinkId, state: &Link) {
        self.cache.now = now;
        let Some(known) = self.links.get_mut(usize::from(link)) else {
            return;
        };
        *known = state.clone();
        // Other hosts may be there: everything is asked again.
        let due = self.soon();
        for question in self.questions.all.iter_mut() {
            if question.link == link {
                (question.step, question.due) = (0, due);
            }
        }
        for at in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(at) else {
                break;
            };
            if entry.link != link || !entry.is(is::USED) {
                continue;
            }
            // A responder says nothing by a family that is new if it reads that we know it.
            entry.facts |= is::EARLIER;
            if !state.is_up() {
                self.cache.retire(at);
            }
        }
        self.settle_at = now;
    }

    /// A record may be wrong: its host does not answer. It is asked for, and expires in ten seconds if no host confirms it.
    /// `name` is whose it is; of PTR, what it points to. RFC 6762 section 10.4.
    pub fn reconfirm(&mut self, now: Instant, link: LinkId, name: Name<'_>, kind: u16) {
        let Some(name) = self.cache.names.find(name) else {
            return;
        };
        for entry in self.cache.entries.iter_mut() {
            let of = if kind == kind::PTR {
                entry.target
            } else {
                entry.name
            };
            let is_it = (entry.kind, entry.link, of) == (kind, link, name);
            if is_it && entry.lives(now) && !entry.is_doubted() {
                entry.doubt(now);
                entry.facts |= is::WANTED;
            }
        }
    }

    /// Takes a message.
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
        let (is_near, is_own) = (link.reaches(from), link.owns(from));
        let Some(is_response) = message.is_response() else {
            return;
        };
        let is_for_all = meta.cast == Cast::Multicast || (meta.cast == Cast::Unknown && is_near);
        if !is_response {
            // What we ask ourselves comes back to us.
            if is_for_all && !is_own {
                self.overhear(meta.link, &message);
            }
            return;
        }
        let is_taken = is_for_all || (is_near && self.awaits(meta.link, &message));
        if !is_taken {
            return;
        }
        let mut facts = is::SEEN;
        if from.is_ipv6() {
            facts <<= 1;
        }
        if is_own {
            facts |= is::OWN;
        }
        let heard = Heard {
            link: meta.link,
            facts,
            jitter: self.random.ms(0, 20) as u8,
        };
        for record in message.records() {
            if record.section != Section::Authority && record.is_in_class() {
                self.cache.hear(&heard, &record);
            }
        }
        if core::mem::take(&mut self.cache.touched) {
            self.settle_at = self.settle_at.min(now.after(SETTLE));
        }
    }

    /// Whether a message to us alone answers what we asked so a moment ago.
    fn awaits(&self, link: LinkId, message: &Message<'_>) -> bool {
        message.records().any(|record| {
            let name = self.cache.names.find(record.name);
            record.section == Section::Answer
                && name.is_some_and(|name| self.questions.awaits(self.cache.now, name, link))
        })
    }

    /// Another host asks: a question that we would ask too counts as asked, unless it lists known answers that we do not have
    /// (duplicate question suppression).
    /// RFC 6762 section 7.3.
    fn overhear(&mut self, link: LinkId, message: &Message<'_>) {
        // More known answers may follow.
        if message.is_truncated() {
            return;
        }
        for record in message.records() {
            if record.section == Section::Answer
                && !self.cache.knows(link, &record)
                && let Some(question) = self.asked(link, record.name, record.kind)
            {
                question.facts |= why::OTHERS;
            }
        }
        for asked in message.questions() {
            if asked.wants_unicast() || !asked.asks_in_class() {
                continue;
            }
            let now = self.cache.now;
            if let Some(question) = self.asked(link, asked.name, asked.kind)
                && !question.is(why::OTHERS)
            {
                question.asked(now);
            }
        }
        for question in self.questions.all.iter_mut() {
            question.facts &= !why::OTHERS;
        }
    }

    /// This question of ours.
    fn asked(&mut self, link: LinkId, name: Name<'_>, kind: u16) -> Option<&mut Question> {
        let name = self.cache.names.find(name)?;
        self.questions.find(name, kind, link)
    }

    /// An instant after which others have had the time to ask the same. RFC 6762 section 5.2.
    #[inline(never)]
    pub(super) fn soon(&mut self) -> Instant {
        self.cache
            .now
            .after(Duration::from_ms(self.random.ms(20, 100)))
    }

    /// Does what is due.
    fn advance(&mut self, now: Instant) {
        self.cache.now = now;
        for at in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(at) else {
                break;
            };
            if entry.due() > now {
                continue;
            }
            if entry.expires <= now {
                self.cache.retire(at);
                continue;
            }
            entry.asked(now);
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
        if self.event_cursor == IDLE && self.over_at() <= now {
            self.event_cursor = 0;
        }
        if self.event_cursor == 0 {
            self.is_resolving = false;
        }
    }

    /// When there is something to be told because nothing more has come.
    fn over_at(&self) -> Instant {
        let wishes = self.wishes.iter().filter(|wish| !wish.is_done);
        let all = wishes.map(|wish| wish.deadline.min(self.quiet_at(wish.goal)));
        let failed = if self.is_resolving {
            self.news_at.after(ANSWER)
        } else {
            Instant::NEVER
        };
        all.fold(failed, Instant::min)
    }

    /// When those that are there have answered, if nothing more comes.
    fn quiet_at(&self, goal: Goal) -> Instant {
        let is_one = matches!(goal, Goal::Host | Goal::Address);
        if is_one || self.is_resolving {
            return Instant::NEVER;
        }
        self.news_at.after(ALL)
    }

    /// When there is something to do again. All that can be sent must have been; what can be told and was not, in its own time.
    pub fn poll_at(&self) -> Instant {
        let records = self.cache.entries.iter().map(|entry| entry.due());
        let questions = self.questions.all.iter().map(|question| question.next());
        // What can be told and was not is waited for by the caller.
        let is_idle = self.event_cursor == IDLE;
        let over = is_idle.then(|| self.over_at());
        let all = records.chain(questions).chain(over);
        all.fold(self.settle_at, Instant::min)
    }

    /// Records and bytes of rdata that are remembered.
    pub fn weight(&self) -> (usize, usize) {
        let records = self.cache.entries.iter().filter(|entry| entry.is(is::USED));
        (records.count(), self.cache.rdata_bytes())
    }
}
