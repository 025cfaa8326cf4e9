//! Golden bytes of each field, and malformed input, which counts as missing unless it says where the data is.

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
    assert_eq!(record.name(), b"a.Text");
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
fn only_little_endian_numbers_count() {
    let px = [both(0o100_644), both(2), both(3), both(4)].concat();
    let mut whole = bytes(b"A", &field(b"PX", &px));
    // The big-endian halves of block, size, mode, links, UID and GID.
    for at in [6, 14, 42, 50, 58, 66] {
        whole[at..at + 4].fill(at as u8);
    }
    let mut record = DirRecord::new();
    assert!(record.parse(&whole, 0) && !record.malformed);
    assert_eq!(
        (record.extent, record.posix),
        ([77, 5], [0o100_644, 2, 3, 4])
    );
    // An interleaved file (gap between its units) cannot be read.
    whole[27] = 1;
    assert!(record.parse(&whole, 0) && record.interleaved);
}

#[test]
fn directory_flag_outranks_mode() {
    let mode = |mode: u32, flags: u8| {
        let px = [both(mode), both(1), both(0), both(0)].concat();
        let mut whole = bytes(b"A", &field(b"PX", &px));
        whole[25] = flags;
        let mut record = DirRecord::new();
        assert!(record.parse(&whole, 0));
        record.finish();
        record.posix[0]
    };
    for (given, flags, expect) in [
        (0o120_777, 0, 0o120_777),
        (0o100_644, 2, 0o040_644),
        (0o040_755, 0, 0o100_755),
        (0o640, 0, 0o100_640),
        (0o170_600, 0, 0o100_600),
    ] {
        assert_eq!(mode(given, flags), expect, "{given:o} {flags}");
    }
}

#[test]
fn high_sierra_flags_replace_time_zone() {
    let mut whole = bytes(b"DIR", &field(b"NM", b"\0not this"));
    (whole[24], whole[25]) = (2, 4);
    let mut record = DirRecord::new();
    assert!(record.parse(&whole, HIGH_SIERRA));
    record.finish();
    assert!(record.is_directory() && !record.is_elsewhere());
    assert_eq!(
        (record.name(), record.times),
        (&b"dir"[..], [1_795_176_000; 3])
    );
}

#[test]
fn plain_names_match_linux() {
    for (id, name) in [
        (&b"README.TXT;1"[..], "readme.txt"),
        (b"README.;1", "readme"),
        (b"README.", "readme."),
        (b"README..;1", "readme."),
        (b"A;1", "a"),
        (b"DIR", "dir"),
        (b"A;2", "a.2"),
        (b"A/B", "a.b"),
        (b"A\0B", "a"),
        // Linux does not list names that are empty.
        (b";1", "_"),
        (b".;1", "_"),
        (b"\0B", "_"),
        (b"..", "_."),
        (b"\0", "."),
        (b"\x01", ".."),
        (b"\x02", "\x02"),
    ] {
        assert_eq!(read(id, &[]).name(), name.as_bytes());
    }
}

