//! Descriptors of one request. They are closed when the backend is idle, or when newer descriptors replace them.

use super::super::walk::LINK_COUNT_MAX;
use super::super::{FsResult, Node};
use crate::config::HANDLE_DESCRIPTOR_RESERVE;
use crate::sys::linux::fs::close;
use rustix::fd::RawFd;

/// Number of descriptors for steps of a walk: enough that a directory is still open after the maximum of links was read.
pub(super) const STEP_COUNT: usize = 48;
const _: () = assert!(STEP_COUNT > LINK_COUNT_MAX as usize + 3);
/// Number of descriptors for resolved paths: more than one request resolves. Tests hold more nodes at a time.
pub(super) const FOUND_COUNT: usize = if cfg!(test) { 16 } else { 8 };
const _: () = assert!(cfg!(test) || 1 + FOUND_COUNT + 8 <= HANDLE_DESCRIPTOR_RESERVE);
/// No descriptor.
pub(super) const NONE: RawFd = -1;

/// A ring of descriptors: a new one replaces, and closes, the oldest.
#[derive(Debug)]
#[repr(C)] // Frequently used fields first: small offsets make short instructions.
pub(super) struct Ring {
    /// Number of descriptors that the ring can hold.
    count: u32,
    turn: u32,
    files: [RawFd; STEP_COUNT],
}

impl Ring {
    pub(super) const fn new(count: usize) -> Self {
        Self {
            files: [NONE; STEP_COUNT],
            count: count as u32,
            turn: 0,
        }
    }

    /// Stores the descriptor of an open(2), if that succeeded.
    pub(super) fn store(&mut self, opened: FsResult<RawFd>) -> FsResult<Node> {
        let file = opened?;
        self.turn += 1;
        if self.turn >= self.count {
            self.turn = 0;
        }
        if let Some(place) = self.files.get_mut(self.turn as usize) {
            // The place may hold NONE, which close(2) ignores with EBADF.
            close(core::mem::replace(place, file));
        }
        Ok(super::node_of(file))
    }

    /// Closes all descriptors.
    pub(super) fn release_idle(&mut self) {
        for place in &mut self.files {
            if *place != NONE {
                close(core::mem::replace(place, NONE));
            }
        }
    }
}

/// For tests, which create many backends in one process.
#[cfg(test)]
impl Drop for Ring {
    fn drop(&mut self) {
        self.release_idle();
    }
}
