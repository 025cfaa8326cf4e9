//! The heap for objects that are freed again, mostly TCP buffers. Its memory is cut from the region.
//!
//! Blocks are whole pages. `linked_list_allocator` writes its list into free memory, which would touch a page of each buffer; it
//! therefore manages an array of marks, one for each page. The buffers of a connection that carries no data, as of a SYN flood, stay
//! untouched and take no memory.

use crate::mem::Ends as _;
use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr::{self, NonNull};

/// Size of a page of the heap in bytes: two of the processor's. Each half-open connection touches its marks, and larger pages have
/// fewer.
const PAGE: usize = 8192;
/// Size of a mark in bytes: the smallest block of `linked_list_allocator`, two words.
const MARK: usize = 16;

struct Heap {
    marks: linked_list_allocator::Heap,
    /// The first page.
    pages: *mut u8,
}

struct Shared(RefCell<Heap>);

// SAFETY: only the thread of the loop allocates and frees: workers (`sys::linux::workers::run`) make system calls only, and no
// signal handler allocates. Tests have several threads, but use another allocator.
unsafe impl Sync for Shared {}

static HEAP: Shared = Shared(RefCell::new(Heap {
    marks: linked_list_allocator::Heap::empty(),
    pages: ptr::null_mut(),
}));

/// The layout of the marks of a block.
fn marks(layout: Layout) -> Option<Layout> {
    let size = layout.size().div_ceil(PAGE) * MARK;
    Layout::from_size_align(size, MARK).ok()
}

impl Heap {
    /// Creates a heap in `bytes`.
    fn new(bytes: &'static mut [u8]) -> Self {
        let gap = bytes.as_ptr().align_offset(MARK);
        let bytes = bytes.tail_mut(gap);
        // The space of one page is for the alignment of the others.
        let count = (bytes.len() / (PAGE + MARK)).saturating_sub(1);
        let (array, pages) = bytes.split_at_mut(count * MARK);
        let gap = pages.as_ptr().align_offset(PAGE);
        let mut marks = linked_list_allocator::Heap::empty();
        // SAFETY: nothing else refers to `array` while the process runs.
        unsafe { marks.init(array.as_mut_ptr(), array.len()) };
        Self {
            marks,
            pages: pages.as_mut_ptr().wrapping_add(gap),
        }
    }

    /// Allocates the first free pages that are adjacent and large enough. Returns a null pointer if there are none.
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let block = marks(layout).and_then(|layout| self.marks.allocate_first_fit(layout).ok());
        block.map_or(ptr::null_mut(), |block| {
            let mark = block.as_ptr().addr() - self.marks.bottom().addr();
            self.pages.wrapping_add(mark / MARK * PAGE)
        })
    }

    /// Frees a block of the heap; ignores other blocks.
    ///
    /// # Safety
    /// The block was allocated with this layout, and nothing refers to it.
    unsafe fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        let mark = block.addr().wrapping_sub(self.pages.addr()) / PAGE * MARK;
        if mark < self.marks.size()
            && let Some(block) = NonNull::new(self.marks.bottom().wrapping_add(mark))
            && let Some(layout) = marks(layout)
        {
            // SAFETY: the block is within the heap, so these marks were allocated for it.
            unsafe { self.marks.deallocate(block, layout) };
        }
    }
}

/// Makes `bytes` the heap. From now on, allocations come from it, except zeroed ones, which come from the region and are never
/// freed. Called once.
pub fn set_heap(bytes: &'static mut [u8]) {
    *HEAP.0.borrow_mut() = Heap::new(bytes);
}

/// Allocates a block. `None`: there is no heap. A null pointer: the heap is full.
pub(super) fn alloc(layout: Layout) -> Option<*mut u8> {
    let mut heap = HEAP.0.borrow_mut();
    (heap.marks.size() > 0).then(|| heap.alloc(layout))
}

/// Frees a block of the heap; ignores blocks of the region.
///
/// # Safety
/// The block was allocated with this layout, and nothing refers to it.
pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    // SAFETY: the caller's promise.
    unsafe { HEAP.0.borrow_mut().dealloc(block, layout) };
}

/// Allocates `len` bytes of unspecified content without touching them. `None`: the heap is full.
pub fn bytes(len: usize) -> Option<alloc::vec::Vec<u8>> {
    let mut bytes = alloc::vec::Vec::new();
    bytes.try_reserve_exact(len).ok()?;
    // Zeroed by the allocator: without optimisation, filling a buffer byte by byte takes longer than a test with it.
    #[cfg(any(test, fuzzing))]
    {
        bytes = alloc::vec![0; len];
    }
    // SAFETY: `len` bytes were reserved. The heap is in the region, which was zeroed, so all of its bytes are initialized.
    #[cfg(not(any(test, fuzzing)))]
    unsafe {
        bytes.set_len(len);
    };
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 64;

    /// Creates a heap of [`COUNT`] pages.
    fn heap() -> Heap {
        Heap::new(vec![0; (COUNT + 1) * (PAGE + MARK) + MARK].leak())
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, PAGE).unwrap()
    }

    #[test]
    fn blocks_are_aligned_distinct_and_untouched() {
        let mut heap = heap();
        // SAFETY: the heap has this many pages and writes to none of them, nor does this test.
        let all: &[u8] = unsafe { core::slice::from_raw_parts(heap.pages, COUNT * PAGE) };
        let mut end = heap.pages;
        for size in [1, PAGE, PAGE + 1, 3 * PAGE, 57 * PAGE] {
            let block = heap.alloc(layout(size));
            assert_eq!((block, block.addr() % PAGE), (end, 0), "{size}");
            end = end.wrapping_add(size.next_multiple_of(PAGE));
        }
        assert!(heap.alloc(layout(PAGE)).is_null());
        assert!(all.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn freed_pages_are_joined_and_other_blocks_ignored() {
        let mut heap = heap();
        let blocks: Vec<_> = (0..COUNT / 2)
            .map(|_| heap.alloc(layout(2 * PAGE)))
            .collect();
        assert!(heap.alloc(layout(1)).is_null());
        // SAFETY: the block was allocated above.
        unsafe { heap.dealloc(blocks[7], layout(2 * PAGE)) };
        assert!(heap.alloc(layout(3 * PAGE)).is_null());
        // SAFETY: the block was allocated above.
        unsafe { heap.dealloc(blocks[8], layout(2 * PAGE)) };
        assert_eq!(heap.alloc(layout(4 * PAGE)), blocks[7]);
        // Blocks before and after the heap.
        let before = heap.marks.bottom();
        for other in [
            before,
            heap.pages.wrapping_add(COUNT * PAGE),
            ptr::null_mut(),
        ] {
            // SAFETY: the heap ignores these blocks.
            unsafe { heap.dealloc(other, layout(PAGE)) };
        }
        assert_eq!(heap.marks.free(), 0);
        for size in [(COUNT + 1) * PAGE, isize::MAX as usize - PAGE] {
            assert!(heap.alloc(layout(size)).is_null());
        }
    }
}
