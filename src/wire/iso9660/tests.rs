//! Golden bytes of each field, and malformed input that must be rejected.

use super::*;

fn both(number: u32) -> [u8; 8] {
    let (low, high) = (number.to_le_bytes(), number.to_be_bytes());
    [low, high].concat().try_into().unwrap()
}

/// A directory record of a file: 5 bytes in block 77.
fn bytes(id: &[u8], fields: &[u8]) -> Vec<u8> {
    let mut bytes = [&[0, 1][..], &both(76), &both(5)].concat();
    bytes.extend([126, 11, 20, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1]);
    bytes.push(id.len() as u8);
    bytes.extend(id);
    if id.len().is_multiple_of(2) {
        bytes.push(0);
    }
    bytes.extend(fields);
    bytes[0] = bytes.len() as u8;
    bytes
}

fn field(name: &[u8; 2], content: &[u8]) -> Vec<u8> {
    [&name[..], &[content.len() as u8 + 4, 1], content].concat()
}

fn read(id: &[u8], fields: &[&[u8]]) -> DirRecord {
    let mut record = DirRecord::new();
    let bytes = bytes(id, &fields.concat());
    assert!(record.parse(&bytes, 0));
    record.finish();
    record
}

#[test]
fn record_parses_and_its_prefixes_do_not() {
    let whole = bytes(b"A.TXT;1", &field(b"NM", b"\0a.Text"));
    let mut record = DirRecord::new();
    assert!(record.parse(&whole, 0) && !record.malformed);
    record.finish();
    assert_eq!((record.extent, record.len), ([77, 5], 51));
    assert_eq!(
        (record.times, record.posix),
        ([1_795_176_000; 3], [0o100_555, 1, 0, 0])
    );
    assert_eq!(record.name.bytes(), b"a.Text");
    assert!(!record.is_directory() && !record.is_elsewhere() && !record.is_continued());
    for len in 0..whole.len() {
        assert!(!record.parse(&whole[..len], 0), "{len}");
    }
    // Not records: an identifier longer than its record, an empty identifier, or a length below that of the shortest record.
    for (at, value) in [(32, 19), (32, 255), (32, 0), (0, 33), (0, 1)] {
        let mut other = whole.clone();
        other[at] = value;
        assert!(!record.parse(&other, 0), "{at} {value}");
    }
}

#[test]
fn both_byte_orders_must_agree() {
    let whole = bytes(
        b"A",
        &field(
            b"PX",
            &[both(0o100_644), both(2), both(3), both(4)].concat(),
        ),
    );
    for (at, part) in [
        (2, "block"),
        (10, "size"),
        (38, "mode"),
        (46, "names"),
        (62, "group"),
    ] {
        for byte in at..at + 8 {
            let (mut other, mut record) = (whole.clone(), DirRecord::new());
            other[byte] ^= 0x10;
            assert!(record.parse(&other, 0) && record.malformed, "{part} {byte}");
        }
    }
    let mut record = DirRecord::new();
    assert!(record.parse(&whole, 0) && !record.malformed);
    assert_eq!(record.posix, [0o100_644, 2, 3, 4]);
    // An interleaved file (gap between its units) is refused.
    let mut other = whole.clone();
    other[27] = 1;
    assert!(record.parse(&other, 0) && record.malformed);
}

#[test]
fn plain_names_match_linux() {
    for (id, name) in [
        (&b"README.TXT;1"[..], "readme.txt"),
        (b"README.;1", "readme"),
        (b"README.", "readme."),
        (b"DIR", "dir"),
        (b"A;2", "a.2"),
        (b"A/B", "a.b"),
        (b"A\0B", "a"),
        (b";1", ""),
        (b"\0", "."),
        (b"\x01", ".."),
        (b"\x02", "\x02"),
    ] {
        assert_eq!(read(id, &[]).name.bytes(), name.as_bytes());
    }
}

