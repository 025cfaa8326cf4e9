//! What the process, or the machine, stands on: a clock, entropy, a console. The only module beside `mem` with unsafe code.
//!
//! `linux` is a kernel that is Linux, or almost. The attributes that a host test must not inherit (global allocator, panic
//! handler, `mem*`) stand in `main.rs`.

#![allow(unsafe_code)]

pub mod linux;

pub use linux::{Errno, entropy, now, seed, sleep, wall_clock};
