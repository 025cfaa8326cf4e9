//! Ethernet frames around smoltcp's packets. Parses frames for SYNs, DHCP, address resolution, conflicts and path MTUs. Builds ARP
//! messages (RFC 826, RFC 5227), messages of neighbor and router discovery (RFC 4861), and datagrams. Cuts TCP packets into smaller
//! ones.

use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;
use crate::time::Duration;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, Icmpv6Packet, IgmpPacket, IpAddress, IpProtocol, IpRepr,
    Ipv4Packet, Ipv6Packet, Ipv6Repr, TcpOption, TcpPacket, TcpSeqNumber, UdpPacket,
};

/// Length of an ARP frame, in bytes.
pub(super) const ARP_BYTES: usize = ETHERNET_BYTES + 28;
/// Hop limit of datagrams.
pub(super) const HOP_LIMIT: u8 = 64;
/// Hop limit of neighbor and router discovery: a smaller one shows that a router forwarded the message (RFC 4861 section 3.1).
const LINK_HOP_LIMIT: u8 = 255;

/// Smallest MTU of a link, in bytes: RFC 791 section 3.2 (every host accepts such packets), RFC 8200 section 5.
const IPV4_MTU_MIN: u16 = 576;
const IPV6_MTU_MIN: u16 = 1280;

/// ICMPv6 message types.
const TOO_BIG: u8 = 2;
const MLD_QUERY: u8 = 130;
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

/// The fields of a TCP segment that congestion control uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment {
    /// Acknowledged sequence number.
    pub(super) acked: u32,
    /// Window field, not scaled.
    pub(super) field: u16,
    /// True if the segment has no data.
    pub(super) is_empty: bool,
    /// Number of bytes after `acked` that are selectively acknowledged (RFC 2018).
    pub(super) later_bytes: u32,
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
pub(super) struct Query {
    /// The group whose members are to report; an unspecified address: all groups of that family.
    pub(super) group: IpAddr,
    /// Maximum response time.
    pub(super) delay: Duration,
    /// True for IGMPv1.
    pub(super) is_version_1: bool,
}

/// Content of a frame, as far as the stack handles it before smoltcp.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content<'a> {
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

/// Parses a frame. `None` if it is malformed, is not addressed to `own` or to a group, or was sent by `own`.
#[inline(never)] // Smaller.
pub(super) fn content(frame: &[u8], own: Mac) -> Option<Content<'_>> {
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
                IpProtocol::Icmpv6 => {
                    let is_from_link = packet.hop_limit() == LINK_HOP_LIMIT;
                    icmpv6_content(from, to, is_from_link, frame.from, packet.payload())
                }
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

fn icmpv6_content(
    from: Ipv6Addr,
    to: Ipv6Addr,
    is_from_link: bool,
    mac: Mac,
    bytes: &[u8],
) -> Content<'_> {
    const HEAD_BYTES: usize = 8;
    let Ok(packet) = Icmpv6Packet::new_checked(bytes) else {
        return Content::Other;
    };
    if !packet.verify_checksum(&from, &to) {
        return Content::Other;
    }
    let target = bytes.tail(HEAD_BYTES).first_chunk::<16>();
    match (bytes.first(), target) {
        (Some(&TOO_BIG), _) => too_big(bytes, |mtu| mtu.max(IPV6_MTU_MIN)),
        (Some(&ROUTER), _) if is_from_link && from.is_unicast_link_local() => {
            Content::Router { message: bytes }
        }
        // MLD (RFC 3810 section 5.1): the response time is in milliseconds; from 32,768 on, it has an exponent.
        (Some(&MLD_QUERY), Some(group)) if from.is_unicast_link_local() => {
            let ms = bytes
                .tail(4)
                .first_chunk()
                .copied()
                .map_or(0, u16::from_be_bytes);
            Content::Query(Query {
                group: IpAddr::from(*group),
                delay: Duration::from_ms(ms.min(0x7fff).into()),
                is_version_1: false,
            })
        }
        (Some(&SOLICIT), Some(target)) if is_from_link => Content::Solicit {
            mac,
            from,
            target: (*target).into(),
        },
        (Some(&ADVERTISE), Some(target)) if is_from_link => Content::Advertise {
            target: (*target).into(),
        },
        _ => Content::Other,
    }
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

/// Returns the IP packet in a frame. `None` if the frame has none.
pub(super) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let frame = Frame::new(frame)?;
    matches!(frame.ethertype, IPV4 | IPV6).then_some(frame.payload)
}

/// Changes a TCP segment; gets its source and destination.
type Change<'a> = dyn FnMut(TcpPacket<&mut [u8]>, IpAddress, IpAddress) + 'a;

