//! The file's entry: `_start`, the panic handler, the allocator, `mem*`. Everything else is in the library.

#![no_std]
#![no_main]
#![allow(unsafe_code)]

#[path = "sys/arch/builtins.rs"]
mod builtins;

use core::panic::PanicInfo;
use stowaway::event::Line;
use stowaway::mem::{self, Allocator};
use stowaway::sys::linux::defmt_sink::BUILD_ID_BYTES;
use stowaway::sys::linux::stdio::Stdio;
use stowaway::sys::linux::{process, start};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

unsafe extern "C" {
    /// The end of the linker's build id, whose last bytes are the id.
    static __build_id_end: [u8; 0];
}

// What debuggers find callers by goes into a section that is not mapped, instead of .eh_frame: that of all functions, as they
// are assembled in one go.
core::arch::global_asm!(".cfi_sections .debug_frame");

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    ".cfi_startproc",
    ".cfi_undefined rip", // Nobody called it, as debuggers are told.
    "xor ebp, ebp",  // The outermost frame.
    "mov rdi, rsp",  // argc, argv, envp and auxv lie there.
    "and rsp, -16",  // As the ABI wants it at a call.
    "call {begin}",
    "ud2",
    ".cfi_endproc",
    begin = sym begin,
);

#[cfg(target_arch = "x86")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    ".cfi_startproc",
    ".cfi_undefined eip",
    "xor ebp, ebp",  // The outermost frame.
    "mov eax, esp",  // argc, argv, envp and auxv lie there.
    "and esp, -16",  // As the ABI wants it at a call, with the argument pushed.
    "sub esp, 12",
    "push eax",
    "call {begin}",
    "ud2",
    ".cfi_endproc",
    begin = sym begin,
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    "_start:",
    "mov x29, xzr", // The outermost frame.
    "mov x30, xzr",
    "mov x0, sp", // argc, argv, envp and auxv lie there, aligned as the ABI wants it.
    "bl {begin}",
    "brk #1",
    begin = sym begin,
);

#[cfg(target_arch = "arm")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",%progbits",
    ".globl _start",
    ".type _start, %function",
    "_start:",
    "mov r11, #0", // The outermost frame.
    "mov lr, #0",
    "mov r0, sp", // argc, argv, envp and auxv lie there, aligned as the ABI wants it.
    "bl {begin}",
    "udf #0",
    begin = sym begin,
);

unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the stack pointer of the entry, once.
    let args = unsafe { start::enter(stack) };
    // SAFETY: the linker script asserts that an id of at least this length ends there.
    let build_id = unsafe {
        &*(&raw const __build_id_end)
            .cast::<[u8; BUILD_ID_BYTES]>()
            .sub(1)
    };
    process::exit(stowaway::role::run(args, build_id))
}

/// Inlined into the caller, so that no message is ever formatted and `core::fmt` stays out of the file.
#[panic_handler]
#[allow(unused_attributes)] // rustc calls the inline useless; the file's size shows that it is not.
#[inline(always)]
fn panic(info: &PanicInfo<'_>) -> ! {
    #[cfg(measure_fmt)]
    let _ = core::fmt::Write::write_fmt(&mut Formatted, format_args!("{info}\n"));
    match info.location() {
        Some(place) => die(place.file(), place.line()),
        None => die("?", 0),
    }
}

/// What text formatting would cost: `cargo xtask size --compare` builds with it, and nothing else does.
#[cfg(measure_fmt)]
struct Formatted;

#[cfg(measure_fmt)]
impl core::fmt::Write for Formatted {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        Stdio::Error.offer(text.as_bytes());
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn die(file: &str, number: u32) -> ! {
    let mut line = Line::default();
    // What unpacks texts may be what failed.
    if let Some(bytes) = mem::shortage() {
        line.text("stowaway: not enough memory: needs at least ")
            .number((bytes / 1024 + 1) as u32)
            .text(" KiB more; raise the limits (ulimit -v, ulimit -d)");
        Stdio::Error.offer(line.end());
        process::exit(1);
    }
    line.text("stowaway: internal error at ")
        .text(file)
        .text(":")
        .number(number);
    Stdio::Error.offer(line.end());
    process::exit(101)
}
