//! Service files of avahi (XML).

use super::*;

/// The sample file that avahi ships.
const SSH: &str = r#"<?xml version="1.0" standalone='no'?><!--*-nxml-*-->
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">

<!--
  This file is part of avahi.
-->

<!-- See avahi.service(5) for more information about this configuration file -->

<service-group>

  <name replace-wildcards="yes">%h</name>

  <service>
    <type>_ssh._tcp</type>
    <port>22</port>
  </service>

</service-group>
"#;

/// A file with every element and XML feature.
const ALL: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE service-group PUBLIC '>[' "[>">
<service-group>
  <name replace-wildcards = 'no' >100%h &amp; B&#252;ro &#x1F600;</name>
  <service protocol="ipv6">
    <type> _printer._tcp </type>
    <subtype>_a4._sub._printer._tcp</subtype>
    <subtype>_color</subtype>
    <domain-name>local</domain-name>
    <host-name>other.local</host-name>
    <port>515</port>
    <txt-record>key=a&lt;b&gt;&apos;&quot;<!-- none --> <![CDATA[<&>]]></txt-record>
    <txt-record value-format="text">flag</txt-record>
    <txt-record value-format="binary-hex">h=00fF</txt-record>
    <txt-record value-format="binary-base64">b=AP8=</txt-record>
  </service>
  <service protocol="ipv4"><type>_http._tcp</type></service>
  <service protocol="any"><?other?><type>_ipp._tcp</type><port>631</port></service >
</service-group>
<!-- the end -->
"#;

fn group(inside: &str) -> String {
    format!("<service-group>\n<name>n</name>\n{inside}</service-group>")
}

fn service(inside: &str) -> String {
    group(&format!(
        "<service>\n<type>_http._tcp</type>\n{inside}</service>"
    ))
}

#[test]
fn avahi_sample_file_is_parsed() {
    let expect = vec!["<host>,_ssh._tcp,22".to_owned()];
    assert_eq!(read(parse_avahi, SSH), Ok(expect.clone()));
    let dos = SSH.replace('\n', "\r\n");
    assert_eq!(read(parse_avahi, &dos), Ok(expect.clone()));
    let marked = format!("\u{feff}{SSH}");
    assert_eq!(read(parse_avahi, &marked), Ok(expect));
}

#[test]
fn file_with_every_element_is_parsed() {
    let name = "100%h & Büro 😀";
    let expect = vec![
        format!(
            r#"{name},_printer._tcp,515/_a4/_color,key=a<b>\'\" <&>,flag,h=\x00\xff,b=\x00\xff at other.local"#
        ),
        format!("{name},_http._tcp,0"),
        format!("{name},_ipp._tcp,631"),
    ];
    assert_eq!(read(parse_avahi, ALL), Ok(expect));
}

#[test]
fn prefixes_and_mutations_are_parsed_or_refused() {
    check_prefixes(parse_avahi, ALL.as_bytes());
    check_mutations(parse_avahi, ALL.as_bytes());
    check_mutations(parse_avahi, SSH.as_bytes());
    // Only the text after the last element may be missing.
    let end = ALL.find("</service-group>").unwrap() + "</service-group>".len();
    for len in 0..ALL.len() {
        let is_whole = len == end || len == end + 1 || len == ALL.len() - 1;
        let done = read(parse_avahi, &ALL.as_bytes()[..len]);
        assert_eq!(done.is_ok(), is_whole, "{len}");
    }
}

