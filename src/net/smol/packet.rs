//! Parses frames before smoltcp does, for SYNs and address conflicts. Builds ARP frames (RFC 826, RFC 5227) and neighbor and router
//! discovery messages (RFC 4861).

use crate::mem::Ends as _;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv6Packet, Ipv6Repr, NdiscRepr, TcpPacket,
    UdpPacket,
};

/// Length of an ARP frame, in bytes.
pub(super) const ARP_BYTES: usize = 42;

/// MAC address.
pub(super) type Mac = EthernetAddress;

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
    /// A TCP segment that requests a connection: SYN without ACK.
    Syn { from: SocketAddr, to: SocketAddr },
    /// A UDP datagram to this port.
    Datagram { port: u16 },
    /// Neighbor solicitation; from the unspecified address it is a probe for duplicates.
    Solicit {
        mac: Mac,
        from: Ipv6Addr,
        target: Ipv6Addr,
    },
    /// Neighbor advertisement.
    Advertise { target: Ipv6Addr },
    /// Router advertisement; `message` is the ICMPv6 message.
    Router { from: Ipv6Addr, message: &'a [u8] },
    /// Anything else.
    Other,
}

/// Parses a frame. `None` if it is malformed, is not addressed to `own` or to a group, or was sent by `own`.
pub(super) fn content(frame: &[u8], own: Mac) -> Option<Content<'_>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    let to = frame.dst_addr();
    if (to != own && to.is_unicast()) || frame.src_addr() == own {
        return None;
    }
    match frame.ethertype() {
        EthernetProtocol::Arp => {
            let packet = ArpPacket::new_checked(frame.payload()).ok()?;
            let ArpRepr::EthernetIpv4 {
                operation,
                source_hardware_addr: mac,
                source_protocol_addr: sender,
                target_protocol_addr: target,
                ..
            } = ArpRepr::parse(&packet).ok()?
            else {
                return None;
            };
            (mac != own).then_some(Content::Arp {
                is_reply: operation == ArpOperation::Reply,
                mac,
                sender,
                target,
            })
        }
        EthernetProtocol::Ipv4 => {
            let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
            let is_whole = packet.frag_offset() == 0 && !packet.more_frags();
            let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
            Some(match packet.next_header() {
                protocol if is_whole => transport(protocol, from, to, packet.payload()),
                _ => Content::Other,
            })
        }
        EthernetProtocol::Ipv6 => {
            let packet = Ipv6Packet::new_checked(frame.payload()).ok()?;
            let (from, to) = (packet.src_addr(), packet.dst_addr());
            Some(match packet.next_header() {
                // Another hop limit means that a router forwarded the message (RFC 4861 section 6.1.2, 7.1).
                IpProtocol::Icmpv6 if packet.hop_limit() == 255 => {
                    discovery(from, to, frame.src_addr(), packet.payload())
                }
                protocol => transport(protocol, from.into(), to.into(), packet.payload()),
            })
        }
        _ => Some(Content::Other),
    }
}

fn transport(protocol: IpProtocol, from: IpAddr, to: IpAddr, bytes: &[u8]) -> Content<'static> {
    match protocol {
        IpProtocol::Tcp => match TcpPacket::new_checked(bytes) {
            Ok(segment) if segment.syn() && !segment.ack() && !segment.rst() && !segment.fin() => {
                Content::Syn {
                    from: SocketAddr::new(from, segment.src_port()),
                    to: SocketAddr::new(to, segment.dst_port()),
                }
            }
            _ => Content::Other,
        },
        IpProtocol::Udp => match UdpPacket::new_checked(bytes) {
            Ok(datagram) => Content::Datagram {
                port: datagram.dst_port(),
            },
            Err(_) => Content::Other,
        },
        _ => Content::Other,
    }
}

fn discovery(from: Ipv6Addr, to: Ipv6Addr, mac: Mac, bytes: &[u8]) -> Content<'_> {
    const ROUTER: u8 = 134;
    const SOLICIT: u8 = 135;
    const ADVERTISE: u8 = 136;
    const HEAD_BYTES: usize = 8;
    let Ok(packet) = Icmpv6Packet::new_checked(bytes) else {
        return Content::Other;
    };
    let target = bytes.tail(HEAD_BYTES).first_chunk::<16>();
    let is_intact = packet.verify_checksum(&from, &to);
    match (bytes.first(), target) {
        (Some(&ROUTER), _) if is_intact && from.is_unicast_link_local() => Content::Router {
            from,
            message: bytes,
        },
        (Some(&SOLICIT), Some(target)) if is_intact => Content::Solicit {
            mac,
            from,
            target: (*target).into(),
        },
        (Some(&ADVERTISE), Some(target)) if is_intact => Content::Advertise {
            target: (*target).into(),
        },
        _ => Content::Other,
    }
}

/// Returns true if the TCP or UDP checksum of a frame is correct, or if it has none.
pub(super) fn is_intact(frame: &[u8]) -> bool {
    let Ok(frame) = EthernetFrame::new_checked(frame) else {
        return false;
    };
    let (from, to, protocol, payload): (IpAddr, IpAddr, _, _) = match frame.ethertype() {
        EthernetProtocol::Ipv4 => match Ipv4Packet::new_checked(frame.payload()) {
            // smoltcp does not reassemble fragments.
            Ok(packet) => (
                packet.src_addr().into(),
                packet.dst_addr().into(),
                packet.next_header(),
                packet.payload(),
            ),
            Err(_) => return false,
        },
        EthernetProtocol::Ipv6 => match Ipv6Packet::new_checked(frame.payload()) {
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

/// Writes a broadcast ARP request for `target`. From the unspecified address it is a probe (RFC 5227 section 2.1.1), from `target`
/// itself an announcement (section 2.3).
pub(super) fn arp(own: Mac, sender: Ipv4Addr, target: Ipv4Addr, out: &mut [u8]) -> usize {
    let request = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: own,
        source_protocol_addr: sender,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: target,
    };
    let out = out.head_mut(ARP_BYTES);
    if out.is_empty() {
        return 0;
    }
    let mut frame = EthernetFrame::new_unchecked(out);
    frame.set_src_addr(own);
    frame.set_dst_addr(EthernetAddress::BROADCAST);
    frame.set_ethertype(EthernetProtocol::Arp);
    request.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    ARP_BYTES
}

/// Writes a neighbor discovery message to a group.
pub(super) fn discover(
    own: Mac,
    from: Ipv6Addr,
    group: Ipv6Addr,
    message: NdiscRepr<'_>,
    out: &mut [u8],
) -> usize {
    const HEAD_BYTES: usize = 14 + 40;
    let message = Icmpv6Repr::Ndisc(message);
    let packet = Ipv6Repr {
        src_addr: from,
        dst_addr: group,
        next_header: IpProtocol::Icmpv6,
        payload_len: message.buffer_len(),
        hop_limit: 255,
    };
    let len = HEAD_BYTES + message.buffer_len();
    let out = out.head_mut(len);
    if out.is_empty() {
        return 0;
    }
    let [.., a, b, c, d] = group.octets();
    let mut frame = EthernetFrame::new_unchecked(out);
    frame.set_src_addr(own);
    frame.set_dst_addr(EthernetAddress([0x33, 0x33, a, b, c, d]));
    frame.set_ethertype(EthernetProtocol::Ipv6);
    let mut inner = Ipv6Packet::new_unchecked(frame.payload_mut());
    packet.emit(&mut inner);
    message.emit(
        &from,
        &group,
        &mut Icmpv6Packet::new_unchecked(inner.payload_mut()),
        &ChecksumCapabilities::default(),
    );
    len
}
