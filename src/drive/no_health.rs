//! The interface of `health` where nothing asks for the health of the server or for the wall clock.

use crate::engine::service::Health;
use crate::time::{Duration, Instant};
use core::sync::atomic::AtomicU32;

/// The heartbeats that processes share, and that of this process.
pub(super) type Beats = (&'static [AtomicU32], &'static AtomicU32);

/// The heartbeat of a loop, which is missing.
#[derive(Debug)]
pub(super) struct Pulse;

#[allow(dead_code, clippy::unused_self, reason = "the interface of health.rs")]
impl Pulse {
    pub(super) const NONE: Self = Self;

    pub(super) const fn of(_: Beats) -> Self {
        Self
    }

    pub(super) const fn poll_at(&self) -> Instant {
        Instant::NEVER
    }

    pub(super) const fn is_due(&self, _: Instant) -> bool {
        false
    }

    pub(super) const fn beat(&self, _: Instant, _: bool) {}

    pub(super) const fn watch(&self) {}

    pub(super) const fn is_watched(&self) -> bool {
        false
    }

    pub(super) const fn health(&self) -> Health {
        Health::Fine
    }

    pub(super) const fn wall(&self, _: Instant) -> Duration {
        Duration::from_ms(0)
    }
}
