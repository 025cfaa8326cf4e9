//! Parses a message: a header, questions, and records in three sections.

use super::super::Malformed;
use super::{CLASS_ANY, CLASS_IN, HEADER_BYTES, Name, TOP_BIT, UncompressedRdata, flag, kind};

/// A message of valid structure: it has as many questions and records as its header says, and none extends beyond its end.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Offset of the first record.
    records_at: usize,
}

/// The section of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Section {
    /// Answers; in a query, known answers.
    Answer,
    /// In a probe, the records that its sender proposes.
    Authority,
    /// Records that the querier may ask for next.
    Additional,
}

/// The sections in the order of the message.
const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
/// Offset of the number of questions in the header.
const QUESTION_COUNT_AT: usize = 4;
/// Offset of the numbers of records in each section.
const RECORD_COUNTS_AT: usize = 6;

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The name asked for.
    pub name: Name<'a>,
    /// The type of records asked for.
    pub kind: u16,
    /// Class of the records asked for, with the QU bit.
    pub class: u16,
}

impl Question<'_> {
    /// Returns true if the QU bit is set: the querier wants a unicast response. RFC 6762 section 5.4.
    pub const fn wants_unicast(&self) -> bool {
        self.class & TOP_BIT != 0
    }

    /// Returns true if the question matches records of this type in class IN.
    pub const fn asks_for(&self, kind: u16) -> bool {
        self.asks_in_class() && (self.kind == kind || self.kind == kind::ANY)
    }

    /// Returns true if the question matches class IN.
    pub const fn asks_in_class(&self) -> bool {
        matches!(self.class & !TOP_BIT, CLASS_IN | CLASS_ANY)
    }
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The owner name.
    pub name: Name<'a>,
    /// The type.
    pub kind: u16,
    /// The class, with the cache-flush bit.
    pub class: u16,
    /// Time to live (seconds); 0: a goodbye.
    pub ttl: u32,
    /// The section it is in.
    pub section: Section,
    message: &'a [u8],
    /// Start and end of its rdata in the message.
    offset: usize,
    end: usize,
}

impl<'a> Record<'a> {
    /// A record with this rdata outside of a message; its name does not matter.
    pub const fn alone(kind: u16, data: &'a [u8]) -> Self {
        Self {
            name: Name::ROOT,
            kind,
            class: CLASS_IN,
            ttl: 0,
            section: Section::Answer,
            message: data,
            offset: 0,
            end: data.len(),
        }
    }

    /// Returns true if the record's class is IN.
    pub const fn is_in_class(&self) -> bool {
        self.class & !TOP_BIT == CLASS_IN
    }

    /// Returns true if the cache-flush bit is set: the record replaces cached ones with its name and type.
    pub const fn flushes(&self) -> bool {
        self.class & TOP_BIT != 0
    }

    /// The rdata as in the message, with compressed names.
    pub fn rdata(&self) -> &'a [u8] {
        self.message.get(self.offset..self.end).unwrap_or_default()
    }

    /// The rdata with all names uncompressed. Malformed rdata is cut short.
    pub fn uncompressed_rdata(&self) -> UncompressedRdata<'a> {
        UncompressedRdata::new(self.kind, self.message, self.offset, self.end)
    }

    /// The name in its rdata after `skip` bytes: 0 for PTR and CNAME, 6 for SRV. `None` if it is malformed.
    pub fn target(&self, skip: usize) -> Option<Name<'a>> {
        let (name, end) = Name::parse(self.message, self.offset + skip).ok()?;
        (end <= self.end).then_some(name)
    }

    /// Returns false if the rdata cannot be of its type: an address of another length, a name or a string that does not end in it.
    pub fn is_well_formed(&self) -> bool {
        match self.kind {
            kind::A => self.rdata().len() == 4,
            kind::AAAA => self.rdata().len() == 16,
            kind::PTR | kind::CNAME => self.target(0).is_some(),
            kind::SRV => self.target(6).is_some(),
            kind::TXT => {
                let mut rest = self.rdata();
                while let [len, after @ ..] = rest {
                    let Some(after) = after.get(usize::from(*len)..) else {
                        return false;
                    };
                    rest = after;
                }
                true
            }
            _ => true,
        }
    }

    /// For NSEC: `Some(true)` if the type bitmaps list type `kind`, `Some(false)` if they do not. `None`: the rdata is malformed.
    pub fn lists(&self, kind: u16) -> Option<bool> {
        // The next domain name is ignored.
        let (_, mut offset) = Name::parse(self.message, self.offset).ok()?;
        while offset < self.end {
            let window = self.message.get(offset..self.end)?;
            let [block, len @ 1..=32, rest @ ..] = window else {
                return None;
            };
            let map = rest.get(..usize::from(*len))?;
            if u16::from(*block) == kind >> 8 {
                let byte = map.get(usize::from(kind >> 3 & 0x1f));
                return Some(byte.is_some_and(|byte| byte << (kind & 7) & 0x80 != 0));
            }
            offset += 2 + map.len();
        }
        Some(false)
    }
}

