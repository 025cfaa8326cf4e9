//! Messages as lines of text, to be written and read.
//!
//! `? NAME KIND [QU]` is a question; a record is `= NAME TTL [flush] KIND DATA` where it answers, `!` where it is wished for, `+`
//! where it is added.

use crate::wire::dns::{
    CLASS_ANY, CLASS_IN, Head, Label, Message, Name, Section, TOP_BIT, Writer, flag, kind,
};
use core::net::{Ipv4Addr, Ipv6Addr};

const KINDS: [(&str, u16); 8] = [
    ("A", kind::A),
    ("CNAME", kind::CNAME),
    ("PTR", kind::PTR),
    ("TXT", kind::TXT),
    ("AAAA", kind::AAAA),
    ("SRV", kind::SRV),
    ("NSEC", kind::NSEC),
    ("ANY", kind::ANY),
];

fn kind_of(word: &str) -> u16 {
    let known = KINDS.iter().find(|(name, _)| *name == word);
    known.map_or_else(|| word.parse().unwrap(), |(_, kind)| *kind)
}

fn kind_name(kind: u16) -> String {
    let known = KINDS.iter().find(|(_, number)| *number == kind);
    known.map_or_else(|| kind.to_string(), |(name, _)| (*name).to_owned())
}

/// The labels of a name in which `_` may stand for a blank; none of ours begins with one.
fn labels(name: &str) -> Vec<Vec<u8>> {
    let name = name.replace('~', " ");
    let name = name.trim_end_matches('.');
    if name.is_empty() {
        return Vec::new();
    }
    name.split('.')
        .map(|label| label.as_bytes().to_vec())
        .collect()
}

fn put_name(writer: &mut Writer<'_>, name: &str) {
    let labels = labels(name);
    writer.name(&mut numbered(&labels), false);
}

fn numbered(labels: &[Vec<u8>]) -> impl Iterator<Item = Label<'_>> {
    labels.iter().map(|bytes| Label { bytes, number: 0 })
}

/// A message of these lines.
pub(super) fn message(flags: u16, id: u16, lines: &[&str]) -> Vec<u8> {
    let mut room = vec![0; 9000];
    let mut writer = Writer::new(&mut room, id, flags);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let labels = labels(words[1]);
        let mut labels = numbered(&labels);
        let section = match words[0] {
            "?" => {
                let class = match words.get(3) {
                    Some(&"QU") => CLASS_IN | TOP_BIT,
                    Some(&"CLASS-ANY") => CLASS_ANY,
                    Some(&"CHAOS") => 3,
                    Some(word) => panic!("{word}"),
                    None => CLASS_IN,
                };
                assert!(writer.question(&mut labels, kind_of(words[2]), class));
                continue;
            }
            "=" => Section::Answer,
            "!" => Section::Authority,
            "+" => Section::Additional,
            word => panic!("{word}"),
        };
        let (class, rest) = match words[3] {
            "flush" => (CLASS_IN | TOP_BIT, &words[4..]),
            "CHAOS" => (3, &words[4..]),
            _ => (CLASS_IN, &words[3..]),
        };
        let head = Head {
            kind: kind_of(rest[0]),
            class,
            ttl: words[2].parse().unwrap(),
        };
        let data = rest[1..].to_vec();
        assert!(writer.record(section, &mut labels, head, &mut |writer| {
            put_data(writer, head.kind, &data);
        }));
    }
    let len = writer.finish();
    room.truncate(len);
    room
}

