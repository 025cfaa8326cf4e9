//! Tests of address resolution: the stack answers ARP and neighbor solicitations, and replies without either.

use super::addresses::{ROUTER, advertisement};
use super::messages::{ICMPV6, TCP, UDP, icmpv6_of, ipv6};
use super::{ADDRESS, Bench, MAC, PEER_ADDRESS, PEER_MAC};
use crate::net::smol::Ip;
use crate::net::smol::packet::{self, Content, Discovery, Mac};
use crate::net::{Binding, Datagrams as _, NetError, Streams as _, Token};
use crate::time::Duration;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv4Packet, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpPacket, UdpPacket, UdpRepr,
};

const PEER: Mac = Mac(PEER_MAC);
const OWN: EthernetAddress = EthernetAddress(MAC);
const PORT: u16 = 111;
const TOKEN: Token = Token::new(0, 1);

impl Bench {
    /// Returns the frames that the stack sends within two seconds.
    pub(super) fn sent(&mut self) -> Vec<Vec<u8>> {
        self.sent_within(2)
    }

    /// Returns the frames that the stack sends within a number of seconds, without the peer.
    pub(super) fn sent_within(&mut self, secs: u32) -> Vec<Vec<u8>> {
        self.sent_for(Duration::from_secs(secs))
    }

    fn sent_for(&mut self, time: Duration) -> Vec<Vec<u8>> {
        self.peer.is_on = false;
        let end = self.now.after(time);
        let mut frames = Vec::new();
        while self.now < end {
            self.turn();
            frames.extend(core::iter::from_fn(|| self.end.take()));
            self.sleep(end);
        }
        frames
    }

    /// Runs the stack until its addresses are settled.
    pub(super) fn settle(&mut self) {
        for _ in 0..5 {
            self.sent();
        }
    }
}

/// Builds a frame from `mac` to the stack.
pub(super) fn frame(mac: Mac, protocol: EthernetProtocol, len: usize) -> EthernetFrame<Vec<u8>> {
    let mut frame = EthernetFrame::new_unchecked(vec![0; 14 + len]);
    frame.set_src_addr(EthernetAddress(mac.0));
    frame.set_dst_addr(OWN);
    frame.set_ethertype(protocol);
    frame
}

/// Builds a datagram of four bytes to [`PORT`] of the stack.
fn datagram(mac: Mac, from: Ipv4Addr) -> Vec<u8> {
    datagram_to(ADDRESS.into(), mac, from)
}

/// Builds a datagram from a host to an address, in a frame to the stack.
pub(super) fn datagram_to(to: Ipv4Addr, mac: Mac, from: Ipv4Addr) -> Vec<u8> {
    let mut frame = frame(mac, EthernetProtocol::Ipv4, 20 + 8 + 4);
    let head = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Udp,
        payload_len: 8 + 4,
        hop_limit: 64,
    };
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    head.emit(&mut packet, &Default::default());
    let ports = UdpRepr {
        src_port: 700,
        dst_port: PORT,
    };
    ports.emit(
        &mut UdpPacket::new_unchecked(packet.payload_mut()),
        &from.into(),
        &to.into(),
        4,
        |bytes| bytes.copy_from_slice(b"call"),
        &Default::default(),
    );
    frame.into_inner()
}

/// Answers every datagram that has arrived; returns how many.
fn answer_all(bench: &mut Bench, socket: crate::net::Socket) -> usize {
    let mut count = 0;
    while let Ok(received) = bench.stack.recv_from(socket, &mut [0; 16]) {
        let sent = bench
            .stack
            .send_to(socket, crate::net::Own::default(), received.from, b"reply");
        assert_eq!(sent, Ok(()));
        count += 1;
        bench.turn();
    }
    count
}

/// Returns destination MAC address and IPv4 address of a UDP datagram.
fn replied_to(bytes: &[u8]) -> Option<(Mac, Ipv4Addr)> {
    let frame = EthernetFrame::new_checked(bytes).unwrap();
    let to = Mac(frame.dst_addr().0);
    assert!(packet::is_intact(bytes));
    match packet::content(bytes, to)? {
        Content::Datagram {
            to: SocketAddr::V4(receiver),
            ..
        } if receiver.port() == 700 => Some((to, *receiver.ip())),
        _ => None,
    }
}

