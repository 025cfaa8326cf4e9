//! A cable with faults: at one end Linux with a TAP, at the other a network stack that connects to a socket file, as to QEMU's
//! `-netdev stream`.

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

/// How much longer a frame takes at most that is delayed.
const DELAY_MS_MAX: usize = 20;
/// No frame is longer.
const FRAME_BYTES_MAX: usize = 65_550;
const ETHERNET_BYTES: usize = 14;
/// The type of the protocol that has no checksum.
const ARP: [u8; 2] = [8, 6];

nix::ioctl_write_ptr_bad!(
    set_interface,
    nix::request_code_write!(b'T', 202, size_of::<c_int>()),
    ifreq
);

/// The cable. It is there until the process ends, or the stack's end is closed.
pub struct Cable {
    faults: Arc<AtomicUsize>,
    socket: PathBuf,
}

impl Cable {
    /// A TAP of this name in the network namespace of the thread that calls, and a socket file at `socket` that the stack is to
    /// connect to. A frame takes `latency`; chance follows from `seed`.
    pub fn new(name: &str, socket: &Path, latency: Duration, seed: u64) -> Result<Self> {
        let tap = tap(name)?;
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen at {}", socket.display()))?;
        let faults = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&faults);
        thread::spawn(move || {
            // What cannot go on ends the cable: the test is told by what no longer arrives.
            if let Ok((stack, _)) = listener.accept() {
                let _ = join(&tap, &stack, &shared, latency, seed);
            }
        });
        Ok(Self {
            faults,
            socket: socket.to_owned(),
        })
    }

    /// From now on, of a thousand frames so many are lost, delayed, repeated, damaged: each.
    pub fn set_faults(&self, per_mille: usize) {
        self.faults.store(per_mille, Ordering::Relaxed);
    }

    /// `--net` of a stack at its end.
    pub fn net(&self) -> String {
        format!("stream:{}", self.socket.display())
    }
}

/// A new network interface that hands its frames to whoever reads the file.
#[allow(unsafe_code)]
fn tap(name: &str) -> Result<File> {
    let path = "/dev/net/tun";
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("cannot open {path}"))?;
    // SAFETY: numbers and an array of them, which may all be zero.
    let mut request: ifreq = unsafe { std::mem::zeroed() };
    for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = byte as c_char;
    }
    request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI) as c_short;
    // SAFETY: the kernel reads as many bytes as the structure has.
    let made = unsafe { set_interface(file.as_raw_fd(), &raw const request) };
    made.with_context(|| format!("cannot make a TAP {name}"))?;
    Ok(file)
}

/// Carries frames both ways until one end is closed.
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
        let mut from_tap = Sending::new(to_stack, faults, latency, seed);
        let mut from_stack = Sending::new(to_tap, faults, latency, seed + 1);
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
                // Lost where the interface is down.
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

/// A frame, and when it arrives.
type Late = Reverse<(Instant, usize, Vec<u8>)>;

/// One way, at the end where frames go in.
struct Sending {
    out: Sender<Late>,
    faults: Arc<AtomicUsize>,
    latency: Duration,
    random: Random,
    /// How many went in.
    count: usize,
}

impl Sending {
    fn new(out: Sender<Late>, faults: &Arc<AtomicUsize>, latency: Duration, seed: u64) -> Self {
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
            // An Ethernet finds damage itself, and loses the frame; routers and memory do it to packets.
            if self.happens() && frame.len() > ETHERNET_BYTES && frame[12..14] != ARP {
                let bit = self.random.below((frame.len() - ETHERNET_BYTES) * 8);
                frame[ETHERNET_BYTES + bit / 8] ^= 1 << (bit % 8);
            }
            let mut at = Instant::now() + self.latency;
            if self.happens() {
                at += Duration::from_millis(self.random.below(DELAY_MS_MAX) as u64);
            }
            self.count += 1;
            // Nobody takes frames any more: the other end is closed.
            let _ = self.out.send(Reverse((at, self.count, frame)));
        }
    }
}

/// The same way, at the other end: hands each frame out when it is due.
fn deliver(frames: &Receiver<Late>, mut hand_out: impl FnMut(&[u8]) -> bool) {
    let mut waiting: BinaryHeap<Late> = BinaryHeap::new();
    loop {
        let next = waiting.peek().map(|Reverse((at, ..))| *at);
        let pause = next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(Instant::now())
        });
        match frames.recv_timeout(pause) {
            Ok(frame) => waiting.push(frame),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(Reverse((at, ..))) = waiting.peek()
            && *at <= Instant::now()
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
