//! Multicast DNS and DNS-based service discovery. RFC 6762, RFC 6763.
//!
//! A *link* is one interface with its IPv4 and IPv6 addresses. Messages are sent in both families, except for services that are
//! announced in one family only. The caller passes in time, entropy, datagrams and the links' addresses; the engine returns
//! messages, events and the instant of its next action. All tables are allocated at start.

mod announce;
mod announcer;
mod answer;
pub mod browser;
mod claim;
mod conflict;
mod goodbye;
mod host;
mod link;
mod link_state;
mod names;
mod probe;
mod rdata;
mod record_state;
mod responder;
mod response;
mod service_records;
mod states;
#[cfg(test)]
mod tests;
mod truncated;
mod zone;

pub use link::{Link, LinkId, LinkSet, link_count};
pub use names::{NameId, Names};
pub use responder::{Renamed, Responder, Rival};
pub use zone::{ALIAS_COUNT_MAX, Full};

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// UDP port of all responders and queriers (RFC 6762 section 2).
pub const PORT: u16 = 5353;
/// IPv4 multicast group (RFC 6762 section 3).
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// IPv6 multicast group (RFC 6762 section 3).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Address families as bits.
pub mod family {
    use core::net::IpAddr;

    /// IPv4.
    pub const IPV4: u8 = 1;
    /// IPv6.
    pub const IPV6: u8 = 2;
    /// Both.
    pub const ANY: u8 = IPV4 | IPV6;

    // Service descriptions use the same bits for address families.
    const _: () = assert!(ANY == crate::wire::announce::ANY_FAMILY);

    /// Returns the family bit of an address.
    pub const fn of(address: &IpAddr) -> u8 {
        if address.is_ipv4() { IPV4 } else { IPV6 }
    }
}

/// Capacity of a responder's tables.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of names; a label that several names share as their common suffix counts once.
    pub name_count: usize,
    /// Number of records; a service needs about five.
    pub record_count: usize,
    /// Total size of the TXT records (bytes).
    pub rdata_bytes: usize,
}

/// Kind of a datagram's destination address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// The multicast group.
    Multicast,
    /// An address of this host.
    Unicast,
    /// Multicast or unicast: the network stack does not report the destination. Accepted only from a source address on the link,
    /// because the socket also receives multicasts of other links.
    Unknown,
}

/// Source, link and destination of a received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// Source address and port.
    pub from: SocketAddr,
    /// Link on which the datagram arrived.
    pub link: LinkId,
    /// Kind of the destination address.
    pub cast: Destination,
}

/// A multicast message for one link. Its bytes are in the caller's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Link to send on.
    pub link: LinkId,
    /// Length of the message (bytes).
    pub len: usize,
    /// Families to send in: bits of [`family`]. The caller skips a family for which the link has no socket.
    pub families: u8,
}

/// Longest message (bytes) that a peer may send.
pub const MESSAGE_BYTES_MAX: usize = crate::wire::dns::MESSAGE_BYTES_MAX;
/// Longest message (bytes) without fragmentation: the payload of UDP over IPv6 in an Ethernet frame.
pub const MESSAGE_BYTES: usize = 1500 - HEAD_BYTES;
/// Size of the IPv6 and UDP headers (bytes).
const HEAD_BYTES: usize = 40 + 8;

/// Pseudo-random numbers (xorshift64*), seeded with the host's entropy.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeds the generator with 16 bytes of entropy.
    pub fn new(entropy: &[u8; 16]) -> Self {
        let number = u128::from_ne_bytes(*entropy);
        Self((number as u64 ^ (number >> 64) as u64) | 1)
    }

    /// Returns a random number of milliseconds: at least `from`, less than `from + count`.
    #[inline(never)] // −88 bytes: 14 callers.
    pub fn ms(&mut self, from: u32, count: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        from + ((high * u64::from(count)) >> 32) as u32
    }
}
