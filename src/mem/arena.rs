//! The region for all memory except the stack, and the global allocator over it.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::ptr;

/// The allocator over the region, used by the loop's thread alone.
///
/// Blocks are never freed, so there is no free list; a general allocator would add 700 bytes.
#[derive(Debug)]
pub struct Allocator;

/// Size (bytes) from which on a block begins at a page. Such a table is mostly untouched: its first entries then take one page, not
/// two.
const SPARSE_BYTES: usize = 64 << 10;
/// Size of a page (bytes).
const PAGE_BYTES: usize = 4 << 10;

/// The value of `share` for tables of full size.
const WHOLE: usize = 1 << 10;

/// The free rest of the region, and the scale of the tables.
struct Arena {
    next: Cell<*mut u8>,
    left: Cell<usize>,
    /// Scale of the tables, in units of 1/[`WHOLE`].
    share: Cell<usize>,
    /// Shortage (bytes) of the last failed allocation; 0: none failed.
    missing: Cell<usize>,
}

// SAFETY: only the thread of the loop allocates: workers (`sys::linux::workers::run`) make system calls only, and no signal
// handler allocates. So no two calls overlap. Tests have several threads, but use another allocator and never set a region.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena {
    next: Cell::new(ptr::null_mut()),
    left: Cell::new(0),
    share: Cell::new(WHOLE),
    missing: Cell::new(0),
};

/// Sets the process's region, zeroed and page-aligned. `wanted` bytes were requested, of which `fixed` bytes do not scale with
/// the tables. Called before any allocation. If called again, the rest of the earlier region is not used any more.
pub fn set_region(region: &'static mut [MaybeUninit<u8>], wanted: usize, fixed: usize) {
    let given = region.len().min(wanted).saturating_sub(fixed);
    // In KiB, so that neither product nor quotient overflows.
    ARENA
        .share
        .set((given >> 10) * WHOLE / ((wanted - fixed) >> 10));
    ARENA.left.set(region.len());
    ARENA.next.set(region.as_mut_ptr().cast());
}

/// Returns the number of entries for a table that would have `count` if the region had its wanted size; at least `least`.
#[inline(never)] // −517 bytes: 35 callers.
pub fn scaled(least: usize, count: usize) -> usize {
    // In 64 bits: 4 MiB times the whole share is 2^32.
    let share = count as u64 * ARENA.share.get() as u64 / WHOLE as u64;
    (share as usize).max(least)
}

/// Returns how many bytes were missing if an allocation failed.
pub fn shortage() -> Option<usize> {
    Some(ARENA.missing.get()).filter(|bytes| *bytes > 0)
}

// SAFETY: each block is aligned, and begins in the region where the one before ended, or it is a block of the heap.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(block) = super::heap::alloc(layout) {
            return block;
        }
        cut(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Memory is never handed out twice, so it is zero and untouched.
        cut(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: required of the caller.
        unsafe { super::heap::dealloc(block, layout) };
    }
}

/// Cuts a block off the region; returns a null pointer if the rest is too small.
fn cut(layout: Layout) -> *mut u8 {
    let (next, left) = (ARENA.next.get(), ARENA.left.get());
    let align = match layout.size() {
        SPARSE_BYTES.. => PAGE_BYTES,
        _ => layout.align(),
    };
    let gap = next.addr().wrapping_neg() & (align - 1);
    // No layout is large enough to overflow this sum.
    let size = gap + layout.size();
    if size > left {
        ARENA.missing.set(size - left);
        return ptr::null_mut();
    }
    ARENA.left.set(left - size);
    // SAFETY: the block is within the region, as was checked above.
    unsafe {
        ARENA.next.set(next.add(size));
        next.add(gap)
    }
}
