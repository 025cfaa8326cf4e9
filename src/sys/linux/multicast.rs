//! Sockets for multicast DNS (RFC 6762 §3, §11). Each belongs to one interface and receives only datagrams that arrive there.
//!
//! So no IP_PKTINFO is needed. A socket bound to the group's address receives no unicast, but can send.

use super::Errno;
use super::fs::File;
use super::sockets::{
    self, Address, AddressCall, DATAGRAM, INET, INET6, NONBLOCK, REUSE_ADDRESS, REUSE_PORT,
    Setting, V6_ONLY,
};
use core::net::{IpAddr, SocketAddr};
use rustix::fd::AsRawFd as _;

const JOIN_V4: Setting = (0, 35);
const JOIN_V6: Setting = (41, 20);
const INTERFACE_V4: Setting = (0, 32);
const INTERFACE_V6: Setting = (41, 17);
/// IP_UNICAST_IF, IPV6_UNICAST_IF: interface for unicast, an index in network byte order.
const UNICAST_V4: Setting = (0, 50);
const UNICAST_V6: Setting = (41, 76);
/// IP_MULTICAST_ALL: receive from groups that other sockets have joined.
const ALL_V4: Setting = (0, 49);

/// Hop limit 255 for unicast and multicast, which shows the receiver that the sender is on the link (RFC 6762 §11). Also enables
/// multicast loopback, for other processes on this host.
const REACH: [(Setting, u32); 6] = [
    ((0, 2), 255),
    ((0, 33), 255),
    ((0, 34), 1),
    ((41, 16), 255),
    ((41, 18), 255),
    ((41, 19), 1),
];

