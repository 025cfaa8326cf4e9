//! Tests of TCP segments that the peer's stack would not send: RSTs and SYNs that a third host may have forged.

use super::Bench;
use crate::net::smol::packet;
use crate::net::{Connections as _, Datagrams as _, NetError, Socket, Streams as _, Token};
use crate::time::Duration;
use core::net::Ipv4Addr;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl,
    TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr,
};

pub(super) const PORT: u16 = 2049;
pub(super) const LISTENER: Token = Token::new(0, 1);
/// Port of the client.
pub(super) const CLIENT: u16 = 700;
/// Sequence number of the client's SYN: its next ones wrap around.
const FIRST: u32 = u32::MAX - 5;

/// Builds a frame with a segment from the peer.
pub(super) fn segment(
    port: u16,
    control: TcpControl,
    number: u32,
    acknowledged: Option<u32>,
    payload: &[u8],
) -> Vec<u8> {
    let segment = TcpRepr {
        src_port: port,
        dst_port: PORT,
        control,
        seq_number: TcpSeqNumber(number as i32),
        ack_number: acknowledged.map(|number| TcpSeqNumber(number as i32)),
        window_len: 8192,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None::<TcpTimestampRepr>,
        payload,
    };
    let (from, to) = (super::PEER_ADDRESS.into(), super::ADDRESS.into());
    let packet = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: segment.buffer_len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 14 + 20 + segment.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_src_addr(EthernetAddress(super::PEER_MAC));
    frame.set_dst_addr(EthernetAddress(super::MAC));
    frame.set_ethertype(EthernetProtocol::Ipv4);
    let mut inner = Ipv4Packet::new_unchecked(frame.payload_mut());
    packet.emit(&mut inner, &Default::default());
    segment.emit(
        &mut TcpPacket::new_unchecked(inner.payload_mut()),
        &from.into(),
        &to.into(),
        &Default::default(),
    );
    bytes
}

/// A segment that the stack has sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) port: u16,
    pub(super) is_syn: bool,
    pub(super) is_rst: bool,
    pub(super) number: u32,
    pub(super) acknowledged: u32,
    pub(super) payload: Vec<u8>,
}

impl Bench {
    /// Runs the stack for `ms` milliseconds. Returns the segments that it sends.
    pub(super) fn segments(&mut self, ms: u32) -> Vec<Sent> {
        self.peer.is_on = false;
        let end = self.now.after(Duration::from_ms(ms));
        let mut sent = Vec::new();
        while self.now < end {
            self.turn();
            while let Some(frame) = self.end.take() {
                let is_tcp = frame[12..14] == packet::IPV4 && frame[23] == 6;
                if !is_tcp {
                    continue;
                }
                let segment = TcpPacket::new_checked(&frame[34..]).unwrap();
                sent.push(Sent {
                    port: segment.dst_port(),
                    is_syn: segment.syn(),
                    is_rst: segment.rst(),
                    number: segment.seq_number().0 as u32,
                    acknowledged: segment.ack_number().0 as u32,
                    payload: segment.payload().to_vec(),
                });
            }
            self.sleep(end);
        }
        sent
    }

    /// Opens a connection from [`CLIENT`], whose first sequence number is [`FIRST`]. Returns it with the stack's next one.
    pub(super) fn open(&mut self) -> (Socket, u32) {
        let listener = self.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
        let syn = segment(CLIENT, TcpControl::Syn, FIRST, None, &[]);
        self.end.put(&syn);
        let [ref answer] = self.segments(5)[..] else {
            panic!()
        };
        assert!(answer.is_syn);
        let own = answer.number.wrapping_add(1);
        self.put(TcpControl::None, 1, own, &[]);
        assert!(self.segments(5).is_empty());
        (self.stack.accept(listener).unwrap().0, own)
    }

    /// Sends a segment with the sequence number [`FIRST`] + `number`.
    fn put(&mut self, control: TcpControl, number: u32, acknowledged: u32, payload: &[u8]) {
        let number = FIRST.wrapping_add(number);
        let acknowledged = (control != TcpControl::Syn).then_some(acknowledged);
        let frame = segment(CLIENT, control, number, acknowledged, payload);
        self.end.put(&frame);
    }

    /// Checks that the stack answers with one ACK of [`FIRST`] + `next`, and that the connection stays open.
    fn expect_challenge(&mut self, socket: Socket, own: u32, next: u32) {
        let [ref answer] = self.segments(100)[..] else {
            panic!()
        };
        assert!(!answer.is_syn && !answer.is_rst && answer.payload.is_empty());
        assert_eq!(answer.number, own);
        assert_eq!(answer.acknowledged, FIRST.wrapping_add(next));
        assert_eq!(self.stack.recv(socket, &mut [0]), Err(NetError::WouldBlock));
    }
}

/// Replaces the addresses of a frame of [`segment`].
fn between(mut frame: Vec<u8>, from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    packet.set_src_addr(from);
    packet.set_dst_addr(to);
    packet.fill_checksum();
    TcpPacket::new_unchecked(packet.payload_mut()).fill_checksum(&from.into(), &to.into());
    frame
}

