//! Messages: queries to write, and whatever comes to be read. RFC 1035 section 4, RFC 4034 section 4 for NSEC.

use anyhow::{Context as _, Result, ensure};

use super::kind;

/// The internet's class; the bit above it is "to me alone" of a question, and "forget what else you know" of a record.
const CLASS_IN: u16 = 1;
const TOP_BIT: u16 = 0x8000;
/// It answers.
const RESPONSE: u16 = 0x8000;
/// More pointers than any name needs.
const HOP_COUNT_MAX: usize = 64;

/// A name as it is written in messages.
pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A message that asks all of these at once.
pub fn query(id: u16, questions: &[(&str, u16)], wants_unicast: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, 0, questions.len() as u16, 0, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    let class = CLASS_IN | if wants_unicast { TOP_BIT } else { 0 };
    for (whose, kind) in questions {
        bytes.extend(name(whose));
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
    }
    bytes
}

/// Where in a message a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// A whole message.
#[derive(Debug)]
pub struct Message {
    pub id: u16,
    pub flags: u16,
    /// Names and kinds.
    pub questions: Vec<(String, u16)>,
    pub records: Vec<Record>,
}

/// One record.
#[derive(Debug)]
pub struct Record {
    pub section: Section,
    pub name: String,
    pub kind: u16,
    pub class: u16,
    pub ttl: u32,
    pub data: Vec<u8>,
    /// The name in its data: of PTR, SRV and NSEC.
    pub target: Option<String>,
    /// What an NSEC says that there is.
    pub kinds: Vec<u16>,
}

impl Message {
    /// Reads all of it; what is left over or missing is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let question_count = reader.word()?;
        let counts = [
            (Section::Answer, reader.word()?),
            (Section::Authority, reader.word()?),
            (Section::Additional, reader.word()?),
        ];
        let mut questions = Vec::new();
        for _ in 0..question_count {
            questions.push((reader.name()?, reader.word()?));
            reader.word()?;
        }
        let mut records = Vec::new();
        for (section, count) in counts {
            for _ in 0..count {
                records.push(reader.record(section)?);
            }
        }
        ensure!(reader.at == bytes.len(), "there is more than the message");
        Ok(Self {
            id,
            flags,
            questions,
            records,
        })
    }

    /// It answers.
    pub fn is_response(&self) -> bool {
        self.flags & RESPONSE != 0
    }

    /// The first record of this name and kind, wherever it is.
    pub fn find(&self, name: &str, kind: u16) -> Option<&Record> {
        self.records
            .iter()
            .find(|record| record.kind == kind && record.name.eq_ignore_ascii_case(name))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at + count;
        let part = self.bytes.get(self.at..end);
        self.at = end;
        part.with_context(|| format!("it ends before byte {end}"))
    }

    fn word(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name, wherever its parts are; what follows is behind its first part.
    fn name(&mut self) -> Result<String> {
        let (mut name, mut behind) = (String::new(), None);
        for _ in 0..HOP_COUNT_MAX + 128 {
            let len = self.take(1)?[0];
            match len {
                0 => {
                    self.at = behind.unwrap_or(self.at);
                    return Ok(name);
                }
                0xc0.. => {
                    let low = self.take(1)?[0];
                    behind = behind.or(Some(self.at));
                    self.at = usize::from(u16::from_be_bytes([len & 0x3f, low]));
                }
                1..64 => {
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name += &String::from_utf8_lossy(self.take(len.into())?);
                }
                64.. => anyhow::bail!("a label of kind {len:#x}"),
            }
        }
        anyhow::bail!("a name without an end")
    }

    fn record(&mut self, section: Section) -> Result<Record> {
        let (name, kind, class) = (self.name()?, self.word()?, self.word()?);
        let ttl = u32::from(self.word()?) << 16 | u32::from(self.word()?);
        let len = self.word()?;
        let start = self.at;
        let data = self.take(len.into())?.to_vec();
        let end = self.at;
        let skipped = match kind {
            kind::PTR | kind::NSEC => Some(0),
            kind::SRV => Some(6),
            _ => None,
        };
        let (mut target, mut kinds) = (None, Vec::new());
        if let Some(skipped) = skipped {
            self.at = start + skipped;
            target = Some(self.name()?);
            if kind == kind::NSEC {
                kinds = self.kinds(end)?;
            }
        }
        self.at = end;
        Ok(Record {
            section,
            name,
            kind,
            class,
            ttl,
            data,
            target,
            kinds,
        })
    }

    /// The kinds that the maps from here to the end list.
    fn kinds(&mut self, end: usize) -> Result<Vec<u16>> {
        let mut kinds = Vec::new();
        while self.at < end {
            let [window, len] = *self.take(2)? else {
                anyhow::bail!("two bytes are two");
            };
            for (number, byte) in self.take(len.into())?.iter().enumerate() {
                for bit in 0..8 {
                    if byte & (0x80 >> bit) != 0 {
                        kinds.push(u16::from(window) << 8 | (number * 8 + bit) as u16);
                    }
                }
            }
        }
        Ok(kinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_was_written() -> Result<()> {
        let bytes = query(7, &[("box.local", kind::A), ("x.local", kind::PTR)], true);
        let message = Message::parse(&bytes)?;
        assert_eq!((message.id, message.is_response()), (7, false));
        let read: Vec<_> = message
            .questions
            .iter()
            .map(|(name, kind)| (&**name, *kind))
            .collect();
        assert_eq!(read, [("box.local", kind::A), ("x.local", kind::PTR)]);
        Ok(())
    }

    /// "box.local" with a type bit map that lists A, in a response that points back at the name.
    #[test]
    fn what_a_denial_lists_is_read() -> Result<()> {
        let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend(
            b"\x03box\x05local\x00\x00\x2f\x80\x01\x00\x00\x00\x78\x00\x05\xc0\x0c\x00\x01\x40",
        );
        let message = Message::parse(&bytes)?;
        let denial = message
            .find("BOX.local", kind::NSEC)
            .context("it is there")?;
        assert_eq!((denial.ttl, &*denial.kinds), (120, &[kind::A][..]));
        assert_eq!(denial.target.as_deref(), Some("box.local"));
        Ok(())
    }

    #[test]
    fn what_is_cut_off_or_turns_in_circles_is_an_error() {
        let whole = query(7, &[("box.local", kind::A)], false);
        for len in 0..whole.len() {
            assert!(Message::parse(&whole[..len]).is_err(), "{len}");
        }
        let mut circle = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        circle.extend(b"\xc0\x0c\x00\x01\x00\x01");
        assert!(Message::parse(&circle).is_err());
    }
}
