//! The arguments that the file was started with: those of a process, or the words of a kernel's command line.

use core::ffi::{CStr, c_char};

/// The arguments, the name that the file was started by first.
#[derive(Clone, Debug)]
pub struct Args {
    rest: &'static [*const c_char],
}

impl Args {
    /// Arguments at these addresses.
    ///
    /// # Safety
    /// Each is a string that ends with NUL and lasts as long as the process.
    pub(super) const unsafe fn new(rest: &'static [*const c_char]) -> Self {
        Self { rest }
    }
}

impl Iterator for Args {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // SAFETY: that of `new`.
        Some(unsafe { CStr::from_ptr(*first) })
    }
}
