//! The rules of an export for a peer, and the squashing of callers. exports(5).

use super::super::reading::{Entry, KeptHosts};
use super::super::{Caller, FsError, FsResult, Peer, Rights};
use super::Tree;
use crate::config::HAS_NAMES;
use crate::wire::exports::Rules;

/// UID of the superuser, to which every access is allowed.
pub(in super::super) const ROOT: u32 = 0;

impl Rules {
    /// Squashes a caller: maps its UID and GIDs by these rules, and stores them in `into`. -1 is anonymous as UID and as GID, and no
    /// supplementary group, as in the kernel's server. Returns true if GID or groups are others than before.
    pub(in super::super) fn squash(&self, caller: &Caller, into: &mut Caller) -> bool {
        let is_all = self.has(Self::SQUASHES_ALL);
        let believed = |number: u32, anonymous: u32| {
            let squashed = is_all
                || number == Caller::NOBODY
                || number == ROOT && self.has(Self::SQUASHES_ROOT);
            if squashed { anonymous } else { number }
        };
        into.uid = believed(caller.uid, self.anonymous.0);
        let gid = believed(caller.gid, self.anonymous.1);
        let groups = caller.groups.iter();
        let groups = groups.filter_map(|group| self.squash_group(*group));
        if gid == into.gid && groups.clone().eq(into.groups.iter().copied()) {
            return false;
        }
        into.gid = gid;
        into.groups = groups.collect();
        true
    }

    /// Returns the supplementary group that a caller has by these rules instead of `group`.
    pub(in super::super) fn squash_group(&self, group: u32) -> Option<u32> {
        // setgroups(2) refuses -1 with EINVAL.
        if self.has(Self::SQUASHES_ALL) || group == Caller::NOBODY {
            return None;
        }
        let is_root = group == ROOT && self.has(Self::SQUASHES_ROOT);
        Some(if is_root { self.anonymous.1 } else { group })
    }

    /// The rights that clients have by these rules.
    pub(in super::super) const fn rights(&self) -> Rights {
        Rights::of(self.has(Self::WRITABLE), self.has(Self::ISOS))
    }
}

/// The rank of wildcards, and one below that of every host.
const WILDCARDS: u8 = 2;
const NO_HOST: u8 = 4;

/// The entry of an export that applies to a host.
struct Match {
    /// Rank and rules of the entry.
    rank: u8,
    rules: Rules,
    /// The best rank of an entry whose first look-up has not ended.
    awaited: u8,
    /// The error if no entry applies.
    refusal: FsError,
}

impl Match {
    /// Adds an entry. `checked`: `Ok` if the host is one of its hosts.
    fn add(&mut self, rank: u8, entry: &Entry, checked: FsResult<()>) {
        match checked {
            Ok(()) if rank < self.rank => (self.rank, self.rules) = (rank, entry.rules),
            Err(FsError::AwaitsNames) => self.awaited = self.awaited.min(rank),
            Err(FsError::TryLater) => self.refusal = FsError::TryLater,
            _ => {}
        }
    }
}

impl Tree {
    /// The rules of an export for a host.
    ///
    /// # Errors
    /// `Stale`: no such export, or not for that host; `Permission`: the request must come from a port below 1024; `AwaitsNames`: the
    /// rules depend on a look-up of host names, which has begun; `TryLater`: no server has answered it, and no other entry admits
    /// the host.
    pub fn rules(&mut self, number: usize, peer: &Peer) -> FsResult<Rules> {
        // Every request comes here, so this does not make an `Export`, whose path is measured by strlen.
        let path = self.exports.get(number).ok_or(FsError::Stale)?.path;
        let mut found = Match {
            rank: NO_HOST,
            rules: Rules::DEFAULT,
            awaited: NO_HOST,
            refusal: FsError::Stale,
        };
        let mut has_wildcards = false;
        for entry in self.reading.entries_of(path) {
            let rank = entry.rank();
            if rank >= found.rank {
                continue;
            }
            let checked = match &entry.hosts {
                KeptHosts::Named { .. } if !HAS_NAMES => continue,
                KeptHosts::Named { is_pattern, .. } if *is_pattern => {
                    has_wildcards = true;
                    continue;
                }
                KeptHosts::Named { number, .. } => match &self.names {
                    Some(names) => names.check_host(*number as usize, peer.address),
                    None => continue,
                },
                KeptHosts::Other(hosts) if hosts.contains(peer.address) => Ok(()),
                KeptHosts::Other(_) => continue,
            };
            found.add(rank, entry, checked);
        }
        // Names of clients are looked up only if they matter.
        if HAS_NAMES
            && has_wildcards
            && found.rank > WILDCARDS
            && let Some(names) = &mut self.names
            && let Some(at) = names.peer(peer.address)
        {
            for entry in self.reading.entries_of(path) {
                if let KeptHosts::Named { number, is_pattern } = &entry.hosts
                    && *is_pattern
                    && let Some(host) = self.reading.host_name(*number as usize)
                {
                    found.add(WILDCARDS, entry, names.check_peer(at, host.name));
                }
            }
        }
        let Match { rank, rules, .. } = found;
        // A client that is admitted waits only for an entry with other rules.
        let may_differ = |entry: &Entry| entry.rank() < rank && entry.rules != rules;
        if found.awaited < rank
            && (rank == NO_HOST || self.reading.entries_of(path).any(may_differ))
        {
            return Err(FsError::AwaitsNames);
        }
        if rank == NO_HOST {
            return Err(found.refusal);
        }
        if rules.has(Rules::SECURE) && !peer.is_privileged() {
            return Err(FsError::Permission);
        }
        Ok(rules)
    }
}
