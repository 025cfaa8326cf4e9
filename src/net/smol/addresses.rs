//! Addresses of this host: static, leased (DHCP), self-assigned (RFC 3927, RFC 4862); and its IPv4 gateway.

use super::Settings;
use super::chance::Chance;
use super::claim::{Claim, Conflict};
use super::dhcp::{self, Lease};
use super::packet::{Content, Mac};
use super::routers::{PREFIX_BITS, Prefix, Routers};
use crate::log;
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Limit of IPv6 addresses: the link-local one, and one for each of four prefixes.
pub(super) const IPV6_COUNT_MAX: usize = 5;
/// Wait for DHCP before a link-local IPv4 address is used.
const FALLBACK: Duration = Duration::from_secs(6);
/// Number of conflicts after which new addresses are tried more slowly, and the interval between them then (RFC 3927 section 9:
/// MAX_CONFLICTS, RATE_LIMIT_INTERVAL).
const CONFLICT_COUNT_MAX: u8 = 10;
const RATE_LIMIT_MS: u32 = 60_000;
/// Wait before the next DHCPDISCOVER after the first DHCPDECLINE, and after later ones (RFC 2131 section 3.1.5: at least 10 s).
const DECLINE_WAITS: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];
/// Time without a conflicting packet after which the next one is reported as a new conflict.
const CONFLICT_TIMEOUT: Duration = Duration::from_secs(600);
/// Limit of interface identifiers tried for an IPv6 address (RFC 7217 section 6: IDGEN_RETRIES).
const IDENTIFIER_COUNT_MAX: u8 = 3;

/// Source of the host's addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ip {
    /// DHCP; if no server answers, the same as `LinkLocal`.
    #[default]
    Dhcp,
    /// A free address of 169.254/16.
    LinkLocal,
    /// Static address and prefix length. A static IPv6 address is used beside those from router advertisements; the host then has
    /// no IPv4 address.
    Static(IpAddr, u8),
}

/// An IPv6 address.
#[derive(Debug)]
struct Ipv6 {
    claim: Claim,
    /// Number of interface identifiers that were tried and are in use by other hosts.
    tried: u8,
    valid_until: Instant,
}

/// The addresses of a host.
#[derive(Debug)]
pub(super) struct Addresses {
    own: Mac,
    ip: Ip,
    chance: Chance,
    ipv4: Option<Claim>,
    /// Static IPv4 default gateway; one that DHCP supplies has precedence.
    gateway: Option<Ipv4Addr>,
    /// Time at which a link-local address is used if DHCP has not supplied one.
    fallback_at: Instant,
    conflicts: u8,
    /// The static address, if a conflict with another host must still be reported.
    pub(super) conflict: Option<Ipv6Addr>,
    /// Conflicting packets before this time belong to the conflict already reported.
    conflict_until: Instant,
    ipv6: heapless::Vec<Ipv6, IPV6_COUNT_MAX>,
    routers: Routers,
    /// True if usable addresses or gateways have changed since [`Addresses::take_change`].
    has_changed: bool,
    /// The current lease.
    lease: Option<Lease>,
    /// True if a DHCPDECLINE must be sent, because another host has the leased address.
    is_declined: bool,
    /// Time at which DHCP must start again, set when the lease is given up or the link is up again.
    lease_lost: Option<Instant>,
}

impl Addresses {
    pub(super) fn new(own: Mac, settings: &Settings, seed: u64, now: Instant) -> Self {
        let Settings { ip, gateway, .. } = *settings;
        let mut addresses = Self {
            own,
            ip,
            chance: Chance::new(seed),
            ipv4: None,
            gateway,
            fallback_at: Instant::NEVER,
            conflicts: 0,
            conflict: None,
            conflict_until: Instant::default(),
            ipv6: heapless::Vec::new(),
            routers: Routers::new(),
            has_changed: true,
            lease: None,
            is_declined: false,
            lease_lost: None,
        };
        match ip {
            Ip::Dhcp => addresses.fallback_at = now.after(FALLBACK),
            Ip::LinkLocal => addresses.take_link_local(now),
            Ip::Static(address @ IpAddr::V4(_), prefix) => {
                addresses.ipv4 = Some(Claim::assigned(address, prefix, now));
            }
            Ip::Static(address, prefix) => {
                let _ = addresses.ipv6.push(Ipv6 {
                    claim: Claim::probing(address, prefix, now, 0),
                    tried: IDENTIFIER_COUNT_MAX,
                    valid_until: Instant::NEVER,
                });
            }
        }
        if !settings.is_for_host {
            addresses.take_ipv6([0xfe, 0x80, 0, 0, 0, 0, 0, 0], 0, Instant::NEVER, now);
        }
        addresses
    }

