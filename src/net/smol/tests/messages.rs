//! Tests of ICMP errors, of IPv6 extension headers, and of IGMP and MLD on a quiet link.

use super::neighbors::frame;
use super::segments::{LISTENER, PORT, segment};
use super::{ADDRESS, Bench, MAC, PEER_ADDRESS, PEER_MAC};
use crate::net::smol::{Ip, extensions, packet::Mac};
use crate::net::{Datagrams as _, Multicast as _, Socket, Streams as _, Token};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr, IgmpPacket,
    IpProtocol, Ipv4Packet, Ipv6Packet, TcpControl, UdpPacket,
};

const TOKEN: Token = Token::new(0, 1);
const OWN: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, 2);
const PEER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const MDNS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

/// Types of extension headers and options.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;
pub(super) const ICMPV6: u8 = 58;
pub(super) const UDP: u8 = 17;
pub(super) const TCP: u8 = 6;
/// Options with a router alert.
const ALERT: [u8; 8] = [ICMPV6, 0, 5, 2, 0, 0, 1, 0];
const ANY: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
/// ICMPv6 types.
const UNREACHABLE: u8 = 1;
const PROBLEM: u8 = 4;
const ECHO_REPLY: u8 = 129;
const REPORT: u8 = 143;

fn ipv6_bench(seed: u64) -> Bench {
    let mut bench = Bench::new(seed, 0, Ip::Static(OWN.into(), 64));
    // No router answers the solicitations.
    bench.settle();
    bench.settle();
    bench
}

/// Builds a frame with an IPv6 packet from `from`: extension headers, the first of type `first`, and a payload.
pub(super) fn ipv6(
    [from, to]: [Ipv6Addr; 2],
    hop_limit: u8,
    first: u8,
    extensions: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = frame(
        Mac(PEER_MAC),
        EthernetProtocol::Ipv6,
        40 + extensions.len() + payload.len(),
    );
    if to.is_multicast() {
        let [.., a, b, c, d] = to.octets();
        frame.set_dst_addr(EthernetAddress([0x33, 0x33, a, b, c, d]));
    }
    let mut packet = Ipv6Packet::new_unchecked(frame.payload_mut());
    packet.set_version(6);
    packet.set_payload_len((extensions.len() + payload.len()) as u16);
    packet.set_next_header(first.into());
    packet.set_hop_limit(hop_limit);
    packet.set_src_addr(from);
    packet.set_dst_addr(to);
    let (before, after) = packet.payload_mut().split_at_mut(extensions.len());
    before.copy_from_slice(extensions);
    after.copy_from_slice(payload);
    frame.into_inner()
}

/// Builds an ICMPv6 message.
pub(super) fn icmpv6([from, to]: [Ipv6Addr; 2], bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    Icmpv6Packet::new_unchecked(&mut bytes).fill_checksum(&from, &to);
    bytes
}

/// Builds an ICMPv6 message from its representation.
pub(super) fn icmpv6_of([from, to]: [Ipv6Addr; 2], message: &Icmpv6Repr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.buffer_len()];
    let packet = &mut Icmpv6Packet::new_unchecked(&mut bytes);
    message.emit(&from, &to, packet, &Default::default());
    bytes
}

/// Builds a datagram from the peer to a port that is not open.
fn udp([from, to]: [Ipv6Addr; 2]) -> Vec<u8> {
    let mut bytes = vec![0, 9, 0, 9, 0, 12, 0, 0, 1, 2, 3, 4];
    UdpPacket::new_unchecked(&mut bytes).fill_checksum(&from.into(), &to.into());
    bytes
}

