//! Replaces `bare` in builds that cannot boot without an operating system. `is_beneath` is constant false, so the compiler drops
//! every call of the functions here.

use crate::time::Instant;
use core::mem::MaybeUninit;

/// Returns true if the program runs without an operating system: never in this build.
pub(super) const fn is_beneath() -> bool {
    false
}

macro_rules! absent {
    ($(fn $name:ident($($type:ty),*) -> $result:ty;)*) => {$(
        pub(super) fn $name($(_: $type),*) -> $result {
            // Unreachable: `is_beneath` is false.
            panic!()
        }
    )*};
}

absent! {
    fn now() -> Instant;
    fn wall_clock() -> (i64, u32);
    fn entropy(&mut [u8; 16]) -> ();
    fn seed() -> [u8; 16];
    fn console(&[u8]) -> ();
    fn print(&[u8]) -> bool;
    fn is_terminal() -> bool;
    fn region(usize) -> &'static mut [MaybeUninit<u8>];
    fn descriptor_limit() -> usize;
    fn raise_descriptor_limit() -> usize;
    fn hold_streams(i32) -> bool;
    fn user_id() -> u32;
    fn host_name(&mut [u8]) -> usize;
    fn hardware_address() -> Option<[u8; 6]>;
    fn current_dir(&mut [u8]) -> Option<usize>;
    fn variable(&[u8]) -> Option<&'static [u8]>;
    fn exit(i32) -> !;
}