/// Neither a sleeping host, which answers no ARP, nor a host behind a router delays replies to others.
#[test]
fn replies_go_where_their_requests_came_from() {
    let mut bench = Bench::with_address(21, 0);
    bench.settle();
    let socket = bench
        .stack
        .bind(&Binding::of((ADDRESS, PORT).into()), TOKEN)
        .unwrap();
    let router = Mac([2, 0, 0, 0, 0, 9]);
    let mut expected = vec![(PEER, Ipv4Addr::new(192, 0, 2, 77))];
    expected.extend((0..1000).map(|number| (router, Ipv4Addr::from_bits(0x0a00_0001 + number))));
    let mut replied = Vec::new();
    for (mac, from) in &expected {
        bench.end.put(&datagram(*mac, *from));
        bench.now = bench.now.after(Duration::from_ms(5));
        bench.end.set_now(bench.now);
        bench.peer.is_on = false;
        bench.turn();
        assert_eq!(answer_all(&mut bench, socket), 1, "{from}");
        bench.now = bench.now.after(Duration::from_ms(5));
        bench.end.set_now(bench.now);
        while let Some(frame) = bench.end.take() {
            replied.extend(replied_to(&frame));
        }
    }
    assert!(
        replied == expected,
        "{} of {}",
        replied.len(),
        expected.len()
    );
}

/// 1,000 hosts that this host has no gateway to, and 250 neighbors ask at once. None of them answers ARP. The peer asks among them.
#[test]
fn silent_hosts_delay_and_cost_nothing() {
    let mut bench = Bench::with_address(27, 0);
    bench.settle();
    let socket = bench
        .stack
        .bind(&Binding::of((ADDRESS, PORT).into()), TOKEN)
        .unwrap();
    let mut sources: Vec<_> = (0..1000)
        .map(|number| Ipv4Addr::from_bits(0x0a00_0001 + number))
        .collect();
    sources.extend((3..253).map(|number| Ipv4Addr::new(192, 0, 2, number)));
    let mut replied = 0;
    for (number, sources) in sources.chunks(10).enumerate() {
        for (source, from) in sources.iter().enumerate() {
            let mac = Mac([2, 0, 0, 1, number as u8, source as u8]);
            bench.end.put(&datagram(mac, *from));
        }
        bench.end.put(&datagram(PEER, PEER_ADDRESS.into()));
        // The latency of the cable is a millisecond in each direction.
        for _ in 0..2 {
            bench.now = bench.now.after(Duration::from_ms(1));
            bench.end.set_now(bench.now);
            bench.peer.is_on = false;
            bench.turn();
            answer_all(&mut bench, socket);
        }
        let frames: Vec<_> = core::iter::from_fn(|| bench.end.take()).collect();
        let to_peer = (PEER, Ipv4Addr::from(PEER_ADDRESS));
        let count = frames
            .iter()
            .filter(|frame| replied_to(frame) == Some(to_peer))
            .count();
        assert_eq!(count, 1, "{number}");
        replied += frames.iter().filter_map(|frame| replied_to(frame)).count();
        for open in bench.stack.open_sockets.iter().flatten() {
            assert!(
                matches!(&open.kind, crate::net::smol::SocketKind::Datagrams(queue, _) if queue.is_empty())
            );
        }
        assert!(bench.stack.port.neighbors.len() <= 64);
    }
    assert_eq!(replied, sources.len() + sources.len() / 10);
    assert_eq!(bench.stack.open_sockets.iter().flatten().count(), 1);
}

/// A host that sends datagrams with the address of a connected peer gets none of the peer's segments.
#[test]
fn forged_datagram_redirects_no_connection() {
    let mut bench = Bench::with_address(26, 0);
    bench.stack.listen(([0; 4], 2049).into(), TOKEN).unwrap();
    let handle = bench.peer.connect(2049);
    let end = bench.now.after(Duration::from_secs(60));
    let peer = core::net::IpAddr::from(super::PEER_ADDRESS);
    let forger = Mac([2, 0, 0, 0, 0, 7]);
    let mut is_connected = false;
    while bench.now < end {
        bench.end.put(&datagram(forger, super::PEER_ADDRESS.into()));
        bench.turn();
        is_connected |= bench.peer.socket(handle).may_send();
        if is_connected {
            assert_eq!(bench.stack.port.neighbors.mac(peer), Some(PEER));
        }
        bench.sleep(bench.now.after(Duration::SECOND));
    }
    assert!(is_connected);
}

#[test]
fn datagram_to_unknown_host_is_refused() {
    let mut bench = Bench::with_address(22, 0);
    bench.settle();
    let socket = bench
        .stack
        .bind(&Binding::of((ADDRESS, PORT).into()), TOKEN)
        .unwrap();
    for unknown in [[192, 0, 2, 88], [198, 51, 100, 1]] {
        let to = SocketAddr::from((unknown, 700));
        let refused = bench
            .stack
            .send_to(socket, crate::net::Own::default(), to, b"nobody asked");
        assert_eq!(refused, Err(NetError::Unreachable));
    }
    let group = SocketAddr::from(([224, 0, 0, 251], 5353));
    assert_eq!(
        bench
            .stack
            .send_to(socket, crate::net::Own::default(), group, b"all"),
        Ok(())
    );
    let sent = bench.sent();
    assert!(
        sent.iter()
            .any(|frame| frame[..6] == [1, 0, 0x5e, 0, 0, 251])
    );
}

