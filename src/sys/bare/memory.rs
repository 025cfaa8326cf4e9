//! Which memory is whose, and what was told at the start.
//!
//! Behind the file lie, in pages: 0 to 5 the tables that the entry made, 6 that of the file's own 2 MiB, 7 what the processor finds
//! its way by, 8 a guard, 9 and 10 the stack for exceptions, 11 a guard, then the stack. What follows is free.

use super::Single;
use crate::mem::Ends as _;
use core::mem::MaybeUninit;

pub(super) const PAGE: usize = 4096;
/// Bytes that one entry of a directory maps.
pub(super) const LARGE: usize = 2 << 20;
/// Where each of them lies behind the file.
pub(super) const PAGE_DIRECTORIES: usize = 2 * PAGE;
pub(super) const PAGE_TABLE: usize = 6 * PAGE;
pub(super) const PROCESSOR: usize = 7 * PAGE;
pub(super) const EXCEPTION_GUARD: usize = 8 * PAGE;
pub(super) const EXCEPTION_STACK_END: usize = 11 * PAGE;
pub(super) const GUARD: usize = 11 * PAGE;
/// Where the stack ends, which the entry begins with.
pub const STACK_END: usize = GUARD + PAGE + (128 << 10);
/// In the processor's page: the command line, and what tells that this is not the first start since the power came.
pub(super) const LINE: usize = PROCESSOR + 0x400;
/// Bytes of the command line that are kept.
pub const LINE_BYTES_MAX: usize = 2048;
pub(super) const MARK: usize = PROCESSOR + PAGE - 8;
pub(super) const MARKED: u64 = u64::from_le_bytes(*b"stowaway");

unsafe extern "C" {
    /// Where the file ends in memory.
    static __bare_free: [u8; 0];
}

/// What was told.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// Where free memory begins and ends.
    pub(super) memory: (usize, usize),
    /// Where the module (an initial RAM disk) lies, and its bytes.
    pub(super) module: (usize, usize),
    pub(super) line_len: usize,
    /// The file's code.
    pub(super) code: (u64, u64),
}

pub(super) static TOLD: Single<Told> = Single::new(Told {
    memory: (0, 0),
    module: (0, 0),
    line_len: 0,
    code: (0, 0),
});

/// Where the file ends in memory.
pub(super) fn free() -> usize {
    (&raw const __bare_free).addr()
}

/// All memory that is not used: zeros.
pub(super) fn free_memory() -> &'static mut [MaybeUninit<u8>] {
    let (start, end) = TOLD.get().memory;
    if end <= start {
        return &mut [];
    }
    // SAFETY: nothing else lies there, and it is handed out once.
    unsafe { core::slice::from_raw_parts_mut(start as *mut MaybeUninit<u8>, end - start) }
}

/// Bytes of that.
pub fn memory_bytes() -> usize {
    let (start, end) = TOLD.get().memory;
    end.saturating_sub(start)
}

/// The module that was loaded beside the file; empty if there is none.
pub fn module() -> &'static [u8] {
    let (at, len) = TOLD.get().module;
    if len == 0 {
        return &[];
    }
    // SAFETY: it lies outside of all other memory, and nobody writes to it.
    unsafe { core::slice::from_raw_parts(at as *const u8, len) }
}

/// The command line.
pub fn command_line() -> &'static [u8] {
    // SAFETY: it was copied there.
    let line = unsafe { &*((free() + LINE) as *const [u8; LINE_BYTES_MAX]) };
    line.head(TOLD.get().line_len)
}

/// Whether there is code of ours at this address.
pub(super) fn is_code(address: u64) -> bool {
    let (from, end) = TOLD.get().code;
    (from..end - 1).contains(&address)
}

/// Whether this lies beneath a stack.
pub(super) fn is_guard(address: u64) -> bool {
    let page = address as usize & !(PAGE - 1);
    page == free() + GUARD || page == free() + EXCEPTION_GUARD
}
