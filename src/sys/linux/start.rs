//! The entry of the process: arguments, and settings that must precede everything else.

use super::super::Args;
use super::process::FailedWrite;

/// Reads the initial stack and prepares the process: no huge pages, no signal blocked, SIGPIPE and SIGXFSZ ignored.
///
/// # Safety
/// `stack` is the stack pointer as the kernel left it at the entry of the process, and this is called once.
pub unsafe fn enter(stack: *const usize) -> Args {
    super::stack::remember(stack);
    // SAFETY: the stack holds argc, argc pointers, null, the environment's pointers, null, and pairs up to AT_NULL.
    let (argc, argv) = unsafe { (*stack, stack.add(1)) };
    // Lets rustix find the vDSO, by which it makes system calls on 32-bit x86: that is faster. Nothing else in rustix uses these
    // values.
    #[cfg(target_arch = "x86")]
    // SAFETY: the environment follows argv and its null on the initial stack.
    unsafe {
        rustix::param::init(argv.add(argc + 1).cast_mut().cast());
    }
    super::sandbox::disable_huge_pages();
    super::process::unblock_signals();
    super::process::on_failed_write(FailedWrite::Fails);
    // SAFETY: argv has argc pointers to NUL-terminated strings, which live as long as the process.
    unsafe { Args::new(core::slice::from_raw_parts(argv.cast(), argc)) }
}
