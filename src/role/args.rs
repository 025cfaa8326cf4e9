//! Parsing of argument values: ports, host names, IP addresses and socket addresses.

use crate::mem::parts;
pub(super) use crate::wire::address::address;
pub(super) use crate::wire::label::number as digits;
use crate::wire::{announce::is_label, label::cut};
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

pub(super) fn port(text: &[u8]) -> Option<u16> {
    digits(text, 10)?.try_into().ok()
}

/// Accepts a host name of one label, without a domain.
pub(super) fn host_label(text: &[u8]) -> Option<&[u8]> {
    let (label, _) = cut(text, b'.');
    (label.len() == text.len() && is_label(text)).then_some(text)
}

/// Parses a TTL (seconds): from 1 second to 1 day.
pub(super) fn ttl(text: &[u8]) -> Option<u32> {
    digits(text, 10).filter(|secs| (1..=86_400).contains(secs))
}

/// Turns an IPv4-mapped IPv6 address back into IPv4.
pub(super) fn canonical(at: &SocketAddrV6) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

/// Parses a host: an IP address, or `localhost`, which is its IPv4 loopback address.
pub(super) fn host(text: &[u8]) -> Option<Ipv6Addr> {
    match text {
        b"localhost" => Some(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
        _ => address(text),
    }
}

/// Parses `ADDRESS:PORT` or `[ADDRESS]:PORT`, or `:PORT` for all addresses.
pub(super) fn socket(text: &[u8]) -> Option<SocketAddrV6> {
    if let [b':', digits @ ..] = text {
        return Some(SocketAddrV6::new(
            Ipv6Addr::UNSPECIFIED,
            port(digits)?,
            0,
            0,
        ));
    }
    let mut sides = match text {
        [b'[', inside @ ..] => parts(inside, b']'),
        _ => parts(text, b':'),
    };
    let host = host(sides.next()?)?;
    // After a closing bracket, the colon is still part of the rest.
    let after = sides.rest?;
    let digits = after.strip_prefix(b":").unwrap_or(after);
    Some(SocketAddrV6::new(host, port(digits)?, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_have_any_host_or_localhost() {
        let shown = |text: &str| socket(text.as_bytes()).map(|at| at.to_string());
        for (text, at) in [
            (":8080", Some("[::]:8080")),
            ("localhost:80", Some("[::ffff:127.0.0.1]:80")),
            ("[::1]:80", Some("[::1]:80")),
            (":", None),
            ("::1", None),
            ("localhost", None),
            ("localhost.:80", None),
            (":65536", None),
        ] {
            assert_eq!(shown(text).as_deref(), at, "{text}");
        }
    }

    #[test]
    fn malformed_or_excessive_numbers_are_rejected() {
        assert_eq!(digits(b"4294967295", 10), Some(u32::MAX));
        for text in ["", "4294967296", "-1", "1x", " 1", "a"] {
            assert_eq!(digits(text.as_bytes(), 10), None, "{text}");
        }
    }
}
