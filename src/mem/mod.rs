//! The arena: all memory that is not the stack or a constant, cut once at start. And slots, what it is cut into.
//!
//! It lies in .bss, so what is not touched costs nothing. Neither grows: what does not fit fails.

#![allow(unsafe_code)]

pub mod parts;

use crate::config::ARENA_BYTES;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use core::num::NonZeroU32;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
pub use parts::{Ends, Parts, nth, parts, place_in};

/// The allocator over the arena, for a process of one thread.
///
/// Nothing is ever given back, so there is nothing to keep a list of: a general allocator would be 700 bytes more.
#[derive(Debug)]
pub struct Arena {
    /// Bytes that are handed out.
    used: Cell<usize>,
    memory: UnsafeCell<Memory>,
}

#[derive(Debug)]
#[repr(C, align(64))]
struct Memory([MaybeUninit<u8>; ARENA_BYTES]);

// SAFETY: the process has one thread, and no signal handler that does anything but end it, so no two calls overlap.
unsafe impl Sync for Arena {}

impl Arena {
    /// An arena of which nothing is used.
    #[expect(clippy::new_without_default, reason = "a Default could not be const")]
    pub const fn new() -> Self {
        Self {
            used: Cell::new(0),
            memory: UnsafeCell::new(Memory([MaybeUninit::uninit(); ARENA_BYTES])),
        }
    }
}

// SAFETY: each block lies in the arena, is aligned, and begins where the one before ended.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // An alignment is a power of two.
        let start = (self.used.get() + layout.align() - 1) & !(layout.align() - 1);
        // No layout is so large that this would overflow.
        let end = start + layout.size();
        if layout.align() > align_of::<Memory>() || end > ARENA_BYTES {
            return ptr::null_mut();
        }
        self.used.set(end);
        // SAFETY: within the arena, as was asked above.
        unsafe { self.memory.get().cast::<u8>().add(start) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // What is handed out for the first time, and nothing ever is again, is zero and untouched.
        // SAFETY: the same contract.
        unsafe { self.alloc(layout) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// A vector with so many places and never more. A place is touched when it is used first.
///
/// It lasts as long as the process: neither its places nor what is in them are given back. What `Vec` has beyond this, the
/// code that grows and frees it, would be larger than all of this room.
#[derive(Debug)]
pub struct Slots<T> {
    /// The first `len` of `count` places hold elements.
    places: NonNull<T>,
    len: u32,
    count: u32,
}

/// Memory for `count` elements, all of it zero. Called at start only: that the arena has room for all is asserted in `config`.
#[inline(never)]
fn cut(count: usize, element: Layout) -> NonNull<u8> {
    let size = element.size().saturating_mul(count);
    let mut memory = None;
    if size > 0 && size <= ARENA_BYTES {
        // SAFETY: it has a size, which is far smaller than what there can be, and the alignment is a type's.
        memory = NonNull::new(unsafe {
            let layout = Layout::from_size_align_unchecked(size, element.align());
            alloc::alloc::alloc_zeroed(layout)
        });
    }
    memory.unwrap_or_else(|| misused())
}

/// What is asked for at start cannot be had: more memory than there is, or a place for the second time.
#[cold]
#[inline(never)]
fn misused() -> ! {
    panic!()
}

impl<T> Slots<T> {
    /// `count` places, all empty.
    pub fn new(count: usize) -> Self {
        Self {
            places: cut(count, Layout::new::<T>()).cast(),
            len: 0,
            count: count as u32,
        }
    }

    /// Whether all places are taken.
    pub const fn is_full(&self) -> bool {
        self.len == self.count
    }

    /// Appends an element; where it is, or `None` when all places are taken.
    pub fn push(&mut self, element: T) -> Option<usize> {
        let at = self.len as usize;
        if self.is_full() {
            return None;
        }
        // SAFETY: there is a place after the last element.
        unsafe { self.places.add(at).write(element) };
        self.len += 1;
        Some(at)
    }

    /// The elements, for as long as the process lasts.
    pub fn leak(self) -> &'static mut [T]
    where
        T: 'static,
    {
        let kept = core::mem::ManuallyDrop::new(self);
        // SAFETY: the places are never given back, and nobody else knows them.
        unsafe { core::slice::from_raw_parts_mut(kept.places.as_ptr(), kept.len as usize) }
    }

    /// Takes the last element away.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: this place held an element, and counts as empty from now on.
        Some(unsafe { self.places.add(self.len as usize).read() })
    }
}

/// The text before the first NUL of `bytes`, whose last byte must be one; else the empty text.
pub fn c_str(bytes: &[u8]) -> &CStr {
    match bytes.last() {
        // SAFETY: a NUL ends the text within the slice, and both live equally long.
        Some(0) => unsafe { CStr::from_ptr(bytes.as_ptr().cast()) },
        _ => c"",
    }
}

/// A value for as long as the process lasts. Called at start only.
pub fn leak<'a, T: 'a>(value: T) -> &'a mut T {
    alloc::boxed::Box::leak(alloc::boxed::Box::new(value))
}

