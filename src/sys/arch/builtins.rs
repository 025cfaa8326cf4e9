//! C library functions that the compiler calls: memcpy, memmove, memset, memcmp, bcmp, strlen; an atomic swap on aarch64.
//!
//! They are part of the binary only: in the library they would replace libc's in every program that links it. The library's unit
//! tests have them under other symbols. Short ranges are copied by words, because `rep` takes some 30 cycles to start; long ones
//! by `rep` where the processor has it.

use core::ffi::{c_char, c_int};
use core::mem::size_of;

/// Shortest copy (bytes) for which `rep` is faster than words.
#[cfg(target_arch = "x86_64")]
const REP_BYTES_MIN: usize = 128;

/// Copies `len` bytes forward.
///
/// # Safety
/// Both ranges are valid, and `to` is not less than `len` bytes after `from`.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    let mut at = 0;
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if len >= REP_BYTES_MIN && crate::sys::is_bare() {
            // `movsq` instead of `movsb`, because an emulator takes the same time for eight bytes as for one. Real processors would
            // be slower if the ranges are not aligned.
            core::arch::asm!("rep movsq", inout("rcx") len / 8 => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags));
            at = len & !7;
        } else if len >= REP_BYTES_MIN {
            core::arch::asm!("rep movsb", inout("rcx") len => _, inout("rdi") to => _, inout("rsi") from => _,
                options(nostack, preserves_flags));
            return to;
        }
        while at + size_of::<usize>() <= len {
            to.add(at)
                .cast::<usize>()
                .write_unaligned(from.add(at).cast::<usize>().read_unaligned());
            at += size_of::<usize>();
        }
        while at < len {
            *to.add(at) = *from.add(at);
            at += 1;
        }
    }
    to
}

/// Copies `len` bytes between ranges that may overlap.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges. The copy runs backwards if a forward copy would overwrite bytes before it reads
    // them.
    unsafe {
        if (to as usize).wrapping_sub(from as usize) >= len {
            return memcpy(to, from, len);
        }
        let mut at = len;
        // Each word is read before it is written, and the bytes before it are read before they are overwritten, because `to` is
        // behind `from`: so the distance may be shorter than a word.
        while at >= size_of::<usize>() {
            at -= size_of::<usize>();
            to.add(at)
                .cast::<usize>()
                .write_unaligned(from.add(at).cast::<usize>().read_unaligned());
        }
        while at > 0 {
            at -= 1;
            // Volatile, or the compiler would make this loop a call of memmove.
            to.add(at).write_volatile(from.add(at).read_volatile());
        }
    }
    to
}

/// Sets `len` bytes.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, len: usize) -> *mut u8 {
    // SAFETY: the caller vouches that `len` bytes at `to` are writable.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        core::arch::asm!("rep stosb", inout("rcx") len => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
        #[cfg(not(target_arch = "x86_64"))]
        for at in 0..len {
            *to.add(at) = byte as u8;
        }
    }
    to
}

/// Compares `len` bytes. Returns a negative number, zero or a positive number.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, len: usize) -> c_int {
    let mut at = 0;
    // SAFETY: the caller vouches for both ranges.
    unsafe {
        while at + size_of::<usize>() <= len
            && left.add(at).cast::<usize>().read_unaligned()
                == right.add(at).cast::<usize>().read_unaligned()
        {
            at += size_of::<usize>();
        }
        // The last word overlaps the words before, which are equal.
        let rest = len.wrapping_sub(size_of::<usize>());
        if rest < at
            && left.add(rest).cast::<usize>().read_unaligned()
                == right.add(rest).cast::<usize>().read_unaligned()
        {
            return 0;
        }
        while at < len {
            let difference = c_int::from(*left.add(at)) - c_int::from(*right.add(at));
            if difference != 0 {
                return difference;
            }
            at += 1;
        }
    }
    0
}

/// Compares `len` bytes. Returns zero if they are equal.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, len: usize) -> c_int {
    // SAFETY: the caller vouches for both ranges.
    unsafe { memcmp(left, right, len) }
}

/// Returns the number of bytes before the NUL.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn strlen(text: *const c_char) -> usize {
    let mut len = 0;
    // SAFETY: the caller vouches for the NUL. Volatile, or the compiler would make this loop a call of strlen.
    unsafe {
        while text.add(len).read_volatile() != 0 {
            len += 1;
        }
    }
    len
}

/// Atomic swap, called by compiled code. Without this function the C library's would be linked, which first detects newer
/// instructions.
#[cfg(target_arch = "aarch64")]
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn __aarch64_swp4_relax(new: u32, at: *mut u32) -> u32 {
    let old;
    // SAFETY: the caller vouches that `at` is the address of a valid word.
    unsafe {
        core::arch::asm!(
            "2: ldxr {old:w}, [{at}]",
            "stxr {failed:w}, {new:w}, [{at}]",
            "cbnz {failed:w}, 2b", // Retries after another write came between load and store.
            old = out(reg) old, failed = out(reg) _, new = in(reg) new, at = in(reg) at,
            options(nostack, preserves_flags));
    }
    old
}

#[cfg(test)]
mod tests {
    use super::memmove;

    #[test]
    fn overlapping_ranges_are_moved_at_every_distance() {
        let bytes: [u8; 256] = core::array::from_fn(|index| (index * 7) as u8);
        // Lengths around a word's, and around that from which `rep` copies.
        for len in (0..=40).chain(120..=136) {
            for (from, to) in (0..=20).flat_map(|from| (0..=20).map(move |to| (from, to))) {
                let (mut moved, mut expected) = (bytes, bytes);
                expected.copy_within(from..from + len, to);
                let base = moved.as_mut_ptr();
                // SAFETY: both ranges are within `moved`.
                let end = unsafe { memmove(base.add(to), base.add(from), len) };
                assert_eq!(end, base.wrapping_add(to));
                assert_eq!(moved, expected, "{len} bytes from {from} to {to}");
            }
        }
    }
}
