//! The clients that a process remembers: their share of the work, and when they were last seen.

use super::{CLIENTS_AT, Sheet};
use core::net::Ipv6Addr;

/// Most clients that a process remembers. One more takes the place of the one that was not seen for the longest time.
pub const CLIENT_COUNT_MAX: usize = 1024;
/// A client that is not remembered: all places have open connections.
pub const CLIENT_NONE: u16 = u16::MAX;

/// Words of a client: address (2; an IPv4 address is IPv4-mapped), time last seen (ms of the monotonic clock), open connections,
/// mounts, calls, bytes received, sent.
pub(super) const WORDS: usize = 8;
pub(super) const SEEN: usize = 2;
pub(super) const OPEN: usize = 3;
const MOUNTS: usize = 4;
pub(super) const CALLS: usize = 5;
const RECEIVED: usize = 6;
const SENT: usize = 7;

/// A client, as a reader sees it.
pub type Client = [u64; WORDS];

/// Work for a client that is not added to its figures yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Work {
    pub(super) calls: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

impl Sheet {
    const fn client_at(at: usize) -> usize {
        CLIENTS_AT + at * WORDS
    }

    /// Number of places for clients.
    fn client_count(self) -> usize {
        let count = self.0.len().saturating_sub(CLIENTS_AT) / WORDS;
        count.min(CLIENT_COUNT_MAX)
    }

    /// The clients that were seen.
    pub fn clients(self) -> impl Iterator<Item = Client> {
        (0..self.client_count()).filter_map(move |at| self.client(at))
    }

    /// The client at this place.
    pub fn client(self, at: usize) -> Option<Client> {
        let client = core::array::from_fn(|word| self.read(Self::client_at(at) + word));
        (client[..SEEN] != [0; SEEN]).then_some(client)
    }

    /// Returns the place of a client, which is remembered from now on. The places are searched in order: clients are found once for
    /// each connection.
    pub(super) fn place_of(self, address: Ipv6Addr, now_ms: u64) -> u16 {
        let bits = address.to_bits();
        let [high, low] = [(bits >> 64) as u64, bits as u64];
        let mut oldest = (u64::MAX, None);
        for at in 0..self.client_count() {
            let first = Self::client_at(at);
            let [other_high, other_low] = [self.read(first), self.read(first + 1)];
            if (other_high, other_low) == (high, low) {
                return at as u16;
            }
            let is_free = (other_high, other_low) == (0, 0);
            if self.read(first + OPEN) == 0 && (is_free || self.read(first + SEEN) < oldest.0) {
                oldest = (self.read(first + SEEN), Some(at));
            }
            if is_free {
                break;
            }
        }
        let Some(at) = oldest.1 else {
            return CLIENT_NONE;
        };
        let first = Self::client_at(at);
        for (word, value) in [high, low, now_ms, 0, 0, 0, 0, 0].into_iter().enumerate() {
            self.write(first + word, value);
        }
        at as u16
    }

    /// Adds work of a client.
    pub(super) fn add_work(self, client: u16, now_ms: u64, work: Work) {
        if client != CLIENT_NONE {
            let first = Self::client_at(client.into());
            self.write(first + SEEN, now_ms);
            for (word, count) in [
                (CALLS, work.calls),
                (RECEIVED, work.received),
                (SENT, work.sent),
            ] {
                self.add(first + word, count);
            }
        }
    }

    /// Changes the number of a client's connections.
    pub(super) fn add_open(self, client: u16, change: i64) {
        if client != CLIENT_NONE {
            let at = Self::client_at(client.into()) + OPEN;
            self.write(at, self.read(at).saturating_add_signed(change));
        }
    }

    /// Sets the number of a client's mounts.
    pub(super) fn set_mounts(self, client: u16, count: u64) {
        if client != CLIENT_NONE {
            self.write(Self::client_at(client.into()) + MOUNTS, count);
        }
    }

    /// Sets the number of all clients' connections to 0, at the start of a process.
    pub(super) fn forget_connections(self) {
        for at in 0..self.client_count() {
            if self.client(at).is_none() {
                return;
            }
            self.write(Self::client_at(at) + OPEN, 0);
        }
    }
}
