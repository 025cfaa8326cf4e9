//! WRITEs: by slow clients, by clients that disconnect, by several at once, and to a failing disk.

use super::{Bench, MOMENT};
use crate::config::{REQUEST_BYTES, REQUEST_TIMEOUT, TRANSFER_TURN_BYTES};
use crate::drive::service::connection::DISCONNECTED;
use crate::engine::testing::Bench as Programs;
use crate::engine::testing::calls::{Call, NO_CHANGE, stable};
use crate::engine::testing::replies;
use crate::engine::testing::tree::{BIG_BYTES, big};
use crate::event;
use crate::net::sim::Peer;
use crate::time::Duration;
use crate::vfs::FsError;
use crate::wire::nfs3::Procedure;
use cases::random::{Random, for_seeds};

/// Length of a WRITE (bytes) that exceeds the request buffer, so that a transfer stores most of the data.
const MUCH: usize = 150_000;
/// Length of a WRITE call (bytes) before its data.
const HEAD_BYTES: usize = 110;
const OK: u32 = 0;
const IO: u32 = 5;
const EXISTS: u32 = 17;

/// Data that differs from the file's content.
fn data(seed: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 5 + seed * 77 + (at >> 9)) as u8)
        .collect()
}

/// WRITE to the big file.
fn write(offset: usize, how: u32, data: &[u8]) -> Call {
    Call::write(&Programs::default().handle("big"), offset as u64, how, data)
}

/// Runs `script` with three servers: one writes from its buffer, one splices through a pipe, one uses workers.
fn with_writers(seed: u64, connection_count: usize, script: impl Fn(&mut Bench)) {
    super::with_server(seed, connection_count, &script);
    super::with_server(seed, connection_count, |bench| {
        bench.host.has_descriptors.set(true);
        bench.sim.set_pipe(bench.host.pipe.clone());
        script(bench);
    });
    super::with_server_on(seed, connection_count, true, script);
}

impl Bench {
    /// Reads bytes of the big file over another connection.
    #[track_caller]
    fn stored(&mut self, offset: usize, len: usize) -> Vec<u8> {
        let peer = self.connect();
        let bytes = self
            .ask(peer, &super::read(offset as u64, len as u32))
            .bytes;
        self.sim.hang_up(peer);
        bytes
    }

    #[track_caller]
    fn check_written(&mut self, peer: Peer, call: &Call, len: usize) {
        let body = self.answer(peer, call);
        assert_eq!((body.status, body.words[0]), (OK, len as u32));
    }
}

#[test]
fn slow_writer_is_kept_while_data_arrives() {
    for cuts in [&[][..], &[HEAD_BYTES + 60_000, HEAD_BYTES + 60_001]] {
        with_writers(0, 10, |bench| {
            let data = data(1, MUCH);
            let call = write(11, stable::FILE_SYNC, &data);
            let [slow, other] = [bench.connect(), bench.connect()];
            for piece in call.fragments(cuts).chunks(20_000) {
                bench.run(Duration::from_secs(9));
                bench.sim.send(slow, piece);
                bench.run(MOMENT);
                assert_eq!(bench.sim.unreceived(slow), 0);
                // Received data is written to the file at once, so no request block is in use.
                assert_eq!(bench.server.served.requests.holders().count(), 0);
                bench.ask(other, &super::read(0, 10));
            }
            bench.check_written(slow, &call, MUCH);
            assert!(bench.stored(11, MUCH) == data);
        });
    }
}

#[test]
fn pipelined_writes_share_one_sync() {
    for_seeds(30, |seed| {
        with_writers(seed, 10, |bench| {
            let mut random = Random::new(seed);
            // Data that exceeds the request buffer is stored by a transfer.
            let most = *random.pick(&[4096, 20_000, 60_000]);
            let mut expect = big().to_vec();
            let mut calls = Vec::new();
            for (at, place) in expect.chunks_exact_mut(most).enumerate() {
                let bytes = data(at, most - random.below(4000));
                place[..bytes.len()].copy_from_slice(&bytes);
                let call = write(at * most, stable::FILE_SYNC, &bytes);
                calls.push(call.xid(at as u32));
            }
            let peer = bench.connect();
            let stream = super::stream(&calls);
            bench.sim.send(peer, &stream);
            bench.run(MOMENT);
            for body in bench.answers(peer, &calls) {
                assert_eq!((body.status, body.words[1]), (OK, stable::FILE_SYNC));
            }
            let syncs = bench.host.syncs.get();
            assert!(syncs <= 2, "{syncs} for {} of {most} bytes", calls.len());
            bench.tree.ram().lose_power();
            assert!(bench.stored(0, expect.len()) == expect);
        });
    });
}

