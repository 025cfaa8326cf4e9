//! virtio devices (virtio 1.2): network card, disks, entropy source, by memory-mapped registers or PCI. Values that a device returns
//! are not trusted.

mod blk;
mod mmio;
mod net;
mod pci;
mod rng;
mod virtqueue;

use super::Single;
use crate::mem::leak;
use blk::Disk;
use core::ptr::NonNull;
use rng::Source;
use virtqueue::Virtqueue;

pub use blk::{DiskRead, LINE_BYTES, LINE_COUNT_MAX};
pub use net::{Card, ORDINARY_BYTES};
pub use pci::is_out_of_reach;

/// Bits of the device status (section 2.1).
mod status {
    pub(super) const ACKNOWLEDGE: u8 = 1;
    pub(super) const DRIVER: u8 = 2;
    pub(super) const DRIVER_OK: u8 = 4;
    pub(super) const FEATURES_OK: u8 = 8;
    pub(super) const FAILED: u8 = 128;
}

/// Device ids (section 5).
const NETWORK_CARD: u32 = 1;
const DISK: u32 = 2;
const ENTROPY: u32 = 4;
const SCSI: u32 = 8;

/// Feature bits (sections 5.1.3, 5.2.3, 6).
mod feature {
    /// CSUM, GUEST_CSUM, GUEST_TSO4, HOST_TSO4.
    pub(super) const OFFLOADS: u64 = 1 | 1 << 1 | 1 << 7 | 1 << 11;
    pub(super) const MTU: u64 = 1 << 3;
    pub(super) const MAC: u64 = 1 << 5;
    pub(super) const STATUS: u64 = 1 << 16;
    pub(super) const BLK_SIZE: u64 = 1 << 6;
    pub(super) const VERSION_1: u64 = 1 << 32;
    /// The platform may translate the device's addresses. Without a driver for an IOMMU, it translates none.
    pub(super) const ACCESS_PLATFORM: u64 = 1 << 33;
}

/// Access to a device's registers (section 4).
trait Transport {
    /// Reads 32 of the features that the device offers: the lower half (0) or the upper one (1).
    fn offered(&self, half: u32) -> u32;
    /// Writes 32 of the features that the driver uses.
    fn accept(&self, half: u32, features: u32);
    /// Writes the device status; 0 resets the device.
    fn set_status(&self, status: u8);
    /// Reads the device status.
    fn status(&self) -> u8;
    /// Gives the addresses of virtqueue `number` to the device: descriptor table, available ring, used ring. Returns the address to
    /// which [`Transport::notify`] writes. `None`: the device supports fewer than `len` entries.
    fn set_queue(&self, number: u16, len: usize, addresses: [usize; 3]) -> Option<usize>;
    /// Notifies the device of buffers added to virtqueue `number`.
    fn notify(&self, at: usize, number: u16);
    /// Reads a word of the device's configuration space.
    fn config(&self, at: usize) -> u32;
    /// Acknowledges an interrupt. Returns true if the configuration may have changed.
    fn acknowledge(&self) -> bool;
}

/// A device. `features` are the negotiated ones.
struct Device {
    transport: &'static dyn Transport,
    features: u64,
}

impl Device {
    /// Resets the device and negotiates those of the `wanted` features that it offers (section 3.1.1). `None`: it refuses them.
    fn begin(&mut self, wanted: u64) -> Option<()> {
        use feature::{ACCESS_PLATFORM, VERSION_1};
        use status::{ACKNOWLEDGE, DRIVER, FAILED, FEATURES_OK};
        let transport = self.transport;
        transport.set_status(0);
        transport.set_status(ACKNOWLEDGE | DRIVER);
        let [low, high] = [0, 1].map(|half| u64::from(transport.offered(half)));
        self.features = (high << 32 | low) & (wanted | VERSION_1 | ACCESS_PLATFORM);
        transport.accept(0, self.features as u32);
        transport.accept(1, (self.features >> 32) as u32);
        transport.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        // A legacy device does not know the bit.
        if self.has(VERSION_1) && transport.status() & FEATURES_OK == 0 {
            transport.set_status(FAILED);
            return None;
        }
        Some(())
    }

