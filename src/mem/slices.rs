//! Helpers for bytes that need unsafe code.

use core::ffi::CStr;

/// The text before the first NUL of `bytes`; empty if the last byte is not NUL.
pub fn c_str(bytes: &[u8]) -> &CStr {
    match bytes.last() {
        // SAFETY: a NUL within the slice ends the text, and the result borrows the slice.
        Some(0) => unsafe { CStr::from_ptr(bytes.as_ptr().cast()) },
        _ => c"",
    }
}

/// Copies as many bytes as fit.
#[inline(never)]
pub fn copy_into(to: &mut [u8], from: &[u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Removes the first `used` bytes by moving the rest to the start; returns the length of the rest.
#[inline(never)]
pub const fn shift(bytes: &mut [u8], used: usize) -> usize {
    let Some(left) = bytes.len().checked_sub(used) else {
        return 0;
    };
    let to = bytes.as_mut_ptr();
    // SAFETY: both ranges lie within the slice.
    unsafe { to.copy_from(to.add(used), left) };
    left
}
