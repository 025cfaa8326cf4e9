//! Rdata with its names uncompressed, piece by piece, for comparisons. RFC 6762 sections 8.2 and 18.14.

use super::super::label::is_like;
use super::{Labels, Name, kind};

/// Iterator over the pieces of a record's rdata: labels with their lengths, and the bytes between names. Malformed rdata ends
/// early.
#[derive(Clone, Debug)]
pub struct UncompressedRdata<'a> {
    message: &'a [u8],
    /// Start of the bytes that are returned unchanged. They end at `plain_end`, where the names begin.
    offset: usize,
    plain_end: usize,
    end: usize,
    name_count: u8,
    /// The remaining labels of the current name.
    labels: Option<Labels<'a>>,
}

impl<'a> UncompressedRdata<'a> {
    pub(super) fn new(kind: u16, message: &'a [u8], offset: usize, end: usize) -> Self {
        let (skip, name_count) = layout(kind);
        Self {
            message,
            offset,
            plain_end: end.min(offset + skip),
            end,
            name_count,
            labels: None,
        }
    }

    /// Iterates over rdata outside of a message.
    pub fn of(kind: u16, data: &'a [u8]) -> Self {
        Self::new(kind, data, 0, data.len())
    }

    /// Writes all pieces, as far as they fit into `buffer`. Returns their total length.
    pub fn emit(self, buffer: &mut [u8]) -> usize {
        let mut len = 0;
        for piece in self {
            let end = len + piece.len();
            if let Some(place) = buffer.get_mut(len..end) {
                place.copy_from_slice(piece);
            }
            len = end;
        }
        len
    }

    /// Returns true if both are equal; in names, ASCII case is ignored.
    pub fn is(self, other: UncompressedRdata<'_>) -> bool {
        let (mut one, mut two) = (self, other);
        loop {
            match (one.next(), two.next()) {
                (None, None) => return true,
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) if one.labels.is_some() && is_like(a, b) => {}
                _ => return false,
            }
        }
    }
}

/// The number of bytes before the names in rdata of this type, and the number of names. Other bytes may follow.
const fn layout(kind: u16) -> (usize, u8) {
    match kind {
        kind::NS | kind::CNAME | kind::PTR | kind::DNAME | kind::NSEC => (0, 1),
        kind::SOA | kind::RP => (0, 2),
        kind::MX | kind::AFSDB | kind::RT | kind::KX => (2, 1),
        kind::PX => (2, 2),
        kind::SRV => (6, 1),
        _ => (usize::MAX >> 1, 0),
    }
}

impl<'a> Iterator for UncompressedRdata<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            if let Some(labels) = &mut self.labels {
                let label = labels.label_with_length();
                if label.is_none() {
                    self.labels = None;
                }
                return Some(label.unwrap_or(&[0]));
            }
            if self.offset < self.plain_end {
                let begin = core::mem::replace(&mut self.offset, self.plain_end);
                return self.message.get(begin..self.offset);
            }
            if self.name_count == 0 {
                if self.plain_end == self.end {
                    return None;
                }
                self.plain_end = self.end;
                continue;
            }
            self.name_count -= 1;
            match Name::parse(self.message, self.offset) {
                Ok((name, tail)) if tail <= self.end => {
                    self.labels = Some(name.labels());
                    (self.offset, self.plain_end) = (tail, tail);
                }
                _ => {
                    (self.name_count, self.offset) = (0, self.end);
                    self.plain_end = self.end;
                }
            }
        }
    }
}
