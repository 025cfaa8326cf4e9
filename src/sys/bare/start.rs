//! Start without an operating system: reads `hvm_start_info` from the hypervisor and sets the access rights of memory pages.

use super::memory::{
    BOOT_INFO, BootInfo, EXCEPTION_GUARD, EXCEPTION_STACK_END, GUARD, LARGE, LINE, LINE_BYTES_MAX,
    MARK, MARKED, PAGE, PAGE_DIRECTORIES, PAGE_TABLE, PROCESSOR, STACK_END, free,
};
use super::{IS_BENEATH, clock, traps};
use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::sync::atomic::Ordering;

/// Bits of a page table entry.
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;
const NO_EXECUTE: u64 = 1 << 63;

unsafe extern "C" {
    /// ELF header of the image, at its start in memory.
    static __ehdr_start: [u8; 0];
}

/// Reads a number at a physical address. Returns 0 for address 0 and above 4 GiB, which are not mapped.
fn read<T: Copy + Default>(at: u64) -> T {
    if at == 0 || at >= 4 << 30 {
        return T::default();
    }
    // SAFETY: the memory is mapped and nothing writes to it meanwhile; any bit pattern is a valid number.
    unsafe { (at as *const T).read_unaligned() }
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
        module: (0, 0),
        line_len: 0,
        code: (0, 0),
    };
    read_info(info, &mut boot_info);
    let (start, end) = boot_info.memory;
    // SAFETY: nothing else uses these pages: see the layout in `memory`.
    unsafe {
        let mark = (base + MARK) as *mut u64;
        let is_first = mark.read_volatile() != MARKED;
        let len = read_line(read(info + 24), base + LINE);
        boot_info.line_len = len;
        ((base + PROCESSOR) as *mut [u8; LINE - PROCESSOR]).write_bytes(0, 1);
        if !is_first && end > start {
            // Memory is zero after a power cycle, but not after a reset.
            (start as *mut u8).write_bytes(0, end - start);
        }
        mark.write_volatile(MARKED);
        protect(base, &mut boot_info);
        traps::install(base + PROCESSOR, base + EXCEPTION_STACK_END);
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
    let (modules, map): (u64, u64) = (read(info + 16), read(info + 40));
    let (module_count, entry_count): (u32, u32) = (read(info + 12), read(info + 48));
    let (start, _) = boot_info.memory;
    for number in 0..u64::from(entry_count.min(ENTRY_COUNT_MAX)) {
        let entry = map + number * 24;
        let (at, size, kind): (u64, u64, u32) = (read(entry), read(entry + 8), read(entry + 16));
        let end = at.saturating_add(size).min(4 << 30);
        if kind == RAM && (at..end).contains(&(start as u64)) {
            boot_info.memory.1 = end as usize & !(PAGE - 1);
        }
    }
    if module_count > 0 {
        let (at, size): (u64, u64) = (read(modules), read(modules + 8));
        let end = boot_info.memory.1 as u64;
        if at >= start as u64 && at <= end && size <= end - at {
            boot_info.module = (at as usize, size as usize);
            boot_info.memory.1 = at as usize & !(PAGE - 1);
        }
    }
}

/// Copies the command line to `to`; returns its length.
///
/// # Safety
/// There are [`LINE_BYTES_MAX`] bytes that nothing else uses at `to`.
unsafe fn read_line(from: u64, to: usize) -> usize {
    for at in 0..LINE_BYTES_MAX {
        let byte: u8 = match from {
            0 => 0,
            from => read(from + at as u64),
        };
        if byte == 0 {
            return at;
        }
        // SAFETY: required of the caller.
        unsafe { *((to + at) as *mut u8) = byte };
    }
    LINE_BYTES_MAX
}

/// Sets page rights so that no page is both writable and executable: each segment of the image gets the rights of its ELF header,
/// all else is not executable. The first 2 MiB (null pointers) and the stack guards are unmapped.
///
/// # Safety
/// The page tables are those that the entry made.
unsafe fn protect(base: usize, boot_info: &mut BootInfo) {
    // SAFETY: the caller vouches for the page tables, and the linker has written valid ELF headers.
    unsafe {
        let header = (&raw const __ehdr_start).addr() as u64;
        let first = header as usize & !(LARGE - 1);
        let table = (base + PAGE_TABLE) as *mut u64;
        for page in 0..LARGE / PAGE {
            let right = match base + EXCEPTION_GUARD {
                guard if first + page * PAGE == guard => 0,
                _ if first + page * PAGE == base + GUARD => 0,
                _ => PRESENT | WRITABLE | NO_EXECUTE,
            };
            *table.add(page) = match right {
                0 => 0,
                right => (first + page * PAGE) as u64 | right,
            };
        }
        for number in 0..u64::from(read::<u16>(header + 56)) {
            /// Segment type of a loaded segment; flags of executable and writable ones.
            const PT_LOAD: u32 = 1;
            const PF_X: u32 = 1;
            const PF_W: u32 = 2;
            let at = header + read::<u64>(header + 32) + number * 56;
            let (kind, flags): (u32, u32) = (read(at), read(at + 4));
            let (from, len): (u64, u64) = (read(at + 16), read(at + 40));
            if kind != PT_LOAD {
                continue;
            }
            let mut rights = PRESENT;
            if flags & PF_X == 0 {
                rights |= NO_EXECUTE;
            } else {
                boot_info.code = (from, from + len);
            }
            if flags & PF_W != 0 {
                rights |= WRITABLE;
            }
            let from = from as usize & !(PAGE - 1);
            let pages = (segment_end(at) - from).div_ceil(PAGE);
            for page in 0..pages {
                let address = from + page * PAGE;
                *table.add((address - first) / PAGE) = address as u64 | rights;
            }
        }
        let directories = (base + PAGE_DIRECTORIES) as *mut u64;
        for number in 0..4 * 512 {
            *directories.add(number) |= NO_EXECUTE;
        }
        *directories = 0;
        *directories.add(first / LARGE) = table as u64 | PRESENT | WRITABLE;
        asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack));
    }
}

/// End address of the segment with the program header at `at`.
fn segment_end(at: u64) -> usize {
    (read::<u64>(at + 16) + read::<u64>(at + 40)) as usize
}
