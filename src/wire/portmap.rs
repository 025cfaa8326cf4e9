//! Portmapper version 2 and rpcbind versions 3 and 4: procedure numbers, mappings, universal addresses. RFC 1833.

use super::Reader;
use super::label::number;
use crate::mem::{Ends as _, has_any, index_of, nth};

/// The RPC program number of the portmapper.
pub const PROGRAM: u32 = 100_000;
/// The version that has port numbers of IPv4 only.
pub const VERSION: u32 = 2;
/// The versions that have universal addresses.
pub const VERSION_3: u32 = 3;
/// The last version.
pub const VERSION_4: u32 = 4;
/// The port that every client knows.
pub const PORT: u16 = 111;
/// Longest string of a mapping that is accepted (bytes).
const STRING_BYTES_MAX: u32 = 255;

/// Procedure numbers, the same in all versions.
pub mod procedure {
    /// Does nothing.
    pub const NULL: u32 = 0;
    /// Adds a mapping.
    pub const SET: u32 = 1;
    /// Removes mappings.
    pub const UNSET: u32 = 2;
    /// Returns the port (version 2: GETPORT) or universal address (GETADDR) of a program.
    pub const GET: u32 = 3;
    /// Returns the whole table.
    pub const DUMP: u32 = 4;
    /// CALLIT (version 4: BCAST): calls a procedure of another program. A failure is not answered.
    pub const CALLIT: u32 = 5;
    /// Version 4: as GETADDR, but only for exactly this version of the program. Our GETADDR does not return other versions either.
    pub const GETVERSADDR: u32 = 9;
    /// Version 4: as CALLIT, but a failure is answered.
    pub const INDIRECT: u32 = 10;
}

/// A transport: TCP or UDP over IPv4 or IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Transport {
    /// TCP over IPv4.
    Tcp,
    /// UDP over IPv4.
    Udp,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv6.
    Udp6,
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Tcp6, Self::Udp6];

    /// Returns true for UDP.
    pub const fn is_udp(self) -> bool {
        self as u8 & 1 != 0
    }

    /// Returns true for a transport over IPv6.
    pub const fn is_v6(self) -> bool {
        self as u8 & 2 != 0
    }

    /// Returns the protocol number of version 2.
    pub const fn protocol(self) -> u32 {
        if self.is_udp() { 17 } else { 6 }
    }

    /// Returns the network identifier of versions 3 and 4.
    pub fn netid(self) -> &'static [u8] {
        nth(NETIDS, b' ', self as usize)
    }

    /// Returns the address of a server that listens on all addresses.
    #[inline(never)] // −22 bytes: four callers.
    pub const fn any_host(self) -> &'static [u8] {
        if self.is_v6() { b"::" } else { b"0.0.0.0" }
    }
}

/// The network identifiers of [`Transport::ALL`].
const NETIDS: &[u8] = b"tcp udp tcp6 udp6";

/// An RPC program and the port that serves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// RPC program number.
    pub program: u32,
    /// Version of the program.
    pub version: u32,
    /// The transport.
    pub transport: Transport,
    /// The port on which the server listens.
    pub port: u16,
}

/// The arguments of SET, UNSET, GETPORT and GETADDR.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query<'a> {
    /// RPC program number.
    pub program: u32,
    /// Version of the program.
    pub version: u32,
    /// The port; 0 if there is no valid one.
    pub port: u16,
    /// The transports: a sum of 1 << [`Transport`].
    transports: u8,
    /// The host part of the universal address; empty in version 2 or without a valid address.
    host: &'a [u8],
}

impl<'a> Query<'a> {
    /// Parses the arguments of a call to portmapper `version`: in version 2 a mapping with its port, in the others netid, universal
    /// address and owner. The owner is ignored, and so is the protocol in UNSET of version 2.
    /// Call [`Reader::check`] before using them.
    pub fn parse(args: &mut Reader<'a>, version: u32, procedure: u32) -> Self {
        let mut query = Self {
            program: args.u32(),
            version: args.u32(),
            port: 0,
            transports: 0,
            host: b"",
        };
        let netid: &[u8];
        if version == VERSION {
            netid = match (args.u32(), procedure) {
                (_, procedure::UNSET) => b"",
                (6, _) => b"tcp",
                (17, _) => b"udp",
                _ => b"-",
            };
            query.port = u16::try_from(args.u32()).unwrap_or(0);
        } else {
            netid = args.opaque(STRING_BYTES_MAX);
            let address = args.opaque(STRING_BYTES_MAX);
            args.opaque(STRING_BYTES_MAX);
            if let Some((host, port)) = parse_address(address) {
                (query.host, query.port) = (host, port);
            }
        }
        query.transports = match index_of(NETIDS, netid) {
            Some(index) => 1 << index,
            None if netid.is_empty() => u8::MAX,
            None => 0,
        };
        query
    }

    /// Returns true if the query names the program, the version and the transport of `mapping`.
    pub fn names(&self, mapping: &Mapping) -> bool {
        (self.program, self.version) == (mapping.program, mapping.version)
            && self.transports >> mapping.transport as u8 & 1 != 0
    }

    /// Returns the mapping that SET adds. `None`: the transport is unknown or missing.
    pub fn mapping(&self) -> Option<Mapping> {
        let mut all = Transport::ALL.iter();
        let transport = all.find(|transport| self.transports == 1 << **transport as u8)?;
        Some(Mapping {
            program: self.program,
            version: self.version,
            transport: *transport,
            port: self.port,
        })
    }

    /// Returns the host to which a client that asks for an address can connect: clients send the address at which they reached the
    /// portmapper. If there is none of the transport's family, returns the unspecified address.
    pub fn host(&self, transport: Transport) -> &'a [u8] {
        let is_v6 = has_any(self.host, b":");
        if self.host.is_empty() || is_v6 != transport.is_v6() {
            return transport.any_host();
        }
        self.host
    }
}

/// Parses a universal address: host, high byte and low byte of the port, with dots between them. Returns the host and the port.
fn parse_address(address: &[u8]) -> Option<(&[u8], u16)> {
    let (rest, low) = split_byte(address)?;
    let (host, high) = split_byte(rest)?;
    Some((host, u16::from_be_bytes([high, low])))
}

/// Splits off the last dot and the decimal byte after it.
fn split_byte(address: &[u8]) -> Option<(&[u8], u8)> {
    let dot = address.iter().rposition(|byte| *byte == b'.')?;
    let byte = number(address.tail(dot + 1), 10)?;
    Some((address.head(dot), u8::try_from(byte).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn universal_addresses_have_host_and_port() {
        for (address, expect) in [
            ("127.0.0.1.8.1", Some(("127.0.0.1", 2049))),
            ("::1.0.111", Some(("::1", 111))),
            ("fe80::1%eth0.255.255", Some(("fe80::1%eth0", 65535))),
            ("", None),
            ("8.1", None),
            ("127.0.0.1.256.1", None),
            ("127.0.0.1..1", None),
            ("127.0.0.1.8.x", None),
        ] {
            let expect = expect.map(|(host, port)| (host.as_bytes(), port));
            assert_eq!(parse_address(address.as_bytes()), expect, "{address}");
        }
    }
}
