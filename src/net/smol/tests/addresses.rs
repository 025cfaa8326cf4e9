//! Tests of address conflicts, DHCP and router advertisements.

use super::messages::{ICMPV6, icmpv6_of, ipv6};
use super::{Bench, Ip, PEER_MAC};
use crate::net::Datagrams as _;
use crate::net::smol::packet::{self, Discovery, Mac};
use crate::time::{Duration, Instant};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType as Message, DhcpOption, DhcpPacket, DhcpRepr,
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr,
    NdiscRepr, UdpPacket, UdpRepr,
};

const PEER: Mac = Mac(PEER_MAC);
const PEER_ETHERNET: EthernetAddress = EthernetAddress(PEER_MAC);

/// Callback for a frame, its parsed content and its time; returns a reply, if any.
type Look<'a> = dyn FnMut(&[u8], &packet::Content<'_>, Instant) -> Option<Vec<u8>> + 'a;

impl Bench {
    /// Advances time by `secs`. Calls `look` with the content of each frame that the stack sends, and sends the replies of `look`.
    fn watch(&mut self, secs: u32, look: &mut dyn FnMut(&packet::Content<'_>) -> Option<Vec<u8>>) {
        self.watch_frames(secs, &mut |_, content, _| look(content));
    }

    /// As [`Bench::watch`], with frames and times.
    fn watch_frames(&mut self, secs: u32, look: &mut Look<'_>) {
        self.peer.is_on = false;
        let end = self.now.after(Duration::from_secs(secs));
        while self.now < end {
            self.turn();
            while let Some(frame) = self.end.take() {
                let seen = packet::content(&frame, PEER);
                if let Some(answer) = seen.and_then(|content| look(&frame, &content, self.now)) {
                    self.end.put(&answer);
                }
            }
            self.sleep(end);
        }
    }

    /// Advances time by `secs`, beside a DHCP server.
    fn serve(&mut self, secs: u32, server: &mut Server) {
        self.watch_frames(secs, &mut |frame, content, now| {
            server.answer(frame, content, now)
        });
    }

    fn addresses(&self) -> Vec<IpAddr> {
        self.stack.addresses.usable().map(|(own, _)| own).collect()
    }

    fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses().iter().find_map(|one| match one {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }
}

fn arp(sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; packet::ARP_BYTES];
    packet::arp(PEER, sender, target, &mut frame);
    frame
}

#[test]
fn used_link_local_address_is_not_claimed() {
    let mut bench = Bench::new(5, 0, Ip::LinkLocal);
    let mut refused = None;
    bench.watch(20, &mut |content| match *content {
        packet::Content::Arp { sender, target, .. } if sender.is_unspecified() => {
            let first = *refused.get_or_insert(target);
            (first == target).then(|| arp(target, target))
        }
        _ => None,
    });
    let own = bench.ipv4().expect("another one");
    assert!(own.is_link_local() && Some(own) != refused);
    // The first conflict is answered by an announcement; a second one soon after makes the stack choose another address.
    let mut announced = 0;
    bench.end.put(&arp(own, own));
    bench.watch(3, &mut |content| {
        if let packet::Content::Arp {
            sender, is_reply, ..
        } = content
        {
            announced += u32::from(*sender == own && !is_reply);
        }
        None
    });
    assert_eq!((announced, bench.ipv4()), (1, Some(own)));
    bench.end.put(&arp(own, own));
    bench.watch(20, &mut |_| None);
    assert!(bench.ipv4().is_some_and(|other| other != own));
}

#[test]
fn missing_dhcp_falls_back_to_link_local() {
    let mut bench = Bench::new(6, 0, Ip::Dhcp);
    bench.watch(5, &mut |_| None);
    assert_eq!(bench.ipv4(), None);
    bench.watch(20, &mut |_| None);
    assert!(bench.ipv4().is_some_and(|own| own.is_link_local()));
}

/// A DHCP server at the peer's addresses.
pub(super) struct Server {
    /// Offered address and lease time.
    offer: Ipv4Addr,
    secs: u32,
    is_on: bool,
    /// Reply to a DHCPREQUEST.
    to_request: Message,
    /// Options with a time in seconds, and true if they are in the field `file`.
    times: &'static [(u8, u32)],
    is_overloaded: bool,
    /// Transactions of the received messages.
    xids: std::collections::BTreeSet<u32>,
    /// Received messages: time, destination, message type, requested address.
    asked: Vec<(Instant, Ipv4Addr, Message, Option<Ipv4Addr>)>,
}

impl Server {
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    const FRAME_BYTES: usize = 14 + 20 + 8;

