//! Devices on PCI (virtio 1.2, section 4.1) with the registers of version 1. They send messages (MSI-X) as interrupts, because the
//! pins of PCI interrupts are described only by programs in the ACPI tables.

use super::super::io_apic::WAKE;
use super::super::paging::map;
use super::super::{read_port_32, write_port_32};
use super::{Lack, Transport, Unused};
use crate::mem::leak;

/// Ports that select and access a word of the configuration space (PCI 3.0, section 3.2.2.3.2).
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const IS_ENABLED: u32 = 1 << 31;

/// Vendor id of virtio, and of functions that do not exist.
pub(super) const VIRTIO: u16 = 0x1af4;
const NOTHING: u16 = 0xffff;
/// Device ids of version 1 devices begin here (section 4.1.2). Transitional devices have lower ones; their
/// kind is the subsystem id.
pub(super) const FIRST_DEVICE: u32 = 0x1040;

/// Registers of the configuration space (PCI 3.0, section 6.1).
mod register {
    pub(super) const ID: u32 = 0;
    pub(super) const COMMAND: u32 = 4;
    /// The class is in the upper byte.
    pub(super) const CLASS: u32 = 8;
    pub(super) const HEADER_TYPE: u32 = 0xc;
    pub(super) const BAR: u32 = 0x10;
    pub(super) const BUSES: u32 = 0x18;
    pub(super) const SUBSYSTEM: u32 = 0x2c;
    pub(super) const CAPABILITIES: u32 = 0x34;
}

/// Classes of devices (PCI 3.0, appendix D).
const STORAGE: u32 = 1;
const NETWORK: u32 = 2;

/// Bits of the command register: the device answers at its addresses and accesses memory.
const MEMORY_AND_MASTER: u32 = 6;
/// Bits of the header type: a bridge; a device with several functions.
const IS_BRIDGE: u32 = 1;
const HAS_FUNCTIONS: u32 = 0x80;
/// Capabilities: one of the vendor, and MSI-X, with bits of the latter's first word: enabled, all vectors masked.
const VENDOR: u32 = 9;
const MSI_X: u32 = 0x11;
const MSI_X_ENABLED: u32 = 1 << 31;
const MSI_X_MASKED: u32 = 1 << 30;
/// Most capabilities of a device: their list may be a cycle.
const CAPABILITY_COUNT_MAX: u32 = 48;
/// Types of virtio's capabilities (section 4.1.4).
const COMMON: u32 = 1;
const NOTIFY: u32 = 2;
const CONFIG: u32 = 4;

/// Address to which a device writes to interrupt the first processor (Intel's manual, volume 3, section 11.11.1).
const MESSAGE_ADDRESS: u32 = 0xfee0_0000;

/// Offsets of the common configuration (section 4.1.4.3).
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0;
    pub(super) const DEVICE_FEATURE: usize = 4;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 8;
    pub(super) const DRIVER_FEATURE: usize = 12;
    pub(super) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(super) const DEVICE_STATUS: usize = 0x14;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    /// Three 64-bit addresses: descriptors, available ring, used ring.
    pub(super) const QUEUE_ADDRESSES: usize = 0x20;
}

/// Addresses of a device's registers; 0: it has none.
#[derive(Default)]
pub(super) struct Pci {
    common: usize,
    notify: usize,
    /// Distance between the notification registers of two virtqueues, in bytes.
    notify_step: usize,
    config: usize,
    /// Entry 0 of the table of messages.
    message: usize,
}

/// Reads a word of the configuration space of the function `at`: bus << 16 | device << 11 | function << 8.
#[inline(never)] // −83 bytes: 12 callers.
fn read(at: u32, register: u32) -> u32 {
    write_port_32(ADDRESS, IS_ENABLED | at | register);
    read_port_32(DATA)
}

fn write(at: u32, register: u32, value: u32) {
    write_port_32(ADDRESS, IS_ENABLED | at | register);
    write_port_32(DATA, value);
}