    /// Starts probing a random address of 169.254/16, except its first and last 256 (RFC 3927 section 2.1).
    fn take_link_local(&mut self, now: Instant) {
        let number = self.chance.number();
        let address = Ipv4Addr::new(169, 254, 1 + (number % 254) as u8, (number >> 8) as u8);
        let delay_ms = match self.conflicts {
            0..CONFLICT_COUNT_MAX => self.chance.number() % 1000,
            _ => RATE_LIMIT_MS,
        };
        self.ipv4 = Some(Claim::probing(address.into(), 16, now, delay_ms));
        self.has_changed = true;
    }

    /// Starts probing an address of a network. Its interface identifier is derived from the MAC address (RFC 4291 appendix A). If
    /// another host has that address, the identifier is random.
    fn take_ipv6(&mut self, network: [u8; 8], tried: u8, valid_until: Instant, now: Instant) {
        let [a, b, c, d, e, f] = self.own.0;
        let identifier = match tried {
            0 => [a ^ 2, b, c, 0xff, 0xfe, d, e, f],
            _ => {
                let numbers = [(); 2].map(|()| self.chance.number().to_be_bytes());
                let [[a, b, c, d], [e, f, g, h]] = numbers;
                // Clears the universal/local bit and the group bit of the random identifier.
                [a & !3, b, c, d, e, f, g, h]
            }
        };
        let mut octets = [0; 16];
        let (first, second) = octets.split_at_mut(8);
        first.copy_from_slice(&network);
        second.copy_from_slice(&identifier);
        let address = IpAddr::from(octets);
        let delay_ms = self.chance.number() % 100;
        let _ = self.ipv6.push(Ipv6 {
            claim: Claim::probing(address, PREFIX_BITS, now, delay_ms),
            tried,
            valid_until,
        });
    }

    /// Returns the usable addresses with their prefix lengths.
    #[inline(never)] // −188 bytes: ten callers.
    pub(super) fn usable(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let all = self
            .ipv4
            .iter()
            .chain(self.ipv6.iter().map(|one| &one.claim));
        let usable = all.filter(|claim| claim.is_usable());
        usable.map(|claim| (claim.address, claim.prefix))
    }

    /// Returns the IPv4 default gateway.
    pub(super) fn gateway(&self) -> Option<Ipv4Addr> {
        let leased = self.lease.and_then(|lease| lease.router);
        leased.or(self.gateway).filter(|_| self.ipv4.is_some())
    }

    /// Returns true if addresses or gateways have changed since the last call.
    pub(super) const fn take_change(&mut self) -> bool {
        core::mem::replace(&mut self.has_changed, false)
    }

    /// Returns once the time at which DHCP must start again, after the lease was given up or the link was down.
    pub(super) const fn take_lease_lost(&mut self) -> Option<Instant> {
        self.lease_lost.take()
    }

