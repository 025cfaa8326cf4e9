//! Workers that block on the disk: replies wait for durability, other clients do not wait.

use super::{AT, Bench, MOMENT, read, with_server_on};
use crate::config::{REPLY_BLOCK_COUNT, REQUEST_BLOCK_COUNT};
use crate::engine::testing::Bench as Programs;
use crate::engine::testing::calls::{Call, NO_CHANGE, stable};
use crate::net::sim::{Peer, Sim};
use crate::time::Duration;
use crate::vfs::FsError;
use crate::wire::nfs3::Procedure;
use core::net::IpAddr;

const OK: u32 = 0;
const IO: u32 = 5;
const EXISTS: u32 = 17;

fn write(data: &[u8]) -> Call {
    Call::write(
        &Programs::default().handle("big"),
        0,
        stable::FILE_SYNC,
        data,
    )
}

fn make(name: &[u8]) -> Call {
    Call::of(Procedure::MkDir, &Programs::default().handle(""))
        .opaque(name)
        .words(NO_CHANGE)
}

/// Runs `script` with a disk whose jobs end only after [`Bench::let_through`].
fn with_slow_disk(script: impl Fn(&mut Bench)) {
    with_server_on(0, 200, true, |bench| {
        bench.host.holds_jobs.set(true);
        script(bench);
    });
}

impl Bench {
    /// Sends a call whose reply waits for the disk.
    #[track_caller]
    fn begin(&mut self, call: &Call) -> Peer {
        let peer = self.connect();
        self.begin_by(peer, call);
        peer
    }

    #[track_caller]
    fn begin_by(&mut self, peer: Peer, call: &Call) {
        self.sim.send(peer, &call.record());
        self.run(MOMENT);
        assert!(self.host.in_flight.get());
        assert!(
            self.sim.read_sent(peer).is_empty(),
            "replied before the change is durable"
        );
    }

    fn let_through(&mut self) {
        self.host.holds_jobs.set(false);
        self.run(MOMENT);
    }
}

#[test]
fn waiting_for_disk_does_not_delay_others() {
    for call in [write(b"data"), make(b"new")] {
        with_slow_disk(|bench| {
            let waiting = bench.begin(&call);
            // Longer than every timeout: a slow disk must not close connections.
            bench.run(Duration::from_secs(100));
            let other = bench.connect();
            assert_eq!(bench.ask(other, &read(0, 4)).status, OK);
            bench.let_through();
            assert_eq!(bench.answer(waiting, &call).status, OK);
            // The connection's next request is served as usual.
            assert_eq!(bench.ask(waiting, &read(0, 4)).status, OK);
        });
    }
}

#[test]
fn cold_read_delays_no_other_client() {
    let lookup = Call::lookup(&Programs::default().handle(""), b"hello");
    // The data of a short READ is inline in the reply; that of a long READ is sent by a transfer.
    for count in [4, 100_000] {
        with_slow_disk(|bench| {
            bench.host.has_descriptors.set(true);
            let before = bench.connect();
            let expected = bench.ask(before, &read(0, count)).bytes;
            bench.host.is_cold.set(true);
            let waiting = bench.connect();
            bench.sim.send(waiting, &read(0, count).record());
            // Longer than every timeout: a slow disk must not close connections.
            bench.run(Duration::from_secs(100));
            assert!(bench.host.in_flight.get());
            let other = bench.connect();
            assert_eq!(bench.ask(other, &lookup).status, OK);
            bench.let_through();
            assert_eq!(bench.answer(waiting, &read(0, count)).bytes, expected);
        });
    }
}

/// Calls behind one that waits for the disk need a block. Without a block, they stay in the socket.
#[test]
fn calls_that_wait_for_disk_close_no_connection() {
    with_slow_disk(|bench| {
        bench.host.has_descriptors.set(true);
        bench.host.is_cold.set(true);
        let calls = [1, 2, 3].map(|xid| read(0, 4).xid(xid));
        let stream = calls.each_ref().map(Call::record).concat();
        let peers = (0..REQUEST_BLOCK_COUNT + 10).map(|_| {
            let peer = bench.connect();
            bench.sim.send(peer, &stream);
            bench.run(MOMENT);
            peer
        });
        let peers: Vec<_> = peers.collect();
        bench.run(Duration::from_secs(100));
        bench.let_through();
        for peer in peers {
            bench.answers(peer, &calls);
        }
    });
}