/// A virtio device and its kind, or another network card or disk controller.
type Found = Result<(&'static dyn Transport, u32), Unused>;

/// Returns true if the machine has PCI without the ports of its configuration space: QEMU's microvm with `pcie=on`.
pub fn is_out_of_reach() -> bool {
    /// Where its configuration space is in memory, and the bridge that comes first there.
    const MICROVM: usize = 0xe000_0000;
    const GPEX: u32 = 0x0008_1b36;
    read(0, register::ID) == u32::MAX && get::<u32>(MICROVM) == GPEX
}

/// Calls `each` with the devices of the machine.
pub(super) fn find(each: &mut dyn FnMut(Found)) {
    find_on(0, each);
}

fn find_on(bus: u32, each: &mut dyn FnMut(Found)) {
    for device in 0..32 {
        for function in 0..8 {
            let at = bus << 16 | device << 11 | function << 8;
            let id = read(at, register::ID);
            let header = read(at, register::HEADER_TYPE) >> 16;
            let class = read(at, register::CLASS) >> 24;
            match id as u16 {
                NOTHING if function == 0 => break,
                VIRTIO => match Pci::open(at) {
                    Ok(device) => {
                        let kind = (id >> 16).checked_sub(FIRST_DEVICE);
                        let kind = kind.unwrap_or_else(|| read(at, register::SUBSYSTEM) >> 16);
                        each(Ok((leak(device), kind)));
                    }
                    Err(lack) => report(id, class, lack, each),
                },
                _ if header & 0x7f == IS_BRIDGE => {
                    let behind = read(at, register::BUSES) >> 8 & 0xff;
                    // The numbers grow with the depth, so the recursion ends.
                    if behind > bus {
                        find_on(behind, each);
                    }
                }
                _ => report(id, class, Lack::Driver, each),
            }
            if function == 0 && header & HAS_FUNCTIONS == 0 {
                break;
            }
        }
    }
}

/// Passes a device that is not used to `each`, if it is a network card or a disk controller.
fn report(id: u32, class: u32, lack: Lack, each: &mut dyn FnMut(Found)) {
    if matches!(class, STORAGE | NETWORK) {
        each(Err(Unused {
            vendor: id as u16,
            device: (id >> 16) as u16,
            is_card: class == NETWORK,
            lack,
        }));
    }
}

/// Returns the address at `offset` of a memory BAR, mapped. `None`: a BAR of ports, or none.
fn address(at: u32, number: u32, offset: u32) -> Option<usize> {
    let register = register::BAR + 4 * number;
    let low = read(at, register);
    let high = match low & 7 {
        _ if number > 5 => return None,
        0 => 0,
        4 => u64::from(read(at, register + 4)) << 32,
        _ => return None,
    };
    let start = (high | u64::from(low & !15)) as usize;
    let address = start + offset as usize;
    (start > 0 && map(address)).then_some(address)
}

impl Pci {
    /// Finds the registers of a device and enables it.
    fn open(at: u32) -> Result<Self, Lack> {
        let command = read(at, register::COMMAND) & 0xffff;
        write(at, register::COMMAND, command | MEMORY_AND_MASTER);
        let mut device = Self::default();
        let mut place = read(at, register::CAPABILITIES) & 0xfc;
        for _ in 0..CAPABILITY_COUNT_MAX {
            if place == 0 {
                break;
            }
            let [head, bar_number, offset] = [0, 4, 8].map(|word| read(at, place + word));
            let address = |number, offset| address(at, number, offset).unwrap_or(0);
            match (head & 0xff, head >> 24) {
                (VENDOR, COMMON) => device.common = address(bar_number & 0xff, offset),
                (VENDOR, NOTIFY) => {
                    device.notify = address(bar_number & 0xff, offset);
                    device.notify_step = read(at, place + 16) as usize;
                }
                (VENDOR, CONFIG) => device.config = address(bar_number & 0xff, offset),
                (MSI_X, _) => {
                    device.message = address(bar_number & 7, bar_number & !7);
                    write(at, place, head & !MSI_X_MASKED | MSI_X_ENABLED);
                }
                _ => {}
            }
            place = head >> 8 & 0xfc;
        }
        match &device {
            Self { common: 0, .. } | Self { notify: 0, .. } => return Err(Lack::Version1),
            Self { message: 0, .. } => return Err(Lack::MsiX),
            _ => {}
        }
        for (word, value) in [MESSAGE_ADDRESS, 0, WAKE.into(), 0].into_iter().enumerate() {
            put(device.message + 4 * word, value);
        }
        Ok(device)
    }
}

/// Writes a device register.
fn put<T>(at: usize, value: T) {
    // SAFETY: the address is that of a device register; the write changes no memory of the program.
    unsafe { (at as *mut T).write_volatile(value) };
}

/// Reads a device register.
fn get<T: Copy>(at: usize) -> T {
    // SAFETY: a device register; any bit pattern is a valid number.
    unsafe { (at as *const T).read_volatile() }
}

impl Transport for Pci {
    fn offered(&self, half: u32) -> u32 {
        put(self.common + common::DEVICE_FEATURE_SELECT, half);
        get(self.common + common::DEVICE_FEATURE)
    }

    fn accept(&self, half: u32, features: u32) {
        put(self.common + common::DRIVER_FEATURE_SELECT, half);
        put(self.common + common::DRIVER_FEATURE, features);
    }

    fn set_status(&self, status: u8) {
        put(self.common + common::DEVICE_STATUS, status);
    }

    fn status(&self) -> u8 {
        get(self.common + common::DEVICE_STATUS)
    }

    fn set_queue(&self, number: u16, len: usize, addresses: [usize; 3]) -> Option<usize> {
        put(self.common + common::QUEUE_SELECT, number);
        if get::<u16>(self.common + common::QUEUE_SIZE) < len as u16 {
            return None;
        }
        put(self.common + common::QUEUE_SIZE, len as u16);
        // Both send entry 0 of the table of messages.
        put(self.common + common::CONFIG_MSIX_VECTOR, 0_u16);
        put(self.common + common::QUEUE_MSIX_VECTOR, 0_u16);
        for (place, address) in addresses.into_iter().enumerate() {
            // The upper half of each address is 0, because all memory is below 4 GiB.
            put(
                self.common + common::QUEUE_ADDRESSES + 8 * place,
                address as u32,
            );
            put(self.common + common::QUEUE_ADDRESSES + 8 * place + 4, 0_u32);
        }
        put(self.common + common::QUEUE_ENABLE, 1_u16);
        let offset: u16 = get(self.common + common::QUEUE_NOTIFY_OFF);
        Some(self.notify + usize::from(offset) * self.notify_step)
    }

    fn notify(&self, at: usize, number: u16) {
        put(at, number);
    }

    fn config(&self, at: usize) -> u32 {
        match self.config {
            0 => 0,
            start => get(start + at),
        }
    }

    /// A message needs no acknowledgement.
    fn acknowledge(&self) -> bool {
        true
    }
}
