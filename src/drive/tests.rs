//! The loop between the net in memory and the model tree: who waits, who gives way, and that all of it comes back.

mod tree;

use super::Driver;
use crate::config::{
    ACCEPT_PAUSE, EVENT_COUNT_PER_MINUTE, IDLE_PATIENCE, NODE_IDLE, PRESSED_PATIENCE,
    REPLY_BLOCK_COUNT, REPLY_PATIENCE, REQUEST_BLOCK_COUNT, REQUEST_INLINE_BYTES, REQUEST_PATIENCE,
    SILENT_PATIENCE,
};
use crate::engine::rpc::Service;
use crate::engine::tests::calls::{Asked, Call, every};
use crate::engine::tests::random::{Random, for_seeds};
use crate::engine::tests::replies::{self, Body};
use crate::engine::tests::{EVERYTHING, World, big_byte, programs};
use crate::event::Events;
use crate::event::tests::Sink;
use crate::net::sim::{Peer, Sim};
use crate::time::Duration;
use crate::wire::portmap;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use tree::{Host, Tree};

/// Where the tests' server is.
const AT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1)), 2049);
const PORTMAP_AT: SocketAddr = SocketAddr::new(AT.ip(), portmap::PORT);
const DOOR_COUNT: usize = 2;
/// Long for a machine, short for every patience.
const MOMENT: Duration = Duration::from_ms(100);

/// A server and its surroundings.
struct Bench<'a> {
    sim: Sim,
    driver: Driver<'a>,
    host: Rc<Host>,
    sink: Sink,
    peers: Vec<Peer>,
}

/// Runs `script` with a server for so many connections. In the end nothing may be held, whatever happened.
fn with_server(seed: u64, connection_count: usize, script: impl FnOnce(&mut Bench<'_>)) {
    let (sim, host, sink) = (Sim::new(seed), Rc::new(Host::default()), Sink::default());
    let (mut net, mut tree) = (sim.clone(), Tree::new(host.clone()));
    let events = Events::new(Box::new(sink.clone()));
    let mut bench = Bench {
        driver: Driver::new(
            &mut net,
            &mut tree,
            events,
            programs(),
            connection_count,
            sim.now(),
        ),
        sim,
        host,
        sink,
        peers: Vec::new(),
    };
    assert_eq!(bench.driver.listen(AT, EVERYTHING), Ok(AT));
    let portmap = Service {
        portmap: true,
        ..Service::default()
    };
    assert_eq!(bench.driver.bind(PORTMAP_AT, portmap), Ok(PORTMAP_AT));
    script(&mut bench);
    bench.peers.iter().for_each(|peer| bench.sim.hang_up(*peer));
    bench.sim.set_descriptors(usize::MAX);
    bench.run(ACCEPT_PAUSE);
    bench.run(MOMENT);
    assert_eq!(bench.sim.open_count(), DOOR_COUNT, "a socket is still open");
    assert_eq!(bench.driver.requests.holders().count(), 0);
    assert_eq!(bench.driver.replies.holders().count(), 0);
    drop(bench);
    assert_eq!(tree.ram.pinned, 0, "a pin is still held");
}

impl Bench<'_> {
    /// Lets so much time pass.
    fn run(&mut self, time: Duration) {
        self.sim.allow(time);
        self.driver.run();
    }

    fn connect(&mut self) -> Peer {
        let peer = self.sim.connect(AT);
        self.peers.push(peer);
        peer
    }

    fn connect_many(&mut self, count: usize) -> Vec<Peer> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Peers that ask for so many bytes and read only the head of the reply.
    fn connect_stopped(&mut self, count: usize, bytes: u32) -> Vec<Peer> {
        let peers = self.connect_many(count);
        for peer in &peers {
            self.sim.set_reading(*peer, false);
            self.sim.set_room(*peer, 1000);
            self.sim.send(*peer, &read(0, bytes).record());
        }
        self.run(MOMENT);
        peers
    }

    /// What a peer has read: the answers to `calls`, all of them.
    #[track_caller]
    fn answers(&self, peer: Peer, calls: &[Call]) -> Vec<Body> {
        let bytes = self.sim.take(peer);
        let answers = replies::records(&bytes).unwrap();
        assert_eq!(answers.len(), calls.len());
        let read = |(answer, call): (&&[u8], &Call)| {
            let asked = Asked::of(&call.0).unwrap();
            replies::parse(answer, asked).unwrap().unwrap()
        };
        answers.iter().zip(calls).map(read).collect()
    }

    /// Asks, and has the answer within a moment.
    #[track_caller]
    fn ask(&mut self, peer: Peer, call: &Call) -> Body {
        self.sim.send(peer, &call.record());
        self.run(MOMENT);
        self.answers(peer, core::slice::from_ref(call)).remove(0)
    }

    fn closed_count(&self) -> usize {
        let closed = |peer: &&Peer| self.sim.is_closed(**peer);
        self.peers.iter().filter(closed).count()
    }
}

