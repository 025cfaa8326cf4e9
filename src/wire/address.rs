//! Numeric IP addresses as text. RFC 4291 section 2.2.

use super::label::number as digits;
use crate::mem::{has_any, parts};
use core::net::{Ipv4Addr, Ipv6Addr};

/// Parses a numeric IP address: `2001:db8::1`, `::ffff:192.0.2.1`, or `192.0.2.1`, which is returned as an IPv4-mapped IPv6 address.
pub fn address(text: &[u8]) -> Option<Ipv6Addr> {
    let separator = *text.iter().find(|byte| matches!(byte, b':' | b'.'))?;
    let is_v6 = separator == b':';
    let mut groups = text;
    if is_v6 {
        // A leading or trailing "::" counts as one empty part. A single ":" at the start or the end is malformed.
        match text {
            [b':', b':', ..] => groups = groups.get(1..)?,
            [b':', ..] => return None,
            _ => {}
        }
        match text {
            [.., b':', b':'] => groups = groups.split_last()?.1,
            [.., b':'] => return None,
            _ => {}
        }
    }
    let mut octets = Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets();
    let (mut index, base, bits) = if is_v6 {
        octets = [0; 16];
        (0, 16, 16)
    } else {
        (12, 10, 8)
    };
    let mut may_skip = is_v6;
    let mut parts = parts(groups, separator);
    while let Some(part) = parts.next() {
        if may_skip && part.is_empty() {
            may_skip = false;
            // An IPv4 address at the end counts as two groups.
            let group_count = parts.clone().count() + usize::from(has_any(groups, b"."));
            let after = octets.len().checked_sub(2 * group_count)?;
            // "::" replaces at least one group.
            if after <= index {
                return None;
            }
            index = after;
            continue;
        }
        if is_v6
            && parts.rest.is_none()
            && let Some(last) = address(part)
        {
            let last = last.to_ipv4_mapped()?.octets();
            octets.get_mut(index..index + 4)?.copy_from_slice(&last);
            index += 4;
            break;
        }
        let number = digits(part, base).filter(|number| number >> bits == 0)?;
        if is_v6 {
            *octets.get_mut(index)? = (number >> 8) as u8;
            index += 1;
        }
        *octets.get_mut(index)? = number as u8;
        index += 1;
    }
    (index == octets.len()).then_some(octets.into())
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
