//! virtio devices at their addresses in memory (virtio 1.2, sections 4.2 and 5): network card, disks, source of entropy. The
//! transport is of either version; what a device says is not believed.

mod ring;

use super::{Single, clock};
use crate::mem::{self, Ends as _, leak};
use core::ptr::NonNull;
use ring::{Part, RING, Ring};

/// Where QEMU's microvm has its devices, how far apart, and how many.
const FIRST: usize = 0xfeb0_0000;
const STEP: usize = 0x200;
const COUNT: usize = 24;

/// Registers of a device (section 4.2.2), and those that only the version before 1.0 has (section 4.2.4).
mod register {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 4;
    pub(super) const KIND: usize = 8;
    pub(super) const FEATURES: usize = 0x10;
    pub(super) const FEATURES_CHOICE: usize = 0x14;
    pub(super) const WANTED: usize = 0x20;
    pub(super) const WANTED_CHOICE: usize = 0x24;
    pub(super) const OLD_PAGE_BYTES: usize = 0x28;
    pub(super) const RING_CHOICE: usize = 0x30;
    pub(super) const RING_PLACES_MAX: usize = 0x34;
    pub(super) const RING_PLACES: usize = 0x38;
    pub(super) const OLD_ALIGNMENT: usize = 0x3c;
    pub(super) const OLD_PAGE: usize = 0x40;
    pub(super) const RING_IS_READY: usize = 0x44;
    pub(super) const NOTICE: usize = 0x50;
    pub(super) const INTERRUPT: usize = 0x60;
    pub(super) const INTERRUPT_TAKEN: usize = 0x64;
    pub(super) const STATUS: usize = 0x70;
    /// Three addresses of eight bytes, 16 bytes apart.
    pub(super) const RING_ADDRESSES: usize = 0x80;
    pub(super) const CONFIG: usize = 0x100;
}

const MAGIC: u32 = u32::from_le_bytes(*b"virt");

/// Bits of the status (section 2.1): the driver knows what it is, and knows how; has chosen the features; is ready.
mod status {
    pub(super) const DRIVER: u32 = 1 | 2;
    pub(super) const READY: u32 = 4;
    pub(super) const FEATURES: u32 = 8;
}

/// Kinds of devices (section 5).
const NETWORK_CARD: u32 = 1;
const DISK: u32 = 2;
const ENTROPY: u32 = 4;

/// Features (sections 5.1.3, 6): what a network card does with checksums and segments, its number, whether it is connected; the
/// version of the specification.
mod feature {
    pub(super) const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 7 | 1 << 11;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const STATUS: u64 = 1 << 16;
    pub(super) const VERSION_1: u64 = 1 << 32;
}

/// A device.
struct Device {
    at: usize,
    is_old: bool,
    features: u64,
}

impl Device {
    /// The device at this address, if there is one: it, and its kind.
    fn find(at: usize) -> Option<(Self, u32)> {
        let mut device = Self {
            at,
            is_old: false,
            features: 0,
        };
        if device.read(register::MAGIC) != MAGIC {
            return None;
        }
        device.is_old = device.read(register::VERSION) == 1;
        let kind = device.read(register::KIND);
        (kind != 0).then_some((device, kind))
    }

