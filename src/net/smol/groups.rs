//! Membership of multicast groups: IGMPv2 (RFC 2236) and MLDv2 (RFC 3810). Many switches pass a group's packets only to hosts that
//! report it.

use super::chance::Chance;
use super::packet::{self, Mac, Query};
use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;
use crate::net::{NetError, NetResult};
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::wire::{Icmpv6Packet, IgmpPacket, Ipv4Packet};

/// Limit of joined groups: multicast DNS has two, each IPv6 address one.
const GROUP_COUNT_MAX: usize = 16;
/// Groups that receive IGMPv2 Leave messages and MLDv2 reports.
const ALL_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const MLD_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// Type of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Report {
    Joined,
    Left,
    /// Answers a query.
    Current,
    /// Answers a query of IGMPv1, whose routers know no other reports.
    Version1,
}

/// A group.
#[derive(Debug)]
struct Group {
    address: IpAddr,
    /// The report that is due at `report_at`, or the last one.
    report: Report,
    report_at: Instant,
}

/// The joined groups, and those that were left and are still to be reported.
#[derive(Debug)]
#[repr(C)] // Largest field last: the others have short offsets.
pub(super) struct Groups {
    chance: Chance,
    groups: heapless::Vec<Group, GROUP_COUNT_MAX>,
}

impl Groups {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            groups: heapless::Vec::new(),
            chance: Chance::new(seed),
        }
    }

    /// Returns true if the group is joined.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let is_it = |group: &Group| group.address == address && group.report != Report::Left;
        self.groups.iter().any(is_it)
    }

    /// Joins a group, unless it is joined already.
    ///
    /// # Errors
    /// `Full`.
    pub(super) fn join(&mut self, now: Instant, address: IpAddr) -> NetResult<()> {
        if self.has(address) {
            return Ok(());
        }
        self.groups.retain(|group| group.address != address);
        let group = Group {
            address,
            report: Report::Joined,
            report_at: now,
        };
        self.groups.push(group).map_err(|_| NetError::Full)
    }

    /// Leaves the groups for which `is_left` returns true.
    pub(super) fn leave(&mut self, now: Instant, is_left: impl Fn(IpAddr) -> bool) {
        for group in &mut self.groups {
            if is_left(group.address) {
                (group.report, group.report_at) = (Report::Left, now);
            }
        }
    }

    /// Schedules reports that answer a query, each after a random part of the maximum response time.
    pub(super) fn handle(&mut self, now: Instant, query: &Query) {
        for group in &mut self.groups {
            let is_asked = match query.group.is_unspecified() {
                true => query.group.is_ipv4() == group.address.is_ipv4(),
                false => query.group == group.address,
            };
            // A report that is due already answers the query, too.
            if is_asked && group.report_at == Instant::NEVER {
                group.report = match query.is_version_1 {
                    true => Report::Version1,
                    false => Report::Current,
                };
                let ms = self.chance.number() % (query.delay.as_ms() as u32 + 1);
                group.report_at = now.after(Duration::from_ms(ms));
            }
        }
    }

    /// Time of the next call of [`Groups::advance`].
    pub(super) fn poll_at(&self) -> Instant {
        let due = self.groups.iter().map(|group| group.report_at);
        due.min().unwrap_or(Instant::NEVER)
    }

    /// Writes a frame with the next due report to `out`; returns its length, 0 if none is due. `addresses` are those of this host.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        own: Mac,
        addresses: impl Iterator<Item = IpAddr>,
        out: &mut [u8],
    ) -> usize {
        let is_due = |group: &Group| group.report_at <= now;
        let Some(index) = self.groups.iter().position(is_due) else {
            return 0;
        };
        let Some(group) = self.groups.get_mut(index) else {
            return 0;
        };
        group.report_at = Instant::NEVER;
        let (mut ipv4, mut ipv6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
        for address in addresses {
            match address {
                IpAddr::V4(address) => ipv4 = address,
                IpAddr::V6(address) if address.is_unicast_link_local() => ipv6 = address,
                IpAddr::V6(_) => {}
            }
        }
        let report = group.report;
        let (to, ethertype, packet): (IpAddr, _, &[u8]) = match group.address {
            IpAddr::V4(group) => {
                let to = match report {
                    Report::Left => ALL_ROUTERS,
                    _ => group,
                };
                (to.into(), packet::IPV4, &igmp(report, ipv4, to, group))
            }
            IpAddr::V6(group) => {
                let to = MLD_ROUTERS;
                (to.into(), packet::IPV6, &mld(report, ipv6, to, group))
            }
        };
        if report == Report::Left {
            self.groups.swap_remove(index);
        }
        let len = ETHERNET_BYTES + packet.len();
        let out = out.head_mut(len);
        let mac = packet::group_mac(to);
        if let Some(mac) = mac.filter(|_| out.len() == len) {
            packet::write_header(mac, own, ethertype, out);
            out.tail_mut(ETHERNET_BYTES).copy_from_slice(packet);
            return len;
        }
        0
    }
}

/// Returns an IPv4 packet with the router alert option and an IGMP message (RFC 2236 section 2).
fn igmp(report: Report, from: Ipv4Addr, to: Ipv4Addr, group: Ipv4Addr) -> [u8; 32] {
    const IP_BYTES: usize = 24;
    let mut packet = [0; 32];
    // Version and length of the header in words; length of the packet; TTL and protocol; the option.
    packet[0] = 0x46;
    packet[3] = packet.len() as u8;
    packet[8..10].copy_from_slice(&[1, 2]);
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    packet[20..24].copy_from_slice(&[0x94, 4, 0, 0]);
    packet[IP_BYTES] = match report {
        Report::Version1 => 0x12,
        Report::Joined | Report::Current => 0x16,
        Report::Left => 0x17,
    };
    packet[28..].copy_from_slice(&group.octets());
    IgmpPacket::new_unchecked(&mut packet[IP_BYTES..]).fill_checksum();
    Ipv4Packet::new_unchecked(&mut packet).fill_checksum();
    packet
}

/// Returns an IPv6 packet with the router alert option and an MLD report of one record (RFC 3810 section 5.2).
fn mld(report: Report, from: Ipv6Addr, to: Ipv6Addr, group: Ipv6Addr) -> [u8; 76] {
    const IP_BYTES: usize = 40;
    /// Offset of the MLD message.
    const START: usize = IP_BYTES + 8;
    const REPORT: u8 = 143;
    let mut packet = [0; 76];
    packet[0] = 0x60;
    packet[5] = (packet.len() - IP_BYTES) as u8;
    // Next header (hop-by-hop options) and hop limit.
    packet[6..8].copy_from_slice(&[0, 1]);
    packet[8..24].copy_from_slice(&from.octets());
    packet[24..40].copy_from_slice(&to.octets());
    // Next header (ICMPv6), length, router alert for MLD (RFC 2711), padding.
    packet[IP_BYTES..START].copy_from_slice(&[58, 0, 5, 2, 0, 0, 1, 0]);
    packet[START] = REPORT;
    // Number of records.
    packet[START + 7] = 1;
    packet[START + 8] = match report {
        Report::Left => 3,
        Report::Joined => 4,
        Report::Current | Report::Version1 => 2,
    };
    packet[START + 12..].copy_from_slice(&group.octets());
    Icmpv6Packet::new_unchecked(&mut packet[START..]).fill_checksum(&from, &to);
    packet
}
