//! A simulated cable that loses, delays, repeats and damages frames at random, in virtual time.

use crate::mem::leak;
use crate::net::link::{BATCH, FRAME_BYTES_MAX, Frame, Frames, HEAD_BYTES, Limits, Link};
use crate::net::{NetError, NetResult, Signals};
use crate::time::{Duration, Instant};
use cases::random::Random;
use core::cell::RefCell;
use core::num::NonZeroU16;
use std::rc::Rc;

/// Probability (per mille) of each fault: loss, delay, repetition, damage.
pub(super) type PerMille = usize;

#[derive(Debug)]
struct Wire {
    random: Random,
    faults: PerMille,
    /// True if the cable accepts no frames.
    is_full: bool,
    /// MTU of a router to the right end: it answers longer packets from the left end with an ICMP error.
    router_mtu: Option<u16>,
    /// Number of frames that wait at most at each end for a cable of 100 Mbit/s; more are dropped. `None`: the cable has no rate.
    queue: Option<u64>,
    /// Time at which each end has sent its last frame, in units of [`FRAMES_PER_MS`].
    sent_at: [u64; 2],
    /// Probability (per mille) that the first attempt to send a frame fails with `WouldBlock`.
    refused: PerMille,
    now: Instant,
    /// Frames in transit: arrival time, destination end, content.
    frames: Vec<(Instant, usize, Vec<u8>)>,
}

/// One end of a cable.
#[derive(Clone, Debug)]
pub(super) struct End {
    wire: Rc<RefCell<Wire>>,
    number: usize,
}

/// Latency of the cable, and largest additional delay.
const LATENCY: Duration = Duration::from_ms(1);
const DELAY_MS_MAX: usize = 20;
/// Frames of full size that a cable of 100 Mbit/s carries per millisecond.
const FRAMES_PER_MS: u64 = 8;
const ETHERNET_BYTES: usize = 14;
/// EtherType of ARP, which has no checksum.
const ARP: [u8; 2] = [8, 6];

/// Creates a cable whose faults are derived from `seed`; returns both ends.
pub(super) fn cable(seed: u64, faults: PerMille) -> [End; 2] {
    let wire = Rc::new(RefCell::new(Wire {
        random: Random::new(seed),
        faults,
        is_full: false,
        router_mtu: None,
        queue: None,
        sent_at: [0; 2],
        refused: 0,
        now: Instant::default(),
        frames: Vec::new(),
    }));
    [0, 1].map(|number| End {
        wire: wire.clone(),
        number,
    })
}

impl Wire {
    fn happens(&mut self) -> bool {
        self.random.below(1000) < self.faults
    }

    /// Returns the time at which an end has sent a frame. `None`: its queue is full.
    fn start(&mut self, end: usize) -> Option<Instant> {
        let Some(queue) = self.queue else {
            return Some(self.now);
        };
        let now = self.now.since(Instant::default()).as_ms() * FRAMES_PER_MS;
        let sent_at = self.sent_at[end].max(now) + 1;
        if sent_at - now > queue {
            return None;
        }
        self.sent_at[end] = sent_at;
        Some(Instant::from_ms(sent_at / FRAMES_PER_MS))
    }
}

impl End {
    pub(super) fn leak(self) -> &'static mut dyn Link {
        leak(self)
    }

    pub(super) fn set_faults(&self, faults: PerMille) {
        self.wire.borrow_mut().faults = faults;
    }

    pub(super) fn set_full(&self, is_full: bool) {
        self.wire.borrow_mut().is_full = is_full;
    }

    pub(super) fn set_queue(&self, frame_count: u64) {
        self.wire.borrow_mut().queue = Some(frame_count);
    }

    pub(super) fn set_router_mtu(&self, mtu: u16) {
        self.wire.borrow_mut().router_mtu = Some(mtu);
    }

    pub(super) fn set_refused(&self, refused: PerMille) {
        self.wire.borrow_mut().refused = refused;
    }

    pub(super) fn set_now(&self, now: Instant) {
        self.wire.borrow_mut().now = now;
    }

    /// Arrival time of the next frame at either end.
    pub(super) fn next_at(&self) -> Instant {
        let wire = self.wire.borrow();
        let first = wire.frames.iter().map(|(at, ..)| *at).min();
        first.unwrap_or(Instant::NEVER)
    }

    /// Returns the next frame that has arrived at this end.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        self.take_if(|_| true)
    }

    /// Returns the next frame that has arrived at this end and that `is_it` accepts. The others stay.
    pub(super) fn take_if(&self, is_it: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        let places = wire.frames.iter().enumerate();
        let (place, _) = places
            .filter(|(_, (at, end, frame))| *at <= now && *end == self.number && is_it(frame))
            .min_by_key(|(_, (at, ..))| *at)?;
        Some(wire.frames.remove(place).2)
    }

    /// Sends a frame to the other end.
    pub(super) fn put(&self, frame: &[u8]) {
        let mut wire = self.wire.borrow_mut();
        let Some(start) = wire.start(self.number) else {
            return;
        };
        if self.number == 0
            && let Some(mtu) = wire.router_mtu
            && frame.len() > ETHERNET_BYTES + usize::from(mtu)
        {
            let error = super::mtu::too_big(frame, mtu);
            wire.frames.push((start.after(LATENCY), 0, error));
            return;
        }
        if wire.happens() {
            return;
        }
        let copies = 1 + usize::from(wire.happens());
        for _ in 0..copies {
            let mut frame = frame.to_vec();
            // Frames damaged on Ethernet are dropped by their CRC; this is damage in routers or memory, which does not concern ARP.
            if wire.happens() && frame[12..14] != ARP {
                let bit = wire.random.below((frame.len() - ETHERNET_BYTES) * 8);
                frame[ETHERNET_BYTES + bit / 8] ^= 1 << (bit % 8);
            }
            let mut at = start.after(LATENCY);
            if wire.happens() {
                at = at.after(Duration::from_ms(wire.random.below(DELAY_MS_MAX) as u32));
            }
            wire.frames.push((at, 1 - self.number, frame));
        }
    }
}

impl Link for End {
    fn limits(&self) -> Limits {
        Limits {
            mtu: 1500,
            has_offloads: false,
            frame_bytes: FRAME_BYTES_MAX,
        }
    }

    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()> {
        assert!(buffer.len() >= BATCH * FRAME_BYTES_MAX && frames.is_empty());
        let mut start = 0;
        while !frames.is_full()
            && let Some(frame) = self.take()
        {
            let bytes = start..start + frame.len();
            buffer[bytes.clone()].copy_from_slice(&frame);
            start += FRAME_BYTES_MAX;
            let frame = Frame {
                bytes,
                is_verified: false,
            };
            frames.push(frame).unwrap();
        }
        if frames.is_empty() {
            return Err(NetError::WouldBlock);
        }
        Ok(())
    }

    fn send(&mut self, buffer: &mut [u8], _: Option<NonZeroU16>) -> NetResult<()> {
        {
            let mut wire = self.wire.borrow_mut();
            let refused = wire.refused;
            if wire.is_full || refused > 0 && wire.random.below(1000) < refused {
                return Err(NetError::WouldBlock);
            }
        }
        self.put(&buffer[HEAD_BYTES..]);
        Ok(())
    }

    fn wait(&mut self, now: Instant, _: Instant, _: bool, _: &mut Signals) -> Instant {
        now
    }
}
