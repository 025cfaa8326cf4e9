//! Slots: vectors whose capacity is fixed when they are created.

use core::alloc::Layout;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// A vector with fixed capacity. A slot's memory is untouched until the slot is first used.
///
/// Neither slots nor elements are freed while the process runs. `Vec`'s code for growing and freeing is larger than this module.
#[derive(Debug)]
pub struct Slots<T> {
    /// The first `len` of `count` slots hold elements.
    places: NonNull<T>,
    len: u32,
    count: u32,
}

/// Limit of one allocation (bytes); a larger request panics.
const SIZE_MAX: usize = 1 << 30;

/// Alignment of every allocation (bytes); checked against each type.
const ALIGNMENT: usize = 16;

/// Allocates zeroed memory for `count` elements of `size` bytes. Called at start only; panics if memory is short.
fn cut(count: usize, size: usize) -> NonNull<u8> {
    let size = size.saturating_mul(count);
    let mut memory = None;
    if size > 0 && size <= SIZE_MAX {
        // SAFETY: the size is neither zero nor larger than `SIZE_MAX`, and the alignment is a power of two.
        memory = NonNull::new(unsafe {
            let layout = Layout::from_size_align_unchecked(size, ALIGNMENT);
            alloc::alloc::alloc_zeroed(layout)
        });
    }
    memory.unwrap_or_else(|| misused())
}

/// Allocates as [`cut`], and copies the first `len` elements from `old`.
///
/// # Safety
/// There are `len` elements of `size` bytes at `old`, and `count` is not smaller.
#[inline(never)] // −375 bytes: 13 callers.
unsafe fn moved(old: NonNull<u8>, len: usize, count: usize, size: usize) -> NonNull<u8> {
    let places = cut(count, size);
    // SAFETY: required of the caller; the new memory is part of no other.
    unsafe { places.copy_from_nonoverlapping(old, len * size) };
    places
}

/// Panics because an allocation at start failed.
#[cold]
fn misused() -> ! {
    panic!()
}

impl<T> Slots<T> {
    /// Creates `count` empty slots.
    pub fn new(count: usize) -> Self {
        const { assert!(align_of::<T>() <= ALIGNMENT) };
        Self {
            places: cut(count, size_of::<T>()).cast(),
            len: 0,
            count: count as u32,
        }
    }

    /// Number of slots.
    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Returns true if all slots are used.
    pub const fn is_full(&self) -> bool {
        self.len == self.count
    }

    /// Appends an element. Returns its index, or `None` if all slots are used.
    pub fn push(&mut self, element: T) -> Option<usize> {
        let at = self.len as usize;
        if self.is_full() {
            return None;
        }
        // SAFETY: there is a free slot after the last element.
        unsafe { self.places.add(at).write(element) };
        self.len += 1;
        Some(at)
    }

    /// Appends an element, as [`Self::push_more`]. Returns its index, or `None` if there are `count_max` elements. This may be called
    /// after the start, because `count_max` bounds the memory of the old slots.
    pub fn push_up_to(&mut self, count_max: usize, element: T) -> Option<usize> {
        let at = self.len as usize;
        if at >= count_max {
            return None;
        }
        if self.count == 0 {
            self.reserve(count_max.min(4));
        }
        self.push_more(element);
        Some(at)
    }

    /// Inserts an element before the one at `at`, if a slot is free.
    pub fn insert(&mut self, at: usize, element: T)
    where
        T: Copy,
    {
        if let Some(last) = self.push(element)
            && let Some(places) = self.get_mut(at..=last)
        {
            places.rotate_right(1);
        }
    }

    /// Appends an element. If all slots are used, the elements move to about twice as many slots; the old ones are not freed. Called
    /// at start only.
    pub fn push_more(&mut self, element: T) {
        if self.is_full() {
            self.reserve(self.count() * 2 + 1);
        }
        self.push(element);
    }

    /// Moves the elements to `count` slots if there are fewer slots now; the old ones are not freed. Called at start only.
    pub fn reserve(&mut self, count: usize) {
        if count > self.count() {
            self.count = count as u32;
            // SAFETY: the old slots hold `len` elements, and are not used afterwards.
            let places = unsafe {
                let len = self.len as usize;
                moved(self.places.cast(), len, count, size_of::<T>())
            };
            self.places = places.cast();
        }
    }

    /// Removes all elements.
    pub const fn clear(&mut self)
    where
        T: Copy,
    {
        self.len = 0;
    }

    /// Returns the elements with static lifetime.
    pub fn leak(self) -> &'static mut [T]
    where
        T: 'static,
    {
        let kept = core::mem::ManuallyDrop::new(self);
        // SAFETY: the slots are never freed, and nothing else refers to them.
        unsafe { core::slice::from_raw_parts_mut(kept.places.as_ptr(), kept.len as usize) }
    }

