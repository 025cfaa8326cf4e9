//! Network stacks as the loop sees them: sockets, whatever carries their bytes.
//!
//! Invariant: only [`Datagrams::wait`] sleeps. Everything else does what it can at once, or says [`NetError::WouldBlock`].

#![forbid(unsafe_code)]

use crate::time::Instant;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

pub mod kernel;
#[cfg(feature = "smol")]
pub mod link;
#[cfg(test)]
pub mod sim;
#[cfg(feature = "smol")]
pub mod smol;

/// An open socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket(usize);

impl Socket {
    /// That of [`Connections`] which are one alone.
    pub const ONLY: Self = Self(0);
}

/// Whose socket can go on: the task's place in its loop, and the task's own number of the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token(u32);

impl Token {
    /// Numbers that a task can give: 24 bits.
    pub const LOCAL_COUNT: u32 = 1 << 24;

    /// The token of a task's socket. `local` is less than [`Token::LOCAL_COUNT`].
    pub const fn new(task: u8, local: u32) -> Self {
        Self((task as u32) << 24 | local)
    }

    /// The task's place in its loop.
    pub const fn task(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// The task's own number of the socket.
    pub const fn local(self) -> u32 {
        self.0 & (Self::LOCAL_COUNT - 1)
    }
}

/// Why a network did not do it. It tells of one call: the socket can be used again, except after [`NetError::Gone`] on a
/// connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)] // A count or an error is returned in two registers.
pub enum NetError {
    /// Not now; [`Datagrams::wait`] tells when.
    WouldBlock,
    /// The peer is gone, or the connection is broken.
    Gone,
    /// There is no descriptor, socket or memory left.
    Full,
    /// The port is in use.
    InUse,
    /// Not allowed to this user.
    Denied,
    /// This host has no such address.
    NoSuchAddress,
    /// There is no route to the destination, or no address to send from yet.
    Unreachable,
    /// The datagram is longer than this network sends.
    TooLong,
    /// This network cannot do it; there is another way.
    Unsupported,
}

/// What a network returns.
pub type NetResult<T> = Result<T, NetError>;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Nothing.
    None,
    /// Something to receive or accept.
    Input,
    /// Space to send.
    Output,
}

/// What the process, or the machine, was asked to do since the last turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(align(4))] // Copied as one word.
pub struct Signals {
    /// Stop cleanly (SIGTERM, SIGINT, Ctrl-Alt-Del).
    pub stop: bool,
    /// Read configuration files again (SIGHUP).
    pub reload: bool,
    /// A child process may have ended (SIGCHLD).
    pub child: bool,
}

/// What [`Datagrams::wait`] found.
#[derive(Debug, Default)]
pub struct Ready {
    /// Sockets that can go on. Those that did not fit are still ready in the next turn.
    pub tokens: heapless::Vec<Token, 64>,
    /// What was asked.
    pub signals: Signals,
}

/// A datagram that was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Bytes in the buffer. A longer datagram is cut.
    pub len: usize,
    /// Its source.
    pub from: SocketAddr,
    /// Its destination, which tells multicast from unicast. `None` where the host does not tell: then it is the address that
    /// the socket is bound to, or, at a socket bound to a group on a host without IP_MULTICAST_ALL, perhaps another group.
    pub to: Option<IpAddr>,
}

/// The network's own number of an open file or pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId(pub i32);

/// Bytes of a file that a network may send without copying them through the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileRange {
    /// The file.
    pub file: FileId,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes to send.
    pub len: u32,
}

