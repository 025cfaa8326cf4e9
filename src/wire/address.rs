//! Numeric IP addresses as text. RFC 4291 section 2.2.

use super::label::number as digits;
use crate::mem::{Ends as _, nth, parts};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Parses a numeric IP address: `2001:db8::1`, `::ffff:192.0.2.1`, or `192.0.2.1`, which is returned as an IPv4-mapped IPv6 address.
#[inline(never)]
pub fn address(text: &[u8]) -> Option<Ipv6Addr> {
    if let Some(address) = dotted(text) {
        return Some(Ipv4Addr::from_bits(address).to_ipv6_mapped());
    }
    // The groups before and after "::", which is at bit `gap`. Without it, `after` holds all groups.
    let (mut before, mut after, mut bits, mut gap) = (0_u128, 0_u128, 0, u128::BITS);
    let mut rest = text;
    while !rest.is_empty() {
        if let [b':', b':', behind @ ..] = rest
            && gap == u128::BITS
            && bits < gap
        {
            (before, after, gap, rest) = (after, 0, bits, behind);
            if rest.is_empty() {
                break;
            }
        } else if bits > 0 {
            rest = rest.strip_prefix(b":")?;
        }
        let part = nth(rest, b':', 0);
        rest = rest.tail(part.len());
        let (group, size) = match dotted(part) {
            // An IPv4 address at the end counts as two groups.
            Some(address) if rest.is_empty() => (address, u32::BITS),
            _ => (digits(part, 16).filter(|number| number >> 16 == 0)?, 16),
        };
        after = after << size | u128::from(group);
        bits += size;
    }
    // "::" replaces at least one group.
    if bits > u128::BITS || (bits < u128::BITS) != (gap < u128::BITS) {
        return None;
    }
    let before = before.checked_shl(u128::BITS - gap).unwrap_or(0);
    Some(Ipv6Addr::from_bits(before | after))
}

/// Parses an IPv4 address.
#[inline(never)]
fn dotted(text: &[u8]) -> Option<u32> {
    let (mut address, mut count) = (0, 0);
    for part in parts(text, b'.') {
        address = address << 8 | digits(part, 10).filter(|number| number >> 8 == 0)?;
        count += 1;
    }
    (count == 4).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn addresses_parse_as_in_the_standard_library() {
        for text in [
            "192.0.2.255",
            "::",
            "::1",
            "fe80::1:0:0:2",
            "2001:db8:0:1:2:3:4:5",
            "a::",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
            "::ffff:192.0.2.1",
            "::1.2.3.4",
            "64:ff9b::192.0.2.1",
            "1:2:3:4:5:6:192.0.2.1",
        ] {
            let read = address(text.as_bytes()).map(|address| address.to_canonical());
            let expect = text.parse().map(|address: IpAddr| address.to_canonical());
            assert_eq!(read, expect.ok(), "{text}");
        }
        for text in [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1..2.3",
            ":",
            ":::",
            "1::2::3",
            "1:2:3:4:5:6:7:8:9",
            "g::",
            "1:2",
            ":1",
            "1:",
            "1:2:3:4:5:6:7:8::",
            "1::10000",
            "1=::",
            "::?",
            "::1.2.3",
            "::1.2.3.4.5",
            "::1.2.3.4:5",
            "1.2.3.4::",
            "1:2:3:4:5:6:7:1.2.3.4",
            "::1:2:3:4:5:6:7:1.2.3.4",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