    /// Returns true if a link-local IPv4 address is in use.
    pub(super) fn has_fallback(&self) -> bool {
        self.ipv4.is_some_and(|claim| match claim.address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(_) => false,
        })
    }

    /// Records a new DHCP lease, or its end.
    pub(super) fn set_lease(&mut self, lease: Option<Lease>, now: Instant) {
        self.lease = lease;
        log::debug!(
            "lease: {=[u8]}",
            lease.map_or([0; 4], |lease| lease.address.octets())
        );
        let known = self.ipv4.map(|claim| claim.address);
        let address = lease.map(|lease| lease.address.into());
        self.has_changed = true;
        self.fallback_at = match lease {
            Some(_) => Instant::NEVER,
            None => now.after(FALLBACK),
        };
        // A renewed lease is not announced again.
        if known != address || known.is_none() {
            self.ipv4 = lease.map(|lease| Claim::leased(lease.address.into(), lease.prefix, now));
        }
    }

    /// Announces all addresses again after the link was down, because neighbors may have forgotten them. Also starts router
    /// solicitation and DHCP again, because the link may be connected to another network.
    pub(super) fn restart(&mut self, now: Instant) {
        if let Some(claim) = &mut self.ipv4 {
            claim.announce(now);
        }
        for one in &mut self.ipv6 {
            one.claim.announce(now);
        }
        self.routers.solicit(now);
        self.lease_lost = (self.ip == Ip::Dhcp).then_some(now);
    }

    /// Handles ARP and neighbor discovery.
    pub(super) fn handle(&mut self, now: Instant, content: &Content<'_>) {
        match *content {
            Content::Arp {
                sender,
                target,
                is_reply,
                ..
            } => {
                let Some(claim) = &mut self.ipv4 else {
                    return;
                };
                let is_probe = sender.is_unspecified() && !is_reply && !claim.is_usable();
                let other = if is_probe { target } else { sender };
                if claim.address == other {
                    if claim.conflict(now) == Conflict::Lost {
                        self.lose_ipv4(now);
                    }
                    self.note_conflict(now, other.into());
                }
            }
            // If another host probes for a usable address of ours, `Smol::resolve` answers.
            Content::Solicit { from, target, .. } if from.is_unspecified() => {
                self.contend_ipv6(now, target, true);
            }
            Content::Advertise { target } => self.contend_ipv6(now, target, false),
            Content::Router { message } => {
                let mut found = heapless::Vec::<Prefix, IPV6_COUNT_MAX>::new();
                let add = &mut |prefix| _ = found.push(prefix);
                self.routers.handle(message, add);
                for prefix in found {
                    self.use_prefix(prefix, now);
                }
            }
            _ => {}
        }
    }

    /// Records a conflict if the address is static, to be reported once.
    fn note_conflict(&mut self, now: Instant, address: IpAddr) {
        if matches!(self.ip, Ip::Static(given, _) if given == address) {
            if now >= self.conflict_until {
                self.conflict = Some(match address {
                    IpAddr::V4(address) => address.to_ipv6_mapped(),
                    IpAddr::V6(address) => address,
                });
            }
            self.conflict_until = now.after(CONFLICT_TIMEOUT);
        }
    }

    fn lose_ipv4(&mut self, now: Instant) {
        match self.ip {
            // A static address is kept (RFC 5227 section 2.4, c).
            Ip::Static(..) => return,
            Ip::Dhcp if !self.has_fallback() => {
                self.ipv4 = None;
                self.is_declined = true;
                // The server may lease the same address again. Meanwhile a link-local address is used.
                let wait = DECLINE_WAITS[usize::from(self.conflicts > 0)];
                self.lease_lost = Some(now.after(wait));
            }
            _ => self.take_link_local(now),
        }
        self.conflicts = self.conflicts.saturating_add(1);
        self.has_changed = true;
    }

    /// Handles another host that uses an IPv6 address of ours, or with `is_probe` probes for it.
    fn contend_ipv6(&mut self, now: Instant, address: Ipv6Addr, is_probe: bool) {
        let index = self
            .ipv6
            .iter()
            .position(|one| one.claim.address == address);
        let Some(one) = index.and_then(|index| self.ipv6.get_mut(index)) else {
            return;
        };
        if is_probe && one.claim.is_usable() {
            return;
        }
        if one.claim.conflict(now) == Conflict::Lost {
            let (tried, valid_until) = (one.tried + 1, one.valid_until);
            let [network @ .., _, _, _, _, _, _, _, _] = address.octets();
            self.ipv6.retain(|one| one.claim.address != address);
            self.has_changed = true;
            if tried < IDENTIFIER_COUNT_MAX {
                self.take_ipv6(network, tried, valid_until, now);
            }
        }
        self.note_conflict(now, address.into());
    }

    /// Starts to use a prefix of a router advertisement, or extends its lifetime.
    fn use_prefix(&mut self, prefix: Prefix, now: Instant) {
        /// RFC 4862 section 5.5.3: an advertisement cannot reduce the remaining lifetime below two hours, because any host can send
        /// one.
        const VALID_MIN: Duration = Duration::from_secs(2 * 3600);
        let valid_until = now.after(prefix.valid);
        let known = self.ipv6.iter_mut().find(|one| match one.claim.address {
            IpAddr::V6(address) => address.octets().starts_with(&prefix.network),
            IpAddr::V4(_) => false,
        });
        match known {
            Some(one) => {
                let floor = one.valid_until.min(now.after(VALID_MIN));
                one.valid_until = valid_until.max(floor);
            }
            None if prefix.valid > Duration::default() => {
                self.take_ipv6(prefix.network, 0, valid_until, now);
            }
            None => {}
        }
    }

    /// Time of the next call of [`Addresses::advance`].
    pub(super) fn poll_at(&self) -> Instant {
        if self.is_declined {
            return Instant::default();
        }
        let ipv4 = self.ipv4.map_or(Instant::NEVER, |claim| claim.poll_at());
        let ipv6 = self.ipv6.iter();
        let ipv6 = ipv6.map(|one| one.claim.poll_at().min(one.valid_until));
        let first = ipv6.min().unwrap_or(Instant::NEVER);
        ipv4.min(first)
            .min(self.fallback_at)
            .min(self.routers.poll_at())
    }

    /// Does one step that is due, such as a probe or an announcement. Writes a frame to `out`; returns its length, or 0 if no step
    /// needs a frame.
    pub(super) fn advance(&mut self, now: Instant, out: &mut [u8]) -> usize {
        let chance = self.chance.number();
        if core::mem::take(&mut self.is_declined)
            && let Some(lease) = &self.lease
        {
            return dhcp::decline(self.own, lease, chance, out);
        }
        if now >= self.fallback_at {
            self.fallback_at = Instant::NEVER;
            if self.ipv4.is_none() {
                self.take_link_local(now);
            }
            return 0;
        }
        let count = self.ipv6.len();
        self.ipv6.retain(|one| one.valid_until > now);
        self.has_changed |= self.ipv6.len() < count;
        let ipv6 = self.ipv6.iter_mut().map(|one| &mut one.claim);
        if let Some(claim) = self
            .ipv4
            .iter_mut()
            .chain(ipv6)
            .find(|claim| claim.poll_at() <= now)
        {
            let was_usable = claim.is_usable();
            let len = claim.advance(now, self.own, chance, out);
            if claim.is_usable() != was_usable {
                self.has_changed = true;
                // The first IPv6 address is link-local; router solicitations are sent from it.
                if claim.address.is_ipv6() {
                    self.routers.solicit(now);
                }
            }
            return len;
        }
        let link_local = self.usable().find_map(|(address, _)| match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(address),
            _ => None,
        });
        let from = link_local.unwrap_or(Ipv6Addr::UNSPECIFIED);
        self.routers.advance(now, self.own, from, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_gateway_is_used_unless_dhcp_supplies_one() {
        let [fixed, leased] = [1, 2].map(|number| Ipv4Addr::new(192, 0, 2, number));
        let settings = Settings {
            mac: [2, 0, 0, 0, 0, 1],
            ip: Ip::Dhcp,
            gateway: Some(fixed),
            name: b"",
            seed: [0; 16],
            is_for_host: true,
        };
        let now = Instant::default();
        let mut addresses = Addresses::new(Mac(settings.mac), &settings, 1, now);
        let lease = |router| Lease {
            address: Ipv4Addr::new(192, 0, 2, 50),
            prefix: 24,
            router,
            server: Ipv4Addr::new(192, 0, 2, 9),
        };
        for (router, gateway) in [(None, fixed), (Some(leased), leased), (None, fixed)] {
            addresses.set_lease(Some(lease(router)), now);
            assert_eq!(addresses.gateway(), Some(gateway));
        }
        addresses.set_lease(None, now);
        assert_eq!(addresses.gateway(), None);
    }
}