    const fn has(&self, features: u64) -> bool {
        self.features & features == features
    }

    /// Sets up virtqueue `number` with `len` entries. `None` if the device supports fewer or memory is short.
    fn queue(&self, number: u16, len: usize) -> Option<Virtqueue> {
        let mut queue = Virtqueue::new(number, len)?;
        queue.notify_at = self.transport.set_queue(number, len, queue.addresses())?;
        Some(queue)
    }

    /// Sets DRIVER_OK, once all virtqueues are set up.
    fn finish(&self) {
        use status::{ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK};
        self.transport
            .set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    }

    /// Reads a word of the device's configuration space.
    fn config(&self, at: usize) -> u32 {
        self.transport.config(at)
    }

    /// Notifies the device of an added buffer, unless it has suppressed notifications.
    fn notify(&self, queue: &Virtqueue) {
        if queue.wants_notification() {
            self.transport.notify(queue.notify_at, queue.number);
        }
    }

    /// Acknowledges the device's interrupt. Returns true if the configuration may have changed.
    fn acknowledge(&self) -> bool {
        self.transport.acknowledge()
    }
}

/// The reason why a device is not used: it lacks this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lack {
    /// A place: one network card is used.
    Place,
    /// A driver of ours.
    Driver,
    /// Registers of virtio 1: it is a legacy device.
    Version1,
    /// Messages as interrupts.
    MsiX,
    /// A virtqueue that is long enough, or the features of the driver.
    Features,
}

/// A network card or disk controller that is not used.
#[derive(Clone, Copy, Debug)]
pub struct Unused {
    /// Vendor, as in the configuration space of PCI.
    pub vendor: u16,
    /// Device, as in the configuration space of PCI.
    pub device: u16,
    /// True for a network card, false for a disk controller.
    pub is_card: bool,
    /// The reason why it is not used.
    pub lack: Lack,
}

/// Unused devices that are reported, at most.
const UNUSED_COUNT_MAX: usize = 8;

/// The devices in use.
#[derive(Default)]
#[repr(C)] // Largest field last: the others have short offsets.
struct Devices {
    mac: Option<[u8; 6]>,
    frame_bytes: usize,
    /// Disks beyond [`DISK_COUNT_MAX`].
    left_out_count: usize,
    unused: heapless::Vec<Unused, UNUSED_COUNT_MAX>,
    card: Option<Card>,
    entropy: Option<Source>,
    disks: heapless::Vec<Disk, DISK_COUNT_MAX>,
}

/// Disks in use, at most: /vda to /vdx.
pub const DISK_COUNT_MAX: usize = 24;

static DEVICES: Single<Option<NonNull<Devices>>> = Single::new(None);

fn devices() -> Option<&'static mut Devices> {
    // SAFETY: the devices are never freed, and no function below keeps the reference after it returns.
    DEVICES.get().map(|mut devices| unsafe { devices.as_mut() })
}

/// Finds the devices in the slots of QEMU's microvm, then those in `words`: the address and the interrupt of each
/// `virtio_mmio.device=SIZE@ADDRESS:INTERRUPT` on the command line, then those on PCI. `frame_bytes` is the longest frame with its
/// header; offloads are negotiated only if it exceeds [`ORDINARY_BYTES`].
pub fn find(words: &mut dyn Iterator<Item = (usize, u32)>, frame_bytes: usize) {
    let devices = leak(Devices {
        frame_bytes,
        ..Devices::default()
    });
    mmio::find(words, &mut |device, kind| devices.add(device, kind));
    pci::find(&mut |found| match found {
        Ok((device, kind)) => _ = devices.add(device, kind),
        Err(unused) => _ = devices.unused.push(unused),
    });
    DEVICES.set(Some(devices.into()));
}