/// Calls `change` with the TCP segment in a frame, its source and destination.
fn change_segment(frame: &mut [u8], change: &mut Change<'_>) {
    let Some((_, from, to)) = endpoints(frame) else {
        return;
    };
    let packet = frame.tail_mut(ETHERNET_BYTES);
    let mut pass = |segment| change(TcpPacket::new_unchecked(segment), from.into(), to.into());
    match from {
        IpAddr::V4(_) => pass(Ipv4Packet::new_unchecked(packet).payload_mut()),
        IpAddr::V6(_) => pass(Ipv6Packet::new_unchecked(packet).payload_mut()),
    }
}

/// Changes the TCP segment in a frame to an ACK with these sequence and acknowledgment numbers.
pub(super) fn make_ack(frame: &mut [u8], number: u32, acknowledged: u32) {
    change_segment(frame, &mut |mut segment, from, to| {
        segment.clear_flags();
        segment.set_ack(true);
        segment.set_seq_number(TcpSeqNumber(number as i32));
        segment.set_ack_number(TcpSeqNumber(acknowledged as i32));
        segment.fill_checksum(&from, &to);
    });
}

/// Returns the checksum of a message in which a word was changed (RFC 1624).
pub(super) const fn adjust_sum(sum: u16, old: u16, new: u16) -> u16 {
    let sum = !sum as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum + (sum >> 16)) as u16
}

/// Lowers the window field of the TCP segment in a frame to `limit`.
pub(super) fn limit_window(frame: &mut [u8], limit: u16) {
    change_segment(frame, &mut |mut segment, _, _| {
        let window = segment.window_len();
        if window > limit {
            let sum = adjust_sum(segment.checksum(), window, limit);
            segment.set_checksum(sum);
            segment.set_window_len(limit);
        }
    });
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

/// Returns the length of the IP and TCP headers of a packet. `None` if it is no TCP packet.
pub(super) fn header_bytes(packet: &[u8]) -> Option<usize> {
    const TCP: u8 = 6;
    const FLAGS: usize = 12;
    let (protocol, ip) = match packet.first()? >> 4 {
        4 => (packet.get(9), 20),
        _ => (packet.get(6), 40),
    };
    let tcp = usize::from(packet.get(ip + FLAGS)? >> 4) * 4;
    (protocol == Some(&TCP)).then_some(ip + tcp)
}

/// Writes the part of a frame's TCP packet with the bytes of data from `start` on, `data_bytes` at most, to `out` as a frame of its
/// own. Returns its length; 0 if there are no such bytes.
pub(super) fn cut(frame: &[u8], start: usize, data_bytes: usize, out: &mut [u8]) -> usize {
    let Some(head) = header_bytes(frame.tail(ETHERNET_BYTES)) else {
        return 0;
    };
    let head = ETHERNET_BYTES + head;
    let rest = frame.tail(head + start);
    let data = rest.head(data_bytes.min(rest.len()));
    let len = head + data.len();
    let out = out.head_mut(len);
    if data.is_empty() || out.len() < len {
        return 0;
    }
    out.head_mut(head).copy_from_slice(frame.head(head));
    out.tail_mut(head).copy_from_slice(data);
    let packet = out.tail_mut(ETHERNET_BYTES);
    let bytes = packet.len() as u16;
    match destination(packet) {
        Some((IPV4, _)) => {
            let mut packet = Ipv4Packet::new_unchecked(packet);
            packet.set_total_len(bytes);
            packet.fill_checksum();
        }
        _ => Ipv6Packet::new_unchecked(packet).set_payload_len(bytes - 40),
    }
    change_segment(out, &mut |mut segment, from, to| {
        segment.set_seq_number(segment.seq_number() + start);
        if data.len() < rest.len() {
            segment.set_fin(false);
            segment.set_psh(false);
        }
        segment.fill_checksum(&from, &to);
    });
    len
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

/// Writes a frame with a UDP datagram. Returns its length; 0 if it does not fit.
pub(super) fn write_datagram(
    [own, mac]: [Mac; 2],
    [from, to]: [SocketAddr; 2],
    hop_limit: u8,
    bytes: &[u8],
    out: &mut [u8],
) -> usize {
    const HEAD_BYTES: usize = 8;
    let (sender, receiver) = (from.ip().into(), to.ip().into());
    let len = HEAD_BYTES + bytes.len();
    let head = IpRepr::new(sender, receiver, IpProtocol::Udp, len, hop_limit);
    let start = ETHERNET_BYTES + head.header_len();
    let out = out.head_mut(start + len);
    if out.len() < start + len {
        return 0;
    }
    let ethertype = if from.is_ipv4() { IPV4 } else { IPV6 };
    write_header(mac, own, ethertype, out);
    head.emit(
        out.tail_mut(ETHERNET_BYTES),
        &ChecksumCapabilities::default(),
    );
    let mut datagram = UdpPacket::new_unchecked(out.tail_mut(start));
    datagram.set_src_port(from.port());
    datagram.set_dst_port(to.port());
    datagram.set_len(len as u16);
    datagram.payload_mut().copy_from_slice(bytes);
    datagram.fill_checksum(&sender, &receiver);
    start + len
}

/// Writes a broadcast ARP request for `target`. From the unspecified address it is a probe (RFC 5227 section 2.1.1), from `target`
/// itself an announcement (section 2.3). Returns the length.
pub(super) fn arp(own: Mac, sender: Ipv4Addr, target: Ipv4Addr, out: &mut [u8]) -> usize {
    const REQUEST: u8 = 1;
    write_arp(own, REQUEST, sender, (Mac::BROADCAST, target), out)
}

/// Writes an ARP reply: this host has the address `sender`. Returns the length.
pub(super) fn arp_reply(own: Mac, sender: Ipv4Addr, to: (Mac, Ipv4Addr), out: &mut [u8]) -> usize {
    const REPLY: u8 = 2;
    write_arp(own, REPLY, sender, to, out)
}

fn write_arp(
    own: Mac,
    operation: u8,
    sender: Ipv4Addr,
    (to, target): (Mac, Ipv4Addr),
    out: &mut [u8],
) -> usize {
    let Some(out) = out.first_chunk_mut::<ARP_BYTES>() else {
        return 0;
    };
    write_header(to, own, ARP, out);
    // Hardware type Ethernet, protocol type IPv4, the lengths of both addresses, and the operation.
    out[14..22].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, operation]);
    out[22..28].copy_from_slice(&own.0);
    out[28..32].copy_from_slice(&sender.octets());
    // A request does not know the target's hardware address, so that field is zero.
    let known = if to == Mac::BROADCAST {
        Mac([0; 6])
    } else {
        to
    };
    out[32..38].copy_from_slice(&known.0);
    out[38..42].copy_from_slice(&target.octets());
    ARP_BYTES
}