#[test]
fn joliet_names_become_utf_8() {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let check = |id: &[u8], name: &[u8]| {
        let (whole, mut record) = (bytes(id, &[]), DirRecord::new());
        assert!(record.parse(&whole, JOLIET));
        record.finish();
        assert_eq!(record.name.bytes(), name, "{id:?}");
    };
    for (text, name) in [
        ("Grüße.txt;1", "Grüße.txt"),
        ("漢字 a", "漢字 a"),
        ("a😀b", "ab"),
        ("ends...;1", "ends"),
        ("Ünï\0x", "Ünï"),
    ] {
        check(&wide(text), name.as_bytes());
    }
    check(&wide("x")[..1], b".");
    check(&[0, b'a', 0], b"a");
    // Unpaired surrogates: a high one, a low one, a pair in the wrong order.
    check(&[0xd8, 0, 0, b'a'], b"a");
    check(&[0, b'a', 0xdc, 0], b"a");
    check(&[0xdc, 0, 0xd8, 0, 0, b'a'], b"a");
    // The longest identifier that a record can hold: 110 characters.
    check(&wide(&"漢".repeat(110)), "漢".repeat(110).as_bytes());
}

#[test]
fn times_match_linux() {
    for (date, secs) in [
        (&[70, 1, 1, 0, 0, 0, 0][..], 0),
        (&[126, 11, 20, 12, 0, 0, 0], 1_795_176_000),
        (&[126, 11, 20, 12, 0, 0, 4], 1_795_172_400),
        (&[126, 11, 20, 12, 0, 0, 0xf0], 1_795_190_400),
        // An offset from UTC that is out of range is ignored.
        (&[126, 11, 20, 12, 0, 0, 53], 1_795_176_000),
        (&[100, 2, 29, 23, 59, 59, 0], 951_868_799),
        (&[69, 12, 31, 23, 59, 59, 0], -1),
        (&[0, 0, 0, 0, 0, 0, 0], -2_211_753_600),
        (b"2026112012000099\0", 1_795_176_000),
        (b"1970010100000000\x04", -3600),
    ] {
        let date = match date.len() {
            16 => [date, &[0]].concat(),
            _ => date.to_vec(),
        };
        let mut dates = date::Dates::new(&date, if date.len() > 7 { 0xf0 } else { 0x7f });
        assert_eq!(dates.seconds(), secs, "{date:?}");
        assert!(!dates.are_short());
        // No date is left: the next call must report missing bytes.
        dates.seconds();
        assert!(dates.are_short());
    }
    // Any byte value is accepted without a panic.
    for byte in 0..=255 {
        date::Dates::new(&[byte; 7], 0).seconds();
        date::Dates::new(&[byte; 17], date::DIGITS).seconds();
    }
}

#[test]
fn rock_ridge_times_follow_their_flags() {
    let day = |day| [126, 1, day, 0, 0, 0, 0];
    let secs = |day: i64| 1_767_225_600 + (day - 1) * 86_400;
    let times = |flags: u8, days: &[u8]| {
        let dates: Vec<u8> = days.iter().flat_map(|number| day(*number)).collect();
        let record = read(b"A", &[&field(b"TF", &[&[flags][..], &dates].concat())]);
        (record.times, record.malformed)
    };
    let own = 1_795_176_000;
    assert_eq!(
        times(0b1110, &[2, 3, 4]),
        ([secs(4), secs(2), secs(3)], false)
    );
    assert_eq!(times(0b0001, &[2]), ([secs(2), own, own], false));
    assert_eq!(
        times(0b1111, &[2, 3, 4, 5]),
        ([secs(5), secs(3), secs(4)], false)
    );
    assert!(times(0b1111_0010, &[2, 3]).1);
    assert!(times(0b1110, &[2, 3]).1 && times(0b10, &[]).1);
    let long = field(b"TF", b"\x822026010200000000\0");
    assert_eq!(read(b"A", &[&long]).times, [own, secs(2), own]);
    let short = read(b"A", &[b"TF\x04\x01"]);
    assert!(!short.malformed);
}

