//! A connection to a server that is waited for, until an instant.

#![forbid(unsafe_code)]

use crate::mem::Ends as _;
use crate::sys;
use crate::sys::linux::fd::AsRawFd as _;
use crate::sys::linux::fs::File;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::sockets;
use crate::time::Instant;
use core::net::SocketAddrV6;

/// Why nothing more comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The server is not there, or hung up.
    Closed,
    /// The time is over.
    TimedOut,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    socket: File,
    until: Instant,
}

impl Client {
    /// A connection to `at`, whose version 4 is mapped into version 6. Nothing waits longer than `until`. That it could not be
    /// made may be told only when it is used.
    pub fn connect(at: &SocketAddrV6, until: Instant) -> Option<Self> {
        let socket = sockets::connect(*at.ip(), at.port()).ok()?;
        Some(Self { socket, until })
    }

    /// Sends so few bytes that they are taken at once.
    ///
    /// # Errors
    /// `Closed`, also if they are not all taken; `TimedOut`.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.wait(PollFlags::OUT)?;
        match sockets::send(self.socket.as_raw_fd(), bytes, false) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            _ => Err(Ended::Closed),
        }
    }

    /// Receives as many bytes as `out` has.
    ///
    /// # Errors
    /// `Closed` before there were so many; `TimedOut`.
    pub fn recv_exact(&mut self, mut out: &mut [u8]) -> Result<(), Ended> {
        while !out.is_empty() {
            self.wait(PollFlags::IN)?;
            match sockets::recv(self.socket.as_raw_fd(), out) {
                Ok(count @ 1..) => out = out.tail_mut(count),
                _ => return Err(Ended::Closed),
            }
        }
        Ok(())
    }

    /// Waits until the socket is ready.
    fn wait(&self, how: PollFlags) -> Result<(), Ended> {
        let left = self.until.since(sys::now());
        let _ = sys::linux::sleep(&mut [PollFd::new(&self.socket, how)], Some(left));
        if sys::now() < self.until {
            Ok(())
        } else {
            Err(Ended::TimedOut)
        }
    }
}
