//! Memory layout, and what the hypervisor reported at the start.
//!
//! Pages after the program's image: 0 to 5 page tables made by the entry, 6 the page table of the image's 2 MiB, 7 descriptor
//! tables, 8 the command line, 9 guard, 10 and 11 exception stack, 12 guard, then the stack. The rest is free.

use super::Single;
use crate::mem::Ends as _;
use core::mem::MaybeUninit;

pub(super) const PAGE: usize = 4096;
/// Bytes mapped by one page directory entry.
pub(super) const LARGE: usize = 2 << 20;
/// Offsets (bytes from the end of the image) of the page directories, the page table, the descriptor tables, the guard pages and
/// the end of the exception stack.
pub(super) const PAGE_DIRECTORIES: usize = 2 * PAGE;
pub(super) const PAGE_TABLE: usize = 6 * PAGE;
pub(super) const PROCESSOR: usize = 7 * PAGE;
/// Offset (bytes from the end of the image) of the command line. Not a static variable: a process would have one more page of those.
pub(super) const LINE: usize = 8 * PAGE;
pub(super) const EXCEPTION_GUARD: usize = 9 * PAGE;
pub(super) const EXCEPTION_STACK_END: usize = 12 * PAGE;
pub(super) const GUARD: usize = 12 * PAGE;
/// Initial stack pointer (offset from the end of the image).
pub const STACK_END: usize = GUARD + PAGE + (128 << 10);
/// Longest command line (bytes); the rest is cut off.
pub const LINE_BYTES_MAX: usize = PAGE;
/// Offset (bytes from the end of the image) of a word in the page of the descriptor tables, by which a reset is distinguished from a
/// power cycle: only a reset preserves the word.
pub(super) const MARK: usize = PROCESSOR + PAGE - 8;
pub(super) const MARKED: u64 = u64::from_le_bytes(*b"stowaway");

unsafe extern "C" {
    /// End of the image in memory.
    static __bare_free: [u8; 0];
}

/// Values from the hypervisor and the image's headers.
#[derive(Clone, Copy)]
pub(super) struct BootInfo {
    /// Start and end of free memory.
    pub(super) memory: (usize, usize),
    /// Size (bytes) of memory elsewhere, which is not used.
    pub(super) unused: u64,
    /// Address and length of the module (an initial RAM disk).
    pub(super) module: (usize, usize),
    /// Size (bytes) of a module outside the memory of the image.
    pub(super) lost_module_bytes: u64,
    pub(super) line_len: usize,
    /// Start and end of the code.
    pub(super) code: (u64, u64),
}

pub(super) static BOOT_INFO: Single<BootInfo> = Single::new(BootInfo {
    memory: (0, 0),
    unused: 0,
    module: (0, 0),
    lost_module_bytes: 0,
    line_len: 0,
    code: (0, 0),
});

/// End of the image in memory.
pub(super) fn free() -> usize {
    (&raw const __bare_free).addr()
}

/// Reads a number at a physical address. Returns 0 for address 0 and above 4 GiB, which are not mapped.
pub(super) fn read<T: Copy + Default>(at: u64) -> T {
    if at == 0 || at >= 4 << 30 {
        return T::default();
    }
    // SAFETY: the memory is mapped and nothing writes to it meanwhile; any bit pattern is a valid number.
    unsafe { (at as *const T).read_unaligned() }
}

/// Reads four bytes at a physical address, as [`read`].
#[inline(never)] // −165 bytes: 29 callers.
pub(super) fn word(at: u64) -> u32 {
    read(at)
}

/// Reads eight bytes at a physical address, as [`word`].
#[inline(never)] // −61 bytes: eight callers.
pub(super) fn long(at: u64) -> u64 {
    read(at)
}

/// All free memory, zeroed.
pub(super) fn free_memory() -> &'static mut [MaybeUninit<u8>] {
    let (start, end) = BOOT_INFO.get().memory;
    if end <= start {
        return &mut [];
    }
    // SAFETY: nothing else uses this memory, and `sys::region` is called once.
    unsafe { core::slice::from_raw_parts_mut(start as *mut MaybeUninit<u8>, end - start) }
}

/// Size of free memory, in bytes.
#[inline(never)] // −83 bytes: four callers.
pub fn memory_bytes() -> usize {
    let (start, end) = BOOT_INFO.get().memory;
    end.saturating_sub(start)
}

/// Size (bytes) of memory above 4 GiB and of regions that do not contain the image. It is not used.
pub fn unused_bytes() -> u64 {
    BOOT_INFO.get().unused
}

/// Size (bytes) of a module that is not used, because it is outside the memory of the image; 0: there is none.
pub fn lost_module_bytes() -> u64 {
    BOOT_INFO.get().lost_module_bytes
}

/// The module (initial RAM disk) that the hypervisor loaded; empty if it loaded none.
pub fn module() -> &'static [u8] {
    let (at, len) = BOOT_INFO.get().module;
    if len == 0 {
        return &[];
    }
    // SAFETY: the module is outside all other memory in use, and nothing writes to it.
    unsafe { core::slice::from_raw_parts(at as *const u8, len) }
}

/// The command line.
#[inline(never)] // −123 bytes: six callers.
pub fn command_line() -> &'static [u8] {
    // SAFETY: `start::enter` has written the command line to this page, and it does not change any more.
    let line = unsafe { &*((free() + LINE) as *const [u8; LINE_BYTES_MAX]) };
    line.head(BOOT_INFO.get().line_len)
}

/// Returns true if the address is in the program's code.
pub(super) fn is_code(address: u64) -> bool {
    let (from, end) = BOOT_INFO.get().code;
    (from..end - 1).contains(&address)
}

/// Returns true if the address is in a guard page below a stack.
pub(super) fn is_guard(address: u64) -> bool {
    let page = address as usize & !(PAGE - 1);
    page == free() + GUARD || page == free() + EXCEPTION_GUARD
}
