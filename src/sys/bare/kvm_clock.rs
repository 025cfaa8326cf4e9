//! The wall clock that KVM keeps for its guests (Linux' Documentation/virt/kvm/x86/msr.rst and cpuid.rst).

use core::arch::asm;
use core::arch::x86_64::__cpuid;

/// CPUID leaves: the hypervisor's name, and KVM's features with the bit of the two registers below.
const HYPERVISOR: u32 = 0x4000_0000;
const FEATURES: u32 = HYPERVISOR + 1;
const CLOCKSOURCE2: u32 = 1 << 3;
/// Registers. An address written to them is where KVM writes: the wall clock at the machine's start (`Wall`); the time since then
/// (`Elapsed`, bit 0 of the address turns it on).
const MSR_KVM_WALL_CLOCK_NEW: u32 = 0x4b56_4d00;
const MSR_KVM_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;
const IS_ON: usize = 1;

/// `pvclock_wall_clock`.
#[repr(C, align(4))]
#[derive(Default)]
struct Wall {
    version: u32,
    secs: u32,
    nanos: u32,
}

/// `pvclock_vcpu_time_info`. `elapsed` is in nanoseconds, at the value `ticks` of the time-stamp counter.
#[repr(C, align(32))] // A divisor of the page size: it must not cross a page.
#[derive(Default)]
struct Elapsed {
    version: u32,
    pad: u32,
    ticks: u64,
    elapsed: u64,
    scale: u32,
    shift: i8,
    flags: u8,
}

/// Writes a model-specific register.
fn write_register(register: u32, value: usize) {
    // SAFETY: KVM announced the register. It then writes to memory that belongs to it, see the callers.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32);
    }
}

/// Milliseconds since 1970; `None` if the hypervisor is not KVM.
pub(super) fn now_ms() -> Option<u64> {
    // The name is "KVMKVMKVM".
    let is_kvm = __cpuid(HYPERVISOR).ebx == u32::from_le_bytes(*b"KVMK");
    if !is_kvm || __cpuid(FEATURES).eax & CLOCKSOURCE2 == 0 {
        return None;
    }
    let (mut wall, mut elapsed) = (Wall::default(), Elapsed::default());
    let (wall, elapsed) = (&raw mut wall, &raw mut elapsed);
    write_register(MSR_KVM_WALL_CLOCK_NEW, wall.addr());
    write_register(MSR_KVM_SYSTEM_TIME_NEW, elapsed.addr() | IS_ON);
    // SAFETY: KVM writes both before the instruction after the write to the register, and `Elapsed` again until it is turned off.
    let (wall, elapsed) = unsafe { (wall.read_volatile(), elapsed.read_volatile()) };
    write_register(MSR_KVM_SYSTEM_TIME_NEW, 0);
    Some(sum_ms(&wall, &elapsed))
}

/// The time of both together, in milliseconds: `Elapsed` was written just now.
fn sum_ms(wall: &Wall, elapsed: &Elapsed) -> u64 {
    u64::from(wall.secs) * 1000 + (u64::from(wall.nanos) + elapsed.elapsed) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_clock_is_start_plus_elapsed_time() {
        let wall = Wall {
            secs: 1_795_430_730,
            nanos: 999_000_000,
            ..Wall::default()
        };
        let elapsed = Elapsed {
            elapsed: 2_001_500_000,
            ..Elapsed::default()
        };
        assert_eq!(sum_ms(&wall, &elapsed), 1_795_430_733_000);
        assert_eq!(
            (size_of::<Wall>(), core::mem::offset_of!(Elapsed, elapsed)),
            (12, 16)
        );
    }
}
