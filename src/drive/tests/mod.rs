//! The loop between the simulated network and the model tree: requests are answered, and all resources are freed at the end.

mod busy;
mod ending;
mod endpoint;
mod health;
mod held;
mod limits;
mod slots;
mod storing;
mod talking;
mod together;
mod trial;
mod waiting;

use super::service::{self, Limits, Served, Server};
use super::{Loop, Task, World};
use crate::config::{
    ACCEPT_PAUSE, DATAGRAM_BYTES, DRC_BYTES, NODE_IDLE, READ_INLINE_BYTES, READ_INLINE_TIME,
    REPLY_BLOCK_COUNT, REPLY_BYTES, REQUEST_BLOCK_COUNT, REQUEST_BYTES, RX_BYTES, TX_BYTES,
};
use crate::drive::service::connection::DISCONNECTED;
use crate::engine::programs::ProgramSet;
use crate::engine::sessions::Rpc;
use crate::engine::testing::calls::{Call, CallId, all_calls, large_calls};
use crate::engine::testing::replies::{self, Body};
use crate::engine::testing::tree::{Host, Tree, big};
use crate::engine::testing::{Bench as Programs, EVERYTHING, programs};
use crate::event::testing::Sink;
use crate::event::{Event, Events, Fatal};
use crate::net::sim::{Peer, Sim};
use crate::net::{Binding, Ready};
use crate::stats::Meter;
use crate::sys::Needs;
use crate::time::Duration;
use crate::vfs::{self, FsError};
use crate::wire::portmap;
use cases::random::{Random, for_seeds};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// Address of the server under test.
const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), 2049);
const PORTMAP_AT: SocketAddr = SocketAddr::new(AT.ip(), portmap::PORT);
const LISTENER_COUNT: usize = 2;
/// A time that is long enough for every reply and shorter than every timeout.
const MOMENT: Duration = Duration::from_ms(100);

/// A service at one address, and perhaps one of datagrams, as a task.
type Serving<S> = service::Serving<S, At>;

/// The addresses of a service: of its connections, and perhaps of datagrams.
struct At(SocketAddr, Option<SocketAddr>);

impl<S> Server<S> for At {
    fn start(
        &mut self,
        _: &mut S,
        served: &mut Served,
        world: &mut World<'_>,
    ) -> Result<(), Fatal> {
        assert_eq!(served.listen(world, self.0, 0), Ok(self.0));
        if let Some(at) = self.1 {
            assert_eq!(served.bind(world, &Binding::of(at), 1), Ok(()));
        }
        Ok(())
    }

    fn add_needs(&self, _: &mut Needs) {}
}

/// Limits for `connection_count` connections of a service whose requests have at most `request_bytes` bytes.
fn limits(connection_count: usize, request_bytes: usize) -> Limits {
    Limits {
        protocol: crate::stats::Family::Rpc,
        connection_count,
        request_bytes,
        request_count: REQUEST_BLOCK_COUNT,
        reply_bytes: REPLY_BYTES,
        reply_count: REPLY_BLOCK_COUNT,
        held_bytes: 0,
        held_count: 0,
        socket_count: 8,
        datagram_bytes: DATAGRAM_BYTES,
        times: None,
    }
}

/// The RPC programs as a task.
fn rpc_server(connection_count: usize) -> Serving<Rpc> {
    let mut service = Rpc::new(programs(vec![0; DRC_BYTES].leak()), connection_count);
    service.set_service(0, EVERYTHING);
    service.set_service(1, ProgramSet::PORTMAP);
    Serving {
        service,
        served: Served::new(&limits(connection_count, REQUEST_BYTES)),
        server: At(AT, Some(PORTMAP_AT)),
    }
}

/// Calls `run` with a loop over `tasks` on the simulated network.
fn with_loop<T>(
    sim: &Sim,
    tree: &mut vfs::Tree,
    tasks: &mut [&mut dyn Task],
    sink: &Sink,
    run: impl FnOnce(&mut Loop<'_, '_>) -> T,
) -> T {
    let mut events = Events::new(Box::new(sink.clone()));
    let (mut rx, mut tx) = (vec![0; RX_BYTES], vec![0; TX_BYTES]);
    let (mut net, now) = (sim.clone(), sim.now());
    let (net, events) = (&mut net, &mut events);
    run(&mut Loop::new(
        net,
        tree,
        tasks,
        events,
        [&mut rx, &mut tx],
        &mut Meter::default(),
        now,
    ))
}

/// A server with its network, tree and clients.
struct Bench {
    sim: Sim,
    server: Serving<Rpc>,
    tree: Tree,
    host: Rc<Host>,
    sink: Sink,
    peers: Vec<Peer>,
}

