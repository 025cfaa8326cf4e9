//! A TAP interface (Linux' Documentation/networking/tuntap.rst): the host has its other end, and offloads checksums and segments.

use super::{Frame, HEAD_BYTES, Limits, Link, sleep, vnet};
use crate::net::{NetResult, Signals};
use crate::sys::linux::fd::AsRawFd as _;
use crate::sys::linux::fs::{self, File};
use crate::sys::linux::link;
use crate::time::Instant;
use core::ffi::CStr;
use core::num::NonZeroU16;

/// Frames of a TAP interface.
#[derive(Debug)]
pub struct Tap {
    file: File,
    signals: Option<File>,
    limits: Limits,
}

impl Tap {
    /// Attaches to the interface `name`, which is made if there is none.
    ///
    /// # Errors
    /// `Denied`: it takes CAP_NET_ADMIN, or an interface that was made for this user. `InUse`: another process is attached.
    pub fn open(name: &CStr, signals: Option<File>) -> NetResult<Self> {
        let (file, mtu) = link::open_tap(name)?;
        Ok(Self {
            file,
            signals,
            limits: Limits {
                mtu,
                has_offloads: true,
            },
        })
    }
}

impl Link for Tap {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn recv(&mut self, buffer: &mut [u8]) -> NetResult<Frame> {
        let len = fs::read(self.file.as_raw_fd(), buffer)?;
        Ok(Frame {
            bytes: HEAD_BYTES.min(len)..len,
            is_verified: vnet::is_verified(buffer),
        })
    }

    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()> {
        vnet::fill(buffer, segment);
        Ok(link::write(&self.file, buffer)?)
    }

    fn wait(
        &mut self,
        now: Instant,
        until: Instant,
        sends: bool,
        signals: &mut Signals,
    ) -> Instant {
        let times = (now, until);
        sleep(
            Some(&self.file),
            self.signals.as_ref(),
            times,
            sends,
            signals,
        )
    }
}
