//! Derives the questions from the lookups and the cache. RFC 6763 sections 4 and following.
//!
//! Every pass computes all flags again, so a question is removed in the first pass in which no lookup needs it.

use super::super::{LinkId, NameId};
use super::entry::{CacheEntry, Role, record_flag};
use super::questions::{Question, question_flag};
use super::{Browser, Goal};
use crate::time::Instant;
use crate::wire::dns::kind;
use crate::wire::label::is_like;

impl Browser {
    /// Marks the records and the questions that lookups need; adds missing questions and removes the others.
    pub(super) fn plan(&mut self) {
        let now = self.cache.now;
        self.due = self.random_query_time();
        for question in self.questions.all.iter_mut() {
            question.flags &= !(question_flag::WANTED
                | question_flag::TYPES
                | question_flag::SERVICES
                | question_flag::RESOLVES);
        }
        for index in 0..self.cache.entries.len() {
            let Some(entry) = self.cache.entries.get_mut(index) else {
                break;
            };
            if entry.flags & (record_flag::USED | record_flag::GONE) != record_flag::USED {
                continue;
            }
            if entry.expires <= now {
                self.cache.retire(index);
                continue;
            }
            entry.role = Role::Nothing;
            entry.flags &= !(record_flag::WANTED | record_flag::RESOLVES | record_flag::DENIES);
            if entry.is_reconfirming() {
                entry.flags |= record_flag::WANTED;
            }
        }
        for index in 0..self.lookups.len() {
            let Some(lookup) = self.lookups.get(index).copied() else {
                break;
            };
            let flags = match lookup.goal {
                Goal::Types => question_flag::TYPES,
                Goal::Everything => question_flag::TYPES | question_flag::SERVICES,
                Goal::Services => question_flag::SERVICES,
                Goal::Host | Goal::Address => 0,
            };
            let resolves = if lookup.resolves {
                question_flag::RESOLVES
            } else {
                0
            };
            for link in self.up_links(lookup.links) {
                if lookup.goal == Goal::Host {
                    self.want_host(lookup.name, link, lookup.families, Role::Answer);
                } else {
                    self.want(
                        lookup.name,
                        kind::PTR,
                        link,
                        Role::Nothing,
                        flags | resolves,
                    );
                }
            }
        }
        // Follow the PTR records of types first, because they add the questions for services.
        for &types in &[true, false] {
            for index in 0..self.cache.entries.len() {
                self.follow_ptr(index, types);
            }
        }
        self.sweep();
    }

    /// Marks the PTR record at `index` if it answers a question of a lookup, and adds the questions that follow from the record.
    /// With `types`, considers only questions for service types, otherwise only other questions.
    fn follow_ptr(&mut self, index: usize, types: bool) {
        let now = self.cache.now;
        let Some(entry) = self.cache.entries.get(index).copied() else {
            return;
        };
        if entry.kind != kind::PTR || !entry.is_live(now) {
            return;
        }
        let question = self.questions.find(entry.name, kind::PTR, entry.link);
        let Some(flags) = question.map(|question| question.flags) else {
            return;
        };
        if flags & question_flag::WANTED == 0 || (flags & question_flag::TYPES != 0) != types {
            return;
        }
        let (role, is_match) = match flags & (question_flag::TYPES | question_flag::SERVICES) {
            0 => (Role::Answer, true),
            question_flag::SERVICES => (Role::Service, self.is_service(&entry)),
            _ => (Role::Type, self.is_type(&entry)),
        };
        let resolves = role == Role::Service && flags & question_flag::RESOLVES != 0;
        let Some(marked) = self.cache.entries.get_mut(index).filter(|_| is_match) else {
            return;
        };
        marked.role = role;
        marked.flags |= record_flag::WANTED;
        if resolves {
            marked.flags |= record_flag::RESOLVES;
        }
        let (target, link) = (entry.target, entry.link);
        if role == Role::Type && flags & question_flag::SERVICES != 0 {
            let flags = flags & (question_flag::SERVICES | question_flag::RESOLVES);
            self.want(target, kind::PTR, link, Role::Nothing, flags);
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
    fn is_service(&self, entry: &CacheEntry) -> bool {
        let names = &self.cache.names;
        let (of, sub) = (names.parent(entry.target), names.parent(entry.name));
        entry.target != NameId::ROOT
            && (of == entry.name || (is_like(names.label(sub), b"_sub") && names.parent(sub) == of))
    }

    /// Returns true if a PTR record points to a service type in the domain that the question is about.
    fn is_type(&self, entry: &CacheEntry) -> bool {
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
    fn want(&mut self, name: NameId, kind: u16, link: LinkId, role: Role, flags: u8) {
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
                    entry.flags |= record_flag::WANTED;
                    if role != Role::Nothing {
                        entry.role = role;
                    }
                }
            }
            if !is_answered && let Some(index) = self.cache.denial(name, link, kind) {
                is_answered = true;
                if let Some(denial) = self.cache.entries.get_mut(index) {
                    denial.flags |= record_flag::DENIES;
                }
            }
        }
        if !is_answered {
            self.add_question(
                name,
                kind,
                link,
                flags | question_flag::USED | question_flag::WANTED,
            );
        }
    }

    /// Adds a query for a record that is about to expire.
    pub(super) fn refresh(&mut self, name: NameId, kind: u16, link: LinkId) {
        self.add_question(
            name,
            kind,
            link,
            question_flag::USED | question_flag::REFRESH,
        );
    }

    /// Adds a question with `flags`. If the question already exists, sets the flags in addition.
    fn add_question(&mut self, name: NameId, kind: u16, link: LinkId, flags: u8) {
        if let Some(question) = self.questions.find(name, kind, link) {
            question.flags |= flags;
            return;
        }
        let question = Question {
            due: if flags & question_flag::WANTED != 0 {
                self.due
            } else {
                Instant::NEVER
            },
            name,
            kind,
            link,
            flags,
            ..Question::default()
        };
        if self.questions.add(question).is_some() {
            self.cache.names.add_use(name);
        }
    }

    /// Removes questions that no lookup needs. For records that cause no events any more, forgets which events were reported.
    fn sweep(&mut self) {
        for index in 0..self.questions.all.len() {
            self.drop_unwanted(index);
        }
        for entry in self.cache.entries.iter_mut() {
            if entry.role == Role::Nothing && !entry.is(record_flag::GONE) {
                entry.flags &= !(record_flag::BOTH * (record_flag::REPORTED | record_flag::TRIED));
                entry.reported = [0; 2];
            }
        }
    }

    /// Removes the question at `index` unless a lookup needs it, a refresh query for it is due, or it is being sent.
    pub(super) fn drop_unwanted(&mut self, index: usize) {
        let question = self.questions.all.get(index);
        let keeps = question_flag::WANTED | question_flag::REFRESH | question_flag::SENDING;
        if question.is_some_and(|question| question.is(question_flag::USED) && !question.is(keeps))
        {
            let name = self.questions.remove(index);
            self.cache.names.remove_use(name);
        }
    }
}
