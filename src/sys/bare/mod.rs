//! The platform without an operating system: a 64-bit PC entered by its PVH note, with virtio devices, a serial port and a local
//! APIC. All memory below 4 GiB is identity-mapped.

mod acpi;
mod clock;
mod fw_cfg;
mod io_apic;
mod kvm_clock;
mod memory;
mod paging;
mod rtc;
mod start;
mod traps;
pub mod virtio;

pub use acpi::is_button_pressed;
pub use clock::{Source, describe_clock, idle};
pub use fw_cfg::read_firmware;
pub use memory::{
    LINE_BYTES_MAX, STACK_END, command_line, lost_module_bytes, memory_bytes, module, unused_bytes,
};
pub use start::enter;

use crate::time::Instant;
use core::arch::asm;
use core::cell::Cell;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

/// Set by [`enter`], before anything else runs.
static IS_BENEATH: AtomicBool = AtomicBool::new(false);

/// Returns true if the program was entered by its PVH note.
#[inline(never)] // −48 bytes: 46 callers.
pub(super) fn is_beneath() -> bool {
    IS_BENEATH.load(Ordering::Relaxed)
}

/// A global variable. The machine has one processor, and its interrupt handlers touch no such variable.
struct Single<T>(Cell<T>);

// SAFETY: the machine has one processor and one thread; tests do not use a `Single` from several threads.
unsafe impl<T> Sync for Single<T> {}

impl<T: Copy> Single<T> {
    const fn new(value: T) -> Self {
        Self(Cell::new(value))
    }

    const fn get(&self) -> T {
        self.0.get()
    }

    fn set(&self, value: T) {
        self.0.set(value);
    }
}

/// Writes a byte to a port.
fn write_port(port: u16, byte: u8) {
    // SAFETY: I/O to the ports used here changes no memory.
    unsafe {
        asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack, preserves_flags))
    };
}

/// Writes two bytes to a port.
fn write_port_16(port: u16, word: u16) {
    // SAFETY: I/O to the ports used here changes no memory.
    unsafe {
        asm!("out dx, ax", in("dx") port, in("ax") word, options(nomem, nostack, preserves_flags))
    };
}

/// Writes four bytes to a port.
fn write_port_32(port: u16, word: u32) {
    // SAFETY: I/O to the ports used here changes no memory.
    unsafe {
        asm!("out dx, eax", in("dx") port, in("eax") word, options(nomem, nostack, preserves_flags))
    };
}

/// Reads four bytes from a port.
fn read_port_32(port: u16) -> u32 {
    let word;
    // SAFETY: I/O to the ports used here changes no memory.
    unsafe {
        asm!("in eax, dx", in("dx") port, out("eax") word, options(nomem, nostack, preserves_flags))
    };
    word
}

/// Reads a byte from a port.
fn read_port(port: u16) -> u8 {
    let byte;
    // SAFETY: I/O to the ports used here changes no memory.
    unsafe {
        asm!("in al, dx", in("dx") port, out("al") byte, options(nomem, nostack, preserves_flags))
    };
    byte
}

pub(super) fn now() -> Instant {
    Instant::from_ms(clock::elapsed_ms())
}

/// Wall clock at the start, in milliseconds since 1970.
static STARTED: Single<u64> = Single::new(0);

/// Reads the clock of KVM, else the real-time clock. Returns false if the machine has neither; wall-clock time then starts in 1970.
pub fn knows_date() -> bool {
    let now_ms = kvm_clock::now_ms();
    let now_ms = now_ms.or_else(|| rtc::seconds().map(|seconds| seconds * 1000));
    if let Some(now_ms) = now_ms {
        STARTED.set(now_ms.saturating_sub(clock::elapsed_ms()));
    }
    now_ms.is_some()
}

pub(super) fn wall_clock() -> (i64, u32) {
    let ms = STARTED.get() + clock::elapsed_ms();
    ((ms / 1000) as i64, (ms % 1000 * 1_000_000) as u32)
}

/// Fills `out` by RDRAND, else from the entropy device. Returns false if neither works.
pub fn has_entropy(out: &mut [u8; 16]) -> bool {
    // SAFETY: every 64-bit processor has CPUID leaf 1.
    let has_rdrand = core::arch::x86_64::__cpuid(1).ecx & 1 << 30 != 0;
    let (words, _) = out.as_chunks_mut();
    if has_rdrand && words.iter_mut().all(fill_word) {
        return true;
    }
    virtio::entropy(out)
}

/// Fills a word by RDRAND, retrying as Intel recommends (Intel's manual, 7.3.17).
fn fill_word(out: &mut [u8; 8]) -> bool {
    (0..10).any(|_| {
        let (word, done): (u64, u8);
        // SAFETY: the caller has checked that the processor has RDRAND.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) word, out(reg_byte) done, options(nomem, nostack))
        };
        *out = word.to_le_bytes();
        done != 0
    })
}

