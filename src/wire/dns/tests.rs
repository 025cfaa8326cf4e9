//! DNS messages from the wire, valid and hostile.

use super::*;

fn labels(name: &'static str) -> impl Iterator<Item = Label<'static>> {
    let parts: Vec<&str> = name.split('.').collect();
    let numbered = move |at: usize| {
        // Names with the same suffix get the same number, so that the writer compresses them.
        let rest = parts[at..].join(".");
        rest.bytes()
            .fold(7u16, |sum, byte| sum.wrapping_mul(31) ^ u16::from(byte))
            | 1
    };
    name.split('.').enumerate().map(move |(at, label)| Label {
        bytes: label.as_bytes(),
        number: numbered(at),
    })
}

fn text(name: Name<'_>) -> String {
    let labels: Vec<_> = name.labels().map(String::from_utf8_lossy).collect();
    labels.join(".")
}

/// A response with two answers that share name suffixes, and an additional record.
fn response() -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut writer = Writer::new(&mut buffer, 0, flag::RESPONSE | flag::AUTHORITATIVE);
    let head = |kind| Head {
        kind,
        class: CLASS_IN,
        ttl: 4500,
    };
    assert!(writer.record(
        Section::Answer,
        &mut labels("_nfs._tcp.local"),
        head(kind::PTR),
        &mut |writer| writer.name(&mut labels("a box._nfs._tcp.local"), true),
    ));
    assert!(writer.record(
        Section::Answer,
        &mut labels("a box._nfs._tcp.local"),
        head(kind::SRV),
        &mut |writer| {
            writer.put(&[0, 0, 0, 0, 8, 1]);
            writer.name(&mut labels("box.local"), true);
        },
    ));
    assert!(writer.record(
        Section::Additional,
        &mut labels("box.local"),
        head(kind::A),
        &mut |writer| writer.put(&[192, 0, 2, 1]),
    ));
    let len = writer.finish();
    buffer[..len].to_vec()
}

#[test]
fn written_message_is_parsed_back() {
    let bytes = response();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.is_response(), Some(true));
    let records: Vec<_> = message.records().collect();
    assert_eq!(records.len(), 3);
    let pointer = records[0];
    assert_eq!(
        (pointer.section, pointer.kind, pointer.ttl),
        (Section::Answer, kind::PTR, 4500)
    );
    assert_eq!(text(pointer.name), "_nfs._tcp.local");
    assert_eq!(text(pointer.target(0).unwrap()), "a box._nfs._tcp.local");
    let service = records[1];
    assert_eq!(text(service.target(6).unwrap()), "box.local");
    assert!(
        service
            .uncompressed_rdata()
            .flatten()
            .eq(b"\0\0\0\0\x08\x01\x03box\x05local\0")
    );
    assert_eq!(records[2].section, Section::Additional);
    assert_eq!(records[2].rdata(), [192, 0, 2, 1]);
    // Lengths in bytes: header 12; PTR 17 + 10 + 8; SRV 2 + 10 + 6 + 6; A 2 + 10 + 4.
    assert_eq!(bytes.len(), 87);
}

#[test]
fn every_prefix_of_a_message_is_malformed() {
    let bytes = response();
    for len in 0..bytes.len() {
        assert!(Message::parse(&bytes[..len]).is_err(), "{len} bytes");
    }
}

/// CVE-2015-7987, CVE-2015-7988, avahi c72c9900: names, questions and records that do not fit into the buffer.
#[test]
fn record_that_does_not_fit_writes_nothing() {
    for buffer in HEADER_BYTES..60 {
        let mut buffer = vec![0; buffer];
        let mut writer = Writer::new(&mut buffer, 0, 0);
        let fits = writer.question(&mut labels("_nfs._tcp.local"), kind::PTR, CLASS_IN);
        let before = writer.len();
        let second = writer.question(&mut labels("b._nfs._tcp.local"), kind::PTR, CLASS_IN);
        assert!(second || writer.len() == before);
        let len = writer.finish();
        let message = Message::parse(&buffer[..len]).unwrap();
        let count = usize::from(fits) + usize::from(second);
        assert_eq!(message.questions().count(), count);
        if second && fits {
            assert!(text(message.questions().last().unwrap().name) == "b._nfs._tcp.local");
        }
    }
}