/// READ of the big file.
fn read(offset: u64, count: u32) -> Call {
    Call::read(&World::new().handle("big"), offset, count)
}

#[track_caller]
fn check_data(body: &Body, offset: usize, len: usize) {
    assert_eq!(body.bytes.len(), len);
    let expect = (offset..).map(big_byte);
    assert!(body.bytes.iter().copied().zip(expect).all(|(got, expect)| got == expect));
}

/// All calls there are, under xids of their own.
fn all_calls() -> Vec<Call> {
    let calls = every(&mut World::new()).into_iter();
    calls
        .zip(1..)
        .map(|((_, call), xid)| call.xid(xid))
        .collect()
}

#[test]
fn every_request_has_its_reply() {
    with_server(0, 10, |bench| {
        let peer = bench.connect();
        for call in all_calls() {
            bench.ask(peer, &call);
        }
        assert!(!bench.sim.is_closed(peer));
    });
}

#[test]
fn requests_come_in_pieces_of_any_size_and_are_answered_in_order() {
    let calls = all_calls();
    let stream: Vec<u8> = calls.iter().flat_map(Call::record).collect();
    for_seeds(100, |seed| {
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

#[test]
fn a_large_read_goes_on_where_a_full_socket_interrupted_it() {
    for_seeds(100, |seed| {
        with_server(seed, 10, |bench| {
            bench.sim.send_in_parts();
            let peer = bench.connect();
            bench.sim.set_room(peer, 500 + Random::new(seed).below(20_000));
            let calls = [read(1, 199_999).xid(1), read(7, 3).xid(2), read(0, 65_537).xid(3)];
            bench.sim.send(peer, &calls.each_ref().map(Call::record).concat());
            bench.run(Duration::SECOND);
            let bodies = bench.answers(peer, &calls);
            check_data(&bodies[0], 1, 199_999);
            check_data(&bodies[1], 7, 3);
            check_data(&bodies[2], 0, 65_537);
        });
    });
}

#[test]
fn where_files_cannot_be_sent_from_they_are_read() {
    with_server(0, 10, |bench| {
        bench.host.numbered.set(true);
        let peer = bench.connect();
        for _ in 0..2 {
            check_data(&bench.ask(peer, &read(3, 150_001)), 3, 150_001);
        }
    });
}

#[test]
fn a_file_that_shrinks_under_a_promise_ends_the_connection() {
    for cut in [0, 10, 100_000, 150_000] {
        with_server(0, 10, |bench| {
            bench.host.cut.set(Some(cut));
            let peer = bench.connect();
            bench.sim.send(peer, &read(0, 150_001).record());
            bench.run(MOMENT);
            assert!(bench.sim.is_closed(peer));
            let got = bench.sim.take(peer).len() as u64;
            assert_eq!(got, 4 + 24 + 4 + 88 + 12 + cut, "never padded");
        });
    }
}

#[test]
fn who_stops_reading_delays_nobody_and_is_closed_after_a_minute() {
    for count in [60_000, 190_000] {
        with_server(0, 10, |bench| {
            let [stopped, other] = [bench.connect(), bench.connect()];
            bench.sim.set_reading(stopped, false);
            for xid in 0..100 {
                bench.sim.send(stopped, &read(0, count).xid(xid).record());
            }
            bench.run(MOMENT);
            // What was asked beyond one buffer waits in the socket, and there it stays.
            let waiting = bench.sim.unreceived(stopped);
            assert!(waiting > 0);
            bench.run(Duration::from_secs(30));
            assert_eq!(bench.sim.unreceived(stopped), waiting);
            check_data(&bench.ask(other, &read(9, 50_000)), 9, 50_000);
            assert!(!bench.sim.is_closed(stopped));
            bench.run(REPLY_PATIENCE);
            assert!(bench.sim.is_closed(stopped));
            assert!(!bench.sim.is_closed(other));
            assert_eq!(bench.driver.replies.holders().count(), 0);
        });
    }
}

#[test]
fn who_reads_slowly_but_reads_is_kept() {
    with_server(0, 10, |bench| {
        let slow = bench.connect();
        bench.sim.set_reading(slow, false);
        bench.sim.send(slow, &read(0, 60_000).record());
        for step in 1..=7 {
            bench.sim.set_room(slow, step * 10_000);
            bench.run(Duration::from_secs(50));
        }
        assert!(!bench.sim.is_closed(slow));
        bench.sim.set_reading(slow, true);
        bench.run(MOMENT);
        check_data(&bench.answers(slow, &[read(0, 60_000)])[0], 0, 60_000);
    });
}

/// The first half of a request is more than a connection keeps for itself; the second completes it.
fn halves() -> (Call, Vec<u8>, Vec<u8>) {
    let call = read(5, 10);
    let mut first = call.record();
    let second = first.split_off(REQUEST_INLINE_BYTES + 16);
    (call, first, second)
}

#[test]
fn half_requests_beyond_the_blocks_are_turned_away_and_the_others_answered() {
    let (call, first, second) = halves();
    with_server(0, 300, |bench| {
        let peers = bench.connect_many(200);
        peers.iter().for_each(|peer| bench.sim.send(*peer, &first));
        bench.run(MOMENT);
        assert_eq!(bench.closed_count(), 200 - REQUEST_BLOCK_COUNT);
        let kept = peers.iter().filter(|peer| !bench.sim.is_closed(**peer));
        let kept: Vec<Peer> = kept.copied().collect();
        kept.iter().for_each(|peer| bench.sim.send(*peer, &second));
        bench.run(MOMENT);
        for peer in kept {
            check_data(&bench.answers(peer, core::slice::from_ref(&call))[0], 5, 10);
        }
    });
}

#[test]
fn half_requests_that_stall_give_way_to_new_ones() {
    let (call, first, second) = halves();
    with_server(0, 300, |bench| {
        let old = bench.connect_many(REQUEST_BLOCK_COUNT);
        old.iter().for_each(|peer| bench.sim.send(*peer, &first));
        bench.run(PRESSED_PATIENCE);
        bench.run(MOMENT);
        let new = bench.connect_many(72);
        new.iter().for_each(|peer| bench.sim.send(*peer, &first));
        bench.run(MOMENT);
        assert_eq!(bench.closed_count(), 72);
        assert!(new.iter().all(|peer| !bench.sim.is_closed(*peer)));
        let kept = old.iter().chain(&new).filter(|peer| !bench.sim.is_closed(**peer));
        let kept: Vec<Peer> = kept.copied().collect();
        kept.iter().for_each(|peer| bench.sim.send(*peer, &second));
        bench.run(MOMENT);
        for peer in kept {
            check_data(&bench.answers(peer, core::slice::from_ref(&call))[0], 5, 10);
        }
    });
}

#[test]
fn the_beginning_of_a_request_needs_no_block() {
    let (call, first, second) = halves();
    let (start, middle) = first.split_at(REQUEST_INLINE_BYTES);
    with_server(0, 300, |bench| {
        let peers = bench.connect_many(300);
        peers.iter().for_each(|peer| bench.sim.send(*peer, start));
        bench.run(Duration::from_secs(3600));
        assert_eq!(bench.closed_count(), 0);
        let rest = [middle, &second].concat();
        peers.iter().for_each(|peer| bench.sim.send(*peer, &rest));
        bench.run(MOMENT);
        for peer in peers {
            check_data(&bench.answers(peer, core::slice::from_ref(&call))[0], 5, 10);
        }
    });
}

#[test]
fn a_request_that_does_not_end_is_given_ten_seconds_after_each_byte() {
    let (call, first, second) = halves();
    with_server(0, 10, |bench| {
        let [steady, stalled] = [bench.connect(), bench.connect()];
        bench.sim.send(steady, &first);
        bench.sim.send(stalled, &first);
        for byte in second {
            bench.run(Duration::from_secs(9));
            bench.sim.send(steady, &[byte]);
            let may_wait = bench.sim.now().secs() < REQUEST_PATIENCE.as_ms_up() as u32 / 1000;
            assert!(may_wait != bench.sim.is_closed(stalled));
        }
        bench.run(MOMENT);
        check_data(&bench.answers(steady, &[call])[0], 5, 10);
    });
}

#[test]
fn replies_beyond_the_blocks_are_dropped_with_their_connections() {
    with_server(0, 300, |bench| {
        bench.connect_stopped(REPLY_BLOCK_COUNT + 8, 60_000);
        assert_eq!(bench.closed_count(), 8);
        bench.run(PRESSED_PATIENCE);
        let new = bench.connect_stopped(5, 60_000);
        assert_eq!(bench.closed_count(), 8 + 5);
        for peer in new {
            bench.sim.set_reading(peer, true);
            bench.run(MOMENT);
            check_data(&bench.answers(peer, &[read(0, 60_000)])[0], 0, 60_000);
        }
    });
}

#[test]
fn large_reads_that_wait_need_no_blocks() {
    with_server(0, 300, |bench| {
        let peers = bench.connect_stopped(100, 200_000);
        bench.run(Duration::from_secs(5));
        assert_eq!(bench.closed_count(), 0);
        assert_eq!(bench.driver.replies.holders().count(), 0);
        for peer in peers {
            bench.sim.set_reading(peer, true);
            bench.run(MOMENT);
            check_data(&bench.answers(peer, &[read(0, 200_000)])[0], 0, 200_000);
        }
    });
}

#[test]
fn a_full_table_gives_up_who_was_silent_longest() {
    let call = read(5, 10);
    with_server(0, 4, |bench| {
        let mut first = Vec::new();
        for _ in 0..4 {
            first.push(bench.connect());
            bench.run(MOMENT);
        }
        // Who was answered has proved itself: the silent ones go before it.
        bench.ask(first[0], &call);
        bench.run(SILENT_PATIENCE);
        let new = bench.connect();
        bench.ask(new, &call);
        assert!(bench.sim.is_closed(first[1]));
        assert_eq!(bench.closed_count(), 1);
    });
}

#[test]
fn the_last_place_is_taken_without_a_word() {
    with_server(0, 4, |bench| {
        let peers = bench.connect_many(4);
        bench.run(MOMENT);
        assert_eq!(bench.sink.lines(), ["stowaway: stopping"]);
        bench.sim.hang_up(peers[0]);
        bench.run(MOMENT);
        let next = bench.connect();
        bench.ask(next, &read(5, 10));
    });
}

#[test]
fn a_full_table_of_proven_clients_makes_new_ones_wait_their_turn() {
    let call = read(5, 10);
    with_server(0, 4, |bench| {
        let proven = bench.connect_many(4);
        for peer in &proven {
            bench.ask(*peer, &call);
        }
        let [early, late] = [bench.connect(), bench.connect()];
        bench.sim.send(early, &call.record());
        bench.run(Duration::from_secs(10));
        assert_eq!(bench.closed_count(), 0);
        assert_eq!(bench.sim.unreceived(early), call.record().len());
        bench.sim.hang_up(proven[2]);
        bench.run(ACCEPT_PAUSE);
        bench.run(MOMENT);
        check_data(&bench.answers(early, core::slice::from_ref(&call))[0], 5, 10);
        // After a minute of silence the proven ones go as well.
        bench.run(IDLE_PATIENCE);
        bench.ask(late, &call);
        assert!(bench.closed_count() >= 2);
    });
}

#[test]
fn no_descriptor_for_a_connection_is_waited_out_without_spinning() {
    let call = read(5, 10);
    with_server(0, 10, |bench| {
        let proven = bench.connect();
        bench.ask(proven, &call);
        bench.sim.set_descriptors(DOOR_COUNT + 1);
        let waiting = bench.connect();
        let before = bench.sim.accept_calls();
        bench.run(Duration::from_secs(30));
        let calls = bench.sim.accept_calls() - before;
        assert!((30..=70).contains(&calls), "{calls} in 30 s");
        let told = bench.sink.lines();
        let told = told.iter().filter(|line| line.contains("descriptor")).count();
        assert!((1..=EVENT_COUNT_PER_MINUTE as usize).contains(&told), "told {told} times");
        bench.ask(proven, &call);
        bench.sim.set_descriptors(DOOR_COUNT + 2);
        bench.run(ACCEPT_PAUSE);
        bench.ask(waiting, &call);
    });
}

#[test]
fn a_descriptor_is_taken_from_who_never_asked_anything() {
    let call = read(5, 10);
    with_server(0, 10, |bench| {
        let [silent, proven] = [bench.connect(), bench.connect()];
        bench.ask(proven, &call);
        bench.run(SILENT_PATIENCE);
        bench.sim.set_descriptors(DOOR_COUNT + 2);
        let new = bench.connect();
        bench.ask(new, &call);
        assert!(bench.sim.is_closed(silent) && !bench.sim.is_closed(proven));
    });
}

#[test]
fn who_hangs_up_leaves_nothing_behind() {
    let stream: Vec<u8> = all_calls().iter().flat_map(Call::record).collect();
    for_seeds(200, |seed| {
        with_server(seed, 10, |bench| {
            bench.sim.send_in_parts();
            let mut random = Random::new(seed);
            let peer = bench.connect();
            bench.sim.set_room(peer, 1 + random.below(100_000));
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
fn what_is_no_call_is_told_and_closed() {
    with_server(0, 10, |bench| {
        let peer = bench.connect();
        bench.sim.send(peer, b"GET / HTTP/1.1\r\n\r\n");
        bench.run(MOMENT);
        assert!(bench.sim.is_closed(peer));
        let told = bench.sink.lines();
        assert!(told.iter().any(|line| line.contains("10.0.0.0")), "{told:?}");
    });
}

#[test]
fn a_datagram_has_its_answer_and_a_strange_one_none() {
    with_server(0, 10, |bench| {
        let from = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)), 800);
        let call = Call::new(portmap::PROGRAM, 2, 3).words(&[100_003, 3, 6, 0]);
        bench.sim.send_datagram(PORTMAP_AT, from, &call.0);
        bench.sim.send_datagram(PORTMAP_AT, from, b"strange");
        bench.sim.send_datagram(PORTMAP_AT, from, &[]);
        bench.run(MOMENT);
        let sent = bench.sim.take_datagrams();
        assert_eq!(sent.len(), 1);
        let body = replies::parse(&sent[0].0, Asked::of(&call.0).unwrap());
        assert_eq!(body.unwrap().unwrap().words, [2049]);
        assert_eq!(sent[0].1, from);
    });
}

#[test]
fn files_are_let_go_when_nothing_is_asked_and_then_nothing_wakes() {
    with_server(0, 10, |bench| {
        bench.run(Duration::from_secs(10));
        assert_eq!(bench.sim.sleep(), None, "nothing happened yet");
        let peer = bench.connect();
        bench.host.to_rest.set(1);
        bench.ask(peer, &read(5, 10));
        assert!(bench.sim.sleep().is_some());
        assert_eq!(bench.host.rests.get(), 0);
        bench.run(NODE_IDLE);
        assert_eq!(bench.host.rests.get(), 1);
        bench.run(NODE_IDLE);
        assert_eq!(bench.host.rests.get(), 2);
        bench.run(Duration::from_secs(3600));
        assert_eq!((bench.host.rests.get(), bench.sim.sleep()), (2, None));
        assert!(!bench.sim.is_closed(peer));
    });
}
