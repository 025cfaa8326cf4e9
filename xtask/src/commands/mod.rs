//! The commands of `cargo xtask`, one module each. `build`, `qemu`, `bench` and `size` are in the crate's other modules.

pub mod run;

#[cfg(feature = "workshop")]
pub mod fuzz;
#[cfg(feature = "workshop")]
pub mod hello;
#[cfg(feature = "image")]
pub mod image;
#[cfg(feature = "workshop")]
pub mod lockdown;
#[cfg(feature = "workshop")]
pub mod log;
#[cfg(feature = "workshop")]
pub mod order;
#[cfg(feature = "workshop")]
pub mod release;
#[cfg(feature = "workshop")]
pub mod syscalls;
#[cfg(feature = "workshop")]
pub mod test;
#[cfg(feature = "workshop")]
pub mod tidy;