/// CVE-2023-38469, avahi 5e5f6538: rdata never exceeds what its 16-bit length can express, because no message is that long.
#[test]
fn oversized_rdata_is_not_written() {
    assert!(MESSAGE_BYTES_MAX <= usize::from(u16::MAX));
    for (len, fits) in [
        (8900, true),
        (9000, false),
        (65_535, false),
        (65_536, false),
        (100_000, false),
    ] {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        let mut writer = Writer::new(&mut buffer, 0, flag::RESPONSE);
        let head = Head {
            kind: kind::TXT,
            class: CLASS_IN,
            ttl: 1,
        };
        let text = vec![b'A'; len];
        let put = &mut |writer: &mut Writer<'_>| writer.put(&text);
        let is_put = writer.record(Section::Answer, &mut labels("a.local"), head, put);
        assert_eq!(is_put, fits, "{len}");
        let written = writer.finish();
        let message = Message::parse(&buffer[..written]).unwrap();
        let told: Vec<usize> = message
            .records()
            .map(|record| record.rdata().len())
            .collect();
        assert_eq!(told, if fits { vec![len] } else { vec![] });
    }
}

/// python-zeroconf #1756: a record length beyond the end of the message, or shorter than the rdata.
#[test]
fn rdata_never_exceeds_its_length() {
    let name = b"\x01b\x01c\0";
    for (kind, skip) in [
        (kind::PTR, 0),
        (kind::CNAME, 0),
        (kind::SRV, 6),
        (kind::NSEC, 0),
    ] {
        let rdata = [&[7; 6][..skip], name].concat();
        for len in 0..=rdata.len() + 20 {
            // Another record follows.
            let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0];
            bytes.extend_from_slice(b"\x01a\0\0");
            bytes.extend_from_slice(&[kind as u8, 0, 1, 0, 0, 0, 9, 0, len as u8]);
            bytes.extend_from_slice(&rdata);
            bytes.extend_from_slice(b"\x01z\0\0\x01\0\x01\0\0\0\x09\0\x04\x01\x02\x03\x04");
            let parsed = Message::parse(&bytes);
            if len == rdata.len() {
                let records: Vec<_> = parsed.unwrap().records().collect();
                assert_eq!(text(records[0].target(skip).unwrap()), "b.c");
                assert_eq!(records[1].rdata(), [1, 2, 3, 4]);
                continue;
            }
            // Either record may parse, but no rdata may extend beyond its end.
            for record in parsed.iter().flat_map(Message::records) {
                assert!(record.rdata().len() <= bytes.len() - 14);
                if len < rdata.len() && record.kind == kind {
                    assert!(record.target(skip).is_none(), "{kind} {len}");
                    assert_eq!(record.rdata().len(), len);
                    assert!(record.uncompressed_rdata().flatten().count() <= len);
                }
            }
        }
    }
    // If a record exceeds the message, the whole message is malformed.
    let whole = response();
    for len in [5u16, 100, 0x7fff, 0xffff] {
        let mut bytes = whole.clone();
        let at = bytes.len() - 6;
        bytes[at..at + 2].copy_from_slice(&len.to_be_bytes());
        assert!(Message::parse(&bytes).is_err(), "{len}");
    }
}

/// A message with a single question for `name`.
fn asked(name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&[0, 1, 0, 1]);
    bytes
}

/// CVE-2006-6870: compression pointers that are loops, point forward, or are truncated.
#[test]
fn bad_compression_pointers_are_malformed() {
    for name in [
        &b"\xc0\x0c"[..],    // To itself.
        b"\xc0\x0e\xc0\x0c", // To one another.
        b"\x01a\xc0\x0c",    // To its own start.
        b"\xc0\x40",         // Forward.
        b"\xff\xff",         // Beyond the end.
        b"\xc0",             // Truncated.
        b"\x40a\0",          // Reserved label type.
        b"\x80a\0",
        b"\x3fa\0", // Longer than the message.
    ] {
        assert!(Message::parse(&asked(name)).is_err(), "{name:?}");
    }
}

