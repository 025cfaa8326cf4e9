//! What the kernel hands to a new process: arguments, environment, auxiliary vector.

use super::super::Args;
use core::ffi::CStr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The auxiliary vector's entry for 16 random bytes.
const AT_RANDOM: usize = 25;

/// Where all this lies; null before [`enter`].
static STACK: AtomicPtr<usize> = AtomicPtr::new(core::ptr::null_mut());

/// Reads the initial stack and gets the process ready: no huge pages, no SIGPIPE, a stderr.
///
/// # Safety
/// `stack` is the stack pointer as the kernel left it at the entry of the process, and this is called once.
pub unsafe fn enter(stack: *const usize) -> Args {
    STACK.store(stack.cast_mut(), Ordering::Relaxed);
    // SAFETY: the stack holds argc, argc pointers, null, the environment's pointers, null, and pairs up to AT_NULL.
    let (argc, argv) = unsafe { (*stack, stack.add(1)) };
    // There its system calls go the way that the kernel tells, which is quicker; nothing else of it asks for what is told here.
    #[cfg(target_arch = "x86")]
    // SAFETY: as above.
    unsafe {
        rustix::param::init(argv.add(argc + 1).cast_mut().cast());
    }
    super::sandbox::disable_huge_pages();
    super::process::ignore_failed_writes();
    super::process::hold_stderr();
    // SAFETY: as above; the strings end with NUL and last as long as the process.
    unsafe { Args::new(core::slice::from_raw_parts(argv.cast(), argc)) }
}

/// The environment of the process.
pub(super) fn environment() -> impl Iterator<Item = &'static CStr> {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    // SAFETY: as in `enter`; behind the arguments there is a null.
    let mut at = (!stack.is_null()).then(|| unsafe { stack.add(*stack + 2) });
    core::iter::from_fn(move || {
        let here = at?;
        // SAFETY: texts with a NUL behind each, which live as long as the process, up to a null.
        unsafe {
            let text = (*here as *const core::ffi::c_char).as_ref()?;
            at = Some(here.add(1));
            Some(CStr::from_ptr(text))
        }
    })
}

/// The 16 random bytes that came with the process; zeros where the kernel gave none.
pub(super) fn auxiliary_random() -> [u8; 16] {
    let stack = STACK.load(Ordering::Relaxed).cast_const();
    if stack.is_null() {
        return [0; 16];
    }
    // SAFETY: as in `enter`; AT_RANDOM points to 16 bytes that live as long as the process.
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
