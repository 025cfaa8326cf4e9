//! What a packed file begins with: it unpacks the rest to where the plain file would lie, and jumps there.
//!
//! The kernel has already laid the memory for it, as zeros that can be written to: nothing is mapped here, by no name and
//! from no file. Then each part gets the rights that the plain file's own header gives it, so that nothing can ever be both
//! written to and run. What was needed for it is given back, but for the page that this code lies in.

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
    /// This file's own head, in memory.
    static own: Elf;
    /// Where the plain file lies once it is there.
    static mut image: Elf;
    /// From here up to `image` is what is only needed to unpack.
    static packed: [u8; 0];
}

/// The decoder's. It lies below the image, and goes with what was packed.
static mut CHANCES: [u16; lzma::CHANCES] = [0; lzma::CHANCES];

const PAGE: usize = 4096;
/// One signal set of the kernel's.
const SET_BYTES: usize = 8;
const PR_SET_THP_DISABLE: usize = 41;

const DAMAGED: &str = "this file is damaged: copy it again";

// The stack is handed on as it was found: argc, argv, envp and auxv lie there.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".section .text._start,\"ax\",@progbits",
    ".globl _start",
    "_start:",
    "mov rbx, rsp",  // Kept by whatever is called.
    "and rsp, -16",  // As the ABI wants it at a call.
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
    "mov ebx, esp",  // Kept by whatever is called.
    "and esp, -16",  // As the ABI wants it at a call.
    "call {unpack}",
    "mov esp, ebx",
    "jmp eax",
    unpack = sym unpack,
);

/// Puts the plain file into its place and says where it begins.
unsafe extern "C" fn unpack() -> usize {
    // SAFETY: the kernel mapped `own` with this code, and what its second and third segments say: what was packed, and
    // zeros from below `image` to the end of what the plain file will use. Nothing else lies there, and one thread runs.
    let (code, out, chances) = unsafe {
        let [_, code, memory, _] = &own.segments;
        let at = (&raw mut image).cast::<u8>();
        let chances = &raw mut CHANCES;
        let len = memory.address + memory.in_memory - at as usize;
        (
            slice::from_raw_parts(code.address as *const u8, code.in_file),
            slice::from_raw_parts_mut(at, len),
            &mut *chances,
        )
    };
    // A huge page would be filled with zeros only to hold a few of them.
    // SAFETY: it takes numbers.
    unsafe { raw_syscall!(Sysno::prctl, PR_SET_THP_DISABLE, 1, 0, 0, 0) };
    // Of a file that was cut off, pages are missing, and to read there would kill us. The kernel tells without: it reads
    // the set of signals before it sees that there is nothing that could be done with it.
    let end = code.as_ptr_range().end.wrapping_sub(SET_BYTES);
    // SAFETY: nothing is written.
    let asked = unsafe { raw_syscall!(Sysno::rt_sigprocmask, usize::MAX, end, 0, SET_BYTES) };
    if Errno::from_ret(asked) == Err(Errno::EFAULT) {
        die(DAMAGED, None);
    }
    if lzma::decode(code, chances, out).is_none() {
        die(DAMAGED, None);
    }
    let plain = &raw const image;
    // SAFETY: the plain file's head is there now; it was proven when it was packed, and the decoder found it whole.
    let plain = unsafe { &*plain };
    for segment in &plain.segments {
        if segment.kind != LOAD || segment.flags & WRITE != 0 {
            continue;
        }
        if segment.flags & EXECUTE != 0 {
            // SAFETY: it lies within `out`, which is used no more.
            let code =
                unsafe { slice::from_raw_parts_mut(segment.address as *mut u8, segment.in_file) };
            branch::x86(code, branch::Way::ToDistances);
        }
        let start = segment.address & !(PAGE - 1);
        // The kernel's numbers for these rights are those of the file, mirrored.
        let rights = 1 | (segment.flags & EXECUTE) << 2;
        let len = segment.address + segment.in_memory - start;
        // SAFETY: it is the plain file's, and nothing writes to it from now on.
        let allowed = unsafe { raw_syscall!(Sysno::mprotect, start, len, rights) };
        if let Err(errno) = Errno::from_ret(allowed) {
            die(
                "this host lets no unpacked code run (mprotect: error ",
                Some(errno.into_raw()),
            );
        }
    }
    // SAFETY: what was packed, and the chances: nothing reads them again. Where it fails they just stay.
    unsafe {
        let start = (&raw const packed) as usize & !(PAGE - 1);
        raw_syscall!(Sysno::munmap, start, (&raw const image) as usize - start);
    }
    plain.entry
}

/// Says what is wrong, and ends.
#[cold]
#[inline(never)]
fn die(what: &str, errno: Option<i32>) -> ! {
    say("stowaway: ");
    say(what);
    if let Some(errno) = errno {
        // Linux has some 130.
        let digit = |unit| b'0' + (errno / unit % 10) as u8;
        let digits = [digit(100), digit(10), digit(1)];
        let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
        say(digits.get(zeros..).unwrap_or_default());
        say("): use the file that is not packed");
    }
    say("\n");
    loop {
        // SAFETY: it takes a number.
        unsafe { raw_syscall!(Sysno::exit_group, 1) };
    }
}

fn say(text: impl AsRef<[u8]>) {
    let text = text.as_ref();
    // SAFETY: it reads a text.
    unsafe { raw_syscall!(Sysno::write, 2, text.as_ptr(), text.len()) };
}

/// Nothing here panics: this is what a compiler wants to see.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    die(DAMAGED, None)
}
