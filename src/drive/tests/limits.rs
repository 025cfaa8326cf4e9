//! Limits: blocks for requests and replies, slots, descriptors, timeouts; which connections wait, are evicted or are kept.

use super::{AT, Bench, LISTENER_COUNT, MOMENT, check_data, read, with_server};
use crate::config::{
    ACCEPT_PAUSE, EVENT_COUNT_PER_MINUTE, IDLE_TIMEOUT, REPLY_BLOCK_COUNT, REPLY_TIMEOUT,
    REQUEST_BLOCK_COUNT, REQUEST_INLINE_BYTES, REQUEST_TIMEOUT, SILENT_TIMEOUT,
};
use crate::drive::service::connection::TABLE_FULL;
use crate::engine::testing::calls::Call;
use crate::event;
use crate::net::sim::{Peer, SEND_BYTES};
use crate::time::Duration;
use core::net::IpAddr;

impl Bench {
    fn connect_many(&mut self, count: usize) -> Vec<Peer> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// Connects `count` peers that request a READ of `bytes` bytes and accept only the head of the reply.
    fn connect_stopped(&mut self, count: usize, bytes: u32) -> Vec<Peer> {
        let peers = self.connect_many(count);
        for peer in &peers {
            self.sim.set_reading(*peer, false);
            self.sim.set_capacity(*peer, 1000);
            self.sim.send(*peer, &read(0, bytes).record());
        }
        self.run(MOMENT);
        peers
    }

    /// Sends the `rest` of `call` on every open connection and checks the replies.
    fn complete(&mut self, call: &Call, rest: &[u8]) {
        let open = self.peers.iter().filter(|peer| !self.sim.is_closed(**peer));
        let open: Vec<Peer> = open.copied().collect();
        open.iter().for_each(|peer| self.sim.send(*peer, rest));
        self.run(MOMENT);
        for peer in open {
            check_data(&self.answer(peer, call), 5, 10);
        }
    }

    fn closed_count(&self) -> usize {
        let closed = |peer: &&Peer| self.sim.is_closed(**peer);
        self.peers.iter().filter(closed).count()
    }
}

#[test]
fn client_that_stops_reading_is_closed_after_timeout() {
    for count in [60_000, 190_000] {
        with_server(0, 10, |bench| {
            let [stopped, other] = [bench.connect(), bench.connect()];
            bench.sim.set_reading(stopped, false);
            for xid in 0..100 {
                bench.sim.send(stopped, &read(0, count).xid(xid).record());
            }
            bench.run(MOMENT);
            // The server stops reading until its replies are read, so later requests stay in the socket.
            let waiting = bench.sim.unreceived(stopped);
            assert!(waiting > 0);
            bench.run(Duration::from_secs(30));
            assert_eq!(bench.sim.unreceived(stopped), waiting);
            check_data(&bench.ask(other, &read(9, 50_000)), 9, 50_000);
            assert!(!bench.sim.is_closed(stopped));
            bench.run(REPLY_TIMEOUT);
            assert!(bench.sim.is_closed(stopped));
            assert!(!bench.sim.is_closed(other));
            assert_eq!(bench.server.served.replies.holders().count(), 0);
        });
    }
}

/// A short send may end anywhere in a reply's head or in its data, also exactly after the head.
#[test]
fn short_send_may_split_reply_head_anywhere() {
    for capacity in 1..300 {
        with_server(0, 10, |bench| {
            let peer = bench.connect();
            bench.sim.set_reading(peer, false);
            bench.sim.set_capacity(peer, capacity);
            let call = read(0, 200_000);
            bench.sim.send(peer, &call.record());
            bench.run(MOMENT);
            assert!(!bench.sim.is_closed(peer));
            bench.sim.set_capacity(peer, SEND_BYTES);
            bench.sim.set_reading(peer, true);
            bench.run(MOMENT);
            check_data(&bench.answer(peer, &call), 0, 200_000);
        });
    }
}

#[test]
fn slow_reader_is_kept() {
    for bytes in [60_000, 200_000] {
        with_server(0, 10, |bench| {
            let slow = bench.connect();
            bench.sim.set_reading(slow, false);
            bench.sim.send(slow, &read(0, bytes).record());
            for step in 1..=5 {
                bench.sim.set_capacity(slow, step * bytes as usize / 5);
                bench.run(Duration::from_secs(50));
            }
            assert!(!bench.sim.is_closed(slow));
            bench.sim.set_reading(slow, true);
            bench.run(MOMENT);
            check_data(&bench.answer(slow, &read(0, bytes)), 0, bytes as usize);
        });
    }
}

