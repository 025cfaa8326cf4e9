//! Truncated queries: a querier with more known answers than one message takes sends the rest in further messages. They are
//! accumulated: what it knows already is not answered. RFC 6762 section 7.2.

use super::link::is_same;
use super::record_state::MANY;
use super::{LinkId, Meta};
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr};

/// Queriers of which further known answers are waited for at once, at most.
const TRUNCATED_QUERY_COUNT: usize = 8;

/// A querier of which further known answers are waited for.
#[derive(Clone, Copy, Debug)]
struct TruncatedQuery {
    from: IpAddr,
    port: u16,
    link: LinkId,
    /// When it is answered at the latest.
    end: Instant,
}

/// All of them. The number of one is never [`MANY`].
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
            end: Instant::from_ms(0),
        }; TRUNCATED_QUERY_COUNT],
    };

    /// The number of the querier that a message comes from, or [`MANY`].
    pub(super) fn number(&self, meta: &Meta, from: &IpAddr) -> u8 {
        self.number_of(&|other| {
            other.link == meta.link && other.port == meta.from.port() && is_same(&other.from, from)
        })
    }

    fn number_of(&self, is_it: &dyn Fn(&TruncatedQuery) -> bool) -> u8 {
        let place = self.all.iter().position(is_it);
        place.map_or(MANY, |place| place as u8 + 1)
    }

    /// Waits until `end` for more known answers of a querier, whose number so far is `known`. Its number; [`MANY`] if there are
    /// too many.
    pub(super) fn accumulate(
        &mut self,
        now: Instant,
        meta: &Meta,
        from: &IpAddr,
        known: u8,
        end: Instant,
    ) -> u8 {
        let mut number = known;
        if number == MANY {
            // One that was answered gives way.
            number = self.number_of(&|other| other.end <= now);
        }
        let place = usize::from(number).checked_sub(1);
        if let Some(query) = place.and_then(|place| self.all.get_mut(place)) {
            *query = TruncatedQuery {
                from: *from,
                port: meta.from.port(),
                link: meta.link,
                end,
            };
        }
        number
    }

    /// The link of the querier of this number, and when it is answered at the latest.
    pub(super) fn waits(&self, number: u8) -> Option<(LinkId, Instant)> {
        let query = self.all.get(usize::from(number).checked_sub(1)?)?;
        Some((query.link, query.end))
    }
}
