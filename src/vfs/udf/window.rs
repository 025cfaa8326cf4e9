//! The bytes of an image that were read last.

use super::super::volume::Block;
use super::{FsError, FsResult};
use crate::mem::{self, Ends as _};

/// A part of an image in memory.
pub(super) struct Window {
    /// Offset in the image.
    at: u64,
    len: usize,
    bytes: &'static mut [u8],
}

impl Window {
    /// An empty window of at most `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        Self {
            at: 0,
            len: 0,
            bytes: mem::bytes(size),
        }
    }

    /// Empties the window.
    pub(super) const fn forget(&mut self) {
        self.len = 0;
    }

    /// The bytes from `at` to the end of its block of `unit` bytes (a power of two). Reads ahead if the block follows those in memory.
    pub(super) fn fetch(
        &mut self,
        image: &mut impl Block,
        at: u64,
        unit: usize,
    ) -> FsResult<&[u8]> {
        if at.wrapping_sub(self.at) >= self.len as u64 {
            let start = at & !(unit as u64 - 1);
            let follows = self.len > 0 && start == self.at + self.len as u64;
            let most = if follows { self.bytes.len() } else { unit };
            let len = image.size().saturating_sub(start).min(most as u64) as usize;
            self.len = 0;
            if at - start >= len as u64 {
                return Err(FsError::Io);
            }
            image.read(start, self.bytes.head_mut(len))?;
            (self.at, self.len) = (start, len);
        }
        let past = (at - self.at) as usize;
        let end = (past | (unit - 1)) + 1;
        Ok(self.bytes.head(end.min(self.len)).tail(past))
    }
}