    pub(super) const fn new(offer: Ipv4Addr, secs: u32) -> Self {
        Self {
            offer,
            secs,
            is_on: true,
            to_request: Message::Ack,
            times: &[],
            is_overloaded: false,
            xids: std::collections::BTreeSet::new(),
            asked: Vec::new(),
        }
    }

    /// Answers DHCP messages.
    pub(super) fn answer(
        &mut self,
        frame: &[u8],
        content: &packet::Content<'_>,
        now: Instant,
    ) -> Option<Vec<u8>> {
        match *content {
            packet::Content::Datagram { to, .. } if to.port() == 67 => {
                let inner = Ipv4Packet::new_checked(&frame[14..]).unwrap();
                assert!(inner.verify_checksum());
                let message = DhcpPacket::new_checked(&frame[Self::FRAME_BYTES..]).unwrap();
                let message = DhcpRepr::parse(&message).unwrap();
                self.xids.insert(message.transaction_id);
                self.asked.push((
                    now,
                    inner.dst_addr(),
                    message.message_type,
                    message.requested_ip,
                ));
                let kind = match message.message_type {
                    Message::Discover => Message::Offer,
                    Message::Request => self.to_request,
                    _ => return None,
                };
                self.is_on.then(|| self.dhcp_reply(kind, &message))
            }
            _ => None,
        }
    }

    fn dhcp_reply(&self, kind: Message, asked: &DhcpRepr<'_>) -> Vec<u8> {
        let mut message = asked.clone();
        message.message_type = kind;
        message.your_ip = self.offer;
        message.server_identifier = Some(Self::ADDRESS);
        message.subnet_mask = Some(Ipv4Addr::new(255, 255, 255, 0));
        message.lease_duration = Some(self.secs);
        (message.client_identifier, message.requested_ip) = (None, None);
        message.parameter_request_list = None;
        let times = self.times.iter();
        let times: Vec<_> = times
            .map(|(kind, secs)| (*kind, secs.to_be_bytes()))
            .collect();
        let option = |(kind, data): &'_ (u8, [u8; 4])| [&[*kind, 4][..], data].concat();
        let file: Vec<u8> = times.iter().flat_map(option).chain([255]).collect();
        let plain = times
            .iter()
            .map(|(kind, data)| DhcpOption { kind: *kind, data });
        let overload = DhcpOption {
            kind: 52,
            data: &[1],
        };
        let options: Vec<_> = match self.is_overloaded {
            true => vec![overload],
            false => plain.collect(),
        };
        message.additional_options = &options;
        let (from, to) = (Self::ADDRESS, Ipv4Addr::BROADCAST);
        let mut bytes = vec![0; Self::FRAME_BYTES + message.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        frame.set_src_addr(PEER_ETHERNET);
        frame.set_dst_addr(EthernetAddress::BROADCAST);
        frame.set_ethertype(EthernetProtocol::Ipv4);
        let head = Ipv4Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Udp,
            payload_len: 8 + message.buffer_len(),
            hop_limit: 64,
        };
        let mut inner = Ipv4Packet::new_unchecked(frame.payload_mut());
        head.emit(&mut inner, &Default::default());
        let ports = UdpRepr {
            src_port: 67,
            dst_port: 68,
        };
        ports.emit(
            &mut UdpPacket::new_unchecked(inner.payload_mut()),
            &from.into(),
            &to.into(),
            message.buffer_len(),
            |payload| {
                message
                    .emit(&mut DhcpPacket::new_unchecked(&mut *payload))
                    .unwrap();
                if self.is_overloaded {
                    payload[108..108 + file.len()].copy_from_slice(&file);
                }
            },
            &Default::default(),
        );
        bytes
    }

