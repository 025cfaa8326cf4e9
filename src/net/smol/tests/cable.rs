//! A cable with faults, in virtual time: it loses, delays, repeats and damages frames as chance has it.

use crate::mem::leak;
use crate::net::link::{BATCH, FRAME_BYTES_MAX, Frame, Frames, HEAD_BYTES, Limits, Link};
use crate::net::{NetError, NetResult, Signals};
use crate::time::{Duration, Instant};
use cases::random::Random;
use core::cell::RefCell;
use core::num::NonZeroU16;
use std::rc::Rc;

/// Of a thousand frames so many are lost, delayed, repeated, damaged: each.
pub(super) type PerMille = usize;

#[derive(Debug)]
struct Wire {
    random: Random,
    faults: PerMille,
    /// It takes no frames now.
    is_full: bool,
    /// Of a thousand frames so many are not taken at once.
    refused: PerMille,
    now: Instant,
    /// When each frame arrives, at which end, and what it is.
    frames: Vec<(Instant, usize, Vec<u8>)>,
}

/// One end of a cable.
#[derive(Clone, Debug)]
pub(super) struct End {
    wire: Rc<RefCell<Wire>>,
    number: usize,
}

/// How long a frame takes, and one that is delayed takes longer.
const LATENCY: Duration = Duration::from_ms(1);
const DELAY_MS_MAX: usize = 20;
const ETHERNET_BYTES: usize = 14;
/// The type of the protocol that has no checksum.
const ARP: [u8; 2] = [8, 6];

/// Both ends of a cable in which chance follows from `seed`.
pub(super) fn cable(seed: u64, faults: PerMille) -> [End; 2] {
    let wire = Rc::new(RefCell::new(Wire {
        random: Random::new(seed),
        faults,
        is_full: false,
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

    pub(super) fn set_refused(&self, refused: PerMille) {
        self.wire.borrow_mut().refused = refused;
    }

    pub(super) fn set_now(&self, now: Instant) {
        self.wire.borrow_mut().now = now;
    }

    /// When the next frame arrives anywhere.
    pub(super) fn next_at(&self) -> Instant {
        let wire = self.wire.borrow();
        let first = wire.frames.iter().map(|(at, ..)| *at).min();
        first.unwrap_or(Instant::NEVER)
    }

    /// The next frame that has arrived here.
    pub(super) fn take(&self) -> Option<Vec<u8>> {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        let places = wire.frames.iter().enumerate();
        let (place, _) = places
            .filter(|(_, (at, end, _))| *at <= now && *end == self.number)
            .min_by_key(|(_, (at, ..))| *at)?;
        Some(wire.frames.remove(place).2)
    }

    /// Sends a frame to the other end.
    pub(super) fn put(&self, frame: &[u8]) {
        let mut wire = self.wire.borrow_mut();
        if wire.happens() {
            return;
        }
        let copies = 1 + usize::from(wire.happens());
        for _ in 0..copies {
            let mut frame = frame.to_vec();
            // An Ethernet finds damage itself, and loses the frame; routers and memory do it to packets.
            if wire.happens() && frame[12..14] != ARP {
                let bit = wire.random.below((frame.len() - ETHERNET_BYTES) * 8);
                frame[ETHERNET_BYTES + bit / 8] ^= 1 << (bit % 8);
            }
            let mut at = wire.now.after(LATENCY);
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
