//! Tests of requests and of the values of fields.

use super::*;
use std::string::String;

#[test]
fn heads_are_parsed_or_refused() {
    let cases: [(&str, Result<u16, u16>); 36] = [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", Ok(0)),
        ("\r\n\nGET / HTTP/1.0\n\n", Ok(0)),
        (
            "GET http://h:8080/x?y HTTP/1.1\r\nhOST:\t h \r\n\r\n",
            Ok(0),
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", Ok(0)),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", Ok(0)),
        (
            "GET / HTTP/1.2\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            Ok(0),
        ),
        (
            "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\n",
            Ok(7),
        ),
        (
            "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n",
            Ok(1),
        ),
        ("GET / HTTP/1.1\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost: h\r\n fold\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", Err(400)),
        ("GET / HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n", Err(400)),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", Err(400)),
        ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", Err(400)),
        ("GET /\r\n\r\n", Err(400)),
        ("GET x HTTP/1.1\r\nHost: h\r\n\r\n", Err(400)),
        ("GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", Err(400)),
        ("GET / http/1.1\r\nHost: h\r\n\r\n", Err(400)),
        ("G(T / HTTP/1.1\r\nHost: h\r\n\r\n", Err(400)),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n", Err(505)),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 5\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            Err(400),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n",
            Err(501),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Err(501),
        ),
        (
            "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            Err(400),
        ),
        ("\x16\x03\x01 HTTP/1.1\r\nHost: h\r\n\r\n", Err(400)),
    ];
    for (head, expect) in cases {
        let parsed = parse(head.as_bytes());
        let found = match &parsed {
            Ok(Some((request, len))) => {
                assert_eq!(*len, head.len(), "{head}");
                Ok(match request.body {
                    Body::None => 0,
                    Body::Length(len) => len as u16,
                    Body::Chunked => 1,
                })
            }
            Ok(None) => panic!("{head} is incomplete"),
            Err(fault) => Err(fault.status()),
        };
        assert_eq!(found, expect, "{head}");
        // A prefix is incomplete, or has the same fault.
        for end in 0..head.len() {
            match parse(&head.as_bytes()[..end]) {
                Ok(None) => {}
                Err(fault) => assert_eq!(Err(fault.status()), expect, "{head}"),
                Ok(Some(_)) => panic!("{head} has a whole prefix"),
            }
        }
    }
}

