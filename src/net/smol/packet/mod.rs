//! Ethernet frames around smoltcp's packets: their addresses, types and checksums.

mod content;
mod message;
mod segment;

use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;
use core::net::{IpAddr, Ipv4Addr};
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket};

pub(super) use content::{Content, Query, Segment, content, each_option, solicited_node};
pub(super) use message::{Discovery, arp, arp_reply, discover, discover_at, write_datagram};
pub(super) use segment::{adjust_sum, cut, header_bytes, limit_window, make_ack, syn_ack};

/// Length of an ARP frame, in bytes.
pub(super) const ARP_BYTES: usize = ETHERNET_BYTES + 28;
/// Hop limit of datagrams.
pub(super) const HOP_LIMIT: u8 = 64;
/// Hop limit of neighbor and router discovery: a smaller one shows that a router forwarded the message (RFC 4861 section 3.1).
const LINK_HOP_LIMIT: u8 = 255;

/// ICMPv6 message types.
const TOO_BIG: u8 = 2;
pub(super) const MLD_QUERY: u8 = 130;
const ROUTER_SOLICIT: u8 = 133;
const ROUTER: u8 = 134;
const SOLICIT: u8 = 135;
const ADVERTISE: u8 = 136;

/// EtherTypes.
pub(super) const IPV4: [u8; 2] = [8, 0];
pub(super) const IPV6: [u8; 2] = [0x86, 0xdd];
const ARP: [u8; 2] = [8, 6];

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mac(pub(super) [u8; 6]);

impl Mac {
    pub(super) const BROADCAST: Self = Self([0xff; 6]);

    /// Returns true if the address is of one host.
    pub(super) const fn is_unicast(self) -> bool {
        let Self([first, ..]) = self;
        first & 1 == 0
    }
}

/// Ethernet header and payload of a frame.
struct Frame<'a> {
    to: Mac,
    from: Mac,
    ethertype: [u8; 2],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Parses a frame. `None` if the header is cut short.
    fn new(frame: &'a [u8]) -> Option<Self> {
        let (to, rest) = frame.split_first_chunk()?;
        let (from, rest) = rest.split_first_chunk()?;
        let (ethertype, payload) = rest.split_first_chunk()?;
        Some(Self {
            to: Mac(*to),
            from: Mac(*from),
            ethertype: *ethertype,
            payload,
        })
    }
}

/// Writes an Ethernet header to the start of `out`.
pub(super) fn write_header(to: Mac, own: Mac, ethertype: [u8; 2], out: &mut [u8]) {
    out.head_mut(6).copy_from_slice(&to.0);
    out.tail_mut(6).head_mut(6).copy_from_slice(&own.0);
    out.tail_mut(12).head_mut(2).copy_from_slice(&ethertype);
}

/// Returns the IP packet in a frame. `None` if the frame has none.
pub(super) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let frame = Frame::new(frame)?;
    matches!(frame.ethertype, IPV4 | IPV6).then_some(frame.payload)
}

/// Returns the source MAC address, source and destination of the IP packet in a frame. `None` if the frame has no packet.
pub(super) fn endpoints(frame: &[u8]) -> Option<(Mac, IpAddr, IpAddr)> {
    let frame = Frame::new(frame)?;
    let (from, to) = match frame.ethertype {
        IPV4 => {
            let packet = Ipv4Packet::new_checked(frame.payload).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into())
        }
        IPV6 => {
            let packet = Ipv6Packet::new_checked(frame.payload).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into())
        }
        _ => return None,
    };
    Some((frame.from, from, to))
}

/// Returns the EtherType of an IP packet and its destination. `None` if the header is cut short.
pub(super) fn destination(packet: &[u8]) -> Option<([u8; 2], IpAddr)> {
    const VERSION_4: u8 = 4;
    if packet.first()? >> 4 == VERSION_4 {
        let to: [u8; 4] = *packet.tail(16).first_chunk()?;
        return Some((IPV4, to.into()));
    }
    let to: [u8; 16] = *packet.tail(24).first_chunk()?;
    Some((IPV6, to.into()))
}

/// Returns true if an IP packet that smoltcp has written is an ICMP error; an echo reply is none.
pub(super) fn is_error(packet: &[u8]) -> bool {
    const ICMP: u8 = 1;
    const ICMPV6: u8 = 58;
    // Destination unreachable, time exceeded, parameter problem (RFC 792).
    const ERRORS: [u8; 3] = [3, 11, 12];
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            packet.get(9) == Some(&ICMP) && packet.get(20).is_some_and(|kind| ERRORS.contains(kind))
        }
        // RFC 4443 section 2.1: errors have types below 128.
        _ => packet.get(6) == Some(&ICMPV6) && packet.get(40).is_some_and(|kind| *kind < 128),
    }
}

/// Returns the MAC address of a multicast group (RFC 1112 section 6.4, RFC 2464 section 7) or of the IPv4 broadcast address.
pub(super) fn group_mac(group: IpAddr) -> Option<Mac> {
    let mac = match group {
        IpAddr::V4(Ipv4Addr::BROADCAST) => return Some(Mac::BROADCAST),
        IpAddr::V4(group) => {
            let [_, b, c, d] = group.octets();
            Mac([1, 0, 0x5e, b & 0x7f, c, d])
        }
        IpAddr::V6(group) => {
            let [.., a, b, c, d] = group.octets();
            Mac([0x33, 0x33, a, b, c, d])
        }
    };
    group.is_multicast().then_some(mac)
}

/// Returns true if the TCP or UDP checksum of a frame is correct, or if it has none.
pub(super) fn is_intact(frame: &[u8]) -> bool {
    let Some(frame) = Frame::new(frame) else {
        return false;
    };
    let (from, to, protocol, payload): (IpAddr, IpAddr, _, _) = match frame.ethertype {
        IPV4 => match Ipv4Packet::new_checked(frame.payload) {
            // Fragments need no special case: smoltcp drops them, because it does not reassemble.
            Ok(packet) => (
                packet.src_addr().into(),
                packet.dst_addr().into(),
                packet.next_header(),
                packet.payload(),
            ),
            Err(_) => return false,
        },
        IPV6 => match Ipv6Packet::new_checked(frame.payload) {
            Ok(packet) => (
                packet.src_addr().into(),
                packet.dst_addr().into(),
                packet.next_header(),
                packet.payload(),
            ),
            Err(_) => return false,
        },
        _ => return true,
    };
    let (from, to) = (from.into(), to.into());
    match protocol {
        IpProtocol::Tcp => {
            TcpPacket::new_checked(payload).is_ok_and(|segment| segment.verify_checksum(&from, &to))
        }
        IpProtocol::Udp => UdpPacket::new_checked(payload)
            .is_ok_and(|datagram| datagram.verify_checksum(&from, &to)),
        _ => true,
    }
}
