//! Descriptor tables: segments, exception stack, handlers. An exception prints one line and ends the machine.

use super::{Single, acpi, exit, halt, io_apic, memory, put, put_number};
use crate::mem::nth;
use core::arch::{asm, naked_asm};

/// Offsets (bytes) in the page of the tables: global descriptor table, task state segment, interrupt descriptor table.
const GDT: usize = 0;
const TSS: usize = 0x40;
const IDT: usize = 0x100;

/// Segment selectors.
const CODE: u16 = 8;
const TSS_SELECTOR: u16 = 24;
/// Limit (size - 1) of the task state segment; offset of IST1, its first exception stack pointer.
const TSS_LIMIT: u16 = 103;
const IST1: usize = 36;

const EXCEPTION_COUNT: u8 = 32;
/// Code bytes per vector at the start of [`exceptions`].
const STUB_BYTES: usize = 4;

/// Exception names by vector; the others are printed as "exception".
const NAMES: &[u8] = b"division by zero|||breakpoint|||invalid instruction||double fault|||||protection fault|page fault";
const INVALID_INSTRUCTION: u64 = 6;
const PAGE_FAULT: u64 = 14;
/// The SYSCALL instruction; it raises #UD because EFER.SCE is off.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// True once an exception was reported; a second one halts the machine.
static IS_REPORTED: Single<bool> = Single::new(false);

/// Operand of LGDT and LIDT (Intel's manual, volume 3, figure 2-6).
#[repr(C, packed)]
struct PseudoDescriptor {
    limit: u16,
    at: usize,
}

/// Creates the tables in the zeroed `page` and loads them. Exceptions use the stack that ends at `stack`.
///
/// # Safety
/// Nothing else ever uses the page or the stack.
pub(super) unsafe fn install(page: usize, stack: usize) {
    let (segments, task, handlers) = (page + GDT, page + TSS, page + IDT);
    let put = |at: usize, value: u64| {
        // SAFETY: the address is within `page`, which nothing else uses.
        unsafe { (at as *mut u64).write_unaligned(value) }
    };
    put(segments + 8, 0x00af_9b00_0000_ffff);
    put(segments + 16, 0x00cf_9300_0000_ffff);
    // Task state segment: available, below 4 GiB.
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
    for vector in [io_apic::WAKE, io_apic::SPURIOUS] {
        set_gate(handlers, vector, interrupt as *const () as usize, 0);
    }
    set_gate(
        handlers,
        io_apic::BUTTON,
        acpi::button as *const () as usize,
        0,
    );
    let segments = PseudoDescriptor {
        limit: 39,
        at: segments,
    };
    let handlers = PseudoDescriptor {
        limit: 16 * (u16::from(io_apic::SPURIOUS) + 1) - 1,
        at: handlers,
    };
    // SAFETY: the tables are complete and never freed; code and data segments are equivalent to the current ones.
    unsafe {
        asm!("lgdt [{}]", "lidt [{}]", "ltr {:x}", in(reg) &raw const segments, in(reg) &raw const handlers, in(reg) TSS_SELECTOR);
    }
}

/// Sets the gate of a vector: the address of its handler, and the index of its stack in the interrupt stack table (0: current
/// stack).
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
    // SAFETY: the address is within the page of the tables, which nothing else uses.
    unsafe { ((handlers + usize::from(vector) * 16) as *mut [u64; 2]).write(entry) };
}

/// Interrupt handler: does nothing; the interrupt itself has ended the `hlt`.
#[unsafe(naked)]
extern "C" fn interrupt() {
    naked_asm!("iretq")
}

/// Exception entry points, four bytes of code per vector.
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
        "mov rsi, rax", // System call number, for an attempted SYSCALL.
        "and rsp, -16",
        "call {}",
        "ud2",
        sym report_trap,
    )
}

/// Prints the exception and ends the machine. `frame`: vector, error code (some exceptions), instruction pointer. `number`: RAX.
unsafe extern "C" fn report_trap(frame: *const u64, number: u64) -> ! {
    // The stack was 16-byte aligned: misalignment by 8 means that an error code was pushed.
    let has_code = frame as usize & 8 != 0;
    // SAFETY: `frame` is the address of the words that the processor and the entry point of the vector have pushed.
    let (vector, at) = unsafe { (*frame, *frame.add(1 + usize::from(has_code))) };
    if IS_REPORTED.get() {
        halt();
    }
    IS_REPORTED.set(true);
    let address: u64;
    // SAFETY: the instruction only reads a register.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack)) };
    super::console(b"stowaway: ");
    // SAFETY: `at` is the address of an instruction in the program's code, which is readable.
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

/// Exit status after an exception.
const EXCEPTION_STATUS: i32 = 101;
