//! Address of a server on streams, in one type for all platforms: a port of a host, or a socket file.

use core::ffi::CStr;
use core::net::{Ipv6Addr, SocketAddrV6};

/// Where a server listens, or where a client finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServerAddress {
    /// An IP address and a TCP port. IPv4 is IPv4-mapped.
    Host(SocketAddrV6),
    /// A Unix socket, by an absolute path of at most [`Self::PATH_BYTES_MAX`] bytes.
    File(&'static CStr),
}

/// Clients that can reach a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Programs of this user and of root.
    Owner,
    /// All programs of this host.
    Host,
    /// Any host of the network.
    Anywhere,
}

impl ServerAddress {
    /// Longest path (bytes): `sun_path` of unix(7), without the NUL.
    pub const PATH_BYTES_MAX: usize = 107;

    /// Makes the address of a socket file. `None`: the path is too long.
    pub fn file(path: &'static CStr) -> Option<Self> {
        (path.count_bytes() <= Self::PATH_BYTES_MAX).then_some(Self::File(path))
    }

    /// Returns which clients can reach a listener at this address.
    pub fn reach(&self) -> Reach {
        match self {
            Self::File(_) => Reach::Owner,
            Self::Host(at) if is_loopback(*at.ip()) => Reach::Host,
            Self::Host(_) => Reach::Anywhere,
        }
    }
}

fn is_loopback(address: Ipv6Addr) -> bool {
    address.to_canonical().is_loopback()
}
