//! Builds frames with ARP messages (RFC 826, RFC 5227), messages of neighbor and router discovery (RFC 4861), and datagrams.

use super::{
    ADVERTISE, ARP, ARP_BYTES, IPV4, IPV6, LINK_HOP_LIMIT, Mac, ROUTER_SOLICIT, SOLICIT, group_mac,
    write_header,
};
use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv6Packet, IpProtocol, IpRepr, Ipv6Packet, Ipv6Repr, UdpPacket};

/// Writes a frame with a UDP datagram. Returns its length; 0 if it does not fit.
pub(in super::super) fn write_datagram(
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
pub(in super::super) fn arp(own: Mac, sender: Ipv4Addr, target: Ipv4Addr, out: &mut [u8]) -> usize {
    const REQUEST: u8 = 1;
    write_arp(own, REQUEST, sender, (Mac::BROADCAST, target), out)
}

/// Writes an ARP reply: this host has the address `sender`. Returns the length.
pub(in super::super) fn arp_reply(
    own: Mac,
    sender: Ipv4Addr,
    to: (Mac, Ipv4Addr),
    out: &mut [u8],
) -> usize {
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
pub(in super::super) enum Discovery {
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
pub(in super::super) fn discover(
    own: Mac,
    from: Ipv6Addr,
    group: Ipv6Addr,
    message: Discovery,
    out: &mut [u8],
) -> usize {
    discover_at(own, from, (Mac::BROADCAST, group), message, out)
}

/// Writes a discovery message to a group, or to a host at a MAC address. Returns the length of the frame.
pub(in super::super) fn discover_at(
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
