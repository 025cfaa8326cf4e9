//! The states of all records on all links: a table that grows with the links in use.
//!
//! A record's states are next to each other, so that they occupy few pages. When a link is used for the first time, the states move
//! apart to make room for those of the link. The table has space for all records on [`ANNOUNCED_LINK_COUNT`] links, or for fewer
//! records on more links.

use super::link::LinkId;
use super::record_state::RecordState;
use crate::config::{ANNOUNCED_LINK_COUNT, LINK_COUNT_MIN};
use crate::mem::{Slots, scaled};

/// Index of a record in the zone's table.
pub(super) type RecordId = usize;

/// The table of states.
#[derive(Debug)]
pub(super) struct States {
    /// The states of record 0 on links 0 to `link_count` - 1, then those of record 1, and so on.
    all: Slots<RecordState>,
    /// Number of links that have been in use.
    link_count: usize,
    record_count: usize,
    /// Stands for the state on a link that was never in use.
    unused: RecordState,
}

impl States {
    /// Creates a table for the states of `record_count` records.
    pub(super) fn new(record_count: usize) -> Self {
        let link_count = scaled(LINK_COUNT_MIN, ANNOUNCED_LINK_COUNT);
        Self {
            all: Slots::new(record_count.saturating_mul(link_count)),
            link_count: 0,
            record_count: 0,
            unused: RecordState::new(),
        }
    }

    /// Adds the states of a record on all links in use. `None`: the table is full.
    pub(super) fn add_record(&mut self) -> Option<()> {
        self.resize(self.record_count + 1, self.link_count)
    }

    /// Adds the states of all records on another link. `None`: the table is full.
    pub(super) fn add_link(&mut self) -> Option<()> {
        let (records, links) = (self.record_count, self.link_count);
        self.resize(records, links + 1)?;
        // The last states move first, each to a place that is no longer used.
        for id in (0..records).rev() {
            for link in (0..links).rev() {
                let (from, to) = (id * links + link, id * (links + 1) + link);
                let moved = core::mem::replace(self.all.get_mut(from)?, RecordState::new());
                *self.all.get_mut(to)? = moved;
            }
        }
        Some(())
    }

    /// Appends new states for this many records and links. `None`: the table is full.
    fn resize(&mut self, record_count: usize, link_count: usize) -> Option<()> {
        let count = record_count * link_count;
        if count > self.all.count() {
            return None;
        }
        while self.all.len() < count {
            self.all.push(RecordState::new())?;
        }
        (self.record_count, self.link_count) = (record_count, link_count);
        Some(())
    }

    /// Returns a record's states on all links in use.
    pub(super) fn of(&self, record: RecordId) -> &[RecordState] {
        let start = record * self.link_count;
        let states = self.all.get(start..start + self.link_count);
        states.unwrap_or_default()
    }

    /// Returns a record's state on a link.
    pub(super) fn get(&self, record: RecordId, link: LinkId) -> &RecordState {
        let state = self.of(record).get(usize::from(link));
        state.unwrap_or(&self.unused)
    }

    /// Returns the states of all records on all links in use.
    pub(super) fn iter(&self) -> core::slice::Iter<'_, RecordState> {
        self.all.iter()
    }
}
