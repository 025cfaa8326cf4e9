//! The binary's own parts, which host tests must not link: `_start`, `mem*` from `sys::arch`, panic handler, allocator.
//! Everything else is in the library.

#![no_std]
#![no_main]
#![allow(unsafe_code)]

#[path = "sys/arch/builtins.rs"]
mod builtins;
#[path = "sys/arch/entry.rs"]
mod entry;
#[cfg(bare)]
#[path = "sys/arch/pvh.rs"]
mod pvh;

use core::panic::PanicInfo;
use stowaway::event::Line;
use stowaway::mem::{self, Allocator};
use stowaway::sys::linux::start;
use stowaway::sys::{self, BUILD_ID_BYTES};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

unsafe extern "C" {
    /// End of the section .note.gnu.build-id; the last bytes before it are the build ID.
    static __build_id_end: [u8; 0];
    /// Start and end of the section .text.
    static __text_start: [u8; 0];
    static __text_end: [u8; 0];
}

/// Runs a role; called by the entry point with the initial stack pointer.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: `stack` is the entry's stack pointer, and this is the only call.
    let args = unsafe { start::enter(stack) };
    sys::exit(stowaway::role::run(args, build_id()))
}

/// Entry of a machine without an operating system, called in long mode.
#[cfg(bare)]
unsafe extern "C" fn begin_bare(start_info: u64) -> ! {
    // SAFETY: `start_info` is the address that the boot loader passed to the entry, and this is the only call.
    unsafe { sys::bare::enter(start_info) };
    sys::exit(stowaway::role::boot(build_id()))
}

#[inline(always)]
fn build_id() -> &'static [u8; BUILD_ID_BYTES] {
    // SAFETY: the linker script asserts that an id of at least this length ends there.
    unsafe {
        &*(&raw const __build_id_end)
            .cast::<[u8; BUILD_ID_BYTES]>()
            .sub(1)
    }
}

/// The panic handler. It is inlined into its caller, so that no panic message is formatted and `core::fmt` is not linked. Panic
/// locations are not in the binary either (16,000 bytes with smoltcp); the debug file resolves the printed addresses.
#[panic_handler]
#[allow(unused_attributes)] // rustc reports the attribute as unused, but the file is smaller with it.
#[inline(always)]
fn panic(_info: &PanicInfo<'_>) -> ! {
    let frame = 0_usize;
    die(&raw const frame)
}

/// Prints the words on the stack that may be return addresses, innermost first. `frame` points into the panicking frame.
#[cold]
#[inline(never)]
fn die(frame: *const usize) -> ! {
    /// Stack words to scan; the entry's frame has at least this size.
    const STACK_WORDS: usize = 32;
    let mut line = Line::default();
    // Plain strings, not `text!`: the panic may have occurred in the decoder of texts.
    if let Some(bytes) = mem::shortage() {
        line.text("stowaway: not enough memory: needs at least ")
            .number((bytes / 1024 + 1) as u32)
            .text(" KiB more; raise the limits (ulimit -v, ulimit -d) or the machine's memory");
        sys::console(line.end_line());
        sys::exit(1);
    }
    line.text("stowaway: internal error at");
    let code = (&raw const __text_start).addr()..(&raw const __text_end).addr();
    for place in 0..STACK_WORDS {
        // SAFETY: at least this many words of the stack are above any frame: arguments, environment and auxiliary vector.
        let word = unsafe { frame.wrapping_add(place).read_volatile() };
        if code.contains(&word) {
            // Minus 1: an address within the call instruction. The return address itself may already be in the next function.
            line.text(" ").digits(word as u64 - 1, 16, 1);
        }
    }
    sys::console(line.end_line());
    sys::exit(101)
}
