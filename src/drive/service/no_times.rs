//! The interface of `times` where no service limits the time of requests.

use super::connection::Connection;
use super::turn::Halt;
use super::{Served, Times};
use crate::drive::task::World;
use crate::time::Instant;

#[allow(clippy::unused_self, reason = "the interface of times.rs")]
impl Served {
    pub(super) const fn times(&self) -> Option<Times> {
        None
    }

    pub(super) const fn awaits_slot(&self, _: Instant) -> bool {
        false
    }
}

pub(super) const fn drains(_: &Connection) -> bool {
    false
}

pub(super) const fn drained(halt: Halt, _: &mut World<'_>, _: &mut Connection) -> Halt {
    halt
}
