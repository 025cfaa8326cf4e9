//! A cached record with its state, and the times of its refresh queries and its expiry. RFC 6762 sections 5.2, 7.1 and 10.

use super::super::{LinkId, NameId};
use crate::time::{Duration, Instant};

/// Flags of a cached record. A flag that exists per address family has two bits: the named one for IPv4, the next higher one for
/// IPv6.
pub(super) mod record_flag {
    /// The slot is in use.
    pub(in super::super) const USED: u16 = 1;
    /// The record has expired; the slot is kept until its removal was reported.
    pub(in super::super) const GONE: u16 = 1 << 1;
    /// A lookup needs the record: it is queried again before it expires.
    pub(in super::super) const WANTED: u16 = 1 << 2;
    /// The record expires within a second: a goodbye was received, or a cache flush by other records of its name and type.
    pub(in super::super) const ENDING: u16 = 1 << 3;
    /// The record is in the chain of its name and target instead of its name alone, because the name may have many such records
    /// (PTR).
    pub(in super::super) const SHARED: u16 = 1 << 4;
    /// The record was received from an address of this host.
    pub(in super::super) const OWN: u16 = 1 << 5;
    /// The service that this PTR record points to is to be resolved.
    pub(in super::super) const RESOLVES: u16 = 1 << 6;
    /// The record was received before the last change of its link.
    pub(in super::super) const EARLIER: u16 = 1 << 7;
    /// The record was received over IPv4 (next higher bit: IPv6).
    pub(in super::super) const SEEN: u16 = 1 << 8;
    /// The record was reported to the caller as found over IPv4 (next higher bit: IPv6).
    pub(in super::super) const REPORTED: u16 = 1 << 10;
    /// `Resolved` or `Unresolved` was reported for IPv4 (next higher bit: IPv6).
    pub(in super::super) const TRIED: u16 = 1 << 12;
    /// The record is an NSEC record and denies a record that a lookup needs.
    pub(in super::super) const DENIES: u16 = 1 << 14;
    /// Factor for `SEEN`, `REPORTED` or `TRIED`: the product has the bits of both address families.
    pub(in super::super) const BOTH: u16 = 3;
}

/// Kind of event that a record causes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Role {
    #[default]
    Nothing,
    /// A service type was found.
    Type,
    /// A service was found.
    Service,
    /// An address of a host, or the name of an address, was found.
    Answer,
}

/// Time for which a record is kept after its goodbye or after a cache flush.
pub(super) const GRACE: Duration = Duration::SECOND;
/// Number of refresh queries before a record expires (at 80, 85, 90 and 95 % of its TTL).
const REFRESH_COUNT: u8 = 4;
/// First value of [`CacheEntry::step`] for a record that is being reconfirmed.
const RECONFIRMING: u8 = 16;
/// Time after which a response to a question is missing. Responders wait up to 500 ms for the rest of a truncated query.
const RESPONSE_TIME: Duration = Duration::from_ms(750);
/// Time within which a response must confirm a record that is being reconfirmed; otherwise the record expires.
const RECONFIRM_TIME: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheEntry {
    pub(super) received: Instant,
    pub(super) expires: Instant,
    /// Time of another host's question for the record. No response to it has arrived if it is later than `received`.
    pub(super) asked: Instant,
    /// TTL (seconds).
    pub(super) ttl: u32,
    /// Hash of the service data that was last reported for IPv4, and for IPv6; 0: no data was reported.
    pub(super) reported: [u32; 2],
    pub(super) name: NameId,
    /// The name in the rdata; the root for types without one.
    pub(super) target: NameId,
    pub(super) kind: u16,
    /// Flags of [`record_flag`].
    pub(super) flags: u16,
    /// Position of the rdata in the arena, without the name that is stored in `target`.
    pub(super) rdata: u16,
    pub(super) link: LinkId,
    pub(super) role: Role,
    /// Number of refresh queries since the record was received; from [`RECONFIRMING`] on, since the reconfirmation started.
    pub(super) step: u8,
    /// Random delay of refresh queries, in 1/1000 of the TTL.
    pub(super) jitter: u8,
}

