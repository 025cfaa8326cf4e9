//! Neighbors: the MAC addresses from which other hosts' packets arrive.
//!
//! This host only answers requests. A reply goes to the MAC address that sent the request, the peer's or its router's. So the stack
//! never sends an ARP request or neighbor solicitation for another host, and no packet waits for an answer to one.

use super::claim::ALL_NODES;
use super::packet::{self, Content, Discovery, Mac};
use super::{Smol, connection_count_max};
use crate::mem::Slots;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Limit of neighbors without a connection.
const OTHER_COUNT_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Neighbor {
    address: IpAddr,
    mac: Mac,
    /// Number of this neighbor's connections. A neighbor that has one is not evicted.
    connection_count: u16,
    /// Path MTU: the longest packet (bytes) that reaches this neighbor, as far as known. Forgotten with the last connection.
    mtu: u16,
}

/// A table of neighbors, most recently used first.
#[derive(Debug)]
pub(super) struct Neighbors {
    table: Slots<Neighbor>,
    /// Number of neighbors without a connection.
    other_count: usize,
}

impl Neighbors {
    pub(super) fn new() -> Self {
        Self {
            table: Slots::new(connection_count_max() + OTHER_COUNT_MAX),
            other_count: 0,
        }
    }

    /// Looks up a neighbor and moves it to the front.
    fn find(&mut self, address: IpAddr) -> Option<&mut Neighbor> {
        let is_it = |neighbor: &Neighbor| neighbor.address == address;
        let index = self.table.iter().position(is_it)?;
        self.move_to_front(index);
        self.table.first_mut()
    }

    fn move_to_front(&mut self, index: usize) {
        if let Some(up_to_index) = self.table.get_mut(..=index) {
            up_to_index.rotate_right(1);
        }
    }

    /// Returns true if a packet that may be forged can set the MAC address of a neighbor. True for a neighbor without a connection.
    fn may_learn(&mut self, address: IpAddr) -> bool {
        let known = self.find(address);
        known.is_none_or(|neighbor| neighbor.connection_count == 0)
    }

    /// Returns the MAC address of a neighbor.
    pub(super) fn mac(&mut self, address: IpAddr) -> Option<Mac> {
        self.find(address).map(|neighbor| neighbor.mac)
    }

    /// Returns the path MTU of a neighbor.
    pub(super) fn mtu(&mut self, address: IpAddr) -> u16 {
        self.find(address).map_or(u16::MAX, |neighbor| neighbor.mtu)
    }

    /// Lowers the path MTU of a neighbor.
    pub(super) fn lower_mtu(&mut self, address: IpAddr, mtu: u16) {
        if let Some(neighbor) = self.find(address) {
            neighbor.mtu = neighbor.mtu.min(mtu);
        }
    }

    /// Sets the MAC address of a neighbor, and adds the neighbor if it is new. If [`OTHER_COUNT_MAX`] neighbors have no connection,
    /// the least recently used of them is evicted.
    pub(super) fn learn(&mut self, address: IpAddr, mac: Mac) {
        if let Some(known) = self.find(address) {
            known.mac = mac;
            return;
        }
        let new = Neighbor {
            address,
            mac,
            connection_count: 0,
            mtu: u16::MAX,
        };
        let index = if self.other_count < OTHER_COUNT_MAX {
            self.other_count += 1;
            self.table.push(new)
        } else {
            let is_evictable = |neighbor: &Neighbor| neighbor.connection_count == 0;
            self.table.iter().rposition(is_evictable)
        };
        if let Some(index) = index
            && let Some(slot) = self.table.get_mut(index)
        {
            *slot = new;
            self.move_to_front(index);
        }
    }

    /// Returns the number of neighbors.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Counts a new connection of a neighbor.
    pub(super) fn add_connection(&mut self, address: IpAddr) {
        if let Some(neighbor) = self.find(address) {
            neighbor.connection_count += 1;
            let is_first = neighbor.connection_count == 1;
            self.other_count -= usize::from(is_first);
        }
    }

    /// Counts the end of a connection of a neighbor.
    pub(super) fn remove_connection(&mut self, address: IpAddr) {
        if let Some(neighbor) = self.find(address)
            && let Some(left) = neighbor.connection_count.checked_sub(1)
        {
            neighbor.connection_count = left;
            if left == 0 {
                neighbor.mtu = u16::MAX;
                self.other_count += 1;
            }
        }
    }
}

