//! The interface of `datagrams` where no service has datagrams or timers.

use super::turn::Turn;
use super::{Limits, Served};
use crate::engine::service::{ConnectionId, Service};
use crate::time::Instant;

/// The datagram sockets of a service, of which there are none.
pub(super) struct Sockets;

impl Sockets {
    pub(super) const fn new(_: &Limits) -> Self {
        Self
    }
}

#[allow(clippy::unused_self, reason = "the interface of datagrams.rs")]
impl Served {
    pub(super) const fn receive_datagrams(&self, _: &mut Turn<'_, '_>, _: u32) -> bool {
        false
    }

    pub(super) const fn due_at(_: &dyn Service) -> Instant {
        Instant::NEVER
    }

    pub(super) const fn next_due(
        &self,
        _: &mut Turn<'_, '_>,
        _: &mut usize,
    ) -> Option<ConnectionId> {
        None
    }
}
