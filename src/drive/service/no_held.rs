//! The interface of `held` where each job is done at once, and each reply is finished at once.

use super::Served;
use super::connection::Connection;
use super::turn::{Batch, Halt, Turn};
use crate::drive::task::World;
use crate::engine::service::{ConnectionId, Service};
use crate::net::Socket;
use crate::vfs::Tree;

#[allow(clippy::unused_self, reason = "the interface of held.rs")]
impl Served {
    pub(super) const fn may_have_ended(&self, _: &Tree) -> bool {
        false
    }

    pub(super) const fn lacks_held_block(&self) -> bool {
        false
    }

    pub(super) const fn restore_held(&self, _: &mut [u8], _: &mut Connection) -> usize {
        0
    }

    pub(super) const fn save_held(
        &self,
        _: &mut Turn<'_, '_>,
        _: &mut Connection,
        _: core::ops::Range<usize>,
    ) -> Result<(), Halt> {
        Ok(())
    }
}

pub(super) const fn pass_end(_: &mut World<'_>, _: &mut dyn Service, _: ConnectionId, _: Socket) {}

#[allow(clippy::unused_self, reason = "the interface of held.rs")]
impl Batch {
    pub(super) const fn move_held(&self, _: &mut [u8]) -> usize {
        0
    }
}
