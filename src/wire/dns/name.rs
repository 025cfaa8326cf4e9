//! Names in a message: labels, and pointers to earlier labels. RFC 1035 section 4.1.4.

use super::super::Malformed;
use super::super::label::is_like;
use super::{Label, NAME_BYTES_MAX};

/// A name in a message. Its pointers have been checked: each points backwards, so the name ends.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    message: &'a [u8],
    offset: usize,
}

/// Maximum number of pointers in one name: one before each label but the first, and one before the end.
const POINTER_COUNT_MAX: u8 = 127;

/// The target of the pointer, or the length of the label, at a position.
enum Step {
    Label(usize),
    Pointer(usize),
}

fn step(message: &[u8], offset: usize) -> Option<Step> {
    let first = usize::from(*message.get(offset)?);
    match first >> 6 {
        0 => Some(Step::Label(first)),
        3 => {
            let low = usize::from(*message.get(offset + 1)?);
            Some(Step::Pointer((first & 0x3f) << 8 | low))
        }
        _ => None,
    }
}

/// Checks the name at `offset`. Returns the offset after it.
#[inline(never)] // −440 bytes.
fn end(message: &[u8], offset: usize) -> Result<usize, Malformed> {
    let (mut place, mut begin, mut end, mut len) = (offset, offset, None, 0usize);
    let mut pointers_left = POINTER_COUNT_MAX;
    loop {
        match step(message, place).ok_or(Malformed)? {
            Step::Label(label_len) => {
                let tail = place + 1 + label_len;
                len += 1 + label_len;
                if len > NAME_BYTES_MAX || tail > message.len() {
                    return Err(Malformed);
                }
                if label_len == 0 {
                    return Ok(end.unwrap_or(tail));
                }
                place = tail;
            }
            // The target is before everything read since the previous pointer, so there is no loop.
            Step::Pointer(to) if to < begin && pointers_left > 0 => {
                pointers_left -= 1;
                end = end.or(Some(place + 2));
                (place, begin) = (to, to);
            }
            Step::Pointer(_) => return Err(Malformed),
        }
    }
}

impl<'a> Name<'a> {
    /// Parses the name at `offset`. Returns it and the offset after it.
    pub fn parse(message: &'a [u8], offset: usize) -> Result<(Self, usize), Malformed> {
        let tail = end(message, offset)?;
        Ok((Self { message, offset }, tail))
    }

    /// A name in wire format without pointers, outside of a message; the root if it is malformed.
    pub fn of(plain: &'a [u8]) -> Self {
        Self::parse(plain, 0).map_or(Self::ROOT, |(name, _)| name)
    }

    /// The root: the name without labels.
    pub const ROOT: Self = Self {
        message: &[0],
        offset: 0,
    };

    /// The labels, from the most specific to the top level.
    pub const fn labels(self) -> Labels<'a> {
        Labels {
            message: self.message,
            offset: self.offset,
        }
    }

    /// The labels for a [`Writer`](super::Writer), with number 0, so the name is not compressed.
    pub fn unnumbered(self) -> impl Iterator<Item = Label<'a>> {
        self.labels().map(|bytes| Label { bytes, number: 0 })
    }

    /// Returns true if both names are equal, ignoring ASCII case.
    pub fn is(self, other: Name<'_>) -> bool {
        let (mut one, mut two) = (self.labels(), other.labels());
        loop {
            match (one.next(), two.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if is_like(a, b) => {}
                _ => return false,
            }
        }
    }

    /// Writes the name without pointers. Returns its length, or 0 if it does not fit.
    pub fn write(self, buffer: &mut [u8]) -> usize {
        let mut len = 0usize;
        for label in self.labels() {
            let end = len + 1 + label.len();
            let Some([first, rest @ ..]) = buffer.get_mut(len..end) else {
                return 0;
            };
            *first = label.len() as u8;
            rest.copy_from_slice(label);
            len = end;
        }
        let Some(last) = buffer.get_mut(len) else {
            return 0;
        };
        *last = 0;
        len + 1
    }
}

/// Iterator over the labels of a name.
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Labels<'a> {
    /// The next label, preceded by its length byte.
    pub(super) fn label_with_length(&mut self) -> Option<&'a [u8]> {
        loop {
            let begin = self.offset;
            match step(self.message, begin)? {
                Step::Label(0) => return None,
                Step::Label(len) => {
                    self.offset = begin + 1 + len;
                    return self.message.get(begin..self.offset);
                }
                // `Name::parse` has checked that this ends.
                Step::Pointer(to) => self.offset = to,
            }
        }
    }
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.label_with_length()?.get(1..)
    }
}
