//! The rules of an export for a peer, and the squashing of callers. exports(5).

use super::super::names::Verdict;
use super::super::reading::KeptHosts;
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

impl Tree {
    /// The rules of an export for a host.
    ///
    /// # Errors
    /// `Stale`: no such export, or not for that host; `Permission`: the request must come from a port below 1024; `Again`: that
    /// depends on a look-up of host names, which has begun.
    pub fn rules(&mut self, number: usize, peer: &Peer) -> FsResult<Rules> {
        /// The rank of wildcards, and one below that of every host.
        const WILDCARDS: u8 = 2;
        const NO_HOST: u8 = 4;
        // Every request comes here, so this does not make an `Export`, whose path is measured by strlen.
        let path = self.exports.get(number).ok_or(FsError::Stale)?.path;
        let (mut best, mut rules) = (NO_HOST, Rules::DEFAULT);
        let (mut undecided, mut has_wildcards) = (NO_HOST, false);
        for entry in self.reading.entries_of(path) {
            let rank = entry.rank();
            if rank >= best {
                continue;
            }
            let verdict = match &entry.hosts {
                KeptHosts::Named { .. } if !HAS_NAMES => Verdict::IsNot,
                KeptHosts::Named { is_pattern, .. } if *is_pattern => {
                    has_wildcards = true;
                    continue;
                }
                KeptHosts::Named { number, .. } => match &self.names {
                    Some(names) => names.compare_host(*number as usize, peer.address),
                    None => Verdict::IsNot,
                },
                KeptHosts::Other(hosts) if hosts.contains(peer.address) => Verdict::Is,
                KeptHosts::Other(_) => Verdict::IsNot,
            };
            match verdict {
                Verdict::Is => (best, rules) = (rank, entry.rules),
                Verdict::Undecided => undecided = undecided.min(rank),
                Verdict::IsNot => {}
            }
        }
        // Names of clients are looked up only if they matter.
        if HAS_NAMES
            && has_wildcards
            && best > WILDCARDS
            && let Some(names) = &mut self.names
            && let Some(at) = names.peer(peer.address)
        {
            for entry in self.reading.entries_of(path) {
                let KeptHosts::Named { number, is_pattern } = &entry.hosts else {
                    continue;
                };
                let name = self.reading.host_name(*number as usize);
                match name.map(|host| names.compare_peer(at, host.name)) {
                    Some(Verdict::Is) if *is_pattern && best > WILDCARDS => {
                        (best, rules) = (WILDCARDS, entry.rules);
                    }
                    Some(Verdict::Undecided) => undecided = undecided.min(WILDCARDS),
                    _ => {}
                }
            }
        }
        if undecided < best {
            return Err(FsError::AwaitsNames);
        }
        if best == NO_HOST {
            return Err(FsError::Stale);
        }
        if rules.has(Rules::SECURE) && !peer.is_privileged() {
            return Err(FsError::Permission);
        }
        Ok(rules)
    }
}
