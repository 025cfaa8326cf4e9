//! Start without an operating system: reads `hvm_start_info` from the hypervisor and sets the access rights of memory pages.

use super::memory::{
    BOOT_INFO, BootInfo, EXCEPTION_STACK_END, LINE, LINE_BYTES_MAX, MARK, MARKED, PAGE, PROCESSOR,
    STACK_END, free, long, read, word,
};
use super::paging::{self, NO_EXECUTE, WRITABLE};
use super::{IS_BENEATH, acpi, clock, fw_cfg, traps};
use crate::mem::Ends as _;
use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::sync::atomic::Ordering;

unsafe extern "C" {
    /// ELF header of the image, at its start in memory.
    static __ehdr_start: [u8; 0];
}

/// Initialises memory, exceptions, console and clock.
///
/// # Safety
/// Called once, by the entry, with the address of `hvm_start_info`.
pub unsafe fn enter(info: u64) {
    // SAFETY: every 64-bit processor has RDTSC.
    let began = unsafe { _rdtsc() };
    IS_BENEATH.store(true, Ordering::Relaxed);
    let base = free();
    let mut boot_info = BootInfo {
        memory: (base + STACK_END, 0),
        unused: 0,
        module: (0, 0),
        lost_module_bytes: 0,
        line_len: 0,
        code: (0, 0),
    };
    read_info(info, &mut boot_info);
    let (start, end) = boot_info.memory;
    // SAFETY: nothing else uses these pages: see the layout in `memory`.
    unsafe {
        let mark = (base + MARK) as *mut u64;
        let is_first = mark.read_volatile() != MARKED;
        boot_info.line_len = read_line(
            long(info + 24),
            &mut *((base + LINE) as *mut [u8; LINE_BYTES_MAX]),
        );
        ((base + PROCESSOR) as *mut [u8; MARK - PROCESSOR]).write_bytes(0, 1);
        if (!is_first || boot_info.lost_module_bytes > 0) && end > start {
            // Memory is zero after a power cycle, but not after a reset, nor where a module lies that is not used.
            (start as *mut u8).write_bytes(0, end - start);
        }
        mark.write_volatile(MARKED);
        // Before the rights change, so that an exception is reported.
        traps::install(base + PROCESSOR, base + EXCEPTION_STACK_END);
        // Before the first 2 MiB are unmapped, where a hypervisor may put the tables.
        acpi::start(long(info + 32));
        protect(base, &mut boot_info);
    }
    BOOT_INFO.set(boot_info);
    super::start_console();
    clock::start(began);
}

/// Finds free memory and the module in `hvm_start_info` (Xen's arch-x86/hvm/start_info.h).
fn read_info(info: u64, boot_info: &mut BootInfo) {
    /// Memory map entries to read, at most.
    const ENTRY_COUNT_MAX: u32 = 128;
    /// Memory map type of usable RAM.
    const RAM: u32 = 1;
    let (modules, map) = (long(info + 16), long(info + 40));
    let (module_count, entry_count) = (word(info + 12), word(info + 48));
    /// Lower memory is used by firmware, or by nothing.
    const LOW_BYTES: u64 = 1 << 20;
    let (start, _) = boot_info.memory;
    for number in 0..u64::from(entry_count.min(ENTRY_COUNT_MAX)) {
        let entry = map + number * 24;
        let (at, size, kind) = (long(entry), long(entry + 8), word(entry + 16));
        let end = at.saturating_add(size).min(4 << 30);
        if kind != RAM || at < LOW_BYTES && end <= LOW_BYTES {
            continue;
        }
        let mut used = 0;
        if (at..end).contains(&(start as u64)) {
            boot_info.memory.1 = end as usize & !(PAGE - 1);
            used = end - at;
        }
        boot_info.unused += size.saturating_sub(used);
    }
    if module_count > 0 {
        let (at, size) = (long(modules), long(modules + 8));
        let end = boot_info.memory.1 as u64;
        if at >= start as u64 && at <= end && size <= end - at {
            boot_info.module = (at as usize, size as usize);
            boot_info.memory.1 = at as usize & !(PAGE - 1);
        } else {
            boot_info.lost_module_bytes = size;
        }
    }
}

/// Copies the command line at `from` (0: none), and the words in QEMU's file `opt/stowaway/args`, to `to`; returns their length.
fn read_line(from: u64, to: &mut [u8; LINE_BYTES_MAX]) -> usize {
    let mut len = 0;
    for (at, to) in (from..).zip(&mut *to) {
        *to = read(at);
        if *to == 0 {
            // Separates the words of both.
            *to = b' ';
            break;
        }
        len += 1;
    }
    let more = to.tail_mut(len + 1);
    let Some(count) = fw_cfg::read_firmware(b"opt/stowaway/args", more) else {
        return len;
    };
    for byte in more {
        // Lines of a file.
        *byte = (*byte).max(b' ');
    }
    len + 1 + count
}

/// Sets the page rights of the image's segments, by its ELF headers, whose numbers are below 4 GiB, and of all else. See [`paging::protect`].
///
/// # Safety
/// The page tables are those that the entry made.
unsafe fn protect(base: usize, boot_info: &mut BootInfo) {
    /// Segment type of a loaded segment; flags of executable and writable ones.
    const PT_LOAD: u32 = 1;
    const PF_X: u32 = 1;
    const PF_W: u32 = 2;
    let header = (&raw const __ehdr_start).addr() as u64;
    let numbers = 0..u64::from(word(header + 56) as u16);
    let mut segments = numbers.filter_map(|number| {
        let at = header + u64::from(word(header + 32)) + number * 56;
        let (kind, flags) = (word(at), word(at + 4));
        let (from, len) = (u64::from(word(at + 16)), u64::from(word(at + 40)));
        if kind != PT_LOAD {
            return None;
        }
        let mut rights = 0;
        if flags & PF_X == 0 {
            rights |= NO_EXECUTE;
        } else {
            boot_info.code = (from, from + len);
        }
        if flags & PF_W != 0 {
            rights |= WRITABLE;
        }
        Some((from as usize..(from + len) as usize, rights))
    });
    // SAFETY: the caller vouches for the page tables.
    unsafe {
        paging::protect(base, &mut segments, &mut |at, entry| {
            (at as *mut u64).write_volatile(entry);
        });
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}