    fn read(&self, register: usize) -> u32 {
        // SAFETY: a register, or an address without memory.
        unsafe { ((self.at + register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: a device's register.
        unsafe { ((self.at + register) as *mut u32).write_volatile(value) };
    }

    /// Begins with the features of `wanted` that it has (section 3.1.1).
    fn begin(&mut self, wanted: u64) {
        self.stop();
        self.write(register::STATUS, status::DRIVER);
        let mut features = 0;
        for half in [1, 0] {
            self.write(register::FEATURES_CHOICE, half);
            features = features << 32 | u64::from(self.read(register::FEATURES));
        }
        self.features = features & (wanted | feature::VERSION_1);
        for half in [0, 1] {
            self.write(register::WANTED_CHOICE, half);
            self.write(register::WANTED, (self.features >> (32 * half)) as u32);
        }
        self.write(register::STATUS, status::DRIVER | status::FEATURES);
    }

    const fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// Makes the ring of this number. `None`: the device has none as long as ours.
    fn ring(&self, number: u32) -> Option<Ring> {
        const PAGE: usize = super::memory::PAGE;
        self.write(register::RING_CHOICE, number);
        if self.read(register::RING_PLACES_MAX) < RING as u32 {
            return None;
        }
        let ring = Ring::new()?;
        let addresses = ring.addresses();
        self.write(register::RING_PLACES, RING as u32);
        if self.is_old {
            self.write(register::OLD_PAGE_BYTES, PAGE as u32);
            self.write(register::OLD_ALIGNMENT, PAGE as u32);
            self.write(register::OLD_PAGE, (addresses[0] / PAGE) as u32);
        } else {
            // All memory lies below 4 GiB.
            for (place, address) in addresses.into_iter().enumerate() {
                self.write(register::RING_ADDRESSES + 16 * place, address as u32);
                self.write(register::RING_ADDRESSES + 16 * place + 4, 0);
            }
            self.write(register::RING_IS_READY, 1);
        }
        Some(ring)
    }

    /// All its rings are made.
    fn is_ready(&self) {
        let all = status::DRIVER | status::FEATURES | status::READY;
        self.write(register::STATUS, all);
    }

    /// A number of its configuration.
    fn config(&self, at: usize) -> u32 {
        self.read(register::CONFIG + at)
    }

    /// Tells it that something was lent, if it wants to know.
    fn notify(&self, ring: &Ring, number: u32) {
        if ring.is_awaited() {
            self.write(register::NOTICE, number);
        }
    }

    /// Takes the interrupt away that tells of anything; what it told of.
    fn take_interrupt(&self) -> u32 {
        let told = self.read(register::INTERRUPT);
        self.write(register::INTERRUPT_TAKEN, told);
        told
    }

    /// Resets it: it has forgotten all memory.
    fn stop(&self) {
        self.write(register::STATUS, 0);
    }

    /// Lends parts and waits until they were used; false: the device failed, and is stopped.
    #[inline(never)]
    fn exchange(&self, ring: &mut Ring, parts: &[Part]) -> bool {
        /// A device that is silent for so long is gone.
        const PATIENCE_MS: u64 = 30_000;
        // SAFETY: the caller's bytes are not used before they were taken back, or the device was stopped.
        unsafe { ring.lend(0, parts) };
        self.notify(ring, 0);
        let until = clock::elapsed_ms() + PATIENCE_MS;
        while ring.take().is_none() {
            if clock::elapsed_ms() > until {
                self.stop();
                return false;
            }
            core::hint::spin_loop();
        }
        self.take_interrupt();
        true
    }
}

/// A network card.
pub struct Card {
    device: Device,
    /// Bytes of the header before a frame.
    head: usize,
    rx: Ring,
    tx: Ring,
    /// A buffer for each place of both rings, of so many bytes each.
    buffers: [&'static mut [u8]; 2],
    buffer_bytes: usize,
    is_up: bool,
}

/// Bytes of the header that both versions have before a frame.
const HEADER_BYTES: usize = 10;
/// The numbers of the rings.
const RX: usize = 0;
const TX: usize = 1;
/// What an interrupt tells of: the configuration.
const CHANGED: u32 = 2;

impl Card {
    /// Begins with a card. `None`: it has no rings as long as ours.
    fn begin(mut device: Device, frame_bytes: usize) -> Option<Self> {
        let other = feature::MAC | feature::STATUS;
        device.begin(feature::OFFLOADS | other);
        if !device.has(feature::OFFLOADS) {
            // All of them, or none.
            device.begin(other);
        }
        let head = HEADER_BYTES + if device.has(feature::VERSION_1) { 2 } else { 0 };
        let buffer_bytes = match device.has(feature::OFFLOADS) {
            true => frame_bytes.next_multiple_of(16),
            false => ORDINARY_BYTES,
        };
        let mut card = Self {
            head,
            rx: device.ring(RX as u32)?,
            tx: device.ring(TX as u32)?,
            device,
            buffers: [(); 2].map(|()| mem::bytes(RING * buffer_bytes)),
            buffer_bytes,
            is_up: true,
        };
        card.tx.await_use(false);
        card.device.is_ready();
        for place in 0..RING {
            card.lend(place);
        }
        Some(card)
    }

    /// Its number on the Ethernet, if it has one.
    fn mac(&self) -> Option<[u8; 6]> {
        let words = [0, 4].map(|at| self.device.config(at).to_le_bytes());
        let mac = words.as_flattened().first_chunk().copied();
        mac.filter(|_| self.device.has(feature::MAC))
    }

    /// Whether it fills in checksums, and cuts packets of TCP into segments.
    pub const fn has_offloads(&self) -> bool {
        self.device.has(feature::OFFLOADS)
    }

    /// The buffer of a place of a ring.
    fn buffer(&mut self, ring: usize, place: usize) -> &mut [u8] {
        let all = self.buffers.get_mut(ring).map(|all| &mut **all);
        let rest = all.unwrap_or_default().tail_mut(place * self.buffer_bytes);
        rest.head_mut(self.buffer_bytes)
    }

    /// Lends it the buffer of a place for a frame.
    fn lend(&mut self, place: usize) {
        let part = Part::write(self.buffer(RX, place));
        // SAFETY: it is not used before the ring has given it back.
        unsafe { self.rx.lend(place, &[part]) };
        self.device.notify(&self.rx, RX as u32);
    }

    /// Copies the next frame to `out`, behind a header of ten bytes; how many bytes. `None`: there is none.
    pub fn recv(&mut self, out: &mut [u8]) -> Option<usize> {
        let (place, len) = self.rx.take()?;
        let head = self.head;
        let (header, frame) = self.buffer(RX, place).head(len).split_at(head.min(len));
        let (to_header, to_frame) = out.split_at_mut(HEADER_BYTES.min(out.len()));
        let len = frame.len().min(to_frame.len());
        to_frame.head_mut(len).copy_from_slice(frame.head(len));
        for (to, from) in to_header.iter_mut().zip(header) {
            *to = *from;
        }
        self.lend(place);
        Some(HEADER_BYTES + len)
    }

    /// Sends a frame behind a header of ten bytes. False: it takes no more frames now.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        self.take_sent();
        let place = self.tx.lent.trailing_ones() as usize;
        if place >= RING {
            return false;
        }
        let (header, data) = frame.split_at(HEADER_BYTES.min(frame.len()));
        let head = self.head;
        let (len, buffer) = (head + data.len(), self.buffer(TX, place));
        // What is longer than a frame is lost.
        if len <= buffer.len() {
            let (to_header, to_data) = buffer.split_at_mut(head);
            to_header.head_mut(header.len()).copy_from_slice(header);
            to_data.head_mut(data.len()).copy_from_slice(data);
            let part = Part::read(buffer.head(len));
            // SAFETY: it is not used before the ring has given it back.
            unsafe { self.tx.lend(place, &[part]) };
            self.device.notify(&self.tx, TX as u32);
        }
        true
    }

    /// Takes back the buffers of what was sent.
    fn take_sent(&mut self) {
        while self.tx.take().is_some() {}
    }

    /// Whether it was disconnected, and is connected again; told once. Takes away the interrupt that told of anything.
    pub fn is_back(&mut self) -> bool {
        if self.device.take_interrupt() & CHANGED == 0 || !self.device.has(feature::STATUS) {
            return false;
        }
        let is_up = self.device.config(4) >> 16 & 1 != 0;
        is_up && !core::mem::replace(&mut self.is_up, is_up)
    }

    /// Whether there is a frame, or, if `sends`, space for one to send.
    pub fn can_go_on(&mut self, sends: bool) -> bool {
        self.tx.await_use(sends);
        self.take_sent();
        self.rx.has_used() || sends && self.tx.lent != u8::MAX
    }
}

/// Bytes of a frame of 1,500 bytes of data with both headers and a tag, rounded up.
const ORDINARY_BYTES: usize = 1536;

/// A disk, which is only read.
struct Disk {
    device: Device,
    ring: Ring,
    sectors: u64,
    /// It failed in a way that it was stopped for.
    is_gone: bool,
}

const SECTOR: usize = 512;
/// The status of a request that was carried out, and one that no device writes.
const DONE: u8 = 0;
const UNTOLD: u8 = 0xff;

impl Disk {
    fn begin(mut device: Device) -> Option<Self> {
        device.begin(0);
        let ring = device.ring(0)?;
        device.is_ready();
        let sectors = u64::from(device.config(4)) << 32 | u64::from(device.config(0));
        Some(Self {
            device,
            ring,
            sectors,
            is_gone: false,
        })
    }

    /// Reads whole sectors; whether it could (section 5.2.6).
    fn read(&mut self, sector: u64, out: &mut [u8]) -> bool {
        // The request to read is 0.
        let request = [0, sector];
        let mut status = UNTOLD;
        let parts = [
            Part::Read((&raw const request).cast(), size_of_val(&request)),
            Part::write(out),
            Part::Write(&raw mut status, 1),
        ];
        self.is_gone = self.is_gone || !self.device.exchange(&mut self.ring, &parts);
        // SAFETY: the device has written to it.
        !self.is_gone && unsafe { (&raw const status).read_volatile() } == DONE
    }
}

/// All devices.
#[derive(Default)]
struct Devices {
    card: Option<Card>,
    mac: Option<[u8; 6]>,
    disks: heapless::Vec<Disk, DISK_COUNT_MAX>,
    /// It is begun with as a disk is.
    entropy: Option<Disk>,
}

/// Disks that are found.
pub const DISK_COUNT_MAX: usize = 8;

static DEVICES: Single<Option<NonNull<Devices>>> = Single::new(None);

fn devices() -> Option<&'static mut Devices> {
    // SAFETY: they last as long as the machine, and each function below is done with them when it returns.
    DEVICES.get().map(|mut devices| unsafe { devices.as_mut() })
}

/// Finds the devices: where QEMU's microvm has them, and where the words `virtio_mmio.device=SIZE@ADDRESS:INTERRUPT` of a command
/// line say. A frame with the header before it takes `frame_bytes` at most.
pub fn find(words: &mut dyn Iterator<Item = (usize, u32)>, frame_bytes: usize) {
    let devices = leak(Devices::default());
    for slot in (0..COUNT).rev() {
        // Of the second controller it is the pin of this number, of the first the one that QEMU chose by its version.
        if devices.add(FIRST + slot * STEP, frame_bytes) && !unmask(SECOND_CONTROLLER, slot as u32)
        {
            unmask(FIRST_CONTROLLER, slot as u32 + 5);
            unmask(FIRST_CONTROLLER, slot as u32 + 16);
        }
    }
    for (at, pin) in words {
        if at % 4 == 0 && devices.add(at, frame_bytes) {
            unmask(FIRST_CONTROLLER, pin);
        }
    }
    DEVICES.set(Some(devices.into()));
}

impl Devices {
    /// Takes in what is at this address; whether there is a device.
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
            ENTROPY => self.entropy = Disk::begin(device),
            _ => return false,
        }
        true
    }
}

