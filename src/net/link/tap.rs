//! A TAP interface (Linux' Documentation/networking/tuntap.rst) with offloads. The kernel's stack is at its other end.

use super::{Descriptor, FRAME_BYTES_MAX, Frame, Frames, HEAD_BYTES, Limits, Link, vnet};
use crate::net::{NetError, NetResult, Signals};
use crate::sys::Errno;
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::link;
use crate::time::Instant;
use core::ffi::CStr;
use core::num::NonZeroU16;

/// A link over a TAP interface.
#[derive(Debug)]
pub struct Tap {
    file: Descriptor,
    mtu: usize,
    /// True if a write failed with EIO, because the interface was down.
    was_down: bool,
}

impl Tap {
    /// Attaches to the interface `name`, creating it if needed.
    ///
    /// # Errors
    /// `PERM`: CAP_NET_ADMIN is needed, or an existing interface that this user owns. `BUSY`: another process is attached.
    /// `NXIO`: the kernel has no TUN/TAP driver. `INVAL`: not a TAP interface.
    pub fn open(name: &'static CStr, signals: Option<File>) -> Result<Self, Errno> {
        let file = link::open_tap(name)?;
        Ok(Self {
            mtu: link::mtu(name)?,
            file: Descriptor::new(file, name, link::open_tap, signals),
            was_down: false,
        })
    }
}

impl Link for Tap {
    fn limits(&self) -> Limits {
        Limits {
            mtu: self.mtu,
            has_offloads: true,
            frame_bytes: FRAME_BYTES_MAX,
        }
    }

    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()> {
        let len = self.file.recv(&mut |file| fs::read(file, buffer))?;
        // The descriptor stays open while the interface is down. This frame shows that it is up again; the frame itself is dropped.
        if core::mem::take(&mut self.was_down) {
            return Err(NetError::Gone);
        }
        let _ = frames.push(Frame {
            bytes: HEAD_BYTES.min(len)..len,
            is_verified: vnet::is_verified(buffer),
        });
        Ok(())
    }

    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()> {
        vnet::fill(buffer, segment);
        let written = link::write(self.file.number()?, buffer);
        self.was_down |= written == Err(Errno::IO);
        Ok(written?)
    }

    fn wait(
        &mut self,
        now: Instant,
        until: Instant,
        sends: bool,
        signals: &mut Signals,
    ) -> Instant {
        self.file.wait(now, until, sends, signals)
    }
}
