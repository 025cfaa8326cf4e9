//! What arguments are made of: words, paths, numbers, addresses.

use core::net::Ipv6Addr;

pub(super) fn port(text: &[u8]) -> Option<u16> {
    digits(text, 10)?.try_into().ok()
}

/// A number of nothing but digits.
pub(super) fn digits(text: &[u8], base: u32) -> Option<u32> {
    text.first()?;
    let mut value = 0u32;
    for byte in text {
        let digit = match byte | 0x20 {
            letter @ b'a'..=b'f' => letter - b'a' + 10,
            _ => byte.wrapping_sub(b'0'),
        };
        if u32::from(digit) >= base {
            return None;
        }
        value = value.checked_mul(base)?.checked_add(digit.into())?;
    }
    Some(value)
}

/// An address in numbers: `192.0.2.1` (mapped into version 6), `2001:db8::1`.
#[inline(never)]
pub(super) fn address(text: &[u8]) -> Option<Ipv6Addr> {
    let separator = *text.iter().find(|byte| matches!(byte, b':' | b'.'))?;
    let v6 = separator == b':';
    let mut octets = [0; 16];
    let mut at = 0;
    if !v6 {
        [octets[10], octets[11]] = [0xff; 2];
        at = 12;
    }
    let (mut rest, mut gap) = (text, false);
    loop {
        if let ([b':', b':', after @ ..], false) = (rest, gap) {
            // The groups behind it come last.
            let colons = after.iter().filter(|byte| **byte == b':').count();
            let groups = colons + usize::from(!after.is_empty());
            let end = 16_usize.checked_sub(2 * groups)?;
            if end <= at {
                return None;
            }
            (at, rest, gap) = (end, after, true);
            if rest.is_empty() {
                break;
            }
        }
        let end = rest.iter().position(|byte| *byte == separator);
        let (part, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        let part = digits(part, if v6 { 16 } else { 10 })?;
        if v6 {
            *octets.get_mut(at)? = u8::try_from(part >> 8).ok()?;
            at += 1;
        } else if part > 255 {
            return None;
        }
        *octets.get_mut(at)? = part as u8;
        at += 1;
        rest = match after {
            [] => break,
            [b':', b':', ..] => after,
            [_, after @ ..] => after,
        };
    }
    (at == 16).then(|| octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_what_the_standard_library_takes_for_them() {
        for text in [
            "192.0.2.255",
            "::",
            "::1",
            "fe80::1:0:0:2",
            "2001:db8:0:1:2:3:4:5",
            "a::",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
        ] {
            let read = address(text.as_bytes()).map(|address| address.to_canonical());
            assert_eq!(read, text.parse().ok(), "{text}");
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
            "::1.2.3.4",
        ] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_are_whole_and_bounded() {
        assert_eq!(digits(b"4294967295", 10), Some(u32::MAX));
        for text in ["", "4294967296", "-1", "1x", " 1", "a"] {
            assert_eq!(digits(text.as_bytes(), 10), None, "{text}");
        }
    }
}
