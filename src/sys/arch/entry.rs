//! `_start` of each processor: hands the initial stack to `begin`. It belongs to the binary alone.

use super::begin;

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
    ".cfi_undefined rip", // It has no caller, as debuggers are told.
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
