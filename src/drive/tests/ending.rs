//! How connections of HTTP end: the time limits of requests, the end after the last reply, and clients that end their side first.

use super::{AT, At, MOMENT, Serving, limits, with_loop};
use crate::config::{DRAIN_TIMEOUT, HTTP_IDLE_TIMEOUT, HTTP_REQUEST_TIMEOUT, REQUEST_BYTES};
use crate::drive::service::{Limits, Served, Times};
use crate::engine::http::{Http, Root};
use crate::engine::testing::tree::Tree;
use crate::event::testing::Sink;
use crate::net::sim::{Peer, Sim};
use crate::time::Duration;
use crate::vfs::ram::Ram;

/// A server of HTTP with its network and files.
struct World {
    sim: Sim,
    tree: Tree,
    server: Serving<Http>,
    sink: Sink,
}

const GET: &[u8] = b"GET /srv/file HTTP/1.1\r\nHost: h\r\n\r\n";
/// A request without its end, too long to be kept in a connection's slot.
const PART: &[u8] =
    b"GET /srv/file HTTP/1.1\r\nHost: h\r\nX-Long: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13";
const SECOND: Duration = Duration::SECOND;

impl World {
    fn new(connection_count: usize) -> Self {
        let mut ram = Ram::model(b"/srv");
        ram.file("file", b"hello\n");
        ram.dir("dir");
        (0..1500).for_each(|number| ram.file(&format!("dir/{number}"), b""));
        let times = Times {
            request: HTTP_REQUEST_TIMEOUT,
            idle: HTTP_IDLE_TIMEOUT,
        };
        let limits = Limits {
            times: Some(times),
            request_count: 1,
            ..limits(connection_count, REQUEST_BYTES)
        };
        let server = Serving {
            service: Http::new(connection_count, Root::Exports, b"h", None),
            served: Served::new(&limits),
            server: At(AT, None),
        };
        let (sim, sink) = (Sim::new(1), Sink::default());
        let tree = Tree::of(ram);
        let host = tree.host.clone();
        sim.set_file_to_watch(move || host.in_flight.get() && !host.holds_jobs.get());
        let mut world = Self {
            sim,
            tree,
            server,
            sink,
        };
        let Self {
            sim, tree, server, ..
        } = &mut world;
        with_loop(sim, tree, &mut [server], &Sink::default(), |all| {
            assert_eq!(all.start(), Ok(()));
        });
        world
    }

    fn run(&mut self, time: Duration) {
        self.sim.allow(time);
        let Self {
            sim,
            tree,
            server,
            sink,
        } = self;
        with_loop(sim, tree, &mut [server], sink, |all| all.turns());
    }

    /// Sends a byte a second, for `secs` seconds.
    fn drip(&mut self, peer: Peer, secs: usize) {
        for _ in 0..secs {
            self.sim.send(peer, b"x");
            self.run(SECOND);
        }
    }

    /// Sends `bytes` on a new connection.
    fn send(&mut self, bytes: &[u8]) -> Peer {
        let peer = self.sim.connect(AT);
        self.sim.send(peer, bytes);
        self.run(MOMENT);
        peer
    }

