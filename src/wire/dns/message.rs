//! What came: a header, questions, and records in three sections.

use super::super::Malformed;
use super::{CLASS_ANY, CLASS_IN, HEADER_BYTES, Name, TOP_BIT, UncompressedRdata, flag, kind};

/// A message whose shape is right: as many questions and records as its header says, and nothing that leads beyond its end.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the first record is.
    records_at: usize,
}

/// Where a record stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Section {
    /// Answers; in a query, known answers.
    Answer,
    /// In a probe, the records that its sender proposes.
    Authority,
    /// What may be asked next.
    Additional,
}

/// All of them, in the order in which they stand.
const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
/// Where in the header is how many questions there are.
const QUESTION_COUNT_AT: usize = 4;
/// Where is how many records there are in each section.
const RECORD_COUNTS_AT: usize = 6;

/// A question.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// For what.
    pub name: Name<'a>,
    /// For records of this kind.
    pub kind: u16,
    /// Its class, with the QU bit.
    pub class: u16,
}

impl Question<'_> {
    /// Whether it has the QU bit: a unicast response is wanted. RFC 6762 section 5.4.
    pub const fn wants_unicast(&self) -> bool {
        self.class & TOP_BIT != 0
    }

    /// Whether it is for records of this kind, of the only class there is.
    pub const fn asks_for(&self, kind: u16) -> bool {
        self.asks_in_class() && (self.kind == kind || self.kind == kind::ANY)
    }

    /// Whether it is for records of the only class there is.
    pub const fn asks_in_class(&self) -> bool {
        matches!(self.class & !TOP_BIT, CLASS_IN | CLASS_ANY)
    }
}

/// A record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Whose it is.
    pub name: Name<'a>,
    /// What it holds.
    pub kind: u16,
    /// Its class, and whether it replaces what was known before.
    pub class: u16,
    /// For how many seconds it may be remembered; 0: it is gone.
    pub ttl: u32,
    /// Where in the message it stands.
    pub section: Section,
    message: &'a [u8],
    /// Where its rdata begins and ends in the message.
    at: usize,
    end: usize,
}

impl<'a> Record<'a> {
    /// A record whose rdata stands by itself, of a name that does not matter.
    pub const fn alone(kind: u16, data: &'a [u8]) -> Self {
        Self {
            name: Name::ROOT,
            kind,
            class: CLASS_IN,
            ttl: 0,
            section: Section::Answer,
            message: data,
            at: 0,
            end: data.len(),
        }
    }

    /// Whether it is of the only class there is.
    pub const fn is_in_class(&self) -> bool {
        self.class & !TOP_BIT == CLASS_IN
    }

    /// Whether it replaces what was known of its name and kind.
    pub const fn flushes(&self) -> bool {
        self.class & TOP_BIT != 0
    }

    /// Its rdata as it stands in the message.
    pub fn rdata(&self) -> &'a [u8] {
        self.message.get(self.at..self.end).unwrap_or_default()
    }

    /// Its rdata with all names written out; without end where it is broken.
    pub fn uncompressed_rdata(&self) -> UncompressedRdata<'a> {
        UncompressedRdata::new(self.kind, self.message, self.at, self.end)
    }

    /// The name that it points to, behind `skip` other bytes: of PTR and CNAME 0, of SRV 6. None where there is none.
    pub fn target(&self, skip: usize) -> Option<Name<'a>> {
        let (name, end) = Name::parse(self.message, self.at + skip).ok()?;
        (end <= self.end).then_some(name)
    }

    /// Of NSEC: whether there are records of this kind below 256. `None` where it cannot be read.
    pub fn lists(&self, kind: u16) -> Option<bool> {
        // What the next name is does not matter here.
        let (_, mut at) = Name::parse(self.message, self.at).ok()?;
        while at < self.end {
            let window = self.message.get(at..self.end)?;
            let [block, len @ 1..=32, rest @ ..] = window else {
                return None;
            };
            let map = rest.get(..usize::from(*len))?;
            if u16::from(*block) == kind >> 8 {
                let byte = map.get(usize::from(kind >> 3 & 0x1f));
                return Some(byte.is_some_and(|byte| byte << (kind & 7) & 0x80 != 0));
            }
            at += 2 + map.len();
        }
        Some(false)
    }
}

