//! Sockets for multicast DNS (RFC 6762 §3, §11), of which each belongs to one interface: whatever comes there came in by it.
//!
//! So nothing depends on being told by which interface a packet came. A socket at the group's own address hears nothing else,
//! and sends all the same.

use super::Errno;
use super::fs::File;
use super::sockets::{
    self, Address, DATAGRAM, INET, INET6, NONBLOCK, REUSE_ADDRESS, REUSE_PORT, Setting, V6_ONLY,
    Verb,
};
use core::net::{IpAddr, SocketAddr};
use rustix::fd::AsRawFd as _;

const JOIN_V4: Setting = (0, 35);
const JOIN_V6: Setting = (41, 20);
const INTERFACE_V4: Setting = (0, 32);
const INTERFACE_V6: Setting = (41, 17);
/// By which interface it sends to a single host, in the order of bytes that the net has.
const UNICAST_V4: Setting = (0, 50);
const UNICAST_V6: Setting = (41, 76);
/// Whether a socket hears groups that another socket has joined.
const ALL_V4: Setting = (0, 49);

/// How far packets go: so far that no host beyond the link could have sent them (RFC 6762 §11). And that this host hears them,
/// too.
const REACH: [(Setting, u32); 6] = [
    ((0, 2), 255),
    ((0, 33), 255),
    ((0, 34), 1),
    ((41, 16), 255),
    ((41, 18), 255),
    ((41, 19), 1),
];

/// A socket at the group's address that hears the interface `index` and sends there. `own` is an address of the interface: the
/// group is of its version, and datagrams of version 4 come from it.
pub fn join(index: u32, own: IpAddr, group: SocketAddr) -> Result<File, Errno> {
    let file = open(index, group, true)?;
    let socket = file.as_raw_fd();
    let set = |option, value: &[u8]| sockets::set_bytes(socket, option, value);
    let index = index.to_ne_bytes();
    match (own, group.ip()) {
        (IpAddr::V4(own), IpAddr::V4(group)) => {
            // Group, address and number. Older forms have no number, or the address alone.
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
            set(INTERFACE_V6, &index)?;
        }
        _ => return Err(Errno::INVAL),
    }
    Ok(file)
}

/// Whether a socket that has joined a group of version 4 hears no other one from now on: an old host has it hear what other
/// sockets have joined.
pub fn isolate(joined: &File) -> bool {
    let (level, name) = ALL_V4;
    sockets::set(joined.as_raw_fd(), level, name, 0).is_ok()
}

/// A socket at `own`, an address of the interface `index`, if no other process has one: so what is sent there arrives here. Others
/// may share it from now on.
pub fn claim(index: u32, own: SocketAddr) -> Result<File, Errno> {
    let file = open(index, own, false)?;
    share(file.as_raw_fd());
    Ok(file)
}

/// Lets others have a socket there, too: responders know the one way or the other.
fn share(socket: i32) {
    for &(level, name) in &[REUSE_ADDRESS, REUSE_PORT] {
        let _ = sockets::set(socket, level, name, 1);
    }
}

/// A socket at `at`, perhaps one of several there, that sends by this interface what all hosts there can tell to be of the link.
fn open(index: u32, mut at: SocketAddr, shares: bool) -> Result<File, Errno> {
    let mut family = INET;
    if let SocketAddr::V6(at) = &mut at {
        // Bound with the number, those of the link belong to the interface. Others do not look at it.
        at.set_scope_id(index);
        family = INET6;
    }
    let file = sockets::open(family, DATAGRAM | NONBLOCK)?;
    let socket = file.as_raw_fd();
    for &(level, name) in &[UNICAST_V4, UNICAST_V6] {
        // Else two interfaces of one network would be one.
        let _ = sockets::set(socket, level, name, index.to_be());
    }
    let _ = sockets::set(socket, V6_ONLY.0, V6_ONLY.1, 1);
    // Those of the other version mean nothing to it, and a host that lacks one is served all the same.
    for &((level, name), value) in &REACH {
        let _ = sockets::set(socket, level, name, value);
    }
    if shares {
        share(socket);
    }
    sockets::call(socket, Verb::Bind, &mut Address::new(at))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use core::time::Duration;
    use std::time::Instant;

    const PORT: u16 = 5353;

    /// The sender of a datagram with these bytes that comes to a socket soon.
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
    fn two_who_joined_hear_each_other_and_themselves() {
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
    fn one_has_an_address_and_shares_it_then() {
        let [.., high, low] = std::process::id().to_be_bytes();
        let own = SocketAddr::from(([127, 83, high, low], PORT));
        let claim = || claim(1, own);
        let first = claim().unwrap();
        assert_eq!(claim().unwrap_err(), Errno::ADDRINUSE);
        let other = sockets::open(INET, DATAGRAM).unwrap();
        sockets::set(other.as_raw_fd(), REUSE_ADDRESS.0, REUSE_ADDRESS.1, 1).unwrap();
        let shared = sockets::call(other.as_raw_fd(), Verb::Bind, &mut Address::new(own));
        assert_eq!(shared, Ok(()));
        drop((first, other));
        let first = claim().unwrap();
        // Nobody is there, which the host says; the socket hears what comes later all the same.
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