impl Devices {
    /// Initialises a device. Returns false if it is not supported.
    fn add(&mut self, transport: &'static dyn Transport, kind: u32) -> bool {
        let device = Device {
            transport,
            features: 0,
        };
        let mut lack = Lack::Features;
        let is_used = match kind {
            NETWORK_CARD if self.card.is_some() => {
                lack = Lack::Place;
                false
            }
            NETWORK_CARD => {
                self.card = Card::begin(device, self.frame_bytes);
                self.mac = self.card.as_ref().and_then(Card::mac);
                self.card.is_some()
            }
            DISK if self.disks.is_full() => {
                self.left_out_count += 1;
                true
            }
            DISK => Disk::begin(device).is_some_and(|disk| self.disks.push(disk).is_ok()),
            ENTROPY => {
                self.entropy = Source::begin(device);
                true
            }
            SCSI => {
                lack = Lack::Driver;
                false
            }
            _ => return false,
        };
        if !is_used {
            let _ = self.unused.push(Unused {
                vendor: pci::VIRTIO,
                device: (pci::FIRST_DEVICE + kind) as u16,
                is_card: kind == NETWORK_CARD,
                lack,
            });
        }
        is_used
    }
}

/// Returns the network card at the first call, `None` at later calls.
pub fn take_card() -> Option<Card> {
    devices()?.card.take()
}

/// MAC address of the network card.
pub fn mac() -> Option<[u8; 6]> {
    devices()?.mac
}

/// Number of disks beyond [`DISK_COUNT_MAX`], which are not used.
pub fn left_out_count() -> usize {
    devices().map_or(0, |devices| devices.left_out_count)
}

/// Returns the network cards beside the one in use, or all if none is, and the disk controllers if no disk is used.
pub fn unused() -> impl Iterator<Item = &'static Unused> {
    let devices = devices();
    let (has_card, has_disk) = match &devices {
        Some(devices) => (devices.mac.is_some(), !devices.disks.is_empty()),
        None => (false, false),
    };
    let all = devices.into_iter().flat_map(|devices| &devices.unused);
    all.filter(move |unused| match unused.is_card {
        true => !has_card || unused.lack == Lack::Place,
        false => !has_disk,
    })
}

/// Size of a disk in bytes.
pub fn disk_bytes(number: usize) -> Option<u64> {
    Some(devices()?.disks.get(number)?.bytes())
}

/// Gives each disk a cache of `count` lines of [`LINE_BYTES`]. Called once, before the first read.
pub fn start_disks(count: usize) {
    for disk in devices().into_iter().flat_map(|all| &mut all.disks) {
        disk.start(count);
    }
}

/// Fills `out` from `offset` of a disk; the range is within the disk. Waits for a request of the disk until it is `patience_ms` old.
pub fn read_disk(number: usize, offset: u64, out: &mut [u8], patience_ms: u64) -> DiskRead {
    let disk = devices().and_then(|devices| devices.disks.get_mut(number));
    disk.map_or(DiskRead::Failed, |disk| disk.read(offset, out, patience_ms))
}

/// Returns true if a request of a disk has ended since the last call of [`take_ended_disks`].
pub fn have_disks_ended() -> bool {
    let mut disks = devices().into_iter().flat_map(|all| &all.disks);
    disks.any(Disk::has_ended)
}

/// Returns true if a request of a disk has ended since the last call.
pub fn take_ended_disks() -> bool {
    let mut has_ended = false;
    for disk in devices().into_iter().flat_map(|all| &mut all.disks) {
        has_ended |= disk.take_ended();
    }
    has_ended
}

/// Returns the number of a disk that has not answered for `limit_ms`. Each is returned once, until it answers.
pub fn stalled_disk(limit_ms: u64) -> Option<usize> {
    let mut disks = devices().into_iter().flat_map(|all| &mut all.disks);
    disks.position(|disk| disk.is_stalled(limit_ms))
}

/// Fills `out` from the entropy device. Returns false if none works.
pub(super) fn entropy(out: &mut [u8; 16]) -> bool {
    let source = devices().and_then(|devices| devices.entropy.as_mut());
    source.is_some_and(|source| source.fill(out))
}
