//! A packet socket (packet(7)): all frames of an interface, which the kernel's stack receives too.

use super::{BATCH, Descriptor, FRAME_BYTES_MAX, Frame, Frames, HEAD_BYTES, Limits, Link, vnet};
use crate::mem::Ends as _;
use crate::net::{NetError, NetResult, Signals};
use crate::sys::Errno;
use crate::sys::linux::fs::File;
use crate::sys::linux::interfaces;
use crate::sys::linux::link;
use crate::sys::linux::sockets;
use crate::time::Instant;
use core::ffi::CStr;
use core::num::NonZeroU16;

/// A link over a packet socket: the frames of an interface.
#[derive(Debug)]
pub struct Packet {
    socket: Descriptor,
    limits: Limits,
}

impl Packet {
    /// Opens the interface `name`.
    ///
    /// # Errors
    /// `PERM`: CAP_NET_RAW is needed. `NODEV`: no interface has this name.
    pub fn open(name: &'static CStr, signals: Option<File>) -> Result<Self, Errno> {
        let opened = link::open_packet(name)?;
        Self::of(opened, name, |name| again(name, link::open_packet), signals)
    }

    /// Opens the interface `name` for ARP and DHCP only; the kernel's stack uses it for everything else.
    ///
    /// # Errors
    /// As [`Packet::open`].
    pub fn of_addresses(name: &'static CStr, signals: Option<File>) -> Result<Self, Errno> {
        let opened = link::open_addresses(name)?;
        Self::of(
            opened,
            name,
            |name| again(name, link::open_addresses),
            signals,
        )
    }

    fn of(
        (socket, has_offloads): (File, bool),
        name: &'static CStr,
        open_again: fn(&CStr) -> Result<File, Errno>,
        signals: Option<File>,
    ) -> Result<Self, Errno> {
        let mtu = link::mtu(name)?;
        let mut socket = Descriptor::new(socket, name, open_again, signals);
        socket.changes = interfaces::watch().ok();
        socket.was_running = link::expect_running(name).is_ok();
        Ok(Self {
            socket,
            limits: Limits {
                mtu,
                has_offloads,
                frame_bytes: FRAME_BYTES_MAX,
            },
        })
    }
}

/// Reopens the interface once it is up and has a carrier. An interface that was removed and created again needs a new socket.
fn again(name: &CStr, open: fn(&CStr) -> Result<(File, bool), Errno>) -> Result<File, Errno> {
    link::expect_running(name)?;
    Ok(open(name)?.0)
}

impl Link for Packet {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()> {
        let head = if self.limits.has_offloads {
            HEAD_BYTES
        } else {
            0
        };
        let mut lens = [0; BATCH];
        let recv = &mut |socket| link::recv_frames(socket, buffer, FRAME_BYTES_MAX, &mut lens);
        let count = self.socket.recv(recv)?;
        let starts = (0..).step_by(FRAME_BYTES_MAX);
        for (start, len) in starts.zip(lens).take(count) {
            // Length 0: a frame sent by this host.
            if len > 0 {
                let _ = frames.push(Frame {
                    bytes: start + head.min(len)..start + len,
                    is_verified: head > 0 && vnet::is_verified(buffer.tail(start)),
                });
            }
        }
        Ok(())
    }

    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()> {
        let mut start = HEAD_BYTES;
        if self.limits.has_offloads {
            vnet::fill(buffer, segment);
            start = 0;
        }
        let frame = buffer.get(start..).unwrap_or_default();
        match sockets::send(self.socket.number()?, frame, false).map_err(NetError::from) {
            // ENOBUFS: the interface's queue is full. Poll would report the socket as writable at once, so the frame is dropped.
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
