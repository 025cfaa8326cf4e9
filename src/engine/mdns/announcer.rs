//! The responder that announces the host, and the hashes by which we recognise our own messages among those of other responders.

use super::names::hash;
use crate::config::LINK_COUNT_MAX;

/// Number of our last messages that are recognised if the network stack loops them back: one turn may send several on each link
/// before it receives the first of them.
const SENT_COUNT: usize = 4 * LINK_COUNT_MAX;

/// The responder that announces the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announcer {
    /// Not known yet. If another program has port 5353 open, we ask for the host's names before we probe for them, because a probe
    /// could make that program rename the host.
    Unknown,
    /// This responder.
    Ours,
    /// Another responder on this host.
    Other,
    /// No responder: the user has excluded the host's records, so we never announce them.
    Disabled,
}

/// Hashes of our last messages. The network stack loops our multicasts back to us; a matching hash distinguishes them from
/// messages of other responders on this host.
#[derive(Debug)]
pub(super) struct SentHashes {
    hashes: [u32; SENT_COUNT],
    next: usize,
    seed: u32,
}

impl SentHashes {
    pub(super) const fn new(seed: u32) -> Self {
        Self {
            hashes: [0; SENT_COUNT],
            next: 0,
            seed,
        }
    }

    pub(super) fn add(&mut self, message: &[u8]) {
        if let Some(slot) = self.hashes.get_mut(self.next % SENT_COUNT) {
            *slot = hash(self.seed, message);
        }
        self.next = (self.next + 1) % SENT_COUNT;
    }

    pub(super) fn has(&self, message: &[u8]) -> bool {
        self.hashes.contains(&hash(self.seed, message))
    }
}
