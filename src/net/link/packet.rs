//! An interface of the host (packet(7)): all frames that pass it, beside the host's own stack.

use super::{Descriptor, Frame, HEAD_BYTES, Limits, Link, vnet};
use crate::net::{NetError, NetResult, Signals};
use crate::sys::Errno;
use crate::sys::linux::fs::File;
use crate::sys::linux::link;
use crate::sys::linux::sockets::{self, Address};
use crate::time::Instant;
use core::ffi::CStr;
use core::num::NonZeroU16;

/// Frames of an interface.
#[derive(Debug)]
pub struct Packet {
    socket: Descriptor,
    limits: Limits,
}

impl Packet {
    /// Opens the interface `name`.
    ///
    /// # Errors
    /// `PERM`: it takes CAP_NET_RAW. `NODEV`: there is none of this name.
    pub fn open(name: &'static CStr, signals: Option<File>) -> Result<Self, Errno> {
        let (socket, has_offloads) = link::open_packet(name)?;
        let mtu = link::mtu(name)?;
        // One that is down says so at once; one that was taken away is another when it is back.
        let open_again = |name: &CStr| {
            link::expect_up(name)?;
            Ok(link::open_packet(name)?.0)
        };
        Ok(Self {
            socket: Descriptor::new(socket, name, open_again, signals),
            limits: Limits { mtu, has_offloads },
        })
    }
}

impl Link for Packet {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn recv(&mut self, buffer: &mut [u8]) -> NetResult<Frame> {
        let head = if self.limits.has_offloads {
            HEAD_BYTES
        } else {
            0
        };
        loop {
            let mut from = Address::empty();
            let recv = &mut |socket| sockets::recv_from(socket, buffer, &mut from);
            let len = self.socket.recv(recv)?;
            // What was sent from here passes by, too.
            if !link::is_outgoing(&from) {
                return Ok(Frame {
                    bytes: head.min(len)..len,
                    is_verified: head > 0 && vnet::is_verified(buffer),
                });
            }
        }
    }

    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()> {
        let mut start = HEAD_BYTES;
        if self.limits.has_offloads {
            vnet::fill(buffer, segment);
            start = 0;
        }
        let frame = buffer.get(start..).unwrap_or_default();
        match sockets::send(self.socket.number()?, frame, false).map_err(NetError::from) {
            // Its queue is full: poll tells at once that it can be written to, and the frame is lost as on a cable.
            Err(NetError::Full) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn wait(
        &mut self,
        now: Instant,
        until: Instant,
        sends: bool,
        signals: &mut Signals,
    ) -> Instant {
        self.socket.wait(now, until, sends, signals)
    }
}
