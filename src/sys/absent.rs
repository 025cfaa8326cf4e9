//! A machine without an operating system beneath, in a file that does not boot there: all of it is left out by the compiler.

use crate::time::Instant;
use core::mem::MaybeUninit;

/// Whether the file runs on a machine of its own.
pub(super) const fn is_beneath() -> bool {
    false
}

macro_rules! absent {
    ($(fn $name:ident($($type:ty),*) -> $result:ty;)*) => {$(
        pub(super) fn $name($(_: $type),*) -> $result {
            // What cannot be reached while `is_beneath` is false.
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
    fn region(usize) -> &'static mut [MaybeUninit<u8>];
    fn descriptor_limit() -> usize;
    fn user_id() -> u32;
    fn host_name(&mut [u8]) -> usize;
    fn hardware_address() -> Option<[u8; 6]>;
    fn current_dir(&mut [u8]) -> Option<usize>;
    fn variable(&[u8]) -> Option<&'static [u8]>;
    fn exit(i32) -> !;
}
