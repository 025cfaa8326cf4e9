//! smoltcp's device over a link. It receives one packet at a time, adds Ethernet headers to packets that are sent, and queues
//! frames that the link does not accept at once. smoltcp's own neighbor cache is not used: with it, smoltcp 0.14 loses a segment
//! of a fast retransmission, and has no timer for it, if the peer's MAC address is unknown at that moment.

use super::OpenSocket;
use super::extensions;
use super::neighbors::Neighbors;
use super::packet::{self, Mac};
use super::streams::may_send_syn_ack;
use crate::mem::{Ends as _, Slots};
use crate::net::link::{ETHERNET_BYTES, HEAD_BYTES, Limits, Link};
use crate::net::{NetError, NetResult};
use crate::time::Instant;
use core::net::{IpAddr, SocketAddr};
use core::num::{NonZeroU16, NonZeroUsize};
use smoltcp::phy::{self, Checksum, DeviceCapabilities, Medium, PacketMeta};
use smoltcp::time;

/// Longest frame (bytes) that a link segments.
const SEGMENTED_BYTES_MAX: usize = 65_535;

/// Limit of queued frames.
const HELD_COUNT_MAX: usize = 4;
/// Number of frame buffers: the queued frames, and one that is being written.
const PLACE_COUNT: usize = HELD_COUNT_MAX + 1;

/// Limit of ICMP errors per second (RFC 4443 section 2.4 f).
const ERROR_COUNT_MAX: u32 = 10;

/// A queued frame.
#[derive(Clone, Copy, Debug)]
struct Held {
    len: usize,
    segment: Option<NonZeroU16>,
}

/// State of the device between two calls of smoltcp.
pub(super) struct Port {
    pub(super) link: &'static mut dyn Link,
    limits: Limits,
    own: Mac,
    pub(super) neighbors: Neighbors,
    /// Ring of frame buffers of `Limits::frame_bytes` each.
    tx: Slots<u8>,
    held: heapless::Deque<Held, HELD_COUNT_MAX>,
    /// Index of the first queued frame's buffer.
    first: usize,
    /// Packet that is being cut into smaller ones.
    long: Slots<u8>,
    /// Number of ICMP errors that were sent in this second of the clock.
    error_count: u32,
    second: u32,
    now: Instant,
}