/// A READ call and the two parts of its record. The first part is too long to be kept inline in a connection's slot.
fn halves() -> (Call, Vec<u8>, Vec<u8>) {
    let call = read(5, 10);
    let mut first = call.record();
    let second = first.split_off(REQUEST_INLINE_BYTES + 16);
    (call, first, second)
}

#[test]
fn stalled_half_requests_are_evicted_for_new_ones() {
    let (call, first, second) = halves();
    with_server(0, 300, |bench| {
        let old = bench.connect_many(REQUEST_BLOCK_COUNT);
        old.iter().for_each(|peer| bench.sim.send(*peer, &first));
        bench.run(MOMENT);
        let new = bench.connect_many(72);
        new.iter().for_each(|peer| bench.sim.send(*peer, &first));
        bench.run(MOMENT);
        assert_eq!(bench.closed_count(), 0);
        bench.run(SILENT_TIMEOUT);
        bench.run(Duration::SECOND);
        assert_eq!(bench.closed_count(), 72);
        assert!(new.iter().all(|peer| !bench.sim.is_closed(*peer)));
        bench.complete(&call, &second);
    });
}

#[test]
fn whole_requests_need_no_block_and_halves_wait() {
    let (call, first, second) = halves();
    with_server(0, 300, |bench| {
        let holders = bench.connect_many(REQUEST_BLOCK_COUNT);
        holders
            .iter()
            .for_each(|peer| bench.sim.send(*peer, &first));
        bench.run(MOMENT);
        let [whole, half, gone] = [bench.connect(), bench.connect(), bench.connect()];
        bench.sim.send(half, &first);
        bench.sim.send(gone, &first);
        // The second call is a partial request until its rest arrives.
        bench
            .sim
            .send(whole, &[&call.record()[..], &first].concat());
        bench.run(MOMENT);
        check_data(&bench.answer(whole, &call), 5, 10);
        assert_eq!(bench.sim.unreceived(whole), first.len());
        assert_eq!(bench.sim.unreceived(half), first.len());
        bench.sim.hang_up(gone);
        // A block is free: the connection that waited longest gets it.
        bench.sim.send(holders[0], &second);
        bench.run(MOMENT);
        check_data(&bench.answer(holders[0], &call), 5, 10);
        let waiting = [half, whole].map(|peer| bench.sim.unreceived(peer) > 0);
        assert!(waiting[0] != waiting[1], "{waiting:?}");
        // A request that is completed meanwhile needs no block.
        bench.sim.send(whole, &second);
        bench.sim.send(half, &second);
        bench.run(Duration::SECOND);
        check_data(&bench.answer(whole, &call), 5, 10);
        check_data(&bench.answer(half, &call), 5, 10);
        assert_eq!(bench.closed_count(), 1);
    });
}

#[test]
fn start_of_a_request_needs_no_block() {
    let (call, first, second) = halves();
    for len in [1, REQUEST_INLINE_BYTES] {
        let (start, middle) = first.split_at(len);
        with_server(0, 300, |bench| {
            let peers = bench.connect_many(300);
            peers.iter().for_each(|peer| bench.sim.send(*peer, start));
            bench.run(Duration::from_secs(9));
            assert_eq!(bench.closed_count(), 0);
            bench.complete(&call, &[middle, &second].concat());
            // The request timeout also closes connections whose partial request uses no block.
            peers.iter().for_each(|peer| bench.sim.send(*peer, start));
            bench.run(REQUEST_TIMEOUT);
            bench.run(Duration::SECOND);
            bench.run(MOMENT);
            assert_eq!(bench.closed_count(), 300);
        });
    }
}

#[test]
fn unfinished_request_times_out_after_its_last_byte() {
    let (call, first, second) = halves();
    with_server(0, 10, |bench| {
        let [steady, stalled] = [bench.connect(), bench.connect()];
        bench.sim.send(steady, &first);
        bench.sim.send(stalled, &first);
        for byte in second {
            bench.run(Duration::from_secs(9));
            bench.sim.send(steady, &[byte]);
            let may_wait = bench.sim.now().secs() < REQUEST_TIMEOUT.as_ms() as u32 / 1000;
            assert!(may_wait != bench.sim.is_closed(stalled));
        }
        bench.run(MOMENT);
        check_data(&bench.answer(steady, &call), 5, 10);
    });
}

