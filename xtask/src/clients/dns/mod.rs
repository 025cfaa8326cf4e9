//! A multicast DNS client for tests (RFC 6762): sockets, queries and parsed responses.
//!
//! Shares no code with stowaway's responder, which it tests.

mod message;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrLike, SockaddrStorage, bind, setsockopt, socket,
    sockopt,
};

pub use message::{Message, query, query_with_known_answers, unicast_query};
pub use simple_dns::TYPE;

/// The multicast group of multicast DNS.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// As [`GROUP`], for IPv6.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// The UDP port of multicast DNS.
pub const PORT: u16 = 5353;

/// A UDP socket for queries, bound to a local address.
pub struct Querier {
    socket: UdpSocket,
    group: SocketAddr,
}

impl Querier {
    /// A multicast DNS querier: sends from port 5353 and is a member of the group on the interface of `local_address`. The host
    /// needs a route to the group.
    pub fn with_mdns_port(local_address: Ipv4Addr) -> Result<Self> {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
        let socket = bind_shared(&SockaddrStorage::from(any))?;
        socket
            .join_multicast_v4(&GROUP, &local_address)
            .with_context(|| format!("cannot join the multicast group at {local_address}"))?;
        socket.set_multicast_ttl_v4(255)?;
        socket.set_multicast_loop_v4(false)?;
        Ok(Self::at(socket))
    }

    /// As [`Self::with_mdns_port`], over IPv6 on an interface.
    pub fn over_ipv6(interface: &str) -> Result<Self> {
        let index = if_nametoindex(interface)?;
        let socket = bind_shared(&SockaddrStorage::from(SocketAddrV6::new(
            Ipv6Addr::UNSPECIFIED,
            PORT,
            0,
            0,
        )))?;
        socket
            .join_multicast_v6(&GROUP_V6, index)
            .with_context(|| format!("cannot join {GROUP_V6} on {interface}"))?;
        setsockopt(&socket, sockopt::Ipv6MulticastHops, &255)?;
        socket.set_multicast_loop_v6(false)?;
        let group = SocketAddrV6::new(GROUP_V6, PORT, 0, index).into();
        Ok(Self { socket, group })
    }

    /// A one-shot querier: sends from an ephemeral port, so responses are unicast to it.
    pub fn one_shot(local_address: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((local_address, 0))
            .with_context(|| format!("cannot bind to {local_address}"))?;
        Ok(Self::at(socket))
    }

    fn at(socket: UdpSocket) -> Self {
        let group = (GROUP, PORT).into();
        Self { socket, group }
    }

    /// Sends a datagram to the group.
    pub fn send(&self, datagram: &[u8]) -> Result<()> {
        self.socket
            .send_to(datagram, self.group)
            .context("cannot send to the multicast group")?;
        Ok(())
    }

    /// The next datagram from any sender. None if none arrives within `wait`.
    pub fn receive<'a>(&self, buffer: &'a mut [u8], wait: Duration) -> Result<Option<&'a [u8]>> {
        let received = self.receive_from(buffer, wait)?;
        Ok(received.map(|(datagram, _)| datagram))
    }

    /// The next datagram and its sender. None if none arrives within `wait`.
    pub fn receive_from<'a>(
        &self,
        buffer: &'a mut [u8],
        wait: Duration,
    ) -> Result<Option<(&'a [u8], SocketAddr)>> {
        let end = Instant::now() + wait;
        loop {
            // A timeout of zero is rejected by `set_read_timeout`.
            let remaining = end.saturating_duration_since(Instant::now());
            self.socket
                .set_read_timeout(Some(remaining.max(Duration::from_millis(1))))?;
            return match self.socket.recv_from(buffer) {
                Ok((len, from)) => Ok(Some((&buffer[..len], from))),
                // If the process is stopped and continued, recvfrom(2) fails with EINTR.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    Ok(None)
                }
                Err(error) => Err(error).context("cannot receive"),
            };
        }
    }

    /// The first message for which `is_wanted` returns true, and the time until it arrived. A datagram that is not a DNS message is
    /// an error.
    pub fn wait_for(
        &self,
        patience: Duration,
        mut is_wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Option<(Message, Duration)>> {
        let start = Instant::now();
        let mut buffer = [0; 9000];
        while let Some(remaining) = patience.checked_sub(start.elapsed()) {
            let Some(bytes) = self.receive(&mut buffer, remaining)? else {
                break;
            };
            let elapsed = start.elapsed();
            let message = Message::parse(bytes)?;
            if is_wanted(&message) {
                return Ok(Some((message, elapsed)));
            }
        }
        Ok(None)
    }
}

/// Binds a socket to a port that other programs use as well.
fn bind_shared(address: &SockaddrStorage) -> Result<UdpSocket> {
    let family = address.family().context("no address family")?;
    let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    bind(fd.as_raw_fd(), address).context("cannot bind to port 5353")?;
    Ok(UdpSocket::from(fd))
}
