//! virtio devices at their addresses in memory (virtio 1.2, sections 4.2 and 5): network card, disks, source of entropy. Transport
//! and rings are those of the crate virtio-drivers, of either version; what a device says is not believed.

use super::{Single, clock};
use crate::mem::{Ends as _, Slots, leak};
use alloc::alloc::alloc_zeroed;
use core::alloc::Layout;
use core::ptr::NonNull;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Places of a ring: as many as a source of entropy has.
const RING: usize = 8;

/// Where QEMU's microvm has its devices, how far apart, and how many.
const FIRST: usize = 0xfeb0_0000;
const STEP: usize = 0x200;
const COUNT: usize = 24;

/// Memory as devices see it: where it is.
struct Memory;

// SAFETY: all memory is mapped where it is, and pages come from the allocator.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: it has a size, and the alignment is a power of two.
        let at = unsafe {
            alloc_zeroed(Layout::from_size_align_unchecked(
                pages * PAGE_SIZE,
                PAGE_SIZE,
            ))
        };
        // The address 0 is an error.
        (
            at as PhysAddr,
            NonNull::new(at).unwrap_or(NonNull::dangling()),
        )
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(at: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(at as *mut u8).unwrap_or(NonNull::dangling())
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

type Ring = VirtQueue<Memory, RING>;

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
    transport: MmioTransport<'static>,
    features: u64,
}

impl Device {
    /// Begins with the features of `wanted` that it has (section 3.1.1).
    fn begin(mut transport: MmioTransport<'static>, wanted: u64) -> Self {
        let told = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
        transport.set_status(DeviceStatus::empty());
        transport.set_status(told);
        let features = transport.read_device_features() & (wanted | feature::VERSION_1);
        transport.write_driver_features(features);
        transport.set_status(told | DeviceStatus::FEATURES_OK);
        transport.set_guest_page_size(PAGE_SIZE as u32);
        Self {
            transport,
            features,
        }
    }

    const fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    fn ring(&mut self, number: u16) -> Option<Ring> {
        Ring::new(&mut self.transport, number, false, false).ok()
    }

    fn is_ready(&mut self) {
        self.transport.finish_init();
    }

    /// A number of its configuration.
    fn config(&self, at: usize) -> u32 {
        self.transport.read_config_space(at).unwrap_or_default()
    }

    fn notify(&mut self, ring: &Ring, number: u16) {
        if ring.should_notify() {
            self.transport.notify(number);
        }
    }

    /// Does nothing any more, and has forgotten all memory.
    fn stop(&mut self) {
        self.transport.set_status(DeviceStatus::empty());
    }

    /// Hands over buffers and waits until they are used; false: the device failed.
    fn exchange<'a>(
        &mut self,
        ring: &mut Ring,
        inputs: &'a [&'a [u8]],
        outputs: &'a mut [&'a mut [u8]],
    ) -> bool {
        /// A device that is silent for so long is gone.
        const PATIENCE_MS: u64 = 30_000;
        // SAFETY: the buffers are not used before the ring has given them back, or the device was stopped.
        let Ok(token) = (unsafe { ring.add(inputs, outputs) }) else {
            return false;
        };
        self.notify(ring, 0);
        let until = clock::elapsed_ms() + PATIENCE_MS;
        while !ring.can_pop() {
            if clock::elapsed_ms() > until {
                self.stop();
                return false;
            }
            core::hint::spin_loop();
        }
        // SAFETY: those that were added.
        let done = unsafe { ring.pop_used(token, inputs, outputs) }.is_ok();
        self.transport.ack_interrupt();
        if !done {
            self.stop();
        }
        done
    }
}