/// A client that reads its replies is not closed, also if the kernel has no memory for its next reply for a moment.
#[test]
fn replies_beyond_blocks_close_longest_unread_ones() {
    with_server(0, 300, |bench| {
        let old = bench.connect_stopped(REPLY_BLOCK_COUNT, 60_000);
        let new = bench.connect_stopped(8, 60_000);
        assert_eq!(bench.closed_count(), 8);
        let closed = old.iter().filter(|peer| bench.sim.is_closed(**peer));
        assert_eq!(closed.count(), 8);
        for peer in new {
            bench.sim.set_reading(peer, true);
            bench.run(MOMENT);
            check_data(&bench.answer(peer, &read(0, 60_000)), 0, 60_000);
        }
    });
}

#[test]
fn waiting_large_reads_need_no_blocks() {
    with_server(0, 300, |bench| {
        let peers = bench.connect_stopped(100, 200_000);
        bench.run(Duration::from_secs(5));
        assert_eq!(bench.closed_count(), 0);
        assert_eq!(bench.server.served.replies.holders().count(), 0);
        for peer in peers {
            bench.sim.set_reading(peer, true);
            bench.run(MOMENT);
            check_data(&bench.answer(peer, &read(0, 200_000)), 0, 200_000);
        }
    });
}

#[test]
fn full_table_evicts_longest_silent_connection() {
    let call = read(5, 10);
    with_server(0, 4, |bench| {
        let mut silent = Vec::new();
        for _ in 0..4 {
            silent.push(bench.connect());
            bench.run(MOMENT);
        }
        bench.run(SILENT_TIMEOUT);
        for (closed, oldest) in (1..).zip(silent) {
            let new = bench.connect();
            bench.ask(new, &call);
            assert!(bench.sim.is_closed(oldest));
            assert_eq!(bench.closed_count(), closed);
        }
    });
}

#[test]
fn full_table_evicts_silent_before_proven_connections() {
    let call = read(5, 10);
    with_server(0, 4, |bench| {
        let proven = bench.connect();
        bench.ask(proven, &call);
        bench.run(MOMENT);
        let silent = bench.connect_many(3);
        bench.run(IDLE_TIMEOUT);
        for closed in 1..=3 {
            let new = bench.connect();
            bench.ask(new, &call);
            assert_eq!(bench.closed_count(), closed);
        }
        assert!(silent.iter().all(|peer| bench.sim.is_closed(*peer)));
        let new = bench.connect();
        bench.ask(new, &call);
        assert!(bench.sim.is_closed(proven));
    });
}

#[test]
fn filling_the_last_slot_logs_nothing() {
    with_server(0, 4, |bench| {
        let peers = bench.connect_many(4);
        bench.run(MOMENT);
        assert_eq!(bench.reported_count(event::FULL), 0);
        assert_eq!(bench.reported_count(TABLE_FULL), 0);
        bench.sim.hang_up(peers[0]);
        bench.run(MOMENT);
        let next = bench.connect();
        bench.ask(next, &read(5, 10));
    });
}

#[test]
fn new_client_waits_while_proven_clients_fill_table() {
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
        assert_eq!(bench.reported_count(event::FULL), 0);
        assert!(bench.reported_count(TABLE_FULL) > 0);
        bench.sim.hang_up(proven[2]);
        bench.run(ACCEPT_PAUSE);
        bench.run(MOMENT);
        check_data(&bench.answer(early, &call), 5, 10);
        // After a minute of silence, connections with replies are evicted as well.
        bench.run(IDLE_TIMEOUT);
        bench.ask(late, &call);
        assert!(bench.closed_count() >= 2);
    });
}

impl Bench {
    /// Opens `count` connections from the addresses `from` in rotation, and completes a call on each.
    fn connect_proven(&mut self, count: usize, from: &[IpAddr]) -> Vec<Peer> {
        let peers = (0..count).map(|number| {
            let peer = self.sim.connect_from(from[number % from.len()], AT);
            self.peers.push(peer);
            self.ask(peer, &read(5, 10));
            peer
        });
        peers.collect()
    }