    /// Removes and returns the last element.
    pub fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        // SAFETY: this slot contains an element, and is free from now on.
        Some(unsafe { self.places.add(self.len as usize).read() })
    }
}

/// Creates a vector without slots.
impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            places: NonNull::dangling(),
            len: 0,
            count: 0,
        }
    }
}

impl<T: Default> Slots<T> {
    /// Creates `count` slots, each with a default element.
    pub fn defaults(count: usize) -> Self {
        let mut slots = Self::new(count);
        while slots.push(T::default()).is_some() {}
        slots
    }
}

/// Stores `value` for the life of the process. Called at start only.
pub fn leak<'a, T: 'a>(value: T) -> &'a mut T {
    const { assert!(align_of::<T>() <= ALIGNMENT) };
    let mut place = match size_of::<T>() {
        0 => NonNull::dangling(),
        size => cut(1, size).cast::<T>(),
    };
    // SAFETY: memory for one element (none if its size is zero), which nothing else refers to and which is never freed.
    unsafe {
        place.write(value);
        place.as_mut()
    }
}

/// `count` zero bytes with static lifetime, untouched until first used.
pub fn bytes(count: usize) -> &'static mut [u8] {
    Slots::zeroed(count).leak()
}

/// `count` words of value 0 with static lifetime, untouched until first used.
pub fn words(count: usize) -> &'static [AtomicU32] {
    if count == 0 {
        return &[];
    }
    // SAFETY: `count` aligned words, which nothing else refers to and which are never freed; zeros are valid.
    unsafe {
        let words = cut(count, size_of::<AtomicU32>()).cast();
        core::slice::from_raw_parts(words.as_ptr(), count)
    }
}

/// As [`words`], of 64 bits.
pub fn long_words(count: usize) -> &'static [AtomicU64] {
    if count == 0 {
        return &[];
    }
    // SAFETY: as for `words`.
    unsafe {
        let words = cut(count, size_of::<AtomicU64>()).cast();
        core::slice::from_raw_parts(words.as_ptr(), count)
    }
}

/// Copies `from` into memory with static lifetime.
pub fn copy(from: &[u8]) -> &'static mut [u8] {
    if from.is_empty() {
        return &mut [];
    }
    let copy = bytes(from.len());
    for (to, from) in copy.iter_mut().zip(from) {
        *to = *from;
    }
    copy
}

/// As [`bytes()`], with the count in the type.
pub fn array<const COUNT: usize>() -> &'static mut [u8; COUNT] {
    // SAFETY: `COUNT` zero bytes, which nothing else refers to and which are never freed.
    unsafe { cut(COUNT, 1).cast().as_mut() }
}

impl Slots<u8> {
    /// Creates `count` zero bytes, untouched until first used.
    pub fn zeroed(count: usize) -> Self {
        let mut slots = Self::new(count);
        slots.len = count as u32;
        slots
    }
}

/// Tests start many servers in one process, whose limit is 4 GiB, so slots are freed there.
#[cfg(any(test, fuzzing))]
impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        let size = size_of::<T>() * self.count as usize;
        let layout = Layout::from_size_align(size, ALIGNMENT).unwrap();
        // Without optimisation, popping each byte of a buffer took most of the time of the driver's tests.
        while core::mem::needs_drop::<T>() && self.pop().is_some() {}
        if size == 0 {
            return;
        }
        // SAFETY: allocated with this layout; all elements were removed.
        unsafe { alloc::alloc::dealloc(self.places.as_ptr().cast(), layout) };
    }
}

impl<T> Deref for Slots<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` slots contain elements.
        unsafe { core::slice::from_raw_parts(self.places.as_ptr(), self.len as usize) }
    }
}

impl<T> DerefMut for Slots<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: the first `len` slots contain elements.
        unsafe { core::slice::from_raw_parts_mut(self.places.as_ptr(), self.len as usize) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn push_beyond_capacity_returns_none() {
        let mut slots = Slots::new(2);
        assert_eq!(
            [slots.push(b'a'), slots.push(b'b'), slots.push(b'c')],
            [Some(0), Some(1), None]
        );
        assert_eq!((slots.pop(), &slots[..]), (Some(b'b'), &b"a"[..]));
        assert!(!slots.is_full());
    }

    #[test]
    fn growing_slots_keep_their_items() {
        let mut slots = Slots::default();
        (0..1000).for_each(|number| slots.push_more(number));
        assert!(slots.iter().copied().eq(0..1000));
    }
}
