//! Tests of HTTP over the model tree.

use super::testing::Bench;
use crate::engine::service::{Moved, Next};
use crate::engine::testing::driver::{Engine as _, Talk};
use crate::vfs::Peer;
use crate::vfs::ram::Ram;
use cases::http::{Object, Reply, Validators};
use core::net::{Ipv4Addr, Ipv6Addr};
use std::string::String;

impl Bench {
    /// The tree of the table, at `/srv`.
    fn new() -> Self {
        let mut ram = Ram::model(b"/srv");
        for (path, object) in cases::http::TREE {
            match object {
                Object::File(content) => ram.file(path, content),
                Object::Pattern(len) => {
                    ram.file(
                        path,
                        &(0..len).map(cases::http::pattern).collect::<Vec<_>>(),
                    );
                }
                Object::Directory => ram.dir(path),
                Object::Link(target) => ram.symlink(path, target.as_bytes()),
                Object::Fifo => ram.fifo(path),
            }
        }
        Self::of(ram)
    }

    /// The validators of the file of the table.
    fn known(&mut self) -> Validators {
        let talk = self.send(b"HEAD /srv/a.txt HTTP/1.0\r\n\r\n", usize::MAX);
        let reply = &replies(&talk, &["HEAD"])[0];
        let field = |name| reply.field(name).unwrap().to_owned();
        Validators {
            tag: field("ETag"),
            date: field("Last-Modified"),
        }
    }
}

/// The replies to a stream of requests.
fn replies(talk: &Talk, methods: &[&str]) -> Vec<Reply> {
    let mut stream = talk.output.iter().copied().collect();
    let mut replies = Vec::new();
    for method in methods {
        replies.extend(Reply::take(&mut stream, method).unwrap());
    }
    assert!(stream.is_empty(), "{stream:?}");
    replies
}