/// python-zeroconf #1719: long chains of compression pointers.
#[test]
fn pointer_chain_length_is_limited() {
    // A name, then pointers, each to the one before. The longest name needs at most 127 pointers.
    let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(b"\x01a\0");
    let mut at = 12;
    for count in 1..200 {
        let next = bytes.len();
        bytes.extend_from_slice(&[0xc0 | (at >> 8) as u8, at as u8]);
        at = next;
        let parsed = Name::parse(&bytes, at);
        assert_eq!(parsed.is_ok(), count <= 127, "{count}");
        if let Ok((name, end)) = parsed {
            assert_eq!((text(name).as_str(), end), ("a", bytes.len()));
        }
    }
}

#[test]
fn name_length_limit_includes_pointer_targets() {
    let long = |count: usize| {
        let mut name = Vec::new();
        for _ in 0..count {
            name.push(63);
            name.extend_from_slice(&[b'a'; 63]);
        }
        name
    };
    // Three labels of 64 bytes, one of 63 bytes, the zero byte: 256 bytes.
    let mut name = long(3);
    name.push(62);
    name.extend_from_slice(&[b'b'; 62]);
    name.push(0);
    assert_eq!(name.len(), NAME_BYTES_MAX);
    assert!(Message::parse(&asked(&name)).is_ok());
    let mut name = long(4);
    name.push(0);
    assert!(Message::parse(&asked(&name)).is_err());
    // A name that exceeds the limit only by the target of its pointer.
    let mut bytes = asked(&[long(3), vec![0]].concat());
    let at = bytes.len();
    bytes.extend_from_slice(&[63; 64]);
    bytes.extend_from_slice(&[0xc0, 12]);
    assert!(Name::parse(&bytes, at).is_err());
}

#[test]
fn names_compare_without_case() {
    let name = Name::of(b"\x03Box\x05LOCAL\0");
    assert!(name.is(Name::of(b"\x03bOX\x05local\0")));
    assert!(!name.is(Name::of(b"\x03box\0")));
    assert!(!name.is(Name::of(b"\x03box\x05local\x01a\0")));
    // A dot within a label does not separate labels.
    assert!(!Name::of(b"\x03a.b\0").is(Name::of(b"\x01a\x01b\0")));
    let mut buffer = [0; 11];
    assert_eq!(name.write(&mut buffer), 11);
    assert_eq!(&buffer, b"\x03Box\x05LOCAL\0");
    assert_eq!(name.write(&mut [0; 10]), 0);
}

#[test]
fn rdata_is_compared_with_uncompressed_names() {
    let bytes = response();
    let service = Message::parse(&bytes).unwrap().records().nth(1).unwrap();
    let own = |data: &'static [u8]| UncompressedRdata::of(kind::SRV, data);
    assert!(
        service
            .uncompressed_rdata()
            .is(own(b"\0\0\0\0\x08\x01\x03BOX\x05local\0"))
    );
    assert!(
        !service
            .uncompressed_rdata()
            .is(own(b"\0\0\0\0\x08\x01\x03bos\x05local\0"))
    );
    // The port is compared with case, because it is not a name.
    assert!(!UncompressedRdata::of(kind::SRV, b"\0\0\0\0Aa\x01b\0").is(own(b"\0\0\0\0aa\x01b\0")));
    assert!(
        !UncompressedRdata::of(kind::TXT, b"\x01a").is(UncompressedRdata::of(kind::TXT, b"\x01A"))
    );
    assert!(
        UncompressedRdata::of(kind::SOA, b"\x01a\0\x01b\x01c\0rest")
            .flatten()
            .eq(b"\x01a\0\x01b\x01c\0rest")
    );
    // Malformed rdata ends early, without a panic.
    for data in [
        &b""[..],
        b"\0\0\0\0\0",
        b"\0\0\0\0\0\0",
        b"\0\0\0\0\0\0\xc0\0",
        b"\0\0\0\0\0\0\x05a",
    ] {
        assert!(UncompressedRdata::of(kind::SRV, data).flatten().count() <= data.len());
    }
}