#[test]
fn device_numbers_have_two_encodings() {
    for (high, low, device) in [
        (259, 70_000, (259, 70_000)),
        (1, 5, (1, 5)),
        (0, 0x0801, (8, 1)),
        (0, 7, (0, 7)),
    ] {
        let record = read(b"A", &[&field(b"PN", &[both(high), both(low)].concat())]);
        assert_eq!((record.device(), record.malformed), (device, false));
    }
    assert_eq!(read(b"A", &[]).device(), (0, 0));
    assert!(read(b"A", &[&field(b"PN", &both(1))]).malformed);
    let mut record = read(b"A", &[&field(b"PN", &[both(8), both(1)].concat())]);
    assert!(record.parse(&bytes(b"B", &[]), 0));
    assert_eq!(record.device(), (0, 0));
}

#[test]
fn name_fields_are_joined_up_to_the_last() {
    let part = |flags: u8, text: &[u8]| field(b"NM", &[&[flags][..], text].concat());
    let record = read(b"A", &[&part(1, b"ab"), &part(0, b"cd")]);
    assert_eq!(record.name.bytes(), b"abcd");
    // Flags for ".", ".." and the host name are ignored.
    assert_eq!(
        read(b"A", &[&part(2, b""), &part(4, b"x"), &part(0x20, b"h")])
            .name
            .bytes(),
        b"a"
    );
    assert_eq!(read(b"\0", &[&part(0, b"x")]).name.bytes(), b".");
    let mut record = DirRecord::new();
    let whole = bytes(b"A", &[]);
    record.parse(&whole, 0);
    for _ in 0..5 {
        record.read(&part(1, &[b'x'; 51]));
    }
    assert_eq!((record.name.bytes().len(), record.malformed), (255, false));
    record.read(&part(1, b"y"));
    assert_eq!((record.name.bytes().len(), record.malformed), (255, true));
}

#[test]
fn target_fields_are_joined_up_to_the_last() {
    let link = |parts: &[(u8, &[u8])]| {
        let mut content = vec![0];
        for (flags, text) in parts {
            content.extend([*flags, text.len() as u8]);
            content.extend(*text);
        }
        field(b"SL", &content)
    };
    for (fields, target) in [
        (
            vec![link(&[(8, b""), (0, b"usr"), (0, b"bin")])],
            "/usr/bin",
        ),
        (vec![link(&[(4, b""), (2, b""), (0, b"a")])], ".././a"),
        (
            vec![link(&[(0, b"a"), (1, b"b")]), link(&[(0, b"c"), (0, b"d")])],
            "a/bc/d",
        ),
        (
            vec![link(&[(0, b"a")]), link(&[]), link(&[(0, b"b")])],
            "a/b",
        ),
        (vec![link(&[(8, b"")])], "/"),
        // For two separators in a row, genisoimage writes a root component between them.
        (vec![link(&[(0, b"a"), (8, b""), (0, b"b")])], "a//b"),
        (vec![], ""),
    ] {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let record = read(b"A", &fields);
        assert_eq!(record.target.bytes(), target.as_bytes());
        assert!(!record.malformed);
    }
    for broken in [
        link(&[(0x10, b"a")]),
        field(b"SL", b"\0\0\x05abc"),
        field(b"SL", b"\0\0"),
    ] {
        assert!(read(b"A", &[&broken]).malformed, "{broken:?}");
    }
    let mut record = DirRecord::new();
    record.parse(&bytes(b"A", &[]), 0);
    for _ in 0..20 {
        record.read(&link(&[(1, &[b'x'; 200])]));
    }
    assert_eq!(
        (record.target.bytes().len(), record.malformed),
        (4000, false)
    );
    record.read(&link(&[(1, &[b'x'; 95])]));
    assert!(!record.malformed);
    record.read(&link(&[(1, b"y")]));
    assert_eq!(
        (record.target.bytes().len(), record.malformed),
        (4095, true)
    );
}

