//! Parses frames for SYNs, DHCP, address resolution, conflicts, queries of routers and path MTUs.

use super::{
    ADVERTISE, ARP, Frame, IPV4, IPV6, LINK_HOP_LIMIT, MLD_QUERY, Mac, ROUTER, SOLICIT, TOO_BIG,
};
use crate::mem::Ends as _;
use crate::time::Duration;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv6Packet, IgmpPacket, IpProtocol, Ipv4Packet, Ipv6Packet,
    TcpOption, TcpPacket, UdpPacket,
};

/// Smallest MTU of a link, in bytes: RFC 791 section 3.2 (every host accepts such packets), RFC 8200 section 5.
const IPV4_MTU_MIN: u16 = 576;
const IPV6_MTU_MIN: u16 = 1280;

/// The fields of a TCP segment that congestion control uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Segment {
    /// Acknowledged sequence number.
    pub(in super::super) acked: u32,
    /// Window field, not scaled.
    pub(in super::super) field: u16,
    /// True if the segment has no data.
    pub(in super::super) is_empty: bool,
    /// Number of bytes after `acked` that are selectively acknowledged (RFC 2018).
    pub(in super::super) later_bytes: u32,
}

impl Segment {
    fn new(segment: &TcpPacket<&[u8]>) -> Self {
        let ranges = segment.selective_ack_ranges().unwrap_or_default();
        let ranges = ranges.into_iter().flatten();
        let lengths = ranges.map(|(from, to)| to.wrapping_sub(from));
        Self {
            acked: segment.ack_number().0 as u32,
            field: segment.window_len(),
            is_empty: segment.payload().is_empty(),
            later_bytes: lengths.fold(0, u32::saturating_add),
        }
    }
}

/// A query of a router: IGMP or MLD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Query {
    /// The group whose members are to report; an unspecified address: all groups of that family.
    pub(in super::super) group: IpAddr,
    /// Maximum response time.
    pub(in super::super) delay: Duration,
    /// True for IGMPv1.
    pub(in super::super) is_version_1: bool,
}

/// Content of a frame, as far as the stack handles it before smoltcp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Content<'a> {
    /// ARP for IPv4 on Ethernet.
    Arp {
        is_reply: bool,
        mac: Mac,
        sender: Ipv4Addr,
        target: Ipv4Addr,
    },
    /// A TCP segment that requests a connection: SYN without ACK. `number` is its sequence number, `scale` its window scale.
    Syn {
        from: SocketAddr,
        to: SocketAddr,
        number: u32,
        scale: u8,
    },
    /// A TCP segment with RST.
    Reset {
        from: SocketAddr,
        to: SocketAddr,
        number: u32,
    },
    /// Another TCP segment.
    Segment {
        from: SocketAddr,
        to: SocketAddr,
        segment: Segment,
    },
    /// ICMP error: a TCP segment with the sequence number `number` is too long for a link of this MTU (RFC 1191, RFC 8201).
    TooBig {
        from: SocketAddr,
        to: SocketAddr,
        number: u32,
        mtu: u16,
    },
    /// A UDP datagram.
    Datagram {
        from: SocketAddr,
        to: SocketAddr,
        bytes: &'a [u8],
    },
    /// Neighbor solicitation; from the unspecified address it is a probe for duplicates.
    Solicit {
        mac: Mac,
        from: Ipv6Addr,
        target: Ipv6Addr,
    },
    /// Neighbor advertisement.
    Advertise { target: Ipv6Addr },
    /// A query for the members of groups.
    Query(Query),
    /// Router advertisement: an ICMPv6 message.
    Router { message: &'a [u8] },
    /// A frame that the stack does not handle before smoltcp.
    Other,
}

/// Parses a frame. `None` if it is malformed, is not addressed to `own` or to a group, or was sent by `own`.
#[inline(never)] // −387 bytes: one caller, whose frame stays small.
pub(in super::super) fn content(frame: &[u8], own: Mac) -> Option<Content<'_>> {
    let frame = Frame::new(frame)?;
    if (frame.to != own && frame.to.is_unicast()) || frame.from == own {
        return None;
    }
    match frame.ethertype {
        ARP => arp_content(frame.payload)
            .filter(|content| !matches!(*content, Content::Arp { mac, .. } if mac == own)),
        IPV4 => {
            let packet = Ipv4Packet::new_checked(frame.payload).ok()?;
            if !packet.verify_checksum() {
                return None;
            }
            let is_whole = packet.frag_offset() == 0 && !packet.more_frags();
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            Some(match packet.next_header() {
                IpProtocol::Icmp if is_whole => icmpv4_content(packet.payload()),
                IpProtocol::Igmp if is_whole => igmp_content(packet.payload()),
                protocol if is_whole => transport(protocol, from, to, packet.payload()),
                _ => Content::Other,
            })
        }
        IPV6 => {
            let packet = Ipv6Packet::new_checked(frame.payload).ok()?;
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            Some(match packet.next_header() {
                IpProtocol::Icmpv6 => return icmpv6_content(&packet, frame.from),
                // Over IPv6 each datagram has a checksum (RFC 8200 section 8.1).
                IpProtocol::Udp if packet.payload().get(6..8) == Some(&[0, 0]) => return None,
                protocol => transport(protocol, from.into(), to.into(), packet.payload()),
            })
        }
        _ => Some(Content::Other),
    }
}

