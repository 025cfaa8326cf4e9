//! What is asked, and when: a table of names and kinds, on each link. RFC 6762 section 5.2.

use super::super::{LinkId, NameId};
use super::chains::Chains;
use crate::mem::Slots;
use crate::time::{Duration, Instant};

/// Facts of a question.
pub(super) mod why {
    /// The place is in use.
    pub(in super::super) const USED: u8 = 1;
    /// It is still wanted.
    pub(in super::super) const WANTED: u8 = 1 << 1;
    /// A record would end: it is asked at once, and once.
    pub(in super::super) const REFRESH: u8 = 1 << 2;
    /// It is in the message whose known answers are being sent.
    pub(in super::super) const SENDING: u8 = 1 << 3;
    /// Another host that asks it lists known answers that we do not have.
    pub(in super::super) const OTHERS: u8 = 1 << 4;
    /// Answers are types of services.
    pub(in super::super) const TYPES: u8 = 1 << 5;
    /// Answers are services.
    pub(in super::super) const SERVICES: u8 = 1 << 6;
    /// Services are resolved.
    pub(in super::super) const RESOLVES: u8 = 1 << 7;
}

/// After the first, and twice as long after each that follows.
const INTERVAL_MS: u32 = 1000;
/// Never longer.
const INTERVAL_MS_MAX: u32 = 3_600_000;
/// For how long answers to us alone are taken.
const UNICAST: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Question {
    /// When it is asked next.
    pub(super) due: Instant,
    /// Until when an answer may come to us alone.
    pub(super) unicast_until: Instant,
    pub(super) name: NameId,
    pub(super) kind: u16,
    pub(super) link: LinkId,
    /// How often it was asked.
    pub(super) step: u8,
    /// See [`why`].
    pub(super) facts: u8,
}

impl Question {
    pub(super) const fn is(&self, fact: u8) -> bool {
        self.facts & fact != 0
    }

    /// When it is asked next.
    pub(super) const fn next(&self) -> Instant {
        match self.facts & (why::USED | why::REFRESH) {
            why::USED => self.due,
            0 | why::REFRESH => Instant::NEVER,
            _ => Instant::from_ms(0),
        }
    }

    /// It was asked, by us or by another host.
    pub(super) fn asked(&mut self, now: Instant) {
        self.facts &= !why::REFRESH;
        if !self.is(why::WANTED) {
            return;
        }
        let interval = INTERVAL_MS << self.step.min(12);
        self.step = self.step.saturating_add(1);
        self.due = now.after(Duration::from_ms(interval.min(INTERVAL_MS_MAX)));
    }

    /// An answer may come to us alone.
    pub(super) fn asked_for_unicast(&mut self, now: Instant) {
        self.unicast_until = now.after(UNICAST);
    }
}

#[derive(Debug)]
pub(super) struct Questions {
    pub(super) all: Slots<Question>,
    chains: Chains,
}

impl Questions {
    pub(super) fn new(count: usize) -> Self {
        Self {
            all: Slots::new(count),
            chains: Chains::new(count.next_power_of_two(), count),
        }
    }

    /// Where the questions for a name are, whatever their kinds and links.
    #[inline(never)]
    pub(super) fn of(&self, name: NameId, from: Option<usize>) -> Option<usize> {
        let mut at = match from {
            Some(from) => self.chains.next(from as u16),
            None => self.chains.first(name.place()),
        };
        loop {
            let question = self.all.get(usize::from(at))?;
            if question.name == name && question.is(why::USED) {
                return Some(at.into());
            }
            at = self.chains.next(at);
        }
    }

    /// This question.
    #[inline(never)]
    pub(super) fn find(&mut self, name: NameId, kind: u16, link: LinkId) -> Option<&mut Question> {
        let mut at = None;
        loop {
            at = self.of(name, at);
            let question = self.all.get(at?)?;
            if (question.kind, question.link) == (kind, link) {
                return self.all.get_mut(at?);
            }
        }
    }

    /// Whether an answer for a name may come to us alone.
    pub(super) fn awaits(&self, now: Instant, name: NameId, link: LinkId) -> bool {
        let mut at = None;
        loop {
            at = self.of(name, at);
            let Some(question) = at.and_then(|at| self.all.get(at)) else {
                return false;
            };
            if question.link == link && question.unicast_until >= now {
                return true;
            }
        }
    }

    /// Adds a question. `None`: there are too many.
    pub(super) fn add(&mut self, question: Question) -> Option<usize> {
        let at = self.chains.take(question.name.place())?;
        match self.all.get_mut(usize::from(at)) {
            Some(place) => *place = question,
            None => _ = self.all.push(question),
        }
        Some(at.into())
    }

    /// Removes a question; its name.
    pub(super) fn remove(&mut self, at: usize) -> NameId {
        let question = self.all.get_mut(at).map(core::mem::take);
        let name = question.unwrap_or_default().name;
        self.chains.give(name.place(), at as u16);
        name
    }
}
