//! A blocking client of a stream with a deadline: TCP, or a Unix socket of this host.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::address::ServerAddress;
use crate::sys::linux::fd::AsRawFd as _;
use crate::sys::linux::fs::File;
use crate::sys::linux::fsuid;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::sockets;
use crate::sys::linux::sockets::Address;
use crate::sys::{self, Errno};
use crate::time::Instant;

/// The reason why a call failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// The server refused or closed the connection.
    Closed,
    /// This host, or a router, has no route to the server (ENETUNREACH, EHOSTUNREACH).
    Unreachable,
    /// The deadline passed.
    TimedOut,
}

/// Returns the reason that an errno of a socket call has.
const fn reason(errno: Errno) -> CallError {
    match errno {
        Errno::NETUNREACH | Errno::HOSTUNREACH => CallError::Unreachable,
        _ => CallError::Closed,
    }
}

/// A socket for a server of this host. The sandbox allows to connect it, but not to open it.
#[derive(Debug)]
pub struct Unconnected {
    socket: File,
    to: Address,
}

impl Unconnected {
    /// Opens a socket for a server. `None`: the host has no such sockets.
    pub fn open(at: &ServerAddress) -> Option<Self> {
        let to = Address::of_server(at);
        let socket = sockets::open_for(&to).ok()?;
        Some(Self { socket, to })
    }

    /// Connects. No call waits beyond `until`.
    ///
    /// # Errors
    /// `Closed` or `Unreachable`.
    pub fn connect(mut self, until: Instant) -> Result<Client, CallError> {
        // The NFS server may have set the file-system UID of a caller.
        fsuid::restore();
        sockets::connect_to(self.socket.as_raw_fd(), &mut self.to).map_err(reason)?;
        Ok(Client {
            socket: self.socket,
            until,
        })
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: File,
    until: Instant,
}

impl Client {
    /// Connects to `at`, from a low port if this process may bind one. No call waits beyond `until`. A connect error may be reported
    /// only by the first send or receive.
    ///
    /// # Errors
    /// `Closed` or `Unreachable`.
    pub fn connect(at: &ServerAddress, until: Instant) -> Result<Self, CallError> {
        let mut at = Address::of_server(at);
        let socket = sockets::open_for(&at).map_err(reason)?;
        sockets::connect_to(socket.as_raw_fd(), &mut at).map_err(reason)?;
        Ok(Self { socket, until })
    }

    /// Sets the time beyond which no call waits.
    pub const fn set_deadline(&mut self, until: Instant) {
        self.until = until;
    }

    /// Sends `bytes`, which must fit the socket's send buffer.
    ///
    /// # Errors
    /// `Closed`, also if the buffer took only a part; `TimedOut`.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), CallError> {
        self.wait(PollFlags::OUT)?;
        match sockets::send(self.socket.as_raw_fd(), bytes, false) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(CallError::Closed),
            Err(errno) => Err(reason(errno)),
        }
    }

    /// Receives until `out` is full.
    ///
    /// # Errors
    /// `Closed` before `out` was full; `TimedOut`.
    pub fn recv_exact(&mut self, mut out: &mut [u8]) -> Result<(), CallError> {
        while !out.is_empty() {
            self.wait(PollFlags::IN)?;
            match sockets::recv(self.socket.as_raw_fd(), out) {
                Ok(count @ 1..) => out = out.tail_mut(count),
                Ok(_) => return Err(CallError::Closed),
                Err(errno) => return Err(reason(errno)),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready for `how`, or the deadline passes.
    fn wait(&self, how: PollFlags) -> Result<(), CallError> {
        let left = self.until.since(sys::now());
        let _ = sys::linux::sleep(&mut [PollFd::new(&self.socket, how)], Some(left));
        if sys::now() < self.until {
            Ok(())
        } else {
            Err(CallError::TimedOut)
        }
    }
}
