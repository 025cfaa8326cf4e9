//! The platform: clock, entropy, console, memory. Beside `mem`, the only module with unsafe code.
//!
//! The functions here call one of two implementations, chosen at run time: `linux` makes Linux system calls, `bare` drives a
//! machine without an operating system. Processes and host files are in `linux` alone. `arch` has what a host test must not link
//! (`_start`, `mem*`); `main.rs` includes it.

#![allow(unsafe_code)]

pub mod address;
mod args;
#[cfg(not(bare))]
#[path = "absent.rs"]
mod bare;
#[cfg(bare)]
pub mod bare;
#[cfg(test)]
#[path = "arch/builtins.rs"]
#[allow(dead_code)] // Only memmove and memcpy are tested.
mod builtins;
pub mod interface;
pub mod linux;
pub mod loss;

pub use args::Args;
pub use linux::process::has_supervisor;
pub use linux::sandbox::{Calls, FileRights, Needs};
pub use linux::{Errno, is_journal, log, log_path, reopen_log, report, trace_to};

use crate::time::Instant;
use core::mem::MaybeUninit;

/// Length (bytes) of the build id by which a trace finds its debug file.
pub const BUILD_ID_BYTES: usize = 8;

/// Returns true if the program runs without an operating system; it then makes no system call.
#[inline(always)]
pub fn is_bare() -> bool {
    bare::is_beneath()
}

/// A counter of the processor that runs at a constant rate, read without a system call. Constant on processors without one that a
/// process may read.
#[inline(always)]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction rdtsc only reads a counter. Every x86_64 processor has it.
    return unsafe { core::arch::x86_64::_rdtsc() };
    #[cfg(target_arch = "x86")]
    // SAFETY: as above; every i686 processor has it.
    return unsafe { core::arch::x86::_rdtsc() };
    #[cfg(target_arch = "aarch64")]
    {
        let ticks;
        // SAFETY: the instruction only reads a counter, which Linux lets processes read.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        return ticks;
    }
    #[cfg(target_arch = "arm")]
    0
}

macro_rules! facade {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        #[cfg_attr(bare, inline(never))] // Two calls and a branch: too large to copy into each caller.
        #[cfg_attr(not(bare), inline(always))]
        pub fn $name($($argument: $type),*) -> $result {
            if bare::is_beneath() {
                bare::$name($($argument),*)
            } else {
                linux::$name($($argument),*)
            }
        }
    )*};
}

facade! {
    /// The monotonic clock.
    fn now() -> Instant;
    /// Wall clock, for file times: seconds and nanoseconds since 1970.
    fn wall_clock() -> (i64, u32);
    /// Fills `out` with unpredictable bytes.
    fn entropy(out: &mut [u8; 16]) -> ();
    /// 16 bytes that differ at every start; they may be guessable.
    fn seed() -> [u8; 16];
    /// Writes diagnostics to standard error or the serial port. What a pipe or terminal has not accepted after half a second is
    /// dropped: a server does not wait for a reader that never reads.
    fn console(bytes: &[u8]) -> ();
    /// Writes all of `bytes` to standard output or the serial port; blocks. Returns false if the write fails.
    fn print(bytes: &[u8]) -> bool;
    /// Returns true if standard error is a terminal.
    fn is_terminal() -> bool;
    /// Returns `wanted` bytes of zeroed memory, or fewer (perhaps none) if there are not enough.
    fn region(wanted: usize) -> &'static mut [MaybeUninit<u8>];
    /// Maximum number of open descriptors.
    fn descriptor_limit() -> usize;
    /// Raises the maximum number of open descriptors as far as possible; returns it.
    fn raise_descriptor_limit() -> usize;
    /// Keeps closed standard streams, from the descriptor `first` to 2, from becoming files. Returns false if the kernel lacks
    /// openat, which every role needs.
    fn hold_streams(first: i32) -> bool;
    /// UID used for file access.
    fn user_id() -> u32;
    /// Copies the host name to `out`, truncated to its length; returns the number of bytes.
    fn host_name(out: &mut [u8]) -> usize;
    /// MAC address of an interface; `None` if no interface has one of six bytes.
    fn hardware_address() -> Option<[u8; 6]>;
    /// Copies the absolute path of the working directory to `out`; returns its length. `None` if it does not fit or was removed.
    fn current_dir(out: &mut [u8]) -> Option<usize>;
    /// Value of the environment variable `name`, which ends with "=".
    fn variable(name: &[u8]) -> Option<&'static [u8]>;
    /// Ends the process or powers the machine off, with this status.
    fn exit(status: i32) -> !;
}
