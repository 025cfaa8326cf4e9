//! Links: they carry Ethernet frames between our own network stack and other hosts.

use super::kernel::note_signal;
use super::{NetError, NetResult, Signals};
use crate::sys::linux::fd::{AsFd as _, AsRawFd as _, RawFd};
use crate::sys::linux::fs::File;
use crate::sys::linux::link;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::sockets;
use crate::sys::{self, Errno};
use crate::time::{Duration, Instant};
use core::ffi::CStr;
use core::num::NonZeroU16;
use core::ops::Range;

pub mod packet;
pub mod stream;
pub mod tap;
#[cfg(bare)]
pub mod virtio;
mod vnet;

/// Space before a frame (bytes) for the link's own header.
pub const HEAD_BYTES: usize = vnet::BYTES;
/// Length of an Ethernet header (bytes): destination, source, type.
pub const ETHERNET_BYTES: usize = 14;
/// Longest frame (bytes), with [`HEAD_BYTES`] before it: a TCP packet of 64 KiB that the link segments when sending, or has
/// reassembled. Rounded up, because the header of virtio 1 has two bytes more.
pub const FRAME_BYTES_MAX: usize = (HEAD_BYTES + ETHERNET_BYTES + (64 << 10)).next_multiple_of(16);

/// Properties of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// MTU: longest packet (bytes) without the Ethernet header.
    pub mtu: usize,
    /// True if the link computes TCP and UDP checksums and segments long TCP packets (offloads).
    pub has_offloads: bool,
    /// Longest frame (bytes), with [`HEAD_BYTES`] before it; [`FRAME_BYTES_MAX`] at most.
    pub frame_bytes: usize,
}

/// A frame that was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Range of the frame in the buffer.
    pub bytes: Range<usize>,
    /// True if the link vouches for the checksums. They need not be verified, and may be incomplete.
    pub is_verified: bool,
}

/// Frames per receive call, at most.
pub const BATCH: usize = link::BATCH;

/// Frames that were received together.
pub type Frames = heapless::Vec<Frame, BATCH>;

/// Carries Ethernet frames. Object-safe; only [`Link::wait`] sleeps.
pub trait Link {
    /// Returns the link's properties.
    fn limits(&self) -> Limits;
    /// Receives the frames of one system call into `buffer`, whose size is [`BATCH`] times [`Limits::frame_bytes`], and adds them
    /// to `frames`, which must be empty. All frames may have been dropped, so `frames` may stay empty.
    ///
    /// # Errors
    /// `WouldBlock`, also while the link is down. `Gone`: the link was down and is up again; returned once each time.
    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()>;
    /// Sends the frame in `buffer` after its first [`HEAD_BYTES`] bytes, which are for the link's header. With `segment`, the frame
    /// is a TCP packet to be cut into segments of that many bytes of data.
    ///
    /// # Errors
    /// `WouldBlock`: try again later. After other errors the frame is lost.
    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()>;
    /// Sleeps until a frame may have arrived, until `until` ([`Instant::NEVER`]: no limit), until a signal or, if `sends`, until
    /// the link accepts frames again. Adds signals to `signals`; returns the time.
    fn wait(&mut self, now: Instant, until: Instant, sends: bool, signals: &mut Signals)
    -> Instant;
}

/// Interval between attempts to reopen a link.
const RETRY: Duration = Duration::SECOND;

/// Common part of links on Linux: a descriptor that may have to be reopened, and a signalfd.
#[derive(Debug)]
struct Descriptor {
    /// `None` while the link is down.
    file: Option<File>,
    /// True if [`Link::recv`] must still report that the link is up again.
    is_back: bool,
    retry_at: Instant,
    name: &'static CStr,
    open: fn(&CStr) -> Result<File, Errno>,
    signals: Option<File>,
    /// rtnetlink socket that reports changes of interfaces.
    changes: Option<File>,
    /// True if the interface was up and had a carrier at the last change.
    was_running: bool,
}

impl Descriptor {
    /// Wraps `file`, which `open` reopens after the link was down.
    const fn new(
        file: File,
        name: &'static CStr,
        open: fn(&CStr) -> Result<File, Errno>,
        signals: Option<File>,
    ) -> Self {
        Self {
            file: Some(file),
            is_back: false,
            retry_at: Instant::from_ms(0),
            name,
            open,
            signals,
            changes: None,
            was_running: false,
        }
    }

    /// Returns the descriptor.
    ///
    /// # Errors
    /// `Gone`: the link is down.
    fn number(&self) -> NetResult<RawFd> {
        self.file
            .as_ref()
            .map(File::as_raw_fd)
            .ok_or(NetError::Gone)
    }

    /// Receives by `recv`, a system call on the descriptor. Any error but `WouldBlock` closes the descriptor.
    ///
    /// # Errors
    /// As [`Link::recv`].
    fn recv(&mut self, recv: &mut dyn FnMut(RawFd) -> Result<usize, Errno>) -> NetResult<usize> {
        let number = self.number().map_err(|_| NetError::WouldBlock)?;
        if core::mem::take(&mut self.is_back) {
            return Err(NetError::Gone);
        }
        let received = recv(number).map_err(NetError::from);
        if received.is_err_and(|error| error != NetError::WouldBlock) {
            self.close();
            return Err(NetError::WouldBlock);
        }
        received
    }

    /// Closes the descriptor: the link is down.
    fn close(&mut self) {
        self.file = None;
    }

    /// Sleeps as [`Link::wait`] does; tries to reopen the link if it is down.
    fn wait(
        &mut self,
        now: Instant,
        mut until: Instant,
        sends: bool,
        signals: &mut Signals,
    ) -> Instant {
        if self.file.is_none() {
            if now >= self.retry_at {
                self.retry_at = now.after(RETRY);
                self.file = (self.open)(self.name).ok();
                self.is_back = self.file.is_some();
            }
            until = until.min(if self.is_back { now } else { self.retry_at });
        }
        let mut polled = heapless::Vec::<PollFd<'_>, 3>::new();
        if let Some(asked) = &self.signals {
            let _ = polled.push(PollFd::from_borrowed_fd(asked.as_fd(), PollFlags::IN));
        }
        if let Some(file) = &self.file {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, sends);
            let _ = polled.push(PollFd::from_borrowed_fd(file.as_fd(), flags));
        }
        if let Some(changes) = &self.changes {
            let _ = polled.push(PollFd::from_borrowed_fd(changes.as_fd(), PollFlags::IN));
        }
        let timeout = (until < Instant::NEVER).then(|| until.since(now));
        // On EINTR nothing is ready, and the loop waits again.
        let slept = sys::linux::sleep(&mut polled, timeout);
        let is_told = |polled: Option<&PollFd<'_>>| {
            slept.is_ok() && polled.is_some_and(|polled| !polled.revents().is_empty())
        };
        let (is_asked, is_changed) = (is_told(polled.first()), is_told(polled.last()));
        drop(polled);
        if let Some(asked) = self.signals.as_ref().filter(|_| is_asked) {
            note_signal(asked, signals);
        }
        if let Some(changes) = self.changes.as_ref().filter(|_| is_changed) {
            // The messages are not parsed: the state of the interface is queried instead.
            while sockets::recv(changes.as_raw_fd(), &mut [0; 64]).is_ok() {}
            // An interface that was never reported as up may carry frames already, so only a change to down closes it.
            let is_running = link::expect_running(self.name).is_ok();
            if core::mem::replace(&mut self.was_running, is_running) && !is_running {
                self.close();
            }
        }
        sys::now()
    }
}
