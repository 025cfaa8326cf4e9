//! The interface of `heap` in an executable without the built-in network stack: no block is ever freed.

use core::alloc::Layout;

/// No block is on the heap.
pub(super) const fn alloc(_: Layout) -> Option<*mut u8> {
    None
}

/// Does nothing.
///
/// # Safety
/// None is required.
pub(super) const unsafe fn dealloc(_: *mut u8, _: Layout) {}
