//! The descriptors that one request needs, which its end closes, or others that take their places.

use super::super::walk::LINK_COUNT_MAX;
use super::super::{FsResult, Node};
use crate::config::HANDLE_DESCRIPTOR_RESERVE;
use crate::sys::linux::fs::close;
use rustix::fd::RawFd;

/// Places for steps: a directory is still needed when all the links have been read that there may be on one way.
pub(super) const STEP_COUNT: usize = 48;
const _: () = assert!(STEP_COUNT > LINK_COUNT_MAX as usize + 3);
/// Places for what was found: more than a request asks for. Tests of objects hold more of them at a time.
pub(super) const FOUND_COUNT: usize = if cfg!(test) { 16 } else { 8 };
const _: () = assert!(cfg!(test) || 1 + FOUND_COUNT + 8 <= HANDLE_DESCRIPTOR_RESERVE);
/// No descriptor.
pub(super) const NONE: RawFd = -1;

/// Descriptors, the oldest of which gives way to the next.
#[derive(Debug)]
#[repr(C)] // What is used most lies first, where short instructions reach it.
pub(super) struct Ring {
    /// How many places are used.
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

    /// Takes in what was opened.
    #[inline(never)]
    pub(super) fn keep(&mut self, opened: FsResult<RawFd>) -> FsResult<Node> {
        let file = opened?;
        self.turn += 1;
        if self.turn >= self.count {
            self.turn = 0;
        }
        if let Some(place) = self.files.get_mut(self.turn as usize) {
            // It may be none.
            close(core::mem::replace(place, file));
        }
        Ok(super::node_of(file))
    }

    /// Closes them.
    #[inline(never)]
    pub(super) fn release_idle(&mut self) {
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
        self.release_idle();
    }
}
