//! DNS messages, parsed and built by `simple-dns`. Every byte must belong to the message.

use anyhow::{Result, ensure};
use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, ResourceRecord, TYPE};

/// Builds a query with all of `questions`.
pub fn query(id: u16, questions: &[(&str, TYPE)]) -> Vec<u8> {
    build_query(id, questions, false)
}

/// Builds a query with all of `questions` that asks for unicast responses (the QU bit).
pub fn unicast_query(id: u16, questions: &[(&str, TYPE)]) -> Vec<u8> {
    build_query(id, questions, true)
}

/// Builds a query with one question that lists all records with that name and type of `response` as known answers.
pub fn query_with_known_answers(name: &str, kind: TYPE, response: &Message) -> Vec<u8> {
    let mut packet = Packet::new_query(0);
    let question = Question::new(
        Name::new_unchecked(name),
        kind.into(),
        CLASS::IN.into(),
        false,
    );
    packet.questions.push(question.into_owned());
    packet.answers.extend(response.all(name, kind).cloned());
    for answer in &mut packet.answers {
        answer.cache_flush = false;
    }
    packet
        .build_bytes_vec()
        .expect("the records fit into one message")
}

fn build_query(id: u16, questions: &[(&str, TYPE)], wants_unicast: bool) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    packet
        .questions
        .extend(questions.iter().map(|(name, kind)| {
            let name = Name::new_unchecked(name);
            Question::new(name, (*kind).into(), CLASS::IN.into(), wants_unicast)
        }));
    packet
        .build_bytes_vec()
        .expect("the questions are short enough for one message")
}

/// A parsed message.
#[derive(Debug)]
pub struct Message {
    pub id: u16,
    pub is_response: bool,
    pub questions: Vec<Question<'static>>,
    /// The records of all sections.
    pub records: Vec<ResourceRecord<'static>>,
}

impl Message {
    /// Parses a message. Missing or extra bytes are an error.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let packet = Packet::parse(bytes)?;
        let shorter = Packet::parse(&bytes[..bytes.len() - 1]);
        ensure!(shorter.is_err(), "bytes follow the end of the message");
        let (id, is_response) = (packet.id(), packet.has_flags(PacketFlag::RESPONSE));
        let sections = [
            packet.answers,
            packet.name_servers,
            packet.additional_records,
        ];
        let records = sections.into_iter().flatten();
        Ok(Self {
            id,
            is_response,
            questions: packet
                .questions
                .into_iter()
                .map(Question::into_owned)
                .collect(),
            records: records.map(ResourceRecord::into_owned).collect(),
        })
    }

    /// The first record of this name and type, in any section.
    pub fn find(&self, name: &str, kind: TYPE) -> Option<&ResourceRecord<'static>> {
        self.all(name, kind).next()
    }

    fn all(&self, name: &str, kind: TYPE) -> impl Iterator<Item = &ResourceRecord<'static>> {
        let name = Name::new_unchecked(name).into_owned();
        let records = self.records.iter();
        records.filter(move |record| record.rdata.type_code() == kind && record.name == name)
    }
}

#[test]
fn truncated_or_extended_message_is_an_error() {
    let mut bytes = query(7, &[("box.local", TYPE::A)]);
    assert!(Message::parse(&bytes).is_ok_and(|packet| packet.id == 7 && !packet.is_response));
    for len in 0..bytes.len() {
        assert!(Message::parse(&bytes[..len]).is_err(), "{len}");
    }
    bytes.push(0);
    assert!(Message::parse(&bytes).is_err());
}