#[test]
fn errors_have_line_and_reason() {
    for (inside, line, flaw) in [
        ("<port>80</port>\n<port>x</port>", 6, Flaw::Number),
        ("<txt-record>=v</txt-record>", 5, Flaw::Key),
        ("<txt-record>k=&nbsp;</txt-record>", 5, Flaw::Entity),
        ("<txt-record>k=\n\n&a\n;</txt-record>", 7, Flaw::Entity),
        ("<txt-record>k=&#0;</txt-record>", 5, Flaw::Entity),
        ("<txt-record>k=&#xD800;</txt-record>", 5, Flaw::Entity),
        ("<txt-record>k=&#x110000;</txt-record>", 5, Flaw::Entity),
        ("<txt-record>k=&#99999999999;</txt-record>", 5, Flaw::Entity),
        ("<txt-record>k=&#;</txt-record>", 5, Flaw::Entity),
        ("<txt-record>k=\x01</txt-record>", 5, Flaw::Form),
        (
            "<txt-record value-format='base64'>k=</txt-record>",
            5,
            Flaw::Unknown,
        ),
        ("<txt-record value='text'>k=</txt-record>", 5, Flaw::Unknown),
        (
            "<txt-record value-format=text>k=</txt-record>",
            5,
            Flaw::Form,
        ),
        ("<txt-record value-format>k=</txt-record>", 5, Flaw::Form),
        ("<port a='b'>80</port>", 5, Flaw::Unknown),
        ("<txt-record><port>80</port></txt-record>", 5, Flaw::Form),
        ("<subtype>_x._sub._ftp._tcp</subtype>", 5, Flaw::Subtype),
        ("<domain-name>example.com</domain-name>", 5, Flaw::Domain),
        ("<host-name>..</host-name>", 5, Flaw::Host),
        ("<type>http</type>", 5, Flaw::Kind),
        ("<colour>red</colour>", 5, Flaw::Unknown),
        ("text", 5, Flaw::Form),
        ("&amp;", 5, Flaw::Entity),
        ("<![CDATA[x]]>", 5, Flaw::Form),
        ("<port>80</type>", 5, Flaw::Form),
        ("<port>80</port", 5, Flaw::Form),
        ("<port/>", 5, Flaw::Number),
        ("<service>", 5, Flaw::Form),
        ("<!DOCTYPE a>", 5, Flaw::Form),
        ("<!-- ", 5, Flaw::Form),
        ("<![CDATA[ ", 5, Flaw::Form),
        ("<? ", 5, Flaw::Form),
        ("<", 5, Flaw::Unknown),
    ] {
        let file = service(inside);
        assert_eq!(read(parse_avahi, &file), Err((line, flaw)), "{inside}");
    }
    for (file, line, flaw) in [
        ("", 1, Flaw::Form),
        (" \n ", 2, Flaw::Form),
        ("text", 1, Flaw::Form),
        ("<service/>", 1, Flaw::Form),
        (
            "<service-group>\n<service><type>_http._tcp</type></service>\n</service-group>",
            3,
            Flaw::Name,
        ),
        ("<service-group><name/></service-group>", 1, Flaw::Name),
        ("<service-group/><service-group/>", 1, Flaw::Form),
        ("<service-group/>\n<!DOCTYPE a>", 2, Flaw::Form),
        ("<service-group/>\ntext", 2, Flaw::Form),
        (
            "<!DOCTYPE service-group [\n<!ENTITY a 'b'>]>",
            1,
            Flaw::Declarations,
        ),
        ("<!DOCTYPE service-group SYSTEM 'a", 1, Flaw::Form),
        (&group("<service/>"), 3, Flaw::Kind),
        (&group("<service protocol='ipx'/>"), 3, Flaw::Unknown),
        (
            &group("<name replace-wildcards='true'>n</name>"),
            3,
            Flaw::Unknown,
        ),
    ] {
        assert_eq!(read(parse_avahi, &file), Err((line, flaw)), "{file}");
    }
}

/// avahi accepts elements in any order; so does its DTD for those of a service.
#[test]
fn elements_may_come_in_any_order() {
    let expect = Ok(vec!["n,_http._tcp,80/_a/_b,k=v".to_owned()]);
    let parts = [
        "<subtype>_a._sub._http._tcp</subtype>",
        "<subtype>_b</subtype>",
        "<txt-record>k=v</txt-record>",
        "<port>80</port>",
        "<type>_http._tcp</type>",
    ];
    for turn in 0..4 {
        let mut parts = parts;
        // Type, port and TXT come before, between and after the subtypes, which keep their order.
        parts.rotate_right(turn);
        let inside = parts.concat();
        let service = format!("<service>{inside}</service>");
        for file in [
            format!("<service-group><name>n</name>{service}</service-group>"),
            format!("<service-group>{service}<name>n</name></service-group>"),
        ] {
            assert_eq!(read(parse_avahi, &file), expect, "{file}");
        }
    }
    for (inside, flaw) in [
        ("<subtype>_a._sub._http._tcp</subtype>", Flaw::Kind),
        (
            "<subtype>_a._sub.http</subtype><type>_http._tcp</type>",
            Flaw::Subtype,
        ),
        (
            "<subtype>_a._sub._ftp._tcp</subtype><type>_http._tcp</type>",
            Flaw::Subtype,
        ),
    ] {
        let file =
            format!("<service-group><name>n</name><service>{inside}</service></service-group>");
        assert_eq!(read(parse_avahi, &file), Err((1, flaw)), "{inside}");
    }
}