/// The group's address has the interface as its scope ID, as the multicast DNS endpoint opens it.
#[test]
fn datagram_to_an_ipv6_group_reaches_its_socket() {
    let mut bench = ipv6_bench(46);
    for scope in [0, bench.stack.index] {
        let at = SocketAddrV6::new(MDNS_V6, 9, 0, scope).into();
        let index = bench.stack.index;
        let socket = bench.stack.join(index, OWN.into(), at, TOKEN);
        let socket = socket.unwrap();
        let both = [PEER, MDNS_V6];
        let mut frame = ipv6(both, 255, UDP, &[], &udp(both));
        frame[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 0xfb]);
        bench.end.put(&frame);
        bench.sent();
        let received = bench.stack.recv_from(socket, &mut [0; 16]);
        assert_eq!(
            received.map(|got| got.to.address),
            Ok(Some(MDNS_V6.into())),
            "scope {scope}"
        );
        bench.stack.close(socket);
    }
}

/// Returns the ICMPv6 messages of these types in `frames`, with the extension headers of MLD skipped. Verifies their checksums.
fn messages(frames: &[Vec<u8>], kinds: &[u8]) -> Vec<Vec<u8>> {
    let messages = frames.iter().filter_map(|bytes| {
        let frame = EthernetFrame::new_checked(bytes).unwrap();
        if frame.ethertype() != EthernetProtocol::Ipv6 {
            return None;
        }
        let packet = Ipv6Packet::new_checked(frame.payload()).unwrap();
        let message = match packet.next_header() {
            IpProtocol::Icmpv6 => packet.payload(),
            IpProtocol::HopByHop => &packet.payload()[8..],
            _ => return None,
        };
        let icmp = Icmpv6Packet::new_unchecked(message);
        assert!(icmp.verify_checksum(&packet.src_addr(), &packet.dst_addr()));
        kinds.contains(&message[0]).then(|| message.to_vec())
    });
    messages.collect()
}

