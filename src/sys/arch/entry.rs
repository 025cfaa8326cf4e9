//! `_start` for each architecture: passes the initial stack pointer to `begin`. Part of the binary only.

use super::begin;

// Call frame information goes to a section that is not loaded, instead of .eh_frame. This applies to all functions, as they are
// assembled together.
core::arch::global_asm!(".cfi_sections .debug_frame");

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    ".type _start, @function",
    "_start:",
    ".cfi_startproc",
    ".cfi_undefined rip", // Ends a debugger's backtrace.
    "xor ebp, ebp",  // Zero marks the outermost frame.
    "mov rdi, rsp",  // Argument of `begin`: the address of argc, argv, envp and auxv.
    "and rsp, -16",  // Stack alignment of the ABI.
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
    "xor ebp, ebp",  // Zero marks the outermost frame.
    "mov eax, esp",  // Argument of `begin`: the address of argc, argv, envp and auxv.
    "and esp, -16",  // Stack alignment of the ABI, with the argument pushed.
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
    "mov x29, xzr", // Zero marks the outermost frame.
    "mov x30, xzr",
    "mov x0, sp", // Argument of `begin`: the address of argc, argv, envp and auxv, aligned as the ABI requires.
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
    "mov r11, #0", // Zero marks the outermost frame.
    "mov lr, #0",
    "mov r0, sp", // Argument of `begin`: the address of argc, argv, envp and auxv, aligned as the ABI requires.
    "bl {begin}",
    "udf #0",
    begin = sym begin,
);