pub(super) fn entropy(out: &mut [u8; 16]) {
    if !has_entropy(out) {
        *out = seed();
    }
}

/// Returns 16 bytes that differ at each start: the time-stamp counter and the MAC address, if any.
pub(super) fn seed() -> [u8; 16] {
    let mut seed = [0; 16];
    let mac = hardware_address().unwrap_or_default();
    let ticks = clock::ticks().to_le_bytes();
    for (to, from) in seed.iter_mut().zip(ticks.into_iter().chain(mac)) {
        *to = from;
    }
    seed
}

/// Writes `line` to the serial port, after the seconds since the start.
pub(super) fn console(line: &[u8]) {
    let ms = clock::elapsed_ms();
    put(b"[");
    put_number(ms / 1000, 10, 4);
    put(b".");
    put_number(ms % 1000, 10, 3);
    put(b"] ");
    put(line);
}

/// First serial port (COM1): data, FIFO control, line status.
const SERIAL: u16 = 0x3f8;
const SERIAL_FIFO: u16 = SERIAL + 2;
const SERIAL_STATUS: u16 = SERIAL + 5;
/// FIFO control bit: enable the FIFO.
const IS_ENABLED: u8 = 1;
/// Line status bit: transmit FIFO empty. Size of that FIFO in bytes.
const IS_EMPTY: u8 = 1 << 5;
const FIFO_BYTES: usize = 16;
/// Polls of the line status before bytes are sent regardless. Enough for 9,600 baud; a missing port does not block the machine.
const PATIENCE: u32 = 1_000_000;

/// Enables the serial port's FIFO.
fn start_console() {
    write_port(SERIAL_FIFO, IS_ENABLED);
}

fn put(bytes: &[u8]) {
    for some in bytes.chunks(FIFO_BYTES / 2) {
        let _ = (0..PATIENCE).any(|_| read_port(SERIAL_STATUS) & IS_EMPTY != 0);
        for byte in some {
            if *byte == b'\n' {
                write_port(SERIAL, b'\r');
            }
            write_port(SERIAL, *byte);
        }
    }
}

/// Writes a number with at least `digits` digits, padded with zeros.
fn put_number(number: u64, base: u64, digits: u32) {
    if number >= base || digits > 1 {
        put_number(number / base, base, digits.saturating_sub(1));
    }
    let digit = (number % base) as u8;
    put(&[digit + if digit < 10 { b'0' } else { b'a' - 10 }]);
}

pub(super) fn print(bytes: &[u8]) -> bool {
    put(bytes);
    true
}

/// Debug console port of QEMU (isa-debugcon) and Bochs.
const TRACES: u16 = 0xe9;

/// Writes traces to the debug console port, because they are binary and would mix with the serial port's lines.
pub(super) fn trace(bytes: &[u8]) {
    for byte in bytes {
        write_port(TRACES, *byte);
    }
}

/// Returns all free memory, whatever size is wanted.
pub(super) fn region(_: usize) -> &'static mut [MaybeUninit<u8>] {
    memory::free_memory()
}

pub(super) const fn descriptor_limit() -> usize {
    usize::MAX
}

pub(super) const fn raise_descriptor_limit() -> usize {
    usize::MAX
}

pub(super) const fn hold_streams(_: i32) -> bool {
    true
}

pub(super) const fn user_id() -> u32 {
    0
}

pub(super) const fn is_terminal() -> bool {
    false
}

pub(super) const fn host_name(_: &mut [u8]) -> usize {
    0
}

pub(super) fn hardware_address() -> Option<[u8; 6]> {
    virtio::mac()
}

pub(super) const fn current_dir(_: &mut [u8]) -> Option<usize> {
    None
}

pub(super) const fn variable(_: &[u8]) -> Option<&'static [u8]> {
    None
}

/// Port of QEMU's isa-debug-exit: QEMU exits with status × 2 + 1.
const DEBUG_EXIT: u16 = 0xf4;

/// Powers the machine off by the first method that works; else halts it, so that the last message stays on the console: a reset would
/// start the machine again and again.
pub(super) fn exit(status: i32) -> ! {
    if status != 0 {
        write_port_32(DEBUG_EXIT, status as u32);
    }
    acpi::power_off();
    if !fw_cfg::is_qemu() {
        // The keyboard controller (8042) ends Firecracker.
        write_port(0x64, 0xfe);
    }
    halt()
}

/// Stops the processor.
fn halt() -> ! {
    loop {
        // SAFETY: interrupts are disabled, so nothing runs after the instruction.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}
