//! Tests of HTTP over the model tree: bytes in, bytes out, without streams or sleeping.

use super::{Http, Root};
use crate::config::REQUEST_BYTES;
use crate::engine::Cx;
use crate::engine::service::{Io, Local, Moved, Progress, Service as _, SessionId};
use crate::engine::testing::driver::{self, Engine, Talk};
use crate::engine::testing::tree::Tree;
use crate::event::{Events, Sink};
use crate::time::Instant;
use crate::vfs::ram::Ram;
use crate::vfs::{self, Peer};
use std::string::String;
use std::sync::Mutex;

/// 29 November 2026, 00:00 UTC.
const NOW: i64 = 1_795_910_400;

/// Keeps the lines of the access log.
struct Lines(&'static Mutex<Vec<u8>>);

impl Sink for Lines {
    fn write_line(&mut self, line: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(line);
    }
}

/// A server with one connection.
struct World {
    tree: Tree,
    http: Http,
    events: Events,
    output: Vec<u8>,
    log: &'static Mutex<Vec<u8>>,
}

impl World {
    fn of(ram: Ram) -> Self {
        let log: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
        let mut http = Http::new(4, Root::Exports, Some(Box::leak(Box::new(Lines(log)))));
        http.wall_secs = NOW;
        http.open(SessionId(0), LOCAL);
        Self {
            tree: Tree::of(ram),
            http,
            events: Events::new(Box::new(Lines(Box::leak(Box::default())))),
            output: vec![0; 72 << 10],
            log,
        }
    }

    /// A small tree at `/srv`.
    fn new() -> Self {
        let mut ram = Ram::model(b"/srv");
        ram.file("a.txt", b"hello\n");
        ram.file("empty", b"");
        ram.dir("dir");
        ram.file("dir/x & y?.efi", b"MZ");
        ram.symlink("link", b"a.txt");
        ram.symlink("out", b"/etc/passwd");
        ram.fifo("fifo");
        Self::of(ram)
    }

    fn context<'a>(tree: &'a mut Tree, events: &'a mut Events) -> Cx<'a> {
        Cx {
            now: Instant::from_ms(1000),
            peer: Peer::NONE,
            vfs: tree,
            events,
        }
    }

    /// Sends requests on a new connection.
    fn send(&mut self, input: &[u8], piece: usize) -> Talk {
        self.http.open(SessionId(0), LOCAL);
        driver::talk(self, None, input, || piece)
    }

    /// The reply to a request for a path, as text.
    fn get(&mut self, path: &str, fields: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        String::from_utf8(self.send(request.as_bytes(), usize::MAX).output).unwrap()
    }
}

const LOCAL: Local = Local {
    socket: 0,
    interface: 0,
    address: None,
};

impl Engine for World {
    const INPUT_BYTES: usize = REQUEST_BYTES;

    fn advance(&mut self, input: &[u8]) -> Progress {
        let io = Io {
            input,
            output: &mut self.output,
            held: 0,
        };
        let mut cx = Self::context(&mut self.tree, &mut self.events);
        self.http.advance(SessionId(0), &mut cx, io)
    }

    fn moved(&mut self, done: Moved) -> Progress {
        let io = Io {
            input: &[],
            output: &mut self.output,
            held: 0,
        };
        let mut cx = Self::context(&mut self.tree, &mut self.events);
        self.http.moved(SessionId(0), &mut cx, done, io)
    }

    fn replies(&mut self, progress: &Progress) -> &[u8] {
        &self.output[..progress.produced]
    }

    fn tree(&mut self) -> &mut vfs::Tree {
        &mut self.tree
    }
}

#[test]
fn file_and_its_parts_are_sent() {
    let mut world = World::new();
    let whole = world.get("/srv/a.txt", "");
    assert!(
        whole.starts_with("HTTP/1.1 200 OK\r\nDate: Sun, 29 Nov 2026 00:00:00 GMT\r\n"),
        "{whole}"
    );
    assert!(whole.contains("\r\nContent-Length: 6\r\n") && whole.ends_with("\r\n\r\nhello\n"));
    let tag = whole
        .split("ETag: ")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    let part = world.get("/srv/link", "Range: bytes=1-2\r\n");
    assert!(
        part.contains(" 206 ") && part.contains("\r\nContent-Range: bytes 1-2/6\r\n"),
        "{part}"
    );
    assert!(part.ends_with("\r\n\r\nel"));
    let known = world.get("/srv/a.txt", &format!("If-None-Match: \"x\", W/{tag}\r\n"));
    assert!(
        known.starts_with("HTTP/1.1 304 ") && known.ends_with("\r\n\r\n"),
        "{known}"
    );
    let beyond = world.get("/srv/a.txt", "Range: bytes=6-\r\n");
    assert!(beyond.contains(" 416 ") && beyond.contains("\r\nContent-Range: bytes */6\r\n"));
    let log = String::from_utf8(world.log.lock().unwrap().clone()).unwrap();
    assert!(
        log.starts_with(
            ":: - - [29/Nov/2026:00:00:00 +0000] \"GET /srv/a.txt HTTP/1.1\" 200 6 \"-\" \"-\"\n"
        ),
        "{log}"
    );
    assert_eq!(log.lines().count(), 4);
}

#[test]
fn objects_without_content_are_absent() {
    let mut world = World::new();
    for path in [
        "/srv/out",
        "/srv/fifo",
        "/srv/none",
        "/srv/a.txt/",
        "/none",
        "/srv/%2e%2e/%2Fx",
        "/srv2",
    ] {
        let reply = world.get(path, "");
        assert!(reply.starts_with("HTTP/1.1 404 "), "{path}: {reply}");
        assert!(!reply.ends_with("\r\n\r\n"), "{path}: no body");
    }
    assert!(world.get("/healthz", "").starts_with("HTTP/1.1 200 "));
}

#[test]
fn listing_has_relative_links() {
    let mut world = World::new();
    for (path, link) in [
        ("/", "href=\"./srv/\""),
        ("/srv/", "href=\"./dir/\""),
        ("/srv", "href=\"./srv/a.txt\""),
        ("/srv/dir/", "href=\"./x%20&amp;%20y%3F.efi\""),
    ] {
        let page = world.get(path, "");
        assert!(
            page.contains(&link.replace("&amp;", "%26")),
            "{path}: {page}"
        );
    }
    let json = world.get("/srv/", "Accept: application/json\r\n");
    assert!(
        json.contains("{\"name\":\"dir\",\"type\":\"directory\""),
        "{json}"
    );
    let plain = world.get("/srv/", "Accept: text/plain\r\n");
    assert!(
        plain.ends_with("\r\n\r\na.txt\ndir/\nempty\nfifo\nlink\nout\n"),
        "{plain}"
    );
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
        let mut world = World::of(ram);
        let request = b"GET /srv/many/ HTTP/1.1\r\nHost: h\r\n\r\n";
        let talk = world.send(request, usize::MAX);
        let page = String::from_utf8(talk.output).unwrap();
        assert_eq!(talk.closed, Some(""));
        assert!(talk.turns > 2 && !page.contains("Content-Length") && page.ends_with("</table>\n"));
        let names = page.split("<a href=\"./").skip(1).map(|rest| &rest[..5]);
        let mut names: Vec<_> = names.collect();
        if count == 1999 {
            assert!(names.is_sorted());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

#[test]
fn pieces_and_pipelines_get_the_same_replies() {
    let requests = b"GET /srv/a.txt HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc\r\n\
        HEAD /srv/ HTTP/1.1\r\nHost: h\r\n\r\nGET /srv/none HTTP/1.1\r\nHost: h\r\n\r\n\
        PUT /srv/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n";
    let whole = World::new().send(requests, usize::MAX);
    for piece in 1..80 {
        let pieces = World::new().send(requests, piece);
        assert_eq!(
            (&pieces.output, pieces.consumed),
            (&whole.output, whole.consumed),
            "{piece}"
        );
    }
    let text = String::from_utf8(whole.output).unwrap();
    let statuses: Vec<_> = text
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|reply| &reply[..3])
        .collect();
    assert_eq!(statuses, ["200", "200", "404", "405"]);
}
