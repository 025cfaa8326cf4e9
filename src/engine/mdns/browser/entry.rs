//! One record: what is known of it, and when something is to be done about it. RFC 6762 sections 5.2, 7.1 and 10.

use super::super::{LinkId, NameId};
use crate::time::{Duration, Instant};

/// Facts of a record.
pub(super) mod is {
    /// The place is in use.
    pub(in super::super) const USED: u16 = 1;
    /// It is gone, and only here until that is told.
    pub(in super::super) const GONE: u16 = 1 << 1;
    /// It is wanted: it is asked for again before it expires.
    pub(in super::super) const WANTED: u16 = 1 << 2;
    /// It was said that it ends soon, or that others have taken its place.
    pub(in super::super) const ENDING: u16 = 1 << 3;
    /// Its target counts for the list that it is in: there may be many of its name.
    pub(in super::super) const SHARED: u16 = 1 << 4;
    /// We said it.
    pub(in super::super) const OWN: u16 = 1 << 5;
    /// To be told of with what is said of its target.
    pub(in super::super) const RESOLVES: u16 = 1 << 6;
    /// Heard before the link was what it is now.
    pub(in super::super) const EARLIER: u16 = 1 << 7;
    /// Heard by IPv4; by IPv6 the next bit.
    pub(in super::super) const SEEN: u16 = 1 << 8;
    /// Told as heard by IPv4, and so on.
    pub(in super::super) const REPORTED: u16 = 1 << 10;
    /// Resolved when heard by IPv4, or told that it cannot be, and so on.
    pub(in super::super) const TRIED: u16 = 1 << 12;
    /// It denies what is asked for.
    pub(in super::super) const DENIES: u16 = 1 << 14;
    /// Both families of one of these.
    pub(in super::super) const BOTH: u16 = 3;
}

/// What is reported when there is a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Role {
    #[default]
    Nothing,
    /// A type of services.
    Type,
    /// A service.
    Service,
    /// The address of a name, or the name of an address.
    Answer,
}

/// For how long a record stays that was said to be gone, or of which others took the place.
pub(super) const GRACE: Duration = Duration::SECOND;
/// As often a record is asked for before it ends.
const REFRESH_COUNT: u8 = 4;
/// The step of a record that is in doubt.
const DOUBTED: u8 = 16;
/// For how long it is.
const DOUBT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) received: Instant,
    pub(super) expires: Instant,
    /// Seconds.
    pub(super) ttl: u32,
    /// Stands for what was told of its target as heard by IPv4, and by IPv6; 0: nothing.
    pub(super) reported: [u32; 2],
    pub(super) name: NameId,
    /// The name in its rdata.
    pub(super) target: NameId,
    pub(super) kind: u16,
    /// See [`is`].
    pub(super) facts: u16,
    /// Where its rdata is, without the name.
    pub(super) rdata: u16,
    pub(super) link: LinkId,
    pub(super) role: Role,
    /// How often it was asked for since it came; or, from [`DOUBTED`] on, since it is in doubt.
    pub(super) step: u8,
    /// How much later than others it is asked for, in thousandths of its time.
    pub(super) jitter: u8,
}

impl Entry {
    pub(super) const fn is(&self, fact: u16) -> bool {
        self.facts & fact != 0
    }

    /// Whether it is still true.
    #[inline(never)]
    pub(super) fn lives(&self, now: Instant) -> bool {
        self.facts & (is::USED | is::GONE) == is::USED && self.expires > now
    }

    /// Whether it has not expired, and is not about to by a goodbye or a cache flush.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.lives(now) && !self.is(is::ENDING)
    }

    pub(super) const fn is_doubted(&self) -> bool {
        self.step >= DOUBTED
    }

    /// Seconds for which it may be said to be known, if these are more than half of what it had.
    pub(super) fn is_known_for(&self, now: Instant) -> Option<u32> {
        let left = self.expires.since(now).as_ms();
        let whole = u64::from(self.ttl) * 1000;
        let is_said = self.holds(now) && !self.is_doubted() && !self.is(is::EARLIER);
        let known = is_said && left * 2 > whole;
        known.then_some((left / 1000) as u32)
    }

    /// When something is to be done about it: it is asked for again, or it ends. Nothing, where it is not wanted.
    #[inline(never)]
    pub(super) fn due(&self) -> Instant {
        if self.facts & (is::USED | is::GONE) != is::USED {
            return Instant::NEVER;
        }
        if !self.is(is::WANTED) && !self.is_reported() {
            return Instant::NEVER;
        }
        let ask = match self.step {
            _ if self.is(is::ENDING) || !self.is(is::WANTED) => Instant::NEVER,
            // At once, after one second, and after three.
            DOUBTED.. => {
                let since = [0, 1, 3].get(usize::from(self.step - DOUBTED));
                since.map_or(Instant::NEVER, |secs| {
                    self.received.after(Duration::from_secs(*secs))
                })
            }
            // At 80, 85, 90 and 95 percent.
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
        self.is(is::BOTH * is::REPORTED)
    }

    /// It is asked for: the next time lies ahead.
    pub(super) fn asked(&mut self, now: Instant) {
        while self.due() <= now && self.expires > now {
            self.step += 1;
        }
    }

    /// It may be wrong: it is asked for, and expires if no host confirms it. RFC 6762 section 10.4.
    pub(super) fn doubt(&mut self, now: Instant) {
        self.step = DOUBTED;
        self.received = now;
        self.expires = self.expires.min(now.after(DOUBT));
    }

    /// It ends soon.
    pub(super) fn end(&mut self, now: Instant) {
        self.facts |= is::ENDING;
        self.expires = self.expires.min(now.after(GRACE));
    }

    pub(super) fn key(&self) -> usize {
        key(
            self.name,
            if self.is(is::SHARED) {
                self.target
            } else {
                NameId::ROOT
            },
        )
    }
}

pub(super) const fn key(name: NameId, target: NameId) -> usize {
    name.place() + target.place() * 0x9e5
}
