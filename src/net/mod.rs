//! The network as the loop sees it: traits for sockets, implemented by the kernel and by our own stack.
//!
//! Invariant: only [`Datagrams::wait`] sleeps. All other calls return at once, with [`NetError::WouldBlock`] if they cannot
//! proceed.

#![forbid(unsafe_code)]

pub use crate::config::HAS_STREAMS;
use crate::time::Instant;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

pub mod kernel;
pub mod link;
#[cfg(test)]
pub mod sim;
#[cfg(feature = "smol")]
pub mod smol;

/// An open socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket(usize);

impl Socket {
    /// The only socket of a [`Connections`] that is a single connection.
    pub const ONLY: Self = Self(0);
    /// A socket that is closed: every call on it fails.
    pub const CLOSED: Self = Self(usize::MAX);
}

/// Identifies a ready socket: the task's index in its loop, and the task's own number of the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(u32);

impl Token {
    /// Numbers available to a task: 24 bits.
    pub const LOCAL_COUNT: u32 = 1 << 24;

    /// The token of a task's socket. `local` is less than [`Token::LOCAL_COUNT`].
    pub const fn new(task: u8, local: u32) -> Self {
        Self((task as u32) << 24 | local)
    }

    /// The task's index in its loop.
    pub const fn task(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// The task's own number of the socket.
    pub const fn local(self) -> u32 {
        self.0 & (Self::LOCAL_COUNT - 1)
    }
}

/// Error of a network call. It concerns that call only: the socket stays usable, except after [`NetError::Gone`] on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)] // A count or an error is returned in two registers.
pub enum NetError {
    /// The call would block; [`Datagrams::wait`] returns when it can be repeated.
    WouldBlock,
    /// The peer is gone, or the connection is broken.
    Gone,
    /// No descriptor, socket or memory is left.
    Full,
    /// The port is in use.
    InUse,
    /// Permission denied.
    Denied,
    /// This host has no such address.
    NoSuchAddress,
    /// No route to the destination, or no source address yet.
    Unreachable,
    /// The datagram is too long for this network.
    TooLong,
    /// Not supported by this network; the caller falls back to another call.
    Unsupported,
}

/// Result of a network call.
pub type NetResult<T> = Result<T, NetError>;

/// Events that a socket is watched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// No events.
    None,
    /// Bytes to receive or a connection to accept.
    Input,
    /// Space to send.
    Output,
    /// Space for [`crate::config::REPLY_BYTES`] (own stack), or any space to send.
    Reply,
}

/// Signals received since the last turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Signals {
    /// Stop cleanly (SIGTERM, SIGINT, Ctrl-Alt-Del).
    pub stop: bool,
    /// Read configuration files again (SIGHUP).
    pub reload: bool,
    /// A child process may have ended (SIGCHLD).
    pub child: bool,
    /// Report the figures (SIGUSR1).
    pub figures: bool,
    /// A disk of a machine without an operating system has read something.
    pub disk: bool,
}

impl Signals {
    /// SIGHUP only: for roles that read files again, or ignore SIGHUP.
    pub const RELOAD: Self = Self {
        stop: false,
        reload: true,
        child: false,
        figures: false,
        disk: false,
    };
}

/// Result of [`Datagrams::wait`].
#[derive(Debug, Default)]
pub struct Ready {
    /// Tokens of ready sockets. Those that did not fit are reported by the next call.
    pub tokens: heapless::Vec<Token, 64>,
    /// Signals received.
    pub signals: Signals,
}

/// The own end of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Own {
    /// Received: the destination, which distinguishes multicast from unicast; for a broadcast, the address of the interface that
    /// received it. `None` if the kernel does not report it: then it is the address that the socket is bound to, or perhaps another
    /// group on a kernel without IP_MULTICAST_ALL. Sent: the source, `None` or a group: as the route selects.
    pub address: Option<IpAddr>,
    /// Index of the interface; 0: unknown, or as the route selects.
    pub interface: u32,
}

impl Own {
    /// This address, and an unknown interface.
    pub const fn of(address: Option<IpAddr>) -> Self {
        Self {
            address,
            interface: 0,
        }
    }
}

/// A datagram that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Length in bytes. A longer datagram is truncated.
    pub len: usize,
    /// Source of the datagram.
    pub from: SocketAddr,
    /// The own end.
    pub to: Own,
    /// True if it was sent to a broadcast address; false if the kernel does not report that.
    pub is_broadcast: bool,
}