impl<'a> Message<'a> {
    /// Checks the structure of a message.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEADER_BYTES {
            return Err(Malformed);
        }
        let mut message = Self {
            bytes,
            records_at: HEADER_BYTES,
        };
        let mut questions = message.questions();
        while questions.next().is_some() {}
        message.records_at = questions.offset;
        let mut records = message.records();
        while records.next().is_some() {}
        // The iterators stop early at a malformed item. Bytes after the last record are ignored.
        if questions.left != 0 || records.left != [0; 3] {
            return Err(Malformed);
        }
        Ok(message)
    }

    /// The query ID, by which a legacy querier matches responses.
    pub fn id(&self) -> u16 {
        word(self.bytes, 0)
    }

    /// The flags.
    pub fn flags(&self) -> u16 {
        word(self.bytes, 2)
    }

    /// Returns true for a response, false for a query. `None`: an opcode or response code that RFC 6762 says to ignore.
    pub fn is_response(&self) -> Option<bool> {
        let flags = self.flags();
        (flags & (flag::OPCODE | flag::RESPONSE_CODE) == 0).then_some(flags & flag::RESPONSE != 0)
    }

    /// Returns true if the TC bit is set: more known answers follow.
    pub fn is_truncated(&self) -> bool {
        self.flags() & flag::TRUNCATED != 0
    }

    /// Returns true if there are questions.
    pub fn has_questions(&self) -> bool {
        word(self.bytes, QUESTION_COUNT_AT) != 0
    }

    /// Returns true if there are records in this section.
    pub fn has(&self, section: Section) -> bool {
        word(self.bytes, RECORD_COUNTS_AT + section as usize * 2) != 0
    }

    /// The questions.
    #[inline(never)] // −129 bytes: six callers.
    pub fn questions(&self) -> Questions<'a> {
        Questions {
            bytes: self.bytes,
            offset: HEADER_BYTES,
            left: word(self.bytes, QUESTION_COUNT_AT),
        }
    }

    /// All records.
    pub fn records(&self) -> Records<'a> {
        Records {
            bytes: self.bytes,
            offset: self.records_at,
            left: core::array::from_fn(|section| word(self.bytes, RECORD_COUNTS_AT + section * 2)),
        }
    }
}

/// Iterator over the questions.
#[derive(Clone, Debug)]
pub struct Questions<'a> {
    bytes: &'a [u8],
    offset: usize,
    left: u16,
}

impl<'a> Iterator for Questions<'a> {
    type Item = Question<'a>;

    fn next(&mut self) -> Option<Question<'a>> {
        let left = self.left.checked_sub(1)?;
        let (name, offset) = Name::parse(self.bytes, self.offset).ok()?;
        let end = offset + 4;
        if end > self.bytes.len() {
            return None;
        }
        (self.offset, self.left) = (end, left);
        Some(Question {
            name,
            kind: word(self.bytes, offset),
            class: word(self.bytes, offset + 2),
        })
    }
}

/// Iterator over the records.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Number of records left in each section.
    left: [u16; 3],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let mut sections = SECTIONS.iter().zip(&mut self.left);
        let (section, left) = sections.find(|(_, left)| **left != 0)?;
        let (name, offset) = Name::parse(self.bytes, self.offset).ok()?;
        let head = self.bytes.get(offset..)?.first_chunk::<10>()?;
        let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *head;
        let offset = offset + head.len();
        let end = offset + usize::from(u16::from_be_bytes([l0, l1]));
        if end > self.bytes.len() {
            return None;
        }
        *left -= 1;
        self.offset = end;
        Some(Record {
            name,
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            section: *section,
            message: self.bytes,
            offset,
            end,
        })
    }
}

fn word(bytes: &[u8], offset: usize) -> u16 {
    let word = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u16::from_be_bytes(*word))
}
