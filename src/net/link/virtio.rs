//! The virtio network card without an operating system (`sys::bare`), with offloads if the card has them.

use super::{BATCH, Frame, Frames, HEAD_BYTES, Limits, Link, vnet};
use crate::net::{NetError, NetResult, Signals};
use crate::sys::bare::virtio::{have_disks_ended, take_ended_disks};
use crate::sys::{self, bare};
use crate::time::Instant;
use core::num::NonZeroU16;

/// A link over a virtio network card.
pub struct Virtio {
    card: bare::virtio::Card,
    /// True if [`Link::recv`] must still report that the cable is connected again.
    is_back: bool,
}

impl Virtio {
    /// Returns the machine's network card at the first call, `None` at later calls.
    pub fn open() -> Option<Self> {
        let card = bare::virtio::take_card()?;
        Some(Self {
            card,
            is_back: false,
        })
    }
}

impl Link for Virtio {
    fn limits(&self) -> Limits {
        Limits {
            mtu: self.card.mtu,
            has_offloads: self.card.has_offloads(),
            frame_bytes: self.card.frame_bytes(),
        }
    }

    fn recv(&mut self, buffer: &mut [u8], frames: &mut Frames) -> NetResult<()> {
        if core::mem::take(&mut self.is_back) {
            return Err(NetError::Gone);
        }
        let frame_bytes = self.card.frame_bytes();
        for (space, number) in buffer.chunks_mut(frame_bytes).zip(0..BATCH) {
            let Some(len) = self.card.recv(space) else {
                break;
            };
            let start = number * frame_bytes;
            let _ = frames.push(Frame {
                bytes: start + HEAD_BYTES.min(len)..start + len,
                is_verified: vnet::is_verified(space),
            });
        }
        match frames.is_empty() {
            true => Err(NetError::WouldBlock),
            false => Ok(()),
        }
    }

    fn send(&mut self, buffer: &mut [u8], segment: Option<NonZeroU16>) -> NetResult<()> {
        if self.card.has_offloads() {
            vnet::fill(buffer, segment);
        } else if let Some(header) = buffer.get_mut(..HEAD_BYTES) {
            header.fill(0);
        }
        match self.card.send(buffer) {
            true => Ok(()),
            false => Err(NetError::WouldBlock),
        }
    }

    fn wait(
        &mut self,
        now: Instant,
        until: Instant,
        sends: bool,
        signals: &mut Signals,
    ) -> Instant {
        self.card.flush();
        // A frame or a disk's answer after these checks raises an interrupt, which ends the wait at once.
        let is_ready = self.is_back || self.card.is_ready(sends);
        if !is_ready && until > now && !have_disks_ended() && !bare::is_button_pressed() {
            bare::idle((until < Instant::NEVER).then(|| until.since(now)));
            // The card's interrupt is acknowledged only after a wait, because each access to a register is a VM exit. A frame that came
            // before the acknowledgment is found by the next check; a later one raises an interrupt again.
            self.is_back |= self.card.is_back();
        }
        signals.disk |= take_ended_disks();
        signals.stop |= bare::is_button_pressed();
        sys::now()
    }
}
