//! One address, from the question whether somebody else has it to its defence: RFC 5227 for IPv4, RFC 4862 section 5.4 for IPv6.

use super::packet::{self, Mac};
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::wire::NdiscRepr;

/// RFC 5227 section 1.1.
const PROBE_COUNT: u8 = 3;
const PROBE_MS_MIN: u32 = 1000;
const PROBE_MS_SPREAD: u32 = 1000;
const ANNOUNCE_WAIT: Duration = Duration::from_secs(2);
const ANNOUNCE_COUNT: u8 = 2;
/// Before the announcements, a question: there are systems that have the address and answer nothing else.
const ASKING: u8 = ANNOUNCE_COUNT + 1;
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// RFC 4861 section 10: one question, and how long an answer may take.
const SOLICIT_COUNT: u8 = 1;
const SOLICIT_WAIT: Duration = Duration::SECOND;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// So many questions are left.
    Probing(u8),
    /// It is used; so many announcements are left, before which it may be asked for.
    Announcing(u8),
}

/// What follows from another host's having the address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Conflict {
    /// It is announced once more, and kept.
    Defended,
    /// It is the other's.
    Lost,
}

/// An address of this host, or one that is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) address: IpAddr,
    /// Bits of its network.
    pub(super) prefix: u8,
    state: State,
    /// It is used while it is probed for.
    is_optimistic: bool,
    /// When the next step is due.
    at: Instant,
    defended_at: Option<Instant>,
}

impl Claim {
    /// Asks whether somebody has the address, after a wait of `delay_ms`, before it is used.
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
            at: now.after(Duration::from_ms(delay_ms)),
            defended_at: None,
        }
    }

    /// Uses the address at once: somebody has assigned it to this host.
    pub(super) const fn assigned(address: IpAddr, prefix: u8, now: Instant) -> Self {
        Self {
            address,
            prefix,
            state: State::Announcing(ASKING),
            is_optimistic: false,
            at: now,
            defended_at: None,
        }
    }

    /// Asks once whether somebody has the address that a server has leased (RFC 2131 section 4.4.1). The server may have asked, too,
    /// and leases no address twice: it is used meanwhile, as RFC 4429 has it for version 6, and given up if somebody answers.
    pub(super) const fn leased(address: IpAddr, prefix: u8, now: Instant) -> Self {
        Self {
            state: State::Probing(1),
            is_optimistic: true,
            ..Self::assigned(address, prefix, now)
        }
    }

    /// Whether it may be used.
    pub(super) const fn is_usable(&self) -> bool {
        self.is_optimistic || self.is_own()
    }

    /// Whether nobody has answered the questions.
    const fn is_own(&self) -> bool {
        matches!(self.state, State::Announcing(_))
    }

    /// When [`Claim::advance`] has something to do.
    pub(super) const fn poll_at(&self) -> Instant {
        self.at
    }

    /// Announces it again: the link was down meanwhile.
    pub(super) const fn announce(&mut self, now: Instant) {
        if self.is_own() {
            (self.state, self.at) = (State::Announcing(ASKING), now);
        }
    }

    /// Does the next step, if it is due, and writes the frame of it to `out`: its length, or 0. `chance` is any number.
    pub(super) fn advance(&mut self, now: Instant, own: Mac, chance: u32, out: &mut [u8]) -> usize {
        if now < self.at {
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
                self.at = now.after(wait);
                self.ask(own, out)
            }
            State::Announcing(0) => {
                self.at = Instant::NEVER;
                0
            }
            State::Announcing(left) => {
                self.state = State::Announcing(left - 1);
                if left == ASKING {
                    return self.ask(own, out);
                }
                self.at = now.after(ANNOUNCE_INTERVAL);
                self.tell(own, out)
            }
        }
    }

    fn ask(&self, own: Mac, out: &mut [u8]) -> usize {
        match self.address {
            IpAddr::V4(address) => packet::arp(own, Ipv4Addr::UNSPECIFIED, address, out),
            IpAddr::V6(address) => {
                let solicit = NdiscRepr::NeighborSolicit {
                    target_addr: address,
                    lladdr: None,
                };
                let group = solicited_node(address);
                packet::discover(own, Ipv6Addr::UNSPECIFIED, group, solicit, out)
            }
        }
    }

    /// Writes what tells all hosts on the link that this one has the address.
    fn tell(&self, own: Mac, out: &mut [u8]) -> usize {
        match self.address {
            IpAddr::V4(address) => packet::arp(own, address, address, out),
            IpAddr::V6(address) => {
                let advert = NdiscRepr::NeighborAdvert {
                    flags: smoltcp::wire::NdiscNeighborFlags::OVERRIDE,
                    target_addr: address,
                    lladdr: Some(own.into()),
                };
                packet::discover(own, address, ALL_NODES, advert, out)
            }
        }
    }

    /// Another host has the address, or asks for it as this one does.
    pub(super) fn conflict(&mut self, now: Instant) -> Conflict {
        let again = |at: Instant| now.since(at) < DEFEND_INTERVAL;
        if !self.is_own() || self.defended_at.is_some_and(again) {
            return Conflict::Lost;
        }
        self.defended_at = Some(now);
        (self.state, self.at) = (State::Announcing(1), now);
        Conflict::Defended
    }
}

/// All hosts of the link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// All its routers.
pub(super) const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// The group that hosts with an address like this one listen to (RFC 4291 section 2.7.1).
const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | a as u16,
        (b as u16) << 8 | c as u16,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac {
        0: [2, 0, 0, 0, 0, 1],
    };

    #[test]
    fn probes_then_announces_then_rests() {
        let address = Ipv4Addr::new(169, 254, 7, 9).into();
        let mut claim = Claim::probing(address, 16, Instant::from_ms(0), 500);
        let mut frames = Vec::new();
        while claim.poll_at() < Instant::NEVER {
            let now = claim.poll_at();
            let mut out = [0; 64];
            let len = claim.advance(now, OWN, 999, &mut out);
            if len > 0 {
                // The sender's address: a probe has none.
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
    fn it_is_defended_once_in_ten_seconds() {
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
