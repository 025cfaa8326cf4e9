//! Bytes in memory that outlives the process. They are replaced as a whole: a process that is killed meanwhile leaves the old ones.

use super::Ends as _;
use core::sync::atomic::{AtomicU32, Ordering};

/// The memory. One half has the valid bytes, the other receives the next ones.
#[derive(Debug)]
pub struct Twin {
    /// Twice the number of valid bytes; plus 1 if they are in the second half.
    state: &'static AtomicU32,
    memory: &'static mut [u8],
}

impl Twin {
    /// The bytes in `memory`, as `state` describes them. Zero: none.
    pub const fn new(state: &'static AtomicU32, memory: &'static mut [u8]) -> Self {
        Self { state, memory }
    }

    /// The valid bytes.
    pub fn bytes(&self) -> &[u8] {
        let state = self.state.load(Ordering::Relaxed) as usize;
        let half = self.memory.len() / 2;
        self.memory.tail((state & 1) * half).head(state >> 1)
    }

    /// Replaces the bytes by those that `write` writes, of which it returns the number.
    pub fn replace(&mut self, write: &mut dyn FnMut(&mut [u8]) -> usize) {
        let next = self.state.load(Ordering::Relaxed) & 1 ^ 1;
        let half = self.memory.len() / 2;
        let len = write(self.memory.tail_mut(next as usize * half).head_mut(half));
        self.state
            .store((len as u32) << 1 | next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem;

    #[test]
    fn killed_writer_leaves_old_bytes() {
        let state = mem::leak(AtomicU32::new(0));
        let mut twin = Twin::new(state, mem::bytes(9));
        assert_eq!(twin.bytes(), b"");
        for text in [&b"one"[..], b"two!", b""] {
            let old = twin.bytes().to_vec();
            twin.replace(&mut |out| {
                out.fill(b'x');
                mem::copy_into(out, text);
                // The state of a process that is killed now.
                assert_eq!(state.load(Ordering::Relaxed) as usize >> 1, old.len());
                text.len()
            });
            assert_eq!(twin.bytes(), text);
        }
    }
}
