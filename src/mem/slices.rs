//! Helpers for bytes that need unsafe code.

use super::bytes;
use core::ffi::CStr;
use core::num::NonZeroU32;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// The text before the first NUL of `bytes`, whose last byte must be one; else the empty text.
pub fn c_str(bytes: &[u8]) -> &CStr {
    match bytes.last() {
        // SAFETY: a NUL ends the text within the slice, and both live equally long.
        Some(0) => unsafe { CStr::from_ptr(bytes.as_ptr().cast()) },
        _ => c"",
    }
}

/// Moves what lies behind the first `used` bytes to the beginning; how many bytes these are.
pub const fn shift(bytes: &mut [u8], used: usize) -> usize {
    let Some(left) = bytes.len().checked_sub(used) else {
        return 0;
    };
    let to = bytes.as_mut_ptr();
    // SAFETY: both ranges lie within the slice.
    unsafe { to.copy_from(to.add(used), left) };
    left
}

/// Bytes that are made when they are wanted first, and once more when more of them are wanted.
#[derive(Debug)]
pub struct Made {
    first: AtomicPtr<u8>,
    count: AtomicU32,
}

impl Made {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "a Default could not be const")]
    pub const fn new() -> Self {
        Self {
            first: AtomicPtr::new(ptr::null_mut()),
            count: AtomicU32::new(0),
        }
    }

    /// At least so many. If there are not, `make` makes them, of zeros.
    #[inline(always)]
    pub fn get(&self, count: NonZeroU32, make: impl Fn(&mut [u8])) -> &'static [u8] {
        let count = count.get();
        // The process has one thread, tests have several.
        #[cfg(any(test, fuzzing))]
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        #[cfg(any(test, fuzzing))]
        let _one = ONE.lock();
        if self.count.load(Ordering::Relaxed) < count {
            let bytes = bytes(count as usize);
            make(bytes);
            self.first.store(bytes.as_mut_ptr(), Ordering::Relaxed);
            self.count.store(count, Ordering::Relaxed);
        }
        let first = self.first.load(Ordering::Relaxed);
        // SAFETY: those of a slice that lasts as long as the process and is not changed any more: at least one was wanted.
        unsafe { core::slice::from_raw_parts(first, self.count.load(Ordering::Relaxed) as usize) }
    }
}
