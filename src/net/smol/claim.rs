//! State of one address: probing, announcing, defending. RFC 5227 for IPv4, RFC 4862 section 5.4 for IPv6.

use super::packet::{self, Discovery, Mac, solicited_node};
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Probes, announcements and defence of an IPv4 address: counts and intervals of RFC 5227 section 1.1.
const PROBE_COUNT: u8 = 3;
const PROBE_MS_MIN: u32 = 1000;
const PROBE_MS_SPREAD: u32 = 1000;
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const ANNOUNCE_COUNT: u8 = 2;
/// Value of [`State::Announcing`] if a probe must be sent before the announcements, because some systems that already have the
/// address answer only a probe.
const ASKING: u8 = ANNOUNCE_COUNT + 1;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// Probes of an IPv6 address, and the wait for an answer (RFC 4862 section 5.1: DupAddrDetectTransmits; RFC 4861 section 10:
/// RETRANS_TIMER).
const SOLICIT_COUNT: u8 = 1;
const SOLICIT_WAIT: Duration = Duration::SECOND;

/// State of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The address is being probed; the value is the number of probes left.
    Probing(u8),
    /// The address is in use; the value is the number of announcements left. [`ASKING`]: a probe is sent before them.
    Announcing(u8),
}

/// Result of a conflict with another host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Conflict {
    /// The address is announced once more and kept.
    Defended,
    /// The address is lost to the other host.
    Lost,
}

/// An address that this host uses or probes for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) address: IpAddr,
    /// Prefix length.
    pub(super) prefix: u8,
    state: State,
    /// True if the address is used while it is probed for.
    is_optimistic: bool,
    /// Time of the next step.
    next_at: Instant,
    defended_at: Option<Instant>,
}

impl Claim {
    /// Probes for the address before using it, after a wait of `delay_ms`.
    pub(super) const fn probing(address: IpAddr, prefix: u8, now: Instant, delay_ms: u32) -> Self {
        let count = match address {
            IpAddr::V4(_) => PROBE_COUNT,
            IpAddr::V6(_) => SOLICIT_COUNT,
        };
        Self {
            address,
            prefix,
            state: State::Probing(count),
            is_optimistic: false,
            next_at: now.after(Duration::from_ms(delay_ms)),
            defended_at: None,
        }
    }

    /// Uses a static address at once.
    pub(super) const fn assigned(address: IpAddr, prefix: u8, now: Instant) -> Self {
        Self {
            address,
            prefix,
            state: State::Announcing(ASKING),
            is_optimistic: false,
            next_at: now,
            defended_at: None,
        }
    }

    /// Probes once for a leased address (RFC 2131 section 4.4.1). The server may have probed too, and does not lease an address
    /// twice. So the address is used meanwhile, as RFC 4429 allows for IPv6, and given up if another host answers.
    pub(super) const fn leased(address: IpAddr, prefix: u8, now: Instant) -> Self {
        Self {
            state: State::Probing(1),
            is_optimistic: true,
            ..Self::assigned(address, prefix, now)
        }
    }

    /// Returns true if the address may be used.
    pub(super) const fn is_usable(&self) -> bool {
        self.is_optimistic || self.is_own()
    }

    /// Returns true if probing has ended without a conflict.
    const fn is_own(&self) -> bool {
        matches!(self.state, State::Announcing(_))
    }

    /// Time of the next call of [`Claim::advance`].
    pub(super) const fn poll_at(&self) -> Instant {
        self.next_at
    }

    /// Announces the address again, after the link was down.
    pub(super) const fn announce(&mut self, now: Instant) {
        if self.is_own() {
            (self.state, self.next_at) = (State::Announcing(ASKING), now);
        }
    }

