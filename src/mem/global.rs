//! Values that the whole program reads, and that are set at the start.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A reference for the whole program, which may be set again.
pub struct Global<T: Sync + 'static>(AtomicPtr<T>);

impl<T: Sync> Default for Global<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Sync> Global<T> {
    /// No value.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }

    /// Sets the value.
    pub fn set(&self, value: &'static T) {
        self.0
            .store(core::ptr::from_ref(value).cast_mut(), Ordering::Release);
    }

    /// The value; `None` before [`Self::set`].
    pub fn get(&self) -> Option<&'static T> {
        // SAFETY: the pointer is null or was made of a reference that is valid for good, to a type that threads may share. Nothing
        // writes through it.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}