    /// The status of the reply that has arrived; empty: none.
    fn status(&self, peer: Peer) -> String {
        let reply = String::from_utf8(self.sim.read_sent(peer)).unwrap();
        reply.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    fn is_closed(&self, peer: Peer) -> bool {
        self.sim.is_closed(peer)
    }
}

#[test]
fn reply_to_unread_request_ends_sending_then_drains() {
    for (request, status) in [
        (&b"\x16\x03\0"[..], "400"),
        (b"GET  HTTP/1.1\r\n\r\n", "400"),
        (
            b"PUT /new HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999\r\n\r\nx",
            "405",
        ),
        (
            b"PUT /new HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            "405",
        ),
        (
            b"GET /srv/file HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\n",
            "200",
        ),
        (
            b"GET /srv/file HTTP/1.0\r\nContent-Length: 9\r\n\r\n",
            "200",
        ),
        (
            b"GET /srv/file HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
            "200",
        ),
    ] {
        let mut world = World::new(10);
        let [stays, ends] = [world.send(request), world.send(request)];
        for peer in [stays, ends] {
            assert_eq!(world.status(peer), status);
            assert!(world.sim.has_ended(peer) && !world.is_closed(peer));
        }
        world.sim.end_sending(ends);
        world.drip(stays, 4);
        assert!(world.is_closed(ends) && !world.is_closed(stays));
        assert_eq!(world.sim.unreceived(stays), 0);
        world.drip(stays, 2);
        assert!(world.is_closed(stays), "{DRAIN_TIMEOUT:?}");
        let lines = world.sink.lines();
        assert!(
            lines.iter().all(|line| !line.contains("disconnected")),
            "{lines:?}"
        );
    }
}

#[test]
fn read_request_is_closed_after_its_reply() {
    let mut world = World::new(10);
    let peer = world.send(b"GET /srv/file HTTP/1.0\r\nContent-Length: 1\r\n\r\nx");
    assert_eq!(world.status(peer), "200");
    assert!(world.is_closed(peer));
}

#[test]
fn slow_reader_gets_its_reply_before_the_end() {
    let mut world = World::new(10);
    let peer = world.sim.connect(AT);
    world.sim.set_capacity(peer, 10);
    world.sim.set_reading(peer, false);
    world.sim.send(peer, b"rubbish\r\n\r\n");
    world.run(SECOND);
    assert!(!world.sim.has_ended(peer));
    world.sim.set_reading(peer, true);
    world.run(SECOND);
    assert!(
        world
            .sim
            .read_sent(peer)
            .ends_with(b"\r\n\r\nBad Request\n")
    );
    assert!(world.sim.has_ended(peer) && !world.is_closed(peer));
}

#[test]
fn dripping_head_gets_408_after_its_time() {
    let mut world = World::new(10);
    let peer = world.send(GET);
    world.run(Duration::from_secs(50));
    assert_eq!(world.status(peer), "200");
    // The time begins with the first byte, not with the connection or the last request.
    world.sim.send(peer, PART);
    world.drip(peer, 29);
    assert!(!world.sim.has_ended(peer));
    world.drip(peer, 2);
    assert_eq!(world.status(peer), "408");
    assert!(world.sim.has_ended(peer) && !world.is_closed(peer));
    world.drip(peer, 6);
    assert!(world.is_closed(peer));
    assert_eq!(world.sink.lines(), Vec::<String>::new());
}

#[test]
fn silent_connections_and_dripping_bodies_end_without_reply() {
    let body = b"GET /srv/file HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n";
    let mut world = World::new(10);
    let [new, used, body] = [world.send(b""), world.send(GET), world.send(body)];
    let line = world.send(b"\r\n");
    assert_eq!([used, body].map(|peer| world.status(peer)), ["200", "200"]);
    world.drip(body, 31);
    let ended = [new, used, body, line].map(|peer| world.sim.has_ended(peer));
    assert_eq!(ended, [false, false, true, true]);
    world.run(Duration::from_secs(28));
    assert!(!world.is_closed(new) && !world.is_closed(used));
    world.run(Duration::from_secs(2));
    for peer in [new, used, body, line] {
        assert!(world.is_closed(peer));
        assert_eq!(world.status(peer), "");
    }
    assert_eq!(world.sink.lines(), Vec::<String>::new());
    world.run(Duration::from_secs(2));
    assert_eq!(world.sim.sleep(), None, "nothing is left to patrol for");
}

#[test]
fn wait_for_a_block_is_no_time_of_the_request() {
    let mut world = World::new(10);
    let host = world.tree.host.clone();
    host.has_descriptors.set(true);
    host.is_cold.set(true);
    host.holds_jobs.set(true);
    // The only block has the start of a request that waits for the disk with the one before it.
    let holder = world.send(&[GET, PART].concat());
    let waiter = world.send(&PART[..9]);
    world.sim.send(waiter, &PART[9..]);
    world.run(Duration::from_secs(100));
    assert!(world.sim.unreceived(waiter) > 0);
    host.holds_jobs.set(false);
    world.run(Duration::from_secs(3));
    assert_eq!(world.status(holder), "200");
    assert_eq!(world.sim.unreceived(waiter), 0);
    world.run(Duration::from_secs(25));
    world.sim.send(waiter, b"\r\n\r\n");
    world.run(MOMENT);
    assert_eq!(world.status(waiter), "200");
}

#[test]
fn client_that_ends_its_side_gets_whole_replies() {
    let mut world = World::new(10);
    let list = |end: &str| format!("GET /srv/dir/ HTTP/1.1\r\nHost: h\r\n{end}\r\n").into_bytes();
    let [whole, slow] = [world.send(&list("")), world.sim.connect(AT)];
    world.run(SECOND);
    let whole = world.sim.read_sent(whole);
    // Without the head, which has the time.
    let (_, whole) = whole.split_at(whole.windows(4).position(|end| end == b"\r\n\r\n").unwrap());
    world.sim.set_capacity(slow, 3000);
    world.sim.send(slow, &[GET, &list("")].concat());
    world.sim.end_sending(slow);
    world.run(Duration::from_secs(5));
    let sent = world.sim.read_sent(slow);
    assert!(
        sent.ends_with(whole),
        "{} of {} bytes",
        sent.len(),
        whole.len()
    );
    assert!(world.is_closed(slow));
    let half = world.send(PART);
    world.sim.end_sending(half);
    world.run(MOMENT);
    assert!(world.is_closed(half));
}

#[test]
fn draining_connection_is_evicted_for_a_new_one() {
    let mut world = World::new(2);
    let [silent, drains] = [world.send(b""), world.send(b"rubbish\r\n\r\n")];
    world.run(SECOND);
    let new = world.send(GET);
    assert_eq!(world.status(new), "200");
    assert!(world.is_closed(drains) && !world.is_closed(silent));
    assert_eq!(world.sink.lines(), Vec::<String>::new());
}
