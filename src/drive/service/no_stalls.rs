//! The interface of `stalls` where nothing asks for the health of the server.

use super::Served;
use super::connection::Connection;
use crate::time::Instant;

#[allow(clippy::unused_self, reason = "the interface of stalls.rs")]
impl Served {
    pub(super) const fn is_stalled(&self, _: Instant) -> bool {
        false
    }
}

pub(super) const fn begin_wait(_: &mut Connection, _: Instant) {}
