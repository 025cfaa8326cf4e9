//! What the kernel leaves on the stack of a new process: arguments, environment, auxiliary vector.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The auxiliary vector's entry for 16 random bytes.
const AT_RANDOM: usize = 25;

/// Where all this lies; null before [`remember`].
static STACK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Keeps where it lies.
pub(super) fn remember(stack: *const usize) {
    STACK.store(stack.cast_mut(), Ordering::Relaxed);
}

/// The environment of the process.
pub(super) fn environment() -> impl Iterator<Item = &'static CStr> {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    // SAFETY: it is that of the entry; behind the arguments there is a null.
    Environment((!stack.is_null()).then(|| unsafe { stack.add(*stack + 2) }))
}

/// The texts of the environment from here on.
struct Environment(Option<*const usize>);

impl Iterator for Environment {
    type Item = &'static CStr;

    #[inline(always)] // As a call it takes more in each of its two callers.
    fn next(&mut self) -> Option<&'static CStr> {
        let here = self.0?;
        // SAFETY: texts with a NUL behind each, which live as long as the process, up to a null.
        unsafe {
            let text = (*here as *const core::ffi::c_char).as_ref()?;
            self.0 = Some(here.add(1));
            Some(CStr::from_ptr(text))
        }
    }
}

/// The 16 random bytes that came with the process; zeros where the kernel gave none.
pub(super) fn auxiliary_random() -> [u8; 16] {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    if stack.is_null() {
        return [0; 16];
    }
    // SAFETY: it is that of the entry; AT_RANDOM points to 16 bytes that live as long as the process.
    unsafe {
        let mut at = stack.add(*stack + 2);
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != 0 {
            if *at == AT_RANDOM {
                return (*at.add(1) as *const [u8; 16]).read_unaligned();
            }
            at = at.add(2);
        }
    }
    [0; 16]
}