/// `count` zero bytes for as long as the process lasts, touched when they are used first.
#[inline(never)]
pub fn bytes(count: usize) -> &'static mut [u8] {
    Slots::zeroed(count).leak()
}

/// Moves what lies behind the first `used` bytes to the beginning; how many bytes these are.
pub const fn shift(bytes: &mut [u8], used: usize) -> usize {
    let Some(left) = bytes.len().checked_sub(used) else {
        return 0;
    };
    let to = bytes.as_mut_ptr();
    // SAFETY: both ranges lie within the slice.
    unsafe { to.copy_from(to.add(used), left) };
    left
}

/// The same as many as the type says.
pub fn array<const COUNT: usize>() -> &'static mut [u8; COUNT] {
    // SAFETY: so many zero bytes, which nobody else knows and nobody gives back.
    unsafe { cut(COUNT, Layout::new::<u8>()).cast().as_mut() }
}

impl Slots<u8> {
    /// `count` zero bytes, touched when they are used first.
    pub fn zeroed(count: usize) -> Self {
        let mut slots = Self::new(count);
        slots.len = count as u32;
        slots
    }

    /// Appends `count` zero bytes; whether there was room for all of them.
    pub fn extend(&mut self, count: usize) -> bool {
        if count > (self.count - self.len) as usize {
            return false;
        }
        // SAFETY: so many places are empty.
        unsafe { self.places.add(self.len as usize).write_bytes(0, count) };
        self.len += count as u32;
        true
    }
}

/// Room for one value, which is there from the beginning and taken at most once. If it is zeros, they are not in the file.
#[derive(Debug)]
pub struct Place<T> {
    taken: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: only who takes the value first gets to it.
unsafe impl<T> Sync for Place<T> {}

impl<T> Place<T> {
    /// Room with this in it.
    pub const fn new(value: T) -> Self {
        Self {
            taken: AtomicU32::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// What is in it, for whoever asks first. Called at start only.
    #[expect(clippy::mut_from_ref, reason = "there is no second one")]
    pub fn take(&'static self) -> &'static mut T {
        if self.taken.swap(1, Ordering::Relaxed) != 0 {
            misused();
        }
        // SAFETY: nobody else gets here, and it lasts as long as the process.
        unsafe { &mut *self.value.get() }
    }
}

/// Bytes that are made when they are wanted first, and once more when more of them are wanted.
#[derive(Debug)]
pub struct Made {
    first: AtomicPtr<u8>,
    count: AtomicU32,
}

impl Made {
    /// None yet.
    #[expect(clippy::new_without_default, reason = "a Default could not be const")]
    pub const fn new() -> Self {
        Self {
            first: AtomicPtr::new(ptr::null_mut()),
            count: AtomicU32::new(0),
        }
    }

    /// At least so many. If there are not, `make` makes them, of zeros.
    #[inline(always)]
    pub fn get(&self, count: NonZeroU32, make: impl Fn(&mut [u8])) -> &'static [u8] {
        let count = count.get();
        // The process has one thread, tests have several.
        #[cfg(any(test, fuzzing))]
        static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
        #[cfg(any(test, fuzzing))]
        let _one = ONE.lock();
        if self.count.load(Ordering::Relaxed) < count {
            let bytes = bytes(count as usize);
            make(bytes);
            self.first.store(bytes.as_mut_ptr(), Ordering::Relaxed);
            self.count.store(count, Ordering::Relaxed);
        }
        let first = self.first.load(Ordering::Relaxed);
        // SAFETY: those of a slice that lasts as long as the process and is not changed any more: at least one was wanted.
        unsafe { core::slice::from_raw_parts(first, self.count.load(Ordering::Relaxed) as usize) }
    }
}

/// Tests start many servers in one process, which may have no more than 4 GiB to give away.
#[cfg(any(test, fuzzing))]
impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        let layout = Layout::array::<T>(self.count as usize).unwrap();
        while self.pop().is_some() {}
        // SAFETY: allocated with this layout, and nothing is left in it.
        unsafe { alloc::alloc::dealloc(self.places.as_ptr().cast(), layout) };
    }
}

impl<T> Deref for Slots<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` places hold elements.
        unsafe { core::slice::from_raw_parts(self.places.as_ptr(), self.len as usize) }
    }
}

impl<T> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the first `len` places hold elements.
        unsafe { core::slice::from_raw_parts_mut(self.places.as_ptr(), self.len as usize) }
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
