//! The content of a file or symbolic link in memory. Sparse: blocks that were never written are zeros and are not stored.

use super::super::{FsError, FsResult};
use super::map::Map;

/// Block size in bytes.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Largest file in bytes: the largest `off_t`.
pub(super) const SIZE_MAX: u64 = i64::MAX as u64;

/// A block. Bytes of the last block after the end of the file are zeros.
pub(super) type Block = [u8; BLOCK_BYTES];
/// The blocks of all files, by number of the file and index of the block.
pub(super) type Blocks = Map<Block>;

/// The length of a file, and the number of its blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Bytes {
    /// Length in bytes.
    pub(super) size: u64,
    /// Number of stored blocks.
    pub(super) block_count: u64,
}

impl Bytes {
    /// Space of the stored blocks in bytes.
    pub(super) const fn used(&self) -> u64 {
        self.block_count * BLOCK_BYTES as u64
    }

    /// Reads the file `number` into `out`. Returns the length.
    pub(super) fn read(&self, blocks: &Blocks, number: u32, offset: u64, out: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(out.len() as u64) as usize;
        let (mut out, _) = out.split_at_mut(len);
        for (at, start, len) in pieces(offset, len) {
            let (piece, rest) = out.split_at_mut(len);
            let stored = blocks.get((number, at));
            match stored.and_then(|block| block.get(start..start + len)) {
                Some(stored) => piece.copy_from_slice(stored),
                None => piece.fill(0),
            }
            out = rest;
        }
        len
    }

    /// Writes all of `bytes`. Their end must not exceed [`SIZE_MAX`].
    ///
    /// # Errors
    /// `NoSpace`: fewer than [`growth`] blocks are left. Some bytes are written.
    pub(super) fn write(
        &mut self,
        blocks: &mut Blocks,
        number: u32,
        offset: u64,
        mut bytes: &[u8],
    ) -> FsResult<()> {
        for (at, start, len) in pieces(offset, bytes.len()) {
            let (piece, rest) = bytes.split_at(len);
            if blocks.insert((number, at), [0; BLOCK_BYTES]) {
                self.block_count += 1;
            }
            let block = blocks.get_mut((number, at)).ok_or(FsError::NoSpace)?;
            if let Some(place) = block.get_mut(start..start + len) {
                place.copy_from_slice(piece);
            }
            let end = at * BLOCK_BYTES as u64 + (start + len) as u64;
            self.size = self.size.max(end);
            bytes = rest;
        }
        Ok(())
    }

    /// Sets the length: truncates the file, or extends it with zeros.
    pub(super) fn resize(&mut self, blocks: &mut Blocks, number: u32, size: u64) {
        self.size = size;
        let (last, end) = (size / BLOCK_BYTES as u64, size as usize % BLOCK_BYTES);
        if let Some(block) = blocks.get_mut((number, last))
            && end > 0
        {
            let (_, beyond) = block.split_at_mut(end);
            beyond.fill(0);
        }
        let beyond = last + u64::from(end > 0);
        while let Some((at, _)) = blocks.first_of((number, beyond)) {
            blocks.remove((number, at));
            self.block_count -= 1;
        }
    }
}

/// Number of blocks that a write of `len` bytes to the file `number` would add.
pub(super) fn growth(blocks: &Blocks, number: u32, offset: u64, len: usize) -> usize {
    let fresh = pieces(offset, len).filter(|(at, ..)| blocks.get((number, *at)).is_none());
    fresh.count()
}

/// Splits a range of a file at block boundaries. Each item is the index of a block, the offset in the block, and the length.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = at as usize % BLOCK_BYTES;
        let piece = (len - done).min(BLOCK_BYTES - start);
        done += piece;
        (piece > 0).then_some((at / BLOCK_BYTES as u64, start, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncated_bytes_read_as_zero_after_growth() {
        let (mut bytes, mut blocks) = (Bytes::default(), Map::new(4, [7; 16]));
        bytes.write(&mut blocks, 2, 4090, b"0123456789").unwrap();
        assert_eq!((bytes.size, bytes.used()), (4100, 8192));
        // Another file's blocks are not affected.
        let (mut other, one) = (Bytes::default(), &[b'o'; BLOCK_BYTES]);
        other.write(&mut blocks, 3, 0, one).unwrap();
        bytes.resize(&mut blocks, 2, 4093);
        assert_eq!(bytes.used(), 4096);
        bytes.resize(&mut blocks, 2, 4099);
        let mut out = [7; 12];
        assert_eq!(bytes.read(&blocks, 2, 4089, &mut out), 10);
        assert_eq!(&out, b"\x00012\0\0\0\0\0\0\x07\x07");
        bytes.resize(&mut blocks, 2, 4096);
        assert_eq!(bytes.used(), 4096);
        bytes.resize(&mut blocks, 2, 0);
        assert_eq!((bytes.size, bytes.used()), (0, 0));
        assert_eq!((blocks.used(), blocks.get((3, 0))), (1, Some(one)));
    }

    #[test]
    fn byte_at_the_largest_offset_is_stored() {
        let (mut bytes, mut blocks) = (Bytes::default(), Map::new(1, [7; 16]));
        assert_eq!(growth(&blocks, 2, SIZE_MAX - 2, 2), 1);
        bytes.write(&mut blocks, 2, SIZE_MAX - 2, b"ab").unwrap();
        assert_eq!((bytes.size, bytes.used()), (SIZE_MAX, 4096));
        assert_eq!(growth(&blocks, 2, SIZE_MAX - 2, 2), 0);
        let mut out = [7; 4];
        assert_eq!(bytes.read(&blocks, 2, SIZE_MAX - 3, &mut out), 3);
        assert_eq!(&out, b"\0ab\x07");
        let full = bytes.write(&mut blocks, 2, 0, b"c");
        assert_eq!(full, Err(FsError::NoSpace));
    }
}
