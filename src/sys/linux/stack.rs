//! The initial stack of the process: arguments, environment, auxiliary vector.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Type of the auxiliary vector entry that points to 16 random bytes.
const AT_RANDOM: usize = 25;

/// Initial stack pointer; null before [`remember`].
static STACK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Stores the initial stack pointer.
pub(super) fn remember(stack: *const usize) {
    STACK.store(stack.cast_mut(), Ordering::Relaxed);
}

/// The environment of the process.
pub(super) fn environment() -> impl Iterator<Item = &'static CStr> {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    // SAFETY: `stack` is the initial stack pointer; argc, argv and a null precede the environment.
    Environment((!stack.is_null()).then(|| unsafe { stack.add(*stack + 2) }))
}

/// Iterator over the environment variables. The pointer is to the next entry of the list; `None`: there is no environment.
struct Environment(Option<*const usize>);

impl Iterator for Environment {
    type Item = &'static CStr;

    #[inline(always)] // A call would take more code in both callers.
    fn next(&mut self) -> Option<&'static CStr> {
        let here = self.0?;
        // SAFETY: the pointers form a null-terminated list of NUL-terminated strings, which live as long as the process.
        unsafe {
            let text = (*here as *const core::ffi::c_char).as_ref()?;
            self.0 = Some(here.add(1));
            Some(CStr::from_ptr(text))
        }
    }
}

/// The 16 bytes of AT_RANDOM; zeros if the kernel supplied none.
pub(super) fn auxiliary_random() -> [u8; 16] {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    if stack.is_null() {
        return [0; 16];
    }
    // SAFETY: `stack` is the initial stack pointer; AT_RANDOM points to 16 bytes that live as long as the process.
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
