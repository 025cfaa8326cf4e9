//! The interface of `machines` in an executable that boots none.

use super::{Operation, Sheet};
use crate::event::Line;

/// Number of the words of machines.
pub const MACHINE_WORDS: usize = 0;

pub(super) struct MachineStep {
    pub(super) names: Line,
    pub(super) step: Operation,
    pub(super) at_ms: u64,
}

#[allow(clippy::unused_self, reason = "the interface of machines.rs")]
impl Sheet {
    pub(super) const fn machine(self, _: usize) -> Option<MachineStep> {
        None
    }

    pub(super) const fn forget_machines(self) {}
}
