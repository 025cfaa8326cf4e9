//! The descriptors that one request needs, which its end closes, or others that take their places.

use super::super::{FsResult, Node};
use crate::sys::named::close;
use rustix::fd::RawFd;

/// Places of a ring: more than a request takes. Laws take longer.
const RING_COUNT: usize = if cfg!(test) { 64 } else { 8 };
/// No descriptor.
pub(super) const NONE: RawFd = -1;

/// Descriptors, the oldest of which gives way to the next.
#[derive(Debug)]
pub(super) struct Ring {
    files: [RawFd; RING_COUNT],
    turn: usize,
}

impl Ring {
    pub(super) const EMPTY: Self = Self {
        files: [NONE; RING_COUNT],
        turn: 0,
    };

    /// Takes in what was opened.
    #[inline(never)]
    pub(super) fn keep(&mut self, opened: FsResult<RawFd>) -> FsResult<Node> {
        let file = opened?;
        self.turn = (self.turn + 1) % RING_COUNT;
        if let Some(place) = self.files.get_mut(self.turn) {
            // It may be none.
            close(core::mem::replace(place, file));
        }
        Ok(Node(file as u32))
    }

    /// Closes them.
    #[inline(never)]
    pub(super) fn rest(&mut self) {
        for place in &mut self.files {
            if *place != NONE {
                close(core::mem::replace(place, NONE));
            }
        }
    }
}

/// A process has one backend until it ends, tests have many.
#[cfg(test)]
impl Drop for Ring {
    fn drop(&mut self) {
        self.rest();
    }
}
