//! The bytes of a file: those that are promised, and those that were written since.

use std::ops::Range;

use xtask::clients::nfs::stable_how;

/// The bytes of a file.
#[derive(Clone, Default)]
pub struct Content {
    /// What is promised.
    pub settled: Vec<u8>,
    /// What was written since and is not promised: where it begins, and the bytes.
    pub pending: Vec<(usize, Vec<u8>)>,
}

impl Content {
    /// The size if all that was written is there.
    pub fn len_max(&self) -> usize {
        let ends = self
            .pending
            .iter()
            .map(|(offset, data)| offset + data.len());
        ends.max().unwrap_or(0).max(self.settled.len())
    }

    /// A WRITE was answered so.
    pub fn write(&mut self, offset: usize, data: &[u8], committed: stable_how) {
        if committed == stable_how::UNSTABLE {
            self.pending.push((offset, data.to_vec()));
        } else {
            // What lay there before cannot come back.
            self.take_pending(offset, offset + data.len());
            self.put(offset, data);
        }
    }

    /// A COMMIT of the bytes from `start` to before `end` was answered.
    pub fn commit(&mut self, start: usize, end: usize) {
        for (offset, data) in self.take_pending(start, end) {
            self.put(offset, &data);
        }
    }

    /// The size was set.
    pub fn resize(&mut self, len: usize) {
        self.take_pending(len, usize::MAX);
        self.settled.resize(len, 0);
    }

    /// What lies from here on is about to be cut off, and may be zero already: ext4 does it in this order.
    pub fn blot(&mut self, len: usize) {
        let gone = self.len_max().saturating_sub(len);
        self.pending.push((len, vec![0; gone]));
    }

    fn put(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.settled.len() < end {
            self.settled.resize(end, 0);
        }
        self.settled[offset..end].copy_from_slice(data);
    }

    /// Cuts the range out of all that is pending, in the order of writing.
    fn take_pending(&mut self, start: usize, end: usize) -> Vec<(usize, Vec<u8>)> {
        let (mut taken, mut kept) = (Vec::new(), Vec::new());
        for (offset, data) in self.pending.drain(..) {
            let place = |at: usize| at.clamp(offset, offset + data.len()) - offset;
            let (from, to) = (place(start), place(end));
            let part = |range: Range<usize>| (offset + range.start, data[range].to_vec());
            kept.extend([part(0..from), part(to..data.len())]);
            taken.push(part(from..to));
        }
        for list in [&mut kept, &mut taken] {
            list.retain(|(_, data)| !data.is_empty());
        }
        self.pending = kept;
        taken
    }

    /// The first byte of `seen` that can be explained by nothing that was written.
    pub fn wrong_byte(&self, seen: &[u8]) -> Option<usize> {
        (0..seen.len()).find(|&at| {
            let byte = seen[at];
            let explained = |(offset, data): &(usize, Vec<u8>)| {
                at.checked_sub(*offset).and_then(|i| data.get(i)) == Some(&byte)
            };
            byte != self.settled.get(at).copied().unwrap_or(0)
                && !self.pending.iter().any(explained)
        })
    }
}
