//! Links: the addresses of an interface, the check whether a peer's address is on the link, and sets of links.

use crate::config::{LINK_COUNT_MAX, LINK_COUNT_MIN};
use crate::mem::{Ends as _, scaled};
use core::net::IpAddr;

/// Maximum number of addresses of one interface.
const ADDRESS_COUNT_MAX: usize = 16;

/// Index of a link, below [`link_count`]. A new link gets the lowest index that is free.
pub type LinkId = u8;

/// Returns the number of links that tables can have.
pub fn link_count() -> usize {
    scaled(LINK_COUNT_MIN, LINK_COUNT_MAX)
}

/// A set of links.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkSet(u64);

const _: () = assert!(LINK_COUNT_MAX <= u64::BITS as usize);

impl LinkSet {
    /// All links, also those that are added later.
    pub const ALL: Self = Self(u64::MAX);

    /// Returns the set of one link.
    pub const fn of(link: LinkId) -> Self {
        Self(1 << (link % u64::BITS as LinkId))
    }

    /// Returns true if the link is in the set.
    pub const fn has(self, link: LinkId) -> bool {
        self.meets(Self::of(link))
    }

    /// Returns true if the sets have a link in common.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Adds the links of another set.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Removes the links of another set.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// MTU and addresses of an interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[repr(C)] // The largest field is last.
pub struct Link {
    /// MTU (bytes); 0: Ethernet's MTU of 1,500.
    pub mtu: u32,
    /// True if another process on this host also has port 5353 open: the kernel may deliver unicasts for us to that process.
    pub shares_port: bool,
    /// The interface's addresses with their prefix lengths (bits). Empty: the link is down.
    pub addresses: heapless::Vec<(IpAddr, u8), ADDRESS_COUNT_MAX>,
}

impl Link {
    /// Returns true if the link is up, that is, has an address.
    pub fn is_up(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Returns true if `address` has the prefix of an address of ours on the link.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        self.covers(&address)
    }

    /// Returns true if `address` is one of our addresses on the link.
    pub fn is_own_address(&self, address: IpAddr) -> bool {
        self.has_address(&address)
    }

    pub(super) fn covers(&self, address: &IpAddr) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|(local, bits)| shares(local, address, *bits))
    }

    pub(super) fn has_address(&self, address: &IpAddr) -> bool {
        self.prefix_len(address).is_some()
    }

    /// Returns the prefix length of `address` (bits), or `None` if the address is not ours.
    pub fn prefix_len(&self, address: &IpAddr) -> Option<u8> {
        let mut addresses = self.addresses.iter();
        addresses.find_map(|(local, bits)| is_same(local, address).then_some(*bits))
    }
}

/// Size of an IPv6 address (bytes).
pub(super) const ADDRESS_BYTES_MAX: usize = 16;

/// Returns an address in network byte order, copied to `buffer`: 4 or 16 bytes.
#[inline(never)] // −32 bytes: four callers.
pub(super) fn octets<'a>(address: &IpAddr, buffer: &'a mut [u8; ADDRESS_BYTES_MAX]) -> &'a [u8] {
    match address {
        IpAddr::V4(address) => {
            let buffer = buffer.head_mut(4);
            buffer.copy_from_slice(&address.octets());
            buffer
        }
        IpAddr::V6(address) => {
            *buffer = address.octets();
            buffer
        }
    }
}

/// Returns true if both addresses are equal.
pub(super) fn is_same(left: &IpAddr, right: &IpAddr) -> bool {
    shares(left, right, u8::MAX)
}

/// Returns true if both addresses are of the same family and their first `bits` bits are equal.
fn shares(left: &IpAddr, right: &IpAddr, bits: u8) -> bool {
    let (mut left_buffer, mut right_buffer) = ([0; ADDRESS_BYTES_MAX], [0; ADDRESS_BYTES_MAX]);
    let (left, right) = (
        octets(left, &mut left_buffer),
        octets(right, &mut right_buffer),
    );
    let mut bits_left = u32::from(bits);
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| {
            let compared = bits_left.min(8);
            bits_left = bits_left.saturating_sub(8);
            (left ^ right).leading_zeros() >= compared
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_the_links_prefix_are_on_link() {
        let mut link = Link::default();
        assert!(!link.is_up() && !link.is_on_link("192.0.2.1".parse().unwrap()));
        for (address, bits) in [("192.0.2.1", 25), ("fe80::1", 64), ("2001:db8::5", 128)] {
            link.addresses
                .push((address.parse().unwrap(), bits))
                .unwrap();
        }
        for (address, expect) in [
            ("192.0.2.126", true),
            ("192.0.2.129", false),
            ("10.0.0.1", false),
            ("fe80::ffff", true),
            ("fe81::1", false),
            ("2001:db8::5", true),
            ("2001:db8::4", false),
            ("::", false),
        ] {
            assert_eq!(
                link.is_on_link(address.parse().unwrap()),
                expect,
                "{address}"
            );
        }
        assert!(
            link.is_own_address("fe80::1".parse().unwrap())
                && !link.is_own_address("fe80::2".parse().unwrap())
        );
    }

    /// Regression of avahi 2b4e8d7a (prefixes of more than 120 bits), tested for every prefix length.
    #[test]
    fn prefix_match_compares_exactly_the_prefix_bits() {
        for (local, bit_count) in [("2001:db8::5a5a", 128u8), ("192.0.2.90", 32)] {
            let local: IpAddr = local.parse().unwrap();
            for bits in 0..=u8::MAX {
                let mut link = Link::default();
                link.addresses.push((local, bits)).unwrap();
                assert!(link.is_on_link(local));
                for index in 0..bit_count {
                    let other = match local {
                        IpAddr::V4(local) => {
                            IpAddr::V4((local.to_bits() ^ 1 << (31 - index)).into())
                        }
                        IpAddr::V6(local) => {
                            IpAddr::V6((local.to_bits() ^ 1 << (127 - index)).into())
                        }
                    };
                    assert_eq!(link.is_on_link(other), index >= bits, "{other}/{bits}");
                }
            }
        }
    }
}
