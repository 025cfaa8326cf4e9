//! Worlds: sockets as the loop sees them, whatever carries them.
//!
//! Invariant: only [`Post::wait`] sleeps. Everything else does at once what it can, or says [`NetError::WouldBlock`].

#![forbid(unsafe_code)]

use crate::time::Instant;
use crate::vfs::Descriptor;
use core::net::{IpAddr, SocketAddr};

pub use crate::sys::linux::interfaces::{Interface, Interfaces};

pub mod kernel;
#[cfg(test)]
pub mod sim;

/// An open socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Socket(u32);

/// What the loop calls a socket that it watches.
pub type Token = u32;

/// Why the net did not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NetError {
    /// Not now; [`Post::wait`] tells when.
    WouldBlock,
    /// The peer is gone, or the connection is broken.
    Gone,
    /// No descriptor or memory is left.
    Full,
    /// Somebody else has the port.
    InUse,
    /// Not allowed to this user.
    Denied,
    /// No such address on this host.
    NoSuchAddress,
    /// This world cannot do it; there is another way.
    Unsupported,
}

/// What a net returns.
pub type NetResult<T> = Result<T, NetError>;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Nothing.
    None,
    /// Something to receive or accept.
    Input,
    /// Room to send.
    Output,
}

/// What [`Post::wait`] found.
#[derive(Debug, Default)]
pub struct Ready {
    /// Sockets that can go on.
    pub tokens: heapless::Vec<Token, 64>,
    /// The process was asked to stop.
    pub stop: bool,
}

/// A world of datagrams. Object-safe, as those that build on it: who speaks by datagrams alone has nothing else in the file.
pub trait Post {
    /// Receives a datagram and who it is from. An error is that of one datagram, here and in sending: the socket goes on.
    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<(usize, SocketAddr)>;
    /// Sends a datagram.
    fn send_to(&mut self, socket: Socket, to: SocketAddr, bytes: &[u8]) -> NetResult<()>;
    /// Closes a socket.
    fn close(&mut self, socket: Socket);
    /// Sleeps until a watched socket can go on, `until` has come, or the process is to stop. Returns the time.
    fn wait(&mut self, now: Instant, until: Option<Instant>, ready: &mut Ready) -> Instant;
}

/// A world of connections, too.
pub trait Net: Post {
    /// Listens for connections at `at`; port 0 takes a free one. Watched for input.
    fn listen(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket>;
    /// Opens a socket for datagrams at `at`. Watched for input.
    fn bind(&mut self, at: SocketAddr, token: Token) -> NetResult<Socket>;
    /// Where a socket is.
    fn local(&self, socket: Socket) -> NetResult<SocketAddr>;
    /// Takes the next connection of a listener, and who it is from. Not yet watched.
    fn accept(&mut self, listener: Socket) -> NetResult<(Socket, SocketAddr)>;
    /// Receives bytes; 0 is the end.
    fn recv(&mut self, socket: Socket, buffer: &mut [u8]) -> NetResult<usize>;
    /// Sends bytes, perhaps not all; `more` follow soon.
    fn send(&mut self, socket: Socket, bytes: &[u8], more: bool) -> NetResult<usize>;
    /// Sends a range of a file, perhaps not all; 0: the file is at its end.
    fn send_file(
        &mut self,
        socket: Socket,
        file: Descriptor,
        offset: u64,
        len: u32,
    ) -> NetResult<usize>;
    /// Receives bytes into an empty pipe: how many, 0 is the end, and the pipe.
    fn recv_pipe(&mut self, socket: Socket, len: u32) -> NetResult<(usize, Descriptor)>;
    /// Watches a socket for something else than before.
    fn watch(&mut self, socket: Socket, token: Token, interest: Interest) -> NetResult<()>;
}

/// A socket at a group's address.
#[derive(Clone, Copy, Debug)]
pub struct Joined {
    /// For datagrams.
    pub socket: Socket,
    /// Whether it hears nothing but what comes in by its interface. Else who sent it must be looked at.
    pub alone: bool,
}

/// A world whose interfaces matter: that of multicast DNS. Object-safe.
pub trait Links: Post {
    /// Lists the interfaces that have an address.
    fn interfaces(&self, out: &mut Interfaces);
    /// Opens what is ready when that list may have changed, until receiving from it says [`NetError::WouldBlock`]; there is
    /// nothing else to be had from it. Without it, who wants to know looks at the list now and then.
    fn changes(&mut self, token: Token) -> NetResult<Socket>;
    /// Opens a socket for the multicast DNS of the interface `index`, in the family of `own`, an address of it. Watched for
    /// input.
    fn join(&mut self, index: u32, own: IpAddr, token: Token) -> NetResult<Joined>;
    /// Opens a socket for the multicast DNS that is meant for one address, `own` of the interface `index`, unless somebody has
    /// one there: [`NetError::InUse`]. Watched for input.
    fn claim(&mut self, index: u32, own: IpAddr, token: Token) -> NetResult<Socket>;
}