/// Runs `script` with a server for `connection_count` connections, then checks that no resource is held.
fn with_server(seed: u64, connection_count: usize, script: impl FnOnce(&mut Bench)) {
    with_server_on(seed, connection_count, false, script);
}

/// As [`with_server`], optionally with workers.
fn with_server_on(
    seed: u64,
    connection_count: usize,
    has_threads: bool,
    script: impl FnOnce(&mut Bench),
) {
    let (sim, sink) = (Sim::new(seed), Sink::default());
    let tree = Tree::writable();
    let host = tree.host.clone();
    let committing = host.clone();
    sim.set_witness(move || {
        assert!(
            !committing.is_dirty.get(),
            "replied before the change is durable"
        )
    });
    if has_threads {
        let host = host.clone();
        sim.set_file_to_watch(move || host.in_flight.get() && !host.holds_jobs.get());
    }
    let mut bench = Bench {
        server: rpc_server(connection_count),
        sim,
        tree,
        host,
        sink,
        peers: Vec::new(),
    };
    bench.with_loop(|server| assert_eq!(server.start(), Ok(())));
    script(&mut bench);
    bench.peers.iter().for_each(|peer| bench.sim.hang_up(*peer));
    bench.sim.set_descriptors(usize::MAX);
    bench.run(ACCEPT_PAUSE);
    bench.run(MOMENT);
    assert_eq!(
        bench.sim.open_count(),
        LISTENER_COUNT,
        "a socket is still open"
    );
    assert_eq!(bench.server.served.requests.holders().count(), 0);
    assert_eq!(bench.server.served.replies.holders().count(), 0);
    assert_eq!(bench.tree.ram().pinned, 0, "a pin is still held");
    bench.tree.ram().check();
}

impl Bench {
    /// Runs the loop for `time`.
    fn run(&mut self, time: Duration) {
        self.sim.allow(time);
        self.with_loop(|all| all.turns());
    }

    /// Calls `run` with a loop over the server.
    fn with_loop<T>(&mut self, run: impl FnOnce(&mut Loop<'_, '_>) -> T) -> T {
        let tasks: &mut [&mut dyn Task] = &mut [&mut self.server];
        with_loop(&self.sim, &mut self.tree, tasks, &self.sink, run)
    }

    /// One turn of the loop.
    fn turn(&mut self) {
        self.with_loop(|server| server.turn(&mut Ready::default()));
    }

    fn connect(&mut self) -> Peer {
        let peer = self.sim.connect(AT);
        self.peers.push(peer);
        peer
    }

    /// Returns the replies that a peer received; asserts that they answer exactly `calls`.
    #[track_caller]
    fn answers(&self, peer: Peer, calls: &[Call]) -> Vec<Body> {
        let bytes = self.sim.read_sent(peer);
        let answers = replies::records(&bytes).unwrap();
        assert_eq!(answers.len(), calls.len());
        let read = |(answer, call): (&&[u8], &Call)| {
            let asked = CallId::of(&call.0).unwrap();
            replies::parse(answer, asked).unwrap().unwrap()
        };
        answers.iter().zip(calls).map(read).collect()
    }

    /// As [`Bench::answers`] for one call.
    #[track_caller]
    fn answer(&self, peer: Peer, call: &Call) -> Body {
        self.answers(peer, core::slice::from_ref(call)).remove(0)
    }

    /// Sends a call and returns its reply, which must arrive within [`MOMENT`].
    #[track_caller]
    fn ask(&mut self, peer: Peer, call: &Call) -> Body {
        self.sim.send(peer, &call.record());
        self.run(MOMENT);
        self.answer(peer, call)
    }

    /// Counts the log lines that contain `words`.
    fn reported_count(&self, event: impl Into<Event>) -> usize {
        let words = event.into().text.known();
        let lines = self.sink.lines();
        lines.iter().filter(|line| line.contains(words)).count()
    }
}

/// READ of the big file.
fn read(offset: u64, count: u32) -> Call {
    Call::read(&Programs::default().handle("big"), offset, count)
}

#[track_caller]
fn check_data(body: &Body, offset: usize, len: usize) {
    assert!(body.bytes == big()[offset..offset + len]);
}

/// The calls of [`all_calls`], with distinct xids.
fn numbered_calls() -> Vec<Call> {
    let calls = all_calls(&mut Programs::default()).into_iter();
    calls
        .zip(1..)
        .map(|((_, call), xid)| call.xid(xid))
        .collect()
}

/// The records of calls, one after the other.
fn stream(calls: &[Call]) -> Vec<u8> {
    let records: Vec<_> = calls.iter().map(Call::record).collect();
    records.concat()
}

