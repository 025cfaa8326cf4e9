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
        sys::console(text.as_bytes());
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
        sys::console(line.end());
        sys::exit(1);
    }
    line.text("stowaway: internal error at ")
        .text(file)
        .text(":")
        .number(number);
    sys::console(line.end());
    sys::exit(101)
}
