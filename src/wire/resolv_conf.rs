//! resolv.conf(5): the name servers, the search list and the options `ndots`, `timeout`, `attempts` and `rotate`. Other lines and
//! options are skipped, and values are limited, as in glibc.

use super::address::address;
use super::label::{cut, number, strip_prefix};
use crate::mem::{self, Ends as _};
use core::net::{Ipv4Addr, SocketAddrV6};

/// Most name servers; further ones are skipped.
pub const SERVER_COUNT_MAX: usize = 3;
/// Longest search list (bytes).
pub const SEARCH_BYTES_MAX: usize = 256;
/// Most domains of the search list.
pub const SEARCH_COUNT_MAX: usize = 6;
/// Port of DNS.
pub const PORT: u16 = 53;

/// The parsed file.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    servers: [SocketAddrV6; SERVER_COUNT_MAX],
    server_count: usize,
    search: [u8; SEARCH_BYTES_MAX],
    search_len: usize,
    /// Number of dots from which on a name is first tried as it is.
    pub ndots: usize,
    /// Time (seconds) that a server has for its answer.
    pub timeout_secs: u32,
    /// Number of times that each server is asked.
    pub attempts: usize,
    /// True if questions are spread over all servers.
    pub rotates: bool,
}

impl Default for Config {
    /// The configuration without a file.
    fn default() -> Self {
        let own = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        Self {
            servers: [SocketAddrV6::new(own, PORT, 0, 0); SERVER_COUNT_MAX],
            server_count: 0,
            search: [0; SEARCH_BYTES_MAX],
            search_len: 0,
            ndots: 1,
            timeout_secs: 5,
            attempts: 2,
            rotates: false,
        }
    }
}

/// The words of a text.
fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = text.split(u8::is_ascii_whitespace);
    words.filter(|word| !word.is_empty())
}

impl Config {
    /// Parses a file. `domain` is the host's own domain, the search list of a file without one. `zone` returns the index of the
    /// interface with a name, for addresses such as `fe80::1%eth0`.
    pub fn parse(text: &[u8], domain: &[u8], zone: &dyn Fn(&[u8]) -> u32) -> Self {
        let mut config = Self::default();
        config.set_search(domain);
        for line in text.split(|byte| *byte == b'\n') {
            let mut words = words(line);
            match words.next() {
                Some(b"nameserver") => config.add_server(words.next().unwrap_or_default(), zone),
                Some(b"search") => config.set_search(line.trim_ascii_start().tail(b"search".len())),
                Some(b"domain") => config.set_search(words.next().unwrap_or_default()),
                Some(b"options") => words.for_each(|word| config.set_option(word)),
                _ => {}
            }
        }
        config
    }

    fn add_server(&mut self, word: &[u8], zone: &dyn Fn(&[u8]) -> u32) {
        let (host, interface) = cut(word, b'%');
        if let Some(address) = address(host)
            && let Some(place) = self.servers.get_mut(self.server_count)
        {
            let index = match interface {
                [] => 0,
                name => number(name, 10).unwrap_or_else(|| zone(name)),
            };
            *place = SocketAddrV6::new(address, PORT, 0, index);
            self.server_count += 1;
        }
    }

    fn set_search(&mut self, text: &[u8]) {
        let fits = text.len() <= SEARCH_BYTES_MAX;
        let text = if fits { text } else { b"" };
        mem::copy_into(&mut self.search, text);
        self.search_len = text.len();
    }

    fn set_option(&mut self, word: &[u8]) {
        let value = |name: &[u8], least: u32, most: u32| {
            let digits = strip_prefix(word, name)?;
            number(digits, 10).map(|value| value.clamp(least, most))
        };
        if word == b"rotate" {
            self.rotates = true;
        } else if let Some(dots) = value(b"ndots:", 0, 15) {
            self.ndots = dots as usize;
        } else if let Some(secs) = value(b"timeout:", 1, 30) {
            self.timeout_secs = secs;
        } else if let Some(count) = value(b"attempts:", 1, 5) {
            self.attempts = count as usize;
        }
    }

    /// The name servers: at least one, by default that of the own host.
    pub fn servers(&self) -> &[SocketAddrV6] {
        self.servers
            .get(..self.server_count.max(1))
            .unwrap_or_default()
    }

    /// The domains of the search list.
    pub fn search(&self) -> impl Iterator<Item = &[u8]> {
        words(self.search.head(self.search_len)).take(SEARCH_COUNT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_lines_are_read_as_by_glibc() {
        let read = |text: &str| {
            let zone = |name: &[u8]| u32::from(name == b"eth0") * 7;
            let config = Config::parse(text.as_bytes(), b"own.example", &zone);
            let servers = config.servers().iter().map(|server| {
                let at = server.ip().to_canonical();
                format!("{at}%{}", server.scope_id())
            });
            let servers: Vec<_> = servers.collect();
            let search = config.search().map(String::from_utf8_lossy);
            let search: Vec<_> = search.collect();
            let (ndots, secs) = (config.ndots, config.timeout_secs);
            let (attempts, rotates) = (config.attempts, config.rotates);
            format!(
                "{} | {} | {ndots} {secs} {attempts} {rotates}",
                servers.join(" "),
                search.join(" ")
            )
        };
        let long = format!("search {}", "a".repeat(300));
        for (text, expect) in [
            ("", "127.0.0.1%0 | own.example | 1 5 2 false"),
            (
                "# x\n; y\nnameserver 192.0.2.1\nnameserver 2001:db8::1\r\n nameserver fe80::1%eth0\nnameserver 192.0.2.4\n",
                "192.0.2.1%0 2001:db8::1%0 fe80::1%7 | own.example | 1 5 2 false",
            ),
            (
                "nameserver fe80::1%3",
                "fe80::1%3 | own.example | 1 5 2 false",
            ),
            (
                "nameserver x\nnameserver\n",
                "127.0.0.1%0 | own.example | 1 5 2 false",
            ),
            (
                "domain a.example\nsearch b.example\tc.example\n",
                "127.0.0.1%0 | b.example c.example | 1 5 2 false",
            ),
            (
                "search b.example\ndomain a.example x",
                "127.0.0.1%0 | a.example | 1 5 2 false",
            ),
            (
                "search 1 2 3 4 5 6 7",
                "127.0.0.1%0 | 1 2 3 4 5 6 | 1 5 2 false",
            ),
            (&long, "127.0.0.1%0 |  | 1 5 2 false"),
            (
                "options ndots:3 timeout:2 attempts:4 rotate edns0 ndots:x\n",
                "127.0.0.1%0 | own.example | 3 2 4 true",
            ),
            (
                "options ndots:99 timeout:99 attempts:99\noptions timeout:0 attempts:0",
                "127.0.0.1%0 | own.example | 15 1 1 false",
            ),
        ] {
            assert_eq!(read(text), expect, "{text}");
        }
    }
}
