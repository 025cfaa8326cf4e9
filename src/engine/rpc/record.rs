//! Record marking: a message on a byte stream is a record of one or more fragments. RFC 5531 section 11.
//!
//! The first [`REQUEST_BYTES`] of a record, all that any request needs, are joined. The data of a WRITE beyond that is read
//! fragment by fragment.

use crate::config::{FRAGMENT_BYTES, FRAGMENT_COUNT, RECORD_BYTES_MAX, REQUEST_BYTES};
use crate::engine::service::Next;
use crate::text::text;
use crate::wire::rpc::{MARK_BYTES, RecordMark};
use crate::wire::{Reader, Writer};

/// The unread rest of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct RecordCursor {
    /// Length of the fragment's unread rest (bytes).
    pub(in super::super) left: u32,
    /// True if the fragment is the record's last.
    pub(in super::super) last: bool,
    /// Number of fragments, this one included.
    fragments: u32,
    /// Length of all fragments, this one included (bytes).
    announced: u32,
}

impl RecordCursor {
    /// A record that has been read to its end.
    pub(in super::super) const END: Self = Self {
        left: 0,
        last: true,
        fragments: 0,
        announced: 0,
    };

    /// A record before its first mark.
    pub(in super::super) const START: Self = Self {
        last: false,
        ..Self::END
    };

    /// Reads the next fragment's mark.
    ///
    /// # Errors
    /// `Input`; `Close` as [`RecordCursor::check`].
    pub(in super::super) fn next_fragment(&mut self, stream: &mut Reader<'_>) -> Result<(), Next> {
        let mark = RecordMark::parse(stream).ok_or(Next::Input)?;
        self.left = mark.len;
        self.last = mark.last;
        self.fragments = self.fragments.saturating_add(1);
        self.announced = self.announced.saturating_add(mark.len);
        self.check()
    }

    /// Returns true if the record has been read to its end.
    pub(in super::super) const fn is_read(&self) -> bool {
        self.last && self.left == 0
    }

    /// Skips at most `len_max` unread bytes that have arrived, or reads the next fragment's mark. Returns the number of these bytes.
    ///
    /// # Errors
    /// As [`RecordCursor::next_fragment`].
    pub(in super::super) fn skip(
        &mut self,
        stream: &mut Reader<'_>,
        len_max: usize,
    ) -> Result<usize, Next> {
        if self.left == 0 {
            return self.next_fragment(stream).map(|()| 0);
        }
        self.check()?;
        match self.take(stream, len_max as u32) {
            [] => Err(Next::Input),
            skipped => Ok(skipped.len()),
        }
    }

    /// Skips `len` unread bytes that have arrived, and the marks between them.
    ///
    /// # Errors
    /// As [`RecordCursor::next_fragment`].
    pub(in super::super) fn skip_all(
        &mut self,
        stream: &mut Reader<'_>,
        mut len: usize,
    ) -> Result<(), Next> {
        while len > 0 {
            len -= self.skip(stream, len)?;
        }
        Ok(())
    }

    /// Counts bytes that were read as unread again.
    pub(in super::super) const fn put_back(&mut self, len: usize) {
        self.left += len as u32;
    }

    /// Fails if the record is longer than [`RECORD_BYTES_MAX`], or has more fragments than [`FRAGMENT_COUNT`] and one for each
    /// [`FRAGMENT_BYTES`] that have arrived.
    ///
    /// # Errors
    /// `Close`.
    const fn check(&self) -> Result<(), Next> {
        let arrived = self.announced - self.left;
        if self.fragments > FRAGMENT_COUNT + arrived / FRAGMENT_BYTES
            || self.announced > RECORD_BYTES_MAX
        {
            return Err(TOO_LONG);
        }
        Ok(())
    }

    /// Reads the bytes of the fragment that have arrived, at most `len_max`.
    pub(in super::super) fn take<'a>(&mut self, stream: &mut Reader<'a>, len_max: u32) -> &'a [u8] {
        let wanted = self.left.min(len_max) as usize;
        let bytes = stream.take(wanted.min(stream.rest().len()));
        self.left -= bytes.len() as u32;
        bytes
    }

    /// Returns the next [`REQUEST_BYTES`] of the record, or its unread rest if that is shorter. Uses `joined` if they are in several
    /// fragments.
    ///
    /// # Errors
    /// As [`RecordCursor::next_fragment`].
    pub(in super::super) fn join<'a, 'i: 'a>(
        &mut self,
        input: &mut Reader<'i>,
        joined: &'a mut heapless::Vec<u8, REQUEST_BYTES>,
    ) -> Result<&'a [u8], Next> {
        // Once the input buffer is full, the record is answered from its first bytes, which hold all that a request needs.
        let full = input.rest().len() >= REQUEST_BYTES;
        while !self.is_read() {
            if self.left == 0 {
                match self.next_fragment(input) {
                    Err(Next::Input) if full => break,
                    next => next?,
                }
            }
            let bytes = self.take(input, u32::MAX);
            if self.left > 0 && !full {
                return Err(Next::Input);
            }
            if joined.is_empty() && (self.last || self.left > 0) {
                return Ok(bytes);
            }
            if joined.extend_from_slice(bytes).is_err() {
                return Err(TOO_LONG);
            }
            if self.left > 0 {
                break;
            }
        }
        Ok(joined)
    }
}

const TOO_LONG: Next = Next::Close(text!(
    "a record is longer, or in more fragments, than any call"
));

/// Overwrites the word at `mark` with the mark of a record that ends at the writer's position, or `bulk` bytes after it.
pub(in super::super) fn patch_mark(reply: &mut Writer<'_>, mark: usize, bulk: u32) {
    let len = reply.position() - mark - MARK_BYTES;
    reply.patch(mark, RecordMark::whole(len as u32 + bulk));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words, data and words, in fragments that end anywhere: the words after the data are read once the data has been.
    #[test]
    fn words_after_the_data_are_read() {
        let message: Vec<u8> = (0..40).collect();
        for cuts in [&[][..], &[8], &[3, 20, 21], &[16, 32]] {
            let mut stream = Vec::new();
            let mut from = 0;
            for to in cuts.iter().copied().chain([message.len()]) {
                let mark = (to - from) as u32;
                let last = if to == message.len() { 1 << 31 } else { 0 };
                stream.extend((mark | last).to_be_bytes());
                stream.extend(&message[from..to]);
                from = to;
            }
            let mut input = Reader::new(&stream);
            let (mut record, mut joined) = (RecordCursor::START, heapless::Vec::new());
            let packet = record.join(&mut input.clone(), &mut joined);
            assert_eq!(packet, Ok(&message[..]), "{cuts:?}");
            let mut record = RecordCursor::START;
            let mut left = 8;
            while left > 0 {
                left -= record.skip(&mut input, left).unwrap();
            }
            let mut data: Vec<u8> = Vec::new();
            while data.len() < 24 {
                if record.left == 0 {
                    record.next_fragment(&mut input).unwrap();
                }
                data.extend(record.take(&mut input, 24 - data.len() as u32));
            }
            assert_eq!(data, message[8..32]);
            let mut joined = heapless::Vec::new();
            let after = record.join(&mut input, &mut joined).unwrap();
            assert_eq!((after, input.rest()), (&message[32..], &[][..]), "{cuts:?}");
            assert!(record.is_read());
        }
    }
}