#[test]
fn writes_after_failed_sync_get_own_results() {
    with_writers(0, 10, |bench| {
        let calls: Vec<_> = (0..8)
            .map(|at| write(at * 100, stable::FILE_SYNC, &data(at, 100)).xid(at as u32))
            .collect();
        let stream = super::stream(&calls);
        let mut burst = |status: u32| {
            let peer = bench.connect();
            bench
                .host
                .sync_fails
                .set((status != OK).then_some(FsError::Io));
            bench.sim.send(peer, &stream);
            bench.run(MOMENT);
            for body in bench.answers(peer, &calls) {
                assert_eq!(body.status, status);
            }
            bench.sim.hang_up(peer);
        };
        for status in [OK, IO, IO, IO, OK, OK, IO] {
            burst(status);
        }
    });
}

#[test]
fn stalled_writer_is_closed_after_ten_seconds() {
    for cut in [9_000, HEAD_BYTES + 50_000] {
        // The client stalls within a fragment, after a fragment, or within a record mark.
        for (cuts, more) in [(&[][..], 0), (&[cut], 4), (&[cut], 6), (&[cut], 9)] {
            with_writers(0, 10, |bench| {
                let stalled = bench.connect();
                let record = write(0, stable::UNSTABLE, &data(1, MUCH)).fragments(cuts);
                bench.sim.send(stalled, &record[..cut + more]);
                bench.run(Duration::from_secs(9));
                assert!(!bench.sim.is_closed(stalled), "{cuts:?}, {more}");
                bench.run(REQUEST_TIMEOUT);
                assert!(bench.sim.is_closed(stalled), "{cuts:?}, {more}");
                assert_eq!(bench.reported_count(DISCONNECTED), 1);
            });
        }
    }
}

#[test]
fn disconnected_writer_leaves_only_the_sent_data() {
    for_seeds(60, |seed| {
        with_writers(seed, 10, |bench| {
            let mut random = Random::new(seed);
            let data = data(1, MUCH);
            let cuts = [HEAD_BYTES + 40_000];
            let record = write(0, stable::FILE_SYNC, &data).fragments(&cuts[..random.below(2)]);
            let end = random.below(record.len());
            let peer = bench.connect();
            for piece in record[..end].chunks(1 + random.below(60_000)) {
                bench.sim.send(peer, piece);
                bench.run(Duration::from_ms(2));
            }
            bench.sim.hang_up(peer);
            bench.run(MOMENT);
            assert!(bench.sim.is_closed(peer));
            assert!(bench.sim.read_sent(peer).is_empty());
            let stored = bench.stored(0, MUCH);
            let written = stored.iter().zip(&data).take_while(|(is, sent)| is == sent);
            assert!(written.count() + 9_000 > end.min(MUCH));
        });
    });
}

#[test]
fn parallel_writers_do_not_mix_data() {
    for_seeds(20, |seed| {
        with_writers(seed, 10, |bench| {
            bench.sim.send_in_parts();
            let mut random = Random::new(seed);
            let part = BIG_BYTES / 4;
            let mut writers: Vec<_> = (0..4)
                .map(|number| {
                    let data = data(number, part);
                    let mut calls = Vec::new();
                    let mut from = 0;
                    while from < part {
                        let to = part.min(from + 1 + random.below(30_000));
                        let how = random.below(3) as u32;
                        let call = write(number * part + from, how, &data[from..to]);
                        calls.push(call.xid(from as u32));
                        from = to;
                    }
                    let cut = |call: &Call| {
                        let cut = 1 + random.below(call.0.len() - 1);
                        call.fragments(&[cut])
                    };
                    let records: Vec<_> = calls.iter().map(cut).collect();
                    let stream = records.concat();
                    (bench.connect(), data, calls, stream)
                })
                .collect();
            while writers.iter().any(|(.., stream)| !stream.is_empty()) {
                let (peer, .., stream) = &mut writers[random.below(4)];
                let piece = stream.len().min(1 + random.below(20_000));
                bench.sim.send(*peer, &stream[..piece]);
                stream.drain(..piece);
                bench.run(Duration::from_ms(1));
            }
            bench.run(MOMENT);
            for (number, (peer, data, calls, _)) in writers.iter().enumerate() {
                let answers = bench.answers(*peer, calls);
                assert!(answers.iter().all(|answer| answer.status == OK));
                assert!(bench.stored(number * part, part) == *data);
            }
        });
    });
}

