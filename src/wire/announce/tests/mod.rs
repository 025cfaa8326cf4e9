//! Tests of the parsers of services to announce.

use super::*;

mod avahi;
mod line;
mod unit;

/// A parser of service descriptions.
type Parse = fn(&[u8], &mut Draft<'_>, &mut dyn FnMut(&Service<'_>)) -> Result<(), FileError>;

/// Parses a unit without drop-ins.
fn parse_unit(
    file: &[u8],
    draft: &mut Draft<'_>,
    each: &mut dyn FnMut(&Service<'_>),
) -> Result<(), FileError> {
    draft.forget();
    match super::parse_unit(file, draft) {
        Err(FileError {
            flaw: Flaw::Unknown,
            ..
        }) => {}
        done => done?,
    }
    draft
        .hand_out(each)
        .map_err(|flaw| FileError { line: 0, flaw })
}

/// Parses a file. Returns each service as one line, or the error and its line.
fn read(parse: Parse, file: &(impl AsRef<[u8]> + ?Sized)) -> Result<Vec<String>, (u32, Flaw)> {
    let mut buffer = [0xaa; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    // Values from an earlier file must not remain.
    draft.put(Part::Name, b"before").unwrap();
    draft.put(Part::Txt, b"before=1").unwrap();
    draft.put(Part::Host, b"before.local").unwrap();
    let mut lines = Vec::new();
    parse(file.as_ref(), &mut draft, &mut |service| {
        lines.push(written(service))
    })
    .map_err(|wrong| (wrong.line, wrong.flaw))?;
    Ok(lines)
}

/// A service as one line: name, type, port and all further parts.
fn written(service: &Service<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "<host>");
    let mut line = format!(
        "{},{},{}",
        text(service.name),
        text(service.kind),
        service.port
    );
    for (mark, mut rest) in [('/', service.subtypes), (',', service.txt)] {
        while let [len, tail @ ..] = rest {
            let (string, tail) = tail.split_at(usize::from(*len));
            line.push(mark);
            line.push_str(&string.escape_ascii().to_string());
            rest = tail;
        }
    }
    if let Some(host) = service.host {
        line.push_str(&format!(" at {}", text(host)));
    }
    if !service.interface.is_empty() {
        line.push_str(&format!(" on {}", text(service.interface)));
    }
    if (service.priority, service.weight) != (0, 0) {
        line.push_str(&format!(" {}:{}", service.priority, service.weight));
    }
    line
}

/// Every prefix of a valid file is parsed or refused, and yields no more services than the whole file.
fn check_prefixes(parse: Parse, file: &[u8]) {
    let whole = read(parse, file).unwrap();
    for len in 0..file.len() {
        if let Ok(lines) = read(parse, &file[..len]) {
            assert!(lines.len() <= whole.len(), "{len}");
        }
    }
}

/// Replaces each byte of the file by several others, one at a time. The parser must not panic.
fn check_mutations(parse: Parse, file: &[u8]) {
    let mut changed = file.to_vec();
    for at in 0..file.len() {
        for byte in [0, b'\n', b'"', b'<', b'\\', b'%', b'&', b'=', 0x80, 0xff] {
            changed[at] = byte;
            let _ = read(parse, &changed);
        }
        changed[at] = file[at];
    }
}

#[test]
fn service_types_are_validated() {
    for good in [
        "_http._tcp",
        "_a._udp",
        "_sftp-ssh._tcp",
        "_1password4._tcp",
        "_androidtvremote2._tcp",
        "_HTTP._TCP",
        // Types that are in use, though RFC 6335 forbids them; avahi accepts all of them.
        "_80._tcp",
        "_1-2._tcp",
        "_my_type._tcp",
        "_ht--tp._tcp",
        &format!("_{}._tcp", "x".repeat(62)),
    ] {
        assert!(is_kind(good.as_bytes()), "{good}");
    }
    for bad in [
        "",
        "http",
        "_http",
        "_tcp",
        "._tcp",
        "_._tcp",
        "http._tcp",
        "_http._sctp",
        "_http_tcp",
        "_http._tcp.local",
        "_a.b._tcp",
        "_h ttp._tcp",
        "_häuser._tcp",
        &format!("_{}._tcp", "x".repeat(63)),
    ] {
        assert!(!is_kind(bad.as_bytes()), "{bad}");
    }
}

/// RFC 6763 section 4.1.1: "It MUST NOT contain ASCII control characters".
/// RFC 6763 section 6.4: "The key MUST be at least one character".
#[test]
fn parts_are_validated_when_added() {
    let check = |part, bytes: &[u8], expect: Result<(), Flaw>| {
        let mut buffer = [0; ROOM_BYTES];
        let mut draft = Draft::new(&mut buffer);
        draft.put(Part::Kind, b"_http._tcp").unwrap();
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(draft.put(part, bytes), expect, "{part:?} {text}");
    };
    for name in [
        &[b'n'; 63][..],
        "Büro".as_bytes(),
        b"a.b\\c",
        b"\0",
        b"on \0",
    ] {
        check(Part::Name, name, Ok(()));
    }
    for name in [&[b'n'; 64][..], b"", b"a\nb", b"\xff", b"\xc2\x85"] {
        check(Part::Name, name, Err(Flaw::Name));
    }
    check(Part::Subtype, b"_printer", Ok(()));
    check(Part::Subtype, b"_printer._sub._http._tcp", Ok(()));
    check(Part::Subtype, b"_printer._sub._http._tcp.", Ok(()));
    check(Part::Kind, b"_http._tcp.", Ok(()));
    check(Part::Kind, b"_http._tcp..", Err(Flaw::Kind));
    check(Part::Subtype, &[b's'; 63], Ok(()));
    for subtype in [
        &b""[..],
        &[b's'; 64],
        b"a.b",
        b"_printer._sub._ftp._tcp",
        b"a\tb",
    ] {
        check(Part::Subtype, subtype, Err(Flaw::Subtype));
    }
    for host in ["a", "nas.local", "nas.local.", "a.b.example.com"] {
        check(Part::Host, host.as_bytes(), Ok(()));
    }
    let long = "a.".repeat(127) + "a";
    for host in ["", ".", "a..b", ".a", "a..", "a\n", &long, &"x".repeat(64)] {
        check(Part::Host, host.as_bytes(), Err(Flaw::Host));
    }
    // `.local` is appended to a single label, if there is room.
    let mut buffer = [0; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    for (host, expect) in [
        ("other", "other.local"),
        ("other.", "other.local"),
        ("other.local", "other.local"),
        ("other.example.org.", "other.example.org"),
    ] {
        for (part, bytes) in [
            (Part::Name, "n"),
            (Part::Kind, "_x._tcp"),
            (Part::Host, host),
        ] {
            draft.put(part, bytes.as_bytes()).unwrap();
        }
        let mut seen = None;
        draft
            .hand_out(&mut |service| seen = service.host.map(<[u8]>::to_vec))
            .unwrap();
        assert_eq!(seen.as_deref(), Some(expect.as_bytes()), "{host}");
    }
    check(Part::Domain, b"local", Ok(()));
    check(Part::Domain, b"example.com", Err(Flaw::Domain));
    for number in ["0", "80", "65535", "00080"] {
        check(Part::Port, number.as_bytes(), Ok(()));
    }
    for number in [
        "",
        "65536",
        "-1",
        "+1",
        "8 0",
        "http",
        "99999999999999999999",
    ] {
        for part in [Part::Port, Part::Priority, Part::Weight] {
            check(part, number.as_bytes(), Err(Flaw::Number));
        }
    }
    let string = |len: usize| [&b"k="[..], &vec![0xff; len - 2]].concat();
    for good in [&b"k"[..], b"k=", b"a b=c=d", b"~=\0\x01", &string(255)] {
        check(Part::Txt, good, Ok(()));
    }
    check(Part::Txt, &string(256), Err(Flaw::String));
    for bad in [&b""[..], b"=", b"=v", b"\xc3\xa4=v", b"a\tb=v", b"\0"] {
        check(Part::Txt, bad, Err(Flaw::Key));
    }
}

/// CVE-2023-38469: "A " repeated 100,000 times, as separate strings and as one string.
#[test]
fn txt_beyond_the_buffer_is_refused() {
    let many = "n,_x._tcp,1".to_owned() + &",A ".repeat(100_000);
    let one = format!("n,_x._tcp,1,{}", "A ".repeat(100_000));
    for (line, flaw) in [(many, Flaw::Strings), (one, Flaw::String)] {
        let mut buffer = [0; ROOM_BYTES];
        let mut draft = Draft::new(&mut buffer);
        let told = parse_line(line.as_bytes(), &mut draft, &mut |_| {
            panic!("it is announced")
        });
        assert_eq!(told, Err(flaw));
    }
}

/// Fails unless the draft takes exactly the names that are to be valid as this part.
fn expect_valid(part: Part, names: &[(&str, bool)]) {
    let mut buffer = [0; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    for (name, expect) in names {
        assert_eq!(
            draft.put(part, name.as_bytes()).is_ok(),
            *expect,
            "{name:?}"
        );
    }
}

/// CVE-2021-3502, CVE-2023-38471: host names with empty labels, escaped dots and backslashes.
#[test]
fn host_names_are_parsed_by_label() {
    let valid = ["a", "a.b", "a."].map(|name| (name, true));
    let others = ["a..", ".a", "a..b", ".b.c", "a.b..", ".", "a\n.b"].map(|name| (name, false));
    expect_valid(Part::Host, &[&valid[..], &others].concat());
}

/// python-zeroconf #1747: `.LOCAL` is the same domain.
#[test]
fn domain_local_matches_in_any_case() {
    let valid = ["local", "local.", "LOCAL.", "Local"].map(|domain| (domain, true));
    let others = ["", ".", "local..", "localhost", "example.org"].map(|domain| (domain, false));
    expect_valid(Part::Domain, &[&valid[..], &others].concat());
}

#[test]
fn txt_strings_fit_one_packet() {
    let mut buffer = [0; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    draft.put(Part::Name, b"n").unwrap();
    draft.put(Part::Kind, b"_http._tcp").unwrap();
    // The two strings have 260 bytes with their lengths; five pairs are 1,300.
    for _ in 0..5 {
        draft.put(Part::Txt, &[b'k'; 255]).unwrap();
        draft.put(Part::Txt, b"key").unwrap();
    }
    assert_eq!(draft.put(Part::Txt, b"k"), Err(Flaw::Strings));
    let check = |service: &Service<'_>| assert_eq!(service.txt.len(), TXT_BYTES_MAX);
    assert_eq!(draft.hand_out(&mut { check }), Ok(()));
    for _ in 0..8 {
        draft.put(Part::Subtype, &[b's'; 63]).unwrap();
    }
    assert_eq!(draft.put(Part::Subtype, b"s"), Err(Flaw::Long));
    let check = |service: &Service<'_>| assert_eq!(service.subtypes.len(), SUBTYPES_BYTES_MAX);
    assert_eq!(draft.hand_out(&mut { check }), Ok(()));
}

#[test]
fn service_needs_name_and_type() {
    let mut buffer = [0; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    let mut count = 0;
    let mut check = |draft: &Draft<'_>, expect| {
        assert_eq!(draft.hand_out(&mut |_| count += 1), expect);
    };
    check(&draft, Err(Flaw::Name));
    draft.put(Part::Name, b"n").unwrap();
    check(&draft, Err(Flaw::Kind));
    draft.put(Part::Kind, b"_http._tcp").unwrap();
    check(&draft, Ok(()));
    draft.put(Part::Kind, b"http").unwrap_err();
    check(&draft, Err(Flaw::Kind));
    assert_eq!(count, 1);
}

#[test]
fn host_name_replaces_its_placeholder() {
    let check = |name: &[u8], host: &str, expect: &str| {
        let mut buffer = [0; ROOM_BYTES];
        let mut draft = Draft::new(&mut buffer);
        draft.put(Part::Name, name).unwrap();
        draft.put(Part::Kind, b"_http._tcp").unwrap();
        let mut buffer = [0xaa; label::BYTES_MAX];
        let mut shown = Vec::new();
        let done = draft.hand_out(&mut |service| {
            shown.extend_from_slice(service.name_on(host.as_bytes(), &mut buffer));
        });
        assert_eq!((done, &shown[..]), (Ok(()), expect.as_bytes()));
    };
    check(b"plain", "nas", "plain");
    check(b"\0", "nas", "nas");
    check(b"Files on \0", "nas", "Files on nas");
    check(b"\0-\0!", "nas", "nas-nas!");
    check(b"\0\0", "", "");
    check(b"a\0b", "", "ab");
    let (long, cut) = ("ä".repeat(31), "ä".repeat(30));
    check(b"\0", &long, &long);
    check(b"ab\0", &long, &format!("ab{cut}"));
    check(b"ab\0b", &long, &format!("ab{cut}"));
    check(b"a\0\0", &"x".repeat(63), &format!("a{}", "x".repeat(62)));
}

#[test]
fn hexadecimal_and_base64_values_are_decoded() {
    let check = |coding, text: &[u8], expect: Result<&[u8], Flaw>| {
        let mut buffer = [0; ROOM_BYTES];
        let mut draft = Draft::new(&mut buffer);
        let done = draft.put_coded(text, coding);
        let shown = String::from_utf8_lossy(text);
        assert_eq!(done.map(|()| draft.parts[TXT].since(1)), expect, "{shown}");
    };
    for (text, expect) in [
        (&b"k=68656C6c6f"[..], Ok(&b"k=hello"[..])),
        (b"k=00 ff\n01", Ok(b"k=\x00\xff\x01")),
        (b"k=", Ok(b"k=")),
        (b"k", Ok(b"k")),
        (b"k=6", Err(Flaw::Digits)),
        (b"k=6g", Err(Flaw::Digits)),
        (b"k=6=", Err(Flaw::Digits)),
        (b"=66", Err(Flaw::Key)),
    ] {
        check(Coding::Hex, text, expect);
    }
    for (text, expect) in [
        (&b"k=aGVsbG8="[..], Ok(&b"k=hello"[..])),
        (b"k=aGVsbG8", Ok(b"k=hello")),
        (b"k=aGVs\n  bG8h", Ok(b"k=hello!")),
        (b"k=+/+/", Ok(b"k=\xfb\xff\xbf")),
        (b"k=AA==", Ok(b"k=\0")),
        (b"k", Ok(b"k")),
        (b"k=A", Err(Flaw::Digits)),
        (b"k=AAAAA", Err(Flaw::Digits)),
        (b"k=AA=A", Err(Flaw::Digits)),
        (b"k=A-_A", Err(Flaw::Digits)),
    ] {
        check(Coding::Base64, text, expect);
    }
    let coded = |len| [&b"k="[..], &b"00".repeat(len)].concat();
    let plain = [&b"k="[..], &[0; 253]].concat();
    check(Coding::Hex, &coded(253), Ok(&plain));
    check(Coding::Hex, &coded(254), Err(Flaw::String));
    check(Coding::Hex, &coded(500), Err(Flaw::String));
}
