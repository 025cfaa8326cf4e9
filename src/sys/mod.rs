//! What the file runs on: a clock, entropy, a console, memory. Beside `mem`, the only module with unsafe code.
//!
//! The functions here are a façade over two arms, one of which is chosen at run time: `linux` is a kernel that is Linux, or
//! almost; `bare` is a machine without one. What only a host with processes and files has is `linux`' alone. What a host test must
//! not inherit (`_start`, `mem*`) is in `arch`, which `main.rs` takes in.

#![allow(unsafe_code)]

mod args;
#[cfg(not(bare))]
#[path = "absent.rs"]
mod bare;
#[cfg(bare)]
pub mod bare;
pub mod interface;
pub mod linux;

pub use args::Args;
pub use linux::{Errno, trace_to};

use crate::time::Instant;
use core::mem::MaybeUninit;

/// Bytes of the id that ties a trace to its debug file.
pub const BUILD_ID_BYTES: usize = 8;

/// Whether the file runs on a machine of its own: it makes no system call there.
#[inline(always)]
pub fn is_bare() -> bool {
    bare::is_beneath()
}

macro_rules! facade {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        $(#[$doc])*
        #[cfg_attr(bare, inline(never))] // Two calls and a choice.
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
    /// The clock that files get their times from: seconds and nanoseconds since 1970.
    fn wall_clock() -> (i64, u32);
    /// Fills `out` with bytes that cannot be predicted.
    fn entropy(out: &mut [u8; 16]) -> ();
    /// 16 bytes that differ from one start to the next, and are no secret.
    fn seed() -> [u8; 16];
    /// Writes to where diagnostics go (standard error) what is taken there within half a second: a server does not wait for who
    /// never reads.
    fn console(bytes: &[u8]) -> ();
    /// Writes all of `bytes` to where output goes (standard output), and waits for that. False: it cannot be written.
    fn print(bytes: &[u8]) -> bool;
    /// Memory of `wanted` bytes, all of them zero and untouched, or of as many as there are; perhaps none. Called once.
    fn region(wanted: usize) -> &'static mut [MaybeUninit<u8>];
    /// Descriptors that may be open at once.
    fn descriptor_limit() -> usize;
    /// The number of the user as whom files are used.
    fn user_id() -> u32;
    /// Writes the name of the host to `out`; how many bytes, cut to its length.
    fn host_name(out: &mut [u8]) -> usize;
    /// The address of an interface, if there is one with an address of six bytes.
    fn hardware_address() -> Option<[u8; 6]>;
    /// Writes the absolute path that relative ones begin with to `out`; how many bytes. `None`: it is longer, or gone.
    fn current_dir(out: &mut [u8]) -> Option<usize>;
    /// What the environment has behind this name and its "=".
    fn variable(name: &[u8]) -> Option<&'static [u8]>;
    /// Ends the process, or the machine, with this status.
    fn exit(status: i32) -> !;
}
