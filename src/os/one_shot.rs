//! Sockets for one-shot questions of multicast DNS (RFC 6762 section 5.1): responders answer to the port that asked.

#![forbid(unsafe_code)]

use crate::sys::interface::Interfaces;
use crate::sys::linux::fs::File;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::sockets::{self, Address};
use crate::sys::linux::{fd::AsRawFd as _, interfaces, multicast};
use crate::sys::{self, Errno};
use crate::time::Instant;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A socket for each IP version that this host has.
#[derive(Debug)]
pub struct OneShot {
    v4: Option<File>,
    v6: Option<File>,
    /// The port of responders.
    port: u16,
    /// The interfaces of this host.
    pub interfaces: Interfaces,
}

impl OneShot {
    /// Opens the sockets for responders at `port`, and lists the interfaces.
    pub fn open(port: u16) -> Self {
        let mut interfaces = Interfaces::default();
        interfaces::list(&mut interfaces);
        Self {
            v4: sockets::open_datagrams(true).ok(),
            v6: sockets::open_datagrams(false).ok(),
            port,
            interfaces,
        }
    }

    /// Sends a question to the group, by the interface that has the address `own`. Lost questions are sent again by the caller.
    pub fn send(&self, own: IpAddr, index: u32, question: &[u8]) {
        let (socket, group) = match own {
            IpAddr::V4(_) => (&self.v4, Ipv4Addr::new(224, 0, 0, 251).into()),
            IpAddr::V6(_) => (
                &self.v6,
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).into(),
            ),
        };
        if let Some(socket) = socket {
            let group = SocketAddr::new(group, self.port);
            let _ = multicast::send_by(socket, (own, index), group, question);
        }
    }

    /// Waits for a datagram until `until`. Returns its length and its sender.
    pub fn recv(&self, until: Instant, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        loop {
            for socket in [&self.v4, &self.v6].into_iter().flatten() {
                let mut from = Address::empty();
                if let Ok(len) = sockets::recv_from(socket.as_raw_fd(), buffer, &mut from) {
                    return Some((len, from.get()));
                }
            }
            let now = sys::now();
            if now >= until {
                return None;
            }
            let mut watched = heapless::Vec::<_, 2>::new();
            for socket in [&self.v4, &self.v6].into_iter().flatten() {
                let _ = watched.push(PollFd::new(socket, PollFlags::IN));
            }
            let _ = sys::linux::sleep(&mut watched, Some(until.since(now)));
        }
    }

    /// Returns true if a program of this host is bound to the port of responders.
    pub fn is_port_in_use(&self) -> bool {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        any.into_iter().any(|any| {
            let bound = sockets::open_at(SocketAddr::new(any, self.port), false, false);
            bound.is_err_and(|errno| errno == Errno::ADDRINUSE)
        })
    }
}
