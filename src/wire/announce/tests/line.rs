//! Services in the form of the command line.

use super::*;

fn read(text: &[u8]) -> Result<String, Flaw> {
    let mut buffer = [0xaa; ROOM_BYTES];
    let mut draft = Draft::new(&mut buffer);
    draft.put(Part::Txt, b"before=1").unwrap();
    let mut line = String::new();
    parse_line(text, &mut draft, &mut |service| line = written(service))?;
    Ok(line)
}

#[test]
fn service_line_has_name_type_port_and_strings() {
    for text in [
        "Web,_http._tcp,80",
        "Web,_http._tcp,80,path=/,flag,empty=",
        "100% of %h,_http._tcp,0",
        "Büro im 1. Stock,_ipp._tcp,631",
    ] {
        assert_eq!(read(text.as_bytes()).as_deref(), Ok(text));
    }
    let text = b"Web,_http._tcp,80,a=1,interface=eth1,b=2";
    let expect = "Web,_http._tcp,80,a=1,b=2 on eth1";
    assert_eq!(read(text).as_deref(), Ok(expect));
    let escaped = br"a\,b\\c,_http._tcp,1,k=x\,y\\";
    assert_eq!(read(escaped).as_deref(), Ok(r"a,b\c,_http._tcp,1,k=x,y\\"));
}

#[test]
fn invalid_line_has_its_reason() {
    for (text, flaw) in [
        ("", Flaw::Name),
        ("Web", Flaw::Kind),
        ("Web,_http._tcp", Flaw::Number),
        ("Web,_http._tcp,", Flaw::Number),
        ("Web,_http._tcp,http", Flaw::Number),
        ("Web,http,80", Flaw::Kind),
        ("Web,_http._sctp,80", Flaw::Kind),
        (",_http._tcp,80", Flaw::Name),
        ("Web,_http._tcp,80,", Flaw::Key),
        ("Web,_http._tcp,80,=v", Flaw::Key),
        ("Web,_http._tcp,80,k,,k2", Flaw::Key),
        (r"Web\n,_http._tcp,80", Flaw::Escape),
        (r"Web,_http._tcp,80,k=\", Flaw::Escape),
        ("W\neb,_http._tcp,80", Flaw::Name),
        ("Web,_http._tcp,80,interface=abcdefghijklmnop", Flaw::Long),
    ] {
        assert_eq!(read(text.as_bytes()), Err(flaw), "{text}");
    }
    let with = |name: usize, string: usize| {
        format!("{},_http._tcp,80,{}", "n".repeat(name), "k".repeat(string))
    };
    assert!(read(with(63, 255).as_bytes()).is_ok());
    for name in [64, 255, 256, 5000] {
        assert_eq!(read(with(name, 9).as_bytes()), Err(Flaw::Name), "{name}");
    }
    for string in [256, 257, 5000] {
        let text = with(9, string);
        assert_eq!(read(text.as_bytes()), Err(Flaw::String), "{string}");
    }
    let many = format!("n,_http._tcp,80{}", ",k=0123456789".repeat(200));
    assert_eq!(read(many.as_bytes()), Err(Flaw::Strings));
    assert_eq!(read(b"W\0eb,_http._tcp,80"), Err(Flaw::Name));
}
