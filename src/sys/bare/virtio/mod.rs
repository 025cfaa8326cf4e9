//! virtio-mmio devices (virtio 1.2, sections 4.2 and 5): network card, disks, entropy source. Supports legacy and version 1
//! transports; values that a device returns are not trusted.

mod virtqueue;

use super::{Single, clock};
use crate::mem::{self, Ends as _, leak};
use core::ptr::NonNull;
use virtqueue::{Element, QUEUE_SIZE, Virtqueue};

/// Devices of QEMU's microvm: address of the first, distance between two, number of slots.
const FIRST: usize = 0xfeb0_0000;
const STEP: usize = 0x200;
const COUNT: usize = 24;

/// Register offsets (section 4.2.2; those of legacy devices: 4.2.4).
mod register {
    pub(super) const MAGIC_VALUE: usize = 0;
    pub(super) const VERSION: usize = 4;
    pub(super) const DEVICE_ID: usize = 8;
    pub(super) const DEVICE_FEATURES: usize = 0x10;
    pub(super) const DEVICE_FEATURES_SEL: usize = 0x14;
    pub(super) const DRIVER_FEATURES: usize = 0x20;
    pub(super) const DRIVER_FEATURES_SEL: usize = 0x24;
    pub(super) const GUEST_PAGE_SIZE: usize = 0x28;
    pub(super) const QUEUE_SEL: usize = 0x30;
    pub(super) const QUEUE_NUM_MAX: usize = 0x34;
    pub(super) const QUEUE_NUM: usize = 0x38;
    pub(super) const QUEUE_ALIGN: usize = 0x3c;
    pub(super) const QUEUE_PFN: usize = 0x40;
    pub(super) const QUEUE_READY: usize = 0x44;
    pub(super) const QUEUE_NOTIFY: usize = 0x50;
    pub(super) const INTERRUPT_STATUS: usize = 0x60;
    pub(super) const INTERRUPT_ACK: usize = 0x64;
    pub(super) const STATUS: usize = 0x70;
    /// Three 64-bit addresses, 16 bytes apart: descriptors, available ring, used ring.
    pub(super) const QUEUE_ADDRESSES: usize = 0x80;
    pub(super) const CONFIG: usize = 0x100;
}

const MAGIC: u32 = u32::from_le_bytes(*b"virt");

/// Bits of the device status (section 2.1).
mod status {
    pub(super) const ACKNOWLEDGE: u32 = 1;
    pub(super) const DRIVER: u32 = 2;
    pub(super) const DRIVER_OK: u32 = 4;
    pub(super) const FEATURES_OK: u32 = 8;
}

/// Device ids (section 5).
const NETWORK_CARD: u32 = 1;
const DISK: u32 = 2;
const ENTROPY: u32 = 4;

/// Feature bits (sections 5.1.3, 6).
mod feature {
    /// CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4.
    pub(super) const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 7 | 1 << 11;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const STATUS: u64 = 1 << 16;
    pub(super) const VERSION_1: u64 = 1 << 32;
}

/// A virtio-mmio device. `features` are the negotiated ones.
struct Device {
    at: usize,
    is_old: bool,
    features: u64,
}