#[test]
fn extension_headers_are_removed() {
    let both = [PEER, OWN];
    let headers = [
        (HOP_BY_HOP, vec![UDP, 0, 5, 2, 0, 0, 1, 0]),
        (
            DESTINATION,
            vec![UDP, 1, 0x1e, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (ROUTING, vec![UDP, 0, 0, 0, 0, 0, 0, 0]),
    ];
    let plain = ipv6(both, 64, UDP, &[], &udp(both));
    for (first, extensions) in headers {
        let mut frame = ipv6(both, 64, first, &extensions, &udp(both));
        // The frame may be padded.
        frame.extend([0; 4]);
        let removed = extensions::remove(&mut frame).unwrap();
        assert_eq!(removed[..plain.len()], plain, "{first}");
    }
}

#[test]
fn echo_request_after_options_is_answered() {
    let mut bench = ipv6_bench(41);
    let both = [PEER, OWN];
    let echo = icmpv6(both, &[128, 0, 0, 0, 0, 1, 0, 1]);
    let padding = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let two = [padding(DESTINATION), padding(ICMPV6)].concat();
    for (first, extensions, is_answered) in [
        (ICMPV6, &[][..], true),
        (HOP_BY_HOP, &padding(ICMPV6), true),
        (DESTINATION, &[ICMPV6, 0, 0x1e, 4, 0, 0, 0, 0], true),
        (HOP_BY_HOP, &two, true),
        (FRAGMENT, &[ICMPV6, 0, 0, 0, 0, 0, 0, 1], false),
        (DESTINATION, &[ICMPV6, 0, 0x40, 4, 0, 0, 0, 0], false),
        (DESTINATION, &[ICMPV6, 9, 1, 4, 0, 0, 0, 0], false),
    ] {
        bench.end.put(&ipv6(both, 64, first, extensions, &echo));
        let sent = bench.sent();
        let count = messages(&sent, &[ECHO_REPLY, PROBLEM]).len();
        let problem_count = messages(&sent, &[PROBLEM]).len();
        let expected = (usize::from(is_answered), 0);
        assert_eq!((count, problem_count), expected, "{first} {extensions:?}");
    }
}

/// RFC 4443 section 3.4, RFC 8200 section 4.2.
#[test]
fn parameter_problem_points_at_the_field() {
    let mut bench = ipv6_bench(42);
    // Recipient, first header, its content without the padding at its end, and the expected code and pointer.
    for (to, first, header, expected) in [
        (OWN, HOP_BY_HOP, &[UDP, 0, 1, 0, 0x80][..], Some((2, 44))),
        (OWN, DESTINATION, &[UDP, 0, 0xc0, 4], Some((2, 42))),
        (OWN, ROUTING, &[UDP, 0, 0, 1], Some((0, 42))),
        (OWN, DESTINATION, &[253, 0, 1, 4], Some((1, 40))),
        (OWN, 253, &[], Some((1, 6))),
        (ALL_NODES, DESTINATION, &[UDP, 0, 0x80, 4], Some((2, 42))),
        (ALL_NODES, DESTINATION, &[UDP, 0, 0xc0, 4], None),
        (ALL_NODES, 253, &[], None),
    ] {
        let (both, mut extensions) = ([PEER, to], header.to_vec());
        extensions.resize(header.len().next_multiple_of(8), 0);
        let frame = ipv6(both, 64, first, &extensions, &udp(both));
        bench.end.put(&frame);
        let problems = messages(&bench.sent(), &[PROBLEM]);
        let problems = problems.iter().map(|message| {
            assert_eq!(message[8..], frame[14..]);
            let pointer = message[4..8].try_into().unwrap();
            (message[1], u32::from_be_bytes(pointer))
        });
        let problems: Vec<_> = problems.collect();
        assert_eq!(problems, expected.as_slice(), "{to} {first} {header:?}");
    }
}

/// RFC 4443 section 2.4 e; RFC 1122 section 3.2.2.
#[test]
fn no_icmp_error_answers_a_group_packet() {
    let mut bench = ipv6_bench(43);
    for (to, count) in [(OWN, 1), (ALL_NODES, 0)] {
        let both = [PEER, to];
        bench.end.put(&ipv6(both, 64, UDP, &[], &udp(both)));
        let errors = messages(&bench.sent(), &[UNREACHABLE]);
        assert_eq!(errors.len(), count, "{to}");
        // Port unreachable (RFC 4443 section 3.1), without a pointer.
        assert!(
            errors
                .iter()
                .all(|error| error[1] == 4 && error[4..8] == [0; 4])
        );
    }
    // The frame or the packet alone is to a group.
    for (mac, to) in [([0xff; 6], OWN), (MAC, ALL_NODES)] {
        let both = [PEER, to];
        let mut frame = ipv6(both, 64, UDP, &[], &udp(both));
        frame[..6].copy_from_slice(&mac);
        bench.end.put(&frame);
        assert_eq!(messages(&bench.sent(), &[UNREACHABLE]).len(), 0, "{to}");
    }
}

/// Joins the group of multicast DNS.
fn join(bench: &mut Bench, own: IpAddr, group: IpAddr) -> Socket {
    let index = bench.stack.index;
    let group = SocketAddr::new(group, 5353);
    bench.stack.join(index, own, group, TOKEN).unwrap()
}

/// Returns the types of the records of `group` in MLD reports.
fn records(frames: &[Vec<u8>], group: Ipv6Addr) -> Vec<u8> {
    let reports = messages(frames, &[REPORT]);
    let records = reports
        .iter()
        .flat_map(|report| report[8..].as_chunks::<20>().0);
    let of_group = records.filter(|record| record[4..] == group.octets());
    of_group.map(|record| record[0]).collect()
}

/// RFC 3810 section 5.2.12: types of records.
#[test]
fn mld_reports_joining_and_leaving() {
    const MODE_IS_EXCLUDE: u8 = 2;
    const CHANGE_TO_INCLUDE: u8 = 3;
    const CHANGE_TO_EXCLUDE: u8 = 4;
    let mut bench = ipv6_bench(44);
    let group = join(&mut bench, OWN.into(), MDNS_V6.into());
    assert_eq!(records(&bench.sent(), MDNS_V6), [CHANGE_TO_EXCLUDE]);
    // A general query with the router alert option, and a maximum response time of ten seconds.
    let both = [Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1), ALL_NODES];
    let mut query = [0; 28];
    (query[0], query[4], query[5]) = (130, 0x27, 0x10);
    bench
        .end
        .put(&ipv6(both, 1, HOP_BY_HOP, &ALERT, &icmpv6(both, &query)));
    assert_eq!(records(&bench.sent_within(10), MDNS_V6), [MODE_IS_EXCLUDE]);
    bench.stack.close(group);
    assert_eq!(records(&bench.sent(), MDNS_V6), [CHANGE_TO_INCLUDE]);
}

/// A neighbor solicitation or an MLD query.
#[derive(Clone)]
struct Asking {
    from: Ipv6Addr,
    to: Ipv6Addr,
    hops: u8,
    /// The extension header before it, or nothing.
    options: &'static [u8],
    head: [u8; 8],
    /// The address of the question.
    about: Ipv6Addr,
    rest: &'static [u8],
}

fn is_answered(it: &Asking) -> bool {
    const ADVERTISEMENT: u8 = 136;
    let mut bench = ipv6_bench(47);
    join(&mut bench, OWN.into(), MDNS_V6.into());
    bench.sent();
    let both = [it.from, it.to];
    let message = icmpv6(both, &[&it.head, &it.about.octets()[..], it.rest].concat());
    let first = match it.options {
        [] => ICMPV6,
        _ => HOP_BY_HOP,
    };
    let frame = ipv6(both, it.hops, first, it.options, &message);
    bench.end.put(&frame);
    !messages(&bench.sent(), &[ADVERTISEMENT, REPORT]).is_empty()
}

/// Changes a good message in one point; true if it is still answered.
type Row = (&'static str, bool, fn(&mut Asking));

/// RFC 4861 section 7.1.1 and RFC 3810 section 6.2 say which messages to discard.
#[test]
fn invalid_solicitations_and_queries_are_discarded() {
    const SOLICITED_NODE: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff01, 2);
    let solicitation = Asking {
        from: PEER,
        to: SOLICITED_NODE,
        hops: 255,
        options: &[],
        head: [135, 0, 0, 0, 0, 0, 0, 0],
        about: OWN,
        rest: &[1, 1, 2, 0, 0, 0, 0, 9],
    };
    let query = Asking {
        from: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9),
        to: ALL_NODES,
        hops: 1,
        options: &ALERT,
        head: [130, 0, 0, 0, 0, 9, 0, 0],
        about: ANY,
        rest: &[0; 4],
    };
    let of_solicitation: [Row; 9] = [
        ("solicitation", true, |_| ()),
        ("probe", true, |it| (it.from, it.rest) = (ANY, &[])),
        ("forwarded", false, |it| it.hops = 254),
        ("code 1", false, |it| it.head[1] = 1),
        ("group", false, |it| (it.about, it.rest) = (MDNS_V6, &[])),
        ("option of 0", false, |it| {
            it.rest = &[1, 0, 0, 0, 0, 0, 0, 0]
        }),
        ("short option", false, |it| {
            it.rest = &[1, 2, 0, 0, 0, 0, 0, 0]
        }),
        ("probe with MAC", false, |it| it.from = ANY),
        ("probe to all", false, |it| {
            (it.from, it.to, it.rest) = (ANY, ALL_NODES, &[])
        }),
    ];
    let of_query: [Row; 5] = [
        ("query", true, |_| ()),
        ("query from afar", false, |it| it.from = PEER),
        ("hop limit 2", false, |it| it.hops = 2),
        ("no alert", false, |it| {
            it.options = &[ICMPV6, 0, 1, 4, 0, 0, 0, 0]
        }),
        ("query of a host", false, |it| it.about = PEER),
    ];
    for (good, rows) in [(solicitation, &of_solicitation[..]), (query, &of_query)] {
        for (what, is_good, change) in rows {
            let mut message = good.clone();
            change(&mut message);
            assert_eq!(is_answered(&message), *is_good, "{what}");
        }
    }
}

