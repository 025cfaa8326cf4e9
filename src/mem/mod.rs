//! Memory: the region allocated at start, slots and bytes cut from it, and helpers for byte slices.
//!
//! The region is never freed: all tables get their sizes at start, and an element that does not fit is refused. Only our own
//! network stack has objects that come and go; they are in a heap (`linked_list_allocator`).

#![allow(unsafe_code)]

mod arena;
mod global;
#[cfg_attr(not(feature = "smol"), path = "no_heap.rs")]
pub mod heap;
mod letters;
pub mod parts;
mod slices;
mod slots;
mod twin;

pub use arena::{Allocator, scaled, set_region, shortage};
pub use global::Global;
pub use letters::{HAS_UTF8, Letters, is_control, is_utf8, letter, letters, printable};
pub use parts::{Ends, Parts, has_any, index_of, nth, parts};
pub use slices::{FNV_PRIME, FNV_START, c_str, copy_into, fnv1a, fx_words, shift, store_last};
pub use slots::{Slots, array, bytes, copy, leak, long_words, words};
pub use twin::Twin;