impl Device {
    /// Probes an address; returns the device found there and its device id.
    fn find(at: usize) -> Option<(Self, u32)> {
        let mut device = Self {
            at,
            is_old: false,
            features: 0,
        };
        if device.read(register::MAGIC_VALUE) != MAGIC {
            return None;
        }
        device.is_old = device.read(register::VERSION) == 1;
        let kind = device.read(register::DEVICE_ID);
        (kind != 0).then_some((device, kind))
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: a device register, or an unmapped bus address.
        unsafe { ((self.at + register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: the address is that of a device register; the write changes no memory of the program.
        unsafe { ((self.at + register) as *mut u32).write_volatile(value) };
    }

    /// Resets the device and negotiates those of the `wanted` features that it offers (section 3.1.1).
    fn begin(&mut self, wanted: u64) {
        self.stop();
        self.write(register::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        let mut features = 0;
        for half in [1, 0] {
            self.write(register::DEVICE_FEATURES_SEL, half);
            features = features << 32 | u64::from(self.read(register::DEVICE_FEATURES));
        }
        self.features = features & (wanted | feature::VERSION_1);
        for half in [0, 1] {
            self.write(register::DRIVER_FEATURES_SEL, half);
            self.write(
                register::DRIVER_FEATURES,
                (self.features >> (32 * half)) as u32,
            );
        }
        self.write(
            register::STATUS,
            status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK,
        );
    }

    const fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// Sets up virtqueue `number`. `None` if the device supports fewer than [`QUEUE_SIZE`] entries or memory is short.
    fn queue(&self, number: u32) -> Option<Virtqueue> {
        const PAGE: usize = super::memory::PAGE;
        self.write(register::QUEUE_SEL, number);
        if self.read(register::QUEUE_NUM_MAX) < QUEUE_SIZE as u32 {
            return None;
        }
        let queue = Virtqueue::new()?;
        let addresses = queue.addresses();
        self.write(register::QUEUE_NUM, QUEUE_SIZE as u32);
        if self.is_old {
            self.write(register::GUEST_PAGE_SIZE, PAGE as u32);
            self.write(register::QUEUE_ALIGN, PAGE as u32);
            self.write(register::QUEUE_PFN, (addresses[0] / PAGE) as u32);
        } else {
            // The upper half of each address is 0, because all memory is below 4 GiB.
            for (place, address) in addresses.into_iter().enumerate() {
                self.write(register::QUEUE_ADDRESSES + 16 * place, address as u32);
                self.write(register::QUEUE_ADDRESSES + 16 * place + 4, 0);
            }
            self.write(register::QUEUE_READY, 1);
        }
        Some(queue)
    }

    /// Sets DRIVER_OK, once all virtqueues are set up.
    fn finish(&self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.write(register::STATUS, all);
    }

    /// Reads a word of the device's configuration space.
    fn config(&self, at: usize) -> u32 {
        self.read(register::CONFIG + at)
    }

    /// Notifies the device of an added buffer, unless it has suppressed notifications.
    fn notify(&self, queue: &Virtqueue, number: u32) {
        if queue.wants_notification() {
            self.write(register::QUEUE_NOTIFY, number);
        }
    }

    /// Acknowledges the device's interrupt; returns the interrupt status.
    fn acknowledge(&self) -> u32 {
        let status = self.read(register::INTERRUPT_STATUS);
        self.write(register::INTERRUPT_ACK, status);
        status
    }

    /// Resets the device: it no longer accesses any memory.
    fn stop(&self) {
        self.write(register::STATUS, 0);
    }
}

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
    /// True if frames were queued without a notification.
    has_unsent: bool,
    is_up: bool,
}

/// Length (bytes) of the legacy virtio-net header; version 1 adds two bytes.
const HEADER_BYTES: usize = 10;
/// Virtqueue indexes.
const RX: usize = 0;
const TX: usize = 1;
/// Bit of the interrupt status: the configuration changed.
const CHANGED: u32 = 2;

impl Card {
    /// Initialises a network card. `None` if its virtqueues are shorter than [`QUEUE_SIZE`].
    fn begin(mut device: Device, frame_bytes: usize) -> Option<Self> {
        let other = feature::MAC | feature::STATUS;
        if frame_bytes > ORDINARY_BYTES {
            device.begin(feature::OFFLOADS | other);
        }
        if !device.has(feature::OFFLOADS) {
            // The card offers only some of the offloads: use none.
            device.begin(other);
        }
        let head = HEADER_BYTES + if device.has(feature::VERSION_1) { 2 } else { 0 };
        let buffer_bytes = match device.has(feature::OFFLOADS) {
            true => frame_bytes.next_multiple_of(16),
            false => ORDINARY_BYTES,
        };
        let mut card = Self {
            head,
            rx: device.queue(RX as u32)?,
            tx: device.queue(TX as u32)?,
            device,
            buffers: [(); 2].map(|()| mem::bytes(QUEUE_SIZE * buffer_bytes)),
            buffer_bytes,
            has_unsent: false,
            is_up: true,
        };
        card.tx.set_interrupts(false);
        card.device.finish();
        for place in 0..QUEUE_SIZE {
            card.refill(place);
        }
        Some(card)
    }

    /// MAC address, if the card has one.
    fn mac(&self) -> Option<[u8; 6]> {
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
        self.device.notify(&self.rx, RX as u32);
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
        let place = self.tx.in_use.trailing_ones() as usize;
        if place >= QUEUE_SIZE {
            return false;
        }
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
            if self.tx.in_use == u8::MAX {
                self.flush();
            }
        }
        true
    }

    /// Notifies the card of queued frames: one notification (a VM exit) for many frames.
    pub fn flush(&mut self) {
        if core::mem::take(&mut self.has_unsent) {
            self.device.notify(&self.tx, TX as u32);
        }
    }

    /// Reclaims the buffers of sent frames.
    fn take_sent(&mut self) {
        while self.tx.take_used().is_some() {}
    }

    /// Returns true once after the link came up again. Acknowledges any interrupt.
    pub fn is_back(&mut self) -> bool {
        if self.device.acknowledge() & CHANGED == 0 || !self.device.has(feature::STATUS) {
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
        self.rx.has_used() || sends && self.tx.in_use != u8::MAX
    }
}

/// Longest ordinary frame, in bytes: 1,500 of payload, virtio-net and Ethernet headers, a VLAN tag; rounded up.
pub const ORDINARY_BYTES: usize = 1536;

/// A device with one virtqueue for requests and their replies.
struct Requests {
    device: Device,
    queue: Virtqueue,
    /// True once the device has timed out and was reset.
    is_gone: bool,
}

impl Requests {
    fn begin(mut device: Device) -> Option<Self> {
        device.begin(0);
        let queue = device.queue(0)?;
        device.finish();
        Some(Self {
            device,
            queue,
            is_gone: false,
        })
    }

    /// Submits a request and waits until the device has completed it. Returns false if the device timed out, now or before.
    #[inline(never)]
    fn exchange(&mut self, parts: &[Element]) -> bool {
        /// Timeout of a request, in milliseconds.
        const PATIENCE_MS: u64 = 30_000;
        if self.is_gone {
            return false;
        }
        // SAFETY: the caller's buffers are borrowed until the device has returned them or was reset.
        unsafe { self.queue.add(0, parts) };
        self.device.notify(&self.queue, 0);
        let until = clock::elapsed_ms() + PATIENCE_MS;
        while self.queue.take_used().is_none() {
            if clock::elapsed_ms() > until {
                self.device.stop();
                self.is_gone = true;
                return false;
            }
            core::hint::spin_loop();
        }
        self.device.acknowledge();
        true
    }
}

/// A read-only disk.
struct Disk {
    requests: Requests,
    sectors: u64,
}

const SECTOR: usize = 512;
/// VIRTIO_BLK_T_IN: read. VIRTIO_BLK_S_OK: success (section 5.2.6). `UNTOLD`: initial value of the status byte, which no device
/// writes.
const VIRTIO_BLK_T_IN: u64 = 0;
const VIRTIO_BLK_S_OK: u8 = 0;
const UNTOLD: u8 = 0xff;

impl Disk {
    fn begin(device: Device) -> Option<Self> {
        let requests = Requests::begin(device)?;
        let capacity = [4, 0].map(|at| u64::from(requests.device.config(at)));
        Some(Self {
            requests,
            sectors: capacity[0] << 32 | capacity[1],
        })
    }

    /// Reads whole sectors. Returns false if the device failed.
    fn read(&mut self, sector: u64, out: &mut [u8]) -> bool {
        let request = [VIRTIO_BLK_T_IN, sector];
        let mut status = UNTOLD;
        let parts = [
            Element::Read((&raw const request).cast(), size_of_val(&request)),
            Element::write(out),
            Element::Write(&raw mut status, 1),
        ];
        // SAFETY: `status` is a local variable. The read is volatile, because the device has written to it.
        self.requests.exchange(&parts)
            && unsafe { (&raw const status).read_volatile() } == VIRTIO_BLK_S_OK
    }
}

/// The devices in use.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
struct Devices {
    mac: Option<[u8; 6]>,
    card: Option<Card>,
    disks: heapless::Vec<Disk, DISK_COUNT_MAX>,
    entropy: Option<Requests>,
}

/// Disks in use, at most.
pub const DISK_COUNT_MAX: usize = 8;

static DEVICES: Single<Option<NonNull<Devices>>> = Single::new(None);

fn devices() -> Option<&'static mut Devices> {
    // SAFETY: the devices are never freed, and no function below keeps the reference after it returns.
    DEVICES.get().map(|mut devices| unsafe { devices.as_mut() })
}

/// Probes the slots of QEMU's microvm, then the devices in `words`: the address and the interrupt of each
/// `virtio_mmio.device=SIZE@ADDRESS:INTERRUPT` on the command line. `frame_bytes` is the longest frame with its header; offloads
/// are negotiated only if it exceeds [`ORDINARY_BYTES`].
pub fn find(words: &mut dyn Iterator<Item = (usize, u32)>, frame_bytes: usize) {
    let devices = leak(Devices::default());
    for slot in (0..COUNT).rev() {
        // The device in slot N raises its interrupt at pin N of the second I/O APIC. Without a second I/O APIC, the pin is 5 + N or
        // 16 + N of the first, depending on QEMU's version, so both are unmasked.
        if devices.add(FIRST + slot * STEP, frame_bytes) && !unmask(SECOND_IO_APIC, slot as u32) {
            unmask(FIRST_IO_APIC, slot as u32 + 5);
            unmask(FIRST_IO_APIC, slot as u32 + 16);
        }
    }
    for (at, pin) in words {
        if at % 4 == 0 && devices.add(at, frame_bytes) {
            unmask(FIRST_IO_APIC, pin);
        }
    }
    DEVICES.set(Some(devices.into()));
}

impl Devices {
    /// Initialises the device at `at`. Returns false if no supported device is there.
    fn add(&mut self, at: usize, frame_bytes: usize) -> bool {
        let Some((device, kind)) = Device::find(at) else {
            return false;
        };
        match kind {
            NETWORK_CARD if self.card.is_none() => {
                self.card = Card::begin(device, frame_bytes);
                self.mac = self.card.as_ref().and_then(Card::mac);
            }
            DISK => {
                if let Some(disk) = Disk::begin(device) {
                    let _ = self.disks.push(disk);
                }
            }
            ENTROPY => self.entropy = Requests::begin(device),
            _ => return false,
        }
        true
    }
}

/// I/O APICs. The first register selects the register that the one 16 bytes later accesses.
const FIRST_IO_APIC: usize = 0xfec0_0000;
const SECOND_IO_APIC: usize = 0xfec1_0000;

/// Routes an I/O APIC pin to the vector that wakes [`clock::idle`], edge-triggered. Returns false if the controller has no such
/// pin.
fn unmask(controller: usize, pin: u32) -> bool {
    const VERSION: u32 = 1;
    const PINS: u32 = 16;
    let access = |register: u32, value: Option<u32>| {
        // SAFETY: device registers, or unmapped bus addresses.
        unsafe {
            (controller as *mut u32).write_volatile(register);
            let shown = (controller + 16) as *mut u32;
            match value {
                Some(value) => shown.write_volatile(value),
                None => return shown.read_volatile(),
            }
        }
        0
    };
    let last = access(VERSION, None) >> 16 & 0xff;
    if last == 0 || last == 0xff || pin > last {
        return false;
    }
    access(PINS + 2 * pin + 1, Some(0));
    access(PINS + 2 * pin, Some(clock::WAKE.into()));
    true
}

/// Returns the network card at the first call, `None` at later calls.
pub fn take_card() -> Option<Card> {
    devices()?.card.take()
}

/// MAC address of the network card.
pub fn mac() -> Option<[u8; 6]> {
    devices()?.mac
}

/// Number of disks.
pub fn disk_count() -> usize {
    devices().map_or(0, |devices| devices.disks.len())
}

/// Size of a disk in bytes.
pub fn disk_bytes(number: usize) -> Option<u64> {
    let disk = devices()?.disks.get(number)?;
    disk.sectors.checked_mul(SECTOR as u64)
}

/// Fills `out` from `offset` of a disk; the range is within the disk. Returns false if a read fails.
pub fn read_disk(number: usize, mut offset: u64, mut out: &mut [u8]) -> bool {
    /// Longest read request, in bytes.
    const BYTES_MAX: usize = 128 << 10;
    let Some(disk) = devices().and_then(|devices| devices.disks.get_mut(number)) else {
        return false;
    };
    while !out.is_empty() {
        let (sector, before) = (offset / SECTOR as u64, offset as usize % SECTOR);
        let whole = out.len().min(BYTES_MAX) & !(SECTOR - 1);
        let len;
        if before == 0 && whole > 0 {
            len = whole;
            if !disk.read(sector, out.head_mut(len)) {
                return false;
            }
        } else {
            let mut bytes = [0; SECTOR];
            if !disk.read(sector, &mut bytes) {
                return false;
            }
            let bytes = bytes.tail(before);
            len = bytes.len().min(out.len());
            out.head_mut(len).copy_from_slice(bytes.head(len));
        }
        out = out.split_at_mut(len).1;
        offset += len as u64;
    }
    true
}

/// Fills `out` from the entropy device. Returns false if none works.
pub(super) fn entropy(out: &mut [u8; 16]) -> bool {
    let Some(source) = devices().and_then(|devices| devices.entropy.as_mut()) else {
        return false;
    };
    out.fill(0);
    source.exchange(&[Element::write(out)]) && *out != [0; 16]
}
