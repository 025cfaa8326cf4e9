//! The start of a packed file: unpacks the executable to its addresses in memory and jumps to its entry point.
//!
//! The kernel has already mapped that memory from the packed file's program headers, zeroed and writable, so mmap(2) is not called.
//! mprotect(2) then sets the access rights of each segment of the executable: no page is ever writable and executable. Finally
//! munmap(2) frees the compressed data and the decoder's memory; only the page with this code remains.

#![no_std]
#![no_main]
#![allow(unsafe_code)]

mod branch;
mod elf;
mod lzma;

use core::panic::PanicInfo;
use core::slice;
use elf::{EXECUTE, Elf, LOAD, WRITE};
use syscalls::{Errno, Sysno, raw_syscall};

unsafe extern "C" {
    /// ELF header of the packed file, in memory.
    static own: Elf;
    /// Start of the executable once it is unpacked.
    static mut image: Elf;
    /// Start of the compressed data and the decoder's memory, which end at `image` and are unmapped after unpacking.
    static packed: [u8; 0];
}

/// The decoder's probabilities. They are located before `image` and are unmapped with the compressed data.
static mut CHANCES: [u16; lzma::CHANCES] = [0; lzma::CHANCES];

const PAGE: usize = 4096;
/// Size (bytes) of the kernel's signal set.
const SET_BYTES: usize = 8;
const PR_SET_THP_DISABLE: usize = 41;

const DAMAGED: &str = "this file is damaged: copy it again";

// Restores the initial stack pointer before the jump, because the unpacked executable finds argc, argv, envp and auxv there.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    "_start:",
    "mov rbx, rsp",  // Callee-saved.
    "and rsp, -16",  // The ABI's alignment at a call.
    "call {unpack}",
    "mov rsp, rbx",
    "jmp rax",
    unpack = sym unpack,
);

#[cfg(target_arch = "x86")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    "_start:",
    "mov ebx, esp",  // Callee-saved.
    "and esp, -16",  // The ABI's alignment at a call.
    "call {unpack}",
    "mov esp, ebx",
    "jmp eax",
    unpack = sym unpack,
);

/// Unpacks the executable and returns the address of its entry point.
unsafe extern "C" fn unpack() -> usize {
    // SAFETY: the kernel mapped `own` with this code, and the second and third segment of its program headers: the compressed data,
    // and zeros from before `image` to the end of the executable's memory. Nothing else is there, and one thread runs.
    let (code, out, chances) = unsafe {
        let [_, code, memory, _] = &own.segments;
        let start = (&raw mut image).cast::<u8>();
        let chances = &raw mut CHANCES;
        let len = memory.address + memory.in_memory - start as usize;
        (
            slice::from_raw_parts(code.address as *const u8, code.in_file),
            slice::from_raw_parts_mut(start, len),
            &mut *chances,
        )
    };
    // Turns transparent huge pages off: with them the kernel would zero 2 MiB for memory of which little is used.
    // SAFETY: the call takes no pointers.
    unsafe { raw_syscall!(Sysno::prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    // If the file was truncated, reading a missing page would raise SIGBUS. rt_sigprocmask returns EFAULT instead: the kernel
    // reads the signal set, here the last bytes of the compressed data, before it rejects the invalid `how`.
    let end = code.as_ptr_range().end.wrapping_sub(SET_BYTES);
    // SAFETY: the kernel only reads the signal set.
    let asked = unsafe { raw_syscall!(Sysno::rt_sigprocmask, usize::MAX, end, 0, SET_BYTES) };
    if Errno::from_ret(asked) == Err(Errno::EFAULT) {
        die(DAMAGED, None);
    }
    if lzma::decode(code, chances, out).is_none() {
        die(DAMAGED, None);
    }
    let plain = &raw const image;
    // SAFETY: `image` now has the executable's ELF header, which was checked at packing; the decoder found no damage.
    let plain = unsafe { &*plain };
    for segment in &plain.segments {
        if segment.kind != LOAD || segment.flags & WRITE != 0 {
            continue;
        }
        if segment.flags & EXECUTE != 0 {
            // SAFETY: the segment is within `out`, which is not used any more.
            let code =
                unsafe { slice::from_raw_parts_mut(segment.address as *mut u8, segment.in_file) };
            branch::x86(code, branch::Way::ToRelative);
        }
        let start = segment.address & !(PAGE - 1);
        // PROT_READ is 1 and PROT_EXEC 4, whereas PF_R is 4 and PF_X is 1.
        let rights = 1 | (segment.flags & EXECUTE) << 2;
        let len = segment.address + segment.in_memory - start;
        // SAFETY: the pages belong to a read-only segment of the unpacked file; nothing writes to them any more.
        let allowed = unsafe { raw_syscall!(Sysno::mprotect, start, len, rights) };
        if let Err(errno) = Errno::from_ret(allowed) {
            die(
                "this host forbids running unpacked code (mprotect: error ",
                Some(errno.into_raw()),
            );
        }
    }
    // SAFETY: nothing reads the compressed data and the probabilities again. If munmap fails, they just stay mapped.
    unsafe {
        let start = (&raw const packed) as usize & !(PAGE - 1);
        raw_syscall!(Sysno::munmap, start, (&raw const image) as usize - start);
    }
    plain.entry
}

/// Prints the error message and exits with status 1.
#[cold]
#[inline(never)]
fn die(what: &str, errno: Option<i32>) -> ! {
    say("stowaway: ");
    say(what);
    if let Some(errno) = errno {
        // Linux has about 130 errno values: three digits suffice.
        let digit = |unit| b'0' + (errno / unit % 10) as u8;
        let digits = [digit(100), digit(10), digit(1)];
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        say(digits.get(zeros..).unwrap_or_default());
        say("): use the file that is not packed");
    }
    say("\n");
    loop {
        // SAFETY: the call takes no pointers.
        unsafe { raw_syscall!(Sysno::exit_group, 1) };
    }
}

fn say(text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    // SAFETY: the kernel only reads `text`.
    unsafe { raw_syscall!(Sysno::write, 2, text.as_ptr(), text.len()) };
}

/// The panic handler that the compiler requires. It is never called, because nothing in this file panics.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    die(DAMAGED, None)
}
