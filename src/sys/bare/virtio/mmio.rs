//! Devices with memory-mapped registers (virtio 1.2, section 4.2), legacy (4.2.4) or version 1.

use super::super::io_apic::{self, FIRST_IO_APIC, SECOND_IO_APIC, unmask};
use super::Transport;
use crate::mem::leak;

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
/// Bit of the interrupt status: the configuration changed.
const CHANGED: u32 = 2;

/// The registers of a device.
pub(super) struct Mmio {
    at: usize,
    is_legacy: bool,
}

impl Mmio {
    fn read(&self, register: usize) -> u32 {
        // SAFETY: a device register, or an unmapped bus address.
        unsafe { ((self.at + register) as *const u32).read_volatile() }
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: the address is that of a device register; the write changes no memory of the program.
        unsafe { ((self.at + register) as *mut u32).write_volatile(value) };
    }
}

/// Calls `add` with the devices in the slots of QEMU's microvm, then with those in `words` (address and interrupt pin), and enables
/// the interrupts of those that it accepts. A word for a slot that was probed is skipped: QEMU appends one for each device if the
/// machine has no ACPI.
pub(super) fn find(
    words: &mut dyn Iterator<Item = (usize, u32)>,
    add: &mut dyn FnMut(&'static dyn Transport, u32) -> bool,
) {
    let mut add_at = |at| {
        let mut device = Mmio {
            at,
            is_legacy: false,
        };
        if device.read(register::MAGIC_VALUE) != MAGIC {
            return false;
        }
        device.is_legacy = device.read(register::VERSION) == 1;
        let kind = device.read(register::DEVICE_ID);
        kind != 0 && add(leak(device), kind)
    };
    for slot in (0..COUNT).rev() {
        // The device in slot N raises its interrupt at pin N of the second I/O APIC. Without a second I/O APIC, the pin is 5 + N or
        // 16 + N of the first, depending on QEMU's version, so both are unmasked.
        if add_at(FIRST + slot * STEP) && !unmask(SECOND_IO_APIC, slot as u32, io_apic::WAKE) {
            unmask(FIRST_IO_APIC, slot as u32 + 5, io_apic::WAKE);
            unmask(FIRST_IO_APIC, slot as u32 + 16, io_apic::WAKE);
        }
    }
    for (at, pin) in words {
        let is_slot = (FIRST..FIRST + COUNT * STEP).contains(&at);
        if at % 4 == 0 && !is_slot && add_at(at) {
            unmask(FIRST_IO_APIC, pin, io_apic::WAKE);
        }
    }
}

impl Transport for Mmio {
    fn offered(&self, half: u32) -> u32 {
        self.write(register::DEVICE_FEATURES_SEL, half);
        self.read(register::DEVICE_FEATURES)
    }

    fn accept(&self, half: u32, features: u32) {
        self.write(register::DRIVER_FEATURES_SEL, half);
        self.write(register::DRIVER_FEATURES, features);
    }

    fn set_status(&self, status: u8) {
        self.write(register::STATUS, status.into());
    }

    fn status(&self) -> u8 {
        self.read(register::STATUS) as u8
    }

    fn set_queue(&self, number: u16, len: usize, addresses: [usize; 3]) -> Option<usize> {
        const PAGE: usize = super::super::memory::PAGE;
        self.write(register::QUEUE_SEL, number.into());
        if self.read(register::QUEUE_NUM_MAX) < len as u32 {
            return None;
        }
        self.write(register::QUEUE_NUM, len as u32);
        if self.is_legacy {
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
        Some(self.at + register::QUEUE_NOTIFY)
    }

    fn notify(&self, at: usize, number: u16) {
        self.write(at - self.at, number.into());
    }

    fn config(&self, at: usize) -> u32 {
        self.read(register::CONFIG + at)
    }

    fn acknowledge(&self) -> bool {
        let status = self.read(register::INTERRUPT_STATUS);
        self.write(register::INTERRUPT_ACK, status);
        status & CHANGED != 0
    }
}