    /// Counts the messages of this type and destination since a time.
    fn count(&self, since: Instant, kind: Message, to: Ipv4Addr) -> usize {
        let asked = self.asked.iter();
        let alike = asked.filter(|(at, addressed, message, _)| {
            *at >= since && (*addressed, *message) == (to, kind)
        });
        alike.count()
    }
}

/// RFC 2131 section 4.1: waits of 4, 8, 16, 32, 64, 64 seconds, plus or minus one; one transaction, so that a late offer counts.
#[test]
fn discover_is_repeated_ever_more_rarely() {
    let mut bench = Bench::new(27, 0, Ip::Dhcp);
    let mut server = Server::new(Ipv4Addr::new(192, 0, 2, 50), 3600);
    server.is_on = false;
    bench.serve(190, &mut server);
    let times: Vec<_> = server.asked.iter().map(|(at, ..)| *at).collect();
    let waits: Vec<_> = times
        .windows(2)
        .map(|pair| pair[1].since(pair[0]))
        .collect();
    let expected = [4, 8, 16, 32, 64];
    assert!(waits.len() >= expected.len(), "{waits:?}");
    for (wait, secs) in waits.iter().zip(expected) {
        let range = (secs - 1) * 1000..=(secs + 1) * 1000 + 10;
        assert!(range.contains(&wait.as_ms()), "{waits:?}");
    }
    assert_eq!(server.xids.len(), 1);
}

#[test]
fn refusing_server_is_asked_ever_more_rarely() {
    let usable = Ipv4Addr::new(192, 0, 2, 50);
    // A DHCPNAK, a lease of no time, a broadcast address.
    for (reply, secs, offer) in [
        (Message::Nak, 3600, usable),
        (Message::Ack, 0, usable),
        (Message::Ack, 3600, Ipv4Addr::new(192, 0, 2, 255)),
    ] {
        let mut bench = Bench::new(28, 0, Ip::Dhcp);
        let mut server = Server::new(offer, secs);
        server.to_request = reply;
        bench.serve(600, &mut server);
        let count = server.asked.len();
        assert!(
            (6..40).contains(&count),
            "{reply:?} {secs} {offer}: {count}"
        );
        assert!(bench.ipv4().is_some_and(|own| own.is_link_local()));
    }
}

/// Builds an ARP reply: the peer has `sender`.
fn reply(sender: Ipv4Addr, mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mac = EthernetAddress(mac.0);
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: PEER_ETHERNET,
        source_protocol_addr: sender,
        target_hardware_addr: mac,
        target_protocol_addr: target,
    };
    let mut bytes = vec![0; packet::ARP_BYTES];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_src_addr(PEER_ETHERNET);
    frame.set_dst_addr(mac);
    frame.set_ethertype(EthernetProtocol::Arp);
    reply.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

#[test]
fn lease_is_renewed_rebound_lost_and_reacquired() {
    let offer = Ipv4Addr::new(192, 0, 2, 50);
    let mut bench = Bench::new(8, 0, Ip::Dhcp);
    let mut server = Server::new(offer, 3600);
    bench.serve(10, &mut server);
    assert_eq!(bench.ipv4(), Some(offer));
    // The lease is renewed after half its time, by unicast to the server.
    let since = bench.now;
    bench.serve(1800, &mut server);
    assert_eq!(server.count(since, Message::Request, Server::ADDRESS), 1);
    // The server is down: the client asks it again (T1), then broadcasts after seven eighths of the lease (T2).
    server.is_on = false;
    let since = bench.now;
    bench.serve(3500, &mut server);
    assert_eq!(bench.ipv4(), Some(offer));
    let renewals = server.count(since, Message::Request, Server::ADDRESS);
    let rebinds = server.count(since, Message::Request, Ipv4Addr::BROADCAST);
    assert!(
        renewals < 10 && (1..10).contains(&rebinds),
        "{renewals} {rebinds}"
    );
    // After the lease has expired, the stack uses a link-local address.
    bench.serve(200, &mut server);
    assert!(bench.ipv4().is_some_and(|own| own.is_link_local()));
    server.is_on = true;
    bench.serve(70, &mut server);
    assert_eq!(bench.ipv4(), Some(offer));
}

/// T1 (58) and T2 (59) hold if T1 < T2 < the lease's end, also in the field `file` (RFC 2131 section 4.4.5, RFC 2132 section 9.3).
#[test]
fn server_sets_the_times_of_renewal_and_rebinding() {
    type Options = &'static [(u8, u32)];
    let rows: [(Options, bool, [u64; 2]); 7] = [
        (&[], false, [300, 525]),
        (&[(58, 100), (59, 200)], false, [100, 200]),
        (&[(58, 100), (59, 200)], true, [100, 200]),
        (&[(59, 200)], false, [114, 200]),
        (&[(58, 100)], false, [100, 525]),
        (&[(58, 300), (59, 200)], false, [114, 200]),
        (&[(58, 700), (59, 600)], false, [300, 525]),
    ];
    for (times, is_overloaded, expected) in rows {
        let mut bench = Bench::new(8, 0, Ip::Dhcp);
        let mut server = Server::new(Ipv4Addr::new(192, 0, 2, 50), 600);
        (server.times, server.is_overloaded) = (times, is_overloaded);
        let mut announcements = 0;
        let since = bench.now;
        for secs in [10, 580] {
            bench.watch_frames(secs, &mut |frame, content, now| {
                if let packet::Content::Arp { sender, target, .. } = *content {
                    announcements += u32::from(sender == target);
                }
                server.answer(frame, content, now)
            });
            server.is_on = false;
        }
        assert_eq!(announcements, 2, "gratuitous ARP");
        let first = |to: Ipv4Addr, after: u64| {
            let mut all = server
                .asked
                .iter()
                .map(|(at, to, ..)| (at.since(since).as_ms() / 1000, *to));
            all.find(|(at, asked)| *asked == to && *at > after)
                .map(|(at, _)| at)
        };
        let seen = [first(Server::ADDRESS, 10), first(Ipv4Addr::BROADCAST, 10)];
        assert_eq!(seen, expected.map(Some), "{times:?} {is_overloaded}");
    }
}

#[test]
fn used_leased_address_is_declined() {
    let offers = [Ipv4Addr::new(192, 0, 2, 50), Ipv4Addr::new(192, 0, 2, 51)];
    for learns in [true, false] {
        let mut bench = Bench::new(9, 0, Ip::Dhcp);
        let mut server = Server::new(offers[0], 3600);
        let mut is_used = false;
        let mut answer = |frame: &[u8], content: &packet::Content<'_>, now| match *content {
            packet::Content::Arp {
                mac,
                sender,
                target,
                ..
            } if target == offers[0] => {
                is_used |= sender == target;
                Some(reply(target, mac, sender))
            }
            _ => {
                let answer = server.answer(frame, content, now);
                if let Some((.., Message::Decline, declined)) = server.asked.last() {
                    assert_eq!(*declined, Some(offers[0]));
                    server.offer = offers[usize::from(learns)];
                }
                answer
            }
        };
        bench.watch_frames(30, &mut answer);
        let own = bench.ipv4();
        if learns {
            assert_eq!(own, Some(offers[1]));
        } else {
            // The server keeps offering the used address; between its leases the stack uses a link-local one.
            let mut times = 0;
            for _ in 0..300 {
                bench.watch_frames(1, &mut answer);
                times += usize::from(bench.ipv4().is_some_and(|own| own.is_link_local()));
            }
            assert!(times > 200, "{times} of 300");
        }
        assert!(!is_used);
        let declined = server.count(Instant::default(), Message::Decline, Ipv4Addr::BROADCAST);
        assert!((1..10).contains(&declined), "{declined}");
    }
}