/// Returns the types of IGMP messages in `frames`. Verifies their checksums and the router alert option (RFC 2236 section 2).
fn igmp(frames: &[Vec<u8>]) -> Vec<u8> {
    let messages = frames.iter().filter_map(|bytes| {
        let frame = EthernetFrame::new_checked(bytes).unwrap();
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        (packet.next_header() == IpProtocol::Igmp).then(|| {
            assert!(packet.verify_checksum() && packet.hop_limit() == 1);
            assert_eq!(frame.payload()[20..24], [0x94, 4, 0, 0]);
            assert_eq!(frame.payload().len(), 32);
            assert!(
                IgmpPacket::new_checked(packet.payload())
                    .unwrap()
                    .verify_checksum()
            );
            packet.payload()[0]
        })
    });
    messages.collect()
}

/// Builds an IGMP query from the peer.
fn igmp_query(message: &[u8]) -> Vec<u8> {
    const HEAD_BYTES: usize = 24;
    let mut frame = frame(
        Mac(PEER_MAC),
        EthernetProtocol::Ipv4,
        HEAD_BYTES + message.len(),
    );
    frame.set_dst_addr(EthernetAddress([1, 0, 0x5e, 0, 0, 1]));
    let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
    packet.set_version(4);
    packet.set_header_len(HEAD_BYTES as u8);
    packet.set_total_len((HEAD_BYTES + message.len()) as u16);
    packet.set_next_header(IpProtocol::Igmp);
    packet.set_hop_limit(1);
    packet.set_src_addr(PEER_ADDRESS.into());
    packet.set_dst_addr(Ipv4Addr::new(224, 0, 0, 1));
    packet.payload_mut().copy_from_slice(message);
    let bytes = packet.into_inner();
    bytes[20..24].copy_from_slice(&[0x94, 4, 0, 0]);
    Ipv4Packet::new_unchecked(bytes).fill_checksum();
    frame.into_inner()
}

