//! Datagrams with the own address and the interface at which they arrived (ip(7) IP_PKTINFO, RFC 3542 IPV6_PKTINFO), for sockets
//! bound to no address.
//!
//! A reply can be sent from there. A host that lacks the options, or recvmsg and sendmsg, gets the other calls of `sockets`: the
//! route then selects the address.

use super::fs::File;
use super::sockets::{self, Address, Setting, socket_call};
use super::{Errno, outcome};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use rustix::fd::{AsRawFd as _, RawFd};
use syscalls::{Sysno, raw_syscall};

/// IP_PKTINFO: the option, and the control message (struct in_pktinfo).
const INFO_V4: Setting = (0, 8);
const RECEIVE_INFO_V6: Setting = (41, 49);
/// IPV6_PKTINFO: the control message (struct in6_pktinfo).
const INFO_V6: Setting = (41, 50);
/// Length of `cmsg_len` (bytes).
const WORD: usize = size_of::<usize>();
/// Length of the head of a control message (bytes): its length, level and type.
const HEAD_BYTES: usize = WORD + 8;

/// The arguments of recvmsg and sendmsg, as the kernel has them.
#[doc(alias = "msghdr")]
#[repr(C)]
struct Message {
    address: *mut u8,
    address_len: u32,
    pieces: *const Piece,
    piece_count: usize,
    control: *mut u8,
    control_len: usize,
    flags: u32,
}

#[doc(alias = "iovec")]
#[repr(C)]
struct Piece {
    at: *mut u8,
    len: usize,
}

impl Message {
    fn new(address: &mut Address, piece: &Piece, control: &mut [u8]) -> Self {
        Self {
            address: address.bytes.as_mut_ptr(),
            address_len: address.len,
            pieces: piece,
            piece_count: 1,
            control: control.as_mut_ptr(),
            control_len: control.len(),
            flags: 0,
        }
    }
}

/// Makes the kernel report destinations to [`recv`]. Returns false if the kernel lacks the options.
pub fn report(socket: &File) -> bool {
    let set = |(level, name)| sockets::set(socket.as_raw_fd(), level, name, 1).is_ok();
    // An IPv6 socket receives IPv4 datagrams, too.
    set(INFO_V4) | set(RECEIVE_INFO_V6)
}

/// The own end of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Own {
    /// The destination, if known. For a broadcast, the address of the interface.
    pub address: Option<IpAddr>,
    /// Index of the interface, or 0.
    pub interface: u32,
    /// True if the destination was a broadcast address.
    pub is_broadcast: bool,
}

/// Like [`sockets::recv_from`], and writes the own end to `to`, if the kernel reports it.
pub fn recv(
    socket: RawFd,
    buffer: &mut [u8],
    from: &mut Address,
    to: &mut Own,
) -> Result<usize, Errno> {
    let control = &mut [0; 128];
    let piece = Piece {
        at: buffer.as_mut_ptr(),
        len: buffer.len(),
    };
    let mut message = Message::new(from, &piece, control);
    // SAFETY: the kernel writes to the buffer, the address and the control messages, each at most its length, and to `message`.
    // All of them are borrowed by this function until the call returns.
    let received = outcome(unsafe { socket_call!(recvmsg, 17, socket, &raw mut message, 0) });
    if let Err(Errno::NOSYS | Errno::PERM) = received {
        return sockets::recv_from(socket, buffer, from);
    }
    let len = message.control_len;
    if let Some(own) = own(control.get(..len).unwrap_or_default()) {
        *to = own;
    }
    received
}

/// Returns the own address and interface that control messages contain. For an IPv4 datagram, an IPv6 socket gets both: that of IPv6 has the
/// destination, which may be a broadcast address, that of IPv4 also the interface's address.
fn own(mut control: &[u8]) -> Option<Own> {
    let mut found = None;
    while let Some((head, info)) = control.split_first_chunk::<HEAD_BYTES>() {
        let (len, kind) = head.split_first_chunk()?;
        if kind == of_kind(INFO_V4) {
            let [interface, address, asked, ..] = info.as_chunks::<4>().0 else {
                return None;
            };
            let is_group = IpAddr::from(*asked).is_multicast();
            return Some(Own {
                address: Some(IpAddr::from(if is_group { *asked } else { *address })),
                interface: u32::from_ne_bytes(*interface),
                is_broadcast: !is_group && asked != address,
            });
        }
        if kind == of_kind(INFO_V6) {
            let (address, interface) = info.split_first_chunk::<16>()?;
            let address = Ipv6Addr::from(*address);
            let is_v6 = address.to_ipv4_mapped().is_none();
            found = Some(Own {
                address: is_v6.then_some(address.into()),
                interface: u32::from_ne_bytes(*interface.first_chunk()?),
                is_broadcast: false,
            });
        }
        let len = usize::from_ne_bytes(*len).max(HEAD_BYTES);
        control = control
            .get(len.next_multiple_of(WORD)..)
            .unwrap_or_default();
    }
    found
}

