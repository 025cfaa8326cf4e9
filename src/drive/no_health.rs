//! The interface of `health` in an executable without HTTP: nothing asks for the health of the server or for the wall clock.

use super::task::World;
use crate::engine::service::Health;
use crate::time::{Duration, Instant};

/// The heartbeat of a loop, which is missing.
#[derive(Debug)]
pub(super) struct Pulse;

#[allow(clippy::unused_self, reason = "the interface of health.rs")]
impl Pulse {
    pub(super) const NONE: Self = Self;

    pub(super) const fn poll_at(&self) -> Instant {
        Instant::NEVER
    }
}

#[allow(dead_code, clippy::unused_self, reason = "the interface of health.rs")]
impl World<'_> {
    pub(super) const fn is_health_watched(&self) -> bool {
        false
    }

    pub(super) const fn health(&self) -> Health {
        Health::Fine
    }

    pub(super) const fn wall(&self) -> Duration {
        Duration::from_ms(0)
    }
}