#[test]
fn igmp_queries_are_answered_on_a_quiet_link() {
    const REPORT_V1: u8 = 0x12;
    const REPORT_V2: u8 = 0x16;
    const LEAVE: u8 = 0x17;
    let mut bench = Bench::with_address(45, 0);
    bench.settle();
    let group = join(&mut bench, IpAddr::from(ADDRESS), MDNS_V4.into());
    assert_eq!(igmp(&bench.sent()), [REPORT_V2]);
    // Queries of version 3, also with a response time of 0, of version 2 and of version 1; one with a wrong checksum.
    for (message, expected) in [
        (
            &[0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0][..],
            &[REPORT_V2][..],
        ),
        (&[0x11, 0, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0], &[REPORT_V2]),
        (&[0x11, 100, 0, 0, 0, 0, 0, 0], &[REPORT_V2]),
        (&[0x11, 0, 0, 0, 0, 0, 0, 0], &[REPORT_V1]),
    ] {
        let mut message = message.to_vec();
        IgmpPacket::new_unchecked(&mut message).fill_checksum();
        bench.end.put(&igmp_query(&message));
        assert_eq!(igmp(&bench.sent_within(12)), expected, "{message:?}");
        message[2] ^= 1;
        bench.end.put(&igmp_query(&message));
        assert!(igmp(&bench.sent_within(12)).is_empty(), "{message:?}");
    }
    bench.stack.close(group);
    assert_eq!(igmp(&bench.sent()), [LEAVE]);
}

/// RFC 6298: after one second, then after at least twice the time before.
#[test]
fn syn_ack_is_repeated_after_a_second() {
    let mut bench = Bench::with_address(46, 0);
    bench.stack.listen(([0; 4], PORT).into(), LISTENER).unwrap();
    bench.end.put(&segment(700, TcpControl::Syn, 7, None, &[]));
    let mut sent_at = Vec::new();
    for ms in 0..60_000 {
        let sent = bench.segments(1);
        sent_at.extend(sent.iter().filter(|sent| sent.is_syn).map(|_| ms));
    }
    let waits: Vec<u32> = sent_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let [first @ 1000..1020, second @ 2000..4000, 4000..8000] = waits[..] else {
        panic!("{waits:?}")
    };
    assert!(second >= 2 * first);
}
