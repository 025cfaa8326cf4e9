//! A blocking TCP client with a deadline.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys::linux::fd::AsRawFd as _;
use crate::sys::linux::fs::File;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::sockets;
use crate::sys::{self, Errno};
use crate::time::Instant;
use core::net::SocketAddrV6;

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

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: File,
    until: Instant,
}

impl Client {
    /// Connects to `at`, an IPv4 address as IPv4-mapped. No call waits beyond `until`. A connect error may be reported only by the
    /// first send or receive.
    ///
    /// # Errors
    /// `Closed` or `Unreachable`.
    pub fn connect(at: &SocketAddrV6, until: Instant) -> Result<Self, CallError> {
        let socket = sockets::connect(*at.ip(), at.port()).map_err(reason)?;
        Ok(Self { socket, until })
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
