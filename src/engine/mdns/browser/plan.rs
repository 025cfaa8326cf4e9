//! What is to be asked: it follows from what is wished and what is known. RFC 6763 section 4 and on.
//!
//! Everything is gone through again after a change, so nothing is left over from what was wanted before.

use super::super::{LinkId, NameId};
use super::entry::{Entry, Role, is};
use super::questions::{Question, why};
use super::{Browser, Goal};
use crate::time::Instant;
use crate::wire::dns::kind;
use crate::wire::label::is_like;

impl Browser {
    /// Marks what is wanted of records and questions; adds questions that are missing, and takes away the others.
    pub(super) fn plan(&mut self) {
        let now = self.cache.now;
        self.due = self.soon();
        for question in self.questions.all.iter_mut() {
            question.facts &= !(why::WANTED | why::TYPES | why::SERVICES | why::RESOLVES);
        }
        for at in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(at) else {
                break;
            };
            if entry.facts & (is::USED | is::GONE) != is::USED {
                continue;
            }
            if entry.expires <= now {
                self.cache.retire(at);
                continue;
            }
            entry.role = Role::Nothing;
            entry.facts &= !(is::WANTED | is::RESOLVES | is::DENIES);
            if entry.is_doubted() {
                entry.facts |= is::WANTED;
            }
        }
        for at in 0..self.wishes.len() {
            let Some(wish) = self.wishes.get(at).copied() else {
                break;
            };
            let facts = match wish.goal {
                Goal::Types => why::TYPES,
                Goal::Everything => why::TYPES | why::SERVICES,
                Goal::Services => why::SERVICES,
                Goal::Host | Goal::Address => 0,
            };
            let resolves = if wish.resolves { why::RESOLVES } else { 0 };
            for link in self.reached(wish.links) {
                if wish.goal == Goal::Host {
                    self.want_host(wish.name, link, wish.families, Role::Answer);
                } else {
                    self.want(wish.name, kind::PTR, link, Role::Nothing, facts | resolves);
                }
            }
        }
        // Types first: they lead to services.
        for &types in &[true, false] {
            for at in 0..self.cache.entries.len() {
                self.follow(at, types);
            }
        }
        self.sweep();
    }

    /// The links of a set that are there.
    pub(super) fn reached(&self, links: u8) -> impl Iterator<Item = LinkId> + use<> {
        let mut set = 0u8;
        for (link, known) in self.links.iter().enumerate() {
            if known.is_up() {
                set |= 1 << link;
            }
        }
        let set = set & links;
        (0..LinkId::BITS as LinkId).filter(move |link| set >> link & 1 != 0)
    }

    /// Where a PTR record leads that answers a question.
    fn follow(&mut self, at: usize, types: bool) {
        let now = self.cache.now;
        let Some(entry) = self.cache.entries.get(at).copied() else {
            return;
        };
        if entry.kind != kind::PTR || !entry.lives(now) {
            return;
        }
        let question = self.questions.find(entry.name, kind::PTR, entry.link);
        let Some(facts) = question.map(|question| question.facts) else {
            return;
        };
        if facts & why::WANTED == 0 || (facts & why::TYPES != 0) != types {
            return;
        }
        let (role, is_it) = match facts & (why::TYPES | why::SERVICES) {
            0 => (Role::Answer, true),
            why::SERVICES => (Role::Service, self.is_service(&entry)),
            _ => (Role::Type, self.is_type(&entry)),
        };
        let resolves = role == Role::Service && facts & why::RESOLVES != 0;
        let Some(place) = self.cache.entries.get_mut(at).filter(|_| is_it) else {
            return;
        };
        place.role = role;
        place.facts |= is::WANTED;
        if resolves {
            place.facts |= is::RESOLVES;
        }
        let (target, link) = (entry.target, entry.link);
        if role == Role::Type && facts & why::SERVICES != 0 {
            let facts = facts & (why::SERVICES | why::RESOLVES);
            self.want(target, kind::PTR, link, Role::Nothing, facts);
        }
        if resolves {
            self.want(target, kind::SRV, link, Role::Nothing, 0);
            self.want(target, kind::TXT, link, Role::Nothing, 0);
            if let Some(host) = self.server(&entry).map(|entry| entry.target) {
                self.want_host(host, link, u8::MAX, Role::Nothing);
            }
        }
    }

    /// Whether a PTR record leads from a type, or from one of its subtypes, to a service.
    fn is_service(&self, entry: &Entry) -> bool {
        let names = &self.cache.names;
        let (of, sub) = (names.parent(entry.target), names.parent(entry.name));
        entry.target != NameId::ROOT
            && (of == entry.name || (is_like(names.label(sub), b"_sub") && names.parent(sub) == of))
    }

    /// Whether a PTR record leads to a type, in the domain that was asked for.
    fn is_type(&self, entry: &Entry) -> bool {
        let names = &self.cache.names;
        let transport = names.parent(entry.target);
        let mut domain = entry.name;
        for _ in 0..3 {
            domain = names.parent(domain);
        }
        names.label(entry.target).first() == Some(&b'_')
            && names.label(transport).first() == Some(&b'_')
            && names.parent(transport) == domain
    }

    /// The addresses of a host are wanted, of these families.
    fn want_host(&mut self, name: NameId, link: LinkId, families: u8, role: Role) {
        let host = self.cache.canonical(name, link);
        if host != name {
            self.want(name, kind::CNAME, link, Role::Nothing, 0);
        }
        for &(bit, kind) in &[(1, kind::A), (2, kind::AAAA)] {
            if families & bit != 0 {
                self.want(host, kind, link, role, 0);
            }
        }
    }

    /// Records are wanted: those that are there are kept, and asked for if there are none, or if there may be many.
    #[inline(never)]
    fn want(&mut self, name: NameId, kind: u16, link: LinkId, role: Role, facts: u8) {
        let now = self.cache.now;
        let mut is_answered = false;
        if kind != kind::PTR {
            let mut at = self.cache.step(name, link, None);
            while let Some(here) = at {
                at = self.cache.step(name, link, at);
                if let Some(entry) = self.cache.entries.get_mut(here)
                    && entry.kind == kind
                    && entry.lives(now)
                {
                    is_answered = true;
                    entry.facts |= is::WANTED;
                    if role != Role::Nothing {
                        entry.role = role;
                    }
                }
            }
            if !is_answered && let Some(at) = self.cache.denial(name, link, kind) {
                is_answered = true;
                if let Some(denial) = self.cache.entries.get_mut(at) {
                    denial.facts |= is::DENIES;
                }
            }
        }
        if !is_answered {
            self.pose(name, kind, link, facts | why::USED | why::WANTED);
        }
    }

    /// A record is asked for before it ends.
    pub(super) fn refresh(&mut self, name: NameId, kind: u16, link: LinkId) {
        self.pose(name, kind, link, why::USED | why::REFRESH);
    }

    /// Asks a question for one more reason.
    fn pose(&mut self, name: NameId, kind: u16, link: LinkId, facts: u8) {
        if let Some(question) = self.questions.find(name, kind, link) {
            question.facts |= facts;
            return;
        }
        let question = Question {
            due: if facts & why::WANTED != 0 {
                self.due
            } else {
                Instant::NEVER
            },
            name,
            kind,
            link,
            facts,
            ..Question::default()
        };
        if self.questions.add(question).is_some() {
            self.cache.names.keep(name);
        }
    }

    /// Removes questions without a reason, and forgets what was reported of records that are not wanted any more.
    fn sweep(&mut self) {
        for at in 0..self.questions.all.len() {
            self.drop_unwanted(at);
        }
        for entry in self.cache.entries.iter_mut() {
            if entry.role == Role::Nothing && !entry.is(is::GONE) {
                entry.facts &= !(is::BOTH * (is::REPORTED | is::TRIED));
                entry.reported = [0; 2];
            }
        }
    }

    /// Removes a question without a reason.
    pub(super) fn drop_unwanted(&mut self, at: usize) {
        let question = self.questions.all.get(at);
        let keeps = why::WANTED | why::REFRESH | why::SENDING;
        if question.is_some_and(|question| question.is(why::USED) && !question.is(keeps)) {
            let name = self.questions.remove(at);
            self.cache.names.release(name);
        }
    }
}
