//! Truncated queries: a querier whose known answers exceed one message sends the others in further messages. The responder waits
//! for these messages before it answers, and omits the known answers. RFC 6762 section 7.2.

use super::link::is_same;
use super::record_state::NO_QUERY;
use super::{LinkId, Meta};
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr};

/// Maximum number of truncated queries that wait for known answers at the same time.
const TRUNCATED_QUERY_COUNT: usize = 8;

/// A truncated query: its querier will send further known answers.
#[derive(Clone, Copy, Debug)]
struct TruncatedQuery {
    from: IpAddr,
    port: u16,
    link: LinkId,
    /// Latest time of the answer.
    deadline: Instant,
}

/// The table of truncated queries. A query's number is its index + 1, so never [`NO_QUERY`].
#[derive(Debug)]
pub(super) struct TruncatedQueries {
    all: [TruncatedQuery; TRUNCATED_QUERY_COUNT],
}

impl TruncatedQueries {
    pub(super) const NONE: Self = Self {
        all: [TruncatedQuery {
            from: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            port: 0,
            link: 0,
            deadline: Instant::from_ms(0),
        }; TRUNCATED_QUERY_COUNT],
    };

    /// Returns the number of the truncated query whose querier sent this message, or [`NO_QUERY`] if the table has none.
    pub(super) fn number(&self, meta: &Meta, from: &IpAddr) -> u8 {
        self.find_number(&|other| {
            other.link == meta.link && other.port == meta.from.port() && is_same(&other.from, from)
        })
    }

    fn find_number(&self, matches: &dyn Fn(&TruncatedQuery) -> bool) -> u8 {
        let index = self.all.iter().position(matches);
        index.map_or(NO_QUERY, |index| index as u8 + 1)
    }

    /// Adds a truncated query with this `deadline`. Overwrites the slot with the number `known`; for [`NO_QUERY`], a slot whose
    /// deadline has passed. Returns the number of the query, or [`NO_QUERY`] if the table is full.
    pub(super) fn accumulate(
        &mut self,
        now: Instant,
        meta: &Meta,
        from: &IpAddr,
        known: u8,
        deadline: Instant,
    ) -> u8 {
        let mut number = known;
        if number == NO_QUERY {
            // Reuse the slot of a query that has been answered.
            number = self.find_number(&|other| other.deadline <= now);
        }
        let index = usize::from(number).checked_sub(1);
        if let Some(query) = index.and_then(|index| self.all.get_mut(index)) {
            *query = TruncatedQuery {
                from: *from,
                port: meta.from.port(),
                link: meta.link,
                deadline,
            };
        }
        number
    }

    /// Returns the link and the deadline of the truncated query with this number.
    pub(super) fn pending(&self, number: u8) -> Option<(LinkId, Instant)> {
        let query = self.all.get(usize::from(number).checked_sub(1)?)?;
        Some((query.link, query.deadline))
    }
}
