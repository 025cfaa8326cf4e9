//! The interface of `held` where each reply is finished at once.

use super::Served;
use super::connection::{CloseReason, Connection};
use super::turn::{Halt, Turn};

#[allow(clippy::unused_self, reason = "the interface of held.rs")]
impl Served {
    pub(super) const fn lacks_held_block(&self) -> bool {
        false
    }

    pub(super) const fn restore_held(&self, _: &mut [u8], _: &mut Connection) -> usize {
        0
    }

    pub(super) const fn save_held(&self, _: &mut Connection, _: &[u8]) -> Result<(), Halt> {
        Ok(())
    }

    pub(super) const fn outlives_socket(
        &self,
        _: &mut Turn<'_, '_>,
        _: usize,
        _: CloseReason,
    ) -> bool {
        false
    }
}

#[allow(clippy::unused_self, reason = "the interface of held.rs")]
impl Connection {
    pub(super) const fn is_begun(&self) -> bool {
        false
    }

    pub(super) const fn is_unfinished(&self) -> bool {
        false
    }

    pub(super) const fn is_left(&self) -> bool {
        false
    }
}