#[test]
fn connection_is_kept_as_asked() {
    for (version, field, keeps) in [
        ("1.1", "", true),
        ("1.1", "Connection: x, Close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ] {
        let head = format!("GET / HTTP/{version}\r\nHost: h\r\n{field}\r\n");
        let (request, _) = parse(head.as_bytes()).unwrap().unwrap();
        assert_eq!(request.keeps, keeps, "{head}");
    }
}

#[test]
fn paths_are_decoded_once() {
    use Decoded::{Absent, Malformed, Path};
    for (raw, expect) in [
        ("/", Path(b"/")),
        ("//a//b/", Path(b"/a/b/")),
        ("/a%20%2525", Path(b"/a %25")),
        ("/a/./b/../c", Path(b"/a/c")),
        ("/a/%2e%2E/", Path(b"/")),
        ("/a/..", Path(b"/")),
        ("/a/.", Path(b"/a/")),
        ("/..", Malformed),
        ("/a/../..", Malformed),
        ("/%2f", Absent),
        ("/a%00", Malformed),
        ("/%g0", Malformed),
        ("/%4", Malformed),
        ("/...", Path(b"/...")),
        ("/0123456789012345", Absent),
    ] {
        assert_eq!(decode(raw.as_bytes(), &mut [0; 16]), expect, "{raw}");
    }
}

#[test]
fn ranges_select_parts() {
    let many = |count: u64| {
        let ranges = (0..count).map(|at| std::format!("{at}-{at}"));
        std::format!("bytes={}", ranges.collect::<Vec<_>>().join(","))
    };
    let (most, too_many) = (many(20), many(21));
    let each: Vec<Part> = (0..20).map(|at| (at, at + 1)).collect();
    for (value, size, expect) in [
        ("bytes=0-0", 10, Some(&[(0, 1)][..])),
        ("Bytes= 2-", 10, Some(&[(2, 10)])),
        ("bytes=2-99999999999999999999", 10, Some(&[(2, 10)])),
        ("bytes=-3", 10, Some(&[(7, 10)])),
        ("bytes=-30", 10, Some(&[(0, 10)])),
        ("bytes=-0", 10, Some(&[])),
        ("bytes=10-", 10, Some(&[])),
        ("bytes=99999999999999999999-", 10, Some(&[])),
        ("bytes=0-", 0, Some(&[])),
        ("bytes=-1", 0, None),
        ("bytes=3-2", 10, None),
        ("bytes=u-u", 10, None),
        ("bytes=5-6, 0-1\t,2-2", 10, Some(&[(5, 7), (0, 2), (2, 3)])),
        ("bytes=0-1,99-,-0", 10, Some(&[(0, 2)])),
        ("bytes=10-,11-12", 10, Some(&[])),
        ("bytes=0-1,1-2", 10, None),
        ("bytes=1-,0-1", 10, None),
        ("bytes=0-0,0-0", 10, None),
        ("bytes=0-0,2", 10, None),
        ("bytes=0-0,", 10, None),
        ("bytes=0-0;2-2", 10, None),
        (&most, 30, Some(&each)),
        (&most, 19, Some(&each[..19])),
        (&too_many, 30, None),
        (&too_many, 20, Some(&each)),
        ("lines=0-1", 10, None),
        ("bytes", 10, None),
        ("bytes=-", 10, None),
        ("", 10, None),
    ] {
        let parts = ranges(value.as_bytes(), size);
        assert_eq!(parts.as_ref().map(Parts::all), expect, "{value}");
    }
}

#[test]
fn dates_round_trip_in_three_formats() {
    const NOW: i64 = 1_795_915_867;
    assert_eq!(&write_date(NOW), b"Sun, 29 Nov 2026 01:31:07 GMT");
    for secs in [0, 951_782_400, NOW, 4_107_542_400, SECS_MAX] {
        assert_eq!(parse_date(&write_date(secs), NOW), Some(secs));
    }
    for (text, expect) in [
        ("Sunday, 29-Nov-26 01:31:07 GMT", Some(NOW)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
        ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
        ("Fri, 31 Dec 9999 23:59:60 GMT", Some(SECS_MAX)),
        ("Sun, 06 Nov 1994 08:49:37 CET", None),
        ("Sun, 06 Nov 1994 24:49:37 GMT", None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 08:49 GMT", None),
        ("784111777", None),
        ("", None),
    ] {
        assert_eq!(parse_date(text.as_bytes(), NOW), expect, "{text}");
    }
}

const SECS_MAX: i64 = 253_402_300_799;

#[test]
fn tags_are_compared_in_lists() {
    let tag = b"\"a,b\"";
    for (list, weak, strong) in [
        ("\"a,b\"", true, true),
        ("\"x\", W/\"a,b\"", true, false),
        (", \"x\" ,\"a,b\"", true, true),
        ("*", true, true),
        ("a,b", false, false),
        ("\"a", false, false),
        ("", false, false),
    ] {
        let lists = || [list.as_bytes()].into_iter();
        assert_eq!(lists_tag(lists(), tag, Comparison::Weak), weak, "{list}");
        assert_eq!(
            lists_tag(lists(), tag, Comparison::Strong),
            strong,
            "{list}"
        );
    }
}

#[test]
fn media_types_follow_suffixes() {
    let rows: [(&str, &str); 48] = [
        (
            "README.TXT a.log preseed.cfg my.ini x.toml x.YAML x.yml README.md anaconda.ks boot.ipxe a.py a.list sums.sha256",
            "text/plain; charset=utf-8",
        ),
        ("a.b.html INDEX.HTM", "text/html; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.js a.mjs a.min.JS", "text/javascript; charset=utf-8"),
        ("a.json", "application/json"),
        ("a.xml", "application/xml"),
        ("a.wasm", "application/wasm"),
        ("a.sh", "application/x-sh"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.vtt", "text/vtt; charset=utf-8"),
        ("a.srt", "application/x-subrip"),
        ("a.pdf", "application/pdf"),
        ("a.epub", "application/epub+zip"),
        (
            "a.docx",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
        ("a.odt", "application/vnd.oasis.opendocument.text"),
        ("a.svg", "image/svg+xml"),
        ("a.png", "image/png"),
        ("a.jpg a.JPEG", "image/jpeg"),
        ("a.gif", "image/gif"),
        ("a.webp", "image/webp"),
        ("a.avif", "image/avif"),
        ("favicon.ico", "image/x-icon"),
        ("a.mp3", "audio/mpeg"),
        ("a.flac", "audio/flac"),
        ("a.ogg a.opus", "audio/ogg"),
        ("a.m4a", "audio/mp4"),
        ("a.wav", "audio/wav"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.mp4", "video/mp4"),
        ("FILM.MKV", "video/x-matroska"),
        ("a.webm", "video/webm"),
        ("a.mov", "video/quicktime"),
        ("a.avi", "video/x-msvideo"),
        ("a.mpg", "video/mpeg"),
        ("a.ts a.m2ts", "video/mp2t"),
        ("a.woff", "font/woff"),
        ("a.woff2", "font/woff2"),
        ("a.ttf", "font/ttf"),
        ("a.otf", "font/otf"),
        ("a.zip", "application/zip"),
        ("a.7z", "application/x-7z-compressed"),
        ("a.apk", "application/vnd.android.package-archive"),
        ("a.torrent a.TORRENT", "application/x-bittorrent"),
        ("a.metalink", "application/metalink+xml"),
        ("a.pac", "application/x-ns-proxy-autoconfig"),
        ("a.crt", "application/x-x509-ca-cert"),
        (
            "a.iso a.img BOOTX64.EFI a.bin a.dtb initrd.gz a.xz a.zst a.tar a.tgz page.html.gz a.deb a.rpm a.AppImage a.qcow2 a.vmdk a.ova a.exe",
            "application/octet-stream",
        ),
        (
            "html html. .html dir/.html dir.html/x a.htmlx a.xhtm a.h\u{f6} a.xmetalink a.xtorrent a.webmanifest a.thtml a. ",
            "application/octet-stream",
        ),
    ];
    for (names, expect) in rows {
        let names = names.split(' ').map(ToOwned::to_owned);
        for name in names.flat_map(|name| [std::format!("/srv/{name}"), name]) {
            let mut buffer = [0; 128];
            let mut out = crate::wire::Writer::new(&mut buffer);
            write_type(&mut out, content_type(name.as_bytes()));
            assert_eq!(out.since(0), expect.as_bytes(), "{name}");
        }
    }
}

#[test]
fn names_are_escaped() {
    let name = b"a \"<&\\\n\xff\xc3\xa4";
    for (write, expect) in [
        (
            encode as fn(&mut crate::wire::Writer<'_>, &[u8]),
            "a%20%22%3C%26%5C%0A%FF%C3%A4",
        ),
        (escape_html, "a &quot;&lt;&amp;\\\u{fffd}\u{fffd}ä"),
        (escape_json, "a \\\"<&\\\\\u{fffd}\u{fffd}ä"),
        (escape_log, "a \\x22<&\\x5C\\x0A\\xFF\\xC3\\xA4"),
    ] {
        let mut buffer = [0; 64];
        let mut out = crate::wire::Writer::new(&mut buffer);
        write(&mut out, name);
        let len = out.written().unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..len]), expect);
    }
}
