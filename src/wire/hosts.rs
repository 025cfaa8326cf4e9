//! hosts(5): the addresses and names of hosts, as in /etc/hosts. Malformed lines are skipped.

use super::address::address;
use super::label::cut;
use crate::mem::parts;
use core::net::Ipv6Addr;

/// A line: an address, mapped into IPv6 if it is IPv4, and its names.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The address.
    pub address: Ipv6Addr,
    /// The text after the address.
    names: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let (line, _) = cut(line, b'#');
        let line = line.trim_ascii();
        let end = line.iter().position(u8::is_ascii_whitespace)?;
        let (word, names) = line.split_at_checked(end)?;
        let address = address(word)?;
        Some(Self { address, names })
    }

    /// The names, the canonical one first.
    pub fn names(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let words = self.names.split(u8::is_ascii_whitespace);
        words.filter(|word| !word.is_empty())
    }
}

/// The lines of a file that have an address and a name.
pub fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    parts(text, b'\n').filter_map(Line::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_lines_are_skipped() {
        let text = b"127.0.0.1\tlocalhost\n# 192.0.2.1 no\n\n ::1  ip6-localhost ip6-loopback # x y\r\n\
            192.0.2.7 a.example.org a\n192.0.2.8\n192.0.2 b\nfe80::1%lo0 c\n\xff\xfe d\n192.0.2.9 last";
        let read: Vec<_> = lines(text)
            .map(|line| {
                let names = line.names().map(|name| String::from_utf8_lossy(name));
                let names: Vec<_> = names.collect();
                format!("{} {}", line.address.to_canonical(), names.join(" "))
            })
            .collect();
        assert_eq!(
            read,
            [
                "127.0.0.1 localhost",
                "::1 ip6-localhost ip6-loopback",
                "192.0.2.7 a.example.org a",
                "192.0.2.9 last"
            ]
        );
    }
}