/// A message of neighbor or router discovery (RFC 4861 section 4).
#[derive(Clone, Copy, Debug)]
pub(super) enum Discovery {
    /// Neighbor solicitation without the sender's MAC address, as in a probe for duplicates.
    Solicit(Ipv6Addr),
    /// Unsolicited neighbor advertisement.
    Announce(Ipv6Addr),
    /// Neighbor advertisement that answers the solicitation of a host with an address.
    Answer(Ipv6Addr),
    /// Router solicitation.
    RouterSolicit,
}

/// Writes a discovery message to a group. Returns the length of the frame.
pub(super) fn discover(
    own: Mac,
    from: Ipv6Addr,
    group: Ipv6Addr,
    message: Discovery,
    out: &mut [u8],
) -> usize {
    discover_at(own, from, (Mac::BROADCAST, group), message, out)
}

/// Writes a discovery message to a group, or to a host at a MAC address. Returns the length of the frame.
pub(super) fn discover_at(
    own: Mac,
    from: Ipv6Addr,
    (mac, to): (Mac, Ipv6Addr),
    message: Discovery,
    out: &mut [u8],
) -> usize {
    const START: usize = ETHERNET_BYTES + 40;
    const SOURCE_MAC: u8 = 1;
    const TARGET_MAC: u8 = 2;
    /// Flags of an advertisement: solicited, override.
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;
    let (kind, flags, target, option) = match message {
        Discovery::Solicit(target) => (SOLICIT, 0, Some(target), None),
        Discovery::Announce(target) => (ADVERTISE, OVERRIDE, Some(target), Some(TARGET_MAC)),
        Discovery::Answer(target) => {
            let flags = SOLICITED | OVERRIDE;
            (ADVERTISE, flags, Some(target), Some(TARGET_MAC))
        }
        Discovery::RouterSolicit => (ROUTER_SOLICIT, 0, None, Some(SOURCE_MAC)),
    };
    let mut bytes = heapless::Vec::<u8, 32>::new();
    let _ = bytes.extend_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    if let Some(target) = target {
        let _ = bytes.extend_from_slice(&target.octets());
    }
    if let Some(option) = option {
        // The length of an option is in units of eight bytes.
        let _ = bytes.extend_from_slice(&[option, 1]);
        let _ = bytes.extend_from_slice(&own.0);
    }
    Icmpv6Packet::new_unchecked(&mut bytes).fill_checksum(&from, &to);
    let len = START + bytes.len();
    let out = out.head_mut(len);
    if out.len() < len {
        return 0;
    }
    write_header(group_mac(to.into()).unwrap_or(mac), own, IPV6, out);
    let head = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Icmpv6,
        payload_len: bytes.len(),
        hop_limit: LINK_HOP_LIMIT,
    };
    head.emit(&mut Ipv6Packet::new_unchecked(out.tail_mut(ETHERNET_BYTES)));
    out.tail_mut(START).copy_from_slice(&bytes);
    len
}
