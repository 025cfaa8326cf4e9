//! Tests of datagram sockets.

use super::neighbors::datagram_to;
use super::{ADDRESS, Bench, PEER_ADDRESS, PEER_MAC};
use crate::net::smol::packet::Mac;
use crate::net::{Binding, Datagrams as _, Multicast as _, NetError, Socket, Token};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Port of the datagrams.
const PORT: u16 = 111;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);

fn bench(seed: u64) -> Bench {
    let mut bench = Bench::with_address(seed, 0);
    bench.settle();
    bench
}

/// Passes a datagram from the peer to the stack.
fn put(bench: &mut Bench, to: Ipv4Addr) {
    let frame = datagram_to(to, Mac(PEER_MAC), PEER_ADDRESS.into());
    bench.end.put(&frame);
    bench.sent();
}

/// Returns the destinations of the datagrams that a socket has received.
fn received(bench: &mut Bench, socket: Socket) -> Vec<IpAddr> {
    let mut destinations = Vec::new();
    while let Ok(received) = bench.stack.recv_from(socket, &mut [0; 16]) {
        assert_eq!(received.len, 4);
        assert_eq!(received.from, SocketAddr::from((PEER_ADDRESS, 700)));
        destinations.extend(received.to.address);
    }
    destinations
}

#[test]
fn datagram_goes_to_the_socket_of_its_destination() {
    let mut bench = bench(51);
    let own = Ipv4Addr::from(ADDRESS);
    let [all, one, group] = [1, 2, 3].map(|number| Token::new(0, number));
    let index = bench.stack.index;
    let at = SocketAddr::new(GROUP.into(), PORT);
    let group = bench.stack.join(index, own.into(), at, group).unwrap();
    let all = bench
        .stack
        .bind(&Binding::of(([0; 4], PORT).into()), all)
        .unwrap();
    let again = bench.stack.bind(&Binding::of((own, PORT).into()), one);
    assert_eq!(again.map(drop), Err(NetError::InUse));
    let subnet = Ipv4Addr::new(192, 0, 2, 255);
    for to in [own, GROUP, subnet, Ipv4Addr::BROADCAST] {
        put(&mut bench, to);
    }
    // Replies to broadcasts leave from the own address.
    assert_eq!(received(&mut bench, all), [own; 3]);
    assert_eq!(received(&mut bench, group), [GROUP]);
    // Another host, a group and a network that this host does not belong to.
    for to in [
        PEER_ADDRESS.into(),
        Ipv4Addr::new(224, 0, 0, 252),
        Ipv4Addr::new(192, 0, 3, 255),
    ] {
        put(&mut bench, to);
    }
    assert_eq!(received(&mut bench, all), [] as [IpAddr; 0]);
    bench.stack.close(group);
    put(&mut bench, GROUP);
    assert_eq!(received(&mut bench, all), [] as [IpAddr; 0]);
}

#[test]
fn full_queue_drops_the_newest_datagrams() {
    let mut bench = bench(52);
    let flooded = bench
        .stack
        .bind(&Binding::of(([0; 4], PORT).into()), Token::new(0, 1))
        .unwrap();
    for _ in 0..200 {
        bench.end.put(&datagram_to(
            ADDRESS.into(),
            Mac(PEER_MAC),
            PEER_ADDRESS.into(),
        ));
    }
    bench.sent();
    assert_eq!(received(&mut bench, flooded).len(), 64);
    put(&mut bench, ADDRESS.into());
    assert_eq!(received(&mut bench, flooded).len(), 1);
}

/// A reply would go to all hosts.
#[test]
fn datagram_from_group_or_broadcast_is_dropped() {
    let mut bench = bench(53);
    let all = Token::new(0, 1);
    let all = bench
        .stack
        .bind(&Binding::of(([0; 4], PORT).into()), all)
        .unwrap();
    for from in [
        GROUP,
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(192, 0, 2, 255),
        Ipv4Addr::UNSPECIFIED,
    ] {
        let frame = datagram_to(ADDRESS.into(), Mac(PEER_MAC), from);
        bench.end.put(&frame);
        assert!(bench.sent().is_empty(), "{from}");
        let received = bench.stack.recv_from(all, &mut [0; 16]);
        assert_eq!(received.map(drop), Err(NetError::WouldBlock), "{from}");
    }
    put(&mut bench, ADDRESS.into());
    assert_eq!(received(&mut bench, all), [IpAddr::from(ADDRESS)]);
}

/// A host that has no address yet asks for one, and the reply reaches all hosts.
#[test]
fn broadcast_of_a_host_without_address_is_answered() {
    for (broadcasts, to, is_heard) in [
        (true, Ipv4Addr::BROADCAST, true),
        (true, ADDRESS.into(), false),
        (false, Ipv4Addr::BROADCAST, false),
    ] {
        let mut bench = bench(54);
        let binding = Binding {
            broadcasts,
            ..Binding::of(([0; 4], PORT).into())
        };
        let socket = bench.stack.bind(&binding, Token::new(0, 1)).unwrap();
        let frame = datagram_to(to, Mac(PEER_MAC), Ipv4Addr::UNSPECIFIED);
        bench.end.put(&frame);
        assert!(bench.sent().is_empty());
        let heard = bench.stack.recv_from(socket, &mut [0; 16]);
        assert_eq!(heard.is_ok(), is_heard, "{broadcasts} {to}");
        let Ok(heard) = heard else { continue };
        assert!(heard.is_broadcast && heard.from.ip().is_unspecified());
        assert_eq!(heard.to.address, Some(ADDRESS.into()));
        let all = (Ipv4Addr::BROADCAST, 68).into();
        assert_eq!(bench.stack.send_to(socket, heard.to, all, b"reply"), Ok(()));
        let [frame] = &bench.sent()[..] else { panic!() };
        assert_eq!(frame[..6], [0xff; 6]);
    }
}