/// Opens a socket bound to `group` that receives and sends on the interface `index`. `own` is an address of that interface in the
/// group's family; an IPv4 socket sends from it.
pub fn join(index: u32, own: IpAddr, group: SocketAddr) -> Result<File, Errno> {
    let file = open(index, group, true)?;
    let socket = file.as_raw_fd();
    let set = |option, value: &[u8]| sockets::set_bytes(socket, option, value);
    let index = index.to_ne_bytes();
    match (own, group.ip()) {
        (IpAddr::V4(own), IpAddr::V4(group)) => {
            // struct ip_mreqn: group, address, index. Older kernels accept only the first two, or for IP_MULTICAST_IF only the
            // address.
            let [[a, b, c, d], [e, f, g, h], [i, j, k, l]] = [group.octets(), own.octets(), index];
            let membership = [a, b, c, d, e, f, g, h, i, j, k, l];
            let [older @ .., _, _, _, _] = &membership;
            set(JOIN_V4, &membership).or_else(|_| set(JOIN_V4, older))?;
            set(INTERFACE_V4, &membership).or_else(|_| set(INTERFACE_V4, &own.octets()))?;
        }
        (_, IpAddr::V6(group)) => {
            let mut membership = [0; 20];
            let (place, rest) = membership.split_at_mut(16);
            place.copy_from_slice(&group.octets());
            rest.copy_from_slice(&index);
            set(JOIN_V6, &membership)?;
            // If the kernel lacks IPV6_MULTICAST_IF, as QEMU's user emulation does, bind(2) has selected the interface by the scope id.
            let _ = set(INTERFACE_V6, &index);
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(file)
}

/// Sends multicast of an unbound socket by the interface that has the address `own`, at index `index`.
pub fn send_by(
    socket: &File,
    (own, index): (IpAddr, u32),
    mut group: SocketAddr,
    bytes: &[u8],
) -> Result<(), Errno> {
    let socket = socket.as_raw_fd();
    match (own, &mut group) {
        (IpAddr::V4(own), _) => sockets::set_bytes(socket, INTERFACE_V4, &own.octets())?,
        (_, SocketAddr::V6(group)) => group.set_scope_id(index),
        _ => {}
    }
    sockets::send_to(socket, group, bytes)
}

/// Clears IP_MULTICAST_ALL of an IPv4 socket, so that it receives only from the group it has joined. Returns false if the kernel
/// lacks that option.
pub fn isolate(joined: &File) -> bool {
    let (level, name) = ALL_V4;
    sockets::set(joined.as_raw_fd(), level, name, 0).is_ok()
}

/// Binds a socket to `own`, an address of the interface `index`. Fails with EADDRINUSE if another socket is bound there, so unicast
/// to `own` arrives here. From then on other sockets may share the address.
pub fn claim(index: u32, own: SocketAddr) -> Result<File, Errno> {
    let file = open(index, own, false)?;
    share(file.as_raw_fd());
    Ok(file)
}

/// Allows other sockets at the same address. Other responders set either SO_REUSEADDR or SO_REUSEPORT.
fn share(socket: i32) {
    for &(level, name) in &[REUSE_ADDRESS, REUSE_PORT] {
        let _ = sockets::set(socket, level, name, 1);
    }
}

/// Opens a socket bound to `at` that sends by the interface `index` with hop limit 255. With `shares`, other sockets may be bound
/// there.
fn open(index: u32, mut at: SocketAddr, shares: bool) -> Result<File, Errno> {
    let mut family = INET;
    if let SocketAddr::V6(at) = &mut at {
        // The scope id selects the interface of a link-local address; it has no effect on other addresses.
        at.set_scope_id(index);
        family = INET6;
    }
    let file = sockets::open(family, DATAGRAM | NONBLOCK)?;
    let socket = file.as_raw_fd();
    for &(level, name) in &[UNICAST_V4, UNICAST_V6] {
        // Without this option the kernel would send all unicast by one of two interfaces in the same network.
        let _ = sockets::set(socket, level, name, index.to_be());
    }
    let _ = sockets::set(socket, V6_ONLY.0, V6_ONLY.1, 1);
    // Options of the other IP version fail and are ignored, as are those that the kernel lacks.
    for &((level, name), value) in &REACH {
        let _ = sockets::set(socket, level, name, value);
    }
    if shares {
        share(socket);
    }
    sockets::call(socket, AddressCall::Bind, &mut Address::new(at))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use core::time::Duration;
    use std::time::Instant;

    const PORT: u16 = 5353;

    /// Waits for a datagram with these bytes and returns its sender. `None` if none arrives soon.
    fn hear(socket: &File, bytes: &[u8]) -> Option<SocketAddr> {
        let (start, mut buffer) = (Instant::now(), [0; 64]);
        while start.elapsed() < Duration::from_secs(2) {
            let mut from = Address::empty();
            match sockets::recv_from(socket.as_raw_fd(), &mut buffer, &mut from) {
                Ok(len) if buffer[..len] == *bytes => return Some(from.get()),
                Ok(_) => {}
                Err(error) => assert_eq!(error, Errno::AGAIN),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    #[test]
    fn multicast_reaches_every_joined_socket_and_its_sender() {
        let own = Ipv4Addr::LOCALHOST.into();
        let to = SocketAddr::from(([224, 0, 0, 251], PORT));
        let [one, other] = [(); 2].map(|()| join(1, own, to).unwrap());
        assert!(isolate(&one));
        let bytes = std::format!("no message of DNS, by {}", std::process::id());
        sockets::send_to(one.as_raw_fd(), to, bytes.as_bytes()).unwrap();
        for socket in [&one, &other] {
            let from = hear(socket, bytes.as_bytes());
            assert_eq!(from, Some(SocketAddr::new(own, PORT)));
        }
    }

    #[test]
    fn second_claim_of_address_fails_but_sharing_works() {
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = SocketAddr::from(([127, 83, high, low], PORT));
        let claim = || claim(1, own);
        let first = claim().unwrap();
        assert_eq!(claim().unwrap_err(), Errno::ADDRINUSE);
        let other = sockets::open(INET, DATAGRAM).unwrap();
        sockets::set(other.as_raw_fd(), REUSE_ADDRESS.0, REUSE_ADDRESS.1, 1).unwrap();
        let shared = sockets::call(other.as_raw_fd(), AddressCall::Bind, &mut Address::new(own));
        assert_eq!(shared, Ok(()));
        drop((first, other));
        let first = claim().unwrap();
        // The host reports that no socket is there (ECONNREFUSED); the socket still receives later datagrams.
        let nobody = SocketAddr::new(own.ip(), 9);
        assert_eq!(
            sockets::send_to(first.as_raw_fd(), nobody, b"nobody"),
            Ok(())
        );
        let everybody = SocketAddr::new(Ipv4Addr::BROADCAST.into(), PORT);
        let refused = sockets::send_to(first.as_raw_fd(), everybody, b"everybody");
        assert_eq!(refused, Err(Errno::ACCESS));
        sockets::send_to(first.as_raw_fd(), own, b"own").unwrap();
        assert_eq!(hear(&first, b"own"), Some(own));
    }
}