#[test]
fn disk_error_fails_only_that_write() {
    for fails_at in [0, 70_000, MUCH] {
        with_writers(0, 10, |bench| {
            let calls = [
                write(0, stable::FILE_SYNC, &data(1, MUCH)).xid(1),
                super::read(0, 10).xid(2),
                write(0, stable::FILE_SYNC, b"again").xid(3),
            ];
            let [failing, fine] = [bench.connect(), bench.connect()];
            let record = calls[0].record();
            bench.sim.send(failing, &record[..fails_at]);
            bench.run(MOMENT);
            bench.host.io_error.set(Some(FsError::Io));
            bench.sim.send(failing, &record[fails_at..]);
            bench.run(MOMENT);
            bench.host.io_error.set(None);
            for call in &calls[1..] {
                bench.sim.send(failing, &call.record());
            }
            bench.run(MOMENT);
            let answers = bench.answers(failing, &calls);
            assert_eq!(answers[0].status, IO, "at {fails_at}");
            assert_eq!((answers[1].status, answers[2].status), (OK, OK));
            assert_eq!(bench.ask(fine, &super::read(0, 5)).bytes, b"again");
            assert_eq!(bench.reported_count(event::DISK_FAILED), 1);
        });
    }
}

#[test]
fn large_writer_does_not_starve_others() {
    with_writers(0, 10, |bench| {
        let [writer, other] = [bench.connect(), bench.connect()];
        let data = data(1, BIG_BYTES);
        let calls: Vec<Call> = (0..20)
            .map(|xid| write(0, stable::UNSTABLE, &data).xid(xid))
            .collect();
        for call in &calls {
            bench.sim.send(writer, &call.record());
        }
        let question = super::read(0, 10);
        let mut questions = 0;
        bench.sim.allow(MOMENT);
        while bench.sim.unreceived(writer) > TRANSFER_TURN_BYTES as usize {
            bench.sim.send(other, &question.record());
            for _ in 0..2 {
                let before = bench.sim.unreceived(writer);
                bench.turn();
                let moved = before - bench.sim.unreceived(writer);
                assert!(
                    moved <= TRANSFER_TURN_BYTES as usize,
                    "{moved} bytes in a turn"
                );
            }
            questions += 1;
        }
        bench.run(MOMENT);
        bench.answers(writer, &calls);
        assert!(questions > 0);
        bench.answers(other, &vec![question; questions]);
    });
}

#[test]
fn synced_replies_do_not_wait_for_more_input() {
    super::with_server(0, 10, |bench| {
        let peer = bench.connect();
        bench
            .sim
            .send(peer, &write(0, stable::FILE_SYNC, &data(1, 100)).record());
        // The server skips the long argument of each NULL call and sends a reply of a few bytes.
        let long = Call::nfs(Procedure::Null).opaque(&vec![0; 1 << 20]);
        for _ in 0..8 {
            bench.sim.send(peer, &long.record());
        }
        bench.sim.allow(MOMENT);
        while bench.sim.unreceived(peer) > 0 {
            let before = bench.sim.unreceived(peer);
            bench.turn();
            let moved = before - bench.sim.unreceived(peer);
            let most = TRANSFER_TURN_BYTES as usize + 2 * REQUEST_BYTES;
            assert!(moved <= most, "{moved} bytes in a turn");
        }
        bench.run(MOMENT);
        assert_eq!(
            replies::records(&bench.sim.read_sent(peer)).unwrap().len(),
            9
        );
    });
}

#[test]
fn unread_replies_stop_the_writer() {
    with_writers(0, 10, |bench| {
        let [stopped, other] = [bench.connect(), bench.connect()];
        bench.sim.set_reading(stopped, false);
        bench.sim.set_capacity(stopped, 100);
        let call = write(0, stable::FILE_SYNC, &data(1, 20_000));
        // The calls contain more data than [`TRANSFER_TURN_BYTES`], the limit of one turn.
        let calls = vec![call; 200];
        let stream = super::stream(&calls);
        bench.sim.send(stopped, &stream);
        bench.run(MOMENT);
        let waiting = bench.sim.unreceived(stopped);
        assert!(waiting > 10 * 20_000);
        bench.run(Duration::from_secs(30));
        assert_eq!(bench.sim.unreceived(stopped), waiting);
        bench.ask(other, &super::read(0, 10));
        bench.sim.set_reading(stopped, true);
        bench.run(MOMENT);
        bench.answers(stopped, &calls);
    });
}

