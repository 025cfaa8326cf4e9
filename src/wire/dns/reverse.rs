//! The name for the reverse lookup of an address. RFC 1035 section 3.5, RFC 3596 section 2.5.

use super::super::Writer;
use super::escape::decimal;
use core::net::IpAddr;

/// Maximum length of such a name (bytes): 32 digits, `ip6`, `arpa`.
pub const REVERSE_BYTES_MAX: usize = 64 + 4 + 5 + 1;

/// Writes the name for the reverse lookup of `address`. Returns its length.
pub fn reverse(address: IpAddr, buffer: &mut [u8; REVERSE_BYTES_MAX]) -> usize {
    let mut out = Writer::new(buffer);
    match address {
        IpAddr::V4(address) => {
            for byte in address.octets().iter().rev() {
                let digits = decimal(*byte);
                let zeros = usize::from(*byte < 10) + usize::from(*byte < 100);
                let digits = digits.get(zeros..).unwrap_or_default();
                out.put(&[digits.len() as u8]);
                out.put(digits);
            }
            out.put(b"\x07in-addr");
        }
        IpAddr::V6(address) => {
            for byte in address.octets().iter().rev() {
                for digit in &[byte & 0xf, byte >> 4] {
                    let zero = if *digit < 10 { b'0' } else { b'a' - 10 };
                    out.put(&[1, digit + zero]);
                }
            }
            out.put(b"\x03ip6");
        }
    }
    out.put(b"\x04arpa\0");
    out.position()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_reverse_names() {
        let text = |address: &str| {
            let mut buffer = [0; REVERSE_BYTES_MAX];
            let len = reverse(address.parse().unwrap(), &mut buffer);
            let name = super::super::Name::of(&buffer[..len]);
            let labels: Vec<_> = name.labels().map(String::from_utf8_lossy).collect();
            labels.join(".")
        };
        assert_eq!(text("192.0.20.255"), "255.20.0.192.in-addr.arpa");
        assert_eq!(
            text("2001:db8::567:89ab"),
            "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
