//! The entry of the process: arguments, and settings that must precede everything else.

use super::super::Args;
use super::process::FailedWrite;

/// Reads the initial stack and prepares the process: no huge pages, SIGPIPE and SIGXFSZ ignored, descriptor 2 open.
///
/// # Safety
/// `stack` is the stack pointer as the kernel left it at the entry of the process, and this is called once.
pub unsafe fn enter(stack: *const usize) -> Args {
    super::stack::remember(stack);
    // SAFETY: the stack holds argc, argc pointers, null, the environment's pointers, null, and pairs up to AT_NULL.
    let (argc, argv) = unsafe { (*stack, stack.add(1)) };
    // On 32-bit x86 rustix then makes system calls through the vDSO, which is faster. Nothing else in rustix uses these values.
    #[cfg(target_arch = "x86")]
    // SAFETY: as above.
    unsafe {
        rustix::param::init(argv.add(argc + 1).cast_mut().cast());
    }
    super::sandbox::disable_huge_pages();
    super::process::on_failed_write(FailedWrite::Fails);
    super::process::hold_stderr();
    // SAFETY: as above; the strings end with NUL and last as long as the process.
    unsafe { Args::new(core::slice::from_raw_parts(argv.cast(), argc)) }
}
