//! Units of systemd-resolved (systemd.dnssd).

use super::*;

/// The example of systemd.dnssd(5), extended by every other setting.
const ALL: &str = r#"# A comment
; and another
[Unit]
Description=not ours \
  at all
[Service]
Name=%H's 100%% server
Type=_http._tcp
SubType=_printer
Port = 80
Priority=1
Weight=65535
TxtText=path=/stats/index.html t=temperature_sensor \
        # in between
        "note=a b" 'x'=y flag \x6bey=\141\s\"\n
TxtData=bin=AP8= more=aGVsbG8=
[X-Other]
Anything=\
"#;

fn unit(inside: &str) -> String {
    format!("[Service]\nName=n\nType=_http._tcp\n{inside}")
}

#[test]
fn file_with_every_element_is_parsed() {
    let expect = vec![
        r#"<host>'s 100% server,_http._tcp,80/_printer,path=/stats/index.html,t=temperature_sensor,note=a b,x=y,flag,key=a \"\n,bin=\x00\xff,more=hello 1:65535"#
            .to_owned(),
    ];
    assert_eq!(read(parse_unit, ALL), Ok(expect.clone()));
    let dos = ALL.replace('\n', "\r\n");
    assert_eq!(read(parse_unit, &dos), Ok(expect.clone()));
    let marked = format!("\u{feff}{ALL}");
    assert_eq!(read(parse_unit, &marked), Ok(expect));
}

#[test]
fn prefixes_and_mutations_are_parsed_or_refused() {
    check_prefixes(parse_unit, ALL.as_bytes());
    check_mutations(parse_unit, ALL.as_bytes());
}

#[test]
fn later_lines_append_replace_or_reset() {
    for (inside, expect) in [
        ("", "n,_http._tcp,0"),
        ("Port=1\nPort=2\nName=m", "m,_http._tcp,2"),
        (
            "TxtText=a=1 b\nTxtText=c\nTxtData=d=AA==",
            r"n,_http._tcp,0,a=1,b,c,d=\x00",
        ),
        ("TxtText=a\nTxtText=\nTxtText=b", "n,_http._tcp,0,b"),
        ("TxtText=a\nTxtData=", "n,_http._tcp,0"),
        ("TxtText= a\t b \n", "n,_http._tcp,0,a,b"),
        ("SubType=_a\nSubType=_b", "n,_http._tcp,0/_b"),
        ("SubType=_a\nSubType=", "n,_http._tcp,0"),
        ("Prot=80 \\\n Port=2\n=\nPort=1", "n,_http._tcp,1"),
        ("TxtText=a=\\\\\nPort=5", r"n,_http._tcp,5,a=\\"),
        ("Port=\\\n80\n", "n,_http._tcp,80"),
        ("Port=\\\n;no\n # no\n80\n", "n,_http._tcp,80"),
        ("TxtText=a=#b;c", "n,_http._tcp,0,a=#b;c"),
        (r"Name=a\b", r"a\b,_http._tcp,0"),
    ] {
        let done = read(parse_unit, &unit(inside));
        assert_eq!(done, Ok(vec![expect.to_owned()]), "{inside}");
    }
}

#[test]
fn errors_have_line_and_reason() {
    for (inside, line, flaw) in [
        ("Port=x", 4, Flaw::Number),
        ("\n\nPort=", 6, Flaw::Number),
        ("Port", 4, Flaw::Form),
        ("Name=%m", 4, Flaw::Specifier),
        ("Name=100%", 4, Flaw::Specifier),
        ("Name=", 4, Flaw::Name),
        ("Name=a\0b", 4, Flaw::Name),
        ("Type=http", 4, Flaw::Kind),
        ("SubType=a.b", 4, Flaw::Subtype),
        ("TxtText=a \\\n b \"c", 5, Flaw::Form),
        ("TxtText=a=\\q", 4, Flaw::Escape),
        ("TxtText=a=\\x4", 4, Flaw::Escape),
        ("TxtText=a=\\x00", 4, Flaw::Escape),
        ("TxtText=a=\\777", 4, Flaw::Escape),
        ("TxtText=a=\\08", 4, Flaw::Escape),
        ("TxtText==b", 4, Flaw::Key),
        ("TxtData=a=A", 4, Flaw::Digits),
    ] {
        let file = unit(inside) + "\nWeight=1\n";
        assert_eq!(read(parse_unit, &file), Err((line, flaw)), "{inside}");
    }
    for (file, line, flaw) in [
        ("", 0, Flaw::Name),
        ("[Service]\nType=_http._tcp\n", 0, Flaw::Name),
        ("[Service]\nName=n\n", 0, Flaw::Kind),
        ("[Other]\nName=n\nType=_http._tcp\n", 0, Flaw::Name),
        ("<service-group/>", 1, Flaw::Form),
    ] {
        assert_eq!(read(parse_unit, &file), Err((line, flaw)), "{file}");
    }
}

#[test]
fn element_sizes_and_counts_are_limited() {
    for (inside, flaw) in [
        (format!("Name={}", "n".repeat(60_000)), Flaw::Long),
        (format!("Name={}", "n".repeat(64)), Flaw::Name),
        (format!("TxtText={}", "k".repeat(60_000)), Flaw::Long),
        (format!("TxtText={}", "k".repeat(256)), Flaw::String),
        (format!("TxtText={}", "k ".repeat(5000)), Flaw::Strings),
        (format!("TxtText={}", "k=0 ".repeat(5000)), Flaw::Strings),
    ] {
        let done = read(parse_unit, &unit(&inside));
        assert_eq!(done, Err((4, flaw)), "{flaw:?}");
    }
    // Each continuation line counts as one blank.
    let goes_on = unit(&format!("Port={}80", "\\\n#\n".repeat(10_000)));
    let done = read(parse_unit, &goes_on);
    assert_eq!(done, Err((20_004, Flaw::Long)));
}

/// systemd.dnssd(5): drop-ins are parsed after the unit. Their values replace or extend those of the unit.
#[test]
fn drop_ins_change_the_unit() {
    let mut buffer = [0; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    for (file, unknown) in [
        (unit("Port=80\nTxtText=a=1\nSubType=_a\n"), None),
        (
            "[Unit]\nPort=1\n[Service]\nPort=8080\nColour=red\nShape=round\nPriority=1".to_owned(),
            Some(5),
        ),
        ("[Service]\nSubType=_b\nTxtText=b=2\n".to_owned(), None),
    ] {
        let done = super::super::parse_unit(file.as_bytes(), &mut draft);
        let flaw = Flaw::Unknown;
        assert_eq!(done.err(), unknown.map(|line| FileError { line, flaw }));
    }
    let mut line = String::new();
    draft
        .hand_out(&mut |service| line = written(service))
        .unwrap();
    assert_eq!(line, "n,_http._tcp,8080/_b,a=1,b=2 1:0");
}
