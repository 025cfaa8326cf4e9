//! Links: what carries Ethernet frames between a network stack of our own and the hosts beyond it.

use super::{NetError, NetResult, Signals};
use crate::sys::linux::fd::{AsFd as _, AsRawFd as _, RawFd};
use crate::sys::linux::fs::File;
use crate::sys::linux::link;
use crate::sys::linux::poll::{PollFd, PollFlags};
use crate::sys::linux::process::{self, Told};
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

/// Bytes before a frame that is sent, for what a link writes there.
pub const HEAD_BYTES: usize = vnet::BYTES;
/// Bytes of the header of a frame: destination, source, type.
pub const ETHERNET_BYTES: usize = 14;
/// Bytes of the longest frame, with what is before it: a packet of 64 KiB that the link cuts into segments, or has put together.
pub const FRAME_BYTES_MAX: usize = HEAD_BYTES + ETHERNET_BYTES + (64 << 10);

/// What a link carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the longest packet, without the Ethernet header.
    pub mtu: usize,
    /// It fills in checksums of TCP and UDP, and cuts long packets of TCP into segments (offloads).
    pub has_offloads: bool,
    /// Bytes of the longest frame, with what is before it: [`FRAME_BYTES_MAX`] at most.
    pub frame_bytes: usize,
}

/// A frame that was received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Where it lies in the buffer.
    pub bytes: Range<usize>,
    /// The link vouches for its checksums: they need not be verified, and may not be filled in.
    pub is_verified: bool,
}

/// Frames that a link hands out at once, at most.
pub const BATCH: usize = link::BATCH;

/// Frames that were received together.
pub type Frames = heapless::Vec<Frame, BATCH>;

/// Carries Ethernet frames. Object-safe; only [`Link::wait`] sleeps.
pub trait Link {
    /// What it carries.
    fn limits(&self) -> Limits;
    /// Receives frames into `buffer`, which has [`BATCH`] times [`Limits::frame_bytes`]: as many as one call of the host brings.
    /// `frames` was empty, and may stay so.
    ///
    /// # Errors
    /// `WouldBlock`, also while the link is gone; `Gone`: it was, and is back, told once each time.
    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()>;
    /// Sends the frame that lies in `buffer` behind [`HEAD_BYTES`] bytes, which are the link's to write. With `segment`, it is a
    /// packet of TCP that is cut into segments with so many bytes of data.
    ///
    /// # Errors
    /// `WouldBlock`: later. Any other: the frame is lost.
    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()>;
    /// Sleeps until there may be a frame, `until` ([`Instant::NEVER`]: no limit), a signal, or, if `sends`, the link takes frames
    /// again. Adds what was asked to `signals`; returns the time.
    fn wait(&mut self, now: Instant, until: Instant, sends: bool, signals: &mut Signals)
    -> Instant;
}

/// After it was gone, a link is looked for so often.
const RETRY: Duration = Duration::SECOND;

/// What links have in common: a descriptor that may go and come back, and one that signals are read from.
#[derive(Debug)]
struct Descriptor {
    /// `None`: it is gone.
    file: Option<File>,
    /// That it was gone is to be told.
    is_back: bool,
    retry_at: Instant,
    name: &'static CStr,
    open: fn(&CStr) -> Result<File, Errno>,
    signals: Option<File>,
    /// What tells that an interface of the host has changed.
    changes: Option<File>,
    /// That interface was up, with a carrier.
    was_running: bool,
}

impl Descriptor {
    /// `file`, for which there is another by `open` when it is gone.
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

    /// Its number.
    ///
    /// # Errors
    /// `Gone`.
    fn number(&self) -> NetResult<RawFd> {
        self.file
            .as_ref()
            .map(File::as_raw_fd)
            .ok_or(NetError::Gone)
    }

    /// Receives by `recv`.
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
            self.end();
            return Err(NetError::WouldBlock);
        }
        received
    }

    /// It is gone.
    fn end(&mut self) {
        self.file = None;
    }

    /// Sleeps as [`Link::wait`] does; looks for what is gone.
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
        // An interrupted wait has found nothing, and the next one is at once.
        let slept = sys::linux::sleep(&mut polled, timeout);
        let is_told = |polled: Option<&PollFd<'_>>| {
            slept.is_ok() && polled.is_some_and(|polled| !polled.revents().is_empty())
        };
        let (is_asked, is_changed) = (is_told(polled.first()), is_told(polled.last()));
        drop(polled);
        if let Some(asked) = self.signals.as_ref().filter(|_| is_asked) {
            match process::read_signal(asked.as_fd()) {
                Told::Nothing => signals.child = true,
                Told::LookAgain => signals.reload = true,
                Told::Stop => signals.stop = true,
            }
        }
        if let Some(changes) = self.changes.as_ref().filter(|_| is_changed) {
            // What comes is of no interest, but what the interface is now.
            while sockets::recv(changes.as_raw_fd(), &mut [0; 64]).is_ok() {}
            // One that is not up yet, as far as the host knows, may carry frames already.
            let is_running = link::expect_running(self.name).is_ok();
            if core::mem::replace(&mut self.was_running, is_running) && !is_running {
                self.end();
            }
        }
        sys::now()
    }
}
