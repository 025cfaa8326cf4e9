//! Tests of the parser of exports(5), with the examples of its man page.

use super::*;

/// Returns each entry as `PATH CLIENT OPTIONS`, or the position and fault of the first malformed word.
fn read(text: &str) -> Result<Vec<String>, (u32, u32, Flaw)> {
    let mut entries = Vec::new();
    let mut parsed = text.as_bytes().to_vec();
    let parsed = parse(&mut parsed, &mut Ignored::default(), &mut |entry| {
        entries.push(shown(entry));
        Ok(())
    });
    parsed.map_err(|Misplaced { line, column, flaw }| (line, column, flaw))?;
    Ok(entries)
}

fn shown(entry: &Entry<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let hosts = match entry.hosts {
        Hosts::Named(name) => text(name),
        Hosts::Everyone => "*".to_owned(),
        Hosts::Network { address, bits } => format!("{address}/{bits}"),
    };
    let rules = &entry.rules;
    let mut shown = format!("{} {hosts}", text(entry.path));
    for (is_set, name) in [
        (rules.has(Rules::WRITABLE), "rw"),
        (rules.has(Rules::ASYNC), "async"),
        (!rules.has(Rules::SECURE), "insecure"),
        (!rules.has(Rules::SQUASHES_ROOT), "no_root_squash"),
        (rules.has(Rules::SQUASHES_ALL), "all_squash"),
        (rules.has(Rules::ISOS), "isos"),
        (rules.has(Rules::NEEDS_MOUNT), "mp"),
    ] {
        if is_set {
            shown += " ";
            shown += name;
        }
    }
    if let Some(fsid) = rules.fsid {
        shown += &format!(" fsid={fsid}");
    }
    if rules.anonymous != Rules::DEFAULT.anonymous {
        shown += &format!(" anon={}:{}", rules.anonymous.0, rules.anonymous.1);
    }
    shown
}

#[test]
fn examples_of_exports_5_are_parsed() {
    let text = "\
# sample /etc/exports file
/               master(rw) trusty(rw,no_root_squash)
/projects       proj*.local.domain(rw)
/usr            *.local.domain(ro) @trusted(rw)
/home/joe       pc001(rw,all_squash,anonuid=150,anongid=100)
/pub            *(ro,insecure,all_squash)
/srv/www        -sync,rw server external(ro)
/foo            2001:db8:9:e54::/64(rw) 192.0.2.0/24(rw)
/build          buildhost[0-9].local.domain(rw)
/mask           192.0.2.0/255.255.255.128(rw)
/all
";
    let expect = [
        "/ master rw",
        "/ trusty rw no_root_squash",
        "/projects proj*.local.domain rw",
        "/usr *.local.domain",
        "/usr @trusted rw",
        "/home/joe pc001 rw all_squash anon=150:100",
        "/pub * insecure all_squash",
        "/srv/www server rw",
        "/srv/www external",
        "/foo 2001:db8:9:e54::/64 rw",
        "/foo ::ffff:192.0.2.0/120 rw",
        "/build buildhost[0-9].local.domain rw",
        "/mask ::ffff:192.0.2.0/121 rw",
        "/all *",
    ];
    assert_eq!(read(text).unwrap(), expect);
}

#[test]
fn quotes_escapes_and_continued_lines_are_read() {
    let text = "\"/a b\"  h(rw)\n/c\\040d \\\n  h(ro) \\\n\ti(rw) # comment\n/e\"\\040\"f#g h\n  \n\\\n/x -rw,insecure";
    let expect = [
        "/a b h rw",
        "/c d h",
        "/c d i rw",
        "/e f#g h",
        "/x * rw insecure",
    ];
    assert_eq!(read(text).unwrap(), expect);
}

/// Quotes keep blanks; brackets and commas within them still separate.
#[test]
fn client_words_may_be_quoted_whole() {
    let text = "/a \"h(rw)\" \"-rw\" i\"(ro, insecure)\" \"192.0.2.1\"(ro)\"\"\x0b\"j\"\x0c\n\x0c/b\x0bh\n";
    let expect = [
        "/a h rw",
        "/a i insecure",
        "/a ::ffff:192.0.2.1/128",
        "/a j rw",
        "/b h",
    ];
    assert_eq!(read(text).unwrap(), expect);
}