#[test]
fn continuation_and_terminator_fields_are_obeyed() {
    let more = |block, offset, len| field(b"CE", &[both(block), both(offset), both(len)].concat());
    let record = read(b"A", &[&more(9, 100, 48)]);
    assert_eq!((record.more, record.malformed), ([9, 100, 48], false));
    let name = field(b"NM", b"\0name");
    assert_eq!(read(b"A", &[b"ST\x04\x01", &name]).name.bytes(), b"a");
    assert_eq!(read(b"A", &[b"XY\x00\x01", &name]).name.bytes(), b"a");
    assert_eq!(
        read(b"A", &[b"XY\x04\x01", &name, b"\0"]).name.bytes(),
        b"name"
    );
    assert!(read(b"A", &[&name[..name.len() - 1]]).malformed);
    let moved = read(b"A", &[&field(b"CL", &both(300))]);
    assert!(moved.is_directory() && moved.extent[0] == 300);
    assert!(read(b"A", &[b"RE\x04\x01"]).is_elsewhere());
    for cut in 4..12 {
        let mut field = field(b"CL", &both(300));
        field.truncate(cut);
        field[2] = cut as u8;
        assert!(read(b"A", &[&field]).malformed, "{cut}");
    }
}

#[test]
fn skip_length_applies_after_the_first_record() {
    let name = field(b"NM", b"\0name");
    let first = field(b"SP", &[0xbe, 0xef, 14]);
    let whole = bytes(b"A", &[&[7; 14][..], &name].concat());
    let mut record = DirRecord::new();
    assert!(record.parse(&whole, 14));
    record.finish();
    assert_eq!(record.name.bytes(), b"name");
    // The SP field is found at the start, and after the 14 bytes that CD-ROM XA puts before the fields.
    for gap in [0, 14] {
        let whole = bytes(b"\0", &[&[7; 14][..gap], &first].concat());
        assert!(record.parse(&whole, 14));
        assert_eq!(record.skip, 14);
    }
    assert!(record.parse(&whole, 255));
    record.finish();
    assert_eq!(record.name.bytes(), b"a");
}

#[test]
fn volume_descriptors_are_distinguished() {
    let mut sector = [0; SECTOR_BYTES as usize];
    assert_eq!(Descriptor::parse(&sector), Descriptor::Other);
    sector[1..6].copy_from_slice(b"CD001");
    assert_eq!(Descriptor::parse(&sector), Descriptor::Other);
    // Descriptors with another block size are not accepted.
    for kind in [1, 2] {
        sector[0] = kind;
        sector[88..91].copy_from_slice(b"%/E");
        assert_eq!(Descriptor::parse(&sector), Descriptor::Other);
    }
    sector[128..132].copy_from_slice(&[0, 8, 8, 0]);
    for (kind, expect) in [
        (1, Descriptor::Primary),
        (3, Descriptor::Other),
        (255, Descriptor::End),
    ] {
        sector[0] = kind;
        assert_eq!(Descriptor::parse(&sector), expect);
    }
    sector[0] = 2;
    for (escape, expect) in [
        (b"%/@", Descriptor::Joliet),
        (b"%/C", Descriptor::Joliet),
        (b"%/E", Descriptor::Joliet),
        (b"%/G", Descriptor::Other),
        (b"\0\0\0", Descriptor::Other),
    ] {
        sector[88..91].copy_from_slice(escape);
        assert_eq!(Descriptor::parse(&sector), expect);
    }
    for (id, expect) in [
        (b"NSR02", Descriptor::Udf),
        (b"NSR03", Descriptor::Udf),
        (b"BEA01", Descriptor::Other),
        (b"CDROM", Descriptor::Other),
    ] {
        sector[1..6].copy_from_slice(id);
        assert_eq!(Descriptor::parse(&sector), expect);
    }
}

#[test]
fn random_records_never_panic() {
    let mut record = DirRecord::new();
    let mut seed = 1u32;
    for _ in 0..200_000 {
        let mut bytes = [0; 96];
        for byte in &mut bytes {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (seed >> 24) as u8;
        }
        bytes[0] = bytes[0] % 70 + 30;
        bytes[32] %= 20;
        // Put a known signature at the start of the first field.
        let names = b"NMSLTFPXCECLPLRESPSTERPN";
        let at = usize::from(bytes[90]) % 12 * 2;
        let place = 33 + usize::from(bytes[32] | 1);
        bytes[place..place + 2].copy_from_slice(&names[at..at + 2]);
        bytes[place + 2] %= 60;
        let skip = match bytes[91] % 4 {
            3 => JOLIET,
            skip => skip.into(),
        };
        if record.parse(&bytes, skip) {
            record.finish();
        }
    }
}
