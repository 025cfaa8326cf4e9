//! Links: the addresses of an interface, and which others are on it.

use crate::mem::Ends as _;
use core::net::IpAddr;

/// Interfaces that are served at once.
pub const LINK_COUNT_MAX: usize = 8;
/// Addresses of one interface.
const ADDRESS_COUNT_MAX: usize = 16;

/// The number of a link, below [`LINK_COUNT_MAX`].
pub type LinkId = u8;

/// What is known of a link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[repr(C)] // The longest last.
pub struct Link {
    /// Bytes of a packet on it; 0: those of Ethernet.
    pub mtu: u32,
    /// Another process on this host has the port, too: a unicast to us might reach that.
    pub shares_port: bool,
    /// Our addresses on it, and the bits that they have in common with those of others there. None: it is not there.
    pub addresses: heapless::Vec<(IpAddr, u8), ADDRESS_COUNT_MAX>,
}

impl Link {
    /// Whether it is there.
    pub fn is_up(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Whether `address` is on the link, as far as addresses tell.
    pub fn reaches(&self, address: IpAddr) -> bool {
        self.leads_to(&address)
    }

    /// Whether `address` is ours.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.has(&address)
    }

    #[inline(never)]
    pub(super) fn leads_to(&self, address: &IpAddr) -> bool {
        let mut own = self.addresses.iter();
        own.any(|(own, bits)| shares(own, address, *bits))
    }

    pub(super) fn has(&self, address: &IpAddr) -> bool {
        self.bits_of(address).is_some()
    }

    /// How many bits an address of ours has in common with those of others.
    #[inline(never)]
    pub fn bits_of(&self, address: &IpAddr) -> Option<u8> {
        let mut own = self.addresses.iter();
        own.find_map(|(own, bits)| is_same(own, address).then_some(*bits))
    }
}

/// Bytes of the longest address.
pub(super) const ADDRESS_BYTES_MAX: usize = 16;

/// The bytes of an address.
#[inline(never)]
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

/// Whether both are the same address.
pub(super) fn is_same(one: &IpAddr, two: &IpAddr) -> bool {
    shares(one, two, u8::MAX)
}

/// Whether both addresses are of one family and share their first `bits`.
#[inline(never)]
fn shares(one: &IpAddr, two: &IpAddr, bits: u8) -> bool {
    let (mut one_buffer, mut two_buffer) = ([0; ADDRESS_BYTES_MAX], [0; ADDRESS_BYTES_MAX]);
    let (one, two) = (octets(one, &mut one_buffer), octets(two, &mut two_buffer));
    let mut left = u32::from(bits);
    one.len() == two.len()
        && one.iter().zip(two).all(|(one, two)| {
            let wanted = left.min(8);
            left = left.saturating_sub(8);
            (one ^ two).leading_zeros() >= wanted
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_the_prefix_is_on_the_link() {
        let mut link = Link::default();
        assert!(!link.is_up() && !link.reaches("192.0.2.1".parse().unwrap()));
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
            assert_eq!(link.reaches(address.parse().unwrap()), expect, "{address}");
        }
        assert!(link.owns("fe80::1".parse().unwrap()) && !link.owns("fe80::2".parse().unwrap()));
    }

    /// Avahi 2b4e8d7a: prefixes of more than 120 bits, and of every other length.
    #[test]
    fn each_bit_of_a_prefix_counts_and_no_other() {
        for (own, most) in [("2001:db8::5a5a", 128u8), ("192.0.2.90", 32)] {
            let own: IpAddr = own.parse().unwrap();
            for bits in 0..=u8::MAX {
                let mut link = Link::default();
                link.addresses.push((own, bits)).unwrap();
                assert!(link.reaches(own));
                for at in 0..most {
                    let other = match own {
                        IpAddr::V4(own) => IpAddr::V4((own.to_bits() ^ 1 << (31 - at)).into()),
                        IpAddr::V6(own) => IpAddr::V6((own.to_bits() ^ 1 << (127 - at)).into()),
                    };
                    assert_eq!(link.reaches(other), at >= bits, "{other}/{bits}");
                }
            }
        }
    }
}