#[test]
fn mapped_addresses_are_those_of_ipv4() {
    let text = "/a ::ffff:192.0.2.1 ::ffff:192.0.2.0/120 ::ffff:0:0/96 ::ffff:0.0.0.0/32(mp=)";
    let expect = [
        "/a ::ffff:192.0.2.1/128",
        "/a ::ffff:192.0.2.0/120",
        "/a ::ffff:0.0.0.0/96",
        "/a ::ffff:0.0.0.0/32 mp",
    ];
    assert_eq!(read(text).unwrap(), expect);
}

#[test]
fn options_without_effect_are_collected() {
    let text =
        "/a h(wdelay,no_subtree_check,crossmnt,sync,hide,sec=sys,xprtsec=none) i(wdelay,acl)";
    let mut ignored = Ignored::default();
    parse(&mut text.as_bytes().to_vec(), &mut ignored, &mut |_| Ok(())).unwrap();
    let names: Vec<_> = ignored.names().collect();
    assert_eq!(names, [&b"wdelay"[..], b"crossmnt", b"acl"]);
}

#[test]
fn flaws_have_line_and_column() {
    for (text, line, column, flaw) in [
        ("srv *(ro)", 1, 1, Flaw::Path),
        ("\n  (ro)", 2, 3, Flaw::Path),
        ("/a *(rw,bogus)", 1, 9, Flaw::Option),
        ("/a *(rw", 1, 4, Flaw::List),
        ("/a *(rw, ro)", 1, 4, Flaw::List),
        ("/a *(rw)x", 1, 4, Flaw::List),
        ("/a *(anonuid=x)", 1, 6, Flaw::Value),
        ("/a *(anonuid=-1)", 1, 6, Flaw::Value),
        ("/a *(fsid)", 1, 6, Flaw::Value),
        ("/a *(sync=1)", 1, 6, Flaw::Value),
        ("/a *(sec=krb5)", 1, 6, Flaw::Security),
        ("/a *(sec=sys:krb5p)", 1, 6, Flaw::Security),
        ("/a *(rw,refer=/x@y)", 1, 9, Flaw::Unkept),
        ("/a *(rw,password=x)", 1, 9, Flaw::Option),
        ("/a *(mp=/x)", 1, 6, Flaw::Mountpoint),
        ("/a -rw,sec=krb5i *", 1, 8, Flaw::Security),
        ("/a @n\\001(rw)", 1, 4, Flaw::Host),
        ("/a h\n/b 192.0.2.0/33(rw)", 2, 4, Flaw::Network),
        ("/a 192.0.2.0/255.0.255.0", 1, 4, Flaw::Network),
        ("/a 192.0.2.0/ffff::", 1, 4, Flaw::Network),
        ("/a 2001:db8::/129", 1, 4, Flaw::Network),
        ("/a gss/krb5i(rw)", 1, 4, Flaw::Security),
        ("/a ::ffff:192.0.2.0/129", 1, 4, Flaw::Network),
        ("/a ::ffff:192.0.2.0/255.255.255.0", 1, 4, Flaw::Network),
        ("/a 192.0.2.0/33", 1, 4, Flaw::Network),
        ("/a h\\,i(rw)", 1, 4, Flaw::Host),
        ("/a \"h(rw)\n", 1, 4, Flaw::Quote),
        ("\"/a", 1, 1, Flaw::Quote),
        ("/a \"*(ro)", 1, 4, Flaw::Quote),
        ("/a \"*(ro) x\"", 1, 4, Flaw::List),
        ("/a \"*(ro, bogus)\"", 1, 11, Flaw::Option),
        ("/a h \"\"", 1, 6, Flaw::Host),
        ("\u{feff}/a *(ro)", 1, 1, Flaw::Mark),
        ("/usr /usr/local -ro h", 1, 6, Flaw::Second),
        ("/usr -maproot=0 h", 1, 7, Flaw::Foreign),
        (
            "/usr -ro -network 192.0.2 -mask 255.255.255.0",
            1,
            11,
            Flaw::Foreign,
        ),
        ("V4: / -sec=sys", 1, 1, Flaw::Foreign),
        ("share -F nfs -o rw=h /export", 1, 1, Flaw::Foreign),
        ("/a -rw=h:i", 1, 5, Flaw::Foreign),
    ] {
        assert_eq!(read(text), Err((line, column, flaw)), "{text}");
    }
}

