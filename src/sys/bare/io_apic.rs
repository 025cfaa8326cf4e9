//! The I/O APICs, which deliver the interrupts of devices to the processor.

/// Vector of the interrupts that wake [`idle`](super::idle), of the power button, and of spurious interrupts.
pub(super) const WAKE: u8 = 32;
pub(super) const BUTTON: u8 = 33;
pub(super) const SPURIOUS: u8 = 34;

/// Addresses. The first register selects the register that the one 16 bytes later accesses.
pub(super) const FIRST_IO_APIC: usize = 0xfec0_0000;
pub(super) const SECOND_IO_APIC: usize = 0xfec1_0000;

/// Routes a pin to an interrupt vector, edge-triggered. Returns false if the controller has no such pin.
pub(super) fn unmask(controller: usize, pin: u32, vector: u8) -> bool {
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
    access(PINS + 2 * pin, Some(vector.into()));
    true
}