impl Port {
    /// Creates the state of the device over `link`. `own` is the MAC address of this host.
    pub(super) fn new(link: &'static mut dyn Link, own: Mac) -> Self {
        let limits = link.limits();
        Self {
            link,
            limits,
            own,
            neighbors: Neighbors::new(),
            tx: Slots::zeroed(PLACE_COUNT * limits.frame_bytes),
            held: heapless::Deque::new(),
            first: 0,
            long: Slots::zeroed(limits.frame_bytes),
            error_count: 0,
            second: 0,
            now: Instant::default(),
        }
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    /// Creates a device that passes the packet in `frame`, if any, to smoltcp once.
    /// `sockets` has the connections.
    pub(super) const fn device<'a>(
        &'a mut self,
        frame: &'a [u8],
        sockets: &'a mut [Option<OpenSocket>],
    ) -> Device<'a> {
        Device {
            port: self,
            frame,
            sockets,
        }
    }

    /// Returns the destination MAC address of packets to `to`. `None` if no packet from that address has arrived.
    pub(super) fn mac(&mut self, to: IpAddr) -> Option<Mac> {
        packet::group_mac(to).or_else(|| self.neighbors.mac(to))
    }

    /// Returns true if frames are queued.
    pub(super) fn is_blocked(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sends queued frames. Returns true if the queue is empty afterwards.
    pub(super) fn flush(&mut self) -> bool {
        let place_bytes = self.limits.frame_bytes;
        while let Some(Held { len, segment }) = self.held.front().copied() {
            let place = self.tx.tail_mut(self.first * place_bytes);
            // WouldBlock: try again later. After other errors the frame is lost, as on a cable.
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

    /// Sends a datagram.
    ///
    /// # Errors
    /// `Unreachable`: the MAC address of `to` is unknown. `WouldBlock`: the queue of frames is full.
    pub(super) fn send_datagram(
        &mut self,
        [from, to]: [SocketAddr; 2],
        hop_limit: u8,
        bytes: &[u8],
    ) -> NetResult<()> {
        let macs = [self.own, self.mac(to.ip()).ok_or(NetError::Unreachable)?];
        if !self.flush() && self.held.is_full() {
            return Err(NetError::WouldBlock);
        }
        let len = packet::write_datagram(macs, [from, to], hop_limit, bytes, self.space());
        self.send(len, None);
        Ok(())
    }

    /// Sends a frame that `fill` writes to a buffer; it returns the length, 0 for none. Does not call `fill` while frames are
    /// queued.
    pub(super) fn send_with(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) {
        if self.flush() {
            let len = fill(self.space());
            if len > 0 {
                self.send(len, None);
            }
        }
    }

    /// Returns the buffer for the next frame.
    fn space(&mut self) -> &mut [u8] {
        let place_bytes = self.limits.frame_bytes;
        let place = (self.first + self.held.len()) % PLACE_COUNT;
        let place = self.tx.tail_mut(place * place_bytes);
        place.head_mut(place_bytes).tail_mut(HEAD_BYTES)
    }

    /// Writes the Ethernet header of the packet in the buffer of [`Self::space`]. Returns false if the MAC address of its
    /// destination is unknown.
    fn add_header(&mut self, len: usize) -> bool {
        let own = self.own;
        let destination = packet::destination(self.space().head(len).tail(ETHERNET_BYTES));
        let Some((ethertype, to)) = destination else {
            return false;
        };
        let Some(mac) = self.mac(to) else {
            return false;
        };
        packet::write_header(mac, own, ethertype, self.space());
        true
    }

    /// Sets the time.
    pub(super) const fn set_now(&mut self, now: Instant) {
        self.now = now;
        let second = now.secs();
        if second != self.second {
            (self.second, self.error_count) = (second, 0);
        }
    }

    /// Counts an ICMP error. Returns true if it is beyond the limit.
    const fn is_excess(&mut self) -> bool {
        self.error_count += 1;
        self.error_count > ERROR_COUNT_MAX
    }

    /// Sends the packet that smoltcp has written to the buffer of [`Self::space`]; it may answer the frame `answered`. The packet is
    /// dropped if the MAC address of its destination is unknown, or if it repeats a SYN-ACK too early.
    fn send_packet(
        &mut self,
        len: usize,
        segment: Option<NonZeroU16>,
        answered: &[u8],
        sockets: &mut [Option<OpenSocket>],
    ) {
        let now = self.now;
        let packet = self.space().tail_mut(ETHERNET_BYTES).head_mut(len);
        let len = ETHERNET_BYTES + len;
        let syn_ack = packet::syn_ack(packet);
        let is_error = packet::is_error(packet);
        if is_error && (!extensions::correct_error(packet, answered) || self.is_excess()) {
            return;
        }
        if let Some(ends) = syn_ack
            && !may_send_syn_ack(sockets, now, ends)
        {
            return;
        }
        if !self.add_header(len) {
            return;
        }
        match self.data_bytes(len) {
            None => self.send(len, segment),
            Some(data_bytes) if self.limits.has_offloads => {
                self.send(len, Some(segment.unwrap_or(data_bytes).min(data_bytes)));
            }
            Some(data_bytes) => self.send_pieces(len, data_bytes.get().into()),
        }
    }

    /// Returns the number of bytes of data in each packet into which the TCP packet in the buffer of [`Self::space`] must be cut to
    /// reach its destination. `None`: the packet is short enough, or no TCP packet.
    fn data_bytes(&mut self, len: usize) -> Option<NonZeroU16> {
        let packet = self.space().head(len).tail(ETHERNET_BYTES);
        let (bytes, head) = (packet.len(), packet::header_bytes(packet)?);
        let (_, to) = packet::destination(packet)?;
        let mtu = usize::from(self.neighbors.mtu(to));
        let data_bytes = mtu.checked_sub(head).filter(|_| bytes > mtu)?;
        NonZeroU16::new(data_bytes as u16)
    }

    /// Sends the TCP packet in the buffer of [`Self::space`] as packets with `data_bytes` bytes of data each.
    fn send_pieces(&mut self, len: usize, data_bytes: usize) {
        let mut long = core::mem::take(&mut self.long);
        long.head_mut(len).copy_from_slice(self.space().head(len));
        for start in (0..len).step_by(data_bytes) {
            match packet::cut(long.head(len), start, data_bytes, self.space()) {
                0 => break,
                piece => self.send(piece, None),
            }
        }
        self.long = long;
    }

    /// Queues the frame in the buffer of [`Self::space`] and sends the queue. The frame is lost if the queue is full.
    fn send(&mut self, len: usize, segment: Option<NonZeroU16>) {
        if self.held.push_back(Held { len, segment }).is_ok() {
            self.flush();
        }
    }
}

pub(super) struct Device<'a> {
    port: &'a mut Port,
    frame: &'a [u8],
    sockets: &'a mut [Option<OpenSocket>],
}

impl phy::Device for Device<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Sending<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: time::Instant) -> Option<(Incoming<'_>, Sending<'_>)> {
        let frame = core::mem::take(&mut self.frame);
        let packet = packet::payload(frame)?;
        Some((
            Incoming(packet),
            Sending::new(self.port, frame, self.sockets),
        ))
    }

    /// Always returns a token. Without one, smoltcp 0.14 loses a segment of a fast retransmission, as it does if a MAC address is
    /// unknown. Frames dropped by a full queue are retransmitted.
    fn transmit(&mut self, _: time::Instant) -> Option<Sending<'_>> {
        Some(Sending::new(self.port, &[], self.sockets))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let limits = self.port.limits;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = limits.mtu;
        if limits.has_offloads {
            // The link computes checksums of sent frames; `packet::is_intact` has verified those of received frames.
            capabilities.checksum.tcp = Checksum::None;
            // IPv4 only: smoltcp 0.14 drops IPv6 packets that need segmentation.
            capabilities.segmentation.tcpv4 =
                NonZeroUsize::new(SEGMENTED_BYTES_MAX - ETHERNET_BYTES);
        }
        capabilities
    }
}

pub(super) struct Incoming<'a>(&'a [u8]);

impl phy::RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Sending<'a> {
    port: &'a mut Port,
    segment: Option<NonZeroU16>,
    /// The received frame that the packet answers, if any.
    answered: &'a [u8],
    sockets: &'a mut [Option<OpenSocket>],
}

impl<'a> Sending<'a> {
    const fn new(
        port: &'a mut Port,
        answered: &'a [u8],
        sockets: &'a mut [Option<OpenSocket>],
    ) -> Self {
        Self {
            port,
            segment: None,
            answered,
            sockets,
        }
    }
}

impl phy::TxToken for Sending<'_> {
    /// Sends a packet that `write` writes.
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let Self {
            port,
            segment,
            answered,
            sockets,
        } = self;
        let written = write(port.space().tail_mut(ETHERNET_BYTES).head_mut(len));
        port.send_packet(len, segment, answered, sockets);
        written
    }

    fn set_meta(&mut self, meta: PacketMeta) {
        self.segment = meta.segmentation_offload_size;
    }
}
