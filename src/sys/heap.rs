//! The arena: all memory that is not the stack or a constant, cut once at start. And slots, what it is cut into.
//!
//! It lies in .bss, so what is not touched costs nothing. Neither grows: what does not fit fails.

use crate::config::ARENA_BYTES;
use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
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

    /// Nothing is given back: what is allocated at start lasts to the end.
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// A vector with so many places and never more. A place is touched when it is used first.
#[derive(Debug)]
pub struct Slots<T>(Vec<T>);

impl<T> Slots<T> {
    /// `count` places, all empty.
    pub fn new(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// Whether all places are taken.
    pub const fn is_full(&self) -> bool {
        self.0.len() == self.0.capacity()
    }

    /// Appends an element; where it is, or `None` when all places are taken.
    pub fn push(&mut self, element: T) -> Option<usize> {
        if self.is_full() {
            return None;
        }
        self.0.push(element);
        Some(self.0.len() - 1)
    }

    /// Takes the last element away.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

impl Slots<u8> {
    /// `count` zero bytes.
    pub fn zeroed(count: usize) -> Self {
        let mut slots = Self::new(count);
        slots.extend(count);
        slots
    }

    /// Appends `count` zero bytes; whether there was room for all of them.
    pub fn extend(&mut self, count: usize) -> bool {
        // Vec's own way would bring the code that grows it.
        let room = self.0.spare_capacity_mut();
        let Some(room) = room.get_mut(..count) else {
            return false;
        };
        room.fill(MaybeUninit::new(0));
        // SAFETY: these places lie within the capacity, and were filled above.
        unsafe { self.0.set_len(self.0.len() + count) };
        true
    }
}

impl<T> Deref for Slots<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_take_what_fits_and_no_more() {
        let mut slots = Slots::new(2);
        assert_eq!(
            [slots.push(b'a'), slots.push(b'b'), slots.push(b'c')],
            [Some(0), Some(1), None]
        );
        assert_eq!((slots.pop(), &slots[..]), (Some(b'b'), &b"a"[..]));
        assert!(!slots.extend(2) && slots.extend(1) && slots.is_full());
        assert_eq!(slots[..], *b"a\0");
    }
}
