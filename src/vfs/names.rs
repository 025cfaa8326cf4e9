//! Host names in exports: their addresses, and the names of clients that wildcards may match. `engine::names` looks them up and
//! stores them here; [`Tree::rules`] only reads. While a look-up has no result, a client that may have the name is undecided.

use super::reading::{HostName, Reading};
use super::{FsError, FsResult, Tree};
use crate::config::{
    NAME_ADDRESS_COUNT_MAX, NAMED_PEER_BYTES, NAMED_PEER_COUNT_MAX, NAMED_PEER_COUNT_MIN,
};
use crate::mem::{self, Ends as _, Slots, copy_into, parts, scaled};
use crate::time::Instant;
use crate::wire::wildcard;
use core::net::Ipv6Addr;

/// The state of a look-up, as far as it matters to clients.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The error of a client for which no name or address was found. `AwaitsNames`: the first look-up may end soon. `TryLater`: no
    /// server has answered it. `Stale`: the client is refused.
    pub refusal: FsError,
    /// Time of the last answer; before the first one, time of the first question.
    pub since: Instant,
}

impl Outcome {
    const NONE: Self = Self {
        refusal: FsError::AwaitsNames,
        since: Instant::from_ms(0),
    };
}

/// A known address.
#[derive(Debug)]
pub struct Known<'a> {
    /// The key of the host name that has it; 0: it is a client's.
    pub key: u64,
    /// Time of the answer.
    pub since: Instant,
    /// The address.
    pub address: Ipv6Addr,
    /// The confirmed names of a client, each with a NUL.
    pub names: &'a [u8],
}

/// The addresses of a host name.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// A hash of the name, so that a new reading keeps the addresses.
    key: u64,
    list: [Ipv6Addr; NAME_ADDRESS_COUNT_MAX],
    len: u8,
    /// The state of the look-up.
    pub outcome: Outcome,
    /// True if a message says that the name is unknown.
    pub is_reported: bool,
}

impl Addresses {
    const NONE: Self = Self {
        key: 0,
        list: [Ipv6Addr::UNSPECIFIED; _],
        len: 0,
        outcome: Outcome::NONE,
        is_reported: false,
    };

    /// The addresses; IPv4 addresses are mapped into IPv6.
    pub fn list(&self) -> &[Ipv6Addr] {
        self.list.get(..self.len.into()).unwrap_or_default()
    }

    /// Replaces the addresses of one family by these. Those that do not fit are ignored.
    pub fn replace(&mut self, is_v4: bool, by: &[Ipv6Addr]) {
        let old = *self;
        self.len = 0;
        let is_other = |address: &&Ipv6Addr| address.to_ipv4_mapped().is_some() != is_v4;
        for address in old.list().iter().filter(is_other).chain(by) {
            self.add(*address);
        }
    }

    /// Adds an address, if it fits.
    pub fn add(&mut self, address: Ipv6Addr) {
        if let Some(place) = self.list.get_mut(usize::from(self.len)) {
            *place = address;
            self.len += 1;
        }
    }
}

/// The names of a client.
#[derive(Clone, Copy, Debug)]
pub struct NamedPeer {
    /// The client.
    pub address: Ipv6Addr,
    /// The state of the look-up.
    pub outcome: Outcome,
    /// True if the names were compared with wildcards since the last call of [`Self::take_used`].
    is_used: bool,
    /// A number that grows with each use.
    used: u32,
    len: u16,
    /// The confirmed names, each with a NUL.
    names: [u8; NAMED_PEER_BYTES],
}

impl NamedPeer {
    /// Returns true if the names were compared with wildcards since the last call of [`Self::take_used`].
    pub const fn is_used(&self) -> bool {
        self.is_used
    }

    /// As [`Self::is_used`], which returns false until the names are compared again.
    pub const fn take_used(&mut self) -> bool {
        core::mem::replace(&mut self.is_used, false)
    }

    /// The confirmed names.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        let names = parts(self.names.head(self.len.into()), 0);
        names.filter(|name| !name.is_empty())
    }

    /// Replaces the names by these, each with a NUL at its end.
    pub fn set_names(&mut self, names: &[u8]) {
        let fits = names.len() <= self.names.len();
        let names = if fits { names } else { b"" };
        copy_into(&mut self.names, names);
        self.len = names.len() as u16;
    }
}

/// See the head of the file.
#[derive(Default, Debug)]
pub(super) struct Names {
    /// By the numbers of the names in the valid reading.
    hosts: Slots<Addresses>,
    peers: Slots<NamedPeer>,
    /// Counts uses of `peers`.
    use_count: u32,
    /// True if a client was added, or is used again.
    has_new_peer: bool,
}

/// FNV-1a with 64 bits.
fn key(name: &[u8]) -> u64 {
    mem::fnv1a(mem::FNV_START, name)
}

impl Names {
    /// Makes memory for the addresses of `count` names, and for the names of clients. Called at the start only.
    pub(super) fn reserve(&mut self, count: usize) {
        self.hosts.reserve(count);
        self.peers
            .reserve(scaled(NAMED_PEER_COUNT_MIN, NAMED_PEER_COUNT_MAX));
    }