impl<'a> Message<'a> {
    /// Looks a message through.
    #[inline(never)]
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
        message.records_at = questions.at;
        let mut records = message.records();
        while records.next().is_some() {}
        // They end early at what is broken. What may follow the last belongs to no record.
        if questions.left != 0 || records.left != [0; 3] {
            return Err(Malformed);
        }
        Ok(message)
    }

    /// The query ID, which a legacy querier matches responses by.
    pub fn id(&self) -> u16 {
        word(self.bytes, 0)
    }

    /// The flags.
    pub fn flags(&self) -> u16 {
        word(self.bytes, 2)
    }

    /// Whether it answers, or asks. `None`: it does neither, and is to be ignored.
    pub fn is_response(&self) -> Option<bool> {
        let flags = self.flags();
        (flags & (flag::OPCODE | flag::RESPONSE_CODE) == 0).then_some(flags & flag::RESPONSE != 0)
    }

    /// Whether more known answers follow.
    pub fn is_truncated(&self) -> bool {
        self.flags() & flag::TRUNCATED != 0
    }

    /// Whether anything is asked.
    pub fn has_questions(&self) -> bool {
        word(self.bytes, QUESTION_COUNT_AT) != 0
    }

    /// Whether there are records in this section.
    pub fn has(&self, section: Section) -> bool {
        word(self.bytes, RECORD_COUNTS_AT + section as usize * 2) != 0
    }

    /// What is asked.
    #[inline(never)]
    pub fn questions(&self) -> Questions<'a> {
        Questions {
            bytes: self.bytes,
            at: HEADER_BYTES,
            left: word(self.bytes, QUESTION_COUNT_AT),
        }
    }

    /// All records.
    #[inline(never)]
    pub fn records(&self) -> Records<'a> {
        Records {
            bytes: self.bytes,
            at: self.records_at,
            left: core::array::from_fn(|section| word(self.bytes, RECORD_COUNTS_AT + section * 2)),
        }
    }
}

/// Questions one after another.
#[derive(Clone, Debug)]
pub struct Questions<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u16,
}

impl<'a> Iterator for Questions<'a> {
    type Item = Question<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Question<'a>> {
        let left = self.left.checked_sub(1)?;
        let (name, at) = Name::parse(self.bytes, self.at).ok()?;
        let end = at + 4;
        if end > self.bytes.len() {
            return None;
        }
        (self.at, self.left) = (end, left);
        Some(Question {
            name,
            kind: word(self.bytes, at),
            class: word(self.bytes, at + 2),
        })
    }
}

/// Records one after another.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Of each section.
    left: [u16; 3],
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline(never)]
    fn next(&mut self) -> Option<Record<'a>> {
        let mut sections = SECTIONS.iter().zip(&mut self.left);
        let (section, left) = sections.find(|(_, left)| **left != 0)?;
        let (name, at) = Name::parse(self.bytes, self.at).ok()?;
        let head = self.bytes.get(at..)?.first_chunk::<10>()?;
        let [k0, k1, c0, c1, t0, t1, t2, t3, l0, l1] = *head;
        let at = at + head.len();
        let end = at + usize::from(u16::from_be_bytes([l0, l1]));
        if end > self.bytes.len() {
            return None;
        }
        *left -= 1;
        self.at = end;
        Some(Record {
            name,
            kind: u16::from_be_bytes([k0, k1]),
            class: u16::from_be_bytes([c0, c1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            section: *section,
            message: self.bytes,
            at,
            end,
        })
    }
}

#[inline(never)]
fn word(bytes: &[u8], at: usize) -> u16 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map_or(0, |word| u16::from_be_bytes(*word))
}