#[test]
fn rows_are_answered_whole_in_pieces_and_pipelined() {
    let mut bench = Bench::new();
    let known = bench.known();
    let mut wrong = Vec::new();
    for row in cases::http::ROWS {
        let input = row.request(&known);
        let whole = bench.send(&input, usize::MAX);
        let first = replies(&whole, &[row.method()]);
        wrong.extend(row.check(&first[0], &known).err());
        for cut in 1..input.len().min(200) {
            let mut pieces = [cut].into_iter();
            let talk = bench.talk(&input, || pieces.next().unwrap_or(usize::MAX));
            assert!(talk.output == whole.output, "{row:?}, cut at {cut}");
        }
        let twice = [&*input, b"GET /srv/a.txt HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let both = replies(&bench.send(&twice, usize::MAX), &[row.method(), "GET"]);
        match row.closes() {
            true => assert_eq!(both.len(), 1, "{row:?}"),
            false => assert_eq!(
                (both.len(), &*both[1].body),
                (2, &b"hello\n"[..]),
                "{row:?}"
            ),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn access_log_has_a_line_for_each_reply() {
    let mut bench = Bench::new();
    bench.send(
        b"GET /srv/a.txt?\" HTTP/1.0\r\nUser-Agent: a \"b\"\r\n\r\n",
        usize::MAX,
    );
    bench.send(b"\x16\x03\0", usize::MAX);
    let log = String::from_utf8(bench.log.lock().unwrap().clone()).unwrap();
    let expect = [
        r#":: - - [29/Nov/2026:00:00:00 +0000] "GET /srv/a.txt?\x22 HTTP/1.0" 200 6 "-" "a \x22b\x22""#,
        r#":: - - [29/Nov/2026:00:00:00 +0000] "\x16\x03\x00" 400 12 "-" "-""#,
    ];
    assert_eq!(log.lines().collect::<Vec<_>>(), expect);
}

#[test]
fn parts_that_fill_the_output_arrive_whole() {
    let mut bench = Bench::new();
    let ranges: Vec<_> = (0..20)
        .map(|at| format!("{}-{}", at * 5000, at * 5000 + 999))
        .collect();
    let ask = format!(
        "GET /srv/big HTTP/1.1\r\nHost: h\r\nRange: bytes={}\r\n\r\n",
        ranges.join(",")
    );
    let whole = bench.send(ask.as_bytes(), usize::MAX);
    for output_bytes in (1536..4608).step_by(57) {
        bench.output = vec![0; output_bytes];
        let talk = bench.send(ask.as_bytes(), usize::MAX);
        assert!(talk.output == whole.output, "{output_bytes}");
    }
}

#[test]
fn file_changed_between_parts_ends_the_connection() {
    let request: &[u8] =
        b"GET /srv/big HTTP/1.1\r\nHost: h\r\nRange: bytes=0-99998,100000-199999\r\n\r\n";
    let changes: [fn(&mut Ram); 4] = [
        |_| {},
        |ram| ram.overwrite("big", &[1; 200_000]),
        |ram| ram.unlink("big"),
        |ram| {
            ram.unlink("big");
            ram.dir("big");
        },
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let goes_on = index == 0;
        let mut bench = Bench::new();
        let mut progress = bench.advance(request);
        let Next::Move(transfer) = progress.next else {
            panic!("{progress:?}");
        };
        assert_eq!(progress.used, 0);
        change(&mut bench.tree.ram());
        let result = Ok(());
        assert_eq!(bench.moved(Moved { transfer, result }).next, Next::Output);
        progress = bench.advance(request);
        assert_eq!(matches!(progress.next, Next::Move(_)), goes_on);
        assert_eq!(matches!(progress.next, Next::Close(_)), !goes_on);
        assert_eq!(progress.produced > 0, goes_on);
        if let Next::Move(transfer) = progress.next {
            transfer.abandon(&mut bench.tree);
        }
    }
}

#[test]
fn listing_after_many_replies_is_whole() {
    let mut bench = Bench::new();
    let lists = b"GET /srv/dir/ HTTP/1.1\r\nHost: h\r\n\r\n".repeat(190);
    let talk = bench.send(&lists, usize::MAX);
    let all = replies(&talk, &["GET"; 190]);
    assert!(all.iter().all(|reply| reply.body == all[0].body));
    assert!(talk.turns > 2);
}

#[test]
fn replaced_file_has_another_tag() {
    let mut bench = Bench::new();
    let before = bench.known();
    bench.tree.ram().overwrite("a.txt", b"HELLO\n");
    assert_ne!(bench.known().tag, before.tag);
}

#[test]
fn long_listings_arrive_whole() {
    for count in [1999, 2500] {
        let mut ram = Ram::model(b"/srv");
        ram.dir("many");
        for number in 0..count {
            let name = format!(
                "many/{:05}{}",
                number * 7919 % count,
                "n".repeat(number % 60)
            );
            ram.file(&name, b"");
        }
        let mut bench = Bench::of(ram);
        for version in ["1.0", "1.1"] {
            let request = format!("GET /srv/many/ HTTP/{version}\r\nHost: h\r\n\r\n");
            let talk = bench.send(request.as_bytes(), usize::MAX);
            assert!(talk.turns > 2);
            assert_eq!(talk.closed, (version == "1.0").then_some(""));
            let reply = &replies(&talk, &["GET"])[0];
            let is_chunked = reply.field("Transfer-Encoding") == Some("chunked");
            assert!(is_chunked == (version == "1.1") && reply.field("Content-Length").is_none());
            let page = String::from_utf8_lossy(&reply.body);
            assert!(page.ends_with("</table>\n"));
            let names = page.split("<td><a href=\"").skip(2).map(|rest| &rest[..5]);
            let mut names: Vec<_> = names.collect();
            assert_eq!(names.is_sorted(), count == 1999);
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}

#[test]
fn links_are_followed_over_several_turns() {
    let mut ram = Ram::model(b"/srv");
    ram.dir("links");
    for number in 0..900 {
        let target: &[u8] = if number % 2 == 0 { b"." } else { b"none" };
        ram.symlink(&format!("links/{number:03}"), target);
    }
    let mut bench = Bench::of(ram);
    let request = b"GET /srv/links/ HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\n\r\n";
    let talk = bench.send(request, usize::MAX);
    // 256 links a turn, and one turn without input.
    assert!(talk.turns >= 5, "{}", talk.turns);
    let body = String::from_utf8(replies(&talk, &["GET"])[0].body.clone()).unwrap();
    let expect = (0..900).step_by(2).map(|number| format!("{number:03}/\n"));
    let dangling = (1..900).step_by(2).map(|number| format!("{number:03}\n"));
    assert_eq!(body, expect.chain(dangling).collect::<String>());
}

#[test]
fn listing_that_fails_midway_has_no_last_chunk() {
    let mut ram = Ram::model(b"/srv");
    ram.dir("many");
    for number in 0..2500 {
        ram.file(&format!("many/{number:040}"), b"");
    }
    let mut bench = Bench::of(ram);
    bench.calls_left = Some(2);
    let talk = bench.send(b"GET /srv/many/ HTTP/1.1\r\nHost: h\r\n\r\n", usize::MAX);
    assert_eq!(
        talk.closed,
        Some("a file or listing could not be read to its end")
    );
    let mut stream = talk.output.iter().copied().collect();
    assert!(Reply::take(&mut stream, "GET").is_err());
}

#[test]
fn figures_are_whole_and_hidden_from_others() {
    let loopback = [Ipv6Addr::LOCALHOST, Ipv4Addr::LOCALHOST.to_ipv6_mapped()];
    for path in ["/metrics", "/status"] {
        let request = |method| format!("{method} {path} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut bench = Bench::new();
        let hidden = bench.send(request("GET").as_bytes(), usize::MAX).output;
        let absent = bench.send(b"GET /none HTTP/1.1\r\nHost: h\r\n\r\n", usize::MAX);
        assert_eq!(hidden, absent.output);
        for address in loopback {
            bench.peer = Peer {
                address,
                port: 1000,
            };
            bench.output = vec![0; 72 << 10];
            let whole = bench.send(request("GET").as_bytes(), usize::MAX);
            let reply = &replies(&whole, &["GET"])[0];
            assert_eq!(reply.status, 200);
            let body = String::from_utf8_lossy(&reply.body);
            assert_eq!(body.contains(" <b>ok</b></h1>"), path == "/status");
            let head = bench.send(request("HEAD").as_bytes(), usize::MAX);
            assert_eq!(replies(&head, &["HEAD"])[0].status, 200);
            bench.output = vec![0; 3 << 10];
            let talk = bench.send(request("GET").as_bytes(), usize::MAX);
            let parts = &replies(&talk, &["GET"])[0];
            assert_eq!(parts.body, reply.body);
            let is_chunked = parts.field("Transfer-Encoding").is_some();
            assert_eq!(is_chunked, talk.turns > 2, "{parts:?}");
        }
    }
}

#[test]
fn replies_end_their_connections_when_more_than_half_are_open() {
    let mut bench = Bench::new();
    let tell = |bench: &mut Bench| {
        let talk = bench.send(b"HEAD /srv/a.txt HTTP/1.1\r\nHost: a\r\n\r\n", usize::MAX);
        replies(&talk, &["HEAD"])[0].closes()
    };
    assert!(!tell(&mut bench));
    bench.open(1);
    assert!(tell(&mut bench));
}

#[test]
fn root_is_walked_to_the_exports_of_a_peer() {
    use crate::vfs::{Backend, Client, ExportRoot, Rules};
    use crate::wire::exports::Hosts;
    let mut bench = Bench::new();
    let mut client = Client::everyone(Rules::DEFAULT);
    for (tag, path) in [
        (1, &b"/srv/dir/nested"[..]),
        (2, b"/a/\xff<"),
        (3, b"/a/b/c"),
    ] {
        let root = ExportRoot::fixed(Backend::Ram, tag, false);
        bench.tree.export(path, &[client], root).unwrap();
    }
    let (address, bits) = (Ipv6Addr::LOCALHOST, 128);
    client.hosts = Hosts::Network { address, bits };
    for (tag, path) in [(4, &b"/a/hidden"[..]), (5, b"/secret/x"), (6, b"/a/b")] {
        let root = ExportRoot::fixed(Backend::Ram, tag, false);
        bench.tree.export(path, &[client], root).unwrap();
    }
    for (path, status, expect) in [
        ("/", 200, "a/\nsrv/\n"),
        ("/a", 301, "a/"),
        ("/a/", 200, "b/\n\u{fffd}</\n"),
        ("/a//b/", 200, "c/\n"),
        ("/a/b?x", 301, "b/?x"),
        // Its export is missing.
        ("/a/b/c/", 404, ""),
        ("/a/hidden", 404, ""),
        ("/secret", 404, ""),
        ("/a/none", 404, ""),
        // Nested exports are no names of the outer one.
        ("/srv/dir/", 200, "sub/\nb\nä b?#%.txt\n"),
        ("/srv/dir/nested", 404, ""),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\n\r\n");
        let reply = replies(&bench.send(request.as_bytes(), usize::MAX), &["GET"]).remove(0);
        let body = String::from_utf8_lossy(&reply.body);
        let got = reply.field("Location").unwrap_or(&body);
        assert_eq!(reply.status, status, "{path}");
        assert!(status == 404 || got == expect, "{path}: {got}");
    }
    for (accept, expect) in [
        (
            "text/html",
            "<a href=\"%FF%3C/\">\u{fffd}&lt;/</a></td><td></td><td></td></tr>\n</table>",
        ),
        (
            "application/json",
            "{\"name\":\"b\",\"type\":\"directory\",\"href\":\"b/\"},\n",
        ),
    ] {
        let request = format!("GET /a/?sort=date HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
        let reply = replies(&bench.send(request.as_bytes(), usize::MAX), &["GET"]).remove(0);
        let body = String::from_utf8_lossy(&reply.body);
        assert!(body.contains(expect), "{body}");
    }
}
