//! Tests of path MTU discovery (RFC 1191, RFC 8201), besides `faults::router_with_a_smaller_mtu_delays_no_transfer`.

use super::messages::{ICMPV6, icmpv6, ipv6};
use super::segments::{CLIENT, PORT};
use super::{ADDRESS, Bench, MAC, PEER_ADDRESS, PEER_MAC};
use crate::net::Connections as _;
use crate::net::smol::packet::{self, Content, Mac};
use core::net::{Ipv6Addr, SocketAddr};
use smoltcp::wire::{
    Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
    TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

const ETHERNET_BYTES: usize = 14;
/// Length of the part of a packet that an error quotes, in bytes: the IPv4 header and the first eight bytes after it.
const QUOTED_BYTES: usize = 28;
const OWN_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
const PEER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);

/// Builds a frame to the stack around the IP packet that `write` writes.
fn frame(ethertype: [u8; 2], len: usize, write: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = [&MAC[..], &PEER_MAC, &ethertype].concat();
    frame.resize(ETHERNET_BYTES + len, 0);
    write(&mut frame[ETHERNET_BYTES..]);
    frame
}

/// Builds the frame of a router's ICMP error: the IPv4 packet in `sent` is longer than `mtu`.
pub(super) fn too_big(sent: &[u8], mtu: u16) -> Vec<u8> {
    let quoted = &sent[ETHERNET_BYTES..ETHERNET_BYTES + QUOTED_BYTES];
    let len = 8 + quoted.len();
    let head = Ipv4Repr {
        src_addr: [192, 0, 2, 3].into(),
        dst_addr: ADDRESS.into(),
        next_header: IpProtocol::Icmp,
        payload_len: len,
        hop_limit: 64,
    };
    frame(packet::IPV4, 20 + len, |out| {
        head.emit(
            &mut Ipv4Packet::new_unchecked(&mut *out),
            &Default::default(),
        );
        let message = &mut out[20..];
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
        message[8..].copy_from_slice(quoted);
        let mut message = Icmpv4Packet::new_unchecked(message);
        message.set_msg_type(Icmpv4Message::DstUnreachable);
        message.set_msg_code(4);
        message.fill_checksum();
    })
}

/// The start of a frame that a connection of the stack has sent: an IPv4 header, two ports and a sequence number.
fn sent_start(client: u16, number: u32) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET_BYTES];
    frame.extend([0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([ADDRESS, PEER_ADDRESS].concat());
    frame.extend([PORT.to_be_bytes(), client.to_be_bytes()].concat());
    frame.extend(number.to_be_bytes());
    frame
}

/// Lengths of the payloads that the stack sends within ten seconds.
fn payload_lengths(bench: &mut Bench) -> Vec<usize> {
    let sent = bench.segments(10_000);
    sent.iter().map(|segment| segment.payload.len()).collect()
}

#[test]
fn only_own_segments_lower_path_mtu() {
    let mut bench = Bench::with_address(31, 0);
    let (socket, own) = bench.open();
    bench.stack.send(socket, &[7; 1460], false).unwrap();
    let before = own.wrapping_sub(1);
    let behind = own.wrapping_add(1460);
    for (client, number) in [(CLIENT, before), (CLIENT, behind), (CLIENT + 1, own)] {
        bench.end.put(&too_big(&sent_start(client, number), 1400));
        assert!(payload_lengths(&mut bench).iter().all(|len| *len == 1460));
    }
    bench.end.put(&too_big(&sent_start(CLIENT, own), 1400));
    bench.segments(5);
    let lengths = payload_lengths(&mut bench);
    assert!(lengths.len() >= 2);
    assert!(lengths.chunks(2).all(|pair| pair == [1360, 100]));
}

/// Routers older than RFC 1191 send 0, and a forged MTU could be 1.
#[test]
fn path_mtu_has_a_lower_limit() {
    for (mtu, first) in [(0, 536), (1, 536), (575, 536), (577, 537)] {
        let mut bench = Bench::with_address(32, 0);
        let (socket, own) = bench.open();
        bench.stack.send(socket, &[7; 1460], false).unwrap();
        bench.segments(5);
        bench.end.put(&too_big(&sent_start(CLIENT, own), mtu));
        bench.segments(5);
        assert_eq!(payload_lengths(&mut bench)[0], first);
    }
}

/// A TCP packet over IPv6 with a FIN, as the stack sends it.
fn tcp_v6(payload: &[u8]) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: PORT,
        dst_port: CLIENT,
        control: TcpControl::Fin,
        seq_number: TcpSeqNumber(-7),
        ack_number: Some(TcpSeqNumber(1)),
        window_len: 8192,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let head = Ipv6Repr {
        src_addr: OWN_V6,
        dst_addr: PEER_V6,
        next_header: IpProtocol::Tcp,
        payload_len: segment.buffer_len(),
        hop_limit: 64,
    };
    frame([0x86, 0xdd], 40 + segment.buffer_len(), |out| {
        head.emit(&mut Ipv6Packet::new_unchecked(&mut *out));
        let mut inner = TcpPacket::new_unchecked(&mut out[40..]);
        segment.emit(
            &mut inner,
            &OWN_V6.into(),
            &PEER_V6.into(),
            &Default::default(),
        );
    })
}

#[test]
fn ipv6_router_reports_the_path_mtu() {
    let sent = tcp_v6(&[7; 1440]);
    let quoted = &sent[ETHERNET_BYTES..];
    let both = [ROUTER_V6, OWN_V6];
    let error = |mtu: u16| {
        let [high, low] = mtu.to_be_bytes();
        let message = [&[2, 0, 0, 0, 0, 0, high, low], &quoted[..1000]].concat();
        ipv6(both, 60, ICMPV6, &[], &icmpv6(both, &message))
    };
    for (told, mtu) in [(1400, 1400), (1280, 1280), (1000, 1280), (0, 1280)] {
        let expected = Content::TooBig {
            from: SocketAddr::new(OWN_V6.into(), PORT),
            to: SocketAddr::new(PEER_V6.into(), CLIENT),
            number: 0u32.wrapping_sub(7),
            mtu,
        };
        assert_eq!(packet::content(&error(told), Mac(MAC)), Some(expected));
    }
    let mut damaged = error(1400);
    damaged[ETHERNET_BYTES + 47] ^= 1;
    assert_eq!(packet::content(&damaged, Mac(MAC)), None);
}

#[test]
fn ipv6_packet_is_cut_into_fragments() {
    let data: Vec<u8> = (0..1440).map(|at| at as u8).collect();
    let sent = tcp_v6(&data);
    let (mut got, mut ends) = (Vec::<u8>::new(), Vec::new());
    for start in (0..sent.len()).step_by(600) {
        let mut out = [0; 1500];
        let len = packet::cut(&sent, start, 600, &mut out);
        if len == 0 {
            break;
        }
        let piece = Ipv6Packet::new_checked(&out[ETHERNET_BYTES..len]).unwrap();
        let segment = TcpPacket::new_checked(piece.payload()).unwrap();
        assert!(segment.verify_checksum(&OWN_V6.into(), &PEER_V6.into()));
        assert_eq!(segment.seq_number(), TcpSeqNumber(-7) + start);
        got.extend(segment.payload());
        ends.push(segment.fin());
    }
    assert!(got == data);
    assert_eq!(ends, [false, false, true]);
}
