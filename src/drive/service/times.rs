//! Time limits of requests and of idle connections, for services that have them; newcomers that wait for a slot meanwhile; and the
//! orderly end of a connection.

use super::connection::{CloseReason, Connection};
use super::turn::Halt;
use super::{Served, Times};
use crate::config::{DRAIN_BYTES_MAX, FULL_TIMEOUT};
use crate::drive::task::World;
use crate::net::Interest;
use crate::time::Instant;

impl Served {
    /// The time limits, if the service has any.
    pub(super) const fn times(&self) -> Option<Times> {
        self.times
    }

    /// Returns true if newcomers wait until a connection ends, up to [`FULL_TIMEOUT`]: those of HTTP soon do.
    pub(super) fn awaits_slot(&mut self, now: Instant) -> bool {
        self.full_since = self.full_since.min(now);
        self.times.is_some() && now.since(self.full_since) < FULL_TIMEOUT
    }
}

/// Returns true if the connection's last reply was sent, and input is dropped.
pub(super) const fn drains(connection: &Connection) -> bool {
    connection.drains
}

/// Carries out [`Halt::Drain`].
pub(super) fn drained(halt: Halt, world: &mut World<'_>, connection: &mut Connection) -> Halt {
    match halt {
        Halt::Drain => drain(world, connection),
        halt => halt,
    }
}

/// Drops what the peer sends after its last reply, until it ends its sending direction or has sent too much. First ends our own: the
/// replies were sent.
fn drain(world: &mut World<'_>, connection: &mut Connection) -> Halt {
    if !connection.drains {
        world.net.end_sending(connection.socket);
        connection.drains = true;
        connection.input_len = 0;
        connection.progress = world.now;
    }
    match world.net.recv(connection.socket, world.rx) {
        Err(error) => Halt::by(error, Interest::Input),
        Ok(count) => {
            world.stats.received(count);
            connection.input_len += count as u32;
            match count > 0 && connection.input_len <= DRAIN_BYTES_MAX {
                true => Halt::Socket(Interest::Input),
                false => CloseReason::Gone.into(),
            }
        }
    }
}