fn put_data(writer: &mut Writer<'_>, kind: u16, data: &[&str]) {
    match kind {
        kind::A => writer.put(&data[0].parse::<Ipv4Addr>().unwrap().octets()),
        kind::AAAA => writer.put(&data[0].parse::<Ipv6Addr>().unwrap().octets()),
        kind::PTR | kind::CNAME => put_name(writer, data[0]),
        kind::SRV => {
            writer.put(&[0; 4]);
            writer.word(data[0].parse().unwrap());
            put_name(writer, data[1]);
        }
        kind::TXT => {
            for text in data {
                writer.put(&[text.len() as u8]);
                writer.put(text.as_bytes());
            }
        }
        kind::NSEC => {
            put_name(writer, data[0]);
            let mut map = [0u8; 32];
            for kind in &data[1..] {
                let kind = kind_of(kind);
                map[usize::from(kind >> 3)] |= 0x80 >> (kind & 7);
            }
            let len = map
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            writer.put(&[0, len as u8]);
            writer.put(&map[..len]);
        }
        _ => writer.put(data[0].as_bytes()),
    }
}

/// A query of these lines.
pub(super) fn query(lines: &[&str]) -> Vec<u8> {
    message(0, 0, lines)
}

/// A query that says that more known answers follow.
pub(super) fn truncated(lines: &[&str]) -> Vec<u8> {
    message(flag::TRUNCATED, 0, lines)
}

/// A response of these lines.
pub(super) fn response(lines: &[&str]) -> Vec<u8> {
    message(flag::RESPONSE | flag::AUTHORITATIVE, 0, lines)
}

/// The lines of a message.
pub(super) fn lines(bytes: &[u8]) -> Vec<String> {
    let message = Message::parse(bytes).expect("what we send is well-formed");
    let mut lines = Vec::new();
    for question in message.questions() {
        let mut line = format!("? {} {}", text(question.name), kind_name(question.kind));
        if question.wants_unicast() {
            line += " QU";
        }
        lines.push(line);
    }
    for (section, record) in message.records() {
        let sign = match section {
            Section::Answer => "=",
            Section::Authority => "!",
            Section::Additional => "+",
        };
        let flush = if record.flushes() { "flush " } else { "" };
        let (name, kind) = (text(record.name), kind_name(record.kind));
        let data = record.data();
        let data = match record.kind {
            kind::A => Ipv4Addr::from(<[u8; 4]>::try_from(data).unwrap()).to_string(),
            kind::AAAA => Ipv6Addr::from(<[u8; 16]>::try_from(data).unwrap()).to_string(),
            kind::PTR | kind::CNAME => text(record.target(0).unwrap()),
            kind::SRV => {
                let port = u16::from_be_bytes([data[4], data[5]]);
                format!("{port} {}", text(record.target(6).unwrap()))
            }
            kind::TXT => {
                let (mut rest, mut texts) = (data, Vec::new());
                while let [len, behind @ ..] = rest {
                    let (one, behind) = behind.split_at(usize::from(*len));
                    texts.push(String::from_utf8_lossy(one).into_owned());
                    rest = behind;
                }
                texts.join(" ")
            }
            kind::NSEC => {
                let kinds = KINDS
                    .iter()
                    .filter(|(_, kind)| record.lists(*kind) == Some(true));
                let kinds: Vec<&str> = kinds.map(|(name, _)| *name).collect();
                format!("{} {}", text(record.target(0).unwrap()), kinds.join(" "))
            }
            _ => format!("{data:?}"),
        };
        lines.push(format!("{sign} {name} {} {flush}{kind} {data}", record.ttl));
    }
    lines
}

fn text(name: Name<'_>) -> String {
    let labels: Vec<String> = name
        .labels()
        .map(|label| String::from_utf8_lossy(label).replace(' ', "~"))
        .collect();
    labels.join(".")
}

#[test]
fn lines_survive_the_wire() {
    let expect = [
        "? box.local ANY QU",
        "= _nfs._tcp.local 4500 PTR a~box._nfs._tcp.local",
        "= a~box._nfs._tcp.local 120 flush SRV 2049 box.local",
        "= a~box._nfs._tcp.local 4500 flush TXT path=/srv x=1",
        "! box.local 120 A 192.0.2.1",
        "+ box.local 120 flush AAAA fe80::1",
        "+ box.local 120 flush NSEC box.local A AAAA",
    ];
    assert_eq!(lines(&message(0, 0, &expect)), expect);
}