#[test]
fn every_request_gets_its_reply() {
    with_server(0, 10, |bench| {
        let peer = bench.connect();
        let large = large_calls(&mut Programs::default()).into_iter();
        for call in numbered_calls()
            .into_iter()
            .chain(large.map(|(_, call)| call))
        {
            assert_eq!(bench.ask(peer, &call).status, 0);
        }
        assert!(!bench.sim.is_closed(peer));
    });
}

#[test]
fn requests_in_any_pieces_are_answered_in_order() {
    let calls = numbered_calls();
    let stream = stream(&calls);
    for_seeds(40, |seed| {
        with_server(seed, 10, |bench| {
            bench.sim.send_in_parts();
            let mut random = Random::new(seed);
            let peer = bench.connect();
            let largest = *random.pick(&[1, 2, 3, 7, 40, 200, 3000, usize::MAX]);
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(1 + random.below(largest)));
                bench.sim.send(peer, piece);
                bench.run(Duration::from_ms(1));
                rest = more;
            }
            bench.run(MOMENT);
            bench.answers(peer, &calls);
        });
    });
}

/// The behaviour of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    Good,
    HangsUp,
    StopsReading,
    TalksRubbish,
}

#[test]
fn bad_clients_do_not_disturb_good_ones() {
    const MANNERS: &[Manner] = &[
        Manner::Good,
        Manner::Good,
        Manner::HangsUp,
        Manner::StopsReading,
        Manner::TalksRubbish,
    ];
    let calls = numbered_calls();
    for_seeds(50, |seed| {
        with_server(seed, 40, |bench| {
            bench.sim.send_in_parts();
            let mut random = Random::new(seed);
            let mut clients: Vec<_> = (0..30)
                .map(|_| {
                    let asked = (0..10).map(|xid| random.pick(&calls).clone().xid(xid));
                    let asked: Vec<Call> = asked.collect();
                    let stream = stream(&asked);
                    let peer = bench.connect();
                    bench.sim.set_capacity(peer, 1000 + random.below(100_000));
                    (peer, *random.pick(MANNERS), asked, stream)
                })
                .collect();
            while clients.iter().any(|(.., stream)| !stream.is_empty()) {
                let number = random.below(clients.len());
                let (peer, manner, _, stream) = &mut clients[number];
                let piece = stream.len().min(1 + random.below(600));
                bench.sim.send(*peer, &stream[..piece]);
                stream.drain(..piece);
                if random.below(4) == 0 {
                    match manner {
                        Manner::Good => {}
                        Manner::HangsUp => bench.sim.hang_up(*peer),
                        Manner::StopsReading => bench.sim.set_reading(*peer, false),
                        Manner::TalksRubbish => bench.sim.send(*peer, b"rubbish"),
                    }
                }
                bench.run(Duration::from_ms(1));
            }
            bench.run(MOMENT);
            for (peer, manner, asked, _) in &clients {
                if *manner == Manner::Good {
                    bench.answers(*peer, asked);
                }
            }
        });
    });
}

/// Checks large and small READs over a socket whose send buffer is often full.
fn check_interrupted_reads(seed: u64, prepare: impl FnOnce(&Bench)) {
    with_server(seed, 10, |bench| {
        prepare(bench);
        bench.sim.send_in_parts();
        let peer = bench.connect();
        let capacity = 500 + Random::new(seed).below(20_000);
        bench.sim.set_capacity(peer, capacity);
        let calls = [
            read(1, 199_999).xid(1),
            read(7, 3).xid(2),
            read(0, 65_537).xid(3),
        ];
        bench
            .sim
            .send(peer, &calls.each_ref().map(Call::record).concat());
        bench.run(Duration::SECOND);
        let bodies = bench.answers(peer, &calls);
        check_data(&bodies[0], 1, 199_999);
        check_data(&bodies[1], 7, 3);
        check_data(&bodies[2], 0, 65_537);
    });
}

#[test]
fn large_read_continues_after_full_socket() {
    for_seeds(100, |seed| check_interrupted_reads(seed, |_| {}));
}

#[test]
fn sendfile_is_used_where_supported() {
    for_seeds(100, |seed| {
        check_interrupted_reads(seed, |bench| {
            bench.host.has_descriptors.set(true);
            bench.sim.set_file(big().to_vec());
            // Makes a copy with pread fail, so that only sendfile succeeds.
            bench.host.shrunk_len.set(Some(1000));
        });
    });
}

#[test]
fn read_replaces_unsupported_sendfile() {
    with_server(0, 10, |bench| {
        bench.host.has_descriptors.set(true);
        let peer = bench.connect();
        for _ in 0..2 {
            check_data(&bench.ask(peer, &read(3, 150_001)), 3, 150_001);
        }
    });
}