    /// Keeps the addresses of the names that a new reading has. The others are undecided.
    pub(super) fn follow(&mut self, reading: &Reading) {
        let mut count = 0;
        while let Some(host) = reading.host_name(count) {
            let key = key(host.name);
            if count == self.hosts.len() && self.hosts.push(Addresses::NONE).is_none() {
                break;
            }
            let mut known = self.hosts.iter().skip(count);
            match known.position(|known| known.key == key) {
                Some(behind) => self.hosts.swap(count, count + behind),
                // The place may have the addresses of a name that comes later.
                None => {
                    let place = self.hosts.get(count).copied();
                    if let Some(place) = place.filter(|place| place.key != 0) {
                        self.hosts.push(place);
                    }
                    if let Some(place) = self.hosts.get_mut(count) {
                        *place = Addresses::NONE;
                        place.key = key;
                        if host.is_pattern {
                            place.outcome.refusal = FsError::Stale;
                        }
                    }
                }
            }
            count += 1;
        }
        while self.hosts.len() > count {
            self.hosts.pop();
        }
    }

    /// Checks that the host name with this number has the address.
    ///
    /// # Errors
    /// See [`Outcome::refusal`].
    pub(super) fn check_host(&self, number: usize, address: Ipv6Addr) -> FsResult<()> {
        match self.hosts.get(number) {
            Some(host) if host.list().contains(&address) => Ok(()),
            host => Err(host.map_or(FsError::Stale, |host| host.outcome.refusal)),
        }
    }

    /// Returns the index of a client, which may be new.
    pub(super) fn peer(&mut self, address: Ipv6Addr) -> Option<usize> {
        self.use_count = self.use_count.wrapping_add(1);
        let known = self.peers.iter().position(|peer| peer.address == address);
        let at = known.or_else(|| self.add_peer(address))?;
        let peer = self.peers.get_mut(at)?;
        // The first use since a look-up may begin the next one.
        self.has_new_peer |= !peer.is_used;
        (peer.used, peer.is_used) = (self.use_count, true);
        Some(at)
    }

    fn add_peer(&mut self, address: Ipv6Addr) -> Option<usize> {
        let new = NamedPeer {
            address,
            outcome: Outcome::NONE,
            is_used: true,
            used: 0,
            len: 0,
            names: [0; _],
        };
        self.has_new_peer = true;
        self.peers.push(new).or_else(|| {
            // Clients without a name first: an attacker may have many addresses.
            let (count, all) = (self.use_count, self.peers.iter().enumerate());
            let (at, _) =
                all.max_by_key(|(_, peer)| (peer.len == 0, count.wrapping_sub(peer.used)))?;
            *self.peers.get_mut(at)? = new;
            Some(at)
        })
    }

    /// Checks that a wildcard matches a name of a client.
    ///
    /// # Errors
    /// See [`Outcome::refusal`].
    pub(super) fn check_peer(&self, at: usize, pattern: &[u8]) -> FsResult<()> {
        match self.peers.get(at) {
            Some(peer) if peer.names().any(|name| wildcard::is_match(pattern, name)) => Ok(()),
            peer => Err(peer.map_or(FsError::Stale, |peer| peer.outcome.refusal)),
        }
    }
}

/// The host names of the valid reading, and the clients with names.
impl Tree {
    /// The host name with this number. `None`: there are fewer.
    pub fn host_name(&self, number: usize) -> Option<HostName<'_>> {
        self.reading.host_name(number)
    }

    /// The number of host names.
    pub fn host_name_count(&self) -> usize {
        self.names.as_ref().map_or(0, |names| names.hosts.len())
    }

    /// The addresses of the host name with this number.
    pub fn addresses(&mut self, number: usize) -> Option<&mut Addresses> {
        self.names.as_mut()?.hosts.get_mut(number)
    }

    /// The clients that were compared with wildcards.
    pub fn named_peers(&mut self) -> &mut [NamedPeer] {
        match &mut self.names {
            Some(names) => &mut names.peers,
            None => &mut [],
        }
    }

    /// Passes each known address to `each`.
    pub fn list_known(&self, each: &mut dyn FnMut(&Known<'_>)) {
        let Some(names) = &self.names else {
            return;
        };
        let mut pass = |key, outcome: &Outcome, address, names| {
            each(&Known {
                key,
                since: outcome.since,
                address,
                names,
            });
        };
        for host in names.hosts.iter() {
            for address in host.list() {
                pass(host.key, &host.outcome, *address, b"");
            }
        }
        for peer in names.peers.iter().filter(|peer| peer.len > 0) {
            let confirmed = peer.names.head(peer.len.into());
            pass(0, &peer.outcome, peer.address, confirmed);
        }
    }

    /// Adds an address that an earlier server knew.
    pub fn add_known(&mut self, known: &Known<'_>) {
        let Some(names) = &mut self.names else {
            return;
        };
        let mut hosts = names.hosts.iter_mut();
        if let Some(host) = hosts.find(|host| host.key == known.key) {
            host.outcome.since = known.since;
            host.add(known.address);
        } else if !known.names.is_empty()
            && let Some(at) = names.add_peer(known.address)
            && let Some(peer) = names.peers.get_mut(at)
        {
            peer.outcome.since = known.since;
            peer.set_names(known.names);
        }
    }

    /// Returns true once after a client was added, or is used again.
    pub fn take_new_peer(&mut self) -> bool {
        let names = self.names.as_mut();
        names.is_some_and(|names| core::mem::take(&mut names.has_new_peer))
    }
}