/// python-zeroconf #1731, avahi a2ba25e9: NSEC records with other next names, or malformed ones.
#[test]
fn nsec_next_name_is_ignored() {
    let record = |data: &[u8]| {
        let mut bytes = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend_from_slice(b"\x01a\0\0\x2f\x80\x01\0\0\0\x78");
        bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    };
    let lists = |data: &[u8], kind| {
        let bytes = record(data);
        let message = Message::parse(&bytes).unwrap();
        message.records().next().unwrap().lists(kind)
    };
    let a_and_txt = b"\xc0\x0c\0\x04\x40\0\x80\0";
    assert_eq!(lists(a_and_txt, kind::A), Some(true));
    assert_eq!(lists(a_and_txt, kind::TXT), Some(true));
    assert_eq!(lists(a_and_txt, kind::AAAA), Some(false));
    assert_eq!(lists(a_and_txt, kind::SRV), Some(false));
    // The next name differs from the owner name. Then: a bitmap with a second window block, for types from 256 on.
    assert_eq!(lists(b"\x03xyz\0\0\x01\x40", kind::A), Some(true));
    assert_eq!(lists(b"\0\0\x01\x40\x01\x01\x40", 257), Some(true));
    // A malformed NSEC returns `None`; the message stays valid.
    for broken in [
        &b""[..],
        b"\xc0",
        b"\0\0",
        b"\0\0\0",
        b"\0\0\x21",
        b"\0\0\x04\x40",
    ] {
        let said = lists(broken, kind::A);
        assert!(said.is_none() || broken == b"\0", "{broken:?}");
    }
}

#[test]
fn other_opcodes_and_rcodes_are_rejected() {
    for (flags, expect) in [
        (0u16, Some(false)),
        (0x8400, Some(true)),
        (0x0200, Some(false)),
        (0x87f0, Some(true)), // A response with all bits set that must be ignored.
        (0x2800, None),       // Opcode 5 (UPDATE).
        (0x8403, None),       // Response code 3 (NXDOMAIN).
    ] {
        let mut bytes = [0; 12];
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        assert_eq!(
            Message::parse(&bytes).unwrap().is_response(),
            expect,
            "{flags:x}"
        );
    }
}

#[test]
fn mutated_messages_never_panic() {
    let mut seed = 1u64;
    let good = response();
    for round in 0..20_000 {
        let mut bytes = good.clone();
        for _ in 0..=round % 4 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 25) as u8;
        }
        let Ok(message) = Message::parse(&bytes) else {
            continue;
        };
        for question in message.questions() {
            assert!(question.name.labels().count() < 128);
        }
        for record in message.records() {
            let mut buffer = [0; NAME_BYTES_MAX];
            assert_ne!(record.name.write(&mut buffer), 0);
            let _ = (record.target(0).is_some(), record.target(6).is_some());
            let _ = (record.lists(kind::A), record.uncompressed_rdata().count());
            assert!(record.uncompressed_rdata().is(record.uncompressed_rdata()));
        }
    }
}

/// RFC 1035 section 4.1.4: a pointer has 14 bits.
#[test]
fn names_beyond_14_bits_are_not_pointed_at() {
    for (place, pointer) in [(0x3fff, Some([0xff, 0xff])), (0x4000, None)] {
        let mut buffer = vec![0; 0x4100];
        let mut writer = Writer::new(&mut buffer, 0, 0);
        writer.put(&vec![0; place - writer.len()]);
        writer.name(&mut labels("local"), true);
        let end = writer.len();
        writer.name(&mut labels("local"), true);
        let second = &buffer[end..];
        let expected: &[u8] = pointer.as_ref().map_or(b"\x05local\0", |pointer| pointer);
        assert!(second.starts_with(expected), "{place:#x}");
    }
}
