//! Record marking: a message on a byte stream is a record of one or more fragments. RFC 5531 section 11.
//!
//! A record is joined as far as any request needs, [`REQUEST_BYTES`]; what a WRITE carries beyond that is read fragment by
//! fragment.

use crate::config::{FRAGMENT_BYTES, FRAGMENT_COUNT, RECORD_BYTES_MAX, REQUEST_BYTES};
use crate::engine::State;
use crate::text::text;
use crate::wire::rpc::{MARK_BYTES, Mark};
use crate::wire::{Reader, Writer};

/// What is left of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Record {
    /// Bytes left of the fragment.
    pub(in super::super) left: u32,
    /// Whether the record ends with that fragment.
    pub(in super::super) last: bool,
    /// Fragments so far.
    fragments: u32,
    /// Bytes of the record, as far as the marks so far announce them.
    announced: u32,
}

impl Record {
    /// Nothing is left.
    pub(in super::super) const END: Self = Self {
        left: 0,
        last: true,
        fragments: 0,
        announced: 0,
    };

    /// A record whose first mark comes next.
    pub(in super::super) const START: Self = Self {
        last: false,
        ..Self::END
    };

    /// Reads the next fragment's mark.
    ///
    /// # Errors
    /// `NeedInput`; `Closed` if the record is longer, or in more fragments, than any request.
    #[inline(never)]
    pub(in super::super) fn next_fragment(&mut self, stream: &mut Reader<'_>) -> Result<(), State> {
        let mark = Mark::parse(stream).ok_or(State::NeedInput)?;
        self.left = mark.len;
        self.last = mark.last;
        self.fragments = self.fragments.saturating_add(1);
        self.announced = self.announced.saturating_add(mark.len);
        self.check()
    }

    /// Whether any request may be so long, and in so many fragments.
    ///
    /// # Errors
    /// `Closed`: none may.
    pub(in super::super) const fn check(&self) -> Result<(), State> {
        let arrived = self.announced - self.left;
        if self.fragments > FRAGMENT_COUNT + arrived / FRAGMENT_BYTES
            || self.announced > RECORD_BYTES_MAX
        {
            return Err(TOO_LONG);
        }
        Ok(())
    }

    /// Takes off the stream what has arrived of the fragment, or of its next `len_max` bytes.
    #[inline(never)]
    pub(in super::super) fn take<'a>(&mut self, stream: &mut Reader<'a>, len_max: u32) -> &'a [u8] {
        let wanted = self.left.min(len_max) as usize;
        let bytes = stream.take(wanted.min(stream.rest().len()));
        self.left -= bytes.len() as u32;
        bytes
    }

    /// The first [`REQUEST_BYTES`] of the record that `input` begins with, or all of it; in `joined`, where it comes in several
    /// fragments.
    ///
    /// # Errors
    /// As [`Record::next_fragment`].
    pub(in super::super) fn join<'a>(
        &mut self,
        input: &mut Reader<'a>,
        joined: &'a mut heapless::Vec<u8, REQUEST_BYTES>,
    ) -> Result<&'a [u8], State> {
        // A record that will not fit is answered from its head once the input can hold no more of it.
        let full = input.rest().len() >= REQUEST_BYTES;
        while !self.last {
            match self.next_fragment(input) {
                Err(State::NeedInput) if full => break,
                next => next?,
            }
            let bytes = self.take(input, u32::MAX);
            if self.left > 0 && !full {
                return Err(State::NeedInput);
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

const TOO_LONG: State = State::Closed(text!(
    "its record is longer, or in more fragments, than any request"
));

/// Writes, at `mark`, the mark of the record that ends here, or `bulk` bytes from here.
pub(in super::super) fn patch_mark(reply: &mut Writer<'_>, mark: usize, bulk: u32) {
    let len = reply.position() - mark - MARK_BYTES;
    reply.patch(mark, Mark::whole(len as u32 + bulk));
}