#[test]
fn leased_address_is_used_while_probed() {
    let offer = Ipv4Addr::new(192, 0, 2, 50);
    // Another host has the address. If its ARP arrives within 1 s, the lease is given up; later, the address is defended.
    for (secs, is_kept) in [(1, false), (4, true)] {
        let mut bench = Bench::new(12, 0, Ip::Dhcp);
        let mut server = Server::new(offer, 3600);
        let mut asked = None;
        let mut answer = |frame: &[u8], content: &packet::Content<'_>, now| {
            if let packet::Content::Arp { sender, target, .. } = *content
                && target == offer
            {
                asked.get_or_insert(sender);
            }
            server.answer(frame, content, now)
        };
        bench.watch_frames(secs, &mut answer);
        assert_eq!(bench.ipv4(), Some(offer));
        bench.end.put(&arp(offer, Ipv4Addr::BROADCAST));
        bench.watch_frames(1, &mut answer);
        assert_eq!(bench.ipv4(), is_kept.then_some(offer));
        assert_eq!(asked, Some(Ipv4Addr::UNSPECIFIED), "a probe is first");
        let declined = server.count(Instant::default(), Message::Decline, Ipv4Addr::BROADCAST);
        assert_eq!(declined, usize::from(!is_kept));
    }
}

#[test]
fn static_address_is_defended_once_in_ten_seconds() {
    let own = Ipv4Addr::from(super::ADDRESS);
    let mut bench = Bench::with_address(10, 0);
    // Another host already has the address and announces it every second. The stack keeps it, and sends 3 to 6 announcements in 25
    // s.
    let mut times = Vec::new();
    for _ in 0..25 {
        bench.end.put(&arp(own, own));
        bench.watch_frames(1, &mut |_, content, now| {
            if let packet::Content::Arp {
                sender,
                is_reply: false,
                ..
            } = content
                && *sender == own
            {
                times.push(now);
            }
            None
        });
    }
    assert_eq!(bench.ipv4(), Some(own));
    assert!((3..=6).contains(&times.len()), "{times:?}");
}

