//! The network card (virtio 1.2, section 5.1).

use super::virtqueue::{Element, LONG, SHORT, Virtqueue};
use super::{Device, feature};
use crate::mem::{self, Ends as _};

/// A network card.
pub struct Card {
    device: Device,
    /// Length (bytes) of the virtio-net header before a frame.
    head: usize,
    rx: Virtqueue,
    tx: Virtqueue,
    /// Buffers of the two virtqueues, `buffer_bytes` for each descriptor.
    buffers: [&'static mut [u8]; 2],
    buffer_bytes: usize,
    /// MTU (bytes): that of the host, as far as the buffers hold its frames.
    pub mtu: usize,
    /// True if frames were queued without a notification.
    has_unsent: bool,
    is_up: bool,
}

/// Length (bytes) of the legacy virtio-net header; version 1 adds two bytes.
const HEADER_BYTES: usize = 10;
/// MTU (bytes) of Ethernet, and the smallest that a host can set.
const MTU: usize = 1500;
const MTU_MIN: usize = 68;
/// Offset in the configuration space of a word whose upper half is the host's MTU.
const MTU_AT: usize = 8;
/// Virtqueue indexes.
const RX: usize = 0;
const TX: usize = 1;

impl Card {
    /// Initialises a network card. `None` if its virtqueues are too short. They are long only if frames are short and there is memory
    /// for long ones.
    pub(super) fn begin(mut device: Device, frame_bytes: usize) -> Option<Self> {
        let other = feature::MAC | feature::STATUS | feature::MTU;
        if frame_bytes > ORDINARY_BYTES {
            device.begin(feature::OFFLOADS | other)?;
        }
        if !device.has(feature::OFFLOADS) {
            // The card offers only some of the offloads: use none.
            device.begin(other)?;
        }
        let head = HEADER_BYTES + if device.has(feature::VERSION_1) { 2 } else { 0 };
        // Length of the virtqueues and of a buffer. Without offloads, the stack sends more and shorter frames at once.
        let (mut len, mut buffer_bytes) = (SHORT, frame_bytes);
        let of_host = match device.has(feature::MTU) {
            true => (device.config(MTU_AT) >> 16) as usize,
            false => MTU,
        };
        if frame_bytes > ORDINARY_BYTES && !device.has(feature::OFFLOADS) && of_host <= MTU {
            (len, buffer_bytes) = (LONG, ORDINARY_BYTES);
        }
        let mut card = Self {
            head,
            rx: device.queue(RX as u16, len)?,
            tx: device.queue(TX as u16, len)?,
            device,
            buffers: [(); 2].map(|()| mem::bytes(len * buffer_bytes)),
            buffer_bytes,
            mtu: of_host
                .min(buffer_bytes - ORDINARY_BYTES + MTU)
                .max(MTU_MIN),
            has_unsent: false,
            is_up: true,
        };
        card.device.finish();
        for place in 0..len {
            card.refill(place);
        }
        Some(card)
    }

    /// MAC address, if the card has one.
    pub(super) fn mac(&self) -> Option<[u8; 6]> {
        let words = [0, 4].map(|at| self.device.config(at).to_le_bytes());
        let mac = words.as_flattened().first_chunk().copied();
        mac.filter(|_| self.device.has(feature::MAC))
    }

    /// Longest frame with its header, in bytes.
    pub const fn frame_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// Returns true if the card computes checksums and does TCP segmentation (TSO).
    pub const fn has_offloads(&self) -> bool {
        self.device.has(feature::OFFLOADS)
    }

    /// Returns the buffer of a descriptor.
    fn buffer(&mut self, queue: usize, place: usize) -> &mut [u8] {
        let all = self.buffers.get_mut(queue).map(|all| &mut **all);
        let rest = all.unwrap_or_default().tail_mut(place * self.buffer_bytes);
        rest.head_mut(self.buffer_bytes)
    }

    /// Offers a receive buffer to the card.
    fn refill(&mut self, place: usize) {
        let part = Element::write(self.buffer(RX, place));
        // SAFETY: the buffer is not touched until the device has returned it.
        unsafe { self.rx.add(place, &[part]) };
        self.device.notify(&self.rx);
    }

    /// Copies the next received frame to `out` after a header of `HEADER_BYTES`; returns the length of both. `None` if no frame
    /// was received.
    pub fn recv(&mut self, out: &mut [u8]) -> Option<usize> {
        let (place, len) = self.rx.take_used()?;
        let head = self.head;
        let (header, frame) = self.buffer(RX, place).head(len).split_at(head.min(len));
        let (to_header, to_frame) = out.split_at_mut(HEADER_BYTES.min(out.len()));
        let len = frame.len().min(to_frame.len());
        to_frame.head_mut(len).copy_from_slice(frame.head(len));
        for (to, from) in to_header.iter_mut().zip(header) {
            *to = *from;
        }
        self.refill(place);
        Some(HEADER_BYTES + len)
    }

    /// Queues a frame, which follows a header of `HEADER_BYTES`, for sending. Returns false if the transmit queue is full.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        self.take_sent();
        if self.tx.is_full() {
            return false;
        }
        let place = self.tx.in_use.trailing_ones() as usize;
        let (header, data) = frame.split_at(HEADER_BYTES.min(frame.len()));
        let head = self.head;
        let (len, buffer) = (head + data.len(), self.buffer(TX, place));
        // Longer frames are dropped.
        if len <= buffer.len() {
            let (to_header, to_data) = buffer.split_at_mut(head);
            to_header.head_mut(header.len()).copy_from_slice(header);
            to_data.head_mut(data.len()).copy_from_slice(data);
            let part = Element::read(buffer.head(len));
            // SAFETY: the buffer is not touched until the device has returned it.
            unsafe { self.tx.add(place, &[part]) };
            self.has_unsent = true;
            if self.tx.is_full() {
                self.flush();
            }
        }
        true
    }

    /// Notifies the card of queued frames: one notification (a VM exit) for many frames.
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.has_unsent) {
            self.device.notify(&self.tx);
        }
    }

    /// Reclaims the buffers of sent frames.
    fn take_sent(&mut self) {
        while self.tx.take_used().is_some() {}
    }

    /// Returns true once after the link came up again. Acknowledges any interrupt.
    pub fn is_back(&mut self) -> bool {
        if !self.device.acknowledge() || !self.device.has(feature::STATUS) {
            return false;
        }
        let is_up = self.device.config(4) >> 16 & 1 != 0;
        let was_up = core::mem::replace(&mut self.is_up, is_up);
        is_up && !was_up
    }

    /// Returns true if a frame was received or, with `sends`, if the transmit queue has room.
    pub fn is_ready(&mut self, sends: bool) -> bool {
        self.tx.set_interrupts(sends);
        self.take_sent();
        self.rx.has_used() || sends && !self.tx.is_full()
    }
}

/// Longest ordinary frame, in bytes: 1,500 of payload, virtio-net and Ethernet headers, a VLAN tag; rounded up.
pub const ORDINARY_BYTES: usize = 1536;