/// Sends an ARP request, and a probe by a host that has no address yet (RFC 5227 section 2.4).
#[test]
fn arp_for_own_address_is_answered() {
    let mut bench = Bench::with_address(23, 0);
    bench.settle();
    let own = Ipv4Addr::from(ADDRESS);
    for sender in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(192, 0, 2, 2)] {
        for (target, count) in [(own, 1), (Ipv4Addr::new(192, 0, 2, 3), 0)] {
            let mut request = vec![0; packet::ARP_BYTES];
            packet::arp(PEER, sender, target, &mut request);
            bench.end.put(&request);
            let reply = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: OWN,
                source_protocol_addr: own,
                target_hardware_addr: EthernetAddress(PEER_MAC),
                target_protocol_addr: sender,
            };
            let replies = bench.sent();
            let replies = replies.iter().filter(|bytes| {
                let frame = EthernetFrame::new_unchecked(bytes);
                frame.ethertype() == EthernetProtocol::Arp
                    && frame.dst_addr().0 == PEER_MAC
                    && ArpRepr::parse(&ArpPacket::new_unchecked(frame.payload())) == Ok(reply)
            });
            assert_eq!(replies.count(), count, "{sender} {target}");
        }
    }
}

/// Sends a solicitation, and a probe for duplicates, which has no source address (RFC 4862 section 5.4.3).
#[test]
fn neighbor_solicitation_for_own_address_is_answered() {
    let own: Ipv6Addr = "fd00::1:2".parse().unwrap();
    let mut bench = Bench::new(24, 0, Ip::Static(own.into(), 64));
    bench.settle();
    let group = packet::solicited_node(own);
    let all_nodes = Mac([0x33, 0x33, 0, 0, 0, 1]);
    let other = "fd00::f1:2".parse().unwrap();
    // A multicast address is no valid source.
    for (from, to, answers_own) in [
        ("::", all_nodes, true),
        ("fd00::9", PEER, true),
        ("ff02::9", PEER, false),
    ] {
        for (target, is_answered) in [(own, answers_own), (other, false)] {
            let mut request = vec![0; 128];
            let from = from.parse().unwrap();
            let len = packet::discover(PEER, from, group, Discovery::Solicit(target), &mut request);
            bench.end.put(&request[..len]);
            let sent = bench.sent();
            let mut adverts = sent.iter().filter(|frame| {
                packet::content(frame, PEER) == Some(Content::Advertise { target })
            });
            let advert = adverts.next().map(|frame| frame[..6] == to.0);
            assert_eq!(advert, is_answered.then_some(true), "{from} {target}");
            assert_eq!(adverts.next(), None);
        }
    }
}

/// Builds a packet to an address: a probe for duplicates, a solicitation, an echo request, a datagram to a closed port, a SYN to
/// [`PORT`], an unknown extension header.
fn question(number: usize, to: Ipv6Addr) -> Vec<u8> {
    let both = [ROUTER, to];
    let solicit = |from| {
        let (group, mut bytes) = (packet::solicited_node(to), vec![0; 128]);
        let len = packet::discover(PEER, from, group, Discovery::Solicit(to), &mut bytes);
        bytes.truncate(len);
        bytes
    };
    match number {
        0 => solicit(Ipv6Addr::UNSPECIFIED),
        1 => solicit(ROUTER),
        2 => {
            let (ident, seq_no, data) = (1, 1, &b"ping"[..]);
            let echo = Icmpv6Repr::EchoRequest {
                ident,
                seq_no,
                data,
            };
            ipv6(both, 64, ICMPV6, &[], &icmpv6_of(both, &echo))
        }
        3 => {
            let mut datagram = [2, 188, 0, 9, 0, 8, 0, 0];
            let [from, to] = both.map(Into::into);
            UdpPacket::new_unchecked(&mut datagram).fill_checksum(&from, &to);
            ipv6(both, 64, UDP, &[], &datagram)
        }
        4 => {
            let mut syn = [0; 20];
            syn[..4].copy_from_slice(&[2, 188, 0, PORT as u8]);
            syn[12..16].copy_from_slice(&[0x50, 2, 32, 0]);
            let [from, to] = both.map(Into::into);
            TcpPacket::new_unchecked(&mut syn).fill_checksum(&from, &to);
            ipv6(both, 64, TCP, &[], &syn)
        }
        _ => ipv6(both, 64, 253, &[], &[0; 8]),
    }
}

