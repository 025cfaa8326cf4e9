//! TCP segments in frames: changes their fields, and cuts them into smaller ones.

use super::{IPV4, destination, endpoints};
use crate::mem::Ends as _;
use crate::net::link::ETHERNET_BYTES;
use core::net::{IpAddr, SocketAddr};
use smoltcp::wire::{IpAddress, Ipv4Packet, Ipv6Packet, TcpPacket, TcpSeqNumber};

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
pub(in super::super) fn make_ack(frame: &mut [u8], number: u32, acknowledged: u32) {
    change_segment(frame, &mut |mut segment, from, to| {
        segment.clear_flags();
        segment.set_ack(true);
        segment.set_seq_number(TcpSeqNumber(number as i32));
        segment.set_ack_number(TcpSeqNumber(acknowledged as i32));
        segment.fill_checksum(&from, &to);
    });
}

/// Returns the checksum of a message in which a word was changed (RFC 1624).
pub(in super::super) const fn adjust_sum(sum: u16, old: u16, new: u16) -> u16 {
    let sum = !sum as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum + (sum >> 16)) as u16
}

/// Lowers the window field of the TCP segment in a frame to `limit`.
pub(in super::super) fn limit_window(frame: &mut [u8], limit: u16) {
    change_segment(frame, &mut |mut segment, _, _| {
        let window = segment.window_len();
        if window > limit {
            let sum = adjust_sum(segment.checksum(), window, limit);
            segment.set_checksum(sum);
            segment.set_window_len(limit);
        }
    });
}

/// Returns the length of the IP and TCP headers of a packet. `None` if it is no TCP packet.
pub(in super::super) fn header_bytes(packet: &[u8]) -> Option<usize> {
    const TCP: u8 = 6;
    const FLAGS: usize = 12;
    let (protocol, ip) = match packet.first()? >> 4 {
        4 => (packet.get(9), 20),
        _ => (packet.get(6), 40),
    };
    let tcp = usize::from(packet.get(ip + FLAGS)? >> 4) * 4;
    (protocol == Some(&TCP)).then_some(ip + tcp)
}

/// Returns source and destination of a packet that smoltcp has written, if it is a SYN-ACK.
pub(in super::super) fn syn_ack(packet: &[u8]) -> Option<[SocketAddr; 2]> {
    const FLAGS: usize = 13;
    const SYN_ACK: u8 = 0x12;
    header_bytes(packet)?;
    let (_, to) = destination(packet)?;
    let (from, ip): (IpAddr, _) = match to {
        IpAddr::V4(_) => (IpAddr::from(*packet.tail(12).first_chunk::<4>()?), 20),
        IpAddr::V6(_) => (IpAddr::from(*packet.tail(8).first_chunk::<16>()?), 40),
    };
    let segment = packet.tail(ip);
    let [own, peer] = [segment, segment.tail(2)].map(|field| field.first_chunk().copied());
    let [own, peer] = [own?, peer?].map(u16::from_be_bytes);
    let is_syn_ack = segment.get(FLAGS)? & SYN_ACK == SYN_ACK;
    is_syn_ack.then_some([(from, own).into(), (to, peer).into()])
}

/// Writes the part of a frame's TCP packet with the bytes of data from `start` on, `data_bytes` at most, to `out` as a frame of its
/// own. Returns its length; 0 if there are no such bytes.
pub(in super::super) fn cut(
    frame: &[u8],
    start: usize,
    data_bytes: usize,
    out: &mut [u8],
) -> usize {
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
