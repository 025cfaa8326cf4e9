//! The memory of the process: one mapping, made at its start.

use core::mem::MaybeUninit;
use syscalls::{Sysno, raw_syscall};

#[cfg(target_pointer_width = "64")]
const MMAP: Sysno = Sysno::mmap;
#[cfg(target_pointer_width = "32")]
const MMAP: Sysno = Sysno::mmap2;
/// Bytes that the stack grows by at most. They count against RLIMIT_AS, as the region does.
const STACK_BYTES: usize = 256 << 10;
/// Bytes by which less is tried where so many are refused.
const STEP_BYTES: usize = 16 << 10;

/// Protection of memory.
pub(super) const READ_WRITE: usize = 3;
/// Flags of a mapping that is of no file and takes memory when it is used.
const ANONYMOUS_NORESERVE: usize = 0x4020;
const PRIVATE: usize = 2;
#[cfg(feature = "serve")]
pub(super) const SHARED: usize = 1;

/// Maps `len` bytes of zeros.
#[inline(never)]
pub(super) fn map(len: usize, protection: usize, sharing: usize) -> Option<*mut MaybeUninit<u8>> {
    // SAFETY: a new mapping, wherever there is none.
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
    // The last page is that of errors: other addresses may be negative numbers, too.
    (at < -4095isize as usize).then_some(at as *mut MaybeUninit<u8>)
}

/// Memory of `wanted` bytes, all of them zero and untouched, or of as many as the limits of the process leave to it
/// (RLIMIT_AS, RLIMIT_DATA); perhaps none.
pub fn region(wanted: usize) -> &'static mut [MaybeUninit<u8>] {
    const NONE: usize = 0;
    // What cannot be written to counts as addresses, but not as data: so does a stack.
    let stack = map(STACK_BYTES, NONE, PRIVATE);
    let mut len = wanted.next_multiple_of(STEP_BYTES);
    let mut region = map(len, READ_WRITE, PRIVATE);
    while region.is_none() && len > STEP_BYTES {
        len -= STEP_BYTES;
        region = map(len, READ_WRITE, PRIVATE);
    }
    if let Some(stack) = stack {
        // SAFETY: nothing of ours is there.
        unsafe { raw_syscall!(Sysno::munmap, stack, STACK_BYTES) };
    }
    match region {
        // SAFETY: so many bytes that nothing else knows, and that are never given back.
        Some(at) => unsafe { core::slice::from_raw_parts_mut(at, len) },
        None => &mut [],
    }
}
