//! The initial stack of the process: arguments, environment, auxiliary vector.

use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Initial stack pointer; null before [`remember`].
static STACK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Stores the initial stack pointer.
pub(super) fn remember(stack: *const usize) {
    STACK.store(stack.cast_mut(), Ordering::Relaxed);
}

/// The name by which the process was started (`argv[0]`); empty if there is none.
pub(super) fn program_name() -> &'static CStr {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    if stack.is_null() {
        return c"";
    }
    // SAFETY: `stack` is the initial stack pointer; argv follows argc. A null ends argv, else its strings live as long as the process.
    unsafe {
        match (*stack.add(1) as *const core::ffi::c_char).as_ref() {
            Some(name) => CStr::from_ptr(name),
            None => c"",
        }
    }
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

/// The value of the auxiliary vector's entry `kind`. `None` if the kernel supplied none.
pub(super) fn auxiliary(kind: usize) -> Option<usize> {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    if stack.is_null() {
        return None;
    }
    // SAFETY: `stack` is the initial stack pointer. A null ends the environment; pairs of kind and value up to AT_NULL follow.
    unsafe {
        let mut at = stack.add(*stack + 2);
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != 0 {
            if *at == kind {
                return Some(*at.add(1));
            }
            at = at.add(2);
        }
    }
    None
}

/// The 16 bytes of AT_RANDOM. `None` if the kernel supplied none (Linux before 2.6.29).
pub(super) fn auxiliary_random() -> Option<[u8; 16]> {
    const AT_RANDOM: usize = 25;
    let bytes = auxiliary(AT_RANDOM)? as *const [u8; 16];
    // SAFETY: AT_RANDOM points to 16 bytes that live as long as the process.
    Some(unsafe { bytes.read_unaligned() })
}
