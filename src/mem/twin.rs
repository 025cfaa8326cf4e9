//! Bytes in memory that outlives the process. They are replaced as a whole: a process that is killed meanwhile leaves the old ones.

use super::Ends as _;
use core::sync::atomic::{AtomicU32, Ordering};

/// The two halves of the memory. One has the valid bytes, the other receives the next ones.
#[derive(Debug)]
pub struct Twin {
    /// Twice the number of valid bytes; plus 1 if they are in the second half.
    state: &'static AtomicU32,
    halves: [&'static mut [u8]; 2],
}

impl Twin {
    /// The bytes in `memory`, as `state` describes them. Zero: none.
    pub fn new(state: &'static AtomicU32, memory: &'static mut [u8]) -> Self {
        let (first, second) = memory.split_at_mut(memory.len() / 2);
        Self {
            state,
            halves: [first, second],
        }
    }

    /// The valid bytes.
    pub fn bytes(&self) -> &[u8] {
        let state = self.state.load(Ordering::Relaxed) as usize;
        let [first, second] = &self.halves;
        let half = if state & 1 == 0 { first } else { second };
        half.head(state >> 1)
    }

    /// Replaces the bytes by those that `write` writes, of which it returns the number.
    pub fn replace(&mut self, write: &mut dyn FnMut(&mut [u8]) -> usize) {
        let next = self.state.load(Ordering::Relaxed) & 1 ^ 1;
        let [first, second] = &mut self.halves;
        let len = write(if next == 0 { first } else { second });
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
        twin.replace(&mut |_| 3);
        state.fetch_or(1 << 9, Ordering::Relaxed);
        assert_eq!(twin.bytes(), b"", "beyond the memory");
    }
}
