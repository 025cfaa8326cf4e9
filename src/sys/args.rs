//! Command-line arguments: those of a process, or the words of a kernel command line.

use crate::mem::{self, Slots};
use core::ffi::{CStr, c_char};

/// The arguments; the first is the program's name (`argv[0]`).
#[derive(Clone, Debug)]
pub struct Args {
    rest: &'static [*const c_char],
}

impl Args {
    /// Wraps a list of pointers to C strings.
    ///
    /// # Safety
    /// Each pointer is to a NUL-terminated string that lives as long as the process.
    pub(super) const unsafe fn new(rest: &'static [*const c_char]) -> Self {
        Self { rest }
    }

    /// Number of arguments left.
    pub const fn remaining_count(&self) -> usize {
        self.rest.len()
    }

    /// Splits a command line into words at blanks. Quotes have no special meaning.
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
                // SAFETY: the buffer has a byte for each byte of the line, and one more for the last NUL.
                unsafe { *to = *byte };
            }
            before = *byte;
            // SAFETY: the buffer is long enough, so the next position is within it or directly after it.
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
        // SAFETY: `new` requires valid strings; `split` ends each word with NUL.
        Some(unsafe { CStr::from_ptr(*first) })
    }
}
