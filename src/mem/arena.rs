//! The region that all memory beside the stack comes from, and the global allocator over it.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr;

/// The allocator over the region, for a process of one thread.
///
/// Nothing is ever given back, so there is nothing to keep a list of: a general allocator would be 700 bytes more.
#[derive(Debug)]
pub struct Allocator;

/// All of what a table would have without a limit.
const WHOLE: usize = 1 << 10;

/// What is left of the region, and what the tables are made to fit.
struct Arena {
    next: Cell<*mut u8>,
    left: Cell<usize>,
    /// What tables get of what they would have without a limit.
    share: Cell<usize>,
    /// Bytes that could not be had.
    missing: Cell<usize>,
}

// SAFETY: the process has one thread, and no signal handler that does anything but end it, so no two calls overlap. Tests have
// several, but another allocator, and none of them gives a region.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena {
    next: Cell::new(ptr::null_mut()),
    left: Cell::new(0),
    share: Cell::new(WHOLE),
    missing: Cell::new(0),
};

/// Gives the process its memory: `region`, all of it zero and aligned to a page. `wanted` bytes were asked for, `fixed` bytes of
/// which do not depend on the sizes of tables. Called once, before anything is allocated.
pub fn give(region: &'static mut [MaybeUninit<u8>], wanted: usize, fixed: usize) {
    let given = region.len().min(wanted).saturating_sub(fixed);
    // In units in which neither overflows.
    ARENA
        .share
        .set((given >> 10) * WHOLE / ((wanted - fixed) >> 10));
    ARENA.left.set(region.len());
    ARENA.next.set(region.as_mut_ptr().cast());
}

/// How many entries a table has that would have `count` of them in a region as large as was wanted, and has `least` in any.
pub fn scaled(least: usize, count: usize) -> usize {
    (count * ARENA.share.get() / WHOLE).max(least)
}

/// Bytes that could not be had, if memory was short.
pub fn shortage() -> Option<usize> {
    Some(ARENA.missing.get()).filter(|bytes| *bytes > 0)
}

// SAFETY: each block lies in the region, is aligned, and begins where the one before ended, or it is the heap's.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(feature = "smol")]
        if let Some(block) = super::heap::alloc(layout) {
            return block;
        }
        cut(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // What is handed out for the first time, and nothing ever is again, is zero and untouched.
        cut(layout)
    }

    #[cfg(not(feature = "smol"))]
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}

    #[cfg(feature = "smol")]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the same contract.
        unsafe { super::heap::dealloc(block, layout) };
    }
}

/// Cuts a block off the region; a null pointer if there is too little.
fn cut(layout: Layout) -> *mut u8 {
    let (next, left) = (ARENA.next.get(), ARENA.left.get());
    let gap = next.addr().wrapping_neg() & (layout.align() - 1);
    // No layout is so large that this would overflow.
    let size = gap + layout.size();
    if size > left {
        ARENA.missing.set(size - left);
        return ptr::null_mut();
    }
    ARENA.left.set(left - size);
    // SAFETY: within the region, as was asked above.
    unsafe {
        ARENA.next.set(next.add(size));
        next.add(gap)
    }
}