/// A network card.
pub struct Card {
    device: Device,
    /// Bytes of the header before a frame.
    head: usize,
    rx: Ring,
    tx: Ring,
    /// The buffer of each place of `rx`.
    received: [&'static mut [u8]; RING],
    /// Those of frames to send, and their places in `tx` while they are sent.
    sent: [(&'static mut [u8], Option<u16>); RING],
    is_up: bool,
}

/// Bytes of the header that both versions have before a frame.
const HEADER_BYTES: usize = 10;
const RX: u16 = 0;
const TX: u16 = 1;

impl Card {
    /// Begins with a card. `None`: it has no rings as long as ours.
    fn begin(transport: MmioTransport<'static>, frame_bytes: usize) -> Option<Self> {
        let wanted = feature::OFFLOADS | feature::MAC | feature::STATUS;
        let mut device = Device::begin(transport, wanted);
        if !device.has(feature::OFFLOADS) && device.features & feature::OFFLOADS != 0 {
            // All of them, or none.
            device = Device::begin(device.transport, feature::MAC | feature::STATUS);
        }
        let head = match device.has(feature::VERSION_1) {
            true => HEADER_BYTES + 2,
            false => HEADER_BYTES,
        };
        let (rx, tx) = (device.ring(RX)?, device.ring(TX)?);
        let bytes = match device.has(feature::OFFLOADS) {
            true => frame_bytes + 2,
            false => ORDINARY_BYTES,
        };
        let buffer = || Slots::zeroed(bytes).leak();
        let mut card = Self {
            device,
            head,
            rx,
            tx,
            received: core::array::from_fn(|_| buffer()),
            sent: core::array::from_fn(|_| (buffer(), None)),
            is_up: true,
        };
        card.tx.set_dev_notify(false);
        card.device.is_ready();
        for place in 0..RING {
            card.lend(place)?;
        }
        Some(card)
    }

    /// Its number on the Ethernet; zeros: it has none.
    fn mac(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        if self.device.has(feature::MAC) {
            let words = [self.device.config(0), self.device.config(4)].map(u32::to_le_bytes);
            mac.copy_from_slice(words.as_flattened().head(6));
        }
        mac
    }

    /// Whether it fills in checksums, and cuts packets of TCP into segments.
    pub const fn has_offloads(&self) -> bool {
        self.device.has(feature::OFFLOADS)
    }

    /// Lends it the buffer of a place, which is the next that the ring takes.
    fn lend(&mut self, place: usize) -> Option<()> {
        let buffer = self.received.get_mut(place)?;
        // SAFETY: it is not used before the ring has given it back.
        let token = unsafe { self.rx.add(&[], &mut [&mut **buffer]) }.ok()?;
        self.device.notify(&self.rx, RX);
        (usize::from(token) == place).then_some(())
    }

    /// Copies the next frame to `out`, behind a header of ten bytes; how many bytes. `None`: there is none.
    pub fn recv(&mut self, out: &mut [u8]) -> Option<usize> {
        let token = self.rx.peek_used()?;
        let buffer = self.received.get_mut(usize::from(token))?;
        // SAFETY: the buffer of this place.
        let len = unsafe { self.rx.pop_used(token, &[], &mut [&mut **buffer]) }.ok()? as usize;
        let (header, frame) = buffer.head(len).split_at_checked(self.head)?;
        let len = HEADER_BYTES + frame.len();
        if let Some((head, rest)) = out.split_at_mut_checked(HEADER_BYTES)
            && let Some(rest) = rest.get_mut(..frame.len())
        {
            head.copy_from_slice(header.head(HEADER_BYTES));
            rest.copy_from_slice(frame);
        }
        self.lend(token.into());
        Some(len)
    }

    /// Sends a frame behind a header of ten bytes. False: it takes no more frames now.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        self.take_sent();
        let Some((buffer, token)) = self.sent.iter_mut().find(|(_, token)| token.is_none()) else {
            return false;
        };
        let len = frame.len() + self.head - HEADER_BYTES;
        let (header, data) = frame.split_at(HEADER_BYTES.min(frame.len()));
        if let Some(to) = buffer.get_mut(..len)
            && let Some((head, rest)) = to.split_at_mut_checked(self.head)
        {
            head.head_mut(HEADER_BYTES).copy_from_slice(header);
            rest.copy_from_slice(data);
            // SAFETY: it is not used before the ring has given it back.
            *token = unsafe { self.tx.add(&[to], &mut []) }.ok();
            self.device.notify(&self.tx, TX);
        }
        true
    }

    /// Takes back the buffers of what was sent.
    fn take_sent(&mut self) {
        while let Some(token) = self.tx.peek_used() {
            let mut sent = self.sent.iter_mut();
            let Some((buffer, of)) = sent.find(|(_, of)| *of == Some(token)) else {
                return;
            };
            // SAFETY: what was added had its length; the ring does not look at it.
            let _ = unsafe { self.tx.pop_used(token, &[&**buffer], &mut []) };
            *of = None;
        }
    }

    /// Whether it was disconnected, and is connected again; told once. Gives up the interrupt that told of anything.
    pub fn is_back(&mut self) -> bool {
        let told = self.device.transport.ack_interrupt();
        if !told.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT)
            || !self.device.has(feature::STATUS)
        {
            return false;
        }
        let is_up = self.device.config(4) >> 16 & 1 != 0;
        is_up && !core::mem::replace(&mut self.is_up, is_up)
    }

    /// Whether there is a frame, or, if `sends`, space for one to send.
    pub fn can_go_on(&mut self, sends: bool) -> bool {
        self.tx.set_dev_notify(sends);
        if sends {
            self.take_sent();
        }
        self.rx.can_pop() || sends && self.sent.iter().any(|(_, token)| token.is_none())
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
    fn begin(transport: MmioTransport<'static>) -> Option<Self> {
        let mut device = Device::begin(transport, 0);
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
        if self.is_gone {
            return false;
        }
        // The request to read is 0.
        let mut request = [0; 16];
        if let Some((_, place)) = request.split_at_mut_checked(8) {
            place.copy_from_slice(&sector.to_le_bytes());
        }
        let mut status = [UNTOLD];
        let (inputs, outputs) = (&[&request[..]], &mut [out, &mut status[..]]);
        self.is_gone = !self.device.exchange(&mut self.ring, inputs, outputs);
        !self.is_gone && status == [DONE]
    }
}

/// All devices.
#[derive(Default)]
struct Devices {
    card: Option<Card>,
    mac: Option<[u8; 6]>,
    disks: heapless::Vec<Disk, DISK_COUNT_MAX>,
    entropy: Option<(Device, Ring)>,
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
        let Some(header) = NonNull::new(at as *mut VirtIOHeader) else {
            return false;
        };
        // SAFETY: a device's registers, or an address without memory, which has no device's number.
        let Ok(transport) = (unsafe { MmioTransport::new(header, STEP) }) else {
            return false;
        };
        match transport.device_type() {
            DeviceType::Network if self.card.is_none() => {
                self.card = Card::begin(transport, frame_bytes);
                self.mac = self.card.as_ref().map(Card::mac);
            }
            DeviceType::Block => {
                if let Some(disk) = Disk::begin(transport) {
                    let _ = self.disks.push(disk);
                }
            }
            DeviceType::EntropySource => {
                let mut device = Device::begin(transport, 0);
                self.entropy = device.ring(0).map(|ring| (device, ring));
                if let Some((device, _)) = &mut self.entropy {
                    device.is_ready();
                }
            }
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
    let Some((device, ring)) = devices().and_then(|devices| devices.entropy.as_mut()) else {
        return false;
    };
    let mut told = [0; 16];
    let done = device.exchange(ring, &[], &mut [&mut told]) && told != [0; 16];
    *out = told;
    done
}
