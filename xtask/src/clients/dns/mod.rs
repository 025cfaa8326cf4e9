//! Multicast DNS as a neighbour sees it: questions, what is answered, and sockets to ask through. RFC 6762.
//!
//! It shares nothing with stowaway's own code, which it is to judge.

mod message;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

pub use message::{Message, query};
pub use simple_dns::TYPE;

/// Everybody's address.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// Everybody's port.
pub const PORT: u16 = 5353;

/// A socket at an address of ours; what it asks comes from port 5353 only when it is a member.
pub struct Asker {
    socket: UdpSocket,
}

impl Asker {
    /// One who knows multicast DNS: at port 5353, and it hears what is said to all. The host has a route to the group.
    pub fn member(own: Ipv4Addr) -> Result<Self> {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        let any = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT));
        bind(fd.as_raw_fd(), &any).context("cannot have port 5353")?;
        let socket = UdpSocket::from(fd);
        socket
            .join_multicast_v4(&GROUP, &own)
            .with_context(|| format!("cannot join the group at {own}"))?;
        socket.set_multicast_ttl_v4(255)?;
        socket.set_multicast_loop_v4(false)?;
        Ok(Self { socket })
    }

    /// One who has not heard of it: at any port, and answered alone.
    pub fn stranger(own: Ipv4Addr) -> Result<Self> {
        let socket = UdpSocket::bind((own, 0)).with_context(|| format!("cannot be at {own}"))?;
        Ok(Self { socket })
    }

    /// Says this to all.
    pub fn send(&self, datagram: &[u8]) -> Result<()> {
        self.socket
            .send_to(datagram, (GROUP, PORT))
            .context("cannot send to the group")?;
        Ok(())
    }

    /// The next datagram, whoever sent it; none if nothing comes so long.
    pub fn receive<'a>(&self, buffer: &'a mut [u8], wait: Duration) -> Result<Option<&'a [u8]>> {
        let received = self.receive_from(buffer, wait)?;
        Ok(received.map(|(datagram, _)| datagram))
    }

    /// The next datagram, and who sent it.
    pub fn receive_from<'a>(
        &self,
        buffer: &'a mut [u8],
        wait: Duration,
    ) -> Result<Option<(&'a [u8], SocketAddr)>> {
        let end = Instant::now() + wait;
        loop {
            // Zero would be for ever.
            let left = end.saturating_duration_since(Instant::now());
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            return match self.socket.recv_from(buffer) {
                Ok((len, from)) => Ok(Some((&buffer[..len], from))),
                // Who stops and goes on is interrupted.
                Err(why) if why.kind() == ErrorKind::Interrupted => continue,
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Ok(None)
                }
                Err(why) => Err(why).context("cannot receive"),
            };
        }
    }

    /// The first message that is wanted, and after how long it came; what is no message fails.
    pub fn wait_for(
        &self,
        patience: Duration,
        mut is_wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Option<(Message, Duration)>> {
        let start = Instant::now();
        let mut buffer = [0; 9000];
        while let Some(left) = patience.checked_sub(start.elapsed()) {
            let Some(bytes) = self.receive(&mut buffer, left)? else {
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
