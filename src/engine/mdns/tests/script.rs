//! Messages as lines of text. The crate `simple-dns` encodes and decodes them, so that the tests do not rely on the code they test.
//!
//! `? NAME KIND [QU]` is a question. A record is `= NAME TTL [flush] KIND DATA` in the answer section, with `!` in the authority
//! section, with `+` in the additional section.

use crate::wire::dns::flag;
use core::net::{Ipv4Addr, Ipv6Addr};
use simple_dns::rdata::{CNAME, NSEC, NULL, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, Label, Name, Packet, QCLASS, QTYPE, Question, ResourceRecord};

const KINDS: [(&str, u16); 8] = [
    ("A", 1),
    ("CNAME", 5),
    ("PTR", 12),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NSEC", 47),
    ("ANY", 255),
];

fn kind_of(word: &str) -> u16 {
    let known = KINDS.iter().find(|(name, _)| *name == word);
    known.map_or_else(|| word.parse().unwrap(), |(_, kind)| *kind)
}

fn kind_name(kind: u16) -> String {
    let known = KINDS.iter().find(|(_, number)| *number == kind);
    known.map_or_else(|| kind.to_string(), |(name, _)| (*name).to_owned())
}

/// Parses a name. `~` stands for a space. Empty labels between dots are encoded as empty labels.
fn name(text: &str) -> Name<'static> {
    let text = text.replace('~', " ");
    let text = text.trim_end_matches('.');
    let labels = text.split('.').filter(|_| !text.is_empty());
    let labels = labels.map(|label| Label::new_unchecked(label.as_bytes().to_vec()));
    Name::new_with_labels(&labels.collect::<Vec<_>>())
}

/// Encodes a message that has these lines as its questions and records.
pub(super) fn message(flags: u16, id: u16, lines: &[&str]) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let name = name(words[1]);
        let section = match words[0] {
            "?" => {
                let class = match words.get(3) {
                    Some(&"CLASS-ANY") => QCLASS::ANY,
                    Some(&"CHAOS") => CLASS::CH.into(),
                    None | Some(&"QU") => CLASS::IN.into(),
                    Some(word) => panic!("{word}"),
                };
                let kind = QTYPE::try_from(kind_of(words[2])).unwrap();
                let wants_unicast = words.get(3) == Some(&"QU");
                let question = Question::new(name, kind, class, wants_unicast);
                packet.questions.push(question);
                continue;
            }
            "=" => &mut packet.answers,
            "!" => &mut packet.name_servers,
            "+" => &mut packet.additional_records,
            word => panic!("{word}"),
        };
        let (class, flushes, rest) = match words[3] {
            "flush" => (CLASS::IN, true, &words[4..]),
            "CHAOS" => (CLASS::CH, false, &words[4..]),
            _ => (CLASS::IN, false, &words[3..]),
        };
        let data = data(rest[0], &rest[1..]);
        let record = ResourceRecord::new(name, class, words[2].parse().unwrap(), data);
        section.push(record.with_cache_flush(flushes));
    }
    let mut bytes = packet.build_bytes_vec().unwrap();
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes
}

fn data<'a>(kind: &str, words: &[&'a str]) -> RData<'a> {
    match (kind, words) {
        ("A", [address]) => RData::A(address.parse::<Ipv4Addr>().unwrap().into()),
        ("AAAA", [address]) => RData::AAAA(address.parse::<Ipv6Addr>().unwrap().into()),
        ("PTR", [target]) => RData::PTR(PTR(name(target))),
        ("CNAME", [target]) => RData::CNAME(CNAME(name(target))),
        ("SRV", [port, target]) => RData::SRV(SRV {
            priority: 0,
            weight: 0,
            port: port.parse().unwrap(),
            target: name(target),
        }),
        ("TXT", texts) => RData::TXT(
            texts
                .iter()
                .fold(TXT::new(), |all, text| all.with_string(text).unwrap()),
        ),
        ("NSEC", [next, kinds @ ..]) => {
            let kinds: Vec<_> = kinds.iter().map(|kind| kind_of(kind).into()).collect();
            RData::NSEC(NSEC::from_types(name(next), &kinds))
        }
        (_, [data]) => RData::NULL(kind_of(kind), NULL::new(data.as_bytes()).unwrap()),
        _ => panic!("{kind} {words:?}"),
    }
}

