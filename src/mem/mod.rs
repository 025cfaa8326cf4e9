//! Memory: a region that is given at start, the slots and bytes that it is cut into, and helpers for slices of bytes.
//!
//! Nothing is given back: all tables have their sizes from the start, and what does not fit fails. Things that come and go in
//! sizes of their own, which only a network stack of our own has, are the heap's (`linked_list_allocator`).

#![allow(unsafe_code)]

mod arena;
#[cfg(feature = "smol")]
pub mod heap;
pub mod parts;
mod slices;
mod slots;

pub use arena::{Allocator, give, scaled, shortage};
pub use parts::{Ends, Parts, nth, parts, place_in};
pub use slices::{c_str, copy_into, shift};
pub use slots::{Slots, array, bytes, copy, leak};
