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
    let (base, bits) = if v6 { (16, 16) } else { (10, 8) };
    let (mut value, mut count) = (0u128, 0);
    // What stands before "::", and how many groups that is.
    let mut gap: Option<(u128, u32)> = None;
    let mut rest = text;
    loop {
        if let ([b':', b':', after @ ..], None) = (rest, gap) {
            gap = Some((value, count));
            (value, rest) = (0, after);
            if rest.is_empty() {
                break;
            }
        }
        let end = rest.iter().position(|byte| *byte == separator);
        let (part, after) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        let part = digits(part, base).filter(|part| part >> bits == 0)?;
        value = value << bits | u128::from(part);
        count += 1;
        rest = match after {
            [] => break,
            [b':', b':', ..] => after,
            [_, after @ ..] => after,
        };
    }
    let whole = match gap {
        None if v6 && count == 8 => value,
        None if !v6 && count == 4 => 0xffff << 32 | value,
        Some((before, at)) if count < 8 => before << 16 << (16 * (7 - at)) | value,
        _ => return None,
    };
    Some(Ipv6Addr::from_bits(whole))
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