/// RFC 4862 section 5.4: an address answers nothing before its probe has ended, also while more prefixes are advertised than have
/// places. A prefix without a place gets no address.
#[test]
fn tentative_addresses_answer_nothing() {
    let prefixes = (0..7).map(|number| Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0xff, 0xfe00, 1));
    let link_local = "fe80::ff:fe00:1".parse().unwrap();
    let addresses: Vec<_> = core::iter::once(link_local).chain(prefixes).collect();
    for number in 0..6 {
        let mut bench = Bench::with_address(31, 0);
        let listener = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
        bench.stack.listen(listener, TOKEN).unwrap();
        let mut answered = std::collections::BTreeSet::new();
        for tenth in 0..40 {
            for prefix in 0..7 {
                bench.end.put(&advertisement(ROUTER, prefix, 9000));
            }
            for to in &addresses {
                bench.end.put(&question(number, *to));
            }
            for frame in bench.sent_for(Duration::from_ms(100)) {
                if frame[12..14] != [0x86, 0xdd] {
                    continue;
                }
                let [octets] = *frame[22..38].as_chunks::<16>().0 else {
                    unreachable!()
                };
                let mut from = Ipv6Addr::from(octets);
                let advertised = packet::content(&frame, PEER);
                if let Some(Content::Advertise { target }) = advertised {
                    from = target;
                }
                // The probes end 1 s after the first advertisement.
                let is_own = tenth >= 10 && bench.stack.has(from.into());
                assert!(from.is_unspecified() || is_own, "{number} {tenth} {from}");
                if frame[..6] == PEER_MAC {
                    answered.insert(from);
                }
            }
        }
        let all = bench.stack.addresses.usable().map(|(own, _)| own);
        assert_eq!(all.filter(|own| own.is_ipv6()).count(), 5);
        // The first probe for duplicates makes the stack choose other addresses.
        let count = if number == 0 { 0 } else { 5 };
        let expected = addresses[..count].iter().copied().collect();
        assert_eq!(answered, expected, "{number}");
    }
}

/// smoltcp itself would accept the packet, because its last 16 address bits equal those of an address of the stack.
#[test]
fn packet_to_other_hosts_ipv6_address_is_ignored() {
    let own: Ipv6Addr = "fd00::1:2".parse().unwrap();
    let mut bench = Bench::new(25, 0, Ip::Static(own.into(), 64));
    bench.settle();
    let from: Ipv6Addr = "fd00::9".parse().unwrap();
    for (to, count) in [(own, 1), ("2001:db8::ff:2".parse().unwrap(), 0)] {
        let echo = Icmpv6Repr::EchoRequest {
            ident: 1,
            seq_no: 1,
            data: b"ping",
        };
        let both = [from, to];
        let request = ipv6(both, 64, ICMPV6, &[], &icmpv6_of(both, &echo));
        bench.end.put(&request);
        let sent = bench.sent();
        let replies = sent.iter().filter(|bytes| {
            bytes[..6] == PEER_MAC && bytes[12..14] == [0x86, 0xdd] && bytes[20] == 58
        });
        assert_eq!(replies.count(), count, "{to}");
    }
}

#[test]
fn few_icmp_errors_are_sent_in_a_second() {
    let mut bench = Bench::with_address(5, 0);
    bench.settle();
    for _ in 0..1000 {
        bench.end.put(&datagram(PEER, PEER_ADDRESS.into()));
    }
    let frames = bench.sent();
    let is_icmp = |frame: &&Vec<u8>| frame[12..14] == [8, 0] && frame[23] == 1;
    let errors: Vec<_> = frames.iter().filter(is_icmp).collect();
    assert!((1..=20).contains(&errors.len()), "{}", errors.len());
    for error in errors {
        // Port unreachable (RFC 792).
        assert_eq!(error[34..36], [3, 3]);
        assert!(Icmpv4Packet::new_unchecked(&error[34..]).verify_checksum());
    }
}

/// RFC 8200 section 8.1.
#[test]
fn ipv6_datagram_without_a_checksum_is_dropped() {
    let both: [Ipv6Addr; 2] = ["fe80::2", "fe80::1"].map(|address| address.parse().unwrap());
    let [port_high, port_low] = PORT.to_be_bytes();
    let datagram = [0, 0, port_high, port_low, 0, 8, 0, 0];
    let mut frame = ipv6(both, 64, UDP, &[], &datagram);
    assert_eq!(packet::content(&frame, Mac(MAC)), None);
    UdpPacket::new_unchecked(&mut frame[54..]).fill_checksum(&both[0].into(), &both[1].into());
    let content = packet::content(&frame, Mac(MAC));
    assert!(matches!(content, Some(Content::Datagram { to, .. }) if to.port() == PORT));
}
