//! The content of a file in memory: zeros, but for the chunks that were written to.

use std::collections::BTreeMap;
use std::rc::Rc;

/// Bytes that are stored at a time.
const CHUNK_BYTES: usize = 4096;
/// A file ends here at the latest: what lies beyond has no offset in the host's own numbers.
pub(super) const SIZE_MAX: u64 = i64::MAX as u64;

/// The bytes of a file. Of a chunk, those beyond the end are zeros.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bytes {
    size: u64,
    /// Shared with copies of the file, until one of them is written to.
    chunks: BTreeMap<u64, Rc<[u8; CHUNK_BYTES]>>,
}

impl Bytes {
    /// Bytes of the file.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that are stored.
    pub(super) fn used(&self) -> u64 {
        (self.chunks.len() * CHUNK_BYTES) as u64
    }

    /// How many more bytes would be stored after a write.
    pub(super) fn growth(&self, offset: u64, len: usize) -> u64 {
        let fresh = pieces(offset, len).filter(|(chunk, ..)| !self.chunks.contains_key(chunk));
        (fresh.count() * CHUNK_BYTES) as u64
    }

    /// Fills `out` as far as the file goes.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> usize {
        let len = self.size.saturating_sub(offset).min(out.len() as u64) as usize;
        let (mut out, _) = out.split_at_mut(len);
        for (chunk, start, len) in pieces(offset, len) {
            let (piece, rest) = out.split_at_mut(len);
            match self.chunks.get(&chunk) {
                Some(chunk) => piece.copy_from_slice(&chunk[start..start + len]),
                None => piece.fill(0),
            }
            out = rest;
        }
        len
    }

    /// Writes all of `bytes`, which must not reach beyond [`SIZE_MAX`].
    pub(super) fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.size = self.size.max(offset + bytes.len() as u64);
        for (chunk, start, len) in pieces(offset, bytes.len()) {
            let (piece, rest) = bytes.split_at(len);
            let chunk = self.chunks.entry(chunk);
            let chunk = chunk.or_insert_with(|| Rc::new([0; CHUNK_BYTES]));
            Rc::make_mut(chunk)[start..start + len].copy_from_slice(piece);
            bytes = rest;
        }
    }

    /// Cuts off what is beyond `size`, or adds zeros.
    pub(super) fn resize(&mut self, size: u64) {
        self.size = size;
        let (last, end) = (size / CHUNK_BYTES as u64, size as usize % CHUNK_BYTES);
        self.chunks
            .retain(|chunk, _| *chunk < last || *chunk == last && end > 0);
        if let Some(chunk) = self.chunks.get_mut(&last) {
            Rc::make_mut(chunk)[end..].fill(0);
        }
    }
}

/// Which bytes of which chunks a range consists of: chunk, first byte there, bytes.
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut done = 0;
    core::iter::from_fn(move || {
        let at = offset + done as u64;
        let start = at as usize % CHUNK_BYTES;
        let piece = (len - done).min(CHUNK_BYTES - start);
        done += piece;
        (piece > 0).then_some((at / CHUNK_BYTES as u64, start, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut bytes = Bytes::default();
        bytes.write(4090, b"0123456789");
        assert_eq!((bytes.size(), bytes.used()), (4100, 8192));
        bytes.resize(4093);
        assert_eq!(bytes.used(), 4096);
        bytes.resize(4099);
        let mut out = [7; 12];
        assert_eq!(bytes.read(4089, &mut out), 10);
        assert_eq!(&out, b"\x00012\0\0\0\0\0\0\x07\x07");
        bytes.resize(0);
        assert_eq!((bytes.size(), bytes.used()), (0, 0));
    }

    #[test]
    fn the_last_byte_that_has_an_offset_is_stored() {
        let mut bytes = Bytes::default();
        assert_eq!(bytes.growth(SIZE_MAX - 2, 2), 4096);
        bytes.write(SIZE_MAX - 2, b"ab");
        assert_eq!((bytes.size(), bytes.used()), (SIZE_MAX, 4096));
        assert_eq!(bytes.growth(SIZE_MAX - 2, 2), 0);
        let mut out = [7; 4];
        assert_eq!(bytes.read(SIZE_MAX - 3, &mut out), 3);
        assert_eq!(&out, b"\0ab\x07");
    }
}