#[test]
fn replied_change_is_durable() {
    with_slow_disk(|bench| {
        let call = write(b"data");
        let waiting = bench.begin(&call);
        bench.let_through();
        assert_eq!(bench.answer(waiting, &call).status, OK);
        bench.tree.ram().lose_power();
        assert_eq!(bench.ask(waiting, &read(0, 4)).bytes, b"data");
    });
}

#[test]
fn duplicate_call_waits_for_sync_of_the_first() {
    with_slow_disk(|bench| {
        let call = make(b"new");
        // Both connections come from one client address, so that the duplicate request cache matches.
        let client = IpAddr::from([10, 9, 0, 1]);
        let [first, again] = [(); 2].map(|()| bench.sim.connect_from(client, AT));
        bench.peers.extend([first, again]);
        bench.begin_by(first, &call);
        bench.begin_by(again, &call);
        bench.let_through();
        assert_eq!(bench.answer(first, &call).status, OK);
        assert_eq!(bench.answer(again, &call).status, OK);
    });
}

/// A client makes a directory and ends its connection. Another program of its host, or the same one, sends an equal call.
#[test]
fn equal_call_is_new_once_the_reply_was_received() {
    let end: fn(&Sim, Peer) = Sim::end_sending;
    for (ends, reads, status) in [
        (end, true, EXISTS),
        (end, false, OK),
        (Sim::hang_up, true, OK),
    ] {
        with_server_on(0, 200, false, |bench| {
            let call = make(b"new");
            let client = IpAddr::from([10, 9, 0, 1]);
            let [first, second] = [(); 2].map(|()| bench.sim.connect_from(client, AT));
            bench.peers.extend([first, second]);
            bench.sim.set_reading(first, reads);
            bench.sim.send(first, &call.record());
            bench.run(MOMENT);
            ends(&bench.sim, first);
            bench.run(MOMENT);
            assert!(bench.sim.is_closed(first));
            assert_eq!(bench.ask(second, &call).status, status, "{reads}");
        });
    }
}

#[test]
fn sync_covers_name_changes_of_other_clients() {
    with_slow_disk(|bench| {
        let made = bench.begin(&make(b"new"));
        bench.begin(&write(b"data"));
        // This COMMIT follows no WRITE of its file, but its sync still covers the earlier changes.
        let commit = Call::commit(&Programs::default().handle("hello"));
        let peer = bench.begin(&commit);
        bench.let_through();
        assert_eq!(bench.answer(peer, &commit).status, OK);
        assert_eq!(bench.answer(made, &make(b"new")).status, OK);
    });
}

#[test]
fn failed_sync_turns_waiting_replies_into_errors() {
    with_slow_disk(|bench| {
        let [stored, made] = [write(b"data"), make(b"new")].map(|call| bench.begin(&call));
        bench.host.sync_fails.set(Some(FsError::Io));
        bench.let_through();
        assert_eq!(bench.answer(stored, &write(b"data")).status, IO);
        assert_eq!(bench.answer(made, &make(b"new")).status, IO);
        bench.host.sync_fails.set(None);
        // The retransmitted call gets the same reply, not EXIST.
        assert_eq!(bench.ask(stored, &write(b"data")).status, OK);
    });
}

#[test]
fn disconnect_while_waiting_for_disk_leaks_nothing() {
    for call in [write(b"data"), make(b"new")] {
        with_slow_disk(|bench| {
            let gone = bench.begin(&call);
            let stays = bench.begin(&write(b"more"));
            bench.sim.hang_up(gone);
            bench.run(MOMENT);
            bench.let_through();
            assert_eq!(bench.answer(stays, &write(b"more")).status, OK);
        });
    }
}

#[test]
fn waiting_replies_beyond_the_blocks_are_all_answered() {
    with_slow_disk(|bench| {
        let names: Vec<Vec<u8>> = (0..REPLY_BLOCK_COUNT + 10)
            .map(|number| format!("{number}").into_bytes())
            .collect();
        let mut peers = Vec::new();
        for name in &names {
            let peer = bench.connect();
            bench.sim.send(peer, &make(name).record());
            bench.run(MOMENT);
            peers.push(peer);
        }
        bench.let_through();
        for (peer, name) in peers.iter().zip(&names) {
            assert_eq!(bench.answer(*peer, &make(name)).status, OK);
        }
    });
}

#[test]
fn pending_changes_reach_disk_after_loop_ends() {
    with_slow_disk(|bench| {
        bench.begin(&make(b"new"));
        bench.with_loop(|all| all.stop());
        bench.tree.ram().lose_power();
        // The disk completes the pending sync.
        bench.let_through();
        let peer = bench.connect();
        assert_eq!(bench.ask(peer, &make(b"new")).status, EXISTS);
    });
}
