//! smoltcp's device over a link: one frame that came at a time, and frames to send.

use crate::mem::{Ends as _, Slots};
use crate::net::NetError;
use crate::net::link::{ETHERNET_BYTES, HEAD_BYTES, Limits, Link};
use core::num::{NonZeroU16, NonZeroUsize};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;

/// Bytes of the longest packet that a link cuts into segments.
const SEGMENTED_BYTES_MAX: usize = 65_535;

/// Frames that wait for the link at most.
const HELD_COUNT_MAX: usize = 4;
/// Places for frames: of those that wait, and of one that is being written.
const PLACE_COUNT: usize = HELD_COUNT_MAX + 1;

/// A frame that the link did not take yet.
#[derive(Clone, Copy, Debug)]
struct Held {
    len: usize,
    segment: Option<NonZeroU16>,
}

/// What a device keeps between two calls of smoltcp.
pub(super) struct Port {
    pub(super) link: &'static mut dyn Link,
    limits: Limits,
    /// Places of `Limits::frame_bytes`, in a ring.
    tx: Slots<u8>,
    held: heapless::Deque<Held, HELD_COUNT_MAX>,
    /// The place of the first that waits.
    first: usize,
}

impl Port {
    pub(super) fn new(link: &'static mut dyn Link) -> Self {
        let limits = link.limits();
        Self {
            link,
            limits,
            tx: Slots::zeroed(PLACE_COUNT * limits.frame_bytes),
            held: heapless::Deque::new(),
            first: 0,
        }
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// A device that has received `frame`, or nothing.
    pub(super) const fn device<'a>(&'a mut self, frame: Option<&'a [u8]>) -> Device<'a> {
        Device { port: self, frame }
    }

    /// Whether a frame waits for the link.
    pub(super) fn is_blocked(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sends the frames that wait; whether none waits any more.
    pub(super) fn flush(&mut self) -> bool {
        let place_bytes = self.limits.frame_bytes;
        while let Some(Held { len, segment }) = self.held.front().copied() {
            let place = self.tx.tail_mut(self.first * place_bytes);
            // What the link cannot send now is sent later; what it cannot send at all is lost, as on a cable.
            if self.link.send(place.head_mut(HEAD_BYTES + len), segment)
                == Err(NetError::WouldBlock)
            {
                return false;
            }
            self.held.pop_front();
            self.first = (self.first + 1) % PLACE_COUNT;
        }
        true
    }

    /// Sends a frame that is written by `fill` into the space for it and returns its length; 0: nothing. None is written while
    /// others wait.
    pub(super) fn send_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        if self.flush() {
            let len = fill(self.space());
            if len > 0 {
                self.send(len, None);
            }
        }
    }

    /// The space for the next frame.
    fn space(&mut self) -> &mut [u8] {
        let place_bytes = self.limits.frame_bytes;
        let place = (self.first + self.held.len()) % PLACE_COUNT;
        let place = self.tx.tail_mut(place * place_bytes);
        place.head_mut(place_bytes).tail_mut(HEAD_BYTES)
    }

    /// Sends the frame that lies there after those that wait. It is lost where too many do.
    fn send(&mut self, len: usize, segment: Option<NonZeroU16>) {
        if self.held.push_back(Held { len, segment }).is_ok() {
            self.flush();
        }
    }
}

pub(super) struct Device<'a> {
    port: &'a mut Port,
    frame: Option<&'a [u8]>,
}

impl phy::Device for Device<'_> {
    type RxToken<'a>
        = Received<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Sending<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let frame = self.frame.take()?;
        Some((Received(frame), Sending::new(self.port)))
    }

    /// Never refuses: smoltcp 0.14 forgets a segment that it sends again after three duplicate acknowledgements when it is refused,
    /// and has no timer then, so that the connection stands still. What is lost it sends again.
    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending::new(self.port))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let limits = self.port.limits;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = limits.mtu + ETHERNET_BYTES;
        if limits.has_offloads {
            // The kernel fills them in; `packet::is_intact` verified them.
            (capabilities.checksum.tcp, capabilities.checksum.udp) =
                (Checksum::None, Checksum::None);
            // smoltcp 0.14 drops packets of IPv6 that would have to be cut.
            capabilities.segmentation.tcpv4 = NonZeroUsize::new(SEGMENTED_BYTES_MAX);
        }
        capabilities
    }
}

pub(super) struct Received<'a>(&'a [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Sending<'a> {
    port: &'a mut Port,
    segment: Option<NonZeroU16>,
}

impl<'a> Sending<'a> {
    const fn new(port: &'a mut Port) -> Self {
        Self {
            port,
            segment: None,
        }
    }
}

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let written = write(self.port.space().head_mut(len));
        self.port.send(len, self.segment);
        written
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}