#[test]
fn file_shrinking_during_read_closes_the_connection() {
    for (cut, sent_from) in [0, 10, 100_000, 150_000]
        .into_iter()
        .flat_map(|cut| [(cut, true), (cut, false)])
    {
        with_server(0, 10, |bench| {
            bench.host.shrunk_len.set(Some(cut));
            if sent_from {
                bench.host.has_descriptors.set(true);
                bench.sim.set_file(big()[..cut as usize].to_vec());
            }
            let peer = bench.connect();
            bench.sim.send(peer, &read(0, 150_001).record());
            bench.run(MOMENT);
            assert!(bench.sim.is_closed(peer));
            let got = bench.sim.read_sent(peer).len() as u64;
            assert_eq!(got, 4 + 24 + 4 + 88 + 12 + cut, "never padded");
        });
    }
}

#[test]
fn disk_error_during_read_closes_the_connection() {
    with_server(0, 10, |bench| {
        let peer = bench.connect();
        bench.sim.set_reading(peer, false);
        bench.sim.send(peer, &read(0, 150_001).record());
        bench.run(MOMENT);
        bench.host.io_error.set(Some(FsError::Io));
        bench.sim.set_reading(peer, true);
        bench.run(MOMENT);
        assert!(bench.sim.is_closed(peer));
        // A retry gets the error, then short READs, and after [`READ_INLINE_TIME`] the full length again.
        let again = bench.connect();
        assert_eq!(bench.ask(again, &read(0, 150_001)).status, 5);
        bench.host.io_error.set(None);
        let len = READ_INLINE_BYTES as usize;
        check_data(&bench.ask(again, &read(0, 150_001)), 0, len);
        bench.run(READ_INLINE_TIME);
        check_data(&bench.ask(again, &read(0, 150_001)), 0, 150_001);
    });
}

#[test]
fn disconnect_leaks_nothing() {
    let stream = stream(&numbered_calls());
    for_seeds(200, |seed| {
        with_server(seed, 10, |bench| {
            bench.sim.send_in_parts();
            let mut random = Random::new(seed);
            let peer = bench.connect();
            bench.sim.set_capacity(peer, 1 + random.below(100_000));
            bench.sim.set_reading(peer, random.below(2) == 0);
            bench.sim.send(peer, &stream[..random.below(stream.len())]);
            bench.run(Duration::from_ms(1 + random.below(3) as u32));
            bench.sim.hang_up(peer);
            bench.run(MOMENT);
            assert!(bench.sim.is_closed(peer));
        });
    });
}

#[test]
fn invalid_record_is_logged_and_closes_connection() {
    with_server(0, 10, |bench| {
        let peer = bench.connect();
        bench.sim.send(peer, b"GET / HTTP/1.1\r\n\r\n");
        bench.run(MOMENT);
        assert!(bench.sim.is_closed(peer));
        assert_eq!(bench.reported_count(DISCONNECTED), 1);
    });
}

#[test]
fn only_valid_datagrams_are_answered() {
    with_server(0, 10, |bench| {
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 800);
        let call = Call::new(portmap::PROGRAM, 2, 3).words(&[100_003, 3, 6, 0]);
        bench.sim.send_datagram(PORTMAP_AT, from, &call.0);
        bench.sim.send_datagram(PORTMAP_AT, from, b"strange");
        bench.sim.send_datagram(PORTMAP_AT, from, &[]);
        bench.run(MOMENT);
        let sent = bench.sim.read_sent_datagrams();
        assert_eq!(sent.len(), 1);
        let body = replies::parse(&sent[0].0, CallId::of(&call.0).unwrap());
        assert_eq!(body.unwrap().unwrap().words, [2049]);
        assert_eq!(sent[0].1, from);
    });
}

#[test]
fn idle_server_closes_files_then_sleeps() {
    with_server(0, 10, |bench| {
        bench.run(Duration::from_secs(10));
        assert_eq!(bench.sim.sleep(), None, "nothing happened yet");
        let peer = bench.connect();
        bench.host.releases_left.set(1);
        bench.ask(peer, &read(5, 10));
        assert!(bench.sim.sleep().is_some());
        assert_eq!(bench.host.release_calls.get(), 0);
        bench.run(NODE_IDLE);
        assert_eq!(bench.host.release_calls.get(), 1);
        bench.run(NODE_IDLE);
        assert_eq!(bench.host.release_calls.get(), 2);
        bench.run(Duration::from_secs(3600));
        assert_eq!(
            (bench.host.release_calls.get(), bench.sim.sleep()),
            (2, None)
        );
        assert!(!bench.sim.is_closed(peer));
    });
}