/// A datagram socket to open.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The own address and port. Port 0: any free port.
    pub at: SocketAddr,
    /// The interface by which alone it receives and sends (SO_BINDTODEVICE). Not for a stack that has one interface.
    pub interface: Option<&'a Interface>,
    /// True if it sends to broadcast addresses (SO_BROADCAST), and hears hosts that have no address yet (0.0.0.0).
    pub broadcasts: bool,
    /// True if the network fragments datagrams that are longer than a packet of the path. Our own stack does not: `TooLong`.
    pub fragments: bool,
    /// True if the network reports the destination of each datagram, which costs a third of the time in which one is received.
    pub destinations: bool,
}

impl Binding<'_> {
    /// A socket at an own address, without options.
    pub const fn of(at: SocketAddr) -> Self {
        Self {
            at,
            interface: None,
            broadcasts: false,
            fragments: false,
            destinations: true,
        }
    }
}

/// A file or pipe. The value is the descriptor, or a number of the simulated network in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(pub i32);

/// Range of a file, for sendfile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRange {
    /// File from which the bytes are sent.
    pub file: FileId,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes to send.
    pub len: u32,
}

/// Datagram sockets, and waiting for all sockets. Object-safe, as are the traits that extend it.
pub trait Datagrams {
    /// Opens a socket and watches it for input.
    ///
    /// # Errors
    /// `InUse`, `Denied`, `NoSuchAddress`, `Full`; `Unsupported` where this address family is missing.
    fn bind(&mut self, binding: &Binding<'_>, token: Token) -> NetResult<Socket>;
    /// Number of sockets that can be open at once.
    fn socket_count_max(&self) -> usize;
    /// Returns the address and port that a socket is bound to.
    ///
    /// # Errors
    /// `Gone`: the socket is not open.
    fn local(&self, socket: Socket) -> NetResult<SocketAddr>;
    /// Receives one datagram.
    ///
    /// # Errors
    /// `WouldBlock`. Other errors concern an earlier datagram.
    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<Received>;
    /// Sends one datagram. If the socket is bound to no address, sends from `from`, as far as the kernel allows.
    /// Kernel sockets for multicast send from the address they are bound to.
    ///
    /// # Errors
    /// `WouldBlock`, `Unreachable`, `TooLong`: nothing was sent.
    fn send_to(&mut self, socket: Socket, from: Own, to: SocketAddr, bytes: &[u8])
    -> NetResult<()>;
    /// Closes a socket.
    fn close(&mut self, socket: Socket);
    /// Watches a pipe or similar file for input, until the returned socket is closed. Other code reads it.
    ///
    /// # Errors
    /// `Unsupported`: this network can watch only its own sockets.
    fn watch_file(&mut self, _file: FileId, _token: Token) -> NetResult<Socket> {
        Err(NetError::Unsupported)
    }
    /// Sleeps until a watched socket is ready, until `until` ([`Instant::NEVER`]: no limit), or until a signal. Returns the time.
    fn wait(&mut self, now: Instant, until: Instant, ready: &mut Ready) -> Instant;
    /// Returns the static address if another host uses it too; each conflict is returned once. An IPv4 address is mapped to IPv6.
    fn take_conflict(&mut self) -> Option<Ipv6Addr> {
        None
    }
}

/// Sending and receiving on connections. Implementations that block never return [`NetError::WouldBlock`].
pub trait Connections {
    /// Receives bytes; returns their number, 0 at the end.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`.
    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize>;
    /// As [`Connections::recv`], but the bytes also stay in the socket and are received again by the next call.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`.
    fn peek(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize>;
    /// Sends bytes; returns how many were accepted. `more`: further bytes follow soon (MSG_MORE).
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`.
    fn send(&mut self, socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize>;
    /// Ends the sending direction, after the bytes that were sent. The peer may still send. Does nothing if the host refuses.
    fn end_sending(&mut self, socket: Socket);
    /// Returns true if the peer has acknowledged all bytes that were sent; false if the network cannot know.
    fn has_delivered(&mut self, socket: Socket) -> bool;
    /// Returns true if [`crate::config::REPLY_BYTES`] can be sent at once, or if the network cannot know.
    fn has_reply_space(&mut self, _socket: Socket) -> bool {
        true
    }
    /// Sends the first `head` bytes of `tx`, then the bytes that `fill` writes. `fill` is called once with a buffer, a part of the
    /// send ring if the stack has one, else the rest of `tx`, and returns the number of bytes written. Returns the number of bytes
    /// sent, including the head. Bytes of `fill` that were not sent are lost: the caller must write them again.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`.
    fn send_with(
        &mut self,
        socket: Socket,
        tx: &mut [u8],
        head: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> usize,
    ) -> NetResult<usize> {
        let (sent, space) = tx.split_at_mut(head.min(tx.len()));
        let len = sent.len() + fill(space);
        self.send(socket, tx.get(..len).unwrap_or_default(), false)
    }
    /// Sends a range of a file (sendfile); returns how many bytes were sent, 0 at the end of the file.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`. `Unsupported`: the caller must read the bytes and send them.
    fn send_file(&mut self, _socket: Socket, _range: FileRange) -> NetResult<usize> {
        Err(NetError::Unsupported)
    }
    /// Receives at most `len` bytes into an empty pipe (splice); returns their number (0 at the end) and the pipe.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`. `Unsupported`: the caller must receive the bytes and write them.
    fn recv_pipe(&mut self, _socket: Socket, _len: u32) -> NetResult<(usize, FileId)> {
        Err(NetError::Unsupported)
    }
}

/// Listeners and their connections.
pub trait Streams: Datagrams + Connections {
    /// Listens at `at` and watches the listener for input. Port 0: any free port.
    ///
    /// # Errors
    /// As those of [`Datagrams::bind`].
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket>;
    /// Accepts a connection, which is not watched yet; returns it and its peer's address.
    ///
    /// # Errors
    /// `WouldBlock`. `Full`: no socket is free, the connection stays in the backlog. `Gone`: the peer closed it before.
    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)>;
    /// Changes the token and the events that a socket is watched for.
    ///
    /// # Errors
    /// `Gone`: the socket is not open.
    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()>;
    /// Returns the addresses by which other hosts reach this one.
    #[cfg(any(feature = "nfs", feature = "smol"))]
    fn own_addresses(&mut self) -> OwnAddresses {
        [Ipv6Addr::UNSPECIFIED; 2]
    }
}

/// Addresses by which other hosts reach this one: the IPv4-mapped one, then IPv6. An unspecified one: there is none yet, or no route.
pub type OwnAddresses = [Ipv6Addr; 2];

/// Adds an address unless there is one of its family. A link-local IPv6 address needs a scope, which differs on other hosts.
fn add_own([ipv4, ipv6]: &mut OwnAddresses, address: IpAddr) {
    let (place, address) = match address {
        IpAddr::V4(address) => (ipv4, address.to_ipv6_mapped()),
        IpAddr::V6(address) if address.is_unicast_link_local() => return,
        IpAddr::V6(address) => (ipv6, address),
    };
    if place.is_unspecified() {
        *place = address;
    }
}

pub use crate::sys::interface::{Interface, Interfaces};

/// Interfaces and multicast groups, for multicast DNS.
pub trait Multicast: Datagrams {
    /// Lists the interfaces that have an address.
    fn interfaces(&self, out: &mut Interfaces);
    /// Returns false if there is no interface of this name, with or without an address.
    fn has_interface(&self, _name: &[u8]) -> bool {
        true
    }
    /// Opens a socket that becomes ready when the list of interfaces may have changed. It stays ready until receiving returns
    /// [`NetError::WouldBlock`].
    ///
    /// # Errors
    /// `Unsupported`, `Denied`: the caller must poll the list.
    fn changes(&mut self, token: Token) -> NetResult<Socket>;
    /// Joins `group` on the interface `index`; `own` is an address of that interface in the group's family. The socket is bound to
    /// the group, watched for input, and sends by that interface.
    ///
    /// # Errors
    /// `InUse`, `Unsupported`, `NoSuchAddress`.
    fn join(
        &mut self,
        index: u32,
        own: IpAddr,
        group: SocketAddr,
        token: Token,
    ) -> NetResult<Socket>;
    /// Opens a socket bound to `own`, an address of the interface `index`, unless another socket is bound there. It is watched for
    /// input.
    ///
    /// # Errors
    /// `InUse`, `NoSuchAddress`.
    fn claim(&mut self, index: u32, own: SocketAddr, token: Token) -> NetResult<Socket>;
}

/// The network traits that the roles in this build need.
#[cfg(all(feature = "streams", feature = "multicast"))]
pub trait Net: Streams + Multicast {}
/// The network traits that the roles in this build need, without multicast.
#[cfg(not(feature = "multicast"))]
pub trait Net: Streams {}
/// The network traits that the roles in this build need, without connections.
#[cfg(all(feature = "multicast", not(feature = "streams")))]
pub trait Net: Multicast {}