#[test]
fn ids_and_fsids_are_as_in_exports_5() {
    assert_eq!(
        read("/a *(anonuid=-2,anongid=65534)").unwrap(),
        ["/a * anon=4294967294:65534"]
    );
    for (text, fsid) in [
        ("root", 0),
        ("0", 0),
        ("12", 12),
        ("012", 10),
        ("0x10", 16),
        ("0XfF", 255),
    ] {
        let read = read(&format!("/a *(fsid={text})")).unwrap();
        assert_eq!(read, [format!("/a * fsid={fsid}")]);
    }
    assert!(read("/a *(fsid=08)").is_err());
    assert!(read("/a *(fsid=0x)").is_err());
    assert!(read("/a *(fsid=4f3e5fa1-2f7b-4bdc-9e9b-1c9f3b2a7c55)").is_ok());
    assert!(read("/a *(fsid=4f3e5fa1-2f7b)").is_err());
}

#[test]
fn networks_contain_their_addresses() {
    let contains = |network: &str, host: &str| {
        let host = address(host.as_bytes()).unwrap();
        hosts(network.as_bytes()).unwrap().contains(host)
    };
    for (network, host, expect) in [
        ("192.0.2.0/24", "192.0.2.255", true),
        ("192.0.2.0/24", "192.0.3.0", false),
        ("192.0.2.77/24", "192.0.2.1", true),
        ("192.0.2.0/255.255.255.0", "192.0.2.9", true),
        ("192.0.2.7", "192.0.2.7", true),
        ("192.0.2.7", "192.0.2.8", false),
        ("0.0.0.0/0", "198.51.100.1", true),
        ("0.0.0.0/0", "2001:db8::1", false),
        ("::/0", "192.0.2.1", true),
        ("2001:db8::/32", "2001:db8:ffff::1", true),
        ("2001:db8::/ffff:ffff::", "2001:db9::1", false),
        ("*", "2001:db8::1", true),
        ("host.example", "192.0.2.1", false),
    ] {
        assert_eq!(contains(network, host), expect, "{network} {host}");
    }
    let ranks = ["h", "192.0.2.1", "192.0.2.0/24", "*.x", "*"];
    let ranks = ranks.map(|text| hosts(text.as_bytes()).unwrap().rank());
    assert_eq!(ranks, [0, 0, 1, 2, 3]);
}

#[test]
fn random_text_is_read_without_panic() {
    let mut state = 1u64;
    let letters = b"/a \t\n\\\"(),=-#@*012.:[rwsync";
    for _ in 0..20_000 {
        let mut text: Vec<u8> = (0..40)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                letters[(state >> 33) as usize % letters.len()]
            })
            .collect();
        let count = text.len() as u32;
        if let Err(fault) = parse(&mut text, &mut Ignored::default(), &mut |_| Ok(())) {
            assert!(fault.line <= count + 1 && fault.column <= count + 1);
        }
    }
}

#[test]
fn refused_entry_is_located_by_path() {
    for (flaw, column) in [(Flaw::Unnamed, 19), (Flaw::Many, 1)] {
        let mut text = *b"/srv 192.0.2.0/24 box.example.org(ro)\n";
        let refused = parse(
            &mut text,
            &mut Ignored::default(),
            &mut |entry| match entry.hosts {
                Hosts::Named(_) => Err(flaw),
                _ => Ok(()),
            },
        );
        let line = 1;
        assert_eq!(refused.err(), Some(Misplaced { line, column, flaw }));
    }
}

#[test]
fn rules_are_listed_as_in_exports_5() {
    let words = |options: &str| {
        let mut listed = Vec::new();
        let mut text = format!("/srv *({options})").into_bytes();
        let parsed = parse(&mut text, &mut Ignored::default(), &mut |entry| {
            let words = entry.rules.words().map(String::from_utf8_lossy);
            listed = words.collect::<Vec<_>>();
            Ok(())
        });
        assert!(parsed.is_ok(), "{options}");
        listed.join(" ")
    };
    assert_eq!(words("ro"), "sync ro secure root_squash no_all_squash");
    let others = "rw,mp,async,insecure,no_root_squash,all_squash,isos";
    assert_eq!(
        words(others),
        "async rw insecure no_root_squash all_squash isos mountpoint"
    );
}