#[test]
fn services_of_one_file_are_independent() {
    let twice = group(
        "<service protocol='ipv4'><type>_a._tcp</type><subtype>s</subtype><host-name>h</host-name>\
        <port>1</port><txt-record>k</txt-record></service><service><type>_b._tcp</type></service>",
    );
    let expect = ["n,_a._tcp,1/s,k at h.local", "n,_b._tcp,0"].map(str::to_owned);
    assert_eq!(read(parse_avahi, &twice), Ok(expect.to_vec()));
}

#[test]
fn element_sizes_and_counts_are_limited() {
    let deep = "<service-group>".repeat(10_000);
    assert_eq!(read(parse_avahi, &deep), Err((1, Flaw::Form)));
    let long = service(&format!(
        "<txt-record>k={}</txt-record>",
        "x".repeat(60_000)
    ));
    assert_eq!(read(parse_avahi, &long), Err((5, Flaw::Long)));
    let many = service(&"<txt-record>k=0123456789</txt-record>\n".repeat(1000));
    let done = read(parse_avahi, &many);
    assert_eq!(done, Err((5 + 100, Flaw::Strings)));
    let ampersands = service(&"&".repeat(60_000));
    assert_eq!(read(parse_avahi, &ampersands), Err((5, Flaw::Form)));
    let comments = group(&"<!-- -- -->".repeat(5000));
    assert_eq!(read(parse_avahi, &comments), Ok(vec![]));
    let services = group(&"<service><type>_a._tcp</type></service>".repeat(1500));
    assert_eq!(read(parse_avahi, &services).unwrap().len(), 1500);
}

/// As expat, which avahi uses. Without the declaration, the bytes are no UTF-8.
#[test]
fn declared_latin_1_is_converted() {
    let text = b"<service-group><name>B\xfcro</name><service><type>_a._tcp</type>\
        <txt-record>k=\xe4</txt-record></service></service-group>";
    for (declaration, expect) in [
        (
            "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?>",
            Ok(vec![
                r"B\u{fc}ro,_a._tcp,0,k=\xc3\xa4".replace(r"\u{fc}", "ü"),
            ]),
        ),
        (
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n",
            Err((2, Flaw::Name)),
        ),
        ("", Err((1, Flaw::Name))),
    ] {
        let file = [declaration.as_bytes(), text].concat();
        assert_eq!(read(parse_avahi, &file), expect, "{declaration}");
    }
}

/// avahi #694: the attribute `interface` of a group or of a service.
#[test]
fn interface_of_group_and_service_is_parsed() {
    let service = |attribute: &str| format!("<service{attribute}><type>_a._tcp</type></service>");
    let file = |attribute: &str| {
        let services = [" protocol='ipv4' interface='eth1'", "", " interface = ''"].map(service);
        let all = services.concat();
        format!("<service-group{attribute}><name>n</name>{all}</service-group>")
    };
    let expect = ["n,_a._tcp,0 on eth1", "n,_a._tcp,0", "n,_a._tcp,0"].map(str::to_owned);
    assert_eq!(read(parse_avahi, &file("")), Ok(expect.to_vec()));
    let expect = ["n,_a._tcp,0 on eth1", "n,_a._tcp,0 on br0", "n,_a._tcp,0"].map(str::to_owned);
    let file = file(" interface=\"br0\"");
    assert_eq!(read(parse_avahi, &file), Ok(expect.to_vec()));
    let long = file.replace("br0", &"x".repeat(16));
    assert_eq!(read(parse_avahi, &long), Err((1, Flaw::Long)));
    let other = file.replace("interface", "interfaces");
    assert_eq!(read(parse_avahi, &other), Err((1, Flaw::Form)));
}

/// avahi.service(5): the attribute `protocol` of a service.
#[test]
fn protocol_of_a_service_chooses_its_families() {
    let service = |attribute: &str| format!("<service{attribute}><type>_a._tcp</type></service>");
    let attributes = [
        " protocol='ipv4'",
        " protocol='ipv6'",
        " protocol='any'",
        "",
    ];
    let all = attributes.map(service).concat();
    let file =
        format!("<service-group><name replace-wildcards='yes'>n</name>{all}</service-group>");
    let (mut buffer, mut families) = ([0; ROOM_BYTES], Vec::new());
    let mut draft = Draft::new(&mut buffer);
    let parsed = parse_avahi(file.as_bytes(), &mut draft, &mut |service| {
        families.push(service.families);
    });
    assert!(parsed.is_ok());
    assert_eq!(families, [1, 2, ANY_FAMILY, ANY_FAMILY]);
}
