//! Memory of the process: one mapping, made at its start.

use core::mem::MaybeUninit;
use syscalls::{Sysno, raw_syscall};

#[cfg(target_pointer_width = "64")]
const MMAP: Sysno = Sysno::mmap;
#[cfg(target_pointer_width = "32")]
const MMAP: Sysno = Sysno::mmap2;
/// Address space (bytes) left for the growth of the stack; it counts against RLIMIT_AS, as the region does.
const STACK_BYTES: usize = 256 << 10;
/// Step (bytes) by which the wanted size is reduced after ENOMEM.
const STEP_BYTES: usize = 16 << 10;

/// PROT_READ | PROT_WRITE.
pub(super) const READ_WRITE: usize = 3;
/// MAP_ANONYMOUS | MAP_NORESERVE.
const ANONYMOUS_NORESERVE: usize = 0x4020;
const PRIVATE: usize = 2;
pub(super) const SHARED: usize = 1;

/// Maps `len` zero bytes.
#[inline(never)] // −25 bytes: four callers.
pub(super) fn map(len: usize, protection: usize, sharing: usize) -> Option<*mut MaybeUninit<u8>> {
    // SAFETY: a new mapping at an address that the kernel chooses.
    let at = unsafe {
        raw_syscall!(
            MMAP,
            0,
            len,
            protection,
            ANONYMOUS_NORESERVE | sharing,
            -1isize,
            0
        )
    };
    // Only the last 4,095 values are errors; other addresses may also be negative as an `isize`.
    (at < -4095isize as usize).then_some(at as *mut MaybeUninit<u8>)
}

/// Returns `wanted` bytes of untouched, zeroed memory, or as many as RLIMIT_AS and RLIMIT_DATA allow; perhaps none.
pub fn region(wanted: usize) -> &'static mut [MaybeUninit<u8>] {
    let mut len = wanted.next_multiple_of(STEP_BYTES);
    loop {
        // The end of the mapping is unmapped at once, so that the stack can grow by as much.
        if let Some(at) = map(len + STACK_BYTES, READ_WRITE, PRIVATE) {
            // SAFETY: this function made the mapping, and nothing uses its memory.
            unsafe { raw_syscall!(Sysno::munmap, at.add(len), STACK_BYTES) };
            // SAFETY: a mapping of `len` bytes that nothing else uses and that is never unmapped.
            return unsafe { core::slice::from_raw_parts_mut(at, len) };
        }
        if len == 0 {
            return &mut [];
        }
        len -= STEP_BYTES;
    }
}
