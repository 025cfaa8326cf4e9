//! A network path with a rate, a queue, losses and a delay, for measurements: what `tc-netem(8)` does, without its kernel module. Each
//! end is a TAP interface, so that either may belong to any network stack in any namespace.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cases::random::Random;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::cable::tap;

/// Size of the buffer for a frame.
const FRAME_BYTES_MAX: usize = 65_550;
/// Frames that are read in a row before frames that are due are sent.
const READ_COUNT_MAX: usize = 16;

/// The properties of a path, equal in both directions.
#[derive(Clone, Copy)]
pub struct Conditions {
    /// Rate in bits per second.
    pub bit_rate: u64,
    /// Number of frames that wait at most until their transmission has ended; more are dropped (drop-tail).
    pub queue_count: usize,
    /// Probability of the loss of a frame, in thousandths.
    pub lost_per_mille: usize,
    /// Delay in each direction.
    pub delay: Duration,
}

impl Conditions {
    /// Gigabit Ethernet with a queue that does not overflow.
    pub const CLEAN: Self = Self {
        bit_rate: 1_000_000_000,
        queue_count: 10_000,
        lost_per_mille: 0,
        delay: Duration::ZERO,
    };
}

/// A path. Its threads run until the process ends.
pub struct NetworkPath {
    conditions: Arc<Mutex<Conditions>>,
}

impl NetworkPath {
    /// Creates the two TAP interfaces in the network namespace of the calling thread, and connects them. `seed` seeds the losses.
    pub fn new(names: [&str; 2], seed: u64) -> Result<Self> {
        let [first, second] = names;
        let (first, second) = (tap(first)?, tap(second)?);
        let conditions = Arc::new(Mutex::new(Conditions::CLEAN));
        let ends = [(&first, &second), (&second, &first)];
        for (seed, (from, to)) in (seed..).zip(ends) {
            let (from, to) = (from.try_clone()?, to.try_clone()?);
            let flags = OFlag::from_bits_retain(fcntl(&from, FcntlArg::F_GETFL)?);
            fcntl(&from, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))
                .context("cannot set O_NONBLOCK")?;
            let direction = Direction {
                conditions: Arc::clone(&conditions),
                random: Random::new(seed),
                frames: VecDeque::new(),
                sent_at: Instant::now(),
            };
            thread::spawn(move || direction.forward(&from, &to));
        }
        Ok(Self { conditions })
    }

    /// Changes the properties of the path, for frames that arrive from now on.
    pub fn set(&self, conditions: Conditions) {
        *self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = conditions;
    }
}

/// A frame in transit.
struct Transit {
    /// Time at which its transmission ends, which frees its place in the queue.
    sent_at: Instant,
    /// Time at which it arrives.
    due: Instant,
    bytes: Vec<u8>,
}

/// One direction of a path.
struct Direction {
    conditions: Arc<Mutex<Conditions>>,
    random: Random,
    /// Frames in transit, the one that is due first at the front.
    frames: VecDeque<Transit>,
    /// Time at which the transmission of the last frame ends.
    sent_at: Instant,
}

impl Direction {
    /// Forwards frames. Returns only if poll(2) fails.
    fn forward(mut self, from: &File, to: &File) {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        loop {
            while let Some(frame) = self
                .frames
                .pop_front_if(|frame| frame.due <= Instant::now())
            {
                // The write fails while the interface is down; the frame is lost then.
                let _ = (&*to).write(&frame.bytes);
            }
            for _ in 0..READ_COUNT_MAX {
                // WouldBlock, or an error while the interface is down.
                let Ok(len) = (&*from).read(&mut buffer) else {
                    break;
                };
                self.enqueue(&buffer[..len]);
            }
            let next = self.frames.front();
            let pause = next.map(|frame| frame.due.saturating_duration_since(Instant::now()));
            let mut polled = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            if ppoll(&mut polled, pause.map(TimeSpec::from_duration), None).is_err() {
                return;
            }
        }
    }

    /// Queues a frame, or drops it.
    fn enqueue(&mut self, bytes: &[u8]) {
        let conditions = *self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let queued = self.frames.iter().rev();
        let queued = queued.take_while(|frame| frame.sent_at > now).count();
        if queued >= conditions.queue_count || self.random.below(1000) < conditions.lost_per_mille {
            return;
        }
        let bit_count = 8 * bytes.len() as u64;
        let transmission = Duration::from_nanos(bit_count * 1_000_000_000 / conditions.bit_rate);
        let sent_at = self.sent_at.max(now) + transmission;
        self.sent_at = sent_at;
        self.frames.push_back(Transit {
            sent_at,
            due: sent_at + conditions.delay,
            bytes: bytes.to_vec(),
        });
    }
}
