//! A network cable that injects faults. One end is a Linux TAP interface; at the other a network stack connects to a Unix socket,
//! in the format of QEMU's `-netdev stream`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cases::random::Random;
use nix::libc::{IFF_NO_PI, IFF_TAP, c_char, c_int, c_short, ifreq};

/// Upper bound (ms, exclusive) of the extra delay of a delayed frame.
const DELAY_MS_MAX: usize = 20;
/// Size of the read buffer for a frame from the TAP.
const FRAME_BYTES_MAX: usize = 65_550;
const ETHERNET_BYTES: usize = 14;
/// EtherType of ARP. ARP packets have no checksum, so the cable never damages them.
const ARP: [u8; 2] = [8, 6];

nix::ioctl_write_ptr_bad!(
    set_interface,
    nix::request_code_write!(b'T', 202, size_of::<c_int>()),
    ifreq
);

/// The cable. Frames are forwarded until the stack closes the socket; the thread that reads the TAP runs until the process ends.
pub struct Cable {
    faults: Arc<AtomicUsize>,
    socket: PathBuf,
}

impl Cable {
    /// Creates a TAP interface `name` in the network namespace of the calling thread, and a listening socket at `socket` for the
    /// stack. Each frame is delayed by `latency`; `seed` seeds the random faults.
    pub fn new(name: &str, socket: &Path, latency: Duration, seed: u64) -> Result<Self> {
        let tap = tap(name)?;
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen at {}", socket.display()))?;
        let faults = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&faults);
        thread::spawn(move || {
            // An I/O error stops the cable. The test notices because frames no longer arrive.
            if let Ok((stack, _)) = listener.accept() {
                let _ = join(&tap, &stack, &shared, latency, seed);
            }
        });
        Ok(Self {
            faults,
            socket: socket.to_owned(),
        })
    }

    /// Sets the probability of each fault, in thousandths per frame: loss, delay, duplication, one flipped bit.
    pub fn set_faults(&self, per_mille: usize) {
        self.faults.store(per_mille, Ordering::Relaxed);
    }

    /// The value for `--net` with which the stack connects to this cable.
    pub fn net(&self) -> String {
        format!("stream:{}", self.socket.display())
    }
}

/// Creates a TAP interface. The returned file reads and writes its frames.
#[allow(unsafe_code)]
fn tap(name: &str) -> Result<File> {
    let path = "/dev/net/tun";
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("cannot open {path}"))?;
    // SAFETY: `ifreq` consists of integers and byte arrays, for which all zeros is a valid value.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as c_char;
    }
    request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI) as c_short;
    // SAFETY: the kernel reads `size_of::<ifreq>()` bytes at the pointer, which outlives the call.
    let made = unsafe { set_interface(file.as_raw_fd(), &raw const request) };
    made.with_context(|| format!("cannot create the TAP interface {name}"))?;
    Ok(file)
}

/// Forwards frames in both directions. Returns after the stack has closed the socket and reading the TAP has failed.
fn join(
    tap: &File,
    stack: &UnixStream,
    faults: &Arc<AtomicUsize>,
    latency: Duration,
    seed: u64,
) -> Result<()> {
    thread::scope(|scope| {
        let (to_tap, for_tap) = channel();
        let (to_stack, for_stack) = channel();
        let mut from_tap = FaultInjector::new(to_stack, faults, latency, seed);
        let mut from_stack = FaultInjector::new(to_tap, faults, latency, seed + 1);
        scope.spawn(move || {
            let mut frame = vec![0; FRAME_BYTES_MAX];
            while let Ok(len) = (&*tap).read(&mut frame) {
                from_tap.send(&frame[..len]);
            }
        });
        scope.spawn(move || {
            let mut reader = BufReader::new(stack);
            let mut length = [0; 4];
            while reader.read_exact(&mut length).is_ok() {
                let mut frame = vec![0; u32::from_be_bytes(length) as usize];
                if reader.read_exact(&mut frame).is_err() {
                    break;
                }
                from_stack.send(&frame);
            }
        });
        scope.spawn(move || {
            deliver(&for_tap, |frame| {
                // The write fails while the interface is down; the frame is lost then.
                let _ = (&*tap).write(frame);
                true
            });
        });
        deliver(&for_stack, |frame| {
            let length = (frame.len() as u32).to_be_bytes();
            let whole = [&length, frame].concat();
            (&*stack).write_all(&whole).is_ok()
        });
    });
    Ok(())
}

/// A frame in flight: due time, sequence number, bytes. `Reverse` makes the heap return the earliest first.
type Delayed = Reverse<(Instant, usize, Vec<u8>)>;

/// One direction of the cable: applies the faults and queues each frame with its due time.
struct FaultInjector {
    out: Sender<Delayed>,
    faults: Arc<AtomicUsize>,
    latency: Duration,
    random: Random,
    /// Number of frames queued since the start. Breaks ties between frames that are due at the same instant.
    count: usize,
}

impl FaultInjector {
    fn new(out: Sender<Delayed>, faults: &Arc<AtomicUsize>, latency: Duration, seed: u64) -> Self {
        Self {
            out,
            latency,
            faults: Arc::clone(faults),
            random: Random::new(seed),
            count: 0,
        }
    }

    fn happens(&mut self) -> bool {
        self.random.below(1000) < self.faults.load(Ordering::Relaxed)
    }

    fn send(&mut self, frame: &[u8]) {
        if self.happens() {
            return;
        }
        for _ in 0..1 + usize::from(self.happens()) {
            let mut frame = frame.to_vec();
            // A flipped bit damages only the payload: real Ethernet discards a frame that was damaged on the wire, by its FCS, but
            // a router or bad memory can damage the packet inside a frame.
            if self.happens() && frame.len() > ETHERNET_BYTES && frame[12..14] != ARP {
                let bit = self.random.below((frame.len() - ETHERNET_BYTES) * 8);
                frame[ETHERNET_BYTES + bit / 8] ^= 1 << (bit % 8);
            }
            let mut due = Instant::now() + self.latency;
            if self.happens() {
                due += Duration::from_millis(self.random.below(DELAY_MS_MAX) as u64);
            }
            self.count += 1;
            // The receiving thread ends once the stack has closed its socket. Sending to that thread then fails, and the frame is
            // lost.
            let _ = self.out.send(Reverse((due, self.count, frame)));
        }
    }
}

/// Passes each frame to `hand_out` when it is due. Returns when `hand_out` returns false or the sender was dropped.
fn deliver(frames: &Receiver<Delayed>, mut hand_out: impl FnMut(&[u8]) -> bool) {
    let mut waiting: BinaryHeap<Delayed> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse((due, ..))| *due);
        let pause = next.map_or(Duration::from_secs(3600), |due| {
            due.saturating_duration_since(Instant::now())
        });
        match frames.recv_timeout(pause) {
            Ok(frame) => waiting.push(frame),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(Reverse((due, ..))) = waiting.peek()
            && *due <= Instant::now()
        {
            let Some(Reverse((_, _, frame))) = waiting.pop() else {
                break;
            };
            if !hand_out(&frame) {
                return;
            }
        }
    }
}