/// RFC 9293 section 3.9.2.3, RFC 1122 section 3.2.1.3.
#[test]
fn syn_between_no_hosts_is_dropped() {
    let (peer, own) = (super::PEER_ADDRESS.into(), super::ADDRESS.into());
    for (from, to, is_answered) in [
        (peer, own, true),
        (peer, Ipv4Addr::BROADCAST, false),
        (peer, Ipv4Addr::new(192, 0, 2, 255), false),
        (peer, Ipv4Addr::new(224, 0, 0, 1), false),
        (Ipv4Addr::new(240, 0, 0, 1), own, false),
        (Ipv4Addr::new(0, 0, 0, 1), own, false),
        (Ipv4Addr::new(192, 0, 2, 255), own, false),
        (Ipv4Addr::BROADCAST, own, false),
    ] {
        for is_open in [true, false] {
            let mut bench = Bench::with_address(48, 0);
            if is_open {
                bench.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
            }
            let syn = segment(CLIENT, TcpControl::Syn, FIRST, None, &[]);
            bench.end.put(&between(syn, from, to));
            let sent = bench.segments(100);
            assert_eq!(!sent.is_empty(), is_answered, "{from} to {to}, {is_open}");
        }
    }
}

/// Forged RSTs hit the window, but not the next sequence number (RFC 5961 section 3.2): after the handshake, after data, and after a
/// FIN. The last RST is the peer's.
#[test]
fn only_rst_with_next_sequence_number_ends_connection() {
    let mut bench = Bench::with_address(21, 0);
    let (socket, own) = bench.open();
    for offset in [2, 3, 1000, 8000] {
        bench.put(TcpControl::Rst, offset, 0, &[]);
        bench.expect_challenge(socket, own, 1);
    }
    // The task reads four of ten bytes.
    bench.put(TcpControl::None, 1, own, b"0123456789");
    bench.segments(5);
    assert_eq!(bench.stack.recv(socket, &mut [0; 4]), Ok(4));
    bench.put(TcpControl::Rst, 12, own, &[]);
    let [ref answer] = bench.segments(100)[..] else {
        panic!()
    };
    assert_eq!(answer.acknowledged, FIRST.wrapping_add(11));
    assert_eq!(bench.stack.recv(socket, &mut [0; 9]), Ok(6));
    bench.put(TcpControl::Fin, 11, own, &[]);
    bench.segments(100);
    for (number, is_open) in [(11, true), (13, true), (12, false)] {
        bench.put(TcpControl::Rst, number, own, &[]);
        bench.segments(100);
        assert_eq!(bench.stack.send(socket, b"", false).is_ok(), is_open);
    }
}

/// The peer restarts and connects from the same port. It resets the old connection when a challenge ACK shows it (RFC 5961 section
/// 4.2), and its next SYN opens another one.
#[test]
fn syn_in_connection_is_challenged() {
    let mut bench = Bench::with_address(22, 0);
    let (socket, own) = bench.open();
    for offset in [0, 1, 5, 1 << 20, 1 << 31] {
        bench.put(TcpControl::Syn, offset, 0, &[]);
        bench.expect_challenge(socket, own, 1);
    }
    bench.put(TcpControl::Rst, 1, 0, &[]);
    assert!(bench.segments(5).is_empty());
    assert_eq!(bench.stack.send(socket, b"1", false), Err(NetError::Gone));
    bench.stack.close(socket);
    bench.segments(5);
    bench.put(TcpControl::Syn, 100, 0, &[]);
    let [ref answer] = bench.segments(5)[..] else {
        panic!()
    };
    assert!(answer.is_syn && answer.acknowledged == FIRST.wrapping_add(101));
}

#[test]
fn challenges_are_limited() {
    let mut bench = Bench::with_address(23, 0);
    let (_, own) = bench.open();
    let mut answer_count = 0;
    for _ in 0..100 {
        for control in [TcpControl::Rst, TcpControl::Syn] {
            bench.put(control, 3, own, &[]);
        }
        answer_count += bench.segments(10).len();
    }
    assert!((10..=17).contains(&answer_count), "{answer_count}");
}

/// 20,000 SYNs arrive in a second, from forged ports. A connection goes on, and a client whose round trip takes 90 ms connects: its
/// SYN may be lost, but its handshake is not reset.
#[test]
fn syn_flood_blocks_no_client() {
    let mut bench = Bench::with_address(24, 0);
    let (socket, own) = bench.open();
    let (mut next, mut answered_at) = (None, 0);
    for ms in 0..1000 {
        let (syn, ack) = (TcpControl::Syn, TcpControl::None);
        match ms {
            900 => bench.put(ack, 1, own, b"data"),
            500.. if next.is_none() => {
                bench.end.put(&segment(CLIENT + 1, syn, 1, None, &[]));
            }
            _ if next.is_some() && ms == answered_at + 90 => {
                let hello = segment(CLIENT + 1, ack, 2, next, b"hello");
                bench.end.put(&hello);
            }
            _ => {}
        }
        for number in 0..20 {
            let port = 10_000 + (ms * 20 + number) % 50_000;
            let syn = segment(port as u16, TcpControl::Syn, ms, None, &[]);
            bench.end.put(&syn);
        }
        for sent in bench.segments(1) {
            assert!(!sent.is_rst);
            if sent.port == CLIENT + 1 && sent.is_syn && next.is_none() {
                (next, answered_at) = (Some(sent.number.wrapping_add(1)), ms);
            }
        }
    }
    assert_eq!(bench.stack.recv(socket, &mut [0; 9]), Ok(4));
    let (other, _) = bench.stack.accept(Socket(0)).unwrap();
    assert_eq!(bench.stack.recv(other, &mut [0; 9]), Ok(5));
}

#[test]
fn segment_in_a_frame_to_all_hosts_is_dropped() {
    let mut bench = Bench::with_address(26, 0);
    bench.open();
    for control in [TcpControl::Syn, TcpControl::None, TcpControl::Rst] {
        let acknowledged = (control != TcpControl::Syn).then_some(9);
        let mut frame = segment(CLIENT + 1, control, 1, acknowledged, b"");
        frame[..6].fill(0xff);
        bench.end.put(&frame);
        assert!(bench.segments(100).is_empty(), "{control:?}");
    }
}