/// Interrupt controllers (I/O APICs): a register chooses the one that the other shows.
const FIRST_CONTROLLER: usize = 0xfec0_0000;
const SECOND_CONTROLLER: usize = 0xfec1_0000;

/// Has a pin's edge end an idle wait; false: there is no such pin.
fn unmask(controller: usize, pin: u32) -> bool {
    const VERSION: u32 = 1;
    const PINS: u32 = 16;
    let access = |register: u32, value: Option<u32>| {
        // SAFETY: registers, or addresses without memory.
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

/// The network card, for good.
pub fn take_card() -> Option<Card> {
    devices()?.card.take()
}

/// Its number on the Ethernet.
pub fn mac() -> Option<[u8; 6]> {
    devices()?.mac
}

/// How many disks there are.
pub fn disk_count() -> usize {
    devices().map_or(0, |devices| devices.disks.len())
}

/// The bytes of a disk.
pub fn disk_bytes(number: usize) -> Option<u64> {
    let disk = devices()?.disks.get(number)?;
    disk.sectors.checked_mul(SECTOR as u64)
}

/// Fills `out` from `offset` of a disk, all of which lies in it; whether it could.
pub fn read_disk(number: usize, mut offset: u64, mut out: &mut [u8]) -> bool {
    /// Bytes that are asked for at once.
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

/// Fills `out` from the source of entropy; false: there is none.
pub(super) fn entropy(out: &mut [u8; 16]) -> bool {
    let Some(source) = devices().and_then(|devices| devices.entropy.as_mut()) else {
        return false;
    };
    let (device, ring) = (&source.device, &mut source.ring);
    out.fill(0);
    device.exchange(ring, &[Part::write(out)]) && *out != [0; 16]
}