    /// Does the next step if it is due. Writes a frame to `out`; returns its length, or 0 if no frame is due. `chance` is a random
    /// number.
    pub(super) fn advance(&mut self, now: Instant, own: Mac, chance: u32, out: &mut [u8]) -> usize {
        if now < self.next_at {
            return 0;
        }
        match self.state {
            State::Probing(0) => {
                self.state = State::Announcing(ANNOUNCE_COUNT);
                0
            }
            State::Probing(left) => {
                let left = left - 1;
                self.state = State::Probing(left);
                let wait = match (self.address, left) {
                    (IpAddr::V6(_), _) => SOLICIT_WAIT,
                    (_, 0) => ANNOUNCE_WAIT,
                    _ => Duration::from_ms(PROBE_MS_MIN + chance % PROBE_MS_SPREAD),
                };
                self.next_at = now.after(wait);
                self.write_probe(own, out)
            }
            State::Announcing(0) => {
                self.next_at = Instant::NEVER;
                0
            }
            State::Announcing(left) => {
                self.state = State::Announcing(left - 1);
                if left == ASKING {
                    return self.write_probe(own, out);
                }
                self.next_at = now.after(ANNOUNCE_INTERVAL);
                self.write_announcement(own, out)
            }
        }
    }

    fn write_probe(&self, own: Mac, out: &mut [u8]) -> usize {
        match self.address {
            IpAddr::V4(address) => packet::arp(own, Ipv4Addr::UNSPECIFIED, address, out),
            IpAddr::V6(address) => {
                let group = solicited_node(address);
                let solicit = Discovery::Solicit(address);
                packet::discover(own, Ipv6Addr::UNSPECIFIED, group, solicit, out)
            }
        }
    }

    /// Writes an announcement of the address to all hosts on the link.
    fn write_announcement(&self, own: Mac, out: &mut [u8]) -> usize {
        match self.address {
            IpAddr::V4(address) => packet::arp(own, address, address, out),
            IpAddr::V6(address) => {
                let advert = Discovery::Announce(address);
                packet::discover(own, address, ALL_NODES, advert, out)
            }
        }
    }

    /// Handles another host that uses the address or probes for it too.
    pub(super) fn conflict(&mut self, now: Instant) -> Conflict {
        let again = |at: Instant| now.since(at) < DEFEND_INTERVAL;
        if !self.is_own() || self.defended_at.is_some_and(again) {
            return Conflict::Lost;
        }
        self.defended_at = Some(now);
        (self.state, self.next_at) = (State::Announcing(1), now);
        Conflict::Defended
    }
}

/// All nodes of the link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All routers of the link.
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn claim_is_usable_after_probes_and_announcements() {
        let address = Ipv4Addr::new(169, 254, 7, 9).into();
        let mut claim = Claim::probing(address, 16, Instant::from_ms(0), 500);
        let mut frames = Vec::new();
        while claim.poll_at() < Instant::NEVER {
            let now = claim.poll_at();
            let mut out = [0; 64];
            let len = claim.advance(now, OWN, 999, &mut out);
            if len > 0 {
                // Bytes 28 to 31 are the sender's IPv4 address, which is 0.0.0.0 in a probe.
                frames.push((now.since(Instant::default()).as_ms(), out[28..32].to_vec()));
            }
        }
        let none = vec![0; 4];
        let own = vec![169, 254, 7, 9];
        let at = [500, 2499, 4498, 6498, 8498];
        let senders = [&none, &none, &none, &own, &own];
        let expected: Vec<_> = at.into_iter().zip(senders.map(Vec::clone)).collect();
        assert_eq!(frames, expected);
        assert!(claim.is_usable());
    }

    #[test]
    fn claim_is_defended_once_in_ten_seconds() {
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        let mut claim = Claim::assigned(address, 24, Instant::from_ms(0));
        let at = |secs: u64| Instant::from_ms(secs * 1000);
        assert_eq!(claim.conflict(at(20)), Conflict::Defended);
        assert_eq!(claim.conflict(at(31)), Conflict::Defended);
        assert_eq!(claim.conflict(at(35)), Conflict::Lost);
        let mut probing = Claim::probing(address, 24, at(40), 0);
        assert_eq!(probing.conflict(at(41)), Conflict::Lost);
    }
}
