//! Derives the questions from the wishes and the cache. RFC 6763 sections 4 and following.
//!
//! Every pass computes all flags again, so no question outlives its reason.

use super::super::{LinkId, NameId};
use super::entry::{Entry, Role, is};
use super::questions::{Question, why};
use super::{Browser, Goal};
use crate::time::Instant;
use crate::wire::dns::kind;
use crate::wire::label::is_like;

impl Browser {
    /// Marks the records that wishes need and the questions that wishes have; adds missing questions and removes the others.
    pub(super) fn plan(&mut self) {
        let now = self.cache.now;
        self.due = self.random_query_time();
        for question in self.questions.all.iter_mut() {
            question.facts &= !(why::WANTED | why::TYPES | why::SERVICES | why::RESOLVES);
        }
        for index in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(index) else {
                break;
            };
            if entry.facts & (is::USED | is::GONE) != is::USED {
                continue;
            }
            if entry.expires <= now {
                self.cache.retire(index);
                continue;
            }
            entry.role = Role::Nothing;
            entry.facts &= !(is::WANTED | is::RESOLVES | is::DENIES);
            if entry.is_reconfirming() {
                entry.facts |= is::WANTED;
            }
        }
        for index in 0..self.wishes.len() {
            let Some(wish) = self.wishes.get(index).copied() else {
                break;
            };
            let facts = match wish.goal {
                Goal::Types => why::TYPES,
                Goal::Everything => why::TYPES | why::SERVICES,
                Goal::Services => why::SERVICES,
                Goal::Host | Goal::Address => 0,
            };
            let resolves = if wish.resolves { why::RESOLVES } else { 0 };
            for link in self.up_links(wish.links) {
                if wish.goal == Goal::Host {
                    self.want_host(wish.name, link, wish.families, Role::Answer);
                } else {
                    self.want(wish.name, kind::PTR, link, Role::Nothing, facts | resolves);
                }
            }
        }
        // Types first: their services are known only afterwards.
        for &types in &[true, false] {
            for index in 0..self.cache.entries.len() {
                self.follow_ptr(index, types);
            }
        }
        self.sweep();
    }

    /// Links of a bit set that are up.
    pub(super) fn up_links(&self, links: u8) -> impl Iterator<Item = LinkId> + use<> {
        let mut set = 0u8;
        for (link, known) in self.links.iter().enumerate() {
            if known.is_up() {
                set |= 1 << link;
            }
        }
        let set = set & links;
        (0..LinkId::BITS as LinkId).filter(move |link| set >> link & 1 != 0)
    }

    /// Marks the PTR record at `index` if it answers a question of a wish, and adds the questions that follow from the record. With
    /// `types`, considers only questions for service types, otherwise only other questions.
    fn follow_ptr(&mut self, index: usize, types: bool) {
        let now = self.cache.now;
        let Some(entry) = self.cache.entries.get(index).copied() else {
            return;
        };
        if entry.kind != kind::PTR || !entry.is_live(now) {
            return;
        }
        let question = self.questions.find(entry.name, kind::PTR, entry.link);
        let Some(facts) = question.map(|question| question.facts) else {
            return;
        };
        if facts & why::WANTED == 0 || (facts & why::TYPES != 0) != types {
            return;
        }
        let (role, is_match) = match facts & (why::TYPES | why::SERVICES) {
            0 => (Role::Answer, true),
            why::SERVICES => (Role::Service, self.is_service(&entry)),
            _ => (Role::Type, self.is_type(&entry)),
        };
        let resolves = role == Role::Service && facts & why::RESOLVES != 0;
        let Some(marked) = self.cache.entries.get_mut(index).filter(|_| is_match) else {
            return;
        };
        marked.role = role;
        marked.facts |= is::WANTED;
        if resolves {
            marked.facts |= is::RESOLVES;
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

    /// Returns true if a PTR record points from a service type, or a subtype of it, to an instance.
    fn is_service(&self, entry: &Entry) -> bool {
        let names = &self.cache.names;
        let (of, sub) = (names.parent(entry.target), names.parent(entry.name));
        entry.target != NameId::ROOT
            && (of == entry.name || (is_like(names.label(sub), b"_sub") && names.parent(sub) == of))
    }

    /// Returns true if a PTR record points to a service type in the domain that the question is about.
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

    /// Marks the address records of a host as wanted, or adds the questions for them. `families`: bit 0 IPv4, bit 1 IPv6.
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

    /// Marks the records of a name and type as wanted. Adds a question if the cache has neither a record nor a denial. A PTR
    /// question is always added: further instances may exist.
    #[inline(never)]
    fn want(&mut self, name: NameId, kind: u16, link: LinkId, role: Role, facts: u8) {
        let now = self.cache.now;
        let mut is_answered = false;
        if kind != kind::PTR {
            let mut next = self.cache.next_unique(name, link, None);
            while let Some(index) = next {
                next = self.cache.next_unique(name, link, next);
                if let Some(entry) = self.cache.entries.get_mut(index)
                    && entry.kind == kind
                    && entry.is_live(now)
                {
                    is_answered = true;
                    entry.facts |= is::WANTED;
                    if role != Role::Nothing {
                        entry.role = role;
                    }
                }
            }
            if !is_answered && let Some(index) = self.cache.denial(name, link, kind) {
                is_answered = true;
                if let Some(denial) = self.cache.entries.get_mut(index) {
                    denial.facts |= is::DENIES;
                }
            }
        }
        if !is_answered {
            self.add_question(name, kind, link, facts | why::USED | why::WANTED);
        }
    }

    /// Adds a query for a record that is about to expire.
    pub(super) fn refresh(&mut self, name: NameId, kind: u16, link: LinkId) {
        self.add_question(name, kind, link, why::USED | why::REFRESH);
    }

    /// Adds a question, or the reason `facts` to an existing question.
    fn add_question(&mut self, name: NameId, kind: u16, link: LinkId, facts: u8) {
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

    /// Removes questions that no wish has. Clears the reported state of records that cause no events any more.
    fn sweep(&mut self) {
        for index in 0..self.questions.all.len() {
            self.drop_unwanted(index);
        }
        for entry in self.cache.entries.iter_mut() {
            if entry.role == Role::Nothing && !entry.is(is::GONE) {
                entry.facts &= !(is::BOTH * (is::REPORTED | is::TRIED));
                entry.reported = [0; 2];
            }
        }
    }

    /// Removes a question that has no reason left.
    pub(super) fn drop_unwanted(&mut self, index: usize) {
        let question = self.questions.all.get(index);
        let keeps = why::WANTED | why::REFRESH | why::SENDING;
        if question.is_some_and(|question| question.is(why::USED) && !question.is(keeps)) {
            let name = self.questions.remove(index);
            self.cache.names.release(name);
        }
    }
}
