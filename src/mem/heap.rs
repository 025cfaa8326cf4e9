//! The heap for objects that are freed again, mostly TCP buffers. Its memory is cut from the region.

use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::{self, NonNull};
use linked_list_allocator::Heap;

struct Shared(RefCell<Heap>);

// SAFETY: the process has one thread, and its signal handlers do not allocate. Tests have several threads, but use another
// allocator.
unsafe impl Sync for Shared {}

static HEAP: Shared = Shared(RefCell::new(Heap::empty()));

/// Makes `bytes` the heap. From now on, allocations come from it, except zeroed ones, which come from the region and are never
/// freed. Called once.
pub fn set_heap(bytes: &'static mut [u8]) {
    // SAFETY: nothing else refers to `bytes` while the process runs.
    unsafe { HEAP.0.borrow_mut().init(bytes.as_mut_ptr(), bytes.len()) };
}

/// Allocates a block. `None`: there is no heap. A null pointer: the heap is full.
pub(super) fn alloc(layout: Layout) -> Option<*mut u8> {
    let mut heap = HEAP.0.borrow_mut();
    if heap.size() == 0 {
        return None;
    }
    let block = heap.allocate_first_fit(layout);
    Some(block.map_or(ptr::null_mut(), NonNull::as_ptr))
}

/// Frees a block of the heap; ignores blocks of the region.
///
/// # Safety
/// The block was allocated with this layout, and nothing refers to it.
pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    let mut heap = HEAP.0.borrow_mut();
    if (heap.bottom()..heap.top()).contains(&block)
        && let Some(block) = NonNull::new(block)
    {
        // SAFETY: the block is within the heap, so the heap has allocated it.
        unsafe { heap.deallocate(block, layout) };
    }
}

/// Allocates `len` bytes of unspecified content without touching them. `None`: the heap is full.
pub fn bytes(len: usize) -> Option<alloc::vec::Vec<u8>> {
    let mut bytes = alloc::vec::Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    #[cfg(any(test, fuzzing))]
    bytes.resize(len, 0);
    // SAFETY: `len` bytes were reserved. The heap is in the region, which was zeroed, so all of its bytes are initialized.
    #[cfg(not(any(test, fuzzing)))]
    unsafe {
        bytes.set_len(len);
    };
    Some(bytes)
}
