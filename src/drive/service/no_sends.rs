//! The interface of `sends` where no service sends files.

use super::transfer::Carrier;
use super::turn::Halt;
use crate::engine::service::Transfer;
use crate::vfs::{FsResult, Tree};

#[allow(clippy::unused_self, reason = "the interface of sends.rs")]
impl Carrier<'_> {
    pub(super) const fn fetch(&self, _: &Option<Transfer>, _: &mut Tree) -> Result<(), Halt> {
        Ok(())
    }

    pub(super) const fn send_part(
        &self,
        _: &mut Tree,
        _: &Transfer,
    ) -> Result<Option<FsResult<usize>>, Halt> {
        Ok(None)
    }

    pub(super) const fn check_turn(&self, _: &Transfer) -> Result<(), Halt> {
        Ok(())
    }
}