#[test]
fn joliet_names_become_utf_8() {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let check = |id: &[u8], name: &[u8]| {
        let (whole, mut record) = (bytes(id, &[]), DirRecord::new());
        assert!(record.parse(&whole, JOLIET));
        record.finish();
        assert_eq!(record.name(), name, "{id:?}");
    };
    for (text, name) in [
        ("Grüße.txt;1", "Grüße.txt"),
        ("漢字 a", "漢字 a"),
        ("a😀b.txt;1", "a😀b.txt"),
        ("a/b", "a.b"),
        ("..", "_"),
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
    // The longest identifier that a record can hold: 110 characters, which are too many.
    check(&wide(&"漢".repeat(85)), "漢".repeat(85).as_bytes());
    check(&wide(&"漢".repeat(110)), "漢".repeat(83).as_bytes());
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
        record.times
    };
    let own = 1_795_176_000;
    assert_eq!(times(0b1110, &[2, 3, 4]), [secs(4), secs(2), secs(3)]);
    assert_eq!(times(0b0001, &[2]), [secs(2), own, own]);
    assert_eq!(times(0b1111, &[2, 3, 4, 5]), [secs(5), secs(3), secs(4)]);
    // Dates that are missing, although their flags are set.
    assert_eq!(times(0b1111_0010, &[2, 3]), [own; 3]);
    assert_eq!(times(0b1110, &[2, 3]), [own, secs(2), secs(3)]);
    assert_eq!(times(0b10, &[]), [own; 3]);
    let long = field(b"TF", b"\x822026010200000000\0");
    assert_eq!(read(b"A", &[&long]).times, [own, secs(2), own]);
    assert_eq!(read(b"A", &[b"TF\x04\x01"]).times, [own; 3]);
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
        assert_eq!(record.device(), device);
    }
    assert_eq!(read(b"A", &[]).device(), (0, 0));
    assert_eq!(read(b"A", &[&field(b"PN", &both(1))]).device(), (1, 0));
    let mut record = read(b"A", &[&field(b"PN", &[both(8), both(1)].concat())]);
    assert!(record.parse(&bytes(b"B", &[]), 0));
    assert_eq!(record.device(), (0, 0));
}

#[test]
fn name_fields_are_joined_up_to_the_last() {
    let part = |flags: u8, text: &[u8]| field(b"NM", &[&[flags][..], text].concat());
    for (fields, name) in [
        (vec![part(1, b"ab"), part(0, b"cd")], "abcd"),
        // Flags for ".", ".." and the host name are ignored.
        (vec![part(2, b""), part(4, b"x"), part(0x20, b"h")], "a"),
        (vec![part(0, b"")], "a"),
        (vec![b"NM\x04\x01".to_vec()], "a"),
        (vec![part(0, b"\0")], "a"),
        (vec![part(1, b"b\0\0"), part(0, b"c\0d")], "bc"),
        (vec![part(0, b"b/c")], "b.c"),
        (vec![part(0, b"."), part(0, b".")], "_."),
        // As on Linux, bytes that are not a field make the name that of the identifier.
        (vec![part(0, b"Name"), b"\0\0\0\0".to_vec()], "a"),
        (vec![part(0, b"Name"), b"XY\xff\x01".to_vec()], "a"),
        (vec![part(0, b"Name"), b"\0\0".to_vec()], "Name"),
    ] {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        assert_eq!(read(b"A", &fields).name(), name.as_bytes());
    }
    assert_eq!(read(b"\0", &[&part(0, b"x")]).name(), b".");
    // A field that makes the name longer than 255 bytes is dropped, with those after it.
    for (last, len) in [(51, 255), (52, 204)] {
        let mut record = DirRecord::new();
        record.parse(&bytes(b"A", &[]), 0);
        for len in [51, 51, 51, 51, last, last, 1] {
            record.read(&part(1, &vec![b'x'; len]));
        }
        record.finish();
        assert_eq!(record.name(), "x".repeat(len).as_bytes());
        record.add_suffix(b"~2");
        let len = len.min(253);
        assert_eq!(
            record.name(),
            ["x".repeat(len), "~2".into()].concat().as_bytes()
        );
    }
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
        // Unknown flags, and bytes that are not a component.
        (vec![link(&[(0x10, b"a"), (0, b"b")])], "/b"),
        (vec![field(b"SL", b"\0\0\x01a\0\x05abc")], "a"),
        (vec![field(b"SL", b"\0\0\x01a\0")], "a"),
    ] {
        let fields: Vec<&[u8]> = fields.iter().map(Vec::as_slice).collect();
        let found = read(b"A", &fields).target().unwrap_or_default().to_vec();
        assert_eq!(found, target.as_bytes());
    }
    let mut record = DirRecord::new();
    record.parse(&bytes(b"A", &[]), 0);
    for _ in 0..20 {
        record.read(&link(&[(1, &[b'x'; 200])]));
    }
    record.read(&link(&[(1, &[b'x'; 95])]));
    assert_eq!(record.target(), Some(&[b'x'; 4095][..]));
    record.read(&link(&[(1, b"y")]));
    assert_eq!(record.target(), None);
}