/// Datagrams, and the wait for everything. Object-safe, as the traits that build on it.
pub trait Datagrams {
    /// Opens a socket at `at`, watched for input; port 0 takes a free one.
    ///
    /// # Errors
    /// `InUse`, `Denied`, `NoSuchAddress`, `Full`; `Unsupported` where this address family is missing.
    fn bind(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket>;
    /// The address and port a socket is bound to.
    ///
    /// # Errors
    /// `Gone`: it is not open.
    fn local(&self, socket: Socket) -> NetResult<SocketAddr>;
    /// Receives one datagram.
    ///
    /// # Errors
    /// `WouldBlock`; any other is that of one earlier datagram.
    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<Received>;
    /// Sends one datagram. A stack whose socket is bound to no address sends it from `from`, or from where the route leads;
    /// the host's sockets send from where they are bound.
    ///
    /// # Errors
    /// `WouldBlock`, `Unreachable`, `TooLong`: nothing was sent.
    fn send_to(
        &mut self,
        socket: Socket,
        from: Option<IpAddr>,
        to: SocketAddr,
        bytes: &[u8],
    ) -> NetResult<()>;
    /// Closes a socket.
    fn close(&mut self, socket: Socket);
    /// Sleeps until a watched socket can go on, `until` ([`Instant::NEVER`]: no limit), or a signal. Returns the time.
    fn wait(&mut self, now: Instant, until: Instant, ready: &mut Ready) -> Instant;
    /// The address that was given by hand, if another host has it too and that was not asked for yet; one of version 4 is mapped
    /// into version 6.
    fn take_conflict(&mut self) -> Option<Ipv6Addr> {
        None
    }
}

/// The bytes of connections. Where they block, they never say [`NetError::WouldBlock`].
pub trait Connections {
    /// Receives bytes; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`.
    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize>;
    /// Sends bytes, perhaps not all; `more` follow soon (MSG_MORE).
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`.
    fn send(&mut self, socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize>;
    /// Sends the first `head` bytes of `tx` and then what `fill` makes: it is called once with the space for it and returns the
    /// bytes it wrote. A stack with rings of its own lends space in the ring, others what is left of `tx`. Returns the bytes
    /// sent, the head's first; those of `fill` that were not sent are lost.
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
    /// Sends a range of a file, perhaps not all (sendfile); 0: the file is at its end.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`; `Unsupported`: read it and send the bytes.
    fn send_file(&mut self, _socket: Socket, _range: FileRange) -> NetResult<usize> {
        Err(NetError::Unsupported)
    }
    /// Receives at most `len` bytes into an empty pipe (splice): how many, 0 is the end, and the pipe.
    ///
    /// # Errors
    /// `WouldBlock`, `Gone`; `Unsupported`: receive the bytes and write them.
    fn recv_pipe(&mut self, _socket: Socket, _len: u32) -> NetResult<(usize, FileId)> {
        Err(NetError::Unsupported)
    }
}

/// Connections, from where they are accepted to where they end.
pub trait Streams: Datagrams + Connections {
    /// Listens for connections at `at`, watched for input; port 0 takes a free one.
    ///
    /// # Errors
    /// As those of [`Datagrams::bind`].
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket>;
    /// Takes the next connection of a listener, and its peer's address. It is not watched yet.
    ///
    /// # Errors
    /// `WouldBlock`; `Full`: it waits to be accepted; `Gone`: the peer hung up before it was accepted.
    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)>;
    /// Watches a socket for something else than before.
    ///
    /// # Errors
    /// `Gone`: it is not open.
    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()>;
    /// Watches a file that something is read from by others, for input, until the process ends.
    ///
    /// # Errors
    /// `Unsupported`: it watches sockets of its own alone.
    fn watch_file(&mut self, _file: FileId, _token: Token) -> NetResult<()> {
        Err(NetError::Unsupported)
    }
}

pub use crate::sys::interface::{Interface, Interfaces};

/// Interfaces and the groups that are joined there, as multicast DNS needs them.
pub trait Multicast: Datagrams {
    /// Lists the interfaces that have an address.
    fn interfaces(&self, out: &mut Interfaces);
    /// Opens what is ready when that list may have changed, until receiving from it says [`NetError::WouldBlock`].
    ///
    /// # Errors
    /// `Unsupported`, `Denied`: look at the list now and then.
    fn changes(&mut self, token: Token) -> NetResult<Socket>;
    /// Joins `group` on the interface `index`, of which `own` is an address of the group's family. Watched for input, bound to
    /// the group, sends by that interface.
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
    /// Opens a socket at `own`, an address and port of the interface `index`, unless there is one. Watched for input.
    ///
    /// # Errors
    /// `InUse`, `NoSuchAddress`.
    fn claim(&mut self, index: u32, own: SocketAddr, token: Token) -> NetResult<Socket>;
}

/// Whether a role of this file has connections.
pub const HAS_STREAMS: bool = cfg!(feature = "streams");

/// What the roles of this file need of a network.
#[cfg(all(feature = "streams", feature = "multicast"))]
pub trait Net: Streams + Multicast {}
/// What the roles of this file need of a network: no interfaces.
#[cfg(not(feature = "multicast"))]
pub trait Net: Streams {}
/// What the roles of this file need of a network: no connections.
#[cfg(all(feature = "multicast", not(feature = "streams")))]
pub trait Net: Multicast {}
