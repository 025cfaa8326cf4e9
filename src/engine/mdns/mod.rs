//! Multicast DNS and DNS-based service discovery. RFC 6762, RFC 6763.
//!
//! A *link* is what one interface leads to, whatever families are spoken there: what is said is said in all of them, but
//! for services that are announced in one alone. Time,
//! entropy and the links' addresses are told; what comes out are messages, events and an instant. All tables are cut at start.

mod announce;
mod answer;
pub mod browser;
mod claim;
mod conflict;
mod goodbye;
mod host;
mod link;
mod names;
mod on_link;
mod probe;
mod rdata;
mod record_state;
mod responder;
mod response;
mod service_records;
#[cfg(test)]
mod tests;
mod truncated;
mod zone;

pub use link::{LINK_COUNT_MAX, Link, LinkId};
pub use names::{NameId, Names};
pub use responder::Responder;
pub use zone::{ALIAS_COUNT_MAX, Full};

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of every responder and querier (RFC 6762 section 2).
pub const PORT: u16 = 5353;
/// Their IPv4 group (RFC 6762 section 3).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// Their IPv6 group.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Address families of the Internet, as bits.
pub mod family {
    use core::net::IpAddr;

    /// IPv4.
    pub const IPV4: u8 = 1;
    /// IPv6.
    pub const IPV6: u8 = 2;
    /// Both.
    pub const ANY: u8 = IPV4 | IPV6;

    // As services are described.
    const _: () = assert!(ANY == crate::wire::announce::ANY_FAMILY);

    /// That of an address.
    pub const fn of(address: &IpAddr) -> u8 {
        if address.is_ipv4() { IPV4 } else { IPV6 }
    }
}

/// How much a responder can keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names, each label that names have in common counted once.
    pub name_count: usize,
    /// Records: about five for a service.
    pub record_count: usize,
    /// Bytes of all TXT records.
    pub text_bytes: usize,
}

/// What a datagram was sent to, as far as the host tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cast {
    /// The group on the link.
    Multicast,
    /// One of our addresses.
    Unicast,
    /// One of both. It counts only if it comes from the link: another link's socket hears it, too.
    Unknown,
}

/// What arrived, and where.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Its sender.
    pub from: SocketAddr,
    /// Where it came from.
    pub link: LinkId,
    /// What it was sent to.
    pub cast: Cast,
}

/// An envelope of what goes to everybody on a link; the bytes are in the buffer that the caller lent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// Where it is sent.
    pub link: LinkId,
    /// Bytes.
    pub len: usize,
    /// In which families, as far as the link speaks them.
    pub families: u8,
}

/// Bytes of the longest message that may come.
pub const MESSAGE_BYTES_MAX: usize = crate::wire::dns::MESSAGE_BYTES_MAX;
/// Bytes of a message that is not larger than it must be: what an Ethernet frame carries in IPv6.
pub const MESSAGE_BYTES: usize = 1500 - HEAD_BYTES;
/// Bytes of what stands before a message: IPv6 and UDP.
const HEAD_BYTES: usize = 40 + 8;

/// Random numbers, not to be predicted without the seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From 16 bytes of entropy.
    pub fn new(entropy: &[u8; 16]) -> Self {
        let number = u128::from_ne_bytes(*entropy);
        Self((number as u64 ^ (number >> 64) as u64) | 1)
    }

    /// A number of milliseconds of at least `from` and below `from + count`.
    #[inline(never)]
    pub fn ms(&mut self, from: u32, count: u32) -> u32 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        from + ((high * u64::from(count)) >> 32) as u32
    }
}
