//! Router advertisements (RFC 4861 section 6): the default router, and prefixes for address autoconfiguration (RFC 4862).

use super::claim::ALL_ROUTERS;
use super::packet::{self, Mac};
use crate::mem::Ends as _;
use crate::time::{Duration, Instant};
use core::net::Ipv6Addr;
use smoltcp::wire::NdiscRepr;

/// RFC 4861 section 10.
const SOLICIT_COUNT: u8 = 3;
const SOLICIT_INTERVAL: Duration = Duration::from_secs(4);
/// Length of an advertisement before its options, in bytes.
const HEAD_BYTES: usize = 16;
/// Length of usable prefixes: an interface identifier takes the other 64 bits.
pub(super) const PREFIX_BITS: u8 = 64;

/// A prefix for address autoconfiguration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix {
    /// The first 64 bits of addresses.
    pub(super) network: [u8; 8],
    /// Valid lifetime of addresses; zero: the prefix is withdrawn.
    pub(super) valid: Duration,
}

/// The default router, and router solicitations.
#[derive(Debug)]
pub(super) struct Routers {
    router: Option<(Ipv6Addr, Instant)>,
    /// Solicitations left to send.
    left: u8,
    at: Instant,
}

impl Routers {
    /// No router, no solicitations.
    pub(super) const fn new() -> Self {
        Self {
            router: None,
            left: 0,
            at: Instant::NEVER,
        }
    }

    /// Starts sending router solicitations.
    pub(super) const fn solicit(&mut self, now: Instant) {
        (self.left, self.at) = (SOLICIT_COUNT, now);
    }

    /// Returns the default router.
    pub(super) fn router(&self) -> Option<Ipv6Addr> {
        self.router.map(|(router, _)| router)
    }

    /// Time of the next call of [`Routers::advance`].
    pub(super) fn poll_at(&self) -> Instant {
        let end = self.router.map_or(Instant::NEVER, |(_, end)| end);
        self.at.min(end)
    }

    /// Writes a solicitation from the address `from` to `out` if one is due; returns its length or 0, and true if the default
    /// router has expired.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        own: Mac,
        from: Ipv6Addr,
        out: &mut [u8],
    ) -> (usize, bool) {
        let is_gone = self.router.is_some_and(|(_, end)| now >= end);
        if is_gone {
            self.router = None;
        }
        if now < self.at {
            return (0, is_gone);
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.at = Instant::NEVER;
            return (0, is_gone);
        };
        (self.left, self.at) = (left, now.after(SOLICIT_INTERVAL));
        let solicit = NdiscRepr::RouterSolicit {
            lladdr: Some(own.into()),
        };
        let len = packet::discover(own, from, ALL_ROUTERS, solicit, out);
        (len, is_gone)
    }

    /// Handles an advertisement. Returns true if the default router has changed. Calls `found` for each usable prefix.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        from: Ipv6Addr,
        message: &[u8],
        found: &mut dyn FnMut(Prefix),
    ) -> bool {
        let Some((head, mut options)) = message.split_first_chunk::<HEAD_BYTES>() else {
            return false;
        };
        let [_, _, _, _, _, _, high, low, ..] = *head;
        let lifetime = u16::from_be_bytes([high, low]);
        let before = self.router();
        if lifetime > 0 {
            self.router = Some((from, now.after(Duration::from_secs(lifetime.into()))));
            self.left = 0;
        } else if before == Some(from) {
            self.router = None;
        }
        // Option: type, length in units of eight bytes, data.
        while let [kind, units, ..] = *options {
            let len = usize::from(units) * 8;
            if len == 0 || len > options.len() {
                break;
            }
            if kind == 3
                && let Some(prefix) = parse_prefix(options.head(len))
            {
                found(prefix);
            }
            options = options.tail(len);
        }
        self.router() != before
    }
}

/// Parses a prefix option. `None` unless the prefix is for autoconfiguration.
fn parse_prefix(option: &[u8]) -> Option<Prefix> {
    const IS_AUTONOMOUS: u8 = 0x40;
    let [_, _, bits, flags, a, b, c, d, ..] = *option.first_chunk::<32>()?;
    let network = *option.tail(16).first_chunk()?;
    let is_link_local = network.starts_with(&[0xfe, 0x80]);
    (bits == PREFIX_BITS && flags & IS_AUTONOMOUS != 0 && !is_link_local && network[0] != 0xff)
        .then(|| {
            // Infinity (0xffff_ffff) is used as that number of seconds.
            let secs = u32::from_be_bytes([a, b, c, d]);
            Prefix {
                network,
                valid: Duration::from_secs(secs),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A router advertisement: router lifetime 1,800 s, prefix 2001:db8::/64 for 7,200 s.
    fn advertisement() -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([3, 4, 64, 0xc0, 0, 0, 0x1c, 0x20, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).octets());
        message
    }

    const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

    #[test]
    fn router_expires_after_its_lifetime() {
        let (mut routers, now) = (Routers::new(), Instant::from_ms(5));
        let mut found = Vec::new();
        let message = advertisement();
        assert!(routers.handle(now, ROUTER, &message, &mut |prefix| found.push(prefix)));
        let network = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0];
        let valid = Duration::from_secs(7200);
        assert_eq!(found, [Prefix { network, valid }]);
        assert_eq!(routers.router(), Some(ROUTER));
        assert_eq!(routers.poll_at(), Instant::from_ms(1_800_005));
        let own = Mac {
            0: [2, 0, 0, 0, 0, 1],
        };
        let at = routers.poll_at();
        assert_eq!(routers.advance(at, own, ROUTER, &mut [0; 99]), (0, true));
        assert_eq!(routers.router(), None);
    }

    #[test]
    fn malformed_advertisements_add_no_prefix() {
        let message = advertisement();
        for len in 0..message.len() {
            let found = &mut |prefix| panic!("{prefix:?}");
            Routers::new().handle(Instant::default(), ROUTER, &message[..len], found);
        }
        for (at, byte) in [(17, 0), (17, 5), (18, 63), (19, 0x80), (32, 0xff)] {
            let mut message = message.clone();
            message[at] = byte;
            let found = &mut |prefix| panic!("{at} {prefix:?}");
            Routers::new().handle(Instant::default(), ROUTER, &message, found);
        }
    }
}
