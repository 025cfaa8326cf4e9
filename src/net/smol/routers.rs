//! Router solicitations and advertisements (RFC 4861 section 6), for the prefixes of address autoconfiguration (RFC 4862).
//! A default router is not needed: see [`super::neighbors`].

use super::claim::ALL_ROUTERS;
use super::packet::{self, Discovery, Mac, each_option};
use crate::mem::Ends as _;
use crate::time::{Duration, Instant};
use core::net::Ipv6Addr;

/// Number of router solicitations to send, and their interval (RFC 4861 section 10: MAX_RTR_SOLICITATIONS,
/// RTR_SOLICITATION_INTERVAL).
const SOLICIT_COUNT: u8 = 3;
const SOLICIT_INTERVAL: Duration = Duration::from_secs(4);
/// Length of an advertisement before its options, in bytes.
const HEAD_BYTES: usize = 16;
/// Length (bits) of usable prefixes: an interface identifier takes the other 64 bits.
pub(super) const PREFIX_BITS: u8 = 64;

/// A prefix for address autoconfiguration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Prefix {
    /// The first 64 bits of addresses.
    pub(super) network: [u8; 8],
    /// Valid lifetime of addresses; zero: the prefix is withdrawn.
    pub(super) valid: Duration,
}

/// State of the router solicitations.
#[derive(Debug)]
pub(super) struct Routers {
    /// Solicitations left to send.
    left: u8,
    next_at: Instant,
}

impl Routers {
    /// Creates a state in which no solicitations are sent.
    pub(super) const fn new() -> Self {
        Self {
            left: 0,
            next_at: Instant::NEVER,
        }
    }

    /// Starts sending router solicitations.
    pub(super) const fn solicit(&mut self, now: Instant) {
        (self.left, self.next_at) = (SOLICIT_COUNT, now);
    }

    /// Time of the next call of [`Routers::advance`].
    pub(super) const fn poll_at(&self) -> Instant {
        self.next_at
    }

    /// Writes a solicitation from the address `from` to `out` if one is due. Returns its length, or 0.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        own: Mac,
        from: Ipv6Addr,
        out: &mut [u8],
    ) -> usize {
        if now < self.next_at {
            return 0;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.next_at = Instant::NEVER;
            return 0;
        };
        (self.left, self.next_at) = (left, now.after(SOLICIT_INTERVAL));
        packet::discover(own, from, ALL_ROUTERS, Discovery::RouterSolicit, out)
    }

    /// Handles an advertisement: calls `found` for each usable prefix. A router whose lifetime is not zero ends the solicitations.
    pub(super) fn handle(&mut self, message: &[u8], found: &mut dyn FnMut(Prefix)) {
        let Some((head, options)) = message.split_first_chunk::<HEAD_BYTES>() else {
            return;
        };
        let [_, code, _, _, _, _, high, low, ..] = *head;
        // One malformed option makes the whole advertisement invalid (section 6.1.2).
        if code != 0 || !each_option(options, &mut |_| {}) {
            return;
        }
        let is_router = [high, low] != [0; 2];
        if is_router {
            self.left = 0;
        }
        each_option(options, &mut |option| {
            if let Some(prefix) = parse_prefix(option) {
                found(prefix);
            }
        });
    }
}

/// Parses a prefix option. `None` unless the prefix is for autoconfiguration.
fn parse_prefix(option: &[u8]) -> Option<Prefix> {
    const PREFIX: u8 = 3;
    const IS_AUTONOMOUS: u8 = 0x40;
    let [kind, _, bits, flags, ..] = *option.first_chunk::<32>()?;
    let [preferred_secs, secs] = [8, 4].map(|at| {
        let field = option.tail(at).first_chunk().copied();
        field.map_or(0, u32::from_be_bytes)
    });
    let network = *option.tail(16).first_chunk()?;
    let is_link_local = network.starts_with(&[0xfe, 0x80]);
    // An address must not stay preferred when it is no longer valid (RFC 4862 section 5.5.3, c).
    let is_usable = kind == PREFIX
        && bits == PREFIX_BITS
        && flags & IS_AUTONOMOUS != 0
        && preferred_secs <= secs;
    (is_usable && !is_link_local && network[0] != 0xff).then(|| {
        // Infinity (0xffff_ffff) is used as that number of seconds.
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

    #[test]
    fn prefix_is_found_and_solicitations_end() {
        let mut routers = Routers::new();
        routers.solicit(Instant::from_ms(5));
        let mut found = Vec::new();
        let message = advertisement();
        routers.handle(&message, &mut |prefix| found.push(prefix));
        let network = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0];
        let valid = Duration::from_secs(7200);
        assert_eq!(found, [Prefix { network, valid }]);
        let own = Mac([2, 0, 0, 0, 0, 1]);
        let at = routers.poll_at();
        let from = Ipv6Addr::UNSPECIFIED;
        assert_eq!(routers.advance(at, own, from, &mut [0; 99]), 0);
        assert_eq!(routers.poll_at(), Instant::NEVER);
    }

    #[test]
    fn malformed_or_unusable_prefix_is_ignored() {
        let message = advertisement();
        for len in 0..message.len() {
            let found = &mut |prefix| panic!("{prefix:?}");
            Routers::new().handle(&message[..len], found);
        }
        for (at, byte) in [(17, 0), (17, 5), (18, 63), (19, 0x80), (24, 1), (32, 0xff)] {
            let mut message = message.clone();
            message[at] = byte;
            let found = &mut |prefix| panic!("{at} {prefix:?}");
            Routers::new().handle(&message, found);
        }
    }

    /// Sends advertisements with a wrong code or malformed options (RFC 4861 section 6.1.2). No prefix must be used, and
    /// solicitations must continue.
    #[test]
    fn invalid_advertisement_is_ignored_as_a_whole() {
        let valid = advertisement();
        let mut code = valid.clone();
        code[1] = 1;
        let mut empty_option = valid.clone();
        empty_option.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        let mut cut_option = valid.clone();
        cut_option.extend([1, 2, 0, 0, 0, 0, 0, 0]);
        let mut odd_byte = valid;
        odd_byte.push(1);
        for message in [code, empty_option, cut_option, odd_byte] {
            let mut routers = Routers::new();
            routers.solicit(Instant::default());
            routers.handle(&message, &mut |prefix| panic!("{message:?}: {prefix:?}"));
            assert_eq!(routers.left, SOLICIT_COUNT, "{message:?}");
        }
    }
}