impl CacheEntry {
    pub(super) const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Returns true if the record has not expired.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.flags & (record_flag::USED | record_flag::GONE) == record_flag::USED
            && self.expires > now
    }

    /// Returns true if the record has not expired, and neither a goodbye nor a cache flush shortened its life.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        self.is_live(now) && !self.is(record_flag::ENDING)
    }

    pub(super) const fn is_reconfirming(&self) -> bool {
        self.step >= RECONFIRMING
    }

    /// Returns the remaining TTL (seconds) if the record may be sent as a known answer. More than half of its TTL must remain. A
    /// record that is about to expire, is being reconfirmed or was received before the last change of its link is not sent.
    pub(super) fn is_known_for(&self, now: Instant) -> Option<u32> {
        let left = self.expires.since(now).as_ms();
        let whole = u64::from(self.ttl) * 1000;
        let is_said =
            self.is_valid(now) && !self.is_reconfirming() && !self.is(record_flag::EARLIER);
        let known = is_said && left * 2 > whole;
        known.then_some((left / 1000) as u32)
    }

    /// Returns when the record is due for its next refresh query or for its expiry. NEVER if no lookup needs the record and it was
    /// not reported.
    pub(super) fn due(&self) -> Instant {
        if self.flags & (record_flag::USED | record_flag::GONE) != record_flag::USED {
            return Instant::NEVER;
        }
        if !self.is(record_flag::WANTED) && !self.is_reported() {
            return Instant::NEVER;
        }
        let ask = match self.step {
            _ if self.is(record_flag::ENDING) || !self.is(record_flag::WANTED) => Instant::NEVER,
            // Reconfirmation queries after 1 s and after 3 s.
            RECONFIRMING.. => {
                let since = [1, 3].get(usize::from(self.step - RECONFIRMING));
                since.map_or(Instant::NEVER, |secs| {
                    self.received.after(Duration::from_secs(*secs))
                })
            }
            // Refresh queries at 80, 85, 90 and 95 % of the TTL, plus jitter.
            step @ 0..REFRESH_COUNT => {
                let share = u32::from(step) * 50 + 800;
                let share = share + u32::from(self.jitter);
                self.received.after(Duration::from_ms(self.ttl * share))
            }
            _ => Instant::NEVER,
        };
        ask.min(self.expires)
    }

    pub(super) const fn is_reported(&self) -> bool {
        self.is(record_flag::BOTH * record_flag::REPORTED)
    }

    /// Advances `step` past the refresh queries that are due, so that the next one is after `now`.
    pub(super) fn count_query(&mut self, now: Instant) {
        while self.due() <= now && self.expires > now {
            self.step += 1;
        }
    }

    /// Counts another host's question for the record, without this record as known answer. If it is the second one and no response
    /// to the first one was received, the record is reconfirmed: it expires in 10 s unless a response to this question or to ours
    /// confirms it. RFC 6762 sections 10.4 and 10.5.
    pub(super) fn count_question(&mut self, now: Instant) {
        let since = now.since(self.asked);
        if self.asked <= self.received || since >= RECONFIRM_TIME {
            self.asked = now;
        } else if since >= RESPONSE_TIME && !self.is_reconfirming() {
            (self.step, self.received) = (RECONFIRMING, now);
            self.expires = self.expires.min(now.after(RECONFIRM_TIME));
            self.flags |= record_flag::WANTED;
        }
    }

    /// Shortens the record's life to [`GRACE`].
    pub(super) fn expire_soon(&mut self, now: Instant) {
        self.flags |= record_flag::ENDING;
        self.expires = self.expires.min(now.after(GRACE));
    }

    pub(super) fn key(&self) -> usize {
        key(
            self.name,
            if self.is(record_flag::SHARED) {
                self.target
            } else {
                NameId::ROOT
            },
        )
    }
}

pub(super) const fn key(name: NameId, target: NameId) -> usize {
    name.index() + target.index() * 0x9e5
}
