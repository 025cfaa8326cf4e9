//! Connections that wait for a job for so long that the disk may hang.

use super::Served;
use super::connection::Connection;
use crate::drive::health::STALL;
use crate::time::Instant;

impl Served {
    /// Returns true if a connection has waited for a job for more than `STALL`.
    pub fn is_stalled(&self, now: Instant) -> bool {
        let mut connections = self.connections.iter().flatten();
        connections.any(|connection| {
            connection.waits.is_pending() && now.since(connection.progress) > STALL
        })
    }
}

/// A connection begins to wait for a job. Its peer may have taken nothing for long.
pub(super) const fn begin_wait(connection: &mut Connection, now: Instant) {
    connection.progress = now;
}
