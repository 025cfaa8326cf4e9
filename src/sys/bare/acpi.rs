//! ACPI: switches the machine off, and reports its power button. Only the fixed tables are read, and one object of the DSDT.

use super::io_apic::{BUTTON, FIRST_IO_APIC, unmask};
use super::memory::word;
use super::{Single, write_port, write_port_16};
use core::arch::naked_asm;
use core::sync::atomic::{AtomicBool, Ordering};

/// Offsets in the FADT (ACPI 6.4, section 5.2.9).
mod fadt {
    pub(super) const DSDT: u64 = 40;
    pub(super) const SCI_INT: u64 = 46;
    pub(super) const SMI_CMD: u64 = 48;
    pub(super) const ACPI_ENABLE: u64 = 52;
    pub(super) const PM1A_EVT_BLK: u64 = 56;
    pub(super) const PM1A_CNT_BLK: u64 = 64;
    pub(super) const PM1_EVT_LEN: u64 = 88;
    pub(super) const FLAGS: u64 = 112;
    /// A Generic Address Structure: the kind of address in the first byte, the address 4 bytes later.
    pub(super) const SLEEP_CONTROL_REG: u64 = 244;
}

/// Flag of the FADT: no fixed registers but those for sleep.
const HW_REDUCED_ACPI: u32 = 1 << 20;
/// Bits of PM1 control: ACPI is on; the type of sleep begins at a bit; enter it.
const SCI_EN: u16 = 1;
const PM1_SLP_TYP: u32 = 10;
const PM1_SLP_EN: u16 = 1 << 13;
/// Bit of PM1 status and PM1 enable: the power button.
const PWRBTN: u16 = 1 << 8;
/// Bits of the sleep control register: the type of sleep begins at a bit; enter it.
const SLP_TYP: u32 = 2;
const SLP_EN: u8 = 1 << 5;
/// QEMU's generic event device (docs/specs/acpi_hw_reduced_hotplug of QEMU): its interrupt, and the distance in bytes from its event
/// register to the sleep control register. A read of the event register acknowledges the events.
const EVENT_PIN: u32 = 9;
const EVENT_BYTES: usize = 0x200;

/// How the machine is switched off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Off {
    /// Unknown.
    Unknown,
    /// A value for PM1a control, and its port.
    Port(u16, u16),
    /// A value for the sleep control register, and its port.
    BytePort(u16, u8),
    /// A value for the sleep control register, and its address.
    Memory(usize, u8),
}

static OFF: Single<Off> = Single::new(Off::Unknown);

/// True once the power button was pressed.
static IS_PRESSED: AtomicBool = AtomicBool::new(false);

/// Returns true once the power button was pressed.
pub fn is_button_pressed() -> bool {
    IS_PRESSED.load(Ordering::Relaxed)
}

/// Handler of the power button's interrupt. No other event is enabled.
#[unsafe(naked)]
pub(super) extern "C" fn button() {
    naked_asm!("mov byte ptr [rip + {}], 1", "iretq", sym IS_PRESSED)
}

/// Finds the registers by the root pointer at `root` (0: none) and enables the power button. All tables are below 4 GiB.
pub(super) fn start(root: u64) {
    let Some(table) = find(root, *b"FACP") else {
        return;
    };
    let field = |at: u64| word(table + at);
    let sleep_type = sleep_type_5(field(fadt::DSDT).into());
    if field(fadt::FLAGS) & HW_REDUCED_ACPI != 0 {
        let value = sleep_type << SLP_TYP | SLP_EN;
        let address = field(fadt::SLEEP_CONTROL_REG + 4) as usize;
        if field(fadt::SLEEP_CONTROL_REG) as u8 != 0 {
            OFF.set(Off::BytePort(address as u16, value));
            return;
        }
        if address < EVENT_BYTES {
            // Firecracker has no such register.
            return;
        }
        OFF.set(Off::Memory(address, value));
        // SAFETY: a device register, or a bus address without a device.
        unsafe { ((address - EVENT_BYTES) as *const u32).read_volatile() };
        unmask(FIRST_IO_APIC, EVENT_PIN, BUTTON);
        return;
    }
    let port = |at: u64| field(at) as u16;
    let (events, control) = (port(fadt::PM1A_EVT_BLK), port(fadt::PM1A_CNT_BLK));
    if control == 0 {
        return;
    }
    let value = u16::from(sleep_type) << PM1_SLP_TYP | PM1_SLP_EN;
    OFF.set(Off::Port(control, value | SCI_EN));
    if port(fadt::SMI_CMD) != 0 {
        write_port(port(fadt::SMI_CMD), field(fadt::ACPI_ENABLE) as u8);
    }
    // The enable register follows the status register.
    write_port_16(events, PWRBTN);
    write_port_16(events + (field(fadt::PM1_EVT_LEN) as u8 / 2) as u16, PWRBTN);
    unmask(FIRST_IO_APIC, port(fadt::SCI_INT).into(), BUTTON);
}

/// Finds a table by its signature. The root table has 32-bit or 64-bit addresses (RSDT, XSDT).
fn find(root: u64, signature: [u8; 4]) -> Option<u64> {
    /// Most tables to look at, and length of a table's header in bytes.
    const COUNT_MAX: u64 = 64;
    const HEAD_BYTES: u64 = 36;
    // The last byte is the revision: only later ones have an XSDT.
    let (list, step) = match word(root + 12) >> 24 {
        0 => (word(root + 16), 4),
        _ => (word(root + 24), 8),
    };
    let list = u64::from(list);
    let count = u64::from(word(list + 4)).saturating_sub(HEAD_BYTES) / step;
    let mut tables =
        (0..count.min(COUNT_MAX)).map(|number| u64::from(word(list + HEAD_BYTES + number * step)));
    tables.find(|table| word(*table) == u32::from_le_bytes(signature))
}

/// Finds the type of sleep S5 (off) in the DSDT: the first element of the package `_S5_` (sections 7.4.2 and 20.2). 0 if there is none.
fn sleep_type_5(table: u64) -> u8 {
    /// Most bytes to search.
    const BYTES_MAX: u32 = 1 << 20;
    const NAME: u32 = u32::from_le_bytes(*b"_S5_");
    const PACKAGE: u8 = 0x12;
    const BYTE_PREFIX: u8 = 0x0a;
    let end = table + u64::from(word(table + 4).min(BYTES_MAX));
    let found = (table..end).find(|at| word(*at) == NAME && word(*at + 4) as u8 == PACKAGE);
    // After the name and PackageOp: the package's length (its upper two bits: further bytes of it), its number of elements.
    let Some(name) = found else { return 0 };
    let value = word(name + 7 + u64::from(word(name + 5) as u8 >> 6));
    match value as u8 {
        BYTE_PREFIX => (value >> 8) as u8,
        number => number,
    }
}

/// Switches the machine off, if it has ACPI.
pub(super) fn power_off() {
    match OFF.get() {
        Off::Unknown => {}
        Off::Port(port, value) => write_port_16(port, value),
        Off::BytePort(port, value) => write_port(port, value),
        // SAFETY: a device register of the machine.
        Off::Memory(address, value) => unsafe { (address as *mut u8).write_volatile(value) },
    }
}
