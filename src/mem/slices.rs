//! Helpers for bytes that need unsafe code.

use core::ffi::CStr;
use core::sync::atomic::{Ordering, compiler_fence};

/// The text before the first NUL of `bytes`; empty if the last byte is not NUL.
pub fn c_str(bytes: &[u8]) -> &CStr {
    match bytes.last() {
        // SAFETY: a NUL within the slice ends the text, and the result borrows the slice.
        Some(0) => unsafe { CStr::from_ptr(bytes.as_ptr().cast()) },
        _ => c"",
    }
}

/// Copies as many bytes as fit.
#[inline(never)] // −103 bytes: 21 callers.
pub fn copy_into(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Removes the first `used` bytes by moving the rest to the start; returns the length of the rest.
#[inline(never)] // −99 bytes: 12 callers.
pub const fn shift(bytes: &mut [u8], used: usize) -> usize {
    let Some(left) = bytes.len().checked_sub(used) else {
        return 0;
    };
    let to = bytes.as_mut_ptr();
    // SAFETY: both ranges lie within the slice.
    unsafe { to.copy_from(to.add(used), left) };
    left
}

/// Stores a word after all stores before it, even if the process is killed in between: an entry of shared memory counts only once
/// its last word is stored.
pub fn store_last(word: &mut [u8; 4], value: u32) {
    compiler_fence(Ordering::Release);
    // SAFETY: a reference is valid. One instruction stores a word.
    unsafe {
        core::ptr::from_mut(word)
            .cast::<u32>()
            .write_unaligned(value.to_be())
    };
    compiler_fence(Ordering::Release);
}

/// Hash of no bytes, for [`fnv1a`].
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
/// The prime of [`fnv1a`]; multiplication spreads similar numbers.
pub const FNV_PRIME: u64 = 0x100_0000_01b3;

/// Adds `bytes` to a hash: FNV-1a with 64 bits (RFC 9923).
pub fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    bytes.iter().fold(hash, mix)
}

/// Adds the whole words of `bytes` to a hash (FxHash with 32 bits); up to three bytes at the end are ignored.
pub fn fx_words(hash: u32, bytes: &[u8]) -> u32 {
    let words = bytes.as_chunks().0.iter();
    words.fold(hash, |hash: u32, word| {
        (hash.rotate_left(5) ^ u32::from_ne_bytes(*word)).wrapping_mul(0x9e37_79b9)
    })
}
