//! The open connections of all servers that share a duplicate request cache.
//!
//! A client whose connection broke may send a call again from another port. The cache answers such a call from memory only if the
//! connection that got the reply is closed, so each server keeps the number of every open connection where the others can read it.
//! A server may be killed at any time: the kernel then marks its life word, and its connections count as closed.

use core::sync::atomic::{AtomicU32, Ordering};

/// FUTEX_OWNER_DIED: the kernel sets this bit of a life word when the server ends (get_robust_list(2)).
const DIED: u32 = 1 << 30;
/// Words of a server before those of its connections: the number of its first connection.
const SERVER_WORDS: usize = 1;

/// Number of words for `server_count` servers with at most `connection_count` connections each.
pub const fn word_count(server_count: usize, connection_count: usize) -> usize {
    1 + server_count * (SERVER_WORDS + connection_count)
}

/// A connection, open or closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Index of the word that holds `number` while the connection is open.
    place: u32,
    /// Counted over all servers, from 1.
    number: u32,
}

impl Connection {
    /// A connection of no server, which counts as closed.
    pub const NONE: Self = Self {
        place: 0,
        number: 0,
    };

    /// The connection as two words, and back.
    pub(in super::super) const fn to_words(self) -> [u32; 2] {
        [self.place, self.number]
    }

    /// The connection that `to_words` returned as `words`.
    pub(in super::super) const fn from_words([place, number]: [u32; 2]) -> Self {
        Self { place, number }
    }

    /// Returns true if this connection was opened after the one with `number`. Numbers may wrap.
    pub(in super::super) const fn is_after(self, number: u32) -> bool {
        self.number.wrapping_sub(number) as i32 > 0
    }
}

/// A server's view of the connections.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// The number of the newest connection, then the words of each server.
    words: &'static [AtomicU32],
    /// The life words of the servers, which the kernel marks when they end.
    lives: &'static [AtomicU32],
    /// Index of this server's words.
    own: usize,
    /// Number of words of a server.
    span: usize,
}

impl Connections {
    /// The connections of server `index`, in [`word_count`] words: zeros, or an earlier server's. Connections of an earlier server
    /// with this index are closed. `lives` has a life word for each server.
    pub fn new(words: &'static [AtomicU32], lives: &'static [AtomicU32], index: usize) -> Self {
        let span = (words.len().saturating_sub(1))
            .checked_div(lives.len())
            .unwrap_or(0);
        let connections = Self {
            words,
            lives,
            own: 1 + index * span,
            span,
        };
        if let Some(first) = connections.word(connections.own) {
            first.store(connections.newest().wrapping_add(1), Ordering::Relaxed);
        }
        connections
    }

    /// View of a server that was started in place of this one.
    #[cfg(test)]
    pub(in super::super) fn restarted(&self) -> Self {
        Self::new(self.words, self.lives, 0)
    }

    fn word(&self, index: usize) -> Option<&'static AtomicU32> {
        self.words.get(index)
    }

    fn read(&self, index: usize) -> u32 {
        self.word(index)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// The number of the newest connection of all servers.
    pub(in super::super) fn newest(&self) -> u32 {
        self.read(0)
    }

    /// Opens this server's connection in `slot`. A slot outside the table yields a connection that counts as closed.
    pub(in super::super) fn open(&self, slot: usize) -> Connection {
        let Some(newest) = self.word(0) else {
            return Connection::NONE;
        };
        let number = newest.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let place = match slot < self.span.saturating_sub(SERVER_WORDS) {
            true => self.own + SERVER_WORDS + slot,
            false => 0,
        };
        if place > 0
            && let Some(word) = self.word(place)
        {
            word.store(number, Ordering::Relaxed);
        }
        Connection {
            place: place as u32,
            number,
        }
    }

    /// Closes a connection of this server.
    pub(in super::super) fn close(&self, connection: Connection) {
        if connection.place > 0
            && let Some(word) = self.word(connection.place as usize)
        {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// Index of the words of the server that has the connection.
    fn server_of(&self, connection: Connection) -> Option<usize> {
        let place = (connection.place as usize).checked_sub(1)?;
        Some(1 + place - place.checked_rem(self.span)?)
    }

    /// Returns true if the connection is open and its server runs.
    pub(in super::super) fn is_open(&self, connection: Connection) -> bool {
        let Some(server) = self.server_of(connection) else {
            return false;
        };
        connection.number != 0
            && self.read(connection.place as usize) == connection.number
            && !self.has_died(server)
            && !self.precedes(connection, server)
    }

    /// Returns true if the server with the words at `server` has ended, and no other has taken its place.
    fn has_died(&self, server: usize) -> bool {
        let number = (server - 1).checked_div(self.span).unwrap_or(0);
        let life = self.lives.get(number);
        life.is_some_and(|life| life.load(Ordering::Relaxed) & DIED != 0)
    }

    /// Returns true if the connection is, or was, one of this server, and not of an earlier one with the same index.
    pub(in super::super) fn is_own(&self, connection: Connection) -> bool {
        self.server_of(connection) == Some(self.own) && !self.precedes(connection, self.own)
    }

    /// Returns true if the connection was opened before the server started.
    fn precedes(&self, connection: Connection, server: usize) -> bool {
        !connection.is_after(self.read(server).wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_is_open_until_either_end_stops() {
        let words = vec![0; word_count(2, 3)];
        let words: Vec<_> = words.into_iter().map(AtomicU32::new).collect();
        let words = &*words.leak();
        let lives: &[AtomicU32] = Box::leak(Box::new([0, 0].map(AtomicU32::new)));
        let first = Connections::new(words, lives, 0);
        let second = Connections::new(words, lives, 1);
        let (a, b, c) = (first.open(0), first.open(2), second.open(2));
        for connection in [a, b, c] {
            assert!(first.is_open(connection) && second.is_open(connection));
            assert_eq!(Connection::from_words(connection.to_words()), connection);
        }
        assert!(c.is_after(a.number) && !a.is_after(a.number) && first.newest() == c.number);
        assert!(first.is_own(a) && !first.is_own(c) && second.is_own(c));
        first.close(a);
        assert!(!second.is_open(a) && second.is_open(b) && first.is_own(a));
        // A connection beyond the table, and the connection of no server.
        for outside in [first.open(3), second.open(3), Connection::NONE] {
            assert!(!first.is_open(outside));
            first.close(outside);
        }
        assert!(second.is_open(b) && second.is_open(c));
        // The kernel marks a killed server; the next one with its index starts without connections.
        lives[0].store(DIED, Ordering::Relaxed);
        assert!(!second.is_open(b) && second.is_open(c));
        let next = Connections::new(words, lives, 0);
        lives[0].store(1234, Ordering::Relaxed);
        assert!(!second.is_open(b) && !next.is_own(b));
        let d = next.open(2);
        assert!(second.is_open(d) && next.is_own(d) && !second.is_open(b));
    }
}
