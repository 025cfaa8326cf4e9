//! The arguments that the file was started with: those of a process, or the words of a kernel's command line.

use crate::mem::{self, Slots};
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

    /// The words of a line, with blanks between them: of a command, as a shell is given it. Quotes mean nothing.
    #[inline(never)]
    pub fn split(line: &[u8]) -> Self {
        let count_max = line.len() + 1;
        let mut words = Slots::new(count_max);
        // A NUL ends each word.
        let mut to = mem::bytes(count_max).as_mut_ptr();
        let mut before = b' ';
        for byte in line {
            if *byte > b' ' {
                if before <= b' ' {
                    words.push(to.cast_const().cast());
                }
                // SAFETY: there is a place for each byte of the line, and one more.
                unsafe { *to = *byte };
            }
            before = *byte;
            // SAFETY: as above.
            to = unsafe { to.add(1) };
        }
        Self { rest: words.leak() }
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
