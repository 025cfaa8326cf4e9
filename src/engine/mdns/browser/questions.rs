//! Active questions by name, type and link, and when each is sent. RFC 6762 section 5.2.

use super::super::{LinkId, NameId};
use super::chains::Chains;
use crate::mem::Slots;
use crate::time::{Duration, Instant};

/// Flags of a question.
pub(super) mod question_flag {
    /// The slot is in use.
    pub(in super::super) const USED: u8 = 1;
    /// A lookup needs the answer.
    pub(in super::super) const WANTED: u8 = 1 << 1;
    /// A record is about to expire: the question is sent once, without delay.
    pub(in super::super) const REFRESH: u8 = 1 << 2;
    /// The question was sent in the message whose known answers are being written.
    pub(in super::super) const SENDING: u8 = 1 << 3;
    /// Set only while a query of another host is processed: that query lists a known answer to this question that the cache does
    /// not have.
    pub(in super::super) const OTHERS: u8 = 1 << 4;
    /// The answers to the question are service types.
    pub(in super::super) const TYPES: u8 = 1 << 5;
    /// The answers to the question are services.
    pub(in super::super) const SERVICES: u8 = 1 << 6;
    /// The services in the answers are to be resolved.
    pub(in super::super) const RESOLVES: u8 = 1 << 7;
}

/// Interval (milliseconds) between the first two queries; it doubles after each query.
const INTERVAL_MS: u32 = 1000;
/// Longest interval (milliseconds) between queries.
const INTERVAL_MS_MAX: u32 = 3_600_000;
/// Number of doublings after which an interval is [`INTERVAL_MS_MAX`].
const DOUBLING_COUNT: u8 = 12;
/// Time for which unicast responses are accepted after a QU question.
const UNICAST_WAIT: Duration = Duration::from_secs(2);

/// Returns the interval (milliseconds) after a query that `step` others preceded.
fn interval_ms(step: u8) -> u32 {
    INTERVAL_MS_MAX.min(INTERVAL_MS << step.min(DOUBLING_COUNT))
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Question {
    /// Time of the next scheduled query.
    pub(super) due: Instant,
    /// Unicast responses are accepted until then.
    pub(super) unicast_until: Instant,
    pub(super) name: NameId,
    pub(super) kind: u16,
    pub(super) link: LinkId,
    /// Number of queries with this question, sent by us or by other hosts.
    pub(super) step: u8,
    /// Flags of [`question_flag`].
    pub(super) flags: u8,
    /// Number of restarts that followed each other without a pause.
    pub(super) restart_count: u8,
}

impl Question {
    pub(super) const fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Returns when the question is next sent. A refresh is due at once. NEVER if the slot is free.
    pub(super) const fn next(&self) -> Instant {
        match self.flags & (question_flag::USED | question_flag::REFRESH) {
            question_flag::USED => self.due,
            0 | question_flag::REFRESH => Instant::NEVER,
            _ => Instant::from_ms(0),
        }
    }

    /// Schedules the next query after we or another host sent the question.
    pub(super) fn count_query(&mut self, now: Instant) {
        self.flags &= !question_flag::REFRESH;
        if !self.is(question_flag::WANTED) {
            return;
        }
        self.due = now.after(Duration::from_ms(interval_ms(self.step)));
        self.step = self.step.saturating_add(1);
    }

    /// Schedules the question again as if it were new, at `due` or later: the first restart is at least 1 s after the last query,
    /// the next one 2 s, and so on up to an hour. Restarts count as the first again after a pause of four times that interval.
    pub(super) fn restart(&mut self, due: Instant) {
        let Some(last) = self.step.checked_sub(1) else {
            return;
        };
        if self.step > self.restart_count + 2 {
            self.restart_count = 0;
        }
        // The last query was one interval before `self.due`.
        let asked = self.due.since(Instant::from_ms(interval_ms(last).into()));
        let earliest = asked.as_ms() + u64::from(interval_ms(self.restart_count));
        self.due = due.max(Instant::from_ms(earliest));
        self.step = 0;
        self.restart_count = (self.restart_count + 1).min(DOUBLING_COUNT);
    }

    /// Accepts unicast responses for [`UNICAST_WAIT`].
    pub(super) fn asked_for_unicast(&mut self, now: Instant) {
        self.unicast_until = now.after(UNICAST_WAIT);
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

    /// Returns the index of the next question for a name after index `from`, of any type and link.
    pub(super) fn of(&self, name: NameId, from: Option<usize>) -> Option<usize> {
        let mut index = match from {
            Some(from) => self.chains.next(from as u16),
            None => self.chains.first(name.index()),
        };
        loop {
            let question = self.all.get(usize::from(index))?;
            if question.name == name && question.is(question_flag::USED) {
                return Some(index.into());
            }
            index = self.chains.next(index);
        }
    }

    /// Returns the question with this name, type and link.
    pub(super) fn find(&mut self, name: NameId, kind: u16, link: LinkId) -> Option<&mut Question> {
        let mut index = None;
        loop {
            index = self.of(name, index);
            let question = self.all.get(index?)?;
            if (question.kind, question.link) == (kind, link) {
                return self.all.get_mut(index?);
            }
        }
    }

    /// Returns true if a question for this name asked for a unicast response on this link within the last [`UNICAST_WAIT`].
    pub(super) fn accept_unicast(&self, now: Instant, name: NameId, link: LinkId) -> bool {
        let mut index = None;
        loop {
            index = self.of(name, index);
            let Some(question) = index.and_then(|index| self.all.get(index)) else {
                return false;
            };
            if question.link == link && question.unicast_until >= now {
                return true;
            }
        }
    }

    /// Adds a question. Returns its index, or `None` if the table is full.
    pub(super) fn add(&mut self, question: Question) -> Option<usize> {
        let index = self.chains.allocate(question.name.index())?;
        match self.all.get_mut(usize::from(index)) {
            Some(slot) => *slot = question,
            None => _ = self.all.push(question),
        }
        Some(index.into())
    }

    /// Removes a question and returns its name.
    pub(super) fn remove(&mut self, index: usize) -> NameId {
        let question = self.all.get_mut(index).map(core::mem::take);
        let name = question.unwrap_or_default().name;
        self.chains.free(name.index(), index as u16);
        name
    }
}
