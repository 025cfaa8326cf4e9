//! The clock: the time-stamp counter (TSC). The local APIC's timer wakes the processor from [`idle`].

use super::io_apic::{self, WAKE};
use super::{Single, read_port, write_port};
use crate::time::Duration;
use core::arch::asm;
use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};

/// Source of the TSC's frequency.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// CPUID leaf 0x40000010 of the hypervisor (VMware, KVM).
    Hypervisor,
    /// CPUID leaf 0x15 of the processor.
    Processor,
    /// Measured against the APIC timer, which runs at 1 GHz in QEMU, KVM and Firecracker.
    Apic,
}

/// Frequencies of TSC and APIC timer.
#[derive(Clone, Copy)]
struct Clock {
    /// TSC value at the program's entry.
    began: u64,
    /// TSC frequency in kHz.
    khz: u64,
    /// APIC timer frequency in kHz.
    timer_khz: u64,
    source: Source,
}

static CLOCK: Single<Clock> = Single::new(Clock {
    began: 0,
    khz: 1_000_000,
    timer_khz: 1_000_000,
    source: Source::Apic,
});

/// Registers of the local APIC (Intel's manual, volume 3, table 11-1).
const APIC: usize = 0xfee0_0000;
const END_OF_INTERRUPT: usize = 0xb0;
const SPURIOUS: usize = 0xf0;
const TIMER: usize = 0x320;
const INITIAL_COUNT: usize = 0x380;
const CURRENT_COUNT: usize = 0x390;
const DIVIDE: usize = 0x3e0;
const DIVIDE_BY_1: u32 = 0b1011;
const DIVIDE_BY_128: u32 = 0b1010;
const ENABLED: u32 = 1 << 8;
const MASKED: u32 = 1 << 16;

fn write(register: usize, value: u32) {
    // SAFETY: a local APIC register; every 64-bit processor has it at this address.
    unsafe { ((APIC + register) as *mut u32).write_volatile(value) };
}

fn read(register: usize) -> u32 {
    // SAFETY: a local APIC register; every 64-bit processor has it at this address.
    unsafe { ((APIC + register) as *const u32).read_volatile() }
}

/// Returns the value of the time-stamp counter.
pub(super) fn ticks() -> u64 {
    // SAFETY: every 64-bit processor has RDTSC, and it is not disabled (CR4.TSD).
    unsafe { _rdtsc() }
}

/// Milliseconds since the start.
#[inline(never)] // −174 bytes: eight callers.
pub(super) fn elapsed_ms() -> u64 {
    let Clock { began, khz, .. } = CLOCK.get();
    (ticks() - began) / khz
}

/// TSC frequency in MHz, and its source.
pub fn describe_clock() -> (usize, Source) {
    let Clock { khz, source, .. } = CLOCK.get();
    ((khz / 1000) as usize, source)
}

/// Frequencies of TSC and APIC timer in kHz according to CPUID.
fn cpuid_frequencies() -> Option<(u64, u64, Source)> {
    const HYPERVISOR: u32 = 0x4000_0000;
    let has_hypervisor = __cpuid(1).ecx >> 31 != 0;
    if has_hypervisor && (HYPERVISOR + 0x10..HYPERVISOR + 0x100).contains(&__cpuid(HYPERVISOR).eax)
    {
        let leaf = __cpuid(HYPERVISOR + 0x10);
        if leaf.eax != 0 && leaf.ebx != 0 {
            return Some((leaf.eax.into(), leaf.ebx.into(), Source::Hypervisor));
        }
    }
    let last = __cpuid(0).eax;
    if last >= 0x15 {
        let leaf = __cpuid_count(0x15, 0);
        if leaf.eax != 0 && leaf.ebx != 0 && leaf.ecx != 0 {
            let khz = u64::from(leaf.ecx / 1000) * u64::from(leaf.ebx) / u64::from(leaf.eax);
            return Some((khz, u64::from(leaf.ecx / 1000), Source::Processor));
        }
    }
    None
}

/// Starts the clock. `began` is the TSC value at the program's entry.
pub(super) fn start(began: u64) {
    // Masks all interrupts of the legacy controllers (8259).
    write_port(0x21, 0xff);
    write_port(0xa1, 0xff);
    let _ = read_port(0x21);
    write(SPURIOUS, ENABLED | u32::from(io_apic::SPURIOUS));
    let (khz, timer_khz, source) = cpuid_frequencies().unwrap_or_else(measure);
    CLOCK.set(Clock {
        began,
        khz: khz.max(1),
        timer_khz,
        source,
    });
}

/// Measures the TSC against the APIC timer. Returns the frequencies of both in kHz. Terminates even if that timer does not count.
fn measure() -> (u64, u64, Source) {
    const KHZ: u64 = 1_000_000;
    /// Duration of the measurement in timer ticks: 0.5 ms.
    const WHILE: u32 = 500_000;
    /// Limit of timer reads, for a timer that does not count. Each read takes more than a nanosecond, so a working timer is read
    /// long enough.
    const LOOKS: u32 = WHILE;
    write(TIMER, MASKED);
    write(DIVIDE, DIVIDE_BY_1);
    write(INITIAL_COUNT, u32::MAX);
    let (first, began) = (read(CURRENT_COUNT), ticks());
    let (mut passed, mut ended) = (0, began);
    for _ in 0..LOOKS {
        (passed, ended) = (first.wrapping_sub(read(CURRENT_COUNT)), ticks());
        if passed >= WHILE {
            break;
        }
    }
    let khz = (ended - began) * KHZ / u64::from(passed.max(1));
    (khz, KHZ, Source::Apic)
}

/// Halts until an interrupt arrives or `limit` has passed (`None`: no limit); may return early. Interrupts are enabled only here:
/// one that arrives earlier stays pending and ends the halt at once.
pub fn idle(limit: Option<Duration>) {
    let count = match limit {
        // The counter has 32 bits, so the limit is one minute at most.
        Some(limit) => limit.as_ms().clamp(1, 60_000) * CLOCK.get().timer_khz / 128,
        None => 0,
    };
    write(DIVIDE, DIVIDE_BY_128);
    write(TIMER, WAKE.into());
    write(INITIAL_COUNT, count.min(u32::MAX.into()) as u32);
    // SAFETY: the interrupt handler returns without changing memory or registers.
    unsafe { asm!("sti", "hlt", "cli") };
    write(END_OF_INTERRUPT, 0);
}
