//! The arena: all memory that is not the stack or a constant, cut once at start.
//!
//! It lies in .bss, so what is not touched costs nothing. It never grows: an allocation that does not fit fails.

use crate::config::ARENA_BYTES;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;

/// The allocator over the arena, for a process of one thread.
#[derive(Debug)]
pub struct Arena {
    heap: UnsafeCell<Heap>,
    ready: Cell<bool>,
    memory: UnsafeCell<[MaybeUninit<u8>; ARENA_BYTES]>,
}

// SAFETY: the process has one thread and no signal handlers, so no two calls overlap.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena that prepares itself at the first allocation.
    #[expect(clippy::new_without_default, reason = "a Default could not be const")]
    pub const fn new() -> Self {
        Self {
            heap: UnsafeCell::new(Heap::empty()),
            ready: Cell::new(false),
            memory: UnsafeCell::new([MaybeUninit::uninit(); ARENA_BYTES]),
        }
    }

    #[expect(
        clippy::mut_from_ref,
        reason = "one thread, and no reference outlives the call"
    )]
    fn heap(&self) -> &mut Heap {
        // SAFETY: one thread; the memory is the heap's alone and as static as the arena.
        unsafe {
            let heap = &mut *self.heap.get();
            if !self.ready.replace(true) {
                heap.init(self.memory.get().cast(), ARENA_BYTES);
            }
            heap
        }
    }
}

// SAFETY: blocks come from the heap, which hands out each only once.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.heap()
            .allocate_first_fit(layout)
            .map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the block came from `alloc` with this layout.
            unsafe { self.heap().deallocate(block, layout) }
        }
    }
}