/// The level and type of a control message.
fn of_kind((level, kind): Setting) -> [u8; 8] {
    let mut bytes = [0; 8];
    let (one, other) = bytes.split_at_mut(4);
    one.copy_from_slice(&u32::from(level).to_ne_bytes());
    other.copy_from_slice(&u32::from(kind).to_ne_bytes());
    bytes
}

/// Sends a datagram from the own address `from` (a group: as the route selects) and by an interface.
///
/// # Errors
/// ENOSYS, EPERM: no sendmsg. EINVAL and others: the host has no such address any more. Nothing was sent.
pub fn send(
    socket: RawFd,
    from: Option<IpAddr>,
    interface: u32,
    to: SocketAddr,
    bytes: &[u8],
) -> Result<(), Errno> {
    let from = from.filter(|from| !from.is_multicast());
    let control = &mut [0; HEAD_BYTES + 20];
    let (head, info) = control.split_at_mut(HEAD_BYTES);
    let interface = interface.to_ne_bytes();
    let (kind, info_len) = if from.unwrap_or(to.ip()).to_canonical().is_ipv4() {
        info[..4].copy_from_slice(&interface);
        if let Some(IpAddr::V4(from)) = from {
            info[4..8].copy_from_slice(&from.octets());
        }
        (INFO_V4, 12)
    } else {
        if let Some(IpAddr::V6(from)) = from {
            info[..16].copy_from_slice(&from.octets());
        }
        info[16..].copy_from_slice(&interface);
        (INFO_V6, 20)
    };
    let mut to = Address::new(to);
    let len = HEAD_BYTES + info_len;
    head[..WORD].copy_from_slice(&len.to_ne_bytes());
    head[WORD..].copy_from_slice(&of_kind(kind));
    let piece = Piece {
        at: bytes.as_ptr().cast_mut(),
        len: bytes.len(),
    };
    let message = Message::new(&mut to, &piece, &mut control[..len]);
    // SAFETY: the kernel reads the bytes, the address and the control message, by their lengths. It writes to none of them.
    outcome(unsafe { socket_call!(sendmsg, 16, socket, &raw const message, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::linux::sockets::open_by;
    use core::time::Duration;

    /// 127.0.0.2 is not the address that the route to 127.0.0.1 selects.
    #[test]
    fn reply_leaves_from_the_address_that_was_asked() {
        for (device, any, asked, replies) in [
            ("", "0.0.0.0:0", "127.0.0.2", "127.0.0.2"),
            ("", "[::]:0", "127.0.0.2", "127.0.0.2"),
            ("", "[::]:0", "::1", "::1"),
            ("lo", "0.0.0.0:0", "127.255.255.255", "127.0.0.1"),
            ("", "[::]:0", "127.255.255.255", "127.0.0.1"),
        ] {
            let server = open_by(device.as_bytes(), any.parse().unwrap(), false, false).unwrap();
            assert!(report(&server));
            let socket = server.as_raw_fd();
            let mut at = Address::empty();
            sockets::name(socket, &mut at).unwrap();
            let [asked, replies]: [IpAddr; 2] = [asked, replies].map(|one| one.parse().unwrap());
            let own = if asked.is_ipv4() {
                "127.0.0.1:0"
            } else {
                "[::1]:0"
            };
            let client = std::net::UdpSocket::bind(own).unwrap();
            client
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            client.set_broadcast(true).unwrap();
            client.send_to(b"question", (asked, at.port())).unwrap();
            let (mut from, mut buffer) = (Address::empty(), [0; 64]);
            let mut to = Own {
                address: None,
                interface: 0,
                is_broadcast: false,
            };
            while let Err(error) = recv(socket, &mut buffer, &mut from, &mut to) {
                assert_eq!(error, Errno::AGAIN);
                std::thread::sleep(Duration::from_millis(1));
            }
            let loopback = 1;
            let expected = Own {
                address: Some(replies),
                interface: loopback,
                is_broadcast: asked != replies,
            };
            assert_eq!(to, expected, "{any}");
            send(socket, to.address, to.interface, from.get(), b"reply").unwrap();
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            let heard = (&buffer[..len], from.ip());
            assert_eq!(heard, (&b"reply"[..], replies), "{any}");
        }
    }
}
