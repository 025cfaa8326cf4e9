//! External Data Representation: big-endian words, opaque bytes padded to four. RFC 4506.

use super::Malformed;

/// A cursor over a received packet. Values borrow from the packet, not from the cursor.
///
/// Errors are stored, not returned: a missing or invalid value reads as zero or empty, and so does everything after it. Call
/// [`Reader::check`] before using the values.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    malformed: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `packet`.
    #[inline(never)] // −448 bytes.
    pub const fn new(packet: &'a [u8]) -> Self {
        Self {
            rest: packet,
            malformed: false,
        }
    }

    /// The unread rest.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Fails if anything that was read was missing or invalid.
    pub const fn check(&self) -> Result<(), Malformed> {
        if self.malformed {
            Err(Malformed)
        } else {
            Ok(())
        }
    }

    /// Marks the input as malformed.
    #[inline(never)] // −109 bytes: 11 callers.
    pub const fn refuse(&mut self) {
        self.rest = &[];
        self.malformed = true;
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        match self.rest.split_at_checked(len) {
            Some((head, rest)) => {
                self.rest = rest;
                head
            }
            None => {
                self.refuse();
                &[]
            }
        }
    }

    /// Parses an unsigned 32-bit number.
    pub fn u32(&mut self) -> u32 {
        match self.rest.split_first_chunk() {
            Some((head, rest)) => {
                self.rest = rest;
                u32::from_be_bytes(*head)
            }
            None => {
                self.refuse();
                0
            }
        }
    }

    /// Parses `N` unsigned 32-bit numbers; all are 0 if one is missing.
    pub fn words<const N: usize>(&mut self) -> [u32; N] {
        let mut words = [0; N];
        let bytes = self.take(size_of_val(&words));
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_be_bytes(*bytes);
        }
        words
    }

    /// Parses an unsigned 64-bit number.
    pub fn u64(&mut self) -> u64 {
        let high = u64::from(self.u32());
        high << 32 | u64::from(self.u32())
    }

    /// Parses a boolean.
    pub fn flag(&mut self) -> bool {
        let word = self.u32();
        if word > 1 {
            self.refuse();
        }
        word == 1
    }

    /// Parses variable-length opaque or a string: length, bytes, zero to three bytes of padding.
    pub fn opaque(&mut self, len_max: u32) -> &'a [u8] {
        let len = self.u32();
        if len > len_max {
            self.refuse();
        }
        let bytes = self.take(len as usize);
        self.take(padding(bytes.len()));
        bytes
    }
}

/// A cursor over a message under construction.
///
/// An overrun is stored, not returned: call [`Writer::written`] once, at the end.
#[derive(Debug)]
#[repr(C)]
pub struct Writer<'a> {
    /// Offset of the next byte; beyond the buffer after an overrun.
    len: usize,
    buffer: &'a mut [u8],
}

impl<'a> Writer<'a> {
    /// The offset after an overrun, beyond any buffer.
    const OVERRUN: usize = usize::MAX;

