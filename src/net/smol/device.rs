//! smoltcp's device over a link: one frame that came at a time, and frames to send.

use crate::mem::{Ends as _, Slots};
use crate::net::NetError;
use crate::net::link::{ETHERNET_BYTES, HEAD_BYTES, Limits, Link};
use core::num::{NonZeroU16, NonZeroUsize};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time::Instant;

/// Bytes of the longest packet that a link cuts into segments.
const SEGMENTED_BYTES_MAX: usize = 65_535;

/// A frame that the link did not take yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    len: usize,
    segment: Option<NonZeroU16>,
}

/// What a device keeps between two calls of smoltcp.
pub(super) struct Port {
    pub(super) link: &'static mut dyn Link,
    limits: Limits,
    tx: Slots<u8>,
    held: Option<Held>,
}

impl Port {
    pub(super) fn new(link: &'static mut dyn Link, tx: Slots<u8>) -> Self {
        let limits = link.limits();
        Self {
            link,
            limits,
            tx,
            held: None,
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
    pub(super) const fn is_blocked(&self) -> bool {
        self.held.is_some()
    }

    /// Sends the frame that waits; whether none waits any more.
    pub(super) fn flush(&mut self) -> bool {
        if let Some(Held { len, segment }) = self.held.take() {
            self.send(len, segment);
        }
        self.held.is_none()
    }

    /// Sends a frame that is written by `fill` into the space for it and returns its length; 0: nothing. It is lost while another
    /// one waits.
    pub(super) fn send_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        if self.flush() {
            let len = fill(self.tx.tail_mut(HEAD_BYTES));
            if len > 0 {
                self.send(len, None);
            }
        }
    }

    fn send(&mut self, len: usize, segment: Option<NonZeroU16>) {
        let frame = self.tx.head_mut(HEAD_BYTES + len);
        // What the link cannot send now is sent later; what it cannot send at all is lost, as on a cable.
        if self.link.send(frame, segment) == Err(NetError::WouldBlock) {
            self.held = Some(Held { len, segment });
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

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        self.port.flush().then(|| Sending::new(self.port))
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
        // An answer to what came is lost while another frame waits: it is written behind that one, and not sent.
        let can_send = self.port.flush();
        let (start, sent) = match self.port.held {
            Some(held) => (HEAD_BYTES + held.len, false),
            None => (HEAD_BYTES, can_send),
        };
        let written = write(self.port.tx.tail_mut(start).head_mut(len));
        if sent {
            self.port.send(len, self.segment);
        }
        written
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}