#[test]
fn unsynced_change_fails_again_when_retransmitted() {
    with_writers(0, 10, |bench| {
        let top = Programs::default().handle("");
        let make = Call::of(Procedure::MkDir, &top)
            .opaque(b"new")
            .words(NO_CHANGE);
        let peer = bench.connect();
        let promise = |bench: &mut Bench, peer| {
            let body = bench.ask(peer, &write(0, stable::UNSTABLE, b"data"));
            body.words[2..].to_vec()
        };
        let promised = promise(bench, peer);
        bench.host.commit_fails.set(Some(FsError::Io));
        assert_eq!(bench.ask(peer, &make).status, IO);
        assert_eq!(bench.reported_count(event::DISK_FAILED), 1);
        bench.host.commit_fails.set(None);
        // The retransmitted call gets the same error; a call with another xid finds the directory.
        assert_eq!(bench.ask(peer, &make).status, IO);
        assert_eq!(bench.ask(peer, &make.xid(77)).status, EXISTS);
        assert_ne!(promise(bench, peer), promised);
    });
}

/// Runs `script` with servers whose workers write, from a buffer and from a pipe.
fn with_storing_workers(script: impl Fn(&mut Bench)) {
    for has_pipe in [false, true] {
        super::with_server_on(0, 20, true, |bench| {
            bench.host.stores_by_worker.set(true);
            if has_pipe {
                bench.host.has_descriptors.set(true);
                bench.sim.set_pipe(bench.host.pipe.clone());
            }
            script(bench);
            assert_eq!(bench.host.stores.get(), 0, "a job is not forgotten");
        });
    }
}

#[test]
fn workers_store_the_received_data() {
    for cuts in [&[][..], &[HEAD_BYTES + 70_000, HEAD_BYTES + 70_001]] {
        with_storing_workers(|bench| {
            let peer = bench.connect();
            for (how, seed) in [(stable::UNSTABLE, 1), (stable::FILE_SYNC, 2)] {
                let data = data(seed, MUCH);
                let call = write(11, how, &data);
                for piece in call.fragments(cuts).chunks(40_000) {
                    bench.sim.send(peer, piece);
                    bench.run(MOMENT);
                }
                bench.check_written(peer, &call, MUCH);
                assert_eq!(bench.stored(11, MUCH), data);
            }
        });
    }
}

#[test]
fn worker_write_does_not_delay_others() {
    with_storing_workers(|bench| {
        bench.host.holds_jobs.set(true);
        let [waiting, other] = [bench.connect(), bench.connect()];
        let data = data(1, MUCH);
        let call = write(11, stable::UNSTABLE, &data);
        bench.sim.send(waiting, &call.record());
        // Longer than every timeout: a slow disk must not close connections.
        bench.run(Duration::from_secs(100));
        assert!(bench.host.stores.get() > 0 && bench.sim.read_sent(waiting).is_empty());
        assert_eq!(bench.ask(other, &super::read(0, 4)).status, OK);
        // A small WRITE is written without a worker.
        let little = write(0, stable::UNSTABLE, b"data");
        assert_eq!(bench.ask(other, &little).status, OK);
        bench.host.holds_jobs.set(false);
        bench.run(MOMENT);
        bench.check_written(waiting, &call, MUCH);
        assert_eq!(bench.stored(11, MUCH), data);
    });
}

#[test]
fn failed_worker_write_is_reported() {
    with_storing_workers(|bench| {
        let peer = bench.connect();
        let call = write(11, stable::UNSTABLE, &data(1, MUCH));
        bench.host.holds_jobs.set(true);
        bench.sim.send(peer, &call.record());
        bench.run(MOMENT);
        bench.host.io_error.set(Some(FsError::Io));
        bench.host.holds_jobs.set(false);
        bench.run(MOMENT);
        bench.host.io_error.set(None);
        assert_eq!(bench.answer(peer, &call).status, IO);
        // The connection stays usable.
        bench.sim.send(peer, &call.record());
        bench.run(MOMENT);
        bench.check_written(peer, &call, MUCH);
    });
}

#[test]
fn disconnect_during_worker_write_leaks_nothing() {
    with_storing_workers(|bench| {
        bench.host.holds_jobs.set(true);
        let [gone, stays] = [bench.connect(), bench.connect()];
        let calls = [1, 2].map(|seed| write(seed * 200_000, stable::UNSTABLE, &data(seed, MUCH)));
        bench.sim.send(gone, &calls[0].record());
        bench.sim.send(stays, &calls[1].record());
        bench.run(MOMENT);
        bench.sim.hang_up(gone);
        bench.run(MOMENT);
        bench.host.holds_jobs.set(false);
        bench.run(MOMENT);
        bench.check_written(stays, &calls[1], MUCH);
    });
}