    /// Writes from the first byte of `buffer`.
    #[inline(never)] // −56 bytes: 52 callers.
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { len: 0, buffer }
    }

    /// Appends `bytes`.
    #[inline(never)] // −1927 bytes: many callers.
    pub fn put(&mut self, bytes: &[u8]) {
        match self
            .len
            .checked_add(bytes.len())
            .and_then(|end| self.buffer.get_mut(self.len..end))
        {
            Some(buffer) => {
                buffer.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => self.len = Self::OVERRUN,
        }
    }

    /// Appends an unsigned 32-bit number.
    #[inline(never)] // −149 bytes: 40 callers.
    pub fn u32(&mut self, value: u32) {
        match self
            .len
            .checked_add(4)
            .and_then(|end| self.buffer.get_mut(self.len..end))
        {
            Some(buffer) => {
                buffer.copy_from_slice(&value.to_be_bytes());
                self.len += 4;
            }
            None => self.len = Self::OVERRUN,
        }
    }

    /// Appends each of `values` as an unsigned 32-bit number. Checks the space once for all of them.
    pub fn words(&mut self, values: &[u32]) {
        match self
            .len
            .checked_add(size_of_val(values))
            .and_then(|end| self.buffer.get_mut(self.len..end))
        {
            Some(buffer) => {
                let (words, _) = buffer.as_chunks_mut();
                for (word, value) in words.iter_mut().zip(values) {
                    *word = value.to_be_bytes();
                }
                self.len += size_of_val(values);
            }
            None => self.len = Self::OVERRUN,
        }
    }

    /// Appends each of `values` as an unsigned 64-bit number.
    pub fn longs(&mut self, values: &[u64]) {
        match self
            .len
            .checked_add(size_of_val(values))
            .and_then(|end| self.buffer.get_mut(self.len..end))
        {
            Some(buffer) => {
                let (longs, _) = buffer.as_chunks_mut();
                for (long, value) in longs.iter_mut().zip(values) {
                    *long = value.to_be_bytes();
                }
                self.len += size_of_val(values);
            }
            None => self.len = Self::OVERRUN,
        }
    }

    /// Appends an unsigned 64-bit number.
    pub fn u64(&mut self, value: u64) {
        match self
            .len
            .checked_add(8)
            .and_then(|end| self.buffer.get_mut(self.len..end))
        {
            Some(buffer) => {
                buffer.copy_from_slice(&value.to_be_bytes());
                self.len += 8;
            }
            None => self.len = Self::OVERRUN,
        }
    }

    /// Appends variable-length opaque or string.
    pub fn opaque(&mut self, bytes: &[u8]) {
        // A length beyond 32 bits does not fit into the buffer either.
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.put(bytes);
        self.pad(bytes.len());
    }

    /// Appends the zero bytes that follow opaque content of `len` bytes.
    pub fn pad(&mut self, len: usize) {
        self.put([0; 3].get(..padding(len)).unwrap_or_default());
    }

    /// The unused rest of the buffer.
    #[inline(never)] // −57 bytes: 16 callers.
    pub fn space(&mut self) -> &mut [u8] {
        let from = self.len.min(self.buffer.len());
        self.buffer.get_mut(from..).unwrap_or_default()
    }

    /// `len` bytes of the buffer, `skip` bytes ahead; empty if there is less space.
    pub fn ahead(&mut self, skip: usize, len: usize) -> &mut [u8] {
        let start = self.len.saturating_add(skip);
        let end = start.saturating_add(len);
        self.buffer.get_mut(start..end).unwrap_or_default()
    }

    /// Appends variable-length opaque whose `len` bytes are already in place, after the length word.
    pub fn opaque_ahead(&mut self, len: usize) {
        self.u32(u32::try_from(len).unwrap_or(u32::MAX));
        self.put_ahead(len);
        self.pad(len);
    }

    /// Appends `len` bytes that are already in place.
    pub const fn put_ahead(&mut self, len: usize) {
        self.len = self.len.saturating_add(len);
    }

    /// The bytes written since `position`.
    #[inline(never)] // −210 bytes: 52 callers.
    pub fn since(&self, position: usize) -> &[u8] {
        self.buffer.get(position..self.len).unwrap_or_default()
    }

    /// Offset of the next byte.
    pub const fn position(&self) -> usize {
        self.len
    }

    /// Removes everything after `position`, and an overrun too.
    pub fn truncate(&mut self, position: usize) {
        self.len = position.min(self.len);
    }

    /// Overwrites the word at `position`, which must have been written.
    #[inline(never)] // −21 bytes: eight callers.
    pub fn patch(&mut self, position: usize, value: u32) {
        let word = self
            .buffer
            .get_mut(position..)
            .and_then(|buffer| buffer.first_chunk_mut());
        match word {
            Some(word) => *word = value.to_be_bytes(),
            None => self.len = Self::OVERRUN,
        }
    }

    /// Length of the output, or `None` after an overrun.
    pub const fn written(&self) -> Option<usize> {
        if self.len > self.buffer.len() {
            None
        } else {
            Some(self.len)
        }
    }
}

/// Number of zero bytes after opaque content of `len` bytes. RFC 4506 section 4.10.
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_round_trips_with_its_padding() {
        for len in 0..9 {
            let (mut buffer, bytes) = ([0xaa; 16], [7; 9]);
            let mut writer = Writer::new(&mut buffer);
            writer.opaque(&bytes[..len]);
            let written = writer.written().unwrap();
            assert_eq!(written % 4, 0);
            let mut reader = Reader::new(&buffer[..written]);
            assert_eq!(reader.opaque(9), &bytes[..len]);
            assert_eq!(reader.check(), Ok(()));
            assert_eq!(reader.u32(), 0);
            assert_eq!(reader.check(), Err(Malformed));
        }
    }

    #[test]
    fn excess_opaque_length_is_malformed() {
        for (packet, len_max) in [
            (&[0, 0, 0, 5, 1, 2, 3, 4][..], 8),
            (&[0, 0, 0, 5, 1, 2, 3, 4, 5], 8),
            (&[0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 1], 3),
            (&[0xff; 16], 8),
        ] {
            let mut reader = Reader::new(packet);
            reader.opaque(len_max);
            assert_eq!(reader.check(), Err(Malformed));
            assert_eq!((reader.u32(), reader.rest()), (0, &[][..]));
        }
    }

    #[test]
    fn opaque_ahead_adds_length_and_padding() {
        let mut buffer = [0xaa; 12];
        let mut writer = Writer::new(&mut buffer);
        writer.ahead(4, 5).copy_from_slice(b"hello");
        assert!(writer.ahead(8, 5).is_empty() && writer.ahead(13, 0).is_empty());
        writer.opaque_ahead(5);
        assert_eq!(writer.written(), Some(12));
        assert_eq!(&buffer, b"\0\0\0\x05hello\0\0\0");
        let mut writer = Writer::new(&mut buffer);
        writer.opaque_ahead(9);
        assert_eq!(writer.written(), None);
    }

    #[test]
    fn overrun_persists_until_truncated() {
        let mut buffer = [0; 8];
        let mut writer = Writer::new(&mut buffer);
        writer.u32(1);
        writer.u64(2);
        writer.u32(3);
        assert_eq!(writer.written(), None);
        writer.truncate(4);
        writer.words(&[5, 6]);
        assert_eq!(writer.written(), None);
        writer.truncate(4);
        writer.patch(0, 9);
        assert_eq!(writer.written(), Some(4));
        // After an overrun nothing is written, even if it would fit.
        assert_eq!(buffer, [0, 0, 0, 9, 0, 0, 0, 0]);
    }
}