    fn open(&self, peers: &[Peer]) -> usize {
        let open = peers.iter().filter(|peer| !self.sim.is_closed(**peer));
        open.count()
    }
}

#[test]
fn full_table_evicts_from_address_with_most_connections() {
    let of = |number| IpAddr::from([192, 0, 2, number]);
    with_server(0, 10, |bench| {
        let few = bench.connect_proven(3, &[of(1)]);
        bench.run(MOMENT);
        let many = bench.connect_proven(7, &[of(2)]);
        bench.run(MOMENT);
        // After this call, `many[1]` is the connection of the second address with the longest silence.
        bench.ask(many[0], &read(5, 10));
        let new = bench.connect_proven(1, &[of(3)])[0];
        assert!(bench.sim.is_closed(many[1]));
        // The three addresses now share the ten slots: three, four and three connections.
        let others = bench.connect_proven(2, &[of(3)]);
        assert_eq!((bench.open(&few), bench.open(&many)), (3, 4));
        assert_eq!(bench.open(&others) + bench.open(&[new]), 3);
        // A peer with the largest share, or with an equal one, gets no further slot.
        for number in [1, 2, 3] {
            let more = bench.sim.connect_from(of(number), AT);
            bench.run(MOMENT);
            assert!(bench.sim.is_closed(more));
        }
        assert_eq!((bench.open(&few), bench.open(&many)), (3, 4));
        assert_eq!(bench.open(&others) + bench.open(&[new]), 3);
    });
}

#[test]
fn ipv6_network_has_one_share() {
    let of = |network: u16, host| IpAddr::from([0x2001, 0xdb8, 0, network, 0, 0, 0, host]);
    let hosts: Vec<IpAddr> = (0..6).map(|host| of(1, host)).collect();
    with_server(0, 8, |bench| {
        let others = bench.connect_proven(2, &[of(2, 0), of(3, 0)]);
        let many = bench.connect_proven(6, &hosts);
        bench.connect_proven(5, &[of(4, 0), of(5, 0), of(6, 0), of(7, 0), of(8, 0)]);
        assert_eq!((bench.open(&others), bench.open(&many)), (2, 1));
        assert_eq!(bench.closed_count(), 5);
    });
}

#[test]
fn large_share_is_reduced_in_one_batch() {
    let of = |number| IpAddr::from([192, 0, 2, number]);
    with_server(0, 400, |bench| {
        let many = bench.connect_proven(300, &[of(1)]);
        let others = bench.connect_proven(100, &[of(2), of(3)]);
        bench.run(MOMENT);
        bench.connect_proven(1, &[of(4)]);
        let left = bench.open(&many);
        assert!((200..299).contains(&left), "{left} are left");
        bench.connect_proven(150, &[of(4), of(5)]);
        assert_eq!(bench.open(&others), 100);
        let left = bench.open(&many);
        assert!((100..150).contains(&left), "{left} are left");
    });
}

#[test]
fn accept_waits_for_descriptors_without_spinning() {
    let call = read(5, 10);
    with_server(0, 10, |bench| {
        let proven = bench.connect();
        bench.ask(proven, &call);
        bench.sim.set_descriptors(LISTENER_COUNT + 1);
        let waiting = bench.connect();
        let before = bench.sim.accept_calls();
        bench.run(Duration::from_secs(30));
        let calls = bench.sim.accept_calls() - before;
        assert!((30..=70).contains(&calls), "{calls} in 30 s");
        let count = bench.reported_count(event::FULL);
        assert!(
            (1..=EVENT_COUNT_PER_MINUTE as usize).contains(&count),
            "told {count} times"
        );
        bench.ask(proven, &call);
        bench.sim.set_descriptors(LISTENER_COUNT + 2);
        bench.run(ACCEPT_PAUSE);
        bench.ask(waiting, &call);
    });
}

#[test]
fn silent_connection_is_closed_for_its_descriptor() {
    let call = read(5, 10);
    with_server(0, 10, |bench| {
        let [silent, proven] = [bench.connect(), bench.connect()];
        bench.ask(proven, &call);
        bench.run(SILENT_TIMEOUT);
        bench.sim.set_descriptors(LISTENER_COUNT + 2);
        let new = bench.connect();
        bench.ask(new, &call);
        assert!(bench.sim.is_closed(silent) && !bench.sim.is_closed(proven));
    });
}
