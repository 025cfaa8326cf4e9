//! Links: what an interface has of addresses, and who is on it.

use core::net::IpAddr;

/// Interfaces that are served at once.
pub const LINK_COUNT_MAX: usize = 8;
/// Addresses of one interface.
const ADDRESS_COUNT_MAX: usize = 16;

/// The number of a link, below [`LINK_COUNT_MAX`].
pub type LinkId = u8;

/// What is known of a link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Our addresses on it, and the bits that they have in common with those of others there. None: it is not there.
    pub addresses: heapless::Vec<(IpAddr, u8), ADDRESS_COUNT_MAX>,
    /// Bytes of a packet on it; 0: those of Ethernet.
    pub mtu: u32,
    /// Somebody else on this host has the port, too: what is sent to us alone might reach him.
    pub shares_port: bool,
}

impl Link {
    /// Whether it is there.
    pub fn is_up(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// Whether `address` is on the link, as far as addresses tell.
    pub fn reaches(&self, address: IpAddr) -> bool {
        self.addresses
            .iter()
            .any(|(own, bits)| shares(*own, address, *bits))
    }

    /// Whether `address` is ours.
    pub fn owns(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| *own == address)
    }
}

/// Whether both addresses are of one family and share their first `bits`.
fn shares(one: IpAddr, two: IpAddr, bits: u8) -> bool {
    let (differs, len) = match (one, two) {
        (IpAddr::V4(one), IpAddr::V4(two)) => (u128::from(one.to_bits() ^ two.to_bits()) << 96, 32),
        (IpAddr::V6(one), IpAddr::V6(two)) => (one.to_bits() ^ two.to_bits(), 128),
        _ => return false,
    };
    differs.leading_zeros() >= u32::from(bits.min(len))
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
}
