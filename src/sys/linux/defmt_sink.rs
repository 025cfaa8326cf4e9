//! Writes traces: defmt frames to one descriptor, after the build id. Without `--log` nothing is written.

use super::super::BUILD_ID_BYTES;
use core::cell::UnsafeCell;
use core::mem::ManuallyDrop;
use core::sync::atomic::{AtomicI32, Ordering};
use defmt::{Encoder, Logger};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::fs::OFlags;

/// Descriptor for frames, or -1.
static SINK: AtomicI32 = AtomicI32::new(-1);

/// Opens the destination of traces and writes `build_id`. `path` is a file, or "-" for standard output (without an operating
/// system: the debug console port).
///
/// # Errors
/// Errors of open(2). `ROFS`: there is no operating system, so there are no files.
pub fn trace_to(
    path: &core::ffi::CStr,
    build_id: &[u8; BUILD_ID_BYTES],
) -> Result<(), super::Errno> {
    let raw = if path == c"-" {
        1
    } else if super::super::is_bare() {
        return Err(super::Errno::ROFS);
    } else {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::NOCTTY;
        ManuallyDrop::new(super::fs::File::open(path, flags, 0o644)?).as_raw_fd()
    };
    SINK.store(raw, Ordering::Relaxed);
    write(build_id);
    Ok(())
}

/// Writes a part of a trace. Ignores errors: a full disk only loses traces, and the decoder resynchronises at the next frame.
fn write(bytes: &[u8]) {
    let raw = SINK.load(Ordering::Relaxed);
    #[cfg(bare)]
    if super::super::is_bare() {
        return super::super::bare::trace(bytes);
    }
    if raw >= 0 {
        // SAFETY: the descriptor was opened above and is never closed.
        let _ = rustix::io::write(unsafe { BorrowedFd::borrow_raw(raw) }, bytes);
    }
}

/// Buffer size (bytes); longer frames are written in pieces.
const FRAME_BYTES: usize = 256;

struct Frame {
    encoder: Encoder,
    buffer: Buffer,
}

struct Buffer {
    len: usize,
    bytes: [u8; FRAME_BYTES],
}

impl Buffer {
    fn append(&mut self, more: &[u8]) {
        for byte in more {
            if self.len == FRAME_BYTES {
                self.flush();
            }
            if let Some(place) = self.bytes.get_mut(self.len) {
                *place = *byte;
                self.len += 1;
            }
        }
    }

    fn flush(&mut self) {
        write(self.bytes.get(..self.len).unwrap_or_default());
        self.len = 0;
    }
}

struct Cell(UnsafeCell<Frame>);

// SAFETY: only the thread of the loop writes traces: workers (`workers::run`) make system calls only, and no signal handler logs. In
// host tests, where more threads log, `SINK` is −1 and `FRAME` is never touched.
unsafe impl Sync for Cell {}

static FRAME: Cell = Cell(UnsafeCell::new(Frame {
    encoder: Encoder::new(),
    buffer: Buffer {
        len: 0,
        bytes: [0; FRAME_BYTES],
    },
}));

#[defmt::global_logger]
struct Sink;

/// Calls `extend` with the current frame if traces are written at all.
fn with_frame(extend: impl FnOnce(&mut Encoder, &mut Buffer)) {
    if SINK.load(Ordering::Relaxed) >= 0 {
        // SAFETY: only the loop's thread is here (see `Cell`), and no reference outlives the call.
        let Frame { encoder, buffer } = unsafe { &mut *FRAME.0.get() };
        extend(encoder, buffer);
    }
}

// SAFETY: only the loop's thread logs (see `Cell`), and no signal handler does: acquire and release cannot overlap.
unsafe impl Logger for Sink {
    fn acquire() {
        with_frame(|encoder, buffer| encoder.start_frame(|more| buffer.append(more)));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        with_frame(|encoder, buffer| {
            encoder.end_frame(|more| buffer.append(more));
            buffer.flush();
        });
    }

    unsafe fn write(bytes: &[u8]) {
        with_frame(|encoder, buffer| encoder.write(bytes, |more| buffer.append(more)));
    }
}

defmt::timestamp!("{=u64:ms}", elapsed_ms());

/// Time of a trace; 0 without a system call if traces are not written.
fn elapsed_ms() -> u64 {
    if SINK.load(Ordering::Relaxed) < 0 {
        return 0;
    }
    let start = crate::time::Instant::default();
    crate::sys::now().since(start).as_ms()
}
