//! What the kernel hands to a new process: arguments, environment, auxiliary vector.

use core::ffi::CStr;
use core::sync::atomic::{AtomicUsize, Ordering};

/// The auxiliary vector's entry for 16 random bytes.
const AT_RANDOM: usize = 25;

/// Where those bytes lie; 0 before [`enter`].
static RANDOM: AtomicUsize = AtomicUsize::new(0);

/// The arguments of the process, `argv[0]` first.
#[derive(Clone, Debug)]
pub struct Args {
    rest: &'static [*const core::ffi::c_char],
}

impl Iterator for Args {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // SAFETY: the kernel wrote argc pointers to strings that end with NUL and live as long as the process.
        Some(unsafe { CStr::from_ptr(*first) })
    }
}

/// Reads the initial stack and gets the process ready: no huge pages, no SIGPIPE, a stderr.
///
/// # Safety
/// `stack` is the stack pointer as the kernel left it at the entry of the process, and this is called once.
pub unsafe fn enter(stack: *const usize) -> Args {
    // SAFETY: the stack holds argc, argc pointers, null, the environment's pointers, null, and pairs up to AT_NULL.
    unsafe {
        let argc = *stack;
        let argv = stack.add(1);
        let envp = argv.add(argc + 1);
        let mut at = envp;
        while *at != 0 {
            at = at.add(1);
        }
        at = at.add(1);
        while *at != 0 {
            if *at == AT_RANDOM {
                RANDOM.store(*at.add(1), Ordering::Relaxed);
            }
            at = at.add(2);
        }
        rustix::param::init(envp.cast_mut().cast());
        // With huge pages "always", one touched byte of the arena would cost 2 MiB. Kernels before 3.15 have none to switch off.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
        super::process::ignore_failed_writes();
        super::process::hold_stderr();
        Args {
            rest: core::slice::from_raw_parts(argv.cast(), argc),
        }
    }
}

/// The 16 random bytes that came with the process; zeros where the kernel gave none.
pub(super) fn auxiliary_random() -> [u8; 16] {
    let at = RANDOM.load(Ordering::Relaxed) as *const [u8; 16];
    if at.is_null() {
        return [0; 16];
    }
    // SAFETY: AT_RANDOM points to 16 bytes that live as long as the process.
    unsafe { at.read_unaligned() }
}
