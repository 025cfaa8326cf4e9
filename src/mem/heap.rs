//! The heap for objects that are freed again, mostly TCP buffers. Its memory is cut from the region.
//!
//! Blocks are whole pages. A map beside them shows which pages are allocated, so that the heap itself writes to no block: the buffers
//! of a connection that carries no data, as of a SYN flood, stay untouched and take no memory.

use core::alloc::Layout;
use core::cell::RefCell;
use core::ptr;

/// Size of a page in bytes.
const PAGE: usize = 4096;

struct Heap {
    /// A byte for each page: 1 if the page is allocated.
    map: &'static mut [u8],
    /// The first page.
    pages: *mut u8,
}

struct Shared(RefCell<Heap>);

// SAFETY: the process has one thread, and its signal handlers do not allocate. Tests have several threads, but use another
// allocator.
unsafe impl Sync for Shared {}

static HEAP: Shared = Shared(RefCell::new(Heap {
    map: &mut [],
    pages: ptr::null_mut(),
}));

impl Heap {
    /// Creates a heap in `bytes`, which are zero.
    fn new(bytes: &'static mut [u8]) -> Self {
        // The space of one page is for the alignment of the others.
        let count = (bytes.len() / (PAGE + 1)).saturating_sub(1);
        let (map, pages) = bytes.split_at_mut(count);
        let gap = pages.as_ptr().align_offset(PAGE);
        Self {
            map,
            pages: pages.as_mut_ptr().wrapping_add(gap),
        }
    }

    /// Allocates the first free pages that are adjacent and large enough. Returns a null pointer if there are none.
    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let count = layout.size().div_ceil(PAGE);
        let mut start = 0;
        while let Some(pages) = self.map.get_mut(start..start + count) {
            let Some(last) = pages.iter().rposition(|page| *page != 0) else {
                pages.fill(1);
                return self.pages.wrapping_add(start * PAGE);
            };
            start += last + 1;
        }
        ptr::null_mut()
    }

    /// Frees a block of the heap; ignores other blocks.
    fn dealloc(&mut self, block: *mut u8, layout: Layout) {
        let start = block.addr().wrapping_sub(self.pages.addr()) / PAGE;
        let count = layout.size().div_ceil(PAGE);
        if let Some(pages) = self.map.get_mut(start..start + count) {
            pages.fill(0);
        }
    }
}

/// Makes `bytes`, which are zero, the heap. From now on, allocations come from it, except zeroed ones, which come from the region and
/// are never freed. Called once.
pub fn set_heap(bytes: &'static mut [u8]) {
    *HEAP.0.borrow_mut() = Heap::new(bytes);
}

/// Allocates a block. `None`: there is no heap. A null pointer: the heap is full.
pub(super) fn alloc(layout: Layout) -> Option<*mut u8> {
    let mut heap = HEAP.0.borrow_mut();
    (!heap.map.is_empty()).then(|| heap.alloc(layout))
}

/// Frees a block of the heap; ignores blocks of the region.
///
/// # Safety
/// The block was allocated with this layout, and nothing refers to it.
pub(super) unsafe fn dealloc(block: *mut u8, layout: Layout) {
    HEAP.0.borrow_mut().dealloc(block, layout);
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

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 64;

    /// Creates a heap of [`COUNT`] pages.
    fn heap() -> Heap {
        Heap::new(vec![0; (COUNT + 1) * (PAGE + 1)].leak())
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
        heap.dealloc(blocks[7], layout(2 * PAGE));
        assert!(heap.alloc(layout(3 * PAGE)).is_null());
        heap.dealloc(blocks[8], layout(2 * PAGE));
        assert_eq!(heap.alloc(layout(4 * PAGE)), blocks[7]);
        // Blocks before and after the heap.
        let map = heap.map.as_ptr().cast_mut();
        for other in [map, heap.pages.wrapping_add(COUNT * PAGE), ptr::null_mut()] {
            heap.dealloc(other, layout(PAGE));
        }
        assert!(heap.map.iter().all(|page| *page == 1));
        for size in [(COUNT + 1) * PAGE, isize::MAX as usize - PAGE] {
            assert!(heap.alloc(layout(size)).is_null());
        }
    }
}