#[test]
fn static_address_conflict_is_reported_once() {
    let own = Ipv4Addr::from(super::ADDRESS);
    let mut bench = Bench::with_address(13, 0);
    // The other host is there for 80 s and answers only probes, as Linux does. One conflict is reported.
    let mut is_there = true;
    let mut conflicts = 0;
    for secs in 0..100 {
        is_there &= secs < 80;
        bench.watch(1, &mut |content| match *content {
            packet::Content::Arp {
                mac,
                sender,
                target,
                is_reply: false,
            } if is_there && sender.is_unspecified() && target == own => {
                Some(reply(own, mac, sender))
            }
            _ => None,
        });
        if secs % 7 == 6 && is_there {
            bench.end.put(&arp(own, own));
        }
        conflicts += u32::from(bench.stack.take_conflict() == Some(own.to_ipv6_mapped()));
        assert_eq!(conflicts, 1, "after {secs} s");
    }
    assert_eq!(bench.ipv4(), Some(own));
    // A conflict more than ten minutes later is reported as a new one.
    bench.watch(600, &mut |_| None);
    assert_eq!(bench.stack.take_conflict(), None);
    bench.end.put(&arp(own, own));
    bench.watch(1, &mut |_| None);
    assert!(bench.stack.take_conflict().is_some());
    // An ARP request from a host with another address, or without one, is no conflict.
    let mut bench = Bench::with_address(14, 0);
    for sender in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::from(super::PEER_ADDRESS)] {
        bench.end.put(&arp(sender, own));
        bench.watch(5, &mut |_| None);
    }
    assert_eq!(bench.stack.take_conflict(), None);
    // A conflict of an address that is not static is not reported, because the stack chooses another address.
    let mut bench = Bench::new(15, 0, Ip::LinkLocal);
    bench.watch(20, &mut |_| None);
    let own = bench.ipv4().expect("an address");
    bench.end.put(&arp(own, own));
    bench.watch(1, &mut |_| None);
    assert_eq!(bench.stack.take_conflict(), None);
}