impl Smol {
    /// Learns the sender of an IP packet. Returns false if the packet is for another host.
    ///
    /// Any host can send packets with the address of another. So while a peer has connections, only their segments, a SYN or ARP
    /// change its MAC address.
    pub(super) fn learn_sender(&mut self, frame: &[u8], content: &Content<'_>) -> bool {
        let Some((mac, from, to)) = packet::endpoints(frame) else {
            return true;
        };
        // smoltcp 0.14 accepts IPv6 packets for any address whose last 16 bits equal those of an address of ours.
        if to.is_ipv6() && !to.is_multicast() && !self.has(to) {
            return false;
        }
        // A reply would go to all hosts, or nowhere. A host without an address has the unspecified one.
        if !(is_host(from) || from.is_unspecified()) || self.is_broadcast(from) {
            return false;
        }
        let is_known = self.port.neighbors.mac(from) == Some(mac);
        if !is_known && is_host(from) && mac.is_unicast() && !self.has(from) {
            let is_proven = match *content {
                Content::Syn { .. } => true,
                Content::Segment { from, to, .. } => self.has_connection(from, to),
                _ => false,
            };
            if is_proven || self.port.neighbors.may_learn(from) {
                self.port.neighbors.learn(from, mac);
            }
        }
        true
    }

    /// Answers an ARP request or a neighbor solicitation for an address of ours, also a probe for duplicates (RFC 5227 section 2.4,
    /// RFC 4862 section 5.4.3). Learns the sender of an ARP message if the target is an address of ours, or if the sender is a
    /// known neighbor.
    pub(super) fn resolve(&mut self, content: &Content<'_>) {
        let own = self.own;
        match *content {
            Content::Arp {
                is_reply,
                mac,
                sender,
                target,
            } => {
                let is_for_us = self.has(target.into());
                let from = IpAddr::V4(sender);
                let is_known = self.port.neighbors.mac(from).is_some();
                if (is_for_us || is_known) && is_host(from) && !self.has(from) {
                    self.port.neighbors.learn(from, mac);
                }
                if is_for_us && !is_reply {
                    let answer =
                        &mut |out: &mut [u8]| packet::arp_reply(own, target, (mac, sender), out);
                    self.port.send_with(answer);
                }
            }
            Content::Solicit { mac, from, target }
                if self.has(target.into()) && !from.is_multicast() =>
            {
                let (to, message) = match from.is_unspecified() {
                    true => (ALL_NODES, Discovery::Announce(target)),
                    false => (from, Discovery::Answer(target)),
                };
                let answer =
                    &mut |out: &mut [u8]| packet::discover_at(own, target, (mac, to), message, out);
                self.port.send_with(answer);
            }
            _ => {}
        }
    }
}

/// Returns true if a host can have the address.
pub(super) const fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_host_v4(address),
        IpAddr::V6(address) => is_host_v6(address),
    }
}

/// Excludes "this network", loopback, groups and class E, which has the broadcast address (RFC 1122 section 3.2.1.3, RFC 6890).
const fn is_host_v4(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 1..=126 | 128..=223)
}

const fn is_host_v6(address: Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    const fn mac(number: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, number])
    }

    #[test]
    fn least_recently_used_neighbor_is_evicted() {
        let mut neighbors = Neighbors::new();
        for number in 0..OTHER_COUNT_MAX as u32 {
            neighbors.learn(address(number), mac(1));
        }
        assert_eq!(neighbors.mac(address(0)), Some(mac(1)));
        neighbors.learn(address(1000), mac(2));
        assert_eq!(neighbors.mac(address(0)), Some(mac(1)));
        assert_eq!(neighbors.mac(address(1)), None);
        assert_eq!(neighbors.mac(address(1000)), Some(mac(2)));
    }

    #[test]
    fn neighbor_with_connection_is_kept_until_last_ends() {
        let mut neighbors = Neighbors::new();
        let peer = address(5000);
        neighbors.learn(peer, mac(1));
        neighbors.add_connection(peer);
        neighbors.add_connection(peer);
        let flood = |neighbors: &mut Neighbors| {
            for number in 0..1000 {
                neighbors.learn(address(number), mac(2));
            }
        };
        flood(&mut neighbors);
        neighbors.learn(peer, mac(3));
        neighbors.remove_connection(peer);
        flood(&mut neighbors);
        assert_eq!(neighbors.mac(peer), Some(mac(3)));
        assert_eq!(neighbors.table.len(), OTHER_COUNT_MAX + 1);
        neighbors.remove_connection(peer);
        flood(&mut neighbors);
        assert_eq!(neighbors.mac(peer), None);
        assert_eq!(neighbors.table.len(), OTHER_COUNT_MAX + 1);
    }
}
