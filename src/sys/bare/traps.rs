//! Descriptor tables: segments, the stack for exceptions, handlers. An exception ends the machine with one line.

use super::{Single, clock, exit, memory, put, put_number};
use crate::mem::nth;
use core::arch::{asm, naked_asm};

/// Where they lie in their page: the global descriptor table, the task state segment, the interrupt descriptor table.
const GDT: usize = 0;
const TSS: usize = 0x40;
const IDT: usize = 0x100;

/// Selectors of the segments.
const CODE: u16 = 8;
const TSS_SELECTOR: u16 = 24;
/// Bytes of a task state segment, less one; where its first stack for exceptions stands.
const TSS_LIMIT: u16 = 103;
const IST1: usize = 36;

const EXCEPTION_COUNT: u8 = 32;
/// Bytes of the code before [`exceptions`]' last part, for each.
const STUB_BYTES: usize = 4;

/// What exceptions are called; those without a name here need none.
const NAMES: &[u8] = b"division by zero|||breakpoint|||invalid instruction||double fault|||||protection fault|page fault";
const INVALID_INSTRUCTION: u64 = 6;
const PAGE_FAULT: u64 = 14;
/// The instruction, which is an invalid one where system calls are off.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// What it is in, so that it ends there.
static IS_TOLD: Single<bool> = Single::new(false);

/// What the processor loads a descriptor table by (Intel's manual, volume 3, figure 2-6).
#[repr(C, packed)]
struct PseudoDescriptor {
    limit: u16,
    at: usize,
}

/// Makes the tables in a page of zeros at `page`; exceptions use the stack that ends at `stack`.
///
/// # Safety
/// Nothing else refers to the page and the stack, ever.
pub(super) unsafe fn install(page: usize, stack: usize) {
    let (segments, task, handlers) = (page + GDT, page + TSS, page + IDT);
    let put = |at: usize, value: u64| {
        // SAFETY: within the page, which is the caller's.
        unsafe { (at as *mut u64).write_unaligned(value) }
    };
    put(segments + 8, 0x00af_9b00_0000_ffff);
    put(segments + 16, 0x00cf_9300_0000_ffff);
    // A task state segment that is below 4 GiB, in use by nobody.
    let (low, high) = (task as u64 & 0xff_ffff, task as u64 >> 24 & 0xff);
    put(
        segments + 24,
        u64::from(TSS_LIMIT) | low << 16 | 0x89 << 40 | high << 56,
    );
    put(task + IST1, stack as u64);
    let exceptions = exceptions as *const () as usize;
    for vector in 0..EXCEPTION_COUNT {
        set_gate(
            handlers,
            vector,
            exceptions + usize::from(vector) * STUB_BYTES,
            1,
        );
    }
    set_gate(handlers, clock::WAKE, interrupt as *const () as usize, 0);
    set_gate(handlers, clock::NOTHING, interrupt as *const () as usize, 0);
    let segments = PseudoDescriptor {
        limit: 39,
        at: segments,
    };
    let handlers = PseudoDescriptor {
        limit: 16 * (u16::from(clock::NOTHING) + 1) - 1,
        at: handlers,
    };
    // SAFETY: the tables are whole, and last; code and data are what they were.
    unsafe {
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const segments, in(reg) &raw const handlers, in(reg) TSS_SELECTOR);
    }
}

/// Sets the gate of a vector: its code, and which stack of the interrupt stack table; 0: the one in use.
fn set_gate(handlers: usize, vector: u8, code: usize, stack: u64) {
    const PRESENT_INTERRUPT: u64 = 0x8e;
    let code = code as u64;
    let entry = [
        code & 0xffff
            | u64::from(CODE) << 16
            | stack << 32
            | PRESENT_INTERRUPT << 40
            | code >> 16 << 48,
        code >> 32,
    ];
    // SAFETY: within the page of the tables.
    unsafe { ((handlers + usize::from(vector) * 16) as *mut [u64; 2]).write(entry) };
}

/// An interrupt: it has ended a wait.
#[unsafe(naked)]
extern "C" fn interrupt() {
    naked_asm!("iretq")
}

/// Exceptions, each with four bytes of code of its own.
#[unsafe(naked)]
extern "C" fn exceptions() {
    naked_asm!(
        ".set vector, 0",
        ".rept 32",
        "push vector",
        "jmp 2f",
        ".set vector, vector + 1",
        ".endr",
        "2: mov rdi, rsp",
        "mov rsi, rax", // The number, if it was a system call.
        "and rsp, -16",
        "call {}",
        "ud2",
        sym tell,
    )
}

/// Says what happened and ends the machine. `frame` is the vector, an error code with some, and where it happened.
unsafe extern "C" fn tell(frame: *const u64, number: u64) -> ! {
    // The stack began at a round address: one word more is an error code.
    let has_code = frame as usize & 8 != 0;
    // SAFETY: what the processor and the code above pushed.
    let (vector, at) = unsafe { (*frame, *frame.add(1 + usize::from(has_code))) };
    if IS_TOLD.get() {
        reset();
    }
    IS_TOLD.set(true);
    let address: u64;
    // SAFETY: it is only read.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) };
    super::console(b"stowaway: ");
    // SAFETY: two bytes of our own code.
    let is_call = || memory::is_code(at) && unsafe { *(at as *const [u8; 2]) } == SYSCALL;
    if vector == INVALID_INSTRUCTION && is_call() {
        put(b"system call ");
        put_number(number, 10, 1);
        put(b", and there is no system");
    } else if vector == PAGE_FAULT && memory::is_guard(address) {
        put(b"stack overflow");
    } else {
        let name = nth(NAMES, b'|', vector as usize);
        put(if name.is_empty() { b"exception" } else { name });
        if vector == PAGE_FAULT {
            put(b" at ");
            put_number(address, 16, 1);
        }
    }
    put(b", by the code at ");
    put_number(at, 16, 1);
    put(b"\n");
    exit(EXCEPTION_STATUS)
}

/// What a machine exits with after an exception.
const EXCEPTION_STATUS: i32 = 101;

/// Resets the machine: an exception without a handler.
pub(super) fn reset() -> ! {
    let nothing = PseudoDescriptor { limit: 0, at: 0 };
    // SAFETY: nothing is done after it.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &raw const nothing, options(noreturn)) }
}
