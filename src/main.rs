//! What a host test must not inherit: `_start` and `mem*` from `sys::arch`, the panic handler, the allocator. Everything else is in
//! the library.

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
    /// The end of the linker's build id, whose last bytes are the id.
    static __build_id_end: [u8; 0];
    /// Where code begins, and where it ends.
    static __text_start: [u8; 0];
    static __text_end: [u8; 0];
}

unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the stack pointer of the entry, once.
    let args = unsafe { start::enter(stack) };
    sys::exit(stowaway::role::run(args, build_id()))
}

/// What a machine without an operating system begins with, in long mode.
#[cfg(bare)]
unsafe extern "C" fn begin_bare(start_info: u64) -> ! {
    // SAFETY: what the entry was told, once.
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

/// Inlined into the caller, so that no message is ever formatted and `core::fmt` stays out of the file. Nor are the places of
/// panics in it, 16,000 bytes with smoltcp: the debug file knows them by the addresses that are told.
#[panic_handler]
#[allow(unused_attributes)] // rustc calls the inline useless; the file's size shows that it is not.
#[inline(always)]
fn panic(_info: &PanicInfo<'_>) -> ! {
    #[cfg(measure_fmt)]
    let _ = core::fmt::Write::write_fmt(&mut Formatted, format_args!("{_info}\n"));
    let frame = 0_usize;
    die(&raw const frame)
}

/// What text formatting would cost: `cargo xtask size --compare` builds with it, and nothing else does.
#[cfg(measure_fmt)]
struct Formatted;

#[cfg(measure_fmt)]
impl core::fmt::Write for Formatted {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        sys::console(text.as_bytes());
        Ok(())
    }
}

/// Tells what on the stack of a panic may be an address that a call returns to, the innermost first; `frame` is its last frame.
#[cold]
#[inline(never)]
fn die(frame: *const usize) -> ! {
    /// Words of the stack that are looked at: the entry's frame has as many.
    const STACK_WORDS: usize = 32;
    let mut line = Line::default();
    // What unpacks texts may be what failed.
    if let Some(bytes) = mem::shortage() {
        line.text("stowaway: not enough memory: needs at least ")
            .number((bytes / 1024 + 1) as u32)
            .text(" KiB more; raise the limits (ulimit -v, ulimit -d)");
        sys::console(line.end());
        sys::exit(1);
    }
    line.text("stowaway: internal error at");
    let code = (&raw const __text_start).addr()..(&raw const __text_end).addr();
    for place in 0..STACK_WORDS {
        // SAFETY: so much of the stack lies above any frame: arguments, environment and auxiliary vector are there.
        let word = unsafe { frame.wrapping_add(place).read_volatile() };
        if code.contains(&word) {
            // A byte of the call itself: what follows it may belong to another function.
            line.text(" ").digits(word as u64 - 1, 16, 1);
        }
    }
    sys::console(line.end());
    sys::exit(101)
}
