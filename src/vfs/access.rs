//! Access rights, and callers with their hosts and credentials.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// An access right. The values are the permission bits of a mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read the file or list the directory.
    Read = 4,
    /// Write to the file, or make and remove names in the directory.
    Write = 2,
    /// Run the file or look names up in the directory.
    Execute = 1,
}

/// The host that sent a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address; an IPv4 address is mapped into IPv6.
    pub address: Ipv6Addr,
    /// The port from which it sent.
    pub port: u16,
}

impl Default for Peer {
    fn default() -> Self {
        Self::NONE
    }
}

impl Peer {
    /// No host: the process itself, or a peer on standard streams.
    pub const NONE: Self = Self {
        address: Ipv6Addr::UNSPECIFIED,
        port: 0,
    };

    /// The host that sent from a port of this address.
    #[inline(never)] // −284 bytes: three callers.
    pub const fn new(from: SocketAddr) -> Self {
        const MAPPED: u128 = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().to_bits();
        let (bits, port) = match from {
            SocketAddr::V4(from) => (MAPPED | from.ip().to_bits() as u128, from.port()),
            SocketAddr::V6(from) => (from.ip().to_bits(), from.port()),
        };
        Self {
            address: Ipv6Addr::from_bits(bits),
            port,
        }
    }

    /// Returns true if the port is below 1024, which only root may use on a Unix host.
    pub const fn is_privileged(&self) -> bool {
        self.port < 1024
    }
}

/// The key by which a peer's share of a table is counted: its IPv4 address, or its IPv6 /64 network. Never 0 for a real peer.
pub const fn share(peer: Ipv6Addr) -> u64 {
    let address = peer.to_bits();
    match (address >> 64) as u64 {
        0 => address as u64, // An IPv4-mapped address, `::ffff:a.b.c.d`: its upper 64 bits are 0.
        network => network,
    }
}

/// Most supplementary groups of a caller (limit of AUTH_SYS, RFC 5531).
pub const GROUP_COUNT_MAX: usize = 16;

/// The caller's credentials as the request names them. [`super::Rules`] decide which of them are accepted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// UID; -1 for AUTH_NONE.
    pub uid: u32,
    /// GID; -1 for AUTH_NONE.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: heapless::Vec<u32, GROUP_COUNT_MAX>,
}

impl Caller {
    /// UID and GID of no user: the kernel reads -1 as "no change".
    pub const NOBODY: u32 = u32::MAX;

    /// A caller without credentials: each export maps it to its anonymous user.
    pub const ANONYMOUS: Self = Self {
        uid: Self::NOBODY,
        gid: Self::NOBODY,
        groups: heapless::Vec::new(),
    };
}
