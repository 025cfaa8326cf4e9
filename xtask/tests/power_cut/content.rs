//! The bytes of a file: those that the server has promised to be durable, and unstable ones.

use std::ops::Range;

use xtask::clients::nfs::stable_how;

#[derive(Clone, Default)]
pub struct Content {
    /// The durable bytes.
    pub settled: Vec<u8>,
    /// Offset and data of each write that may be lost, in order.
    pub pending: Vec<(usize, Vec<u8>)>,
}

impl Content {
    /// The size if no write is lost.
    pub fn len_max(&self) -> usize {
        let ends = self
            .pending
            .iter()
            .map(|(offset, data)| offset + data.len());
        ends.max().unwrap_or(0).max(self.settled.len())
    }

    /// Applies a WRITE whose reply had the stability `committed`.
    pub fn write(&mut self, offset: usize, data: &[u8], committed: stable_how) {
        if committed == stable_how::UNSTABLE {
            self.pending.push((offset, data.to_vec()));
        } else {
            // Older unstable data in the range cannot reappear.
            self.take_pending(offset, offset + data.len());
            self.write_settled(offset, data);
        }
    }

    /// Applies a COMMIT of the range from `start` to before `end`.
    pub fn commit(&mut self, start: usize, end: usize) {
        for (offset, data) in self.take_pending(start, end) {
            self.write_settled(offset, &data);
        }
    }

    /// Applies a change of the size.
    pub fn resize(&mut self, len: usize) {
        self.take_pending(len, usize::MAX);
        self.settled.resize(len, 0);
    }

    /// Adds a pending write of zeros from `len` to the end. A power cut during a size change to `len` may leave these zeros with
    /// the old size, because ext4 zeroes the bytes before it sets the size.
    pub fn zero_tail(&mut self, len: usize) {
        let gone = self.len_max().saturating_sub(len);
        self.pending.push((len, vec![0; gone]));
    }

    fn write_settled(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.settled.len() < end {
            self.settled.resize(end, 0);
        }
        self.settled[offset..end].copy_from_slice(data);
    }

    /// Removes the range from all pending writes; returns the removed parts in the order of writing.
    fn take_pending(&mut self, start: usize, end: usize) -> Vec<(usize, Vec<u8>)> {
        let (mut taken, mut kept) = (Vec::new(), Vec::new());
        for (offset, data) in self.pending.drain(..) {
            let clamp = |at: usize| at.clamp(offset, offset + data.len()) - offset;
            let (from, to) = (clamp(start), clamp(end));
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

    /// Offset of the first byte of `seen` that is neither the durable byte nor that of a pending write.
    pub fn wrong_byte(&self, seen: &[u8]) -> Option<usize> {
        (0..seen.len()).find(|&index| {
            let byte = seen[index];
            let explained = |(offset, data): &(usize, Vec<u8>)| {
                index.checked_sub(*offset).and_then(|i| data.get(i)) == Some(&byte)
            };
            byte != self.settled.get(index).copied().unwrap_or(0)
                && !self.pending.iter().any(explained)
        })
    }
}