/// Encodes a query.
pub(super) fn query(lines: &[&str]) -> Vec<u8> {
    message(0, 0, lines)
}

/// Encodes a query with the TC bit, which announces further known answers.
pub(super) fn truncated(lines: &[&str]) -> Vec<u8> {
    message(flag::TRUNCATED, 0, lines)
}

/// Encodes a response.
pub(super) fn response(lines: &[&str]) -> Vec<u8> {
    message(flag::RESPONSE | flag::AUTHORITATIVE, 0, lines)
}

/// Decodes a message into lines. Panics if the message is malformed or has trailing bytes.
pub(super) fn lines(bytes: &[u8]) -> Vec<String> {
    let packet = Packet::parse(bytes).expect("the responder sends well-formed messages");
    let shorter = Packet::parse(&bytes[..bytes.len() - 1]);
    assert!(shorter.is_err(), "the message has trailing bytes");
    let mut lines = Vec::new();
    for question in &packet.questions {
        let kind = kind_name(question.qtype.into());
        let unicast = if question.unicast_response { " QU" } else { "" };
        lines.push(format!("? {} {kind}{unicast}", text(&question.qname)));
    }
    for (sign, section) in [
        ("=", &packet.answers),
        ("!", &packet.name_servers),
        ("+", &packet.additional_records),
    ] {
        lines.extend(section.iter().map(|record| {
            assert!(is_exact(record, bytes), "{record:?} in {bytes:?}");
            let flush = if record.cache_flush { "flush " } else { "" };
            let kind = kind_name(record.rdata.type_code().into());
            let (name, data) = (text(&record.name), data_text(&record.rdata));
            format!("{sign} {name} {} {flush}{kind} {data}", record.ttl)
        }));
    }
    lines
}

/// Returns true if `bytes` contains the record after its name exactly as `simple-dns` encodes it. Always true for a record with a
/// name in its rdata, because that name may be compressed.
fn is_exact(record: &ResourceRecord<'_>, bytes: &[u8]) -> bool {
    let mut alone = Packet::new_reply(0);
    alone.answers.push(ResourceRecord {
        name: name(""),
        ..record.clone()
    });
    let alone = alone.build_bytes_vec().unwrap();
    let rest = &alone[13..];
    let has_name = !matches!(record.rdata, RData::A(_) | RData::AAAA(_) | RData::TXT(_));
    has_name || bytes.windows(rest.len()).any(|part| part == rest)
}

fn data_text(data: &RData<'_>) -> String {
    match data {
        RData::A(it) => Ipv4Addr::from(it.address).to_string(),
        RData::AAAA(it) => Ipv6Addr::from(it.address).to_string(),
        RData::PTR(PTR(target)) | RData::CNAME(CNAME(target)) => text(target),
        RData::SRV(it) => format!("{} {}", it.port, text(&it.target)),
        RData::TXT(it) => {
            let texts = it.iter_raw().map(|(key, value)| {
                let value = value
                    .map(|value| [b"=", value].concat())
                    .unwrap_or_default();
                String::from_utf8_lossy(&[key, &value].concat()).into_owned()
            });
            texts.collect::<Vec<_>>().join(" ")
        }
        RData::NSEC(it) => {
            let kinds: Vec<_> = it.types().map(|kind| kind_name(kind.into())).collect();
            format!("{} {}", text(&it.next_name), kinds.join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn text(name: &Name<'_>) -> String {
    let labels = name
        .iter()
        .map(|label| String::from_utf8_lossy(label.as_ref()));
    labels.collect::<Vec<_>>().join(".").replace(' ', "~")
}

#[test]
fn encoded_lines_decode_to_the_same_lines() {
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