/// Parses ARP for IPv4 on Ethernet.
fn arp_content(message: &[u8]) -> Option<Content<'static>> {
    const HEAD: [u8; 7] = [0, 1, 8, 0, 6, 4, 0];
    const REQUEST: u8 = 1;
    const REPLY: u8 = 2;
    let (head, rest) = message.split_first_chunk()?;
    let (operation, rest) = rest.split_first()?;
    let (mac, rest) = rest.split_first_chunk()?;
    let (sender, rest) = rest.split_first_chunk::<4>()?;
    let target = rest.tail(6).first_chunk::<4>()?;
    let is_known = *head == HEAD && matches!(*operation, REQUEST | REPLY);
    is_known.then_some(Content::Arp {
        is_reply: *operation == REPLY,
        mac: Mac(*mac),
        sender: (*sender).into(),
        target: (*target).into(),
    })
}

fn transport(protocol: IpProtocol, from: IpAddr, to: IpAddr, bytes: &[u8]) -> Content<'_> {
    match protocol {
        IpProtocol::Tcp => match TcpPacket::new_checked(bytes) {
            Ok(segment) => {
                let from = SocketAddr::new(from, segment.src_port());
                let to = SocketAddr::new(to, segment.dst_port());
                let number = segment.seq_number().0 as u32;
                match segment.syn() && !segment.ack() && !segment.fin() {
                    _ if segment.rst() => Content::Reset { from, to, number },
                    true => Content::Syn {
                        from,
                        to,
                        number,
                        scale: scale(&segment),
                    },
                    false => Content::Segment {
                        from,
                        to,
                        segment: Segment::new(&segment),
                    },
                }
            }
            Err(_) => Content::Other,
        },
        IpProtocol::Udp => match UdpPacket::new_checked(bytes) {
            Ok(datagram) => Content::Datagram {
                from: SocketAddr::new(from, datagram.src_port()),
                to: SocketAddr::new(to, datagram.dst_port()),
                bytes: datagram.payload(),
            },
            Err(_) => Content::Other,
        },
        _ => Content::Other,
    }
}

/// Returns the window scale of a SYN; 0 without that option. RFC 7323 limits it to 14.
fn scale(syn: &TcpPacket<&[u8]>) -> u8 {
    let mut options = syn.options();
    while let Ok((rest, option)) = TcpOption::parse(options) {
        match option {
            TcpOption::WindowScale(scale) => return scale.min(14),
            TcpOption::EndOfList => break,
            _ => options = rest,
        }
    }
    0
}

/// Parses an IGMP message: a query of version 1, 2 or 3 (RFC 2236 section 2, RFC 3376 section 7.1).
fn igmp_content(message: &[u8]) -> Content<'static> {
    const QUERY: u8 = 0x11;
    let group = message.tail(4).first_chunk::<4>();
    match (message, group) {
        ([QUERY, tenths, ..], Some(group))
            if IgmpPacket::new_unchecked(message).verify_checksum() =>
        {
            let is_version_1 = *tenths == 0 && message.len() == 8;
            let tenths = if is_version_1 { 100 } else { *tenths };
            Content::Query(Query {
                group: IpAddr::from(*group),
                // From 128 on, the field of IGMPv3 is a larger number with an exponent.
                delay: Duration::from_ms(u32::from(tenths.min(127)) * 100),
                is_version_1,
            })
        }
        _ => Content::Other,
    }
}

fn icmpv4_content(bytes: &[u8]) -> Content<'static> {
    const FRAGMENTATION_NEEDED: u8 = 4;
    let Ok(packet) = Icmpv4Packet::new_checked(bytes) else {
        return Content::Other;
    };
    let kind = (packet.msg_type(), packet.msg_code());
    if kind != (Icmpv4Message::DstUnreachable, FRAGMENTATION_NEEDED) || !packet.verify_checksum() {
        return Content::Other;
    }
    // Routers older than RFC 1191 send an MTU of zero.
    too_big(bytes, |mtu| mtu.max(IPV4_MTU_MIN))
}