/// Builds a neighbor advertisement: the peer has the address `target`.
fn announcement(target: Ipv6Addr) -> Vec<u8> {
    let (group, advert) = (super::super::claim::ALL_NODES, Discovery::Announce(target));
    let mut frame = vec![0; 128];
    let len = packet::discover(PEER, target, group, advert, &mut frame);
    frame.truncate(len);
    frame
}

#[test]
fn used_static_ipv6_address_is_reported_and_unused() {
    let given: Ipv6Addr = "fd00::1".parse().unwrap();
    let mut bench = Bench::new(16, 0, Ip::Static(given.into(), 64));
    bench.watch(5, &mut |content| match *content {
        packet::Content::Solicit { target, from, .. }
            if from.is_unspecified() && target == given =>
        {
            Some(announcement(target))
        }
        _ => None,
    });
    assert!(!bench.addresses().contains(&given.into()));
    assert_eq!(bench.stack.take_conflict(), Some(given));
}

#[test]
fn slaac_replaces_an_address_in_use() {
    let mut bench = Bench::new(7, 0, Ip::LinkLocal);
    let first: Ipv6Addr = "2001:db8::ff:fe00:1".parse().unwrap();
    let (mut solicited, mut advertised) = (0, false);
    bench.watch(30, &mut |content| match *content {
        packet::Content::Solicit { target, from, .. }
            if from.is_unspecified() && target == first =>
        {
            Some(announcement(target))
        }
        packet::Content::Solicit { .. } => {
            solicited += 1;
            (!core::mem::replace(&mut advertised, solicited > 0))
                .then(|| advertisement(ROUTER, 0, 100))
        }
        _ => None,
    });
    let own = bench.addresses();
    let network = |own: &&IpAddr| own.to_string().starts_with("2001:db8:");
    let found: Vec<_> = own.iter().filter(network).collect();
    assert_eq!(found.len(), 1, "{own:?}");
    assert_ne!(*found[0], IpAddr::V6(first));
    // Without further advertisements, the prefix expires after 100 s.
    bench.watch(120, &mut |_| None);
    assert_eq!(bench.addresses().iter().filter(network).count(), 0);
}

/// A router's address.
pub(super) const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Builds a router advertisement: router and prefix 2001:db8:`number`::/64, both for `secs`.
pub(super) fn advertisement(router: Ipv6Addr, number: u16, secs: u64) -> Vec<u8> {
    use smoltcp::wire::{NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRouterFlags};
    let duration = |secs| smoltcp::time::Duration::from_secs(secs);
    let message = NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        router_lifetime: duration(secs),
        reachable_time: duration(0),
        retrans_time: duration(0),
        lladdr: None,
        mtu: None,
        prefix_info: Some(NdiscPrefixInformation {
            prefix_len: 64,
            flags: NdiscPrefixInfoFlags::ADDRCONF | NdiscPrefixInfoFlags::ON_LINK,
            valid_lifetime: duration(secs),
            preferred_lifetime: duration(secs),
            prefix: Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 0),
        }),
    };
    let (message, both) = (
        Icmpv6Repr::Ndisc(message),
        [router, super::super::claim::ALL_NODES],
    );
    ipv6(both, 255, ICMPV6, &[], &icmpv6_of(both, &message))
}

#[test]
fn no_deadline_before_link_accepts_frames() {
    let mut bench = Bench::new(11, 0, Ip::Dhcp);
    bench.end.set_full(true);
    for _ in 0..20 {
        bench.now = bench.now.after(Duration::SECOND);
        bench.end.set_now(bench.now);
        bench.turn();
    }
    assert_eq!(bench.stack.poll_at(bench.now), Instant::NEVER);
    // Queued frames are sent first, even if no timer is due.
    bench.end.set_full(false);
    bench.stack.run(bench.now);
    assert!(!bench.stack.port.is_blocked());
    bench.watch(20, &mut |_| None);
    assert!(bench.ipv4().is_some_and(|own| own.is_link_local()));
}

#[test]
fn infinite_lifetime_never_expires() {
    // An infinite lifetime is 2^32 - 1 seconds.
    assert!(Instant::default().after(Duration::from_secs(u32::MAX)) < Instant::NEVER);
}