#[test]
fn continuation_and_terminator_fields_are_obeyed() {
    let more = |block, offset, len| field(b"CE", &[both(block), both(offset), both(len)].concat());
    let record = read(b"A", &[&more(9, 100, 48)]);
    assert_eq!((record.more, record.malformed), ([9, 100, 48], false));
    let name = field(b"NM", b"\0name");
    assert_eq!(read(b"A", &[b"ST\x04\x01", &name]).name(), b"a");
    assert_eq!(read(b"A", &[b"XY\x00\x01", &name]).name(), b"a");
    assert_eq!(read(b"A", &[b"XY\x04\x01", &name, b"\0"]).name(), b"name");
    assert_eq!(read(b"A", &[&name[..name.len() - 1]]).name(), b"a");
    assert!(read(b"A", &[&field(b"ZF", b"pz")]).compressed);
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
    assert_eq!(record.name(), b"name");
    // The SP field is found at the start, and after the 14 bytes that CD-ROM XA puts before the fields.
    for gap in [0, 14] {
        let whole = bytes(b"\0", &[&[7; 14][..gap], &first].concat());
        assert!(record.parse(&whole, 14));
        assert_eq!(record.skip, 14);
    }
    assert!(record.parse(&whole, 255));
    record.finish();
    assert_eq!(record.name(), b"a");
}

#[test]
fn volume_descriptors_are_distinguished() {
    let mut sector = [0; SECTOR_BYTES as usize];
    assert_eq!(Descriptor::parse(&sector), Descriptor::Other);
    sector[1..6].copy_from_slice(b"CD001");
    assert_eq!(Descriptor::parse(&sector), Descriptor::Other);
    sector[158..162].copy_from_slice(&77_u32.to_le_bytes());
    sector[157] = 3;
    sector[80] = 99;
    let volume = |block_bits| Volume {
        root: 80,
        block_bits,
        block_count: 99,
    };
    for (size, bits) in [(512_u16, 9), (1024, 10), (2048, 11), (0, 0), (4096, 0)] {
        sector[128..130].copy_from_slice(&size.to_le_bytes());
        let primary = match bits {
            0 => Descriptor::Other,
            bits => Descriptor::Primary(volume(bits)),
        };
        let joliet = Descriptor::Joliet(volume(bits));
        let other = Descriptor::Other;
        for (kind, escape, expect) in [
            (1, b"\0\0\0", primary),
            (2, b"%/@", joliet),
            (2, b"%/C", joliet),
            (2, b"%/E", joliet),
            (2, b"%/G", other),
            (2, b"\0\0\0", other),
            (3, b"%/E", other),
            (255, b"%/E", Descriptor::End),
        ] {
            sector[0] = kind;
            sector[88..91].copy_from_slice(escape);
            assert_eq!(Descriptor::parse(&sector), expect);
        }
    }
    let mut sierra = [0; SECTOR_BYTES as usize];
    sierra[8..14].copy_from_slice(b"\x01CDROM");
    assert_eq!(Descriptor::parse(&sierra), Descriptor::Other);
    sierra[136..138].copy_from_slice(&2048_u16.to_le_bytes());
    sierra[88] = 99;
    sierra[181..186].copy_from_slice(&sector[157..162]);
    assert_eq!(
        Descriptor::parse(&sierra),
        Descriptor::HighSierra(volume(11))
    );
    sierra[8] = 255;
    assert_eq!(Descriptor::parse(&sierra), Descriptor::Other);
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
        let names = b"NMSLTFPXCECLPLRESPSTERZF";
        let at = usize::from(bytes[90]) % 12 * 2;
        let place = 33 + usize::from(bytes[32] | 1);
        bytes[place..place + 2].copy_from_slice(&names[at..at + 2]);
        bytes[place + 2] %= 60;
        let skip = match bytes[91] % 5 {
            3 => JOLIET,
            4 => HIGH_SIERRA,
            skip => skip.into(),
        };
        if record.parse(&bytes, skip) {
            record.finish();
        }
    }
}