/// Parses an ICMPv6 message. `None`: a message that RFC 4861 section 7.1, RFC 4862 or RFC 3810 section 6.2 says to discard.
fn icmpv6_content<'a>(packet: &Ipv6Packet<&'a [u8]>, mac: Mac) -> Option<Content<'a>> {
    /// Length of neighbor solicitations and advertisements before their options.
    const NEIGHBOR_BYTES: usize = 24;
    /// Flag of an advertisement that answers a solicitation, in its byte 4.
    const SOLICITED: u8 = 0x40;
    const SOURCE_MAC: u8 = 1;
    let (from, to, bytes) = (packet.src_addr(), packet.dst_addr(), packet.payload());
    let message = Icmpv6Packet::new_checked(bytes).ok()?;
    if !message.verify_checksum(&from, &to) {
        return None;
    }
    let is_from_link = packet.hop_limit() == LINK_HOP_LIMIT && message.msg_code() == 0;
    let target = bytes.tail(8).first_chunk().copied().map(Ipv6Addr::from);
    let options = bytes.tail(NEIGHBOR_BYTES);
    Some(match (*bytes.first()?, target) {
        (TOO_BIG, _) => too_big(bytes, |mtu| mtu.max(IPV6_MTU_MIN)),
        (ROUTER, _) if is_from_link && from.is_unicast_link_local() => {
            Content::Router { message: bytes }
        }
        // The response time is in milliseconds; from 32,768 on, it has an exponent.
        (MLD_QUERY, Some(group))
            if from.is_unicast_link_local()
                && packet.hop_limit() == 1
                && (group.is_unspecified() || group.is_multicast()) =>
        {
            let ms = bytes.tail(4).first_chunk().copied().map(u16::from_be_bytes);
            Content::Query(Query {
                group: group.into(),
                delay: Duration::from_ms(ms?.min(0x7fff).into()),
                is_version_1: false,
            })
        }
        (SOLICIT, Some(target)) if is_from_link && !target.is_multicast() => {
            let mut has_mac = false;
            let are_whole = each_option(options, &mut |option| {
                has_mac |= option.first() == Some(&SOURCE_MAC);
            });
            let is_probe = from.is_unspecified();
            let is_valid_probe = to == solicited_node(target) && !has_mac;
            if !are_whole || (is_probe && !is_valid_probe) {
                return None;
            }
            Content::Solicit { mac, from, target }
        }
        (ADVERTISE, Some(target)) if is_from_link && !target.is_multicast() => {
            let is_solicited = bytes.get(4).is_some_and(|flags| flags & SOLICITED != 0);
            if (is_solicited && to.is_multicast()) || !each_option(options, &mut |_| {}) {
                return None;
            }
            Content::Advertise { target }
        }
        (ROUTER | MLD_QUERY | SOLICIT | ADVERTISE, _) => return None,
        _ => Content::Other,
    })
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
pub(in super::super) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
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

/// Calls `each` for each option. Returns false at the first one that is malformed.
pub(in super::super) fn each_option<'a>(
    mut options: &'a [u8],
    each: &mut dyn FnMut(&'a [u8]),
) -> bool {
    // An option has a type, a length in units of eight bytes, and data.
    while let [_, units, ..] = *options {
        let len = usize::from(units) * 8;
        if len == 0 || len > options.len() {
            return false;
        }
        each(options.head(len));
        options = options.tail(len);
    }
    options.is_empty()
}

/// Parses an ICMP error about a packet that exceeds an MTU. It quotes the start of that packet after its own header of eight bytes,
/// the last two of which are the MTU.
fn too_big(error: &[u8], mtu: impl Fn(u16) -> u16) -> Content<'static> {
    fn quoted(packet: &[u8]) -> Option<(SocketAddr, SocketAddr, u32)> {
        let (from, to, protocol, segment): (IpAddr, IpAddr, _, &[u8; 8]) =
            match packet.first()? >> 4 {
                4 => {
                    let (head, rest) = packet.split_first_chunk::<20>()?;
                    let head = Ipv4Packet::new_unchecked(head);
                    let (from, to) = (head.src_addr().into(), head.dst_addr().into());
                    (from, to, head.next_header(), rest.first_chunk()?)
                }
                _ => {
                    let (head, rest) = packet.split_first_chunk::<40>()?;
                    let head = Ipv6Packet::new_unchecked(head);
                    let (from, to) = (head.src_addr().into(), head.dst_addr().into());
                    (from, to, head.next_header(), rest.first_chunk()?)
                }
            };
        let segment = TcpPacket::new_unchecked(segment);
        let from = SocketAddr::new(from, segment.src_port());
        let to = SocketAddr::new(to, segment.dst_port());
        let number = segment.seq_number().0 as u32;
        (protocol == IpProtocol::Tcp).then_some((from, to, number))
    }
    let [.., a, b] = error.head(8) else {
        return Content::Other;
    };
    match quoted(error.tail(8)) {
        Some((from, to, number)) => Content::TooBig {
            from,
            to,
            number,
            mtu: mtu(u16::from_be_bytes([*a, *b])),
        },
        None => Content::Other,
    }
}
